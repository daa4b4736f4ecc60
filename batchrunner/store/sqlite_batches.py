"""Batches and their runs in SQLite."""

from __future__ import annotations

from datetime import datetime

from batchrunner.model import Batch
from batchrunner.store.connection import Connection
from batchrunner.store.rows import BATCH_COLUMNS, read, to_text


class Batches(Connection):
    """The port's part of the same name."""

    def batch(self, name: str) -> Batch | None:
        row = self._row(f"SELECT {BATCH_COLUMNS} FROM batches WHERE name = ?", (name,))
        return None if row is None else read(Batch, row)

    def batches(self) -> list[Batch]:
        worked_on = "coalesce((SELECT max(started_at) FROM runs WHERE batch_id = batches.id), created_at)"
        rows = self._rows(f"SELECT {BATCH_COLUMNS} FROM batches ORDER BY {worked_on} DESC, id DESC")
        return [read(Batch, row) for row in rows]

    def has_run(self, batch_id: int, plan: str) -> bool:
        return self._row("SELECT 1 FROM runs WHERE batch_id = ? AND plan = ?", (batch_id, plan)) is not None

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
            return read(Batch, self._rows(sql, (name, endpoint, currency, to_text(now)))[0])

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
