"""Wanted jobs against stored jobs: what is new, done, changed, moved or no longer wanted, and what it would buy. Pure.

Identity comes from keys and fingerprints, never from positions. What was paid for is never replaced: it is kept, and said.

A take is the n-th wanted repeat of one request. It needs no column: of the jobs without a key in common, the n-th that
asks for a request is the n-th row that has it, bought ones first.

The store in memory uses these functions; `store.staging` says the same in SQL, for more jobs than memory should hold,
and is held to them by tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from batchrunner.model import Job, WantedJob
from batchrunner.states import FINAL, JobState
from batchrunner.store.base import SAMPLE, Changes, Comparison, Purchases, StoredJob


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
    def needs_provider(self) -> bool:
        """Whether there is anything to send or to collect."""
        return bool(self.to_send or self.collecting)


def plan(wanted: Sequence[WantedJob], stored: Iterable[StoredJob]) -> Plan:
    """Compare the two and say what changes; `only` and `limit` of a run do not matter here."""
    rows = list(stored)
    matched = match(wanted, rows)
    added, replaced, kept, to_send, changed, moved = [], [], [], [], [], []
    for job in wanted:
        row = matched.get(job.key)
        if row is None:
            added.append(job)
            to_send.append(job)
            continue
        differs = row.fingerprint != job.fingerprint
        if row.key != job.key:
            moved.append(job.key)
        if differs and _unpaid(row):
            replaced.append((row.id, job))
            to_send.append(job)
            continue
        kept.append((row.id, job))
        if row.state is JobState.PENDING:
            to_send.append(job)
        elif differs:
            changed.append(job.key)
    owners = {row.id: key for key, row in matched.items()}
    found = [(row.state, owners.get(row.id, row.key)) for row in rows if row.id in owners]
    others = [(row.state, row.key) for row in rows if row.id not in owners]
    orphaned = [row for row in rows if row.wanted and row.id not in owners]
    sending = {job.key for job in to_send}
    return Plan(
        changes=Changes(
            added=tuple(added), replaced=tuple(replaced), kept=tuple(kept), orphaned=tuple(row.id for row in orphaned)
        ),
        to_send=tuple(to_send),
        done=_keys(found, JobState.DONE),
        collecting=_keys(found + others, JobState.RUNNING, JobState.FETCHING),
        in_doubt=_keys(found + others, JobState.IN_DOUBT, JobState.SUBMITTING),
        failed=tuple(key for key in _keys(found, JobState.FAILED) if key not in sending),
        changed=tuple(changed),
        moved=tuple(moved),
        orphaned=tuple(row.key for row in orphaned),
    )


def match(wanted: Sequence[WantedJob], rows: Sequence[StoredJob]) -> dict[str, StoredJob]:
    """The row of each wanted job, by key; what was bought is found again wherever the manifest has moved it.

    The same key and request first; then the same request under another key, what was bought first of all, so that
    renumbered ids take their clips along; only then the same key with another request.
    """
    by_key = {row.key: row for row in rows}
    by_key |= {row.key: row for row in rows if row.wanted}  # a job that was dropped may have left its key to another
    matched = {
        job.key: row
        for job in wanted
        if (row := by_key.get(job.key)) is not None and row.fingerprint == job.fingerprint
    }
    taken = {row.id for row in matched.values()}
    movable: dict[str, list[StoredJob]] = {}
    for one in sorted(rows, key=_bought_last):
        if one.id not in taken:
            movable.setdefault(one.fingerprint, []).append(one)
    for job in wanted:
        if job.key not in matched and (fits := movable.get(job.fingerprint)):
            matched[job.key] = fits.pop()
            taken.add(matched[job.key].id)
    for job in wanted:
        same_key = by_key.get(job.key)
        if job.key not in matched and same_key is not None and same_key.id not in taken:
            matched[job.key] = same_key
            taken.add(same_key.id)
    return matched


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


def compared(made: Plan) -> Comparison:
    """The plan as numbers."""
    return Comparison(
        to_send=len(made.to_send),
        done=len(made.done),
        collecting=len(made.collecting),
        in_doubt=len(made.in_doubt),
        failed=len(made.failed),
        changed=len(made.changed),
        changed_keys=made.changed[:SAMPLE],
        moved=len(made.moved),
        orphaned=len(made.orphaned),
    )


def purchases(jobs: Iterable[WantedJob | Job]) -> Purchases:
    """What these jobs buy, and how many different frames they let leave this machine."""
    kinds: Counter[tuple[str, int]] = Counter()
    frames: set[str] = set()
    for job in jobs:
        kinds[job.request.billing_key, job.request.duration] += 1
        frames.update(frame.sha256 for frame in job.request.frames if frame.local)
    return Purchases(kinds=kinds, uploads=len(frames))


def cost(bought: Purchases, price: Callable[[str, int], int | None]) -> int | None:
    """What they cost together; None when one of them has no price."""
    total = 0
    for (billing_key, seconds), clips in bought.kinds.items():
        one = price(billing_key, seconds)
        if one is None:
            return None
        total += one * clips
    return total


def billed_seconds(bought: Purchases) -> dict[str, int]:
    """Billing seconds, per billing key."""
    total: Counter[str] = Counter()
    for (billing_key, seconds), clips in bought.kinds.items():
        total[billing_key] += seconds * clips
    return dict(total)
