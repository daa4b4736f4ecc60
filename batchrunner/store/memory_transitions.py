"""The legal moves of a job in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from batchrunner.budget import Caps, passed
from batchrunner.model import Answer, Intent, Moment
from batchrunner.settings import LONGEST_WAIT
from batchrunner.states import JobEvent, JobState, advance, sources
from batchrunner.store.faults import broken_rule
from batchrunner.store.ledger import (
    CHARGES,
    COUNTED,
    CRASH_MESSAGE,
    CRASH_REASON,
    CRASH_RULE,
    EXPLAINED,
    OPEN,
    OUTCOMES,
    STRAY_RULE,
    TAKES,
    UNEXPLAINED,
    Charge,
)
from batchrunner.store.memory_books import Books
from batchrunner.store.tables import NAME, Booked, Row
from batchrunner.store.verbs import Verbs, of_purchase


class Transitions(Books, Verbs):
    """The verbs of the port that move jobs."""

    def recover(self, batch_id: int, *, now: datetime) -> int:
        jobs = list(self.jobs(batch_id, states=[JobState.SUBMITTING], wanted_only=False))
        late = [job for job in self.jobs(batch_id, states=[JobState.PENDING], wanted_only=False) if job.not_before]
        with self.transaction():
            for job in late:
                if job.not_before and job.not_before > now + LONGEST_WAIT:
                    self._place(replace(self._rows[job.id], job=replace(job, not_before=None)))
            for job in jobs:
                self._move(job.id, JobEvent.UNANSWERED, now=now, reason=CRASH_REASON, message=CRASH_MESSAGE)
                self._book(self._rows[job.id].attempts[-1], answer=Answer(rule=CRASH_RULE))
        return len(jobs)

    def _intend(self, job_id: int, intent: Intent, caps: Caps, day: date, *, now: datetime) -> int | None:
        row = self._rows.get(job_id)
        if row is None or (caps.given and self._passes(caps, row, intent, day)):
            return None
        with self.transaction():
            if not self._move(job_id, JobEvent.CLAIMED, now=now, **of_purchase(intent, now)):
                return None
            if intent.run_id is not None and intent.run_id not in self._runs:
                raise broken_rule(NAME, f"no run has the id {intent.run_id}")
            attempt_id = len(self._attempts) + 1
            request = row.job.request
            attempt = Booked(
                number=len(row.attempts) + 1,
                purchase_id=intent.purchase_id,
                outcome=OPEN,
                charge=Charge.COMMITTED.value,
                price=intent.price,
                body_sha256=intent.body_sha256,
                intended_at=now,
                batch_id=row.batch_id,
                billing_key=request.billing_key,
                seconds=request.duration,
                day=day,
                currency=self._batches[row.batch_id].currency,
                run_id=intent.run_id,
                tags=row.job.tags,
                account=intent.account,
            )
            self._put(self._attempts, attempt_id, attempt)
            self._attach(job_id, (*row.attempts, attempt_id))
            return attempt_id

    def _attach(self, job_id: int, attempts: tuple[int, ...]) -> None:
        row = replace(self._rows[job_id], attempts=attempts)
        charged = self._charged(row)
        self._put(self._rows, job_id, replace(row, job=replace(row.job, price=charged.price if charged else None)))

    def _passes(self, caps: Caps, row: Row, intent: Intent, day: date) -> bool:
        used = self.used(row.batch_id, day=day, run_id=intent.run_id, tags=row.job.tags)
        return bool(passed(caps, used, intent.price, tags=row.job.tags))

    def record_reopened(self, job_id: int, *, note: str, now: datetime) -> bool:
        row = self._rows.get(job_id)
        if row is None or row.job.task_id is None or self._attempts[row.attempts[-1]].charge != Charge.SPENT:
            return False
        return self._move(job_id, JobEvent.REOPENED, now=now, note=note)

    def record_progress(self, job_id: int, *, status: str, progress: int | None, now: datetime) -> bool:
        row = self._rows.get(job_id)
        if row is None or row.job.state is not JobState.RUNNING:
            return False
        if (row.job.provider_status, row.job.progress) == (status, progress):
            return False
        with self.transaction():
            self._place(replace(row, job=replace(row.job, provider_status=status, progress=progress)))
        return True

    def _learn(self, job_id: int, took: float, *, now: datetime) -> None:
        row = self._rows[job_id]
        about = self._batches[row.batch_id].endpoint, row.job.request.kind
        self._put(self._service_times, about, (*self._service_times.get(about, ()), took))

    def record_misattributed(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        changes: dict[str, Any] = {"task_id": None, "provider_status": None, "progress": None}
        event = JobEvent.MISATTRIBUTED
        with self.transaction():
            row = self._rows.get(job_id)
            if row is None or not self._move(
                job_id, event, now=now, reason=reason, message=message, note=message, **changes
            ):
                return False
            last = row.attempts[-1]
            answer = replace(self._attempts[last].answer or Answer(rule=STRAY_RULE), rule=STRAY_RULE)
            self._book(last, task_id=None, answer=answer)
            self._drop(self._tasks, row.job.task_id or "")
            return True

    def _move(
        self,
        job_id: int,
        event: JobEvent,
        *,
        now: datetime,
        answer: Answer | None = None,
        reason: str | None = None,
        message: str | None = None,
        note: str | None = None,
        **changes: Any,
    ) -> bool:
        row = self._rows.get(job_id)
        if row is None or row.job.state not in sources(event):
            return False
        if event in TAKES and changes["task_id"] in self._tasks:
            return False
        message = message or (answer.message if answer else None)
        changes |= {"state": advance(row.job.state, event), "attempts": row.job.attempts + COUNTED.get(event, 0)}
        job = replace(row.job, reason=reason, message=message, **changes)
        if event in EXPLAINED and not (note or "").strip(" "):
            raise broken_rule(NAME, UNEXPLAINED)
        said = note if event in EXPLAINED else note or reason
        moment = Moment(at=now, event=event, source=row.job.state, target=job.state, note=said)
        with self.transaction():
            self._place(replace(row, job=job, history=(*row.history, moment)))
            if event in CHARGES:
                self._settle(row, event, answer, now)
            if event in TAKES:
                self._put(self._tasks, changes["task_id"], job_id)
                self._book(row.attempts[-1], task_id=changes["task_id"])
        return True

    def _settle(self, row: Row, event: JobEvent, answer: Answer | None, now: datetime) -> None:
        """What the event means for the money of the job's open attempt, which is its last, and what was answered."""
        attempt_id = row.attempts[-1]
        if self._attempts[attempt_id].charge != Charge.COMMITTED:
            return
        answered = {} if answer is None else {"answer": answer, "answered_at": now}
        settled = {"settled_at": now} if CHARGES[event] is not Charge.COMMITTED else {}
        self._book(attempt_id, outcome=OUTCOMES[event], charge=CHARGES[event].value, **answered, **settled)
        self._attach(row.job.id, row.attempts)

    def _book(self, attempt_id: int, **changes: Any) -> None:
        self._put(self._attempts, attempt_id, replace(self._attempts[attempt_id], **changes))
