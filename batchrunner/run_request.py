"""What the user asked of `run`, as plain data."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path

from batchrunner import moments
from batchrunner.manifest.money import MICRO
from batchrunner.model import Job, WantedJob
from batchrunner.moments import Window
from batchrunner.runner.context import Options as RunOptions
from batchrunner.store.base import Planned, Redo

EMULATOR_SPEED = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked of `run`."""

    manifest: Path | None
    """None when there are only `prompts`."""
    prompts: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    """`key=value`, above everything that the manifest says."""
    allowed: tuple[Path, ...] = ()
    """Folders beside the manifest's that frames and rows may lie in."""
    database: Path | None = None
    out: Path | None = None
    emulator: bool = False
    scenario: str = "happy"
    """What a rehearsal meets: a scenario's name, or the path of a file of faults."""
    speed: float = EMULATOR_SPEED
    seed: int | None = None
    """Of a rehearsal; the scenario's own, or 0, when None."""
    full_clips: bool = False
    """Of the emulator: in the size that they are billed by."""
    max_in_flight: int | None = None
    max_cost: int | None = None
    """Micro-units."""
    deadline: time | None = None
    """End at this time of day; the manifest's `limits.deadline` when None."""
    max_duration: timedelta | None = None
    """End after this long; the manifest's `limits.max_duration` when None."""
    window: Window | None = None
    """Buy in these hours alone; the manifest's `limits.window` when None."""
    at_any_time: bool = False
    """There is no window, whatever the manifest says."""
    date: date | None = None
    """What `{date}` stands for; None leaves it to the clock and the window."""
    limit: int | None = None
    only: str | None = None
    tags: tuple[str, ...] = ()
    redo: tuple[str, ...] = ()
    """What is paid for again: `changed`, `failed`."""
    saved: str | None = None
    """The saved plan that it carries out, by its digest."""
    settle: float = 0.0
    canary: bool = True
    """Whether the first clips of a kind go ahead of the others, as the manifest says."""

    @property
    def source(self) -> str:
        """The manifest, or the prompts, as the command named them."""
        words = [word for prompt in self.prompts for word in ("-p", prompt)]
        if self.manifest is not None:
            words = [str(self.manifest)]
        return shlex.join([*words, *(word for one in self.sets for word in ("--set", one))])

    @property
    def run_command(self) -> str:
        """The command that runs it, as far as it says what is bought."""
        return f"batchrunner run {self._words}"

    @property
    def plan_command(self) -> str:
        """The command that shows what that would buy."""
        return f"batchrunner plan {self._words}"

    @property
    def _words(self) -> str:
        given = (
            ("--only", self.only),
            ("--limit", self.limit),
            ("--max-cost", None if self.max_cost is None else f"{Decimal(self.max_cost) / MICRO:f}"),
            ("--deadline", self.deadline and f"{self.deadline:%H:%M}"),
            ("--max-duration", self.max_duration and moments.written(self.max_duration)),
            ("--window", "none" if self.at_any_time else self.window),
            ("--date", self.date),
            ("--max-in-flight", self.max_in_flight),
            ("--db", self.database),
        )
        words = [str(word) for name, value in given if value is not None for word in (name, value)]
        words += [
            word
            for name, values in (("--tag", self.tags), ("--redo", self.redo))
            for one in values
            for word in (name, one)
        ]
        words += ["--emulator"] * self.emulator + ["--no-canary"] * (not self.canary)
        return f"{self.source} {shlex.join(words)}".rstrip()

    @property
    def selects(self) -> Callable[[Job | WantedJob | Planned], bool]:
        """Which jobs the run is about."""
        return RunOptions(only=self.only, tags=self.tags).selects

    @property
    def paid_again(self) -> Redo:
        """The same for the store."""
        changed, failed = ("changed" in self.redo), ("failed" in self.redo)
        return Redo(changed=changed, failed=failed, only=self.only, tags=self.tags, limit=self.limit)
