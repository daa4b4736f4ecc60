"""The store in memory, its tables: rows, what finds them, and how a change is undone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TypeVar

from batchrunner import plan
from batchrunner.model import Asset, Attempt, Batch, Job, Moment, ReplayProof
from batchrunner.states import JobState
from batchrunner.store.comparison import Receipt, SourceFile
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
    account: str | None = None


class Tables:
    """The rows, and what finds them."""

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
        self._receipts: dict[int, tuple[Receipt, tuple[SourceFile, ...]]] = {}
        self._plan = plan.plan([], [])
        """The last comparison."""
        self._recalled = False
        """Whether it was one of the stored jobs with themselves."""
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

    def as_one(self) -> AbstractContextManager[None]:
        """Undoing alone costs nothing here."""
        return nullcontext()

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

    def _known(self, batch_id: int) -> None:
        if batch_id not in self._batches:
            raise broken_rule(NAME, f"no batch has the id {batch_id}")

    def _charged(self, row: Row) -> Booked | None:
        """The last attempt that was, or may have been, bought and was not given back."""
        attempts = [self._attempts[attempt] for attempt in row.attempts]
        return next((attempt for attempt in reversed(attempts) if attempt.charge != Charge.RELEASED), None)
