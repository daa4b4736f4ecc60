"""The store in memory, its accounts: what a batch has cost, what counts against the caps, and every purchase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime

from batchrunner.budget import Used, month
from batchrunner.model import LedgerEntry, Money, Posting
from batchrunner.store.ledger import Charge
from batchrunner.store.memory_questions import Questions
from batchrunner.store.tables import Booked, Row


class Books(Questions):
    """The port's part of the same name."""

    def money(self, batch_id: int) -> Money:
        charged = [a for a in self._attempts.values() if a.batch_id == batch_id and a.charge != Charge.RELEASED]
        seconds: dict[str, int] = {}
        for attempt in charged:
            seconds[attempt.billing_key] = seconds.get(attempt.billing_key, 0) + attempt.seconds
        return Money(
            spent=sum(attempt.price or 0 for attempt in charged if attempt.charge == Charge.SPENT),
            committed=sum(attempt.price or 0 for attempt in charged if attempt.charge == Charge.COMMITTED),
            seconds=seconds,
            unpriced=sum(attempt.price is None for attempt in charged),
        )

    def used(self, batch_id: int, *, day: date, run_id: int | None = None, tags: Iterable[str] = ()) -> Used:
        batch = self._batches.get(batch_id)
        counted = [
            attempt
            for attempt in self._attempts.values()
            if batch and attempt.currency == batch.currency and attempt.charge != Charge.RELEASED
        ]
        money = self.money(batch_id)
        own = [one for one in self._attempts.values() if one.batch_id == batch_id and one.charge != Charge.RELEASED]
        tagged = {tag: sum(one.price or 0 for one in own if tag in one.tags) for tag in tags}
        return Used(
            max_cost=money.spent + money.committed,
            per_run=sum(one.price or 0 for one in own if run_id is not None and one.run_id == run_id),
            tags={tag: price for tag, price in tagged.items() if price},
            per_day=sum(attempt.price or 0 for attempt in counted if attempt.day == day),
            per_month=sum(attempt.price or 0 for attempt in counted if month(attempt.day) == month(day)),
        )

    def ledger(
        self, batch_id: int | None = None, *, endpoint: str | None = None, since: datetime | None = None
    ) -> Iterator[LedgerEntry]:
        owners = {attempt: row for row in self._rows.values() for attempt in row.attempts}
        rerolled = {row.take_of for row in self._rows.values()}
        for attempt_id, booked in self._attempts.items():
            asked = batch_id in (None, booked.batch_id)
            asked = asked and endpoint in (None, self._batches[booked.batch_id].endpoint)
            if asked and (since is None or booked.intended_at >= since):
                row = owners[attempt_id]
                yield self._entry(
                    booked, row, is_last=row.attempts[-1] == attempt_id, is_rerolled=row.job.id in rerolled
                )

    def postings(self, endpoint: str, *, since: datetime, until: datetime | None = None) -> Iterator[Posting]:
        entries = self.ledger(endpoint=endpoint, since=since)
        return (entry for entry in entries if until is None or entry.intended_at < until)

    def _entry(self, booked: Booked, row: Row, *, is_last: bool, is_rerolled: bool) -> LedgerEntry:
        job = row.job
        return LedgerEntry(
            batch=self._batches[booked.batch_id].name,
            key=job.key,
            number=booked.number,
            purchase_id=booked.purchase_id,
            task_id=booked.task_id,
            billing_key=booked.billing_key,
            seconds=booked.seconds,
            price=booked.price,
            currency=booked.currency,
            charge=booked.charge,
            outcome=booked.outcome,
            intended_at=booked.intended_at,
            answered_at=booked.answered_at,
            settled_at=booked.settled_at,
            day=booked.day,
            tags=booked.tags,
            state=job.state,
            reason=job.reason,
            wanted=job.wanted,
            is_last=is_last,
            is_rerolled=is_rerolled,
        )
