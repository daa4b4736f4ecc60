"""Where a batch stands, from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from batchrunner.eta import AHEAD, Eta, of_batch
from batchrunner.forecast import WINDOW, Forecast, forecast
from batchrunner.model import Batch, Money
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a batch stands."""

    batch: Batch
    counts: Mapping[JobState, int]
    dropped: Mapping[JobState, int]
    """Jobs that the manifest no longer has and that are not final: what was bought is collected all the same."""
    money: Money
    eta: Eta | None = None
    """When it will be finished if it goes on as it goes now; None when nothing is in flight, or too little is known."""
    at: datetime
    """The moment that this is about."""
    failed: frozenset[str] = frozenset()
    """Why jobs failed."""


NOT_FINAL = (*sorted(IN_FLIGHT), JobState.FETCHING)
"""Bought, or perhaps bought, and not yet ours."""


def standing_of(store: Store, batch: Batch, *, at: datetime, is_rehearsed: bool) -> Standing:
    """Where the batch stands at that moment; a rehearsal's seconds are the emulator's, which nobody waits for."""
    open_jobs = store.jobs(batch.id, states=NOT_FINAL, wanted_only=False)
    return Standing(
        batch=batch,
        counts=store.counts(batch.id),
        dropped=Counter(job.state for job in open_jobs if not job.wanted),
        money=store.money(batch.id),
        eta=None if is_rehearsed or batch.paused else _eta(store, batch, at),
        at=at,
        failed=frozenset(job.reason or "" for job in store.jobs(batch.id, states=(JobState.FAILED,))),
    )


def _eta(store: Store, batch: Batch, at: datetime) -> Eta | None:
    """As many as are in flight now are taken for as many as there may be."""
    running = store.jobs(batch.id, states=(JobState.RUNNING,), wanted_only=False)
    ages = [(job.request.kind, (at - (job.submitted_at or at)).total_seconds()) for job in running]
    ahead, waiting = store.kinds_ahead(batch.id, limit=AHEAD), store.counts(batch.id).get(JobState.PENDING, 0)
    learned: dict[str, Forecast] = {}
    for kind in ahead.keys() | {kind for kind, _ in ages}:
        known = forecast(store.service_times(kind, endpoint=batch.endpoint, limit=WINDOW))
        if known is not None:
            learned[kind] = known
    return of_batch(ages, ahead, waiting, learned, places=len(ages)) if ages else None
