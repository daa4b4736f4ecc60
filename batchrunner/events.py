"""What a run tells the outside while it works; the views of the command line are its listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from batchrunner.eta import Eta
from batchrunner.model import Clip
from batchrunner.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMoved:
    """A job changed its state."""

    at: datetime
    key: str
    state: JobState
    reason: str | None = None
    message: str | None = None
    task_id: str | None = None
    clip: Clip | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """The provider reports news of a running task."""

    at: datetime
    key: str
    status: str
    progress: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The run slows down, pauses or waits, and why."""

    at: datetime
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Once a second: the run is alive, and where it stands."""

    at: datetime
    counts: Mapping[JobState, int]
    eta: Eta | None = None
    """When everything will be final, once enough tasks have finished to tell."""


RunEvent = JobMoved | JobProgress | Held | Beat
Listener = Callable[[RunEvent], None]
