"""The legal moves of a job in SQLite: every verb one transaction, every move guarded by the state that it leaves."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime
from typing import Any

from batchrunner.budget import Caps, passed
from batchrunner.model import Answer, Clip, Intent
from batchrunner.settings import LONGEST_WAIT
from batchrunner.states import JobEvent, JobState, advance, sources
from batchrunner.store.ledger import (
    CHARGES,
    COUNTED,
    CRASH_MESSAGE,
    CRASH_REASON,
    CRASH_RULE,
    EXPLAINED,
    OUTCOMES,
    STRAY_RULE,
    Charge,
)
from batchrunner.store.queries import KIND
from batchrunner.store.rows import answer_columns, clip_columns, to_text, to_words
from batchrunner.store.sqlite_books import Books
from batchrunner.store.verbs import Verbs, of_purchase

_INTEND = """
    INSERT INTO attempts (job_id, number, purchase_id, price, billing_key, seconds, body_sha256, intended_at,
        run_id, tags, day, currency)
    VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE job_id = ?1), ?, ?, ?, ?, ?, ?, ?, ?,
        ?, (SELECT coalesce(currency, '') FROM batches WHERE id = ?))
    RETURNING id
"""


class Transitions(Books, Verbs):
    """The port's part of the same name."""

    _claimed = False
    """Whether the transaction under way holds an intent."""

    def recover(self, batch_id: int, *, now: datetime) -> int:
        too_late = "UPDATE jobs SET not_before = NULL WHERE batch_id = ? AND state = 'pending' AND not_before > ?"
        with self.transaction():
            self._run(too_late, (batch_id, to_text(now + LONGEST_WAIT)))
            sql = "SELECT id FROM jobs WHERE batch_id = ? AND wanted IN (0, 1) AND state = ?"
            rows = self._rows(sql, (batch_id, JobState.SUBMITTING))
            for row in rows:
                self._move(row["id"], JobEvent.UNANSWERED, now=now, reason=CRASH_REASON, message=CRASH_MESSAGE)
                self._settle(row["id"], JobEvent.UNANSWERED, {"rule": CRASH_RULE}, now=now)
            return len(rows)

    def _intend(self, job_id: int, intent: Intent, caps: Caps, day: date, *, now: datetime) -> int | None:
        with self.transaction():
            job = self._row("SELECT batch_id, billing_key, seconds, tags FROM jobs WHERE id = ?", (job_id,))
            if job is None or (caps.given and self._passes(caps, job, intent, day)):
                return None
            if not self._move(job_id, JobEvent.CLAIMED, now=now, **of_purchase(intent, now)):
                return None
            self._claimed = True
            priced = (intent.purchase_id, intent.price, job["billing_key"], job["seconds"], intent.body_sha256)
            counted = (to_text(now), intent.run_id, job["tags"], day.isoformat(), job["batch_id"])
            return int(self._rows(_INTEND, (job_id, *priced, *counted))[0]["id"])

    def _passes(self, caps: Caps, job: sqlite3.Row, intent: Intent, day: date) -> bool:
        tags = to_words(job["tags"])
        used = self.used(job["batch_id"], day=day, run_id=intent.run_id, tags=tags)
        return bool(passed(caps, used, intent.price, tags=tags))

    def record_reopened(self, job_id: int, *, note: str, now: datetime) -> bool:
        paid = "SELECT 1 FROM jobs JOIN attempts USING (task_id) WHERE jobs.id = ? AND charge = 'spent'"
        with self.transaction():
            if self._row(paid, (job_id,)) is None:
                return False
            return self._move(job_id, JobEvent.REOPENED, now=now, note=note)

    def record_progress(self, job_id: int, *, status: str, progress: int | None, now: datetime) -> bool:
        sql = """
            UPDATE jobs SET provider_status = :status, progress = :progress, updated_at = :now
            WHERE id = :id AND state = 'running' AND (provider_status IS NOT :status OR progress IS NOT :progress)
        """
        with self.transaction():
            changed = self._run(sql, {"id": job_id, "status": status, "progress": progress, "now": to_text(now)})
            return changed.rowcount == 1

    def _learn(self, job_id: int, took: float, *, now: datetime) -> None:
        sql = f"""
            INSERT INTO service_times (endpoint, kind, seconds, at)
            SELECT endpoint, {KIND}, ?, ? FROM jobs JOIN batches ON batches.id = batch_id WHERE jobs.id = ?
        """
        self._run(sql, (took, to_text(now), job_id))

    def record_misattributed(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        changes: dict[str, Any] = {"task_id": None, "provider_status": None, "progress": None}
        event = JobEvent.MISATTRIBUTED
        with self.transaction():
            moved = self._move(job_id, event, now=now, reason=reason, message=message, note=message, **changes)
            if moved:
                self._settle(job_id, event, {"task_id": None, "rule": STRAY_RULE}, now=now)
            return moved

    # one move of one job

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
        message = message or (answer.message if answer else None)
        columns = {**_stored(changes), "reason": reason, "message": message, "updated_at": to_text(now)}
        with self.transaction():
            for source in sources(event):
                target = advance(source, event)
                if self._update(job_id, {**columns, "state": target}, guard=source, counted=COUNTED.get(event, 0)):
                    said = note if event in EXPLAINED else note or reason
                    self._note(job_id, event, source, target, note=said, now=now)
                    self._settle(job_id, event, {**_answered(answer, now), **_task(changes)}, now=now)
                    return True
            return False

    def _update(self, job_id: int, columns: dict[str, Any], *, guard: JobState | None = None, counted: int = 0) -> bool:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        if counted:
            assignments += f", attempts = attempts + {counted}"
        sql = f"UPDATE jobs SET {assignments} WHERE id = ?" + (" AND state = ?" if guard else "")
        parameters = (*columns.values(), job_id, *((guard,) if guard else ()))
        return self._run(sql, parameters).rowcount == 1

    def _note(
        self, job_id: int, event: JobEvent, source: JobState, target: JobState, *, note: str | None, now: datetime
    ) -> None:
        sql = "INSERT INTO events (at, job_id, from_state, to_state, event, note) VALUES (?, ?, ?, ?, ?, ?)"
        self._run(sql, (to_text(now), job_id, source, target, event, note))

    def _settle(self, job_id: int, event: JobEvent, answered: dict[str, Any], *, now: datetime) -> None:
        """What the event means for the money of the job's open attempt, and what the provider answered."""
        if (charge := CHARGES.get(event)) is None:
            return
        columns = {**answered, "outcome": OUTCOMES[event], "charge": charge}
        if charge is not Charge.COMMITTED:
            columns["settled_at"] = to_text(now)
        assignments = ", ".join(f"{name} = ?" for name in columns)
        sql = f"UPDATE attempts SET {assignments} WHERE job_id = ? AND charge = 'committed'"
        self._run(sql, (*columns.values(), job_id))


def _stored(changes: dict[str, Any]) -> dict[str, Any]:
    """Fields of a job as columns."""
    columns: dict[str, Any] = {}
    for name, value in changes.items():
        if isinstance(value, Clip):
            columns |= clip_columns(value)
        else:
            columns[name] = to_text(value) if isinstance(value, datetime) else value
    return columns


def _task(changes: dict[str, Any]) -> dict[str, Any]:
    """The task that an attempt is from now on known to have bought."""
    return {"task_id": changes["task_id"]} if changes.get("task_id") else {}


def _answered(answer: Answer | None, now: datetime) -> dict[str, Any]:
    return {} if answer is None else {**answer_columns(answer), "answered_at": to_text(now)}
