"""Prices and amounts as a manifest, or the user's configuration, gives them: exact, in micro-units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

CURRENCY = "USD"
MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What clips cost, in micro-units of `currency`, by billing key (`720P`, `1080P+Sound`, …)."""

    currency: str
    amounts: Mapping[str, int]
    per_second: bool
    """Whether an amount is for one second of clip, or for a clip of any length."""

    def of(self, billing_key: str, seconds: int) -> int | None:
        """The price of one clip; None when its billing key has no price."""
        amount = self.amounts.get(billing_key)
        if amount is None:
            return None
        return amount * seconds if self.per_second else amount


def micro(amount: Decimal) -> int | None:
    """An amount in micro-units; None when it has more than six decimals."""
    exact = amount * MICRO
    return int(exact) if exact == exact.to_integral_value() else None
