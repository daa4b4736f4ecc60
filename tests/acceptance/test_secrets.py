"""The key goes into one header and nowhere else; signatures of result URLs are used and kept nowhere."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from . import books
from .server import SIGNATURE
from .world import BATCHRUNNER, KEY, Server, World, picture

TOLD = f"Invalid token {KEY}: could not read https://files.example.com/x.mp4?X-Signature={SIGNATURE}"
FRAME = f"https://example.com/a.png?sig={SIGNATURE}"


@pytest.fixture
def indiscreet(serve: Callable[..., Server]) -> Server:
    """A server that says the key and its signatures aloud wherever it can."""
    error = {"error": {"code": KEY, "message": TOLD}}
    return serve(
        {"on": "poll", "do": "fail", "error": {"code": "x", "message": TOLD}, "match": "fails"},
        {"on": "poll", "do": "respell", "words": {"in_progress": f"with {KEY}"}, "times": 0, "match": "words"},
        {"on": "poll", "do": "answer", "status": 500, "json": error, "match": "words"},
        {"on": "submit", "do": "answer", "status": 422, "json": error, "match": "refused"},
        {"on": "submit", "do": "answer", "status": 500, "json": error, "headers": {"X-Request-Id": KEY}, "match": "doubt"},
        {"on": "download", "do": "answer", "status": 404, "text": TOLD, "match": "words"},
        {"on": "download", "do": "cut", "match": "text"},
        signed_uploads=True,
    )  # fmt: skip


def jobs() -> list[dict[str, Any]]:
    names = ("text", "fails", "words", "refused", "doubt")
    return [
        *({"id": name, "prompt": name} for name in names),
        {"id": "frame", "prompt": "frame", "frames": {"first": "a.png", "last": FRAME}},
    ]


@pytest.mark.parametrize("mode", ["json", "plain", "quiet", "tty"])
def test_nothing_is_kept_and_nothing_is_said(world: World, indiscreet: Server, mode: str) -> None:
    picture(world.cwd / "a.png", "red")
    world.manifest(jobs())
    if mode == "tty":
        code, text = _at_a_terminal(world, "run", "batch.yaml", "--yes", "--progress", "tty", "--settle", "0")
    else:
        ended = world.run("--progress", mode)
        code, text = ended.code, ended.text

    assert code == 11, text
    if mode == "quiet":
        text += world.batchrunner("ls", "--format", "csv").text + world.batchrunner("status").text
    assert KEY not in text
    assert "canary" not in text
    assert books.leaks(world.cwd, KEY) == []
    assert books.leaks(world.cwd, SIGNATURE, but=("batch.yaml",)) == []
    assert books.leaks(world.elsewhere, KEY) == []
    assert [line for line in indiscreet.access if line.get("key_elsewhere")] == []
    assert {line["auth"] for line in indiscreet.seen("download")} == {"none"}


def test_a_key_that_the_server_refuses_aloud(world: World, serve: Callable[..., Server]) -> None:
    error = {"error": {"code": "unauthorized", "message": TOLD}}
    serve({"on": "balance", "do": "answer", "status": 401, "json": error})
    world.manifest(jobs()[:1])

    ended = world.run()

    assert ended.code == 7
    assert "canary" not in ended.text
    assert books.leaks(world.cwd, KEY) == []


def test_a_signature_behind_an_upper_case_scheme(world: World, serve: Callable[..., Server]) -> None:
    message = f"could not read HTTPS://files.example.com/x.mp4?X-Signature={SIGNATURE}"
    serve({"on": "poll", "do": "fail", "error": {"code": "x", "message": message}})
    world.manifest(jobs()[:1])

    ended = world.run()

    assert ended.code == 3
    assert SIGNATURE not in ended.text
    assert books.leaks(world.cwd, SIGNATURE) == []


def _at_a_terminal(world: World, *words: str) -> tuple[int, str]:
    """Run a command at a terminal; returns its exit code and all that was drawn."""
    ours, theirs = pty.openpty()
    try:
        env = {**world.env, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        process = subprocess.Popen(
            [*BATCHRUNNER, *words], cwd=world.cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    drawn = bytearray()
    try:
        while chunk := os.read(ours, 1 << 16):
            drawn += chunk
    except OSError:  # Linux says so when the last writer has gone
        pass
    finally:
        os.close(ours)
    return process.wait(30), drawn.decode("utf-8", "replace")
