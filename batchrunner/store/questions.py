"""The port: what is asked of the jobs, at every step of a run or by a command."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from batchrunner.model import Attempt, Job, Moment
from batchrunner.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """Pending jobs that may not be sent for now: those with one of the tags, and those of one of the kinds."""

    tags: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    """As `VideoRequest.kind` has them."""


NOTHING = Without()


class Questions(Protocol):
    """Jobs, their attempts and their history."""

    def job(self, job_id: int) -> Job: ...

    def jobs(self, batch_id: int, *, states: Iterable[JobState] = (), wanted_only: bool = True) -> Iterator[Job]:
        """In manifest order; all states when none is named."""

    def saved_files(self, batch_id: int) -> Iterator[tuple[str, str]]:
        """Key and path of each wanted job that is done, in manifest order: no more of a million rows than that."""

    def saved_as(self, batch_id: int, outputs: Collection[str]) -> list[tuple[str, str]]:
        """Output and task of the jobs that are done, wanted or not, and have one of these outputs."""

    def counts(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[JobState, int]:
        """Wanted jobs by state, of those whose key matches the glob `only` and that have one of `tags`, if there are any.

        States without jobs are left out.
        """

    def in_flight(self, batch_id: int) -> int:
        """How many jobs are submitting, in doubt or running, wanted or not."""

    def sendable(
        self,
        batch_id: int,
        *,
        now: datetime,
        limit: int,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> list[Job]:
        """Wanted pending jobs whose `not_before` has passed, in manifest order."""

    def next_not_before(
        self,
        batch_id: int,
        *,
        after: datetime,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> datetime | None:
        """The first moment after `after` at which a wanted pending job may be sent; None when none waits that long."""

    def attempts(self, job_id: int) -> list[Attempt]:
        """Every submission of a job, the first one first."""

    def history(self, job_id: int) -> list[Moment]:
        """Everything that happened to a job, the oldest first."""

    def past_durations(self, billing_key: str, seconds: int, *, endpoint: str, limit: int) -> list[float]:
        """Seconds from acceptance to the end of the last tasks of that kind that were finished, the newest first."""

    def task_owner(self, task_id: str) -> int | None:
        """The job that the provider's task was bought for, of any batch; None when it is none of ours."""

    def service_times(self, kind: str, *, endpoint: str, limit: int) -> list[float]:
        """How long the last tasks of this kind took at that provider, in its seconds, the last one first."""

    def kinds_ahead(
        self, batch_id: int, *, limit: int, only: str | None = None, tags: Sequence[str] = ()
    ) -> dict[str, int]:
        """The kinds of the first `limit` wanted pending jobs that are selected, and how many of each."""

    def waiting_kinds(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[str, int]:
        """How many wanted pending jobs there are of each `VideoRequest.kind`."""
