"""What a run would buy and how long it would take, before anything is asked or sent: the plan's numbers, with prices. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from batchrunner.budget import Caps, Used, only_tags, passed
from batchrunner.forecast import forecast
from batchrunner.schedule import lands_within
from batchrunner.settings import Limits
from batchrunner.store.base import Comparison, Planned, Purchases

Kind = tuple[str, int]
"""A billing key and a length in seconds."""
Priced = tuple[int | None, tuple[str, ...]]
"""A clip's price in micro-units, None without one, and its job's tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How far the caps let a run come."""

    clips: int
    """Bought, in the order of submission, before a cap stops the run."""
    cost: int
    """Of these, in micro-units."""
    cap: str | None
    """The cap that stops it; None when all of them fit."""
    after: Used
    """What counts against each cap then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How long a run may take, by what such clips took before."""

    seconds: float
    median: float
    """Of the service times that it rests on, in seconds."""
    tasks: int
    """How many those are."""
    unknown: int
    """Clips of kinds that none of them was of; they are taken to be like the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """How far the hours let a run come."""

    clips: int
    """About so many are begun early enough to be here in time, by what such clips took before."""
    ends_at: datetime
    known: bool
    """Whether the database has seen such clips; otherwise that is by default times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long clips of one kind take, in seconds."""

    usual: float
    needs: float
    """With less than this left none is begun (`schedule.lands_within`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a run would do, buy and send."""

    plan: Comparison
    purchases: Purchases
    cost: int | None
    """In micro-units; None when something has no price."""
    cost_again: int | None
    """The part of it that is paid for jobs that were bought before."""
    caps: Caps
    used: Used
    fit: Fit
    uploads: int
    """Different frames that leave this machine: those that the provider does not have any more, or never had."""
    upload_bytes: int
    outlook: Outlook | None
    landing: Landing | None
    """None for a run that nothing ends."""
    ahead: Mapping[str, int]
    """Of each kind that was not seen done and right, how many clips go first: the rest waits for them."""
    wrong: Mapping[str, str]
    """Kinds whose canary came back wrong, and what was wrong: nothing of them is bought."""
    max_in_flight: int
    example: Planned | None
    """The first job to be sent."""


def left(caps: Caps, used: Used) -> dict[str, int]:
    """What each cap still lets be spent, in micro-units; below 0 where a cap was lowered since."""
    return {cap: amount - used.of(cap) for cap, amount in caps.given.items()}


def fit(purchases: Purchases, clips: Callable[[], Iterable[Priced]], caps: Caps, used: Used, cost: int | None) -> Fit:
    """What the caps let a run buy of `clips`, which begins the list of them in the order of submission anew.

    As in a run, a tag's cap holds back its own jobs and any other cap ends the run.
    """
    rest = left(caps, used)
    if not rest or (cost is not None and cost <= min(rest.values()) and not caps.tags):
        return Fit(clips=purchases.clips, cost=cost or 0, cap=None, after=_with(used, cost or 0, ()))
    bought = spent = 0
    capped: dict[str, str] = {}
    for price, tags in clips():
        if not capped.keys().isdisjoint(tags):
            continue
        if reached := passed(caps, used, price, tags=tags):
            held = only_tags(reached)
            if not held:
                return Fit(clips=bought, cost=spent, cap=reached[0], after=used)
            capped |= dict.fromkeys(held, reached[0])
            continue
        bought, spent = bought + 1, spent + (price or 0)
        used = _with(used, price or 0, tags)
    return Fit(clips=bought, cost=spent, cap=next(iter(capped.values()), None), after=used)


def _with(used: Used, price: int, tags: tuple[str, ...]) -> Used:
    """What counts against the caps after one more purchase."""
    return Used(
        max_cost=used.max_cost + price,
        per_run=used.per_run + price,
        per_day=used.per_day + price,
        per_month=used.per_month + price,
        tags={**used.tags, **{tag: used.tags.get(tag, 0) + price for tag in tags}},
    )


def chosen(planned: Iterable[Planned], selects: Callable[[Planned], bool], limit: int | None) -> Iterator[Planned]:
    """The jobs that a run would send: the first `limit` that it selects."""
    for one in planned:
        if limit == 0:
            return
        if one.verdict.is_sent and selects(one):
            yield one
            limit = None if limit is None else limit - 1


def outlook(kinds: Mapping[Kind, int], times: Mapping[Kind, list[float]], limits: Limits) -> Outlook | None:
    """How long so many clips take with so many at once; None when no such clip was ever seen to end.

    Long times are counted as the ninth tenth of their kind: a run that was interrupted saw the end of its tasks late.
    """
    seen = [time for kind in kinds for time in times[kind]]
    clips = sum(kinds.values())
    if not seen or not clips:
        return None
    known = {kind: taken for kind in kinds if (taken := times[kind])}
    everything = _usual(seen)
    work = sum(count * (_usual(known[kind]) if kind in known else everything) for kind, count in kinds.items())
    longest = max(_late(taken) for taken in known.values())
    seconds = max(work / limits.max_in_flight, longest, clips / limits.submit.per_second)
    unknown = sum(count for kind, count in kinds.items() if kind not in known)
    return Outlook(seconds=seconds, median=statistics.median(seen), tasks=len(seen), unknown=unknown)


def pace(form: str, times: list[float], limits: Limits) -> Pace:
    """How long clips of a kind take, by what such clips took (seconds of the provider), or by default."""
    learned = forecast(limits.lasting(time) for time in times)
    needs = lands_within(form, learned, limits)
    return Pace(usual=learned.mean if learned else needs / 2, needs=needs)


def landing(forms: Mapping[str, int], paces: Mapping[str, Pace], limits: Limits, *, seconds: float, ahead: bool) -> int:
    """About how many clips of these kinds are begun early enough when so many seconds are left; `ahead`: canaries go first."""
    in_time = {form: clips for form, clips in forms.items() if clips and paces[form].needs <= seconds}
    if not in_time:
        return 0
    clips = sum(in_time.values())
    usual = sum(paces[form].usual * count for form, count in in_time.items()) / clips
    begins = seconds - max(paces[form].needs for form in in_time) - (usual if ahead else 0.0)
    if begins < 0:
        return 1  # the canary itself
    by_room = limits.max_in_flight * (1 + begins / usual)
    return min(clips, int(by_room), int(limits.submit.burst + begins * limits.submit.per_second))


def _usual(times: list[float]) -> float:
    late = _late(times)
    return statistics.fmean(min(time, late) for time in times)


def _late(times: list[float]) -> float:
    """The time within which nine of ten were finished."""
    return sorted(times)[max(0, -(-len(times) * 9 // 10) - 1)]
