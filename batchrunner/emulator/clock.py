"""The emulator's clocks: the real one, and one that stands still until it is told to move."""

from __future__ import annotations

import time


class SteadyClock:
    """Unix time that never steps back while the process lives: tasks must not become younger."""

    def __init__(self) -> None:
        self._start = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._start + time.monotonic()


class ManualClock:
    """Unix time that moves only by `advance`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """The new time."""
        self.now += seconds
        return self.now
