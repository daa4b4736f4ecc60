"""The accounts in SQLite: what a batch has cost, what counts against the caps, and every purchase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime

from batchrunner.budget import Used, month
from batchrunner.model import LedgerEntry, Money, Posting
from batchrunner.store.ledger import Charge
from batchrunner.store.queries import Questions
from batchrunner.store.rows import read, to_text

_LEDGER = """
    SELECT attempts.*, batches.name AS batch, jobs.key, jobs.state, jobs.reason, jobs.wanted,
        NOT EXISTS (SELECT 1 FROM attempts AS later WHERE later.job_id = attempts.job_id AND later.number > attempts.number)
            AS is_last,
        EXISTS (SELECT 1 FROM jobs AS takes WHERE takes.take_of = jobs.id) AS is_rerolled
    FROM attempts JOIN jobs ON jobs.id = attempts.job_id JOIN batches ON batches.id = jobs.batch_id
    WHERE (?1 IS NULL OR jobs.batch_id = ?1) AND (?2 IS NULL OR attempts.intended_at >= ?2) AND attempts.id > ?3
        AND (?4 IS NULL OR batches.endpoint = ?4)
    ORDER BY attempts.id LIMIT ?5
"""
_POSTINGS = """
    SELECT attempts.id, attempts.price, attempts.currency, attempts.charge, attempts.outcome,
        attempts.intended_at, attempts.answered_at, attempts.settled_at
    FROM attempts JOIN jobs ON jobs.id = attempts.job_id JOIN batches ON batches.id = jobs.batch_id
    WHERE batches.endpoint = ?1 AND attempts.intended_at >= ?2 AND (?3 IS NULL OR attempts.intended_at < ?3)
        AND attempts.id > ?4
    ORDER BY attempts.id LIMIT ?5
"""
PAGE = 1000
_USED = """
    SELECT coalesce(sum(price) FILTER (WHERE day = ?1), 0) AS day, coalesce(sum(price), 0) AS month,
        (SELECT coalesce(sum(price), 0) FROM spending WHERE batch_id = ?2 AND charge <> 'released') AS batch,
        coalesce((SELECT price FROM run_spending WHERE run_id = ?5), 0) AS run
    FROM daily_spending
    WHERE currency = (SELECT coalesce(currency, '') FROM batches WHERE id = ?2) AND day BETWEEN ?3 AND ?4
"""


class Books(Questions):
    """The port's part of the same name."""

    def money(self, batch_id: int) -> Money:
        sql = (
            "SELECT * FROM spending WHERE batch_id = ? AND charge <> 'released' AND purchases > 0 ORDER BY billing_key"
        )
        rows = self._rows(sql, (batch_id,))
        prices = dict.fromkeys(Charge, 0)
        seconds: dict[str, int] = {}
        for row in rows:
            prices[Charge(row["charge"])] += row["price"]
            seconds[row["billing_key"]] = seconds.get(row["billing_key"], 0) + row["seconds"]
        return Money(
            spent=prices[Charge.SPENT],
            committed=prices[Charge.COMMITTED],
            seconds=seconds,
            unpriced=sum(row["unpriced"] for row in rows),
        )

    def used(self, batch_id: int, *, day: date, run_id: int | None = None, tags: Iterable[str] = ()) -> Used:
        first, last = month(day)
        row = self._rows(_USED, (day.isoformat(), batch_id, first.isoformat(), last.isoformat(), run_id))[0]
        sql = "SELECT price FROM tag_spending WHERE batch_id = ? AND tag = ? AND price > 0"
        tagged = {tag: found["price"] for tag in tags if (found := self._row(sql, (batch_id, tag)))}
        return Used(max_cost=row["batch"], per_run=row["run"], per_day=row["day"], per_month=row["month"], tags=tagged)

    def ledger(
        self, batch_id: int | None = None, *, endpoint: str | None = None, since: datetime | None = None
    ) -> Iterator[LedgerEntry]:
        last = 0
        while rows := self._rows(_LEDGER, (batch_id, to_text(since), last, endpoint, PAGE)):
            yield from (read(LedgerEntry, row, currency=row["currency"] or None) for row in rows)
            last = rows[-1]["id"]

    def postings(self, endpoint: str, *, since: datetime, until: datetime | None = None) -> Iterator[Posting]:
        last = 0
        while rows := self._rows(_POSTINGS, (endpoint, to_text(since), to_text(until), last, PAGE)):
            yield from (read(Posting, row, currency=row["currency"] or None) for row in rows)
            last = rows[-1]["id"]
