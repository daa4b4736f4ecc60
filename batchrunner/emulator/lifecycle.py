"""The life of a task in time: pure functions of a ledger entry and the moment at which one asks.

Nothing runs and nothing is stored while a task is "rendered"; so a task's life goes on while the emulator is dead, as a
real provider's would.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from batchrunner.emulator import fates
from batchrunner.emulator.ledger import Entry
from batchrunner.emulator.validation import Submission

RESULT_LIFETIME = 86_400
"""Seconds that a result's URL is good for (facts §1)."""

MEDIAN, SHORTEST, LONGEST = 105.0, 83.0, 253.0
"""Seconds for a 5 s std clip, as measured on eight identical jobs (facts §6)."""
FLOOR, SPREAD = 80.0, 0.9
"""A log-normal above a floor: it has that median, and 98 % of it lies in that range."""
MODE_FACTOR = {"std": 1.0, "pro": 1.6}
DURATION_FACTOR = {5: 1.0, 10: 1.7, 15: 2.4}
"""Longer for pro and for long clips (facts §6: pro 90-200 s against 45-90 s; ToAPIs: "long videos 5-10 min")."""
QUEUED_SHARE = 0.1
"""Of its service time a task waits so much before it is in progress."""
REFRESH = 15.0
"""Seconds between two looks of the relay at its upstream: what a poll says is as old as the last one (facts §4)."""


class Status(StrEnum):
    """The API page's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """What a poll says of a task."""

    status: Status
    progress: int
    completed_at: int | None = None
    expires_at: int | None = None


def service_seconds(submission: Submission, *, seed: int, draw: object, speed: float) -> float:
    """How long the task takes: the same for one seed and one `draw`, which says what was bought and the how-manieth time."""
    drawn = random.Random(f"{seed}:{draw}").lognormvariate(math.log(MEDIAN - FLOOR), SPREAD)
    base = min(max(FLOOR + drawn, SHORTEST), LONGEST)
    return base * MODE_FACTOR[submission.mode] * DURATION_FACTOR[submission.duration] / speed


def state_of(entry: Entry, now: float) -> TaskState:
    """The task's state at `now`. While it is unknown whether its images can be had, it stays in progress."""
    if entry.failed_at is not None and now >= entry.failed_at:
        return TaskState(status=Status.FAILED, progress=0)
    completed_at = entry.accepted_at + entry.service
    if now >= completed_at and entry.inputs is not None and not fates.is_stuck(entry):
        stamp = int(completed_at)
        return TaskState(status=Status.COMPLETED, progress=100, completed_at=stamp, expires_at=stamp + RESULT_LIFETIME)
    share = max(now - entry.accepted_at, 0.0) / entry.service
    if share < QUEUED_SHARE:
        return TaskState(status=Status.QUEUED, progress=0)
    return TaskState(status=Status.IN_PROGRESS, progress=min(int(share * 100), 99))


def refreshed(entry: Entry, now: float, refresh: float) -> float:
    """The moment that a poll at `now` tells of: the relay's last look at this task."""
    age = max(now - entry.accepted_at, 0.0)
    return entry.accepted_at + (age - age % refresh if refresh > 0 else age)


def earliest_failure(entry: Entry) -> float:
    """A task that cannot be rendered fails when its turn comes, some seconds after its acceptance (facts §7)."""
    return entry.accepted_at + QUEUED_SHARE * entry.service


def ended_at(entry: Entry) -> float:
    """When the task stops being in flight; infinity while that is unknown."""
    if entry.failed_at is not None:
        return entry.failed_at
    return entry.accepted_at + entry.service if entry.inputs is not None and not fates.is_stuck(entry) else math.inf


def in_flight(entries: Iterable[Entry], now: float) -> int:
    """How many tasks are accepted and not final at `now`."""
    return sum(1 for entry in entries if entry.accepted_at <= now < ended_at(entry))


def peak_in_flight(entries: Iterable[Entry]) -> int:
    """The most tasks that were ever in flight at once, each from its acceptance up to, not including, its end."""
    moments = []
    for entry in entries:
        moments += [(entry.accepted_at, 1), (ended_at(entry), -1)]
    peak = current = 0
    for _, step in sorted(moments):  # at one instant the ends, -1, come first
        current += step
        peak = max(peak, current)
    return peak
