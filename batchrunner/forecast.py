"""How long tasks of one kind take, learned from those that have finished: what polling, ETA and deadlines rest on. Pure.

The service times of the last tasks are kept as a row of quantiles. Between two of them the density is taken as constant, so
that survival and hazard have closed forms. Theory and measurements are in the performance notes §6: with density f and
survival S, mean delay × questions cannot go below A²/2 with A = ∫√(f·S), and equal steps of ∫√hazard come close.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

WINDOW = 256
"""Tasks that are remembered of each kind, the last ones: times drift with the provider's load."""
FEWEST = 8
"""Tasks that must have finished before their times say anything."""
KNOTS = 40
"""Pieces of the distribution, at most."""
TASKS_A_KNOT = 8
"""Fewer tasks make fewer, wider pieces: gaps between single times mean nothing."""
UNSEEN_SOONER, UNSEEN_LATER = 0.1, 1.0
"""Tasks, next to those that were seen, that are taken to end before the shortest and after the longest of them."""
MIN_WIDTH = 1e-3
"""Seconds: what differs by less is one time."""


def service_time(told: float | None, *, earliest: float | None, latest: float, chance: float) -> float | None:
    """Seconds that a task took, which was seen unfinished at the age `earliest` and finished at `latest`.

    What the provider tells counts as far as we could have noticed it: a relay that shows its news late makes tasks longer
    for us. Without a word it was any moment between the two looks, by `chance` in [0, 1): the last look alone would learn
    its own habits. None when nothing is known: nobody looked before it ended (`earliest` is None) and nobody tells.
    """
    if told is not None and told > 0 and math.isfinite(told):
        return min(max(told, earliest or 0.0), latest)
    return None if earliest is None else earliest + chance * (latest - earliest)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The distribution of one kind's service times."""

    knots: tuple[float, ...]
    """Seconds, rising: 0, then quantiles from the shortest time to the longest."""
    survival: tuple[float, ...]
    """The share of tasks that take longer than each knot: 1 at the first, above 0 at the last."""
    steps: tuple[float, ...]
    """∫√hazard from 0 to each knot."""
    mean: float
    """Seconds; what lies beyond the last knot counts as ending there."""
    expected_steps: float
    """A = ∫√(f·S): steps of ∫√hazard in a task's life, on average."""

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the tasks is finished, as far as is known."""
        left = 1 - share
        for index in range(1, len(self.knots)):
            if self.survival[index] <= left:
                before, after = self.survival[index - 1], self.survival[index]
                part = (before - left) / (before - after)
                return self.knots[index - 1] + part * (self.knots[index] - self.knots[index - 1])
        return self.knots[-1]

    def remaining(self, age: float, share: float = 0.5) -> float | None:
        """Seconds after which this share of the tasks that are `age` seconds old now is finished; None when beyond all known."""
        alive = self.alive(age)
        if alive <= self.survival[-1]:
            return None
        return max(self.quantile(1 - alive * (1 - share)) - age, 0.0)

    def after(self, age: float, step: float) -> float | None:
        """The age at which ∫√hazard has grown by `step` since `age`; None beyond the last knot, where nothing is known."""
        wanted = self._steps(age) + step
        if wanted > self.steps[-1]:
            return None
        index = max(bisect_right(self.steps, wanted) - 1, 0)
        if index >= len(self.knots) - 1:
            return self.knots[-1]
        density = self._density(index)
        root = math.sqrt(self.survival[index]) - (wanted - self.steps[index]) * math.sqrt(density) / 2
        return self.knots[index] + (self.survival[index] - max(root, 0.0) ** 2) / density

    def best(self, age: float, first: float, floor: float) -> float:
        """The moment for one question about a task of this age, from `first` on: when it finds the task unfinished, the next
        one cannot come before `floor` seconds later, so that waiting for many that end soon may cost less than it saves.
        """
        alive, at_first = self.alive(age), self.alive(first)
        best, most = first, 0.0
        start = bisect_right(self.knots, first)
        for index in range(start, len(self.knots)):
            moment = self.knots[index]
            if moment >= first + floor:
                break
            sooner = (at_first - self.survival[index]) * (first + floor - moment)
            saved = sooner - (alive - at_first) * (moment - first)
            if saved > most:
                best, most = moment, saved
        return best

    def _piece(self, age: float) -> int:
        return min(max(bisect_right(self.knots, age) - 1, 0), len(self.knots) - 2)

    def _density(self, index: int) -> float:
        width = self.knots[index + 1] - self.knots[index]
        return (self.survival[index] - self.survival[index + 1]) / width

    def alive(self, age: float) -> float:
        """The share of tasks that take longer than `age` seconds."""
        if age >= self.knots[-1]:
            return self.survival[-1]
        index = self._piece(age)
        return self.survival[index] - self._density(index) * (age - self.knots[index])

    def _steps(self, age: float) -> float:
        if age >= self.knots[-1]:
            return self.steps[-1]
        index = self._piece(age)
        density = self._density(index)
        fallen = math.sqrt(self.survival[index]) - math.sqrt(self.alive(age))
        return self.steps[index] + 2 * fallen / math.sqrt(density)


def forecast(times: Iterable[float]) -> Forecast | None:
    """What the service times of one kind's last tasks (seconds) say of the next; None while they are too few."""
    seen = sorted(time for time in times if time > 0 and math.isfinite(time))
    count = len(seen)
    if count < FEWEST:
        return None
    pieces = min(KNOTS, max(count // TASKS_A_KNOT, 2))
    sooner, later = UNSEEN_SOONER / (count + 1), UNSEEN_LATER / (count + 1)
    knots, survival = [0.0], [1.0]
    for number in range(pieces + 1):
        share = number / pieces
        knot, alive = _quantile(seen, share), 1 - sooner - (1 - sooner - later) * share
        if knot - knots[-1] > MIN_WIDTH:
            knots.append(knot)
            survival.append(alive)
        elif len(knots) > 1 and knots[-1] - knots[-2] > 2 * MIN_WIDTH:  # many took this long: they are no spread
            knots[-1] -= MIN_WIDTH
            knots.append(knot)
            survival.append(alive)
        elif len(knots) > 1:
            survival[-1] = alive
    return _of(knots, survival)


def _of(knots: list[float], survival: list[float]) -> Forecast:
    """With its sums: they are asked for at each question about a task."""
    steps = [0.0]
    mean = expected_steps = 0.0
    pieces = zip(knots, knots[1:], survival, survival[1:], strict=False)
    for left, right, before, after in pieces:
        width, root = right - left, math.sqrt((right - left) / (before - after))
        steps.append(steps[-1] + 2 * root * (math.sqrt(before) - math.sqrt(after)))
        mean += width * (before + after) / 2
        expected_steps += 2 / 3 * root * (before * math.sqrt(before) - after * math.sqrt(after))
    return Forecast(tuple(knots), tuple(survival), tuple(steps), mean, expected_steps)


def _quantile(seen: list[float], share: float) -> float:
    """A quantile of sorted times, as the mean of those around it: √n on each side, fewer towards the ends."""
    last = len(seen) - 1
    place = share * last
    reach = min(place, last - place, math.sqrt(len(seen)))
    low, high = math.ceil(place - reach), math.floor(place + reach)
    return sum(seen[low : high + 1]) / (high - low + 1) if high > low else seen[round(place)]
