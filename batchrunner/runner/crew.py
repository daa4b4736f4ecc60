"""The workers of a run: each carries out one action after the other, and there are as many as were ever busy at once.

How many that may be is decided in `schedule.decide`; a task of its own for each action would cost three times as much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

Action = Callable[[], Awaitable[None]]


class _Idle:
    """A worker that waits for its next action."""

    __slots__ = ("action", "called")

    def __init__(self) -> None:
        self.called = anyio.Event()
        self.action: Action


class Crew:
    """Workers in a task group; cancelling that ends them, the idle ones too."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self._idle: list[_Idle] = []

    def begin(self, action: Action) -> None:
        """Carry out an action beside the others; it raises nothing."""
        if self._idle:
            worker = self._idle.pop()
            worker.action = action
            worker.called.set()
        else:
            self._tasks.start_soon(self._work, action)

    async def _work(self, action: Action) -> None:
        while True:
            await action()
            idle = _Idle()
            self._idle.append(idle)
            await idle.called.wait()
            action = idle.action
