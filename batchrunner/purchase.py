"""The purchase id: our own name for one thing bought, known to us before the provider hears of it.

It is sent as `client_business_id` (API facts §1, §4), the same on every resend of one purchase, and new only when a new
purchase is wanted. Letters, digits and underscore only, 29 characters; it must not look like a task id.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import secrets
from datetime import UTC, datetime
from typing import TypeGuard

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PREFIX = "br_"
RANDOM_BITS = 80


class Chance(random.Random):
    """Jitter from a quick generator; the bits of purchase ids from the system, as a machine that was copied, or woken from
    the same snapshot as another, must not make the other's."""

    def getrandbits(self, k: int, /) -> int:
        return secrets.randbits(k) if k else 0


def key_fingerprint(key: str, *, salt: bytes) -> str:
    """Tells one API key from another without telling the key (reliability notes, S3); the salt is the database's."""
    return hmac.new(salt, key.encode(), hashlib.sha256).hexdigest()[:8]


def purchase_id(now: datetime, randomness: int) -> str:
    """`br_` and a ULID: 48 bits of milliseconds, then 80 random bits, in Crockford's base 32."""
    value = (int(now.timestamp() * 1000) & (1 << 48) - 1) << RANDOM_BITS | randomness & (1 << RANDOM_BITS) - 1
    digits = [_CROCKFORD[value >> shift & 31] for shift in range(125, -5, -5)]
    return PREFIX + "".join(digits)


def is_purchase_id(text: object) -> TypeGuard[str]:
    """Whether somebody's id has the form of ours: then it names a purchase of this program."""
    return isinstance(text, str) and purchase_time(text) is not None


def purchase_time(purchase: str | None) -> datetime | None:
    """When a purchase id of ours was made; None for anything else."""
    if purchase is None or not purchase.startswith(PREFIX):
        return None
    return ulid_time(purchase.removeprefix(PREFIX))


def ulid_time(text: str) -> datetime | None:
    """When a ULID was made, by its own milliseconds; None when the text is none. ToAPIs' task ids end in one."""
    if len(text) != 26 or text[0] > "7" or not set(text) <= set(_CROCKFORD):
        return None
    value = 0
    for digit in text[:10]:
        value = value << 5 | _CROCKFORD.index(digit)
    return datetime.fromtimestamp(value / 1000, UTC)
