"""What was bought and what it cost, summed by whatever a person asks for. Pure; money is in micro-units.

A purchase is *spent* once its task has ended well, *committed* while it runs, *in doubt* while nobody knows, and *released*
when nothing was bought or the provider gave the money back. Of what was spent a part may be *discarded*: for a job that the
manifest has dropped, that was bought again or rerolled, or whose clip was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from batchrunner.model import LedgerEntry
from batchrunner.states import JobState

IN_DOUBT = frozenset({"open", "unanswered"})
"""Outcomes of purchases that may have been made."""
LOST = frozenset({JobState.FAILED, JobState.CANCELLED})


class By(StrEnum):
    """What sums are made by; `attempt` is every purchase for itself."""

    BATCH = "batch"
    DAY = "day"
    TAG = "tag"
    REASON = "reason"
    BILLING = "billing"
    ATTEMPT = "attempt"


UNTAGGED = "(no tag)"
BOUGHT_AGAIN = "bought again"
DISCARDED = "discarded"


@dataclass(slots=True)
class Sum:
    """What some purchases come to, in one currency."""

    name: str
    currency: str | None
    attempts: int = 0
    spent: int = 0
    committed: int = 0
    in_doubt: int = 0
    released: int = 0
    discarded: int = 0
    """Part of `spent`."""
    unpriced: int = 0
    """Purchases that were not released and have no price."""
    seconds: dict[str, int] = field(default_factory=dict)
    """Billing seconds of what was not released, per billing key."""

    def add(self, entry: LedgerEntry) -> None:
        """Count one purchase."""
        self.attempts += 1
        price = entry.price or 0
        if entry.charge == "released":
            self.released += price
            return
        self.unpriced += entry.price is None
        self.seconds[entry.billing_key] = self.seconds.get(entry.billing_key, 0) + entry.seconds
        if entry.charge == "spent":
            self.spent += price
            self.discarded += price if is_discarded(entry) else 0
        elif entry.outcome in IN_DOUBT:
            self.in_doubt += price
        else:
            self.committed += price


def is_discarded(entry: LedgerEntry) -> bool:
    """Whether money was spent on a clip that nobody has, or nobody wants any more."""
    superseded = not entry.is_last or entry.is_rerolled
    return entry.charge == "spent" and (superseded or not entry.wanted or entry.state in LOST)


def settled(entry: LedgerEntry) -> int | None:
    """What a purchase came to: its price, nothing when it was released, None while that is open."""
    if entry.charge == "released":
        return 0
    return entry.price if entry.charge == "spent" else None


def reason(entry: LedgerEntry) -> str:
    """What became of a purchase, in a word."""
    if entry.charge == "committed":
        return "in doubt" if entry.outcome in IN_DOUBT else "at the provider"
    if not entry.is_last:
        return BOUGHT_AGAIN if entry.charge == "spent" else entry.outcome
    if entry.state in LOST:
        return entry.reason or entry.state.value
    if is_discarded(entry):
        return DISCARDED
    return entry.outcome if entry.charge == "released" else entry.state.value


_NAMES: dict[By, Callable[[LedgerEntry], Iterable[str]]] = {
    By.BATCH: lambda entry: (entry.batch,),
    By.DAY: lambda entry: (entry.day.isoformat(),),
    By.TAG: lambda entry: dict.fromkeys(entry.tags) or (UNTAGGED,),
    By.REASON: lambda entry: (reason(entry),),
    By.BILLING: lambda entry: (entry.billing_key,),
}


def sums(entries: Iterable[LedgerEntry], by: By) -> tuple[list[Sum], list[Sum]]:
    """The sums by name and currency, and those of everything by currency: a purchase with two tags is in two sums."""
    rows: dict[tuple[str, str | None], Sum] = {}
    totals: dict[str | None, Sum] = {}
    for entry in entries:
        for name in _NAMES[by](entry):
            rows.setdefault((name, entry.currency), Sum(name, entry.currency)).add(entry)
        totals.setdefault(entry.currency, Sum("all", entry.currency)).add(entry)
    return sorted(rows.values(), key=lambda one: (one.name, one.currency or "")), list(totals.values())
