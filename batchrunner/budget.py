"""What may still be spent: three caps, what counts against them, and what a person is told when one is reached. Pure.

`max_cost` is for one batch for ever; `per_day` and `per_month` are for the user's calendar day and month, over every
batch of the database in the same currency. Money is in micro-units.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class Cap(StrEnum):
    """The caps by the names that they have in a manifest."""

    MAX_COST = "max_cost"
    PER_DAY = "per_day"
    PER_MONTH = "per_month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What may be spent at most; None is no cap."""

    max_cost: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    warn_at: float | None = None
    """The share of a cap, from 0 to 1, at which a person is told."""

    @property
    def given(self) -> dict[Cap, int]:
        """The caps that there are, what frees last first."""
        amounts = {Cap.MAX_COST: self.max_cost, Cap.PER_MONTH: self.per_month, Cap.PER_DAY: self.per_day}
        return {cap: amount for cap, amount in amounts.items() if amount is not None}


NO_CAPS = Caps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What counts against each cap: spent, at the provider, and perhaps bought."""

    max_cost: int = 0
    per_day: int = 0
    per_month: int = 0

    def of(self, cap: Cap) -> int:
        """What counts against `cap`."""
        return {Cap.MAX_COST: self.max_cost, Cap.PER_DAY: self.per_day, Cap.PER_MONTH: self.per_month}[cap]


def passed(caps: Caps, used: Used, price: int | None) -> list[Cap]:
    """The caps that a purchase could pass; one without a price could pass any."""
    return [cap for cap, amount in caps.given.items() if price is None or used.of(cap) + price > amount]


def near(caps: Caps, used: Used) -> list[Cap]:
    """The caps of which the share `warn_at` is used."""
    if caps.warn_at is None:
        return []
    return [cap for cap, amount in caps.given.items() if used.of(cap) >= amount * caps.warn_at]


def month(day: date) -> tuple[date, date]:
    """The first and the last day of the month that `day` is in."""
    following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return day.replace(day=1), following - timedelta(days=1)


def frees(cap: Cap, today: date) -> date | None:
    """The day on which all of `cap` is there again; None when only a person can raise it."""
    if cap is Cap.PER_DAY:
        return today + timedelta(days=1)
    return month(today)[1] + timedelta(days=1) if cap is Cap.PER_MONTH else None


_WHAT = {Cap.MAX_COST: "by the batch", Cap.PER_DAY: "today", Cap.PER_MONTH: "this month"}


def sentence(caps: Caps, used: Used, price: int | None, *, today: date, currency: str | None) -> str:
    """Which cap stops the buying of a clip of that price, and when it frees; empty when none does."""
    reached = passed(caps, used, price)
    if not reached:
        return ""
    if price is None:
        return f"the next clip has no price, and {', '.join(caps.given)} can hold only what has one"
    cap = reached[0]
    amount = f"{_shown(used.of(cap))} of {_shown(caps.given[cap])} {currency or ''}".rstrip()
    day = frees(cap, today)
    when = "raise it to go on" if day is None else f"it frees on {day.isoformat()} at 00:00"
    return f"the next clip would pass {cap}, {amount} is used {_WHAT[cap]}; {when}"


def warning(cap: Cap, caps: Caps, used: Used, *, currency: str | None) -> str:
    """That the share `warn_at` of a cap is used."""
    amount, used_up = caps.given[cap], used.of(cap)
    share = f"{used_up / amount:.0%}" if amount else "all"
    return f"{share} of {cap} is used: {_shown(used_up)} of {_shown(amount)} {currency or ''}".rstrip()


def _shown(micro: int) -> str:
    return f"{micro / 1_000_000:.2f}" if micro % 10_000 == 0 else f"{micro / 1_000_000:.4f}"
