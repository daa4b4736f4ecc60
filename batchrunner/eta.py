"""When a batch will be finished, from what is in flight, what waits, and how long tasks of each kind take. Pure.

While jobs wait, every place in flight is taken again as it falls free: work over places, as in list scheduling. From then
on the last of those in flight decides: all are done within t with the product of their single chances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from batchrunner.forecast import Forecast

AHEAD = 500
"""Waiting jobs whose kinds are looked at; the rest are taken for the same mixture."""
SAMPLE = 64
"""Tasks in flight whose ages are looked at; more are represented by these."""
MEDIAN, LIKELY = 0.5, 0.9
HALVINGS = 30
LIKELY_SIGMAS = 1.2816
"""Of a normal distribution: nine of ten lie below."""


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds from now until everything is final."""

    median: float
    likely: float
    """Nine times out of ten it takes no longer."""


def of_batch(
    ages: Sequence[tuple[str, float]],
    ahead: Mapping[str, int],
    waiting: int,
    learned: Mapping[str, Forecast],
    *,
    places: int,
    rate: float = math.inf,
) -> Eta | None:
    """`expected` for a batch: the kind and age of each task in flight, and the kinds of the next of the `waiting` jobs.

    Kinds of which nothing is known are left out of the mixture, and counted by the others; None when all are.
    """
    flying = [(learned[kind], age) for kind, age in ages if kind in learned]
    known = {learned[kind]: float(number) for kind, number in ahead.items() if kind in learned}
    if (ages and not flying) or (waiting and not known):
        return None
    scale = waiting / sum(known.values()) if known else 0.0
    return expected(flying, {kind: number * scale for kind, number in known.items()}, places=places, rate=rate)


def expected(
    flying: Sequence[tuple[Forecast, float]], waiting: Mapping[Forecast, float], *, places: int, rate: float = math.inf
) -> Eta | None:
    """When the tasks in flight (forecast and age of each) and the jobs that wait (how many of each) will all be final.

    At most `places` are in flight at once, and `rate` a second are submitted. None when there is nothing to wait for.
    """
    count = sum(waiting.values())
    if not flying and not count:
        return None
    begun, spread = 0.0, 0.0
    if count:
        mean = sum(number * kind.mean for kind, number in waiting.items()) / count
        busy = min(float(places), max(rate * mean, 1.0), len(flying) + count)
        work = count * mean + _left(flying)
        flying = _fleet(waiting, round(busy))
        left = _left(flying)
        begun = max(work - left, 0.0) / busy
        spread = math.sqrt(sum(number * _variance(kind) for kind, number in waiting.items())) / busy
    last = [_last(flying, share) for share in (MEDIAN, LIKELY)]
    return Eta(begun + last[0], begun + math.hypot(last[1] - last[0], LIKELY_SIGMAS * spread) + last[0])


def _fleet(waiting: Mapping[Forecast, float], places: int) -> list[tuple[Forecast, float]]:
    """What is in flight when nothing waits any more: kinds as often as they wait, ages evenly spread over their lives."""
    count = sum(waiting.values())
    fleet: list[tuple[Forecast, float]] = []
    for kind, number in waiting.items():
        part = max(round(places * number / count), 1)
        # a task that is met at a random moment is long rather than short, and of any age
        fleet.extend((kind, kind.mean * (place + 0.5) / part) for place in range(part))
    return fleet


def _last(flying: Sequence[tuple[Forecast, float]], share: float) -> float:
    """Seconds within which all of them are final with this chance."""
    chosen, weight = _sample(flying)
    low, high = 0.0, max(kind.knots[-1] for kind, _ in chosen)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        logs = (math.log(max(1 - _alive(kind, age, middle), 1e-300)) for kind, age in chosen)
        low, high = (low, middle) if weight * sum(logs) >= math.log(share) else (middle, high)
    return high


def _sample(flying: Sequence[tuple[Forecast, float]]) -> tuple[Sequence[tuple[Forecast, float]], float]:
    """Some of them, and how many each of those stands for: thousands in flight are no reason to count for a second."""
    chosen = flying[:: max(len(flying) // SAMPLE, 1)]
    return chosen, len(flying) / max(len(chosen), 1)


def _left(flying: Sequence[tuple[Forecast, float]]) -> float:
    """Seconds that all of them take on together, on average."""
    chosen, weight = _sample(flying)
    return weight * sum(_mean_left(kind, age) for kind, age in chosen)


def _alive(kind: Forecast, age: float, later: float) -> float:
    """The chance that a task of this age still runs so many seconds later; beyond all known times nothing runs."""
    if age + later >= kind.knots[-1]:
        return 0.0
    return kind.alive(age + later) / kind.alive(age)


def _mean_left(kind: Forecast, age: float) -> float:
    """Seconds that a task of this age takes on, on average."""
    if age >= kind.knots[-1]:
        return 0.0
    knots = [age, *(knot for knot in kind.knots if knot > age)]
    area = sum((right - left) * (kind.alive(left) + kind.alive(right)) / 2 for left, right in pairwise(knots))
    return area / kind.alive(age)


def _variance(kind: Forecast) -> float:
    second = 2 * sum(
        (right - left) * (left * kind.alive(left) + right * kind.alive(right)) / 2
        for left, right in pairwise(kind.knots)
    )
    return max(second - kind.mean**2, 0.0)
