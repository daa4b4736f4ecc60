"""When to ask about a task next, and how long to wait after trouble. Pure: age and chance are arguments.

ToAPIs asks for a first look after 5 s and one every 10 s from then on, with jitter (API facts §1); `floor` is that 5 s,
or what the user set instead. A relay refreshes its own state every 15 s or so, so an old task is asked less often.

Once enough tasks of a kind have finished, as many questions are asked where they find something: at equal steps of
∫√hazard (performance notes §6), never closer than the floor, and fewer when all tasks together would pass the rate.
"""

from __future__ import annotations

from batchrunner.forecast import Forecast
from batchrunner.settings import MISSING_FOR, MISSING_GRACE, MISSING_TIMES

SLOWEST = 12.0
"""Floors between two questions about an old task, at most: a minute at the documented floor."""
AGEING = 0.1
"""A task is asked about again after at least a tenth of its age."""
JITTER = 0.2
AIMED_JITTER = 0.1
"""Of the floor: where the times are known, a question that comes too late or too early for the sake of drifting is a loss."""
UNNOTICED = 0.1
"""Floors by which a finished task may be noticed late: where the bound on delay times questions says that fewer questions do
no worse, no more are asked."""
BACKOFF_CAP = 60.0


def next_look(
    age: float,
    *,
    floor: float,
    chance: float,
    learned: Forecast | None = None,
    share: float = 1e9,
    awaited: bool = False,
) -> float:
    """Seconds until the next question about a task accepted `age` seconds ago; never less than `floor`.

    `chance` is uniform in [0, 1): questions about tasks that were accepted together drift apart. `share` is what this
    task may use of the query rate, in questions a second. An `awaited` task keeps others from being bought: it is asked
    about at the floor, until it is old.
    """
    if learned is not None and (aimed := _aimed(age, learned, floor=floor, share=share)) is not None:
        return max(floor, aimed + AIMED_JITTER * floor * chance)
    if age < floor / 2:
        return floor * (1 + JITTER * chance)
    pause = min(max(floor if awaited else 2 * floor, AGEING * age, 1 / share), SLOWEST * floor)
    return max(floor, pause * (1 + JITTER * (chance - 0.5)))


def _aimed(age: float, learned: Forecast, *, floor: float, share: float) -> float | None:
    """Seconds until the next of as many questions as the documented cadence asks, or as are of use; None for a task older
    than any known."""
    of_use = learned.expected_steps**2 / 2 / (UNNOTICED * floor)
    questions = min(learned.mean * min(1 / (2 * floor), share), of_use)
    then = learned.after(age, learned.expected_steps / max(questions, 1.0))
    return None if then is None else learned.best(age, max(then, age + floor), floor) - age


def backoff(failures: int, *, first: float = 1.0, cap: float = BACKOFF_CAP, chance: float) -> float:
    """Seconds to wait after the n-th failure in a row: doubling up to `cap`, the upper half of it by chance."""
    longest = min(first * 2.0 ** min(failures - 1, 30), cap)
    return longest * (0.5 + 0.5 * chance)


def has_vanished(*, age: float, misses: int, missing_for: float) -> bool:
    """Whether a task that the provider does not find is to be given up (reliability notes §1.3)."""
    return age > MISSING_GRACE and misses >= MISSING_TIMES and missing_for >= MISSING_FOR
