"""What is asked of the jobs in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from fnmatch import fnmatchcase

from batchrunner.model import Attempt, Job, Moment
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.questions import NOTHING, Without
from batchrunner.store.tables import Tables


class Questions(Tables):
    """The port's part of the same name."""

    def job(self, job_id: int) -> Job:
        if job_id not in self._rows:
            raise KeyError(f"no job has the id {job_id}")
        return self._rows[job_id].job

    def jobs(self, batch_id: int, *, states: Iterable[JobState] = (), wanted_only: bool = True) -> Iterator[Job]:
        chosen = tuple(dict.fromkeys(states)) or tuple(JobState)
        flags = (True,) if wanted_only else (True, False)
        ids = [job_id for state in chosen for flag in flags for job_id in self._by_state[batch_id, flag, state]]
        yield from [self._rows[job_id].job for job_id in sorted(ids, key=self._order)]

    def saved_files(self, batch_id: int) -> Iterator[tuple[str, str]]:
        return ((job.key, job.clip.path) for job in self.jobs(batch_id, states=(JobState.DONE,)) if job.clip)

    def saved_as(self, batch_id: int, outputs: Collection[str]) -> list[tuple[str, str]]:
        done = [*self._by_state[batch_id, True, JobState.DONE], *self._by_state[batch_id, False, JobState.DONE]]
        jobs = [self._rows[job_id].job for job_id in sorted(done)]
        return [(job.output, job.task_id or "") for job in jobs if job.output in outputs]

    def _order(self, job_id: int) -> tuple[int, int]:
        return self._rows[job_id].position, job_id

    def counts(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[JobState, int]:
        found = {state: len(self._matching(batch_id, state, only, tags)) for state in JobState}
        return {state: jobs for state, jobs in found.items() if jobs}

    def _matching(self, batch_id: int, state: JobState, only: str | None, tags: Sequence[str]) -> list[Job]:
        jobs = [self._rows[job_id].job for job_id in self._by_state[batch_id, True, state]]
        if only is not None:
            jobs = [job for job in jobs if fnmatchcase(job.key, only)]
        return [job for job in jobs if not tags or set(job.tags) & set(tags)]

    def in_flight(self, batch_id: int) -> int:
        return sum(len(self._by_state[batch_id, wanted, state]) for wanted in (True, False) for state in IN_FLIGHT)

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
        pending = self._allowed(batch_id, only, tags, without)
        ready = [job for job in pending if job.not_before is None or job.not_before <= now]
        return sorted(ready, key=lambda job: self._order(job.id))[: max(limit, 0)]

    def _allowed(self, batch_id: int, only: str | None, tags: Sequence[str], without: Without) -> list[Job]:
        pending = self._matching(batch_id, JobState.PENDING, only, tags)
        return [one for one in pending if not without.tags & set(one.tags) and one.request.kind not in without.kinds]

    def next_not_before(
        self,
        batch_id: int,
        *,
        after: datetime,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> datetime | None:
        pending = self._allowed(batch_id, only, tags, without)
        return min((job.not_before for job in pending if job.not_before and job.not_before > after), default=None)

    def attempts(self, job_id: int) -> list[Attempt]:
        booked = [self._attempts[attempt] for attempt in self._rows[job_id].attempts] if job_id in self._rows else []
        return [Attempt(**{field.name: getattr(one, field.name) for field in fields(Attempt)}) for one in booked]

    def history(self, job_id: int) -> list[Moment]:
        return list(self._rows[job_id].history) if job_id in self._rows else []

    def past_durations(self, billing_key: str, seconds: int, *, endpoint: str, limit: int) -> list[float]:
        found: list[tuple[datetime, float]] = []
        for row in self._rows.values():
            request = row.job.request
            if (request.billing_key, request.duration) != (billing_key, seconds):
                continue
            if self._batches[row.batch_id].endpoint != endpoint:
                continue
            begun: Moment | None = None
            for moment in row.history:
                if moment.event in ("accepted", "found"):
                    begun = moment
                elif moment.event == "finished" and begun is not None and begun.event == "accepted":
                    found.append((moment.at, round((moment.at - begun.at).total_seconds(), 3)))
        return [time for _, time in sorted(found, key=lambda one: one[0], reverse=True)][:limit]

    def task_owner(self, task_id: str) -> int | None:
        return self._tasks.get(task_id)

    def service_times(self, kind: str, *, endpoint: str, limit: int) -> list[float]:
        return list(reversed(self._service_times.get((endpoint, kind), ())))[:limit]

    def kinds_ahead(
        self, batch_id: int, *, limit: int, only: str | None = None, tags: Sequence[str] = ()
    ) -> dict[str, int]:
        pending = sorted(self._matching(batch_id, JobState.PENDING, only, tags), key=lambda job: self._order(job.id))
        return Counter(job.request.kind for job in pending[:limit])

    def waiting_kinds(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[str, int]:
        return dict(Counter(job.request.kind for job in self._matching(batch_id, JobState.PENDING, only, tags)))
