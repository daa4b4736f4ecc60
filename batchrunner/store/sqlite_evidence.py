"""What settles doubts, in SQLite: readings of the balance, and the purchases that have to explain them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from batchrunner.model import Purchase, Reading
from batchrunner.store.queries import KIND, SELECTED, Questions, selection
from batchrunner.store.rows import to_text, to_time

_PURCHASES = """
    FROM attempts JOIN jobs ON jobs.id = attempts.job_id JOIN batches ON batches.id = jobs.batch_id
    WHERE batches.endpoint = ?
"""


class Evidence(Questions):
    """The verbs and questions of the port that settling needs."""

    def record_reading(self, endpoint: str, account: str, reading: Reading) -> None:
        sql = "INSERT INTO readings (endpoint, account, at, used) VALUES (?, ?, ?, ?)"
        with self.transaction():
            self._run(sql, (endpoint, account, to_text(reading.at), reading.used))

    def readings(self, endpoint: str, account: str) -> list[Reading]:
        rows = self._rows(
            "SELECT at, used FROM readings WHERE endpoint = ? AND account = ? ORDER BY id", (endpoint, account)
        )
        return [Reading(at=datetime.fromisoformat(row["at"]), used=row["used"]) for row in rows]

    def accounts(self) -> list[tuple[str, str]]:
        rows = self._rows("SELECT DISTINCT endpoint, account FROM readings ORDER BY 1, 2")
        return [(row["endpoint"], row["account"]) for row in rows]

    def charges(self, endpoint: str) -> list[Purchase]:
        sql = f"""
            SELECT attempts.billing_key, attempts.seconds, intended_at, answered_at, outcome, rule IN ('R1', 'R2') AS prompt,
                CASE outcome WHEN 'task_failed' THEN
                    (SELECT max(at) FROM events WHERE events.job_id = jobs.id AND event = 'task_failed') END AS failed_at
            {_PURCHASES} AND outcome NOT IN ('returned', 'refused', 'absent') ORDER BY attempts.id
        """
        return [
            Purchase(
                kind=(row["billing_key"], row["seconds"]),
                intended_at=datetime.fromisoformat(row["intended_at"]),
                outcome=row["outcome"],
                prompt=bool(row["prompt"]),
                failed_at=to_time(row["failed_at"]),
                answered_at=to_time(row["answered_at"]),
            )
            for row in self._rows(sql, (endpoint,))
        ]

    def waiting_kinds(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[str, int]:
        sql = f"""
            SELECT {KIND} AS kind, count(*) AS jobs FROM jobs
            WHERE batch_id = ? AND wanted = 1 AND state = 'pending' AND {SELECTED} GROUP BY 1
        """
        return {row["kind"]: row["jobs"] for row in self._rows(sql, (batch_id, *selection(only, tags)))}

    def verdicts(self, endpoint: str) -> dict[str, str | None]:
        rows = self._rows("SELECT kind, wrong FROM verdicts WHERE endpoint = ?", (endpoint,))
        return {row["kind"]: row["wrong"] for row in rows}

    def record_verdict(self, endpoint: str, kind: str, job_id: int, *, wrong: str | None, now: datetime) -> None:
        sql = "INSERT OR REPLACE INTO verdicts (endpoint, kind, job_id, at, wrong) VALUES (?, ?, ?, ?, ?)"
        with self.transaction():
            self._run(sql, (endpoint, kind, job_id, to_text(now), wrong))

    def known_purchase(self, endpoint: str) -> str | None:
        sql = f"""
            SELECT attempts.purchase_id {_PURCHASES}
                AND attempts.task_id IS NOT NULL AND outcome <> 'vanished' AND rule IN ('R1', 'R2')
            ORDER BY attempts.id DESC LIMIT 1
        """
        row = self._row(sql, (endpoint,))
        return None if row is None else str(row["purchase_id"])

    def record_held(self, job_id: int, *, message: str, now: datetime) -> bool:
        sql = "UPDATE jobs SET message = ?, updated_at = ? WHERE id = ? AND state = 'in_doubt'"
        with self.transaction():
            return self._run(sql, (message, to_text(now), job_id)).rowcount == 1
