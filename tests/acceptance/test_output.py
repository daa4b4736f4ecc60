"""What a run says: JSON for programs, plain lines for logs, and a reader that leaves early breaks nothing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable

import pytest

from . import books
from .world import BATCHRUNNER, Server, World, picture

JOBS = [{"id": f"clip{number}", "prompt": f"clip {number} \x7f"} for number in range(6)]


def test_json(world: World, serve: Callable[..., Server]) -> None:
    serve(
        {"on": "submit", "do": "answer", "status": 422, "json": {"error": {"code": "x", "message": "\x1b[31m\r\nno"}}}
    )
    picture(world.cwd / "a.png", "red", size=(400, 400))  # its shape is not the clip's: there is a warning
    world.manifest([*JOBS, {"prompt": "warned", "frames": {"first": "a.png"}}])

    ended = world.run("--progress", "json")

    assert ended.code == 3, ended.text
    records = [json.loads(line) for line in ended.out.splitlines()]
    assert all(record["type"] for record in records)
    done = [record for record in records if record["type"] == "job.done"]
    assert len(done) == 6
    assert records[-1]["exit_code"] == 3
    assert records[-1]["counts"] == {"done": 6, "failed": 1}


def test_plain(world: World, serve: Callable[..., Server]) -> None:
    serve(
        {"on": "submit", "do": "answer", "status": 422, "json": {"error": {"code": "x", "message": "\x1b[31m\r\nno"}}}
    )
    world.manifest(JOBS)

    ended = world.batchrunner(
        "run", "batch.yaml", "--yes", "--progress", "plain", env={"TERM": "xterm", "FORCE_COLOR": "1"}
    )

    assert ended.code == 3
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ended.text) is None
    assert len(re.findall(r"^\S+ done +clip\d", ended.err, re.MULTILINE)) == 5


@pytest.mark.parametrize(
    ("mode", "pipe"),
    [
        pytest.param("plain", "| true"),
        pytest.param("plain", "2>&1 | head -n 1", marks=pytest.mark.slow),
        pytest.param("plain", "2>&1 | true"),
        pytest.param("plain", ">/dev/full", marks=pytest.mark.slow),
        pytest.param("plain", "2>&-", marks=pytest.mark.slow),
        pytest.param("json", "| head -n 1"),
        pytest.param("json", ">/dev/full", marks=pytest.mark.slow),
        pytest.param("json", ">&-"),
    ],
)
def test_a_reader_that_leaves_early(world: World, serve: Callable[..., Server], mode: str, pipe: str) -> None:
    refusal = {"error": {"code": "content_policy_violation", "message": "no"}}
    server = serve({"on": "submit", "do": "answer", "status": 422, "json": refusal})
    world.manifest(JOBS)
    command = f"{BATCHRUNNER[0]} run batch.yaml --yes --progress {mode}"

    subprocess.run(
        ["bash", "-c", f"{{ {command}; echo $? > code; }} {pipe}"],
        cwd=world.cwd,
        env=world.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )

    assert books.audit(world, books.sales(server)) == {"done": 5, "failed": 1}
    assert int((world.cwd / "code").read_text()) == 3, "the exit code is the work's, not the pipe's"
