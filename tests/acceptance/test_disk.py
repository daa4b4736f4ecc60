"""Disks that are full, folders that cannot be written: exit 12, nothing half-written, and nothing bought twice after."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

import pytest

from . import books
from .world import BATCHRUNNER, Ended, Server, World, can_mount

JOBS = [{"id": f"clip{number}", "prompt": f"clip {number}"} for number in range(8)]
needs_mount = pytest.mark.skipif(not can_mount(), reason="this user may not mount a file system (unshare -rm)")


def with_own_disk(world: World, script: str) -> Ended:
    """Run a shell script that may mount what nobody else sees."""
    return world.start("-rm", "sh", "-ec", script, command=["unshare"]).wait()


def run(*words: str) -> str:
    """The command in a shell script; its exit code and output go to files of this number."""
    return shlex.join([*BATCHRUNNER, "run", "batch.yaml", "--yes", "--settle", "0", *words])


def test_a_file_where_the_folder_should_be(world: World, server: Server) -> None:
    (world.cwd / "out").write_text("mine")
    world.manifest(JOBS)

    ended = world.run()

    assert ended.code == 12
    assert "out" in ended.err
    assert "fix:" in ended.err
    assert server.access == []
    assert (world.cwd / "out").read_text() == "mine"


def test_the_second_name_that_a_dead_run_left_is_removed_by_the_next(world: World, server: Server) -> None:
    world.manifest(JOBS[:2])
    assert world.run().code == 0
    (clip,) = (world.cwd / "out").rglob("clip0.mp4")
    task = next(line["id"] for line in server.ledger if line["body"]["prompt"] == "clip 0")
    second = clip.with_name(f"clip0.mp4.{hashlib.sha256(task.encode()).hexdigest()[:8]}.part")
    os.link(clip, second)
    foreign = clip.with_name("clip0.mp4.0123abcd.part")
    foreign.write_text("another database's")

    assert world.run().code == 0
    assert not second.exists()
    assert foreign.exists()
    assert clip.stat().st_nlink == 1
    assert len(server.ledger) == 2


@needs_mount
def test_a_read_only_folder(world: World, server: Server) -> None:
    world.manifest(JOBS)
    (world.cwd / "out").mkdir()

    ended = with_own_disk(world, f"mount -t tmpfs -o ro none out; {run()}")

    assert ended.code == 12, ended.text
    assert "Traceback" not in ended.text
    assert server.access == []


@needs_mount
def test_a_read_only_database_folder(world: World, server: Server) -> None:
    world.manifest(JOBS)
    (world.cwd / ".batchrunner").mkdir()

    ended = with_own_disk(world, f"mount -t tmpfs -o ro none .batchrunner; {run()}")

    assert ended.code == 12, ended.text
    assert "Traceback" not in ended.text
    assert server.access == []


@needs_mount
def test_a_full_disk_and_then_space(world: World, serve: object) -> None:
    server: Server = serve(pad=300_000)  # type: ignore[operator]
    world.manifest(JOBS, limits={"downloads": 1})
    (world.cwd / "out").mkdir()
    for name in ("full", "roomy"):
        (world.cwd / name).mkdir()
    script = f"""
        mount -t tmpfs -o size=1m none out
        code=0; {run()} > full.txt 2>&1 || code=$?; echo $code > full.code
        cp -a out/. full/; cp .batchrunner/batchrunner.db full.db
        mount -o remount,size=64m out
        code=0; {run()} > roomy.txt 2>&1 || code=$?; echo $code > roomy.code
        cp -a out/. roomy/
    """
    ended = with_own_disk(world, script)
    assert ended.code == 0, ended.text

    def outcome(name: str) -> tuple[int, str, set[Path]]:
        files = {path for path in (world.cwd / name).rglob("*") if path.is_file()}
        return int((world.cwd / f"{name}.code").read_text()), (world.cwd / f"{name}.txt").read_text(), files

    code, text, files = outcome("full")
    assert code == 12, text
    assert "stopped a clip could not be stored (disk: the disk of " in text
    states = world.states("full.db")
    assert 0 < states["done"] == len(files) < len(JOBS), "whole clips only, and nothing half-written"
    assert set(states) <= {"done", "fetching", "running", "pending"}
    sold = {line["body"]["prompt"].replace(" ", ""): line["id"] for line in server.ledger}
    assert all(path.read_bytes() == server.clip_of(sold[path.stem]) for path in files)
    code, text, files = outcome("roomy")
    assert code == 0, text
    assert {path.name for path in files} == {f"{job['id']}.mp4" for job in JOBS}
    assert len(server.ledger) == len(server.seen("submit")) == len(JOBS)
    assert books.audit(world, books.sales(server)) == {"done": len(JOBS)}


@needs_mount
def test_a_full_disk_under_the_database(world: World, server: Server) -> None:
    world.manifest([{"prompt": f"{number} " + "long " * 400} for number in range(60)])
    (world.cwd / ".batchrunner").mkdir()
    script = f"""
        mount -t tmpfs -o size=1m none .batchrunner
        code=0; {run("--progress", "quiet")} > full.txt 2>&1 || code=$?; echo $code > full.code
        mount -o remount,size=64m .batchrunner
        code=0; {run("--progress", "quiet")} > roomy.txt 2>&1 || code=$?; echo $code > roomy.code
        cp .batchrunner/batchrunner.db kept.db
    """
    ended = with_own_disk(world, script)
    assert ended.code == 0, ended.text

    texts = [(world.cwd / name).read_text() for name in ("full.txt", "roomy.txt")]
    codes = [int((world.cwd / name).read_text()) for name in ("full.code", "roomy.code")]

    assert codes[0] == 12, texts
    assert "Traceback" not in texts[0]
    states = books.audit(world, books.sales(server), database="kept.db")
    assert codes[1] == (11 if states["in_doubt"] else 0), texts
    assert sum(states.values()) == 60
    assert states["in_doubt"] <= 4
    assert set(states) <= {"done", "in_doubt"}
