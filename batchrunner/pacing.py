"""How fast a lane may ask, and how many tasks may be in flight: both fall at once when told to, and recover step by step.

Additive increase, multiplicative decrease, as in congestion control. Pure: `now` is an argument, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchrunner.settings import Rate

SLOWEST = 1 / 64
"""Of the configured rate."""
RECOVERY = 60.0
"""Seconds without a complaint until a lane, or the room in flight, gets a step of it back."""
STEP = 0.2
"""Of the configured rate: one request a second at the documented default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The state of one lane."""

    rate: Rate
    tokens: float
    at: float
    factor: float = 1.0
    """What complaints have left of the rate."""
    held_until: float = 0.0
    slowed_at: float = 0.0
    recovery: float = RECOVERY

    @classmethod
    def full(cls, rate: Rate, now: float, *, speed: float = 1.0) -> Pace:
        """A lane with its whole burst at hand, where `speed` seconds pass in one."""
        return cls(rate=rate, tokens=float(rate.burst), at=now, recovery=RECOVERY / speed)

    @property
    def per_second(self) -> float:
        """What complaints have left of the rate, in requests a second."""
        return self.rate.per_second * self.factor

    def at_time(self, now: float, *, less: int = 0) -> Pace:
        """The same lane with the tokens that came in until `now`, and with its rate recovered where it kept the peace."""
        factor, slowed_at = self.factor, self.slowed_at
        if factor < 1.0 and now - slowed_at >= self.recovery:
            factor, slowed_at = min(1.0, factor + STEP), now
        return replace(self, tokens=self._grown(now) - less, at=max(now, self.at), factor=factor, slowed_at=slowed_at)

    def _grown(self, now: float) -> float:
        """The tokens, with those that came in until `now`."""
        grown = self.tokens + max(now - self.at, 0.0) * self.rate.per_second * self.factor
        return min(grown, float(self.rate.burst))

    def available(self, now: float) -> int:
        """How many requests may leave at once."""
        return 0 if now < self.held_until else int(self._grown(now) + 1e-9)

    def wait(self, now: float) -> float:
        """Seconds until one request may leave; 0 when one may now."""
        if now < self.held_until:
            return self.held_until - now
        lacking = 1.0 - self._grown(now)
        return max(lacking, 0.0) / (self.rate.per_second * self.factor)

    def took(self, now: float, requests: int = 1) -> Pace:
        """After so many requests."""
        return self.at_time(now, less=requests)

    def held(self, until: float) -> Pace:
        """Nothing leaves before `until`."""
        return replace(self, held_until=max(self.held_until, until))

    def slowed(self, now: float, until: float) -> Pace:
        """After a 429: half the rate for the whole run, an empty bucket, and nothing before `until`.

        Complaints about requests that left together count once.
        """
        current = self.at_time(now)
        factor = current.factor if now < self.held_until else max(current.factor / 2, SLOWEST)
        return replace(current, tokens=0.0, factor=factor, slowed_at=now).held(until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many tasks may be in flight: fewer after the provider said that there were too many (Kling's 1303)."""

    limit: int
    """What was configured."""
    lacking: int = 0
    """How many fewer it is now."""
    lowered_at: float = 0.0
    recovery: float = RECOVERY

    def at(self, now: float) -> int:
        """The room now: one more for each minute of peace, up to the limit."""
        regained = max(int((now - self.lowered_at) / self.recovery), 0)
        return self.limit - max(self.lacking - regained, 0)

    def lowered(self, now: float, *, flying: int) -> Room:
        """After a refusal with `flying` other tasks in flight: one fewer than there were, and never none."""
        room = max(min(self.at(now), flying + 1) - 1, 1)
        return replace(self, lacking=self.limit - room, lowered_at=now)
