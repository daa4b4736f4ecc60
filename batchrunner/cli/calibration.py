"""`batchrunner cost --calibrate`: prices, ready for a manifest, from how the balance moved; or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction

from batchrunner.audit import CREDITS_PER_USD, amount
from batchrunner.calibrate import Calibration, calibrate
from batchrunner.store.base import Store

ALONE = "buy one clip of each kind in a run of its own: batchrunner run … --only KEY --limit 1"


def lines(store: Store, *, since: datetime | None) -> Iterator[str]:
    """Account by account: the movement of used_credits over what was bought with it."""
    accounts = store.accounts()
    if not accounts:
        yield "the balance was never read: every run reads it at its start and its end, so run something first"
    for endpoint, account in accounts:
        readings = [one for one in store.readings(endpoint, account) if since is None or one.at >= since]
        entries = list(store.ledger(endpoint=endpoint))
        yield f"# {endpoint}, account {account[:8]}: {len(readings)} readings of the balance"
        yield from _told(calibrate(readings, entries))


def _told(found: Calibration) -> Iterator[str]:
    if found.contradicts:
        yield "# no prices: the same purchases moved the balance by different amounts. Somebody else uses this key,"
        yield "# or prices have changed: use a key of its own, or only what is recent, with --since 1d"
        return
    if not found.intervals:
        yield "# no prices: nothing was bought between two readings at which nothing was under way"
        return
    if found.rates:
        table = ", ".join(f"{key}: {_dollars(rate)}" for key, rate in found.rates.items())
        kind = "per_second" if found.per_second else "per_request"
        yield f"prices: {{currency: USD, {kind}: {{{table}}}}}"
        unit = "a second" if found.per_second else "a clip"
        told = ", ".join(f"{key} {amount(rate)}" for key, rate in found.rates.items())
        yield f"# credits {unit}: {told}; from {found.intervals} stretches of the balance; {CREDITS_PER_USD} credits are 1 USD"
    if found.once:
        yield f"# not told: {', '.join(found.once)}, seen in one stretch only: what somebody else bought meanwhile would look"
        yield "# the same. Buy another clip of it, in a run of its own or a second one in the same run"
    if found.mixed:
        yield f"# not told apart: {', '.join(found.mixed)}, bought only together with others; {ALONE}"


def _dollars(rate: Fraction) -> str:
    """As a manifest takes it: six decimals, rounded up so that a budget is the safer side."""
    micro = -(-rate * 1_000_000 // CREDITS_PER_USD)
    return f"{int(micro) / 1_000_000:.6f}".rstrip("0").rstrip(".")
