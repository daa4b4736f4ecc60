"""What was compared with a manifest, carried out in SQLite: as sets where it can be, row by row where money is at stake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from batchrunner.model import WantedJob
from batchrunner.states import JobEvent, JobState
from batchrunner.store.comparison import Changes, Receipt, SourceFile
from batchrunner.store.faults import broken_rule, told_as_storage_error
from batchrunner.store.ledger import ASKED_ANEW, BOUGHT_ANEW, DISCARDED, REDONE, UNEXPLAINED, UNSENT
from batchrunner.store.queries import PAGE
from batchrunner.store.rows import JOB_COLUMNS, WANTED_COLUMNS, read, to_text, to_wanted, wanted_columns
from batchrunner.store.sqlite_transitions import Transitions
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


class Planning(Staging, Transitions):
    """The port's part of the same name."""

    def apply(self, batch_id: int, changes: Changes, *, now: datetime) -> None:
        with self.transaction():
            self._stage_changes(batch_id, changes)
            self.adopt(batch_id, now=now)

    def adopt(self, batch_id: int, *, now: datetime) -> None:
        if self._recalled is not None:
            return
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
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._run(f"UPDATE jobs SET {assignments} WHERE id = ?", (*columns.values(), job_id))
        self._move(job_id, JobEvent.RETRIED, now=now, note=ASKED_ANEW, **UNSENT)

    def record_receipt(self, batch_id: int, receipt: Receipt, sources: Iterable[SourceFile]) -> None:
        with self.transaction():
            self._run("DELETE FROM receipt_sources WHERE batch_id = ?", (batch_id,))
            with told_as_storage_error(self._path):
                rows = ((batch_id, one.path, one.kind, one.identity) for one in sources)
                self._connection.executemany("INSERT INTO receipt_sources VALUES (?, ?, ?, ?)", rows)
            words = (batch_id, receipt.manifest, receipt.made_of, receipt.summary)
            self._run("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?)", words)

    def receipts(self, manifest: str) -> list[tuple[int, Receipt]]:
        rows = self._rows("SELECT * FROM receipts WHERE manifest = ? ORDER BY batch_id", (manifest,))
        return [(row["batch_id"], read(Receipt, row)) for row in rows]

    def receipt_sources(self, batch_id: int) -> Iterator[SourceFile]:
        sql = f"""
            SELECT path, kind, identity FROM receipt_sources WHERE batch_id = ? AND (path, kind) > (?, ?)
            ORDER BY path, kind LIMIT {PAGE}
        """
        after = "", ""
        while page := self._rows(sql, (batch_id, *after)):
            yield from (read(SourceFile, row) for row in page)
            after = page[-1]["path"], page[-1]["kind"]

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
