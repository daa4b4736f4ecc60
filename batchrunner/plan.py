"""Wanted jobs against stored jobs: what is new, done, changed, moved or no longer wanted, and what it would buy. Pure.

Identity comes from keys and fingerprints, never from positions. What was paid for is never replaced: it is kept, and said.

A take is the n-th wanted repeat of one request. It needs no column: of the jobs without a key in common, the n-th that
asks for a request is the n-th row that has it, bought ones first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from batchrunner.model import WantedJob
from batchrunner.states import FINAL, JobState
from batchrunner.store.base import Changes, StoredJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run of a manifest would do."""

    changes: Changes
    to_send: tuple[WantedJob, ...]
    """New, changed before anything was bought, or still pending."""
    done: tuple[str, ...]
    """Keys, as in all that follows."""
    collecting: tuple[str, ...]
    """At the provider, or finished there and not yet fetched."""
    in_doubt: tuple[str, ...]
    failed: tuple[str, ...]
    changed: tuple[str, ...]
    """Bought with another request than the manifest has now: kept as they are."""
    moved: tuple[str, ...]
    orphaned: tuple[str, ...]

    @property
    def seconds(self) -> dict[str, int]:
        """Billing seconds of what would be sent, per billing key."""
        total: Counter[str] = Counter()
        for job in self.to_send:
            total[job.request.billing_key] += job.request.duration
        return dict(total)

    @property
    def needs_provider(self) -> bool:
        """Whether there is anything to send or to collect."""
        return bool(self.to_send or self.collecting)

    def uploads(self) -> dict[str, str]:
        """Local frames that may leave this machine: path by content hash."""
        frames = (frame for job in self.to_send for frame in job.request.frames if frame.local)
        return {frame.sha256: frame.source for frame in frames}


def plan(wanted: Sequence[WantedJob], stored: Iterable[StoredJob]) -> Plan:
    """Compare the two and say what changes; `only` and `limit` of a run do not matter here."""
    rows = list(stored)
    by_key = {row.key: row for row in rows}
    keys = {job.key for job in wanted}
    movable: dict[str, list[StoredJob]] = {}
    for one in sorted(rows, key=_bought_last):
        if one.key not in keys:
            movable.setdefault(one.fingerprint, []).append(one)
    added, replaced, kept, to_send, changed, moved = [], [], [], [], [], []
    matched: dict[int, WantedJob] = {}
    for job in wanted:
        row: StoredJob | None = by_key.get(job.key)
        if row is None and (fits := movable.get(job.fingerprint)):
            row = fits.pop()
            moved.append(job.key)
        if row is None:
            added.append(job)
            to_send.append(job)
            continue
        matched[row.id] = job
        differs = row.fingerprint != job.fingerprint
        if differs and _unpaid(row):
            replaced.append((row.id, job))
            to_send.append(job)
            continue
        kept.append((row.id, job))
        if row.state is JobState.PENDING:
            to_send.append(job)
        elif differs:
            changed.append(job.key)
    orphaned = [row for row in rows if row.wanted and row.id not in matched]
    found = [(row.state, matched[row.id].key) for row in rows if row.id in matched]
    sending = {job.key for job in to_send}
    return Plan(
        changes=Changes(
            added=tuple(added), replaced=tuple(replaced), kept=tuple(kept), orphaned=tuple(row.id for row in orphaned)
        ),
        to_send=tuple(to_send),
        done=_keys(found, JobState.DONE),
        collecting=_keys(found, JobState.RUNNING, JobState.FETCHING)
        + tuple(row.key for row in rows if row.id not in matched and row.state in _AT_PROVIDER),
        in_doubt=_keys(found, JobState.IN_DOUBT, JobState.SUBMITTING),
        failed=tuple(key for key in _keys(found, JobState.FAILED) if key not in sending),
        changed=tuple(changed),
        moved=tuple(moved),
        orphaned=tuple(row.key for row in orphaned),
    )


_AT_PROVIDER = (JobState.RUNNING, JobState.FETCHING)


def _bought_last(row: StoredJob) -> tuple[bool, bool, int]:
    """The order in which rows are given to jobs of the same request, from the end: what was bought comes first of all."""
    return row.state is JobState.DONE, not _unpaid(row), -row.id


def _unpaid(row: StoredJob) -> bool:
    """Whether nothing was bought for the job, for certain: its request may still change."""
    if row.state is JobState.PENDING:
        return True
    return row.state in FINAL and not row.paid


def _keys(found: Sequence[tuple[JobState, str]], *states: JobState) -> tuple[str, ...]:
    return tuple(key for state, key in found if state in states)


def cost(jobs: Iterable[WantedJob], price: Callable[[str, int], int | None]) -> int | None:
    """What the jobs cost together; None when one of them has no price."""
    total = 0
    for job in jobs:
        one = price(job.request.billing_key, job.request.duration)
        if one is None:
            return None
        total += one
    return total
