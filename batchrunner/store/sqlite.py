"""The store on SQLite: every verb one transaction, every transition guarded by the state that it leaves.

Plain parameterised SQL on one connection; sqlite-utils makes the schema (`schema.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

from batchrunner.budget import Caps, passed
from batchrunner.model import Answer, Asset, Batch, Clip, Intent, ReplayProof, WantedJob
from batchrunner.settings import LONGEST_WAIT
from batchrunner.states import JobEvent, JobState, advance, sources
from batchrunner.store.base import NO_TAGS, Changes
from batchrunner.store.connect import open_for_reading, open_for_writing, open_nothing
from batchrunner.store.faults import broken_rule, told_as_storage_error
from batchrunner.store.highwater import HighWater
from batchrunner.store.ledger import (
    ASKED_ANEW,
    BOUGHT_ANEW,
    CHARGES,
    CRASH_MESSAGE,
    CRASH_REASON,
    CRASH_RULE,
    DISCARDED,
    EXPLAINED,
    OUTCOMES,
    REDONE,
    STRAY_RULE,
    UNEXPLAINED,
    UNSENT,
    Charge,
)
from batchrunner.store.queries import KIND, PAGE
from batchrunner.store.rows import (
    BATCH_COLUMNS,
    JOB_COLUMNS,
    WANTED_COLUMNS,
    answer_columns,
    clip_columns,
    to_batch,
    to_text,
    to_wanted,
    to_words,
    wanted_columns,
)
from batchrunner.store.sqlite_books import Books
from batchrunner.store.sqlite_evidence import Evidence
from batchrunner.store.staging import UNPAID, Staging

KEEP = f"""
    UPDATE jobs SET key = staged.key, position = staged.position, tags = staged.tags, wanted = 1,
        reason = nullif(jobs.reason, '{DISCARDED}'), message = iif(jobs.reason = '{DISCARDED}', NULL, jobs.message),
        output = CASE jobs.state WHEN 'done' THEN jobs.output ELSE staged.output END,
        request = CASE WHEN jobs.state = 'pending' AND jobs.fingerprint = staged.fingerprint
            THEN staged.request ELSE jobs.request END
    FROM matches JOIN staged USING (rank)
    WHERE jobs.id = matches.job_id AND NOT matches.replaces AND jobs.batch_id = ?
        AND (jobs.key <> staged.key OR jobs.position <> staged.position OR jobs.tags <> staged.tags OR jobs.wanted = 0
            OR (jobs.output <> staged.output AND jobs.state <> 'done')
            OR (jobs.request <> staged.request AND jobs.state = 'pending' AND jobs.fingerprint = staged.fingerprint))
"""
"""What a job takes of the manifest whose request it has, or was sent with."""
ADD = f"""
    INSERT INTO jobs (batch_id, {", ".join(WANTED_COLUMNS)}, created_at, updated_at)
    SELECT :batch_id, {", ".join(WANTED_COLUMNS)}, :now, :now FROM staged
    WHERE rank NOT IN (SELECT rank FROM matches) ORDER BY rank
"""


class SqliteStore(Staging, Evidence, Books):
    """Jobs, their purchases and their history, in one file."""

    _water: HighWater | None = None
    _claimed = False
    """Whether the transaction under way holds an intent."""

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """The one store that writes; the caller holds the `DatabaseLock`. A new file is made if there is none."""
        path = Path(path)
        with told_as_storage_error(path):
            water = HighWater(path)
            if not path.exists() or not path.stat().st_size:
                water.check(0)
            store = cls(open_for_writing(path), path)
            store._begin = "BEGIN IMMEDIATE"  # a deferred one fails at once, without waiting, when it comes to write
            try:
                water.check(store._last_attempt())
            except BaseException:
                store.close()
                raise
            store._water = water
        return store

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self:
        """A store that answers questions, beside a run or without one; its `transaction` is one snapshot."""
        path = Path(path)
        with told_as_storage_error(path):
            return cls(open_for_reading(path), path)

    @classmethod
    def planning(cls, path: str | PathLike[str]) -> Self:
        """A store that answers questions and compares, beside a run or without one; it holds nothing where no file is."""
        path = Path(path)
        with told_as_storage_error(path):
            if not path.exists():
                return cls(open_nothing(), path)
            return cls(open_for_reading(path, scratch=True), path)

    def close(self) -> None:
        super().close()
        if self._water is not None:
            self._water.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """As the port has it; a commit with an intent has raised the high-water mark when the block ends."""
        with self._lock:
            outermost = self._depth == 0
            with super().transaction():
                yield
            if outermost and self._claimed and self._water is not None:
                self._claimed = False
                self._water.raise_to(self._last_attempt())

    def _last_attempt(self) -> int:
        row = self._row("SELECT max(id) AS last FROM attempts")
        return int(row["last"] or 0) if row else 0

    # batches and runs

    def open_batch(self, name: str, *, endpoint: str, currency: str | None, now: datetime) -> Batch:
        sql = f"""
            INSERT INTO batches (name, endpoint, currency, created_at) VALUES (?, ?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET
                currency = coalesce(excluded.currency, currency),
                endpoint = CASE WHEN EXISTS (SELECT 1 FROM spending WHERE batch_id = batches.id)
                    THEN endpoint ELSE excluded.endpoint END
            RETURNING {BATCH_COLUMNS}
        """
        with self.transaction():
            return to_batch(self._rows(sql, (name, endpoint, currency, to_text(now)))[0])

    def record_places(self, batch_id: int, *, manifest: str | None, folder: str) -> None:
        sql = "UPDATE batches SET manifest = ?, folder = ? WHERE id = ? AND (manifest IS NOT ?1 OR folder IS NOT ?2)"
        with self.transaction():
            self._run(sql, (manifest, folder, batch_id))

    def start_run(self, batch_id: int, *, pid: int, host: str, plan: str | None = None, now: datetime) -> int:
        sql = "INSERT INTO runs (batch_id, pid, host, plan, started_at) VALUES (?, ?, ?, ?, ?) RETURNING id"
        with self.transaction():
            return int(self._rows(sql, (batch_id, pid, host, plan, to_text(now)))[0]["id"])

    def finish_run(self, run_id: int, *, exit_code: int, now: datetime) -> None:
        with self.transaction():
            self._run("UPDATE runs SET finished_at = ?, exit_code = ? WHERE id = ?", (to_text(now), exit_code, run_id))

    def pause(self, batch_id: int, reason: str, message: str, *, now: datetime) -> None:
        sql = "UPDATE batches SET paused_reason = ?, paused_message = ?, paused_at = ? WHERE id = ?"
        with self.transaction():
            self._run(sql, (reason, message, to_text(now), batch_id))

    def unpause(self, batch_id: int, *, now: datetime) -> None:
        sql = "UPDATE batches SET paused_reason = NULL, paused_message = NULL, paused_at = NULL WHERE id = ?"
        with self.transaction():
            self._run(sql, (batch_id,))

    # the plan

    def apply(self, batch_id: int, changes: Changes, *, now: datetime) -> None:
        with self.transaction():
            self._stage_changes(batch_id, changes)
            self.adopt(batch_id, now=now)

    def adopt(self, batch_id: int, *, now: datetime) -> None:
        with self.transaction():
            self._run("UPDATE jobs SET wanted = 0 WHERE id IN (SELECT id FROM orphans) AND batch_id = ?", (batch_id,))
            self._redo_staged(batch_id, now=now)
            self._give_up_keys(batch_id)
            self._replace_staged(batch_id, now=now)
            self._run(KEEP, (batch_id,))
            self._run(ADD, {"batch_id": batch_id, "now": to_text(now)})
            self._clear_stage()

    def _redo_staged(self, batch_id: int, *, now: datetime) -> None:
        """What is paid for again: the old clip makes way and is kept, a failed job is sent once more."""
        discard = """
            UPDATE jobs SET wanted = 0, reason = iif(state = 'done', ?, reason), message = iif(state = 'done', ?, message)
            WHERE batch_id = ? AND id IN (SELECT job_id FROM again WHERE fresh)
        """
        self._run(discard, (DISCARDED, BOUGHT_ANEW, batch_id))
        sql = "SELECT id FROM jobs WHERE batch_id = ? AND id IN (SELECT job_id FROM again WHERE NOT fresh) ORDER BY id"
        for row in self._rows(sql, (batch_id,)):
            self.record_retried(row["id"], note=REDONE, now=now)

    def _give_up_keys(self, batch_id: int) -> None:
        """Jobs may take each other's keys; keys are unique among wanted jobs, so whoever changes its own steps aside."""
        sql = (
            "UPDATE jobs SET wanted = 0 WHERE batch_id = ? AND wanted = 1 AND id IN (SELECT job_id FROM matches WHERE "
        )
        self._run(f"{sql} moved AND NOT replaces)", (batch_id,))
        self._run(f"{sql} moved AND replaces) AND {UNPAID}", (batch_id,))

    def _replace_staged(self, batch_id: int, *, now: datetime) -> None:
        sql = f"""
            SELECT rank, job_id, {", ".join(WANTED_COLUMNS)} FROM matches JOIN staged USING (rank)
            WHERE replaces AND rank > ? ORDER BY rank LIMIT {PAGE}
        """
        last = 0
        while page := self._rows(sql, (last,)):
            for row in page:
                self._replace(batch_id, row["job_id"], {name: row[name] for name in WANTED_COLUMNS}, now=now)
            last = page[-1]["rank"]

    def _replace(self, batch_id: int, job_id: int, columns: dict[str, Any], *, now: datetime) -> None:
        found = self._row(
            f"SELECT fingerprint, state FROM jobs WHERE id = ? AND batch_id = ? AND {UNPAID}", (job_id, batch_id)
        )
        if found is None:
            return
        columns |= {"wanted": 1, "updated_at": to_text(now)}
        if found["state"] != JobState.PENDING or found["fingerprint"] != columns["fingerprint"]:
            columns["purchase_id"] = None  # another clip, or another try after a final answer, is another purchase
        self._update(job_id, columns)
        self._move(job_id, JobEvent.RETRIED, now=now, note=ASKED_ANEW, columns=UNSENT)

    def add_takes(self, job_id: int, takes: Sequence[WantedJob], *, note: str, now: datetime) -> None:
        if not note.strip(" "):
            raise broken_rule(str(self._path), UNEXPLAINED)
        names = ", ".join(WANTED_COLUMNS)
        sql = f"""
            INSERT INTO jobs (batch_id, take_of, asked, created_at, updated_at, {names})
            SELECT batch_id, id, :asked, :now, :now, {", ".join(f":{name}" for name in WANTED_COLUMNS)}
            FROM jobs WHERE id = :take_of
        """
        with self.transaction():
            for wanted in takes:
                self._run(sql, {**wanted_columns(wanted), "take_of": job_id, "asked": note, "now": to_text(now)})

    def asked(self, batch_id: int) -> list[WantedJob]:
        sql = f"SELECT {JOB_COLUMNS} FROM jobs WHERE batch_id = ? AND take_of IS NOT NULL AND wanted = 1 ORDER BY id"
        return [to_wanted(row) for row in self._rows(sql, (batch_id,))]

    # transitions

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
        with self.transaction():
            job = self._row("SELECT batch_id, attempts, billing_key, seconds, tags FROM jobs WHERE id = ?", (job_id,))
            if job is None or (caps.given and self._passes(caps, job, intent, day)):
                return None
            columns = {
                "purchase_id": intent.purchase_id,
                "attempts": job["attempts"] + 1,
                "not_before": None,
                "submitted_at": to_text(now),
                "provider_status": None,
                "progress": None,
            }
            if not self._move(job_id, JobEvent.CLAIMED, now=now, columns=columns):
                return None
            self._claimed = True
            sql = """
                INSERT INTO attempts (job_id, number, purchase_id, price, billing_key, seconds, body_sha256, intended_at,
                    run_id, tags, day, currency)
                VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE job_id = ?1), ?, ?, ?, ?, ?, ?, ?, ?,
                    ?, (SELECT coalesce(currency, '') FROM batches WHERE id = ?))
                RETURNING id
            """
            priced = (intent.purchase_id, intent.price, job["billing_key"], job["seconds"], intent.body_sha256)
            counted = (to_text(now), intent.run_id, job["tags"], day.isoformat(), job["batch_id"])
            return int(self._rows(sql, (job_id, *priced, *counted))[0]["id"])

    def _passes(self, caps: Caps, job: sqlite3.Row, intent: Intent, day: date) -> bool:
        tags = to_words(job["tags"])
        used = self.used(job["batch_id"], day=day, run_id=intent.run_id, tags=tags)
        return bool(passed(caps, used, intent.price, tags=tags))

    def record_accepted(self, job_id: int, task_id: str, answer: Answer, *, now: datetime) -> bool:
        with self.transaction():
            if self.task_owner(task_id) is not None:
                return False
            columns = {"task_id": task_id, "submitted_at": to_text(now)}
            return self._move(job_id, JobEvent.ACCEPTED, now=now, answer=answer, columns=columns)

    def record_returned(
        self, job_id: int, answer: Answer, *, reason: str, not_before: datetime | None, now: datetime
    ) -> bool:
        columns = {"not_before": to_text(not_before), "submitted_at": None}
        with self.transaction():
            returned = self._move(job_id, JobEvent.RETURNED, now=now, answer=answer, reason=reason, columns=columns)
            if returned:
                self._run("UPDATE jobs SET attempts = attempts - 1 WHERE id = ?", (job_id,))
            return returned

    def record_refused(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.REFUSED, now=now, answer=answer, reason=reason)

    def record_unanswered(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.UNANSWERED, now=now, answer=answer, reason=reason)

    def record_found(self, job_id: int, task_id: str, *, now: datetime, note: str | None = None) -> bool:
        with self.transaction():
            if self.task_owner(task_id) is not None:
                return False
            return self._move(job_id, JobEvent.FOUND, now=now, note=note, columns={"task_id": task_id})

    def record_absent(self, job_id: int, *, note: str, not_before: datetime | None, now: datetime) -> bool:
        columns = {"not_before": to_text(not_before), "submitted_at": None}
        return self._move(job_id, JobEvent.ABSENT, now=now, note=note, columns=columns)

    def record_abandoned(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.ABANDONED, now=now, note=note, reason=JobEvent.ABANDONED, message=note)

    def record_cancelled(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.CANCELLED, now=now, note=note, reason=JobEvent.CANCELLED, message=note)

    def record_retried(self, job_id: int, *, note: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.RETRIED, now=now, note=note, columns={"purchase_id": None, **UNSENT})

    def record_reopened(self, job_id: int, *, note: str, now: datetime) -> bool:
        paid = "SELECT 1 FROM jobs JOIN attempts USING (task_id) WHERE jobs.id = ? AND charge = 'spent'"
        with self.transaction():
            if self._row(paid, (job_id,)) is None:
                return False
            return self._move(job_id, JobEvent.REOPENED, now=now, note=note)

    def record_rejected(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.REJECTED, now=now, reason=reason, message=message)

    def record_progress(self, job_id: int, *, status: str, progress: int | None, now: datetime) -> bool:
        sql = """
            UPDATE jobs SET provider_status = :status, progress = :progress, updated_at = :now
            WHERE id = :id AND state = 'running' AND (provider_status IS NOT :status OR progress IS NOT :progress)
        """
        with self.transaction():
            changed = self._run(sql, {"id": job_id, "status": status, "progress": progress, "now": to_text(now)})
            return changed.rowcount == 1

    def record_finished(
        self, job_id: int, *, expires_at: datetime | None, took: float | None = None, now: datetime
    ) -> bool:
        with self.transaction():
            moved = self._move(job_id, JobEvent.FINISHED, now=now, columns={"expires_at": to_text(expires_at)})
            self._learn(job_id, took if moved else None, now=now)
            return moved

    def record_task_failed(
        self, job_id: int, *, reason: str, message: str, took: float | None = None, now: datetime
    ) -> bool:
        with self.transaction():
            moved = self._move(job_id, JobEvent.TASK_FAILED, now=now, reason=reason, message=message)
            self._learn(job_id, took if moved else None, now=now)
            return moved

    def _learn(self, job_id: int, took: float | None, *, now: datetime) -> None:
        if took is not None:
            sql = f"""
                INSERT INTO service_times (endpoint, kind, seconds, at)
                SELECT endpoint, {KIND}, ?, ? FROM jobs JOIN batches ON batches.id = batch_id WHERE jobs.id = ?
            """
            self._run(sql, (took, to_text(now), job_id))

    def record_vanished(self, job_id: int, *, message: str, reason: str = "vanished", now: datetime) -> bool:
        return self._move(job_id, JobEvent.VANISHED, now=now, reason=reason, message=message)

    def record_misattributed(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        columns = {"task_id": None, "provider_status": None, "progress": None}
        event = JobEvent.MISATTRIBUTED
        with self.transaction():
            moved = self._move(job_id, event, now=now, reason=reason, message=message, note=message, columns=columns)
            if moved:
                self._settle(job_id, event, {"task_id": None, "rule": STRAY_RULE}, now=now)
            return moved

    def record_saved(self, job_id: int, clip: Clip, *, now: datetime) -> bool:
        return self._move(job_id, JobEvent.SAVED, now=now, columns=clip_columns(clip))

    def record_expired(self, job_id: int, *, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.EXPIRED, now=now, reason=JobEvent.EXPIRED, message=message)

    def record_bad_file(self, job_id: int, *, message: str, now: datetime) -> bool:
        return self._move(job_id, JobEvent.BAD_FILE, now=now, reason=JobEvent.BAD_FILE, message=message)

    # replay

    def record_proof(self, proof: ReplayProof) -> None:
        sql = "INSERT INTO replay_proofs (base_url, model, key, proved_at, holds, note) VALUES (?, ?, ?, ?, ?, ?)"
        words = (proof.base_url, proof.model, proof.key, to_text(proof.proved_at), int(proof.holds), proof.note)
        with self.transaction():
            self._run(sql, words)

    # frames

    def record_asset(self, asset: Asset) -> None:
        """Kept for other jobs and runs; a URL with a query may be signed and is not kept."""
        if "?" in asset.url:
            return
        sql = """
            INSERT INTO assets (sha256, endpoint, url, uploaded_at) VALUES (?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET url = excluded.url, uploaded_at = excluded.uploaded_at
        """
        with self.transaction():
            self._run(sql, (asset.sha256, asset.endpoint, asset.url, to_text(asset.uploaded_at)))

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
        columns: dict[str, Any] | None = None,
    ) -> bool:
        """The job, its open attempt and its history, together; False when the job is in none of the event's sources."""
        message = message or (answer.message if answer else None)
        changed = {**(columns or {}), "reason": reason, "message": message, "updated_at": to_text(now)}
        with self.transaction():
            for source in sources(event):
                target = advance(source, event)
                if self._update(job_id, {**changed, "state": target}, guard=source):
                    said = note if event in EXPLAINED else note or reason
                    self._note(job_id, event, source, target, note=said, now=now)
                    self._settle(job_id, event, {**_answered(answer, now), **_task(columns)}, now=now)
                    return True
            return False

    def _update(self, job_id: int, columns: dict[str, Any], *, guard: JobState | None = None) -> bool:
        assignments = ", ".join(f"{name} = ?" for name in columns)
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


def _task(columns: dict[str, Any] | None) -> dict[str, Any]:
    """The task that an attempt is from now on known to have bought."""
    return {"task_id": columns["task_id"]} if columns and columns.get("task_id") else {}


def _answered(answer: Answer | None, now: datetime) -> dict[str, Any]:
    return {} if answer is None else {**answer_columns(answer), "answered_at": to_text(now)}
