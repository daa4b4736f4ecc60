"""The verbs that are one move of one job: what each of them changes, said once for both stores.

A store says how a move is carried out (`_move`) and how a purchase begins (`_intend`); which event a verb is, and what
the job remembers of it, is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import Any

from batchrunner.budget import Caps
from batchrunner.model import Answer, Clip, Intent
from batchrunner.states import JobEvent
from batchrunner.store.ledger import UNSENT
from batchrunner.store.transitions import NO_TAGS


class Verbs(ABC):
    """The port's transitions, but for those that are more than a move."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """As the port has it."""

    @abstractmethod
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
        """The job, its open attempt and its history, together; False when the job is in none of the event's sources.

        Also False when the event gives it a task (`ledger.TAKES`) that another purchase owns. `changes` are fields of `Job`. A job's count of attempts follows the event, by `ledger.COUNTED`.
        """

    @abstractmethod
    def _intend(self, job_id: int, intent: Intent, caps: Caps, day: date, *, now: datetime) -> int | None:
        """`record_intent` under these caps; `day` is the one that the price counts for."""

    @abstractmethod
    def _learn(self, job_id: int, took: float, *, now: datetime) -> None:
        """Keep the service time of the job's task."""

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
        caps = Caps(max_cost=cap, per_run=per_run, per_day=per_day, per_month=per_month, tags=tags)
        day = intent.day or now.astimezone(UTC).date()
        return self._intend(job_id, intent, caps, day, now=now)

    def record_accepted(self, job_id: int, task_id: str, answer: Answer, *, now: datetime) -> bool:
        return self._move(job_id, JobEvent.ACCEPTED, now=now, answer=answer, task_id=task_id, submitted_at=now)

    def record_returned(
        self, job_id: int, answer: Answer, *, reason: str, not_before: datetime | None, now: datetime
    ) -> bool:
        changes: dict[str, Any] = {"not_before": not_before, "submitted_at": None}
        return self._move(job_id, JobEvent.RETURNED, now=now, answer=answer, reason=reason, **changes)

    def record_refused(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.REFUSED, now=now, answer=answer, reason=reason)

    def record_unanswered(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.UNANSWERED, now=now, answer=answer, reason=reason)

    def record_found(self, job_id: int, task_id: str, *, now: datetime, note: str | None = None) -> bool:
        return self._move(job_id, JobEvent.FOUND, now=now, note=note, task_id=task_id)

    def record_absent(self, job_id: int, *, note: str, not_before: datetime | None, now: datetime) -> bool:
        return self._move(job_id, JobEvent.ABSENT, now=now, note=note, not_before=not_before, submitted_at=None)

    def record_abandoned(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.ABANDONED, now=now, note=note, reason=JobEvent.ABANDONED.value, message=note)

    def record_cancelled(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.CANCELLED, now=now, note=note, reason=JobEvent.CANCELLED.value, message=note)

    def record_retried(self, job_id: int, *, note: str, not_before: datetime | None = None, now: datetime) -> bool:
        changes: dict[str, Any] = {**UNSENT, "purchase_id": None, "not_before": not_before}
        return self._move(job_id, JobEvent.RETRIED, now=now, note=note, **changes)

    def record_rejected(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.REJECTED, now=now, reason=reason, message=message)

    def record_finished(
        self, job_id: int, *, expires_at: datetime | None, took: float | None = None, now: datetime
    ) -> bool:
        with self.transaction():
            moved = self._move(job_id, JobEvent.FINISHED, now=now, expires_at=expires_at)
            if moved and took is not None:
                self._learn(job_id, took, now=now)
            return moved

    def record_task_failed(
        self, job_id: int, *, reason: str, message: str, took: float | None = None, now: datetime
    ) -> bool:
        with self.transaction():
            moved = self._move(job_id, JobEvent.TASK_FAILED, now=now, reason=reason, message=message)
            if moved and took is not None:
                self._learn(job_id, took, now=now)
            return moved

    def record_vanished(self, job_id: int, *, message: str, reason: str = "vanished", now: datetime) -> bool:
        return self._move(job_id, JobEvent.VANISHED, now=now, reason=reason, message=message)

    def record_saved(self, job_id: int, clip: Clip, *, now: datetime) -> bool:
        return self._move(job_id, JobEvent.SAVED, now=now, clip=clip)

    def record_expired(self, job_id: int, *, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.EXPIRED, now=now, reason=JobEvent.EXPIRED.value, message=message)

    def record_bad_file(self, job_id: int, *, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.BAD_FILE, now=now, reason=JobEvent.BAD_FILE.value, message=message)


def of_purchase(intent: Intent, now: datetime) -> dict[str, Any]:
    """What a job remembers of the purchase that begins."""
    return {
        "purchase_id": intent.purchase_id,
        "not_before": None,
        "submitted_at": now,
        "provider_status": None,
        "progress": None,
    }
