"""Clips that are whole, on their way to their names: those that come together share a thread and the sync of their folder.

Each hand-off to a thread costs more than the file work of a clip, and so does a second sync of one folder. Calls that come
while a group is at work form the next one, and the first of them carries it out, as in `store.writer`. Where the disk is
slow a few groups are at work at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from batchrunner.durable import remove, storage_error, sync_folder
from batchrunner.model import Clip
from batchrunner.outputs import Part

GROUPS = 4
"""At work at once."""
PATIENCE = 0.05
"""Seconds that a group waits for the one before it; a disk that takes longer can do with several at once."""
APART = 0.03
"""Seconds at least between the beginnings of two groups: nobody waits for a clip, and in that time more may come."""


@dataclass(slots=True, eq=False)
class _Landing:
    """One clip, and what became of it."""

    write: Callable[[], Part]
    accept: Callable[[Part], Clip]
    part: Part | None = None
    clip: Clip | None = None
    error: Exception | None = None

    def written(self) -> None:
        self.part = self.write()
        self.part.begin_sync()

    def named(self) -> None:
        assert self.part is not None
        self.part.sync()
        self.clip = self.accept(self.part)

    def does(self, step: Callable[[_Landing], None]) -> None:
        """One clip's trouble is its own: the others go on."""
        if self.error is None:
            try:
                step(self)
            except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the caller
                self.error = error

    def result(self) -> Clip:
        if self.error is not None:
            raise self.error
        assert self.clip is not None, "its group was interrupted"
        return self.clip


@dataclass(slots=True, eq=False)
class _Group:
    """What one thread does at one go."""

    landings: list[_Landing]
    turn: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)

    def carry_out(self, second_names: Iterable[Path]) -> None:
        """The disk has begun with all before the first is waited for: half the CPU, and a fraction of the time."""
        for step in (_Landing.written, _Landing.named):
            for landing in self.landings:
                landing.does(step)
        folders = {Path(landing.clip.path).parent for landing in self.landings if landing.clip is not None}
        for folder in folders:
            self._sync(folder)
        _remove_all(second_names)

    def _sync(self, folder: Path) -> None:
        try:
            sync_folder(folder)
        except OSError as error:
            for landing in self.landings:
                if landing.clip is not None and Path(landing.clip.path).parent == folder:
                    landing.error = storage_error(error, folder)


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        remove(path)


class Landings:
    """Where clips get their names."""

    def __init__(self) -> None:
        self._forming: _Group | None = None
        self._at_work = 0
        self._begun = float("-inf")
        self._second_names: list[Path] = []
        self._threads = anyio.CapacityLimiter(GROUPS)

    async def land(self, write: Callable[[], Part], accept: Callable[[Part], Clip], *, alone: bool = False) -> Clip:
        """What `accept` says of the part that `write` filled, once its bytes and its name are durable; or its error.

        Both run in a thread. A caller that is cancelled learns the result before the cancellation reaches it. With
        `alone` no other clip waits for this one's bytes.
        """
        landing = _Landing(write, accept)
        if alone:
            await anyio.to_thread.run_sync(_Group([landing]).carry_out, ())
            return landing.result()
        with anyio.CancelScope(shield=True):
            if self._forming is not None:
                group = self._forming
                group.landings.append(landing)
                await group.done.wait()
            else:
                await self._lead(_Group([landing]))
        return landing.result()

    def forget(self, second_name: Path) -> None:
        """Take its second name from a clip that is recorded: it goes with the next group, or with `tidy`."""
        self._second_names.append(second_name)

    async def tidy(self) -> None:
        """Remove the second names that no group has taken along."""
        if self._second_names:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove_all, self._taken())

    def _taken(self) -> list[Path]:
        names, self._second_names = self._second_names, []
        return names

    async def _lead(self, group: _Group) -> None:
        """Let whoever is ready join, and carry the group out when its turn has come."""
        self._forming = group
        await anyio.sleep_until(self._begun + APART)
        if self._at_work:
            with anyio.move_on_after(PATIENCE if self._at_work < GROUPS else math.inf):
                await group.turn.wait()
        self._forming, self._begun = None, anyio.current_time()
        self._at_work += 1
        try:
            await anyio.to_thread.run_sync(group.carry_out, self._taken(), limiter=self._threads)
        finally:
            self._at_work -= 1
            group.done.set()
            if self._forming is not None:
                self._forming.turn.set()
