"""What may still be spent: the caps, what counts against them, and what a person is told when one is reached. Pure.

`max_cost` is for one batch for ever, `per_run` for one run of it, a cap of `tags` for the batch's jobs with that tag;
`per_day` and `per_month` are for the user's calendar day and month, over every batch of the database in the same currency.
Money is in micro-units. A cap goes by its name in the manifest: `max_cost`, `tags.nightly`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

TAG = "tags."
"""What the name of a tag's cap begins with."""


class Cap(StrEnum):
    """The caps by the names that they have in a manifest; those of tags are apart."""

    MAX_COST = "max_cost"
    PER_RUN = "per_run"
    PER_DAY = "per_day"
    PER_MONTH = "per_month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What may be spent at most; None is no cap."""

    max_cost: int | None = None
    per_run: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    tags: Mapping[str, int] = field(default_factory=dict)
    """By tag, for the jobs of the batch that have it."""
    warn_at: float | None = None
    """The share of a cap, from 0 to 1, at which a person is told."""

    @property
    def given(self) -> dict[str, int]:
        """The caps that there are by name, what frees last first and those of tags, which stop only some jobs, last."""
        amounts = {
            Cap.MAX_COST: self.max_cost,
            Cap.PER_MONTH: self.per_month,
            Cap.PER_DAY: self.per_day,
            Cap.PER_RUN: self.per_run,
        }
        found: dict[str, int] = {cap: amount for cap, amount in amounts.items() if amount is not None}
        return found | {TAG + tag: amount for tag, amount in self.tags.items()}


NO_CAPS = Caps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What counts against each cap: spent, at the provider, and perhaps bought."""

    max_cost: int = 0
    per_run: int = 0
    per_day: int = 0
    per_month: int = 0
    tags: Mapping[str, int] = field(default_factory=dict)

    def of(self, cap: str) -> int:
        """What counts against `cap`."""
        amounts = {
            Cap.MAX_COST: self.max_cost,
            Cap.PER_RUN: self.per_run,
            Cap.PER_DAY: self.per_day,
            Cap.PER_MONTH: self.per_month,
        }
        return amounts[Cap(cap)] if cap in amounts else self.tags.get(cap.removeprefix(TAG), 0)


def passed(caps: Caps, used: Used, price: int | None, *, tags: Collection[str] = ()) -> list[str]:
    """The caps that a purchase for a job with these tags could pass; one without a price could pass any."""
    bound = {
        cap: amount for cap, amount in caps.given.items() if not cap.startswith(TAG) or cap.removeprefix(TAG) in tags
    }
    return [cap for cap, amount in bound.items() if price is None or used.of(cap) + price > amount]


def only_tags(reached: Collection[str]) -> frozenset[str]:
    """The tags whose caps are reached, when jobs without them may still be bought; otherwise none."""
    tags = frozenset(cap.removeprefix(TAG) for cap in reached)
    return tags if all(cap.startswith(TAG) for cap in reached) else frozenset()


def near(caps: Caps, used: Used) -> list[str]:
    """The caps of which the share `warn_at` is used."""
    if caps.warn_at is None:
        return []
    return [cap for cap, amount in caps.given.items() if used.of(cap) >= amount * caps.warn_at]


def month(day: date) -> tuple[date, date]:
    """The first and the last day of the month that `day` is in."""
    following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return day.replace(day=1), following - timedelta(days=1)


def frees(cap: str, today: date) -> date | None:
    """The day on which all of `cap` is there again; None when only a person can raise it."""
    if cap == Cap.PER_DAY:
        return today + timedelta(days=1)
    return month(today)[1] + timedelta(days=1) if cap == Cap.PER_MONTH else None


_WHAT: dict[str, str] = {
    Cap.MAX_COST: "by the batch",
    Cap.PER_RUN: "by this run",
    Cap.PER_DAY: "today",
    Cap.PER_MONTH: "this month",
}


def sentence(
    caps: Caps, used: Used, price: int | None, *, today: date, currency: str | None, tags: Collection[str] = ()
) -> str:
    """Which cap stops the buying of a clip of that price, and when it frees; empty when none does."""
    reached = passed(caps, used, price, tags=tags)
    if not reached:
        return ""
    if price is None:
        return f"the next clip has no price, and {', '.join(caps.given)} can hold only what has one"
    cap = reached[0]
    amount = f"{_shown(used.of(cap))} of {_shown(caps.given[cap])} {currency or ''}".rstrip()
    day = frees(cap, today)
    when = "raise it to go on" if day is None else f"it frees on {day.isoformat()} at 00:00"
    when = "the next run may go on" if cap == Cap.PER_RUN else when
    whose = _WHAT.get(cap, "by the batch's jobs with that tag")
    return f"the next clip would pass {cap}, {amount} is used {whose}; {when}"


def warning(cap: str, caps: Caps, used: Used, *, currency: str | None) -> str:
    """That the share `warn_at` of a cap is used."""
    amount, used_up = caps.given[cap], used.of(cap)
    share = f"{used_up / amount:.0%}" if amount else "all"
    return f"{share} of {cap} is used: {_shown(used_up)} of {_shown(amount)} {currency or ''}".rstrip()


def _shown(micro: int) -> str:
    return f"{micro / 1_000_000:.2f}" if micro % 10_000 == 0 else f"{micro / 1_000_000:.4f}"
