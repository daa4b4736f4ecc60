"""The store in memory, its tables: rows, what finds them, how a change is undone, and what can be asked of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeVar

from batchrunner import plan
from batchrunner.model import Asset, Attempt, Batch, Job, Moment, ReplayProof
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.base import NOTHING, StoredJob, Without
from batchrunner.store.faults import broken_rule
from batchrunner.store.ledger import Charge

NAME = "the store in memory"

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job, and what the port's `Job` leaves out."""

    job: Job
    batch_id: int
    position: int
    attempts: tuple[int, ...] = ()
    take_of: int | None = None
    asked: str | None = None
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked(Attempt):
    """An attempt, and what sums are made by."""

    batch_id: int
    billing_key: str
    seconds: int
    day: date
    currency: str | None
    settled_at: datetime | None = None
    run_id: int | None = None
    tags: tuple[str, ...] = ()


class Tables:
    """The rows, what finds them, and the reading half of the port."""

    def __init__(self) -> None:
        self._batches: dict[int, Batch] = {}
        self._worked_on: dict[int, datetime] = {}
        self._runs: dict[int, int] = {}
        self._plans: dict[tuple[int, str], int] = {}
        """The last run of each saved plan, by batch and digest."""
        self._rows: dict[int, Row] = {}
        self._by_state: defaultdict[tuple[int, bool, JobState], set[int]] = defaultdict(set)
        self._keys: dict[tuple[int, str], int] = {}
        """Wanted jobs by batch and key."""
        self._tasks: dict[str, int] = {}
        """The job that each task was bought for, also when the job was bought again since."""
        self._purchases: dict[str, int] = {}
        self._attempts: dict[int, Booked] = {}
        self._proofs: dict[tuple[str, str, str], ReplayProof] = {}
        self._assets: dict[tuple[str, str], Asset] = {}
        self._service_times: dict[tuple[str, str], tuple[float, ...]] = {}
        self._plan = plan.plan([], [])
        """The last comparison."""
        self._undo: list[Callable[[], object]] = []
        self._depth = 0

    def close(self) -> None:
        """Nothing to close."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens, or is undone when it raises; blocks may nest."""
        start = len(self._undo)
        self._depth += 1
        try:
            yield
        except BaseException:
            while len(self._undo) > start:
                self._undo.pop()()
            raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._undo.clear()

    def _put(self, table: dict[K, V], key: K, value: V) -> None:
        if key in table:
            self._undo.append(partial(table.__setitem__, key, table[key]))
        else:
            self._undo.append(partial(table.pop, key))
        table[key] = value

    def _drop(self, table: dict[K, V], key: K) -> None:
        self._undo.append(partial(table.__setitem__, key, table.pop(key)))

    def _place(self, row: Row) -> None:
        """Write a job and keep what finds it: by state, by key, by purchase."""
        job = row.job
        before = self._rows.get(job.id)
        if before is not None:
            self._unlist(before)
        if job.wanted:
            self._claim(self._keys, (row.batch_id, job.key), job.id)
        if job.purchase_id is not None:
            self._claim(self._purchases, job.purchase_id, job.id)
        listed = self._by_state[row.batch_id, job.wanted, job.state]
        self._undo.append(partial(listed.discard, job.id))
        listed.add(job.id)
        self._put(self._rows, job.id, row)

    def _claim(self, owners: dict[K, int], name: K, job_id: int) -> None:
        if name in owners:
            raise broken_rule(NAME, f"two jobs have {name}")
        self._put(owners, name, job_id)

    def _unlist(self, row: Row) -> None:
        job = row.job
        listed = self._by_state[row.batch_id, job.wanted, job.state]
        self._undo.append(partial(listed.add, job.id))
        listed.discard(job.id)
        if job.wanted:
            self._drop(self._keys, (row.batch_id, job.key))
        if job.purchase_id is not None:
            self._drop(self._purchases, job.purchase_id)

    # questions

    def batch(self, name: str) -> Batch | None:
        return next((batch for batch in self._batches.values() if batch.name == name), None)

    def batches(self) -> list[Batch]:
        return sorted(self._batches.values(), key=lambda batch: (self._worked_on[batch.id], batch.id), reverse=True)

    def has_run(self, batch_id: int, plan: str) -> bool:
        return (batch_id, plan) in self._plans

    def stored_jobs(self, batch_id: int) -> Iterator[StoredJob]:
        for job in self.jobs(batch_id, wanted_only=False):
            yield StoredJob(
                id=job.id,
                key=job.key,
                fingerprint=job.fingerprint,
                state=job.state,
                attempts=job.attempts,
                output=job.output,
                wanted=job.wanted,
                paid=self._charged(self._rows[job.id]) is not None,
            )

    def _charged(self, row: Row) -> Booked | None:
        """The last attempt that was, or may have been, bought and was not given back."""
        attempts = [self._attempts[attempt] for attempt in row.attempts]
        return next((attempt for attempt in reversed(attempts) if attempt.charge != Charge.RELEASED), None)

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

    def asset(self, sha256: str, *, endpoint: str) -> Asset | None:
        return self._assets.get((sha256, endpoint))

    def salt(self) -> bytes:
        return b"the salt in memory"

    def replay_proof(self, *, base_url: str, model: str, key: str) -> ReplayProof | None:
        return self._proofs.get((base_url, model, key))
