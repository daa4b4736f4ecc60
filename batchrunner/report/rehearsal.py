"""What a rehearsal would have been: the time and the money it stands for, and what it was made to meet. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SHOWN_FAULTS = 6


@dataclass(slots=True, kw_only=True)
class Rehearsal:
    """The emulator's own account of one run; it is filled in when the run ends."""

    scenario: str
    speed: float
    """Seconds of the provider's time in one of ours."""
    seconds: float = 0.0
    """Of our time that the run took."""
    accepted: int = 0
    refunded_usd: float = 0.0
    billed_usd: float = 0.0
    """What was charged and not refunded, at the emulator's prices."""
    met: Counter[str] = field(default_factory=Counter)
    """Faults and refusals, by name."""

    @property
    def makespan(self) -> float:
        """Seconds that the same run would take for real."""
        return self.seconds * self.speed


def lines(rehearsal: Rehearsal) -> list[str]:
    """What the summary of a run adds after a rehearsal."""
    cost = f"{rehearsal.billed_usd:.2f} USD at the emulator's prices"
    if rehearsal.refunded_usd:
        cost += f", {rehearsal.refunded_usd:.2f} USD refunded"
    said = [f"  would   take about {duration(rehearsal.makespan)} and cost {cost}"]
    if rehearsal.met:
        common = rehearsal.met.most_common()
        listed = ", ".join(f"{name} {_times(count)}" for name, count in common[:SHOWN_FAULTS])
        more = f" and {len(common) - SHOWN_FAULTS} more kinds" if len(common) > SHOWN_FAULTS else ""
        said.append(f"  met     {listed}{more}")
    return said


def as_json(rehearsal: Rehearsal) -> dict[str, Any]:
    """The same for programs."""
    return {
        "scenario": rehearsal.scenario,
        "speed": rehearsal.speed,
        "makespan_seconds": round(rehearsal.makespan),
        "accepted": rehearsal.accepted,
        "billed_usd": round(rehearsal.billed_usd, 4),
        "refunded_usd": round(rehearsal.refunded_usd, 4),
        "met": dict(rehearsal.met),
    }


def duration(seconds: float) -> str:
    """As people say it: two units at most."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
