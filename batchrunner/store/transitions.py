"""The port: the legal moves of one job, each a verb."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from batchrunner.model import Answer, Clip, Intent

NO_TAGS: Mapping[str, int] = MappingProxyType({})


class Transitions(Protocol):
    """A verb says whether it applied: `False` means that the job was not in the state that it must leave."""

    def recover(self, batch_id: int, *, now: datetime) -> int:
        """Start-up: every `submitting` becomes `in_doubt(crash)`, never `pending`. How many.

        No pending job waits longer than `settings.LONGEST_WAIT` from now.
        """

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
        """pending -> submitting, with a new attempt, whose id is returned.

        None when the job is no longer pending or when spent + committed + this price would pass `cap` for the batch,
        `per_run` for the intent's run, `per_day` or `per_month` for all batches in its currency, or the cap of one of the
        job's tags (micro-units, `used` says what counts), or has no price at all while there is one of them.
        """

    def record_accepted(self, job_id: int, task_id: str, answer: Answer, *, now: datetime) -> bool:
        """submitting -> running. Also False when another purchase owns the task id."""

    def record_returned(
        self, job_id: int, answer: Answer, *, reason: str, not_before: datetime | None, now: datetime
    ) -> bool:
        """submitting -> pending: certainly not bought, so it was no attempt; the purchase id is kept for the next try."""

    def record_refused(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        """submitting -> failed: refused for good, nothing was bought."""

    def record_unanswered(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        """submitting -> in_doubt."""

    def record_found(self, job_id: int, task_id: str, *, now: datetime, note: str | None = None) -> bool:
        """in_doubt -> running: the provider knows the purchase. Also False when another purchase owns the task id."""

    def record_absent(self, job_id: int, *, note: str, not_before: datetime | None, now: datetime) -> bool:
        """in_doubt -> pending with the same purchase id: not bought, says the evidence or the person of the note."""

    def record_abandoned(self, job_id: int, *, note: str, now: datetime) -> bool:
        """in_doubt -> failed(abandoned): a person gives it up; the money counts as spent."""

    def record_cancelled(self, job_id: int, *, note: str, now: datetime) -> bool:
        """pending -> cancelled: it is not sent."""

    def record_retried(self, job_id: int, *, note: str, not_before: datetime | None = None, now: datetime) -> bool:
        """failed or cancelled -> pending, as a new purchase; what the old one cost stays as it was booked."""

    def record_reopened(self, job_id: int, *, note: str, now: datetime) -> bool:
        """done or failed -> fetching: its clip is collected again from the task that was paid for.

        Also False when no money was spent on a task of it.
        """

    def record_rejected(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        """pending -> failed: it cannot be sent as it is (a frame was refused)."""

    def record_progress(self, job_id: int, *, status: str, progress: int | None, now: datetime) -> bool:
        """Still running; False (and nothing written) when that is not news."""

    def record_finished(
        self, job_id: int, *, expires_at: datetime | None, took: float | None = None, now: datetime
    ) -> bool:
        """running -> fetching. `took` is the task's service time in the provider's seconds, where it is known."""

    def record_task_failed(
        self, job_id: int, *, reason: str, message: str, took: float | None = None, now: datetime
    ) -> bool:
        """running -> failed: the provider says so, and gives the money back. `took` as above."""

    def record_vanished(self, job_id: int, *, message: str, reason: str = "vanished", now: datetime) -> bool:
        """running -> failed: the provider no longer knows the task, or offers no file; the money counts as spent."""

    def record_misattributed(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        """running -> in_doubt: its task is another purchase's and is nobody's from now on; the money stays committed."""

    def record_saved(self, job_id: int, clip: Clip, *, now: datetime) -> bool:
        """fetching -> done."""

    def record_expired(self, job_id: int, *, message: str, now: datetime) -> bool:
        """fetching -> failed."""

    def record_bad_file(self, job_id: int, *, message: str, now: datetime) -> bool:
        """fetching -> failed: the provider's clip is not what was asked for; what it sent is kept aside."""
