"""The legal moves of a job in SQLite: every verb one transaction, every move guarded by the state that it leaves."""

from __future__ import annotations

from datetime import date, datetime
from functools import cache
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
    TAKES,
    Charge,
)
from batchrunner.store.queries import KIND
from batchrunner.store.rows import answer_columns, clip_columns, to_text, to_words
from batchrunner.store.sqlite_books import Books
from batchrunner.store.verbs import Verbs, of_purchase

_INTEND = """
    INSERT INTO attempts (job_id, number, purchase_id, price, billing_key, seconds, body_sha256, intended_at,
        run_id, tags, day, account, currency)
    SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE job_id = jobs.id), ?, ?, billing_key, seconds, ?, ?,
        ?, tags, ?, ?, (SELECT coalesce(currency, '') FROM batches WHERE id = batch_id)
    FROM jobs WHERE id = ?
"""
_NOTE = "INSERT INTO events (at, job_id, from_state, to_state, event, note) VALUES (?, ?, ?, ?, ?, ?)"
_MOVES = {
    event: tuple((source.value, advance(source, event).value, event.value) for source in sources(event))
    for event in JobEvent
}
"""From where to where each event leads, and its word."""
_ALWAYS = ("state", "reason", "message", "updated_at")
"""Columns that every move sets."""


@cache
def _move_sql(event: JobEvent, names: tuple[str, ...]) -> str:
    """A job's move, which sets these columns too; a task that another purchase owns is not taken."""
    assignments = [f"{name} = ?" for name in (*_ALWAYS, *names)]
    if counted := COUNTED.get(event, 0):
        assignments.append(f"attempts = attempts + {counted}")
    free = " AND NOT EXISTS (SELECT 1 FROM attempts WHERE task_id = ?)" if event in TAKES else ""
    return f"UPDATE jobs SET {', '.join(assignments)} WHERE id = ? AND state = ?{free}"


@cache
def _settle_sql(event: JobEvent, names: tuple[str, ...]) -> str:
    """What an event means for the open attempt of a job; a charge that stays is not written, so that nothing is summed."""
    columns = [f"{name} = ?" for name in names] + [f"outcome = '{OUTCOMES[event]}'"]
    if CHARGES[event] is not Charge.COMMITTED:
        columns.append(f"charge = '{CHARGES[event]}'")
    return f"UPDATE attempts SET {', '.join(columns)} WHERE job_id = ? AND charge = 'committed'"


class Transitions(Books, Verbs):
    """The port's part of the same name."""

    _claimed = False
    """Whether the transaction under way holds an intent."""

    def recover(self, batch_id: int, *, now: datetime) -> int:
        too_late = """
            UPDATE jobs SET not_before = NULL WHERE batch_id = ? AND wanted IN (0, 1) AND state = 'pending' AND not_before > ?
        """
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
            if caps.given and self._passes(job_id, intent, caps, day):
                return None
            if not self._move(job_id, JobEvent.CLAIMED, now=now, **of_purchase(intent, now)):
                return None
            self._claimed = True
            bought = (intent.purchase_id, intent.price, intent.body_sha256, to_text(now))
            return self._run(_INTEND, (*bought, intent.run_id, day.isoformat(), intent.account, job_id)).lastrowid

    def _passes(self, job_id: int, intent: Intent, caps: Caps, day: date) -> bool:
        job = self._row("SELECT batch_id, tags FROM jobs WHERE id = ?", (job_id,))
        if job is None:
            return True
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
        at = to_text(now)
        message = message or (answer.message if answer else None)
        columns = _stored(changes)
        sql = _move_sql(event, tuple(columns))
        said = note if event in EXPLAINED else note or reason
        task = (changes["task_id"],) if event in TAKES else ()
        with self.transaction():
            for source, target, word in _MOVES[event]:
                moved = self._run(sql, (target, reason, message, at, *columns.values(), job_id, source, *task))
                if moved.rowcount:
                    self._run(_NOTE, (at, job_id, source, target, word, said))
                    if event in CHARGES:
                        answered = {} if answer is None else {**answer_columns(answer), "answered_at": at}
                        self._settle(job_id, event, answered | {"task_id": task[0]} if task else answered, now=now)
                    return True
            return False

    def _settle(self, job_id: int, event: JobEvent, answered: dict[str, Any], *, now: datetime) -> None:
        """What the event means for the money of the job's open attempt, and what the provider answered."""
        if CHARGES[event] is not Charge.COMMITTED:
            answered["settled_at"] = to_text(now)
        self._run(_settle_sql(event, tuple(answered)), (*answered.values(), job_id))


def _stored(changes: dict[str, Any]) -> dict[str, Any]:
    """Fields of a job as columns."""
    columns: dict[str, Any] = {}
    for name, value in changes.items():
        if isinstance(value, datetime):
            columns[name] = to_text(value)
        elif isinstance(value, Clip):
            columns |= clip_columns(value)
        else:
            columns[name] = value
    return columns
