"""Prices from how the balance moved while a key was used by nobody else. Pure: exact fractions, no guess.

Between two quiet readings (`audit.quiet`) the balance moved by the sum over billing keys of seconds times price: one
equation. Prices are told where the equations determine them, do not contradict each other, and would determine them without
any one of them: what a single stretch says may as well be what somebody else bought meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from batchrunner.audit import is_kept, quiet
from batchrunner.model import LedgerEntry, Reading

Equation = tuple[dict[str, Fraction], Fraction]
"""What each billing key was bought of, and the credits that it cost together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the balance tells about prices."""

    rates: dict[str, Fraction]
    """Credits per second, or per clip, by billing key."""
    per_second: bool
    once: tuple[str, ...] = ()
    """Billing keys whose price hangs on a single stretch: nothing confirms it."""
    mixed: tuple[str, ...] = ()
    """Billing keys that were bought only together with others."""
    contradicts: bool = False
    """Whether the same purchases cost different amounts: somebody else uses the key, or the prices changed."""
    intervals: int = 0
    """Stretches between two quiet readings in which something was bought."""


def calibrate(readings: Sequence[Reading], entries: Sequence[LedgerEntry]) -> Calibration:
    """Prices by the second; by the clip where only that explains the balance."""
    stretches = []
    for before, after in pairwise(quiet(readings, entries)):
        bought = [entry for entry in entries if is_kept(entry, before.at, after.at)]
        if bought or after.used != before.used:
            stretches.append((bought, after.used - before.used))
    by_second = _solve(stretches, per_second=True)
    if by_second.contradicts:
        by_clip = _solve(stretches, per_second=False)
        if by_clip.rates and not by_clip.contradicts:
            return by_clip
    return by_second


def _solve(stretches: Sequence[tuple[list[LedgerEntry], int]], *, per_second: bool) -> Calibration:
    weigh: Callable[[LedgerEntry], int] = (lambda entry: entry.seconds) if per_second else (lambda entry: 1)
    equations: list[Equation] = []
    for bought, moved in stretches:
        parts: dict[str, Fraction] = {}
        for entry in bought:
            parts[entry.billing_key] = parts.get(entry.billing_key, Fraction(0)) + weigh(entry)
        equations.append((parts, Fraction(moved)))
    solved, contradicts, needed = _reduce(equations)
    keys = sorted({key for parts, _ in equations for key in parts})
    confirmed = set(solved)
    for one in needed:  # without any other equation, the same is solved
        confirmed &= _reduce([*equations[:one], *equations[one + 1 :]])[0].keys()
    rates = {} if contradicts else {key: solved[key] for key in keys if key in confirmed and solved[key] > 0}
    return Calibration(
        rates=rates,
        per_second=per_second,
        once=tuple(key for key in keys if key in solved and key not in confirmed),
        mixed=tuple(key for key in keys if key not in solved),
        contradicts=contradicts or any(solved[key] <= 0 for key in solved),
        intervals=sum(bool(bought) for bought, _ in stretches),
    )


def _reduce(equations: Sequence[Equation]) -> tuple[dict[str, Fraction], bool, list[int]]:
    """Gauss and Jordan: the unknowns that are determined, whether equations contradict each other, and which ones it needed."""
    rows: dict[str, Equation] = {}
    needed: list[int] = []
    contradicts = False
    for number, (parts, total) in enumerate(equations):
        left = dict(parts)
        for pivot, (others, value) in rows.items():
            if factor := left.get(pivot):
                left, total = _minus((left, total), (others, value), factor)
        left = {key: weight for key, weight in left.items() if weight}
        if not left:
            contradicts = contradicts or total != 0
            continue
        needed.append(number)
        pivot, weight = next(iter(left.items()))
        row: Equation = ({key: one / weight for key, one in left.items()}, total / weight)
        rows = {key: _minus(old, row, old[0].get(pivot, Fraction(0))) for key, old in rows.items()} | {pivot: row}
    solved = {pivot: total for pivot, (parts, total) in rows.items() if len(parts) == 1}
    return solved, contradicts, needed


def _minus(one: Equation, other: Equation, factor: Fraction) -> Equation:
    parts = {key: one[0].get(key, Fraction(0)) - factor * other[0].get(key, Fraction(0)) for key in one[0] | other[0]}
    return {key: weight for key, weight in parts.items() if weight}, one[1] - factor * other[1]
