"""Which jobs go ahead of the others of their kind, and what their fate means for these. Pure.

A kind is what requests have in common that are made and billed alike: billing key, seconds, number of frames, and how frames
are named. The first clips of a kind that was never seen done and right are its canaries: until they are, nothing else of the
kind is bought. A canary whose own prompt or picture was refused, or that found no place, says nothing about its kind, and
the next job takes its place; one that fails otherwise, or comes back wrong, stops the buying.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from batchrunner.model import FrameDialect, Job, VideoRequest
from batchrunner.states import JobEvent

MANY = 20
"""New jobs of a kind, more than these, have a canary by default."""
REPLACED = 3
"""Canaries in a row that may say nothing before that says enough."""
PAIR = 2
OWN_FAULTS = frozenset({"content_policy", "bad_image", "capacity"})
"""Reasons that speak of the job itself, or of the moment, and not of its kind."""


class Loss(StrEnum):
    """How a canary was lost."""

    BACK = "back"
    """It only waits again."""
    OWN = "own"
    """It says nothing about its kind."""
    KIND = "kind"


_LOST = {
    JobEvent.RETURNED: Loss.BACK,
    JobEvent.REJECTED: Loss.OWN,
    JobEvent.UNANSWERED: Loss.OWN,
    JobEvent.REFUSED: Loss.KIND,
    JobEvent.TASK_FAILED: Loss.KIND,
    JobEvent.VANISHED: Loss.KIND,
    JobEvent.EXPIRED: Loss.KIND,
    JobEvent.BAD_FILE: Loss.KIND,
}


def loss(event: JobEvent, reason: str | None, retried: Collection[str]) -> Loss | None:
    """What an event means for a canary; `retried` are the reasons after which the manifest has it bought again."""
    lost = _LOST.get(event)
    return Loss.OWN if lost is Loss.KIND and (reason in OWN_FAULTS or reason in retried) else lost


def kind_of(request: VideoRequest, dialect: FrameDialect) -> str:
    """What the request has in common with others of its kind."""
    return named(request.kind, dialect)


def named(kind: str, dialect: FrameDialect) -> str:
    """The kind of stored jobs together with how frames are named now."""
    return f"{kind} {dialect.value}" if frames_in(kind) else kind


def frames_in(kind: str) -> int:
    """How many frames the requests of a kind have."""
    return int(kind.split()[2])


def needed(kind: str, waiting: int, asked: int | None) -> int:
    """How many canaries a kind needs that was not seen before; `asked` is the manifest's number, if it names one."""
    if asked is not None:
        return min(asked, waiting)
    return 1 if frames_in(kind) == PAIR or waiting > MANY else 0


@dataclass(slots=True, kw_only=True)
class Flock:
    """The canaries of one kind in one run."""

    wanted: int
    jobs: set[int] = field(default_factory=set)
    """Sent, or being sent, and not yet known to be right."""
    proven: int = 0
    replaced: int = 0
    """How many said nothing since one did."""

    def loses(self, job_id: int, how: Loss) -> bool:
        """One of the canaries is lost; whether another may take its place."""
        self.replaced += how is not Loss.BACK
        if how is Loss.KIND or self.replaced >= REPLACED:
            return False
        self.jobs.discard(job_id)
        return True

    @property
    def is_open(self) -> bool:
        """Whether another job may go ahead."""
        return len(self.jobs) + self.proven < self.wanted

    @property
    def is_proven(self) -> bool:
        return self.proven >= self.wanted


def flocks(
    waiting: Mapping[str, int], verdicts: Mapping[str, str | None], *, dialect: FrameDialect, asked: int | None
) -> dict[str, Flock]:
    """The canaries that are needed, by stored kind; `verdicts` are of kinds with the dialect, None for a proven one."""
    found = {}
    for kind, count in waiting.items():
        if named(kind, dialect) not in verdicts and (wanted := needed(kind, count, asked)):
            found[kind] = Flock(wanted=wanted)
    return found


def sentence(job: Job, reason: str) -> str:
    """Why nothing more is bought when a canary was lost."""
    text = (
        f"the first clip of its kind ({spoken(job.request.kind)}), {job.key}, failed: {reason}; the rest is not bought"
    )
    return f"{text}: see it with show {job.key}; to buy the rest all the same, add --no-canary"


def spoken(kind: str) -> str:
    """A kind as people say it."""
    billing_key, seconds, frames = kind.split()[:3]
    return f"{billing_key} {seconds} s" + (
        " with frames" if frames == "1" else " from first to last frame" * (frames == "2")
    )
