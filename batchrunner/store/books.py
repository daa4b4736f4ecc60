"""The port: the accounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Protocol

from batchrunner.budget import Used
from batchrunner.model import LedgerEntry, Money, Posting


class Books(Protocol):
    """What a batch has cost, what counts against the caps, and every purchase."""

    def money(self, batch_id: int) -> Money: ...

    def ledger(
        self, batch_id: int | None = None, *, endpoint: str | None = None, since: datetime | None = None
    ) -> Iterator[LedgerEntry]:
        """Every purchase that was intended, of one batch, of all at an endpoint, or of all, in the order of intents."""

    def postings(self, endpoint: str, *, since: datetime, until: datetime | None = None) -> Iterator[Posting]:
        """As much of the purchases at an endpoint as an audit needs, of those intended from `since` to before `until`."""

    def used(self, batch_id: int, *, day: date, run_id: int | None = None, tags: Iterable[str] = ()) -> Used:
        """What counts against the caps: of the batch, and of all batches in its currency on that day and in its month.

        Of the run and of each of the tags too; a purchase counts for the tags that its job had when it was made.
        """
