"""What is known of a provider, in SQLite: readings of the balance and what explains them, verdicts, proofs, uploads."""

from __future__ import annotations

from datetime import datetime

from batchrunner.model import Asset, Purchase, Reading, ReplayProof
from batchrunner.store.connection import Connection
from batchrunner.store.rows import read, to_text, to_time

_PURCHASES = """
    FROM attempts JOIN jobs ON jobs.id = attempts.job_id JOIN batches ON batches.id = jobs.batch_id
    WHERE batches.endpoint = ?
"""


class Evidence(Connection):
    """The port's part of the same name."""

    def record_reading(self, endpoint: str, account: str, reading: Reading) -> None:
        sql = "INSERT INTO readings (endpoint, account, at, used) VALUES (?, ?, ?, ?)"
        with self.transaction():
            self._run(sql, (endpoint, account, to_text(reading.at), reading.used))

    def readings(self, endpoint: str, account: str) -> list[Reading]:
        rows = self._rows(
            "SELECT at, used FROM readings WHERE endpoint = ? AND account = ? ORDER BY id", (endpoint, account)
        )
        return [read(Reading, row) for row in rows]

    def accounts(self) -> list[tuple[str, str]]:
        rows = self._rows("SELECT DISTINCT endpoint, account FROM readings ORDER BY 1, 2")
        return [(row["endpoint"], row["account"]) for row in rows]

    def charges(self, endpoint: str) -> list[Purchase]:
        sql = f"""
            SELECT attempts.purchase_id, account, attempts.billing_key, attempts.seconds, intended_at, answered_at, outcome, rule IN ('R1', 'R2') AS prompt,
                CASE outcome WHEN 'task_failed' THEN
                    (SELECT max(at) FROM events WHERE events.job_id = jobs.id AND event = 'task_failed') END AS failed_at
            {_PURCHASES} AND outcome NOT IN ('returned', 'refused', 'absent') ORDER BY attempts.id
        """
        return [
            read(Purchase, row, kind=(row["billing_key"], row["seconds"]), failed_at=to_time(row["failed_at"]))
            for row in self._rows(sql, (endpoint,))
        ]

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

    def record_proof(self, proof: ReplayProof) -> None:
        sql = "INSERT INTO replay_proofs (base_url, model, key, proved_at, holds, note) VALUES (?, ?, ?, ?, ?, ?)"
        words = (proof.base_url, proof.model, proof.key, to_text(proof.proved_at), int(proof.holds), proof.note)
        with self.transaction():
            self._run(sql, words)

    def salt(self) -> bytes:
        return bytes(self._rows("SELECT salt FROM salts")[0]["salt"])

    def replay_proof(self, *, base_url: str, model: str, key: str) -> ReplayProof | None:
        sql = "SELECT * FROM replay_proofs WHERE base_url = ? AND model = ? AND key = ? ORDER BY id DESC LIMIT 1"
        row = self._row(sql, (base_url, model, key))
        return None if row is None else read(ReplayProof, row)

    def asset(self, sha256: str, *, endpoint: str) -> Asset | None:
        row = self._row("SELECT * FROM assets WHERE sha256 = ? AND endpoint = ?", (sha256, endpoint))
        return None if row is None else read(Asset, row)

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
