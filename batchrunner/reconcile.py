"""What an unanswered submission means, from evidence that costs nothing: when to look its purchase up. Pure.

A look-up that finds the purchase is proof that it was bought, and its task is taken over. Not finding it proves nothing
(reliability notes §2.4): the job stays in doubt, and is never sent again by this module.
"""

from __future__ import annotations

LOOKUPS = 5
"""Looks at one purchase, spread over the settle window: a relay may store what it accepted late."""


def next_lookup(looked: int, *, window: float) -> float | None:
    """Seconds from the n-th look at a purchase to the next; None when it has been looked for often enough."""
    return window / (LOOKUPS - 1) if looked < LOOKUPS else None
