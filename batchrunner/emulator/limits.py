"""ToAPIs' rate limits: a token bucket for submissions and one for queries, for the whole account (facts §3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """The documented words of `X-RateLimit-Category`."""

    SUBMIT = "async_submit"
    QUERY = "async_query"


GROUPS: Mapping[str, Mapping[Category, tuple[int, int]]] = {
    "default": {Category.SUBMIT: (300, 50), Category.QUERY: (3_000, 500)},
    "vip": {Category.SUBMIT: (1_000, 167), Category.QUERY: (10_000, 1_667)},
    "svip": {Category.SUBMIT: (2_000, 334), Category.QUERY: (30_000, 5_000)},
}
"""Requests a minute, and how many at once."""
TOLERANCE = 0.5
"""Tokens: a client that keeps the same bucket must not be refused for what the network made of its rhythm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What a limiter says of one request, and the headers that say it."""

    granted: bool
    headers: Mapping[str, str]


class Bucket:
    """Tokens that come in steadily up to a burst. Time is an argument, in seconds of the emulator's time."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self.per_minute, self.burst = per_minute, burst
        self._tokens, self._at = float(burst), -math.inf

    def take(self, now: float) -> bool:
        """Whether one more request may pass; a refusal takes nothing (facts §3)."""
        if now > self._at:
            self._tokens = min(self._tokens + max(now - self._at, 0.0) * self.per_minute / 60, float(self.burst))
            self._at = now
        granted = self._tokens >= TOLERANCE
        self._tokens -= granted
        return granted

    @property
    def remaining(self) -> int:
        return max(math.floor(self._tokens), 0)

    @property
    def wait(self) -> float:
        """Seconds until a refused request would pass."""
        return max(1.0 - self._tokens, 0.0) * 60 / self.per_minute

    @property
    def until_full(self) -> float:
        return (self.burst - self._tokens) * 60 / self.per_minute


class RateLimits:
    """Both buckets of an account's group."""

    def __init__(self, group: str, *, speed: float) -> None:
        self.group, self._speed = group, speed
        self._buckets = {category: Bucket(*limits) for category, limits in GROUPS[group].items()}

    def admit(self, category: Category, now: float) -> Admission:
        """`now` in real seconds: all runs `speed` times faster here, as the client's limits do in a rehearsal."""
        bucket = self._buckets[category]
        granted = bucket.take(now * self._speed)
        headers = {
            "X-RateLimit-Limit": str(bucket.per_minute),
            "X-RateLimit-Remaining": str(bucket.remaining),
            "X-RateLimit-Reset": str(math.ceil(now + bucket.until_full / self._speed)),
            "X-RateLimit-Category": category.value,
        }
        if not granted:
            headers["Retry-After"] = str(max(math.ceil(bucket.wait / self._speed), 1))
        return Admission(granted=granted, headers=headers)
