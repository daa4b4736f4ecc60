"""The runner's clock jumps: hours of polling pass in milliseconds, and a seed decides everything else."""

import functools
import random

import anyio.to_thread
import pytest
import trio
from trio.testing import MockClock
from world import World

from batchrunner.outputs import Part
from batchrunner.runner import loop
from batchrunner.schedule import decide

SPIN = 2_000
"""Decisions at one instant that only a busy loop makes."""


class BusyLoop(AssertionError):
    """The run decides again and again while no time passes."""


class Decisions:
    """Counts how often a run looks at its board, and stops one that spins."""

    def __init__(self):
        self.total = 0
        self._at, self._here = -1.0, 0

    def decide(self, now, snapshot, limits):
        self.total += 1
        self._here = self._here + 1 if now == self._at else 1
        self._at = now
        if self._here > SPIN:
            raise BusyLoop(f"{SPIN} decisions at {now}: {snapshot}")
        return decide(now, snapshot, limits)


class Files:
    """File work done on the loop: while a real thread works, the clock would jump ahead by chance."""

    def __init__(self):
        self.before = self.after = lambda: None
        self.calls = 0

    async def run_sync(self, work, *args, **_):
        self.calls += 1
        await anyio.lowlevel.checkpoint()
        self.before()
        result = work(*args)
        try:
            self.after()
        except BaseException:
            if isinstance(result, Part):
                result.close()  # as the end of a process does, which leaves the file itself where it is
            raise
        return result


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def scheduling(monkeypatch):
    """Tasks that are ready together run in an order that a seed decides."""
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    monkeypatch.setattr(trio._core._run, "_r", random.Random(0))
    return trio._core._run


@pytest.fixture(autouse=True)
def files(monkeypatch):
    files = Files()
    monkeypatch.setattr(anyio.to_thread, "run_sync", files.run_sync)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # the disk's patience is not what is tried here
    return files


@pytest.fixture(autouse=True)
def decisions(monkeypatch):
    decisions = Decisions()
    monkeypatch.setattr(loop, "decide", decisions.decide)
    return decisions


@pytest.fixture
def world(tmp_path):
    """A world without jobs; `world(*keys, **settings)` makes one."""
    return functools.partial(World, tmp_path / "clips")
