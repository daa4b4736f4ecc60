"""The store in memory: the verified fake, held to the same contract suite as SQLite's.

Rows are frozen values in dictionaries. Every change leaves behind how to undo it, so that a transaction that raises
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

from batchrunner import plan
from batchrunner.budget import Caps, passed
from batchrunner.model import Answer, Asset, Batch, Clip, Frame, Intent, Job, Moment, ReplayProof, WantedJob
from batchrunner.settings import LONGEST_WAIT
from batchrunner.states import JobEvent, JobState, advance, sources
from batchrunner.store.base import NO_TAGS, NOTHING_AGAIN, Changes, Comparison, Planned, Purchases, Redo
from batchrunner.store.faults import broken_rule
from batchrunner.store.ledger import (
    ASKED_ANEW,
    BOUGHT_ANEW,
    CHARGES,
    CRASH_MESSAGE,
    CRASH_REASON,
    CRASH_RULE,
    DISCARDED,
    EXPLAINED,
    OPEN,
    OUTCOMES,
    REDONE,
    STRAY_RULE,
    UNEXPLAINED,
    UNSENT,
    Charge,
)
from batchrunner.store.memory_books import Books
from batchrunner.store.memory_evidence import Evidence
from batchrunner.store.tables import NAME, Booked, Row


class MemoryStore(Evidence, Books):
    """Jobs and their purchases, for as long as the process lives."""

    # batches and runs

    def open_batch(self, name: str, *, endpoint: str, currency: str | None, now: datetime) -> Batch:
        batch = self.batch(name)
        with self.transaction():
            if batch is None:
                batch = Batch(id=len(self._batches) + 1, name=name, endpoint=endpoint, currency=currency)
                self._put(self._worked_on, batch.id, now)
            elif any(attempt.batch_id == batch.id for attempt in self._attempts.values()):
                batch = replace(batch, currency=currency or batch.currency)
            else:
                batch = replace(batch, currency=currency or batch.currency, endpoint=endpoint)
            self._put(self._batches, batch.id, batch)
        return batch

    def record_places(self, batch_id: int, *, manifest: str | None, folder: str) -> None:
        if batch_id in self._batches:
            with self.transaction():
                self._put(self._batches, batch_id, replace(self._batches[batch_id], manifest=manifest, folder=folder))

    def start_run(self, batch_id: int, *, pid: int, host: str, plan: str | None = None, now: datetime) -> int:
        self._known(batch_id)
        with self.transaction():
            run_id = len(self._runs) + 1
            earlier = now if batch_id not in self._runs.values() else self._worked_on[batch_id]
            self._put(self._runs, run_id, batch_id)
            if plan is not None:
                self._put(self._plans, (batch_id, plan), run_id)
            self._put(self._worked_on, batch_id, max(now, earlier))
        return run_id

    def finish_run(self, run_id: int, *, exit_code: int, now: datetime) -> None:
        """Nothing asks for it."""

    def pause(self, batch_id: int, reason: str, message: str, *, now: datetime) -> None:
        self._set_paused(batch_id, reason, message)

    def unpause(self, batch_id: int, *, now: datetime) -> None:
        self._set_paused(batch_id, None, None)

    def _set_paused(self, batch_id: int, reason: str | None, message: str | None) -> None:
        if batch_id in self._batches:
            with self.transaction():
                batch = replace(self._batches[batch_id], paused=reason, paused_message=message)
                self._put(self._batches, batch_id, batch)

    def _known(self, batch_id: int) -> None:
        if batch_id not in self._batches:
            raise broken_rule(NAME, f"no batch has the id {batch_id}")

    # the plan

    def apply(self, batch_id: int, changes: Changes, *, now: datetime) -> None:
        with self.transaction():
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
        self._plan = plan.plan(list(jobs), self.stored_jobs(batch_id), redo=redo)
        return plan.compared(self._plan)

    def planned(self) -> Iterator[Planned]:
        return iter(self._plan.jobs)

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
            for wanted in takes:
                self._add(batch_id, wanted)
                row = self._rows[len(self._rows)]
                self._put(self._rows, row.job.id, replace(row, take_of=job_id, asked=note))

    def asked(self, batch_id: int) -> list[WantedJob]:
        rows = [row for row in self._rows.values() if row.batch_id == batch_id and row.asked and row.job.wanted]
        return [
            WantedJob(
                key=row.job.key,
                fingerprint=row.job.fingerprint,
                request=row.job.request,
                output=row.job.output,
                position=row.position,
                tags=row.job.tags,
            )
            for row in rows
        ]

    # transitions

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

    def record_intent(
        self,
        job_id: int,
        intent: Intent,
        *,
        cap: int | None,
        per_day: int | None = None,
        per_month: int | None = None,
        per_run: int | None = None,
        tags: Mapping[str, int] = NO_TAGS,
        now: datetime,
    ) -> int | None:
        row = self._rows.get(job_id)
        caps = Caps(max_cost=cap, per_run=per_run, per_day=per_day, per_month=per_month, tags=tags)
        day = intent.day or now.astimezone(UTC).date()
        if row is None or (caps.given and self._passes(caps, row, intent, day)):
            return None
        with self.transaction():
            changes: dict[str, Any] = {
                "purchase_id": intent.purchase_id,
                "attempts": row.job.attempts + 1,
                "not_before": None,
                "submitted_at": now,
                "provider_status": None,
                "progress": None,
            }
            if not self._move(job_id, JobEvent.CLAIMED, now=now, **changes):
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

    def record_accepted(self, job_id: int, task_id: str, answer: Answer, *, now: datetime) -> bool:
        if task_id in self._tasks:
            return False
        return self._move(job_id, JobEvent.ACCEPTED, now=now, answer=answer, task_id=task_id, submitted_at=now)

    def record_returned(
        self, job_id: int, answer: Answer, *, reason: str, not_before: datetime | None, now: datetime
    ) -> bool:
        attempts = self._rows[job_id].job.attempts - 1 if job_id in self._rows else 0
        changes: dict[str, Any] = {"not_before": not_before, "submitted_at": None, "attempts": attempts}
        return self._move(job_id, JobEvent.RETURNED, now=now, answer=answer, reason=reason, **changes)

    def record_refused(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.REFUSED, now=now, answer=answer, reason=reason)

    def record_unanswered(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.UNANSWERED, now=now, answer=answer, reason=reason)

    def record_found(self, job_id: int, task_id: str, *, now: datetime, note: str | None = None) -> bool:
        if task_id in self._tasks:
            return False
        return self._move(job_id, JobEvent.FOUND, now=now, note=note, task_id=task_id)

    def record_absent(self, job_id: int, *, note: str, not_before: datetime | None, now: datetime) -> bool:
        return self._move(job_id, JobEvent.ABSENT, now=now, note=note, not_before=not_before, submitted_at=None)

    def record_abandoned(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.ABANDONED, now=now, note=note, reason=JobEvent.ABANDONED.value, message=note)

    def record_cancelled(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.CANCELLED, now=now, note=note, reason=JobEvent.CANCELLED.value, message=note)

    def record_retried(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.RETRIED, now=now, note=note, purchase_id=None, **UNSENT)

    def record_reopened(self, job_id: int, *, note: str, now: datetime) -> bool:
        row = self._rows.get(job_id)
        if row is None or row.job.task_id is None or self._attempts[row.attempts[-1]].charge != Charge.SPENT:
            return False
        return self._move(job_id, JobEvent.REOPENED, now=now, note=note)

    def record_rejected(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.REJECTED, now=now, reason=reason, message=message)

    def record_progress(self, job_id: int, *, status: str, progress: int | None, now: datetime) -> bool:
        row = self._rows.get(job_id)
        if row is None or row.job.state is not JobState.RUNNING:
            return False
        if (row.job.provider_status, row.job.progress) == (status, progress):
            return False
        with self.transaction():
            self._place(replace(row, job=replace(row.job, provider_status=status, progress=progress)))
        return True

    def record_finished(
        self, job_id: int, *, expires_at: datetime | None, took: float | None = None, now: datetime
    ) -> bool:
        with self.transaction():
            return self._learnt(job_id, took, self._move(job_id, JobEvent.FINISHED, now=now, expires_at=expires_at))

    def record_task_failed(
        self, job_id: int, *, reason: str, message: str, took: float | None = None, now: datetime
    ) -> bool:
        with self.transaction():
            moved = self._move(job_id, JobEvent.TASK_FAILED, now=now, reason=reason, message=message)
            return self._learnt(job_id, took, moved)

    def _learnt(self, job_id: int, took: float | None, moved: bool) -> bool:
        if moved and took is not None:
            row = self._rows[job_id]
            about = self._batches[row.batch_id].endpoint, row.job.request.kind
            self._put(self._service_times, about, (*self._service_times.get(about, ()), took))
        return moved

    def record_vanished(self, job_id: int, *, message: str, reason: str = "vanished", now: datetime) -> bool:
        return self._move(job_id, JobEvent.VANISHED, now=now, reason=reason, message=message)

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

    def record_saved(self, job_id: int, clip: Clip, *, now: datetime) -> bool:
        return self._move(job_id, JobEvent.SAVED, now=now, clip=clip)

    def record_expired(self, job_id: int, *, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.EXPIRED, now=now, reason=JobEvent.EXPIRED.value, message=message)

    def record_bad_file(self, job_id: int, *, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.BAD_FILE, now=now, reason=JobEvent.BAD_FILE.value, message=message)

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
        """The job and the money of its open attempt, together; False when the job is in none of the event's sources."""
        row = self._rows.get(job_id)
        if row is None or row.job.state not in sources(event):
            return False
        message = message or (answer.message if answer else None)
        job = replace(row.job, state=advance(row.job.state, event), reason=reason, message=message, **changes)
        if event in EXPLAINED and not (note or "").strip(" "):
            raise broken_rule(NAME, UNEXPLAINED)
        said = note if event in EXPLAINED else note or reason
        moment = Moment(at=now, event=event, source=row.job.state, target=job.state, note=said)
        with self.transaction():
            self._place(replace(row, job=job, history=(*row.history, moment)))
            if event in CHARGES:
                self._settle(row, event, answer, now)
            if event in (JobEvent.ACCEPTED, JobEvent.FOUND):
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

    # replay

    def record_proof(self, proof: ReplayProof) -> None:
        with self.transaction():
            self._put(self._proofs, (proof.base_url, proof.model, proof.key), proof)

    # frames

    def record_asset(self, asset: Asset) -> None:
        if "?" not in asset.url:
            with self.transaction():
                self._put(self._assets, (asset.sha256, asset.endpoint), asset)
