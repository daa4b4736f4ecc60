"""Ctrl-C and SIGTERM: what is under way is recorded, and the same command goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import books
from .world import BATCHRUNNER, SIGHUP, SIGINT, SIGTERM, Server, World, until

JOBS = [{"prompt": f"clip {number}"} for number in range(12)]


@pytest.mark.parametrize(("number", "code"), [(SIGINT, 130), (SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_what_is_under_way_is_recorded(world: World, serve: Callable[..., Server], number: int, code: int) -> None:
    server = serve({"on": "submit", "do": "wait", "first": 5, "times": 4})
    world.manifest(JOBS)
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: len(server.seen("submit")) == 8, "four submissions under way")
    running.send(number)
    until(lambda: not _takes_signal(running.pid, number), "the signal's arrival")
    server.open()

    ended = running.wait()

    assert ended.code == code
    assert "batchrunner run batch.yaml --yes" in ended.text
    assert len(server.ledger) == 8, "nothing is begun after the signal"
    states = books.audit(world, books.sales(server))
    assert not states["in_doubt"]
    assert not states["submitting"]
    assert states["pending"] == 4
    assert world.run().code == 0
    assert len(server.ledger) == len(JOBS)
    books.audit_files(world, server)


@pytest.fixture
def heeds_hangup() -> Iterator[None]:
    """What is started hears a hangup, even where the tests themselves run under `nohup`, which it would inherit."""
    before = signal.signal(SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(SIGHUP, before)


@pytest.mark.usefixtures("heeds_hangup")
@pytest.mark.parametrize(("command", "code"), [([], 143), (["nohup"], 0)], ids=["a closed terminal", "nohup"])
def test_a_closed_terminal_ends_a_run_unless_it_was_told_to_stay(
    world: World, serve: Callable[..., Server], command: list[str], code: int
) -> None:
    server = serve({"on": "submit", "do": "wait", "times": 1, "match": "clip 0"})
    world.manifest(JOBS[:2])
    running = world.start("run", "batch.yaml", "--yes", command=[*command, *BATCHRUNNER])
    until(lambda: len(server.seen("submit")) == 2, "both submissions under way")
    running.send(SIGHUP)
    until(lambda: not _takes_signal(running.pid, SIGHUP), "the signal's arrival")
    server.open()

    assert running.wait().code == code
    assert not books.audit(world, books.sales(server))["in_doubt"]
    assert len(server.ledger) == 2


def _takes_signal(pid: int, number: int) -> bool:
    """Whether a signal has been sent that the process has not taken yet."""
    with Path(f"/proc/{pid}/status").open(encoding="ascii") as status:
        pending = next(line for line in status if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) & 1 << (number - 1))


def test_the_second_signal_leaves_at_once(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "submit", "do": "wait", "times": 1, "match": "clip 3"})
    world.manifest(JOBS[:6])
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: (seen := world.states())["submitting"] == 1 and seen["pending"] == 0, "all but one recorded")
    running.send(SIGINT)
    until(lambda: not _takes_signal(running.pid, SIGINT), "the signal's arrival")
    running.send(SIGINT)

    ended = running.wait()

    assert ended.code == 130
    server.open()
    assert world.run().code == 11
    states = books.audit(world, books.sales(server))
    assert states == {"done": 5, "in_doubt": 1}
    books.audit_files(world, server)


def test_a_signal_before_anything_is_sent(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "balance", "do": "wait"})
    world.manifest(JOBS)
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: server.seen("balance"), "the question that comes before the first submission")
    running.send(SIGINT)

    ended = running.wait()

    assert ended.code == 130, ended.text
    assert "Traceback" not in ended.text
    assert server.seen("submit") == []
    assert world.states() == {"pending": len(JOBS)}
