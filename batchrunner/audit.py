"""How the balance moved, and what explains it. Pure; the balance is in the account's credits, prices in micro-units.

A purchase moves what the account has *used*: up when it is accepted, down again when its task fails (API facts §4). When
exactly is not told, but between which moments is. A reading of the balance at which no purchase was between two such
moments is *quiet*, and between two quiet readings the balance has moved by exactly the purchases that were made in that time
and kept: everything that failed was charged and paid back within it. That holds whoever learned of an end when, and over
as many runs as lie between.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import accumulate
from operator import attrgetter

from batchrunner.model import Posting, Reading

CREDITS_PER_USD = 200
"""ToAPIs, whatever unit the rest of a balance is in (API facts §3)."""
CREDITS = "CREDITS"
"""The currency of prices that are in the account's credits themselves."""
LATE = timedelta(minutes=15)
"""As long an unanswered request may still be on its way (reliability notes §2.4)."""

_NEVER_BOUGHT = frozenset({"returned", "refused", "absent"})
_UNKNOWN = frozenset({"open", "unanswered", "abandoned"})
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


def credits(price: int | None, currency: str | None) -> Fraction | None:
    """A price in credits; None without one, and in a currency that credits are not tied to."""
    unit = (currency or "").upper()
    if price is None or unit not in ("USD", CREDITS):
        return None
    return Fraction(price, 1_000_000) * (CREDITS_PER_USD if unit == "USD" else 1)


def moving(entry: Posting) -> tuple[datetime, datetime] | None:
    """Between which moments the purchase may have moved the balance; None when it never did."""
    start = entry.intended_at
    if entry.outcome in _NEVER_BOUGHT:
        return None
    if entry.outcome in ("open", "unanswered"):
        return start, _FOR_EVER
    if entry.charge == "released":
        return start, entry.settled_at or _FOR_EVER
    return start, entry.answered_at or entry.settled_at or start + LATE


def quiet(readings: Iterable[Reading], entries: Iterable[Posting]) -> list[Reading]:
    """The readings at which nothing was on its way, in order."""
    readings = sorted(readings, key=attrgetter("at"))
    times = [one.at for one in readings]
    more = [0] * (len(times) + 1)  # purchases on their way at a reading, compared with the one before
    for entry in entries:
        if (span := moving(entry)) is not None:
            begin, end = bisect_right(times, span[0]), bisect_left(times, span[1])
            if begin < end:
                more[begin] += 1
                more[end] -= 1
    return [one for one, moved in zip(readings, accumulate(more), strict=False) if not moved]


def is_kept(entry: Posting, start: datetime, end: datetime) -> bool:
    """Whether it was bought between two quiet readings and not given back."""
    return entry.charge != "released" and entry.outcome not in _UNKNOWN and start <= entry.intended_at < end


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the account used since a quiet reading, and what explains it."""

    since: datetime
    charged: int
    """Credits; less than nothing when more came back than was bought."""
    tasks: int
    explained: Fraction | None
    """Credits; None when some task has no price in credits."""
    in_doubt: int
    """Purchases of which nobody knows whether they were charged."""
    running: int = 0
    """Tasks among `tasks` that have not ended: their money may come back."""

    @property
    def unexplained(self) -> Fraction | None:
        return None if self.explained is None else self.charged - self.explained


def start(readings: Iterable[Reading], entries: Iterable[Posting], *, began: datetime) -> Reading | None:
    """The reading that the audit of a run counts from; None when there is none, at its start or before.

    Where tasks of earlier runs ended in this one it lies before them, so that what came back for them is counted too.
    `entries` are those from before the run.
    """
    known = (entry for entry in entries if entry.outcome not in ("open", "unanswered"))
    calm = quiet((one for one in readings if one.at <= began), known)
    return calm[-1] if calm else None


def audit(first: Reading, ended: Reading, entries: Iterable[Posting]) -> Audit:
    """The audit from one reading to another; `entries` are read once, in any order, as there may be a million."""
    tasks = running = in_doubt = 0
    prices: Counter[str | None] = Counter()
    priced = True
    for entry in entries:
        if entry.outcome in _UNKNOWN:
            in_doubt += entry.intended_at >= first.at - LATE
        elif is_kept(entry, first.at, ended.at):
            tasks += 1
            running += entry.charge == "committed"
            prices[entry.currency] += entry.price or 0
            priced = priced and entry.price is not None
    parts = [credits(price, currency) for currency, price in prices.items()]
    explained = None if not priced or None in parts else sum(filter(None, parts), Fraction(0))
    return Audit(
        since=first.at,
        charged=ended.used - first.used,
        tasks=tasks,
        explained=explained,
        in_doubt=in_doubt,
        running=running,
    )


def amount(value: Fraction | int) -> str:
    """Credits as people write them."""
    return str(int(value)) if value == int(value) else f"{float(value):.2f}"


def sentence(found: Audit, *, exclusive: bool) -> str:
    """The audit line: what was charged and what explains it, or why that cannot be said."""
    charged, unexplained = amount(found.charged), found.unexplained
    tasks = f"{found.tasks} task{'' if found.tasks == 1 else 's'}"
    if unexplained is None:
        return f"charged {charged} credits for {tasks}; not auditable: they have no price in USD or credits"
    line = f"charged {charged} credits; {tasks} explain{'s' if found.tasks == 1 else ''} {amount(found.explained or 0)}"
    line += f"; unexplained {amount(unexplained)}; in doubt {found.in_doubt}"
    if unexplained == 0 or found.in_doubt:
        return line
    if found.running:
        return f"{line}; {found.running} still running, whose money may have come back already"
    if exclusive:
        return f"{line}: the prices are not the account's (batchrunner cost --calibrate), or the key is not exclusive"
    return f"{line}; not auditable: the key is not known to be exclusive, or the prices are not the account's"
