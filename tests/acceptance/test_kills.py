"""SIGKILL: at random instants, and at the very moments that matter. Nothing is bought twice, nothing bought is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from . import books, prompts
from .test_batches import REHEARSAL, rehearsed
from .world import DATABASE, SIGKILL, Running, Server, World, until

SLOTS = 4
"""Submissions that may be under way at once, so that one kill leaves no more than these in doubt."""


def killed_after(running: Running, progress: Callable[[], int], more: int) -> bool:
    """Kill the run when `progress` has grown by `more`; False when the run was faster and has ended."""
    goal = progress() + more
    until(lambda: progress() >= goal or not running.alive, "the instant to kill at")
    if not running.alive:
        return False
    running.kill()
    return True


def check_finished(world: World, database: str, sold: list[books.Sale], count: int, kills: int, code: int) -> None:
    """After the last run: every job is there, done or in doubt, and the exit code says which."""
    states = books.audit(world, sold, database=database)
    assert sum(states.values()) == count
    assert set(states) <= {"done", "in_doubt"}
    assert states["in_doubt"] <= SLOTS * kills
    assert code == (11 if states["in_doubt"] else 0)
    assert len(sold) <= count
    assert states["done"] <= len(sold)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_random_instants(world: World, server: Server, seed: int) -> None:
    check_random_instants(world, server, seed=seed, count=40, kills=4, most=60)


@pytest.mark.slow
def test_random_instants_of_a_great_batch(world: World, server: Server) -> None:
    check_random_instants(world, server, seed=4, count=946, kills=12, most=900)


def check_random_instants(world: World, server: Server, *, seed: int, count: int, kills: int, most: int) -> None:
    """Kill after a random number of requests, again and again; then let the same command finish."""
    chance = random.Random(seed)
    world.manifest(prompts.jobs(count), limits={"max_in_flight": SLOTS * kills + 12})
    struck = 0
    for _ in range(kills):
        running = world.start("run", "batch.yaml", "--yes", "--progress", "quiet")
        if not killed_after(running, lambda: len(server.access), chance.randint(2, most)):
            break
        struck += 1
        assert world.states().get("submitting", 0) <= SLOTS
        assert all(path.stat().st_size for path in world.clips())

    ended = world.run("--progress", "quiet", timeout=300)

    assert struck >= 2, "the kills came too late to matter"
    check_finished(world, DATABASE, books.sales(server), count, struck, ended.code)
    books.audit_files(world, server)
    bought = len(server.ledger)
    assert world.run("--progress", "quiet").code == ended.code
    assert len(server.ledger) == bought


def test_random_instants_with_the_emulator_inside(world: World) -> None:
    check_emulator_kills(world, seed=5, count=24, kills=3)


@pytest.mark.slow
def test_random_instants_of_a_great_batch_with_the_emulator_inside(world: World) -> None:
    check_emulator_kills(world, seed=6, count=946, kills=8)


def check_emulator_kills(world: World, *, seed: int, count: int, kills: int) -> None:
    """The emulator dies with its client and comes back with its ledger."""
    chance = random.Random(seed)
    world.manifest(prompts.jobs(count), limits={"max_in_flight": SLOTS * kills + 12})
    words = ("run", "batch.yaml", "--emulator", "--yes", "--speed", "400", "--progress", "quiet")

    def progress() -> int:
        return len(rehearsed(world)) + len(list(world.cwd.glob("rehearsal/**/*.mp4")))

    struck = 0
    for _ in range(kills):
        struck += killed_after(world.start(*words), progress, chance.randint(1, max(count // kills, 2)))
        assert world.states(REHEARSAL).get("submitting", 0) <= SLOTS

    ended = world.batchrunner(*words, timeout=600)

    assert struck >= 2
    check_finished(world, REHEARSAL, rehearsed(world), count, struck, ended.code)
    done = [job["output"] for job in world.rows(REHEARSAL) if job["state"] == "done"]
    assert sorted(done) == sorted(str(path) for path in world.cwd.glob("rehearsal/**/*") if path.is_file())


JOBS: list[dict[str, Any]] = [{"id": name, "prompt": name} for name in ("a", "b", "c")]


@pytest.mark.parametrize(
    ("faults", "sold"),
    [
        pytest.param([{"do": "signal", "when": "arrived"}, {"do": "drop"}], 0, id="before the sale"),
        pytest.param([{"do": "signal", "when": "arrived"}], 1, id="the dead can still speak"),
        pytest.param([{"do": "signal", "when": "accepted"}], 1, id="after the sale, before its answer"),
    ],
)
def test_killed_while_submitting(
    world: World, serve: Callable[..., Server], faults: list[dict[str, Any]], sold: int
) -> None:
    server = serve(*({"on": "submit", "match": "b", "signal": SIGKILL, **fault} for fault in faults))
    world.manifest(JOBS, limits={"submit_slots": 1})
    running = world.start("run", "batch.yaml", "--yes")
    server.tell_client(running.pid)
    assert running.wait().code == -SIGKILL

    ended = world.run()

    assert ended.code == 11, ended.text
    assert books.audit(world, books.sales(server)) == {"done": 2, "in_doubt": 1}
    assert sorted(line["body"]["prompt"] for line in server.ledger) == sorted(["a", "c", *"b" * sold])
    books.audit_files(world, server)
    assert "batchrunner doubt list" in ended.out, "it says how to look at it"

    settled = world.run("--settle", "0.1")

    assert settled.code == 0, settled.text
    assert books.audit(world, books.sales(server)) == {"done": 3}
    assert len(server.seen("submit")) == 4 - sold, "only what the balance shows to be unsold is sent again"
    books.audit_files(world, server)


def test_killed_as_the_answer_arrives(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "submit", "do": "signal", "signal": SIGKILL, "when": "answered", "match": "b"})
    world.manifest(JOBS, limits={"submit_slots": 1})
    running = world.start("run", "batch.yaml", "--yes")
    server.tell_client(running.pid)
    assert running.wait().code == -SIGKILL

    ended = world.run()

    states = books.audit(world, books.sales(server))
    assert sum(states.values()) == len(server.ledger) == 3
    assert ended.code == (11 if states["in_doubt"] else 0)


def test_killed_in_a_download(world: World, serve: Callable[..., Server]) -> None:
    server = serve(
        {"on": "download", "do": "signal", "signal": SIGKILL, "when": "halfway", "match": "b"}, pad=1_000_000
    )
    world.manifest(JOBS)
    running = world.start("run", "batch.yaml", "--yes")
    server.tell_client(running.pid)
    assert running.wait().code == -SIGKILL
    for path in world.clips():
        job = next(one for one in world.rows() if one["key"] == path.stem)
        assert path.read_bytes() == server.clip_of(job["task_id"]), "half a file under its final name"

    ended = world.run()

    assert ended.code == 0, ended.text
    assert len(server.ledger) == 3
    books.audit_files(world, server)
