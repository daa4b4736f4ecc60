"""A manifest against the jobs in memory: `plan` decides, and what it decided is carried out here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase

from batchrunner import plan
from batchrunner.model import Frame, Job, WantedJob
from batchrunner.states import JobEvent, JobState
from batchrunner.store.comparison import (
    NOTHING_AGAIN,
    Changes,
    Comparison,
    Planned,
    Purchases,
    Receipt,
    Redo,
    SourceFile,
    StoredJob,
)
from batchrunner.store.faults import broken_rule
from batchrunner.store.ledger import ASKED_ANEW, BOUGHT_ANEW, DISCARDED, REDONE, UNEXPLAINED, UNSENT
from batchrunner.store.memory_transitions import Transitions
from batchrunner.store.tables import NAME, Row


class Planning(Transitions):
    """The port's part of the same name."""

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

    def apply(self, batch_id: int, changes: Changes, *, now: datetime) -> None:
        with self.transaction():
            self._forget_receipt(batch_id)
            for job_id in changes.orphaned:
                if row := self._of(batch_id, job_id):
                    self._place(replace(row, job=replace(row.job, wanted=False)))
            self._redo(batch_id, changes, now=now)
            moves = [(row, wanted) for job_id, wanted in changes.replaced if (row := self._unpaid(batch_id, job_id))]
            moves += [(row, wanted) for job_id, wanted in changes.kept if (row := self._of(batch_id, job_id))]
            for row, wanted in moves:
                if row.job.key != wanted.key:  # jobs may take each other's keys: whoever changes its own steps aside
                    self._place(replace(row, job=replace(row.job, wanted=False)))
            for job_id, wanted in changes.replaced:
                if row := self._unpaid(batch_id, job_id):
                    self._replace(row, wanted, now=now)
            for job_id, wanted in changes.kept:
                if row := self._of(batch_id, job_id):
                    self._keep(row, wanted)
            for wanted in changes.added:
                self._add(batch_id, wanted)

    def _keep(self, row: Row, wanted: WantedJob) -> None:
        output = row.job.output if row.job.state is JobState.DONE else wanted.output
        same = row.job.state is JobState.PENDING and row.job.fingerprint == wanted.fingerprint
        request = wanted.request if same else row.job.request
        job = replace(row.job, key=wanted.key, output=output, tags=wanted.tags, request=request, wanted=True)
        if job.reason == DISCARDED:
            job = replace(job, reason=None, message=None)
        self._place(replace(row, job=job, position=wanted.position))

    def _redo(self, batch_id: int, changes: Changes, *, now: datetime) -> None:
        for row in filter(None, (self._of(batch_id, job_id) for job_id in changes.discarded)):
            job = replace(row.job, wanted=False)
            if job.state is JobState.DONE:
                job = replace(job, reason=DISCARDED, message=BOUGHT_ANEW)
            self._place(replace(row, job=job))
        for row in filter(None, (self._of(batch_id, job_id) for job_id in sorted(changes.retried))):
            self.record_retried(row.job.id, note=REDONE, now=now)

    def compare(self, batch_id: int, jobs: Iterable[WantedJob], *, redo: Redo = NOTHING_AGAIN) -> Comparison:
        self._recalled = False
        self._plan = plan.plan(list(jobs), self.stored_jobs(batch_id), redo=redo)
        return plan.compared(self._plan)

    def recall(self, batch_id: int) -> Comparison:
        rows = (row for row in self._rows.values() if row.batch_id == batch_id and row.job.wanted)
        wanted = [_wanted(row) for row in sorted(rows, key=lambda row: self._order(row.job.id))]
        compared = self.compare(batch_id, wanted)
        self._recalled = True
        return compared

    def planned(self, *, to_send: bool = False) -> Iterator[Planned]:
        return (one for one in self._plan.jobs if one.verdict.is_sent or not to_send)

    def purchases(self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None) -> Purchases:
        return plan.purchases(self._sent(only, tags, limit), again=set(self._plan.again))

    def outgoing(
        self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Frame]:
        return iter(plan.outgoing(self._sent(only, tags, limit)))

    def _sent(self, only: str | None, tags: Sequence[str], limit: int | None) -> list[WantedJob]:
        sent = [job for job in self._plan.to_send if only is None or fnmatchcase(job.key, only)]
        return [job for job in sent if not tags or set(job.tags) & set(tags)][:limit]

    def adopt(self, batch_id: int, *, now: datetime) -> None:
        if not self._recalled:
            self.apply(batch_id, self._plan.changes, now=now)
        self._plan = plan.plan([], [])

    def _of(self, batch_id: int, job_id: int) -> Row | None:
        row = self._rows.get(job_id)
        return row if row and row.batch_id == batch_id else None

    def _unpaid(self, batch_id: int, job_id: int) -> Row | None:
        row = self._of(batch_id, job_id)
        if row is None:
            return None
        ended = row.job.state in {JobState.FAILED, JobState.CANCELLED} and self._charged(row) is None
        return row if ended or row.job.state is JobState.PENDING else None

    def _replace(self, row: Row, wanted: WantedJob, *, now: datetime) -> None:
        same = row.job.state is JobState.PENDING and row.job.fingerprint == wanted.fingerprint
        job = replace(
            row.job,
            key=wanted.key,
            fingerprint=wanted.fingerprint,
            request=wanted.request,
            output=wanted.output,
            tags=wanted.tags,
            purchase_id=row.job.purchase_id if same else None,
            wanted=True,
        )
        self._place(replace(row, job=job, position=wanted.position))
        self._move(job.id, JobEvent.RETRIED, now=now, note=ASKED_ANEW, **UNSENT)

    def _add(self, batch_id: int, wanted: WantedJob) -> None:
        self._known(batch_id)
        job = Job(
            id=len(self._rows) + 1,
            key=wanted.key,
            fingerprint=wanted.fingerprint,
            state=JobState.PENDING,
            request=wanted.request,
            output=wanted.output,
            tags=wanted.tags,
        )
        self._place(Row(job=job, batch_id=batch_id, position=wanted.position))

    def add_takes(self, job_id: int, takes: Sequence[WantedJob], *, note: str, now: datetime) -> None:
        if not note.strip(" "):
            raise broken_rule(NAME, UNEXPLAINED)
        batch_id = self._rows[job_id].batch_id
        with self.transaction():
            self._forget_receipt(batch_id)
            for wanted in takes:
                self._add(batch_id, wanted)
                row = self._rows[len(self._rows)]
                self._put(self._rows, row.job.id, replace(row, take_of=job_id, asked=note))

    def asked(self, batch_id: int) -> list[WantedJob]:
        rows = [row for row in self._rows.values() if row.batch_id == batch_id and row.asked and row.job.wanted]
        return list(map(_wanted, rows))

    def record_receipt(self, batch_id: int, receipt: Receipt, sources: Iterable[SourceFile]) -> None:
        with self.transaction():
            self._put(self._receipts, batch_id, (receipt, tuple(sources)))

    def receipts(self, manifest: str) -> list[tuple[int, Receipt]]:
        found = sorted((batch_id, receipt) for batch_id, (receipt, _) in self._receipts.items())
        return [(batch_id, receipt) for batch_id, receipt in found if receipt.manifest == manifest]

    def receipt_sources(self, batch_id: int) -> Iterator[SourceFile]:
        return iter(self._receipts[batch_id][1] if batch_id in self._receipts else ())

    def _forget_receipt(self, batch_id: int) -> None:
        if batch_id in self._receipts:
            self._drop(self._receipts, batch_id)


def _wanted(row: Row) -> WantedJob:
    return WantedJob(
        key=row.job.key,
        fingerprint=row.job.fingerprint,
        request=row.job.request,
        output=row.job.output,
        position=row.position,
        tags=row.job.tags,
    )
