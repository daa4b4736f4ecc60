"""What a person at a terminal is asked before anything is bought: through a real terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .world import BATCHRUNNER, PATIENCE, Server, World

pytestmark = pytest.mark.slow

QUESTION = "list]"
"""The end of what is asked."""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, world: World, *words: str) -> None:
        ours, theirs = pty.openpty()
        self._screen = ours
        env = {**world.env, "TERM": "dumb"}
        self.process = subprocess.Popen(
            [*BATCHRUNNER, *words], cwd=world.cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.text = ""

    def asks(self) -> str:
        """What was shown until the next question."""
        begin = len(self.text)
        end = time.monotonic() + PATIENCE
        while QUESTION not in self.text[begin:]:
            assert time.monotonic() < end, self.text
            assert self._read(), self.text
        return self.text[begin:]

    def answer(self, text: str) -> None:
        os.write(self._screen, text.encode() + b"\n")

    def ends(self) -> int:
        """Its exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        try:
            if select.select([self._screen], [], [], PATIENCE)[0]:
                piece = os.read(self._screen, 65536)
                self.text += piece.decode(errors="replace")
                return bool(piece)
        except OSError:  # the other side has hung up
            return False
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._screen)


Terminals = Callable[..., Terminal]


@pytest.fixture
def terminal(world: World) -> Iterator[Terminals]:
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(world, *words))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def _jobs(count: int) -> list[dict[str, str]]:
    return [{"id": f"j{number}", "prompt": f"p{number}"} for number in range(count)]


def test_nothing_is_bought_without_a_yes(world: World, server: Server, terminal: Terminals) -> None:
    world.manifest(_jobs(2))
    for answer in ("", "n", "No"):
        asked = terminal("run", "batch.yaml")
        assert "Buy 2 paid clips? [y/N/1 = try one first/l = list]" in asked.asks()
        asked.answer(answer)
        assert asked.ends() == 2, asked.text
        assert "nothing was sent" in asked.text
    assert server.ledger == []


def test_the_list_is_shown_and_the_question_comes_again(world: World, server: Server, terminal: Terminals) -> None:
    world.manifest(_jobs(2))
    asked = terminal("run", "batch.yaml")
    asked.asks()
    asked.answer("what?")
    asked.asks()
    asked.answer("l")
    listed = asked.asks()
    assert "+ j0  720P 5 s 16:9  p0" in listed
    assert "+ j1  720P 5 s 16:9  p1" in listed
    assert server.ledger == []
    asked.answer("y")
    assert asked.ends() == 0, asked.text
    assert len(server.ledger) == 2


def test_one_is_tried_before_the_rest_is_bought(world: World, server: Server, terminal: Terminals) -> None:
    world.manifest(_jobs(4))
    asked = terminal("run", "batch.yaml", "--limit", "3")
    asked.asks()
    asked.answer("1")

    shown = asked.asks()

    assert "j0  done" in shown
    assert f"look at it: {Path('out') / 'batch' / 'j0.mp4'}" in shown
    assert "Buy 2 paid clips?" in shown
    assert [entry["body"]["prompt"] for entry in server.ledger] == ["p0"]
    asked.answer("y")
    assert asked.ends() == 0, asked.text
    assert sorted(entry["body"]["prompt"] for entry in server.ledger) == ["p0", "p1", "p2"]


def test_a_try_pays_again_for_one_clip_alone(world: World, server: Server, terminal: Terminals) -> None:
    world.manifest(_jobs(3))
    assert world.run().code == 0
    world.manifest([{**job, "prompt": job["prompt"] + " anew"} for job in _jobs(3)])
    asked = terminal("run", "batch.yaml", "--redo", "changed")
    assert "Buy 3 paid clips, 3 of them once more?" in asked.asks()
    asked.answer("1")
    assert "Buy 2 paid clips, 2 of them once more?" in asked.asks()
    asked.answer("n")
    assert asked.ends() == 2, asked.text

    assert world.run().code == 0, "a yes later is no yes to those two"
    assert [entry["body"]["prompt"] for entry in server.ledger[3:]] == ["p0 anew"]


def test_a_try_that_fails_says_why_and_asks(world: World, serve: Callable[..., Server], terminal: Terminals) -> None:
    server = serve(
        {"on": "poll", "do": "fail", "error": {"code": "x", "message": "the prompt is refused"}, "match": "p0"}
    )
    world.manifest(_jobs(3))
    asked = terminal("run", "batch.yaml")
    asked.asks()
    asked.answer("1")
    shown = asked.asks()
    assert "j0  failed" in shown
    assert "the prompt is refused" in shown
    asked.answer("n")
    assert asked.ends() == 2
    assert len(server.ledger) == 1
