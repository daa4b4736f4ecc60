"""Wanted jobs against stored jobs: what is new, done, changed, moved or no longer wanted, and what it would buy. Pure.

Identity comes from keys and fingerprints, never from positions. What was paid for is never replaced: it is kept, and said.

A take is the n-th wanted repeat of one request. It needs no column: of the jobs without a key in common, the n-th that
asks for a request is the n-th row that has it, bought ones first.

The store in memory uses these functions; `store.staging` says the same in SQL, for more jobs than memory should hold,
and is held to them by tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from batchrunner.model import Frame, Job, WantedJob
from batchrunner.states import FINAL, JobState
from batchrunner.store.base import (
    NOTHING_AGAIN,
    SAMPLE,
    Changes,
    Comparison,
    Planned,
    Purchases,
    Redo,
    StoredJob,
    Verdict,
)

VERDICTS = {
    JobState.PENDING: Verdict.NEW,
    JobState.SUBMITTING: Verdict.IN_DOUBT,
    JobState.IN_DOUBT: Verdict.IN_DOUBT,
    JobState.RUNNING: Verdict.IN_FLIGHT,
    JobState.FETCHING: Verdict.IN_FLIGHT,
    JobState.DONE: Verdict.DONE,
    JobState.FAILED: Verdict.FAILED,
    JobState.CANCELLED: Verdict.CANCELLED,
}
"""What is said of a job that was sent with the request that the manifest has now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run of a manifest would do."""

    changes: Changes
    jobs: tuple[Planned, ...]
    """Each wanted job, and then what the manifest no longer has."""
    to_send: tuple[WantedJob, ...]
    """New, changed before anything was bought, still pending, or paid for again."""
    again: tuple[str, ...]
    """Keys, as in all that follows: those of them that are paid for again."""
    done: tuple[str, ...]
    collecting: tuple[str, ...]
    """At the provider, or finished there and not yet fetched."""
    in_doubt: tuple[str, ...]
    failed: tuple[str, ...]
    cancelled: tuple[str, ...]
    changed: tuple[str, ...]
    """Bought with another request than the manifest has now: kept as they are."""
    moved: tuple[str, ...]
    orphaned: tuple[str, ...]

    @property
    def needs_provider(self) -> bool:
        """Whether there is anything to send or to collect."""
        return bool(self.to_send or self.collecting)


def plan(wanted: Sequence[WantedJob], stored: Iterable[StoredJob], *, redo: Redo = NOTHING_AGAIN) -> Plan:
    """Compare the two and say what changes; `only` and `limit` of a run matter to what is paid for again alone."""
    rows = list(stored)
    matched = match(wanted, rows)
    planned = _verdicts(wanted, matched, redo)
    owners = {row.id: key for key, row in matched.items()}
    everything = [(row.state, owners.get(row.id, row.key)) for row in rows]
    orphaned = [row for row in rows if row.wanted and row.id not in owners]
    by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for one in planned:
        by_verdict[one.verdict].append(one.key)
    return Plan(
        changes=_changes(wanted, matched, planned, orphaned),
        jobs=(*planned, *map(_orphan, orphaned)),
        to_send=tuple(job for job, one in zip(wanted, planned, strict=True) if one.verdict.is_sent),
        again=tuple(by_verdict[Verdict.AGAIN]),
        done=tuple(by_verdict[Verdict.DONE]),
        collecting=_keys(everything, JobState.RUNNING, JobState.FETCHING),
        in_doubt=_keys(everything, JobState.IN_DOUBT, JobState.SUBMITTING),
        failed=tuple(by_verdict[Verdict.FAILED]),
        cancelled=tuple(by_verdict[Verdict.CANCELLED]),
        changed=tuple(by_verdict[Verdict.CHANGED]),
        moved=tuple(one.key for one in planned if one.moved_from is not None),
        orphaned=tuple(row.key for row in orphaned),
    )


def _verdicts(wanted: Sequence[WantedJob], matched: Mapping[str, StoredJob], redo: Redo) -> list[Planned]:
    """What is said of each wanted job; of those to send the first `redo.limit` may be paid for again."""
    left = redo.limit
    found = []
    for job in wanted:
        row = matched.get(job.key)
        verdict = _verdict(job, row)
        selected = _is_selected(job, redo)
        if selected and row is not None and left != 0 and _is_wanted_again(verdict, row, redo):
            verdict = Verdict.AGAIN
        if left and selected and verdict.is_sent:
            left -= 1
        found.append(
            Planned(
                verdict=verdict,
                key=job.key,
                fingerprint=job.fingerprint,
                output=job.output,
                state=row.state if row else None,
                moved_from=row.key if row and row.key != job.key else None,
                request=job.request,
                tags=job.tags,
            )
        )
    return found


def _verdict(job: WantedJob, row: StoredJob | None) -> Verdict:
    if row is None:
        return Verdict.NEW
    if row.fingerprint == job.fingerprint:
        return VERDICTS[row.state]
    return Verdict.NEW if _unpaid(row) else Verdict.CHANGED


def _is_selected(job: WantedJob, redo: Redo) -> bool:
    named = redo.only is None or fnmatchcase(job.key, redo.only)
    return named and (not redo.tags or not set(redo.tags).isdisjoint(job.tags))


def _is_wanted_again(verdict: Verdict, row: StoredJob, redo: Redo) -> bool:
    """What is in flight or in doubt is paid for and not yet there: it is never bought beside itself."""
    if verdict is Verdict.CHANGED and row.state in FINAL:
        return redo.changed or (redo.failed and row.state is JobState.FAILED)
    return verdict is Verdict.FAILED and redo.failed


def _changes(
    wanted: Sequence[WantedJob],
    matched: Mapping[str, StoredJob],
    planned: Sequence[Planned],
    orphaned: Iterable[StoredJob],
) -> Changes:
    added, replaced, kept, discarded, retried = [], [], [], [], []
    for job, one in zip(wanted, planned, strict=True):
        row = matched.get(job.key)
        differs = row is not None and row.fingerprint != job.fingerprint
        if row is None:
            added.append(job)
        elif one.verdict is Verdict.AGAIN and differs:
            added.append(job)
            discarded.append(row.id)
        elif one.verdict is Verdict.NEW and differs:
            replaced.append((row.id, job))
        else:
            kept.append((row.id, job))
            if one.verdict is Verdict.AGAIN:
                retried.append(row.id)
    return Changes(
        added=tuple(added),
        replaced=tuple(replaced),
        kept=tuple(kept),
        orphaned=tuple(row.id for row in orphaned),
        discarded=tuple(discarded),
        retried=tuple(retried),
    )


def _orphan(row: StoredJob) -> Planned:
    return Planned(
        verdict=Verdict.ORPHANED, key=row.key, fingerprint=row.fingerprint, output=row.output, state=row.state
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
        again=len(made.again),
        done=len(made.done),
        collecting=len(made.collecting),
        in_doubt=len(made.in_doubt),
        failed=len(made.failed),
        cancelled=len(made.cancelled),
        changed=len(made.changed),
        changed_keys=made.changed[:SAMPLE],
        moved=len(made.moved),
        orphaned=len(made.orphaned),
    )


def purchases(jobs: Iterable[WantedJob | Job], *, again: Collection[str] = ()) -> Purchases:
    """What these jobs buy, how many different frames they need, and what of it is paid for again, by key."""
    kinds: Counter[tuple[str, int]] = Counter()
    twice: Counter[tuple[str, int]] = Counter()
    forms: Counter[str] = Counter()
    frames: set[str] = set()
    for job in jobs:
        kinds[job.request.billing_key, job.request.duration] += 1
        forms[job.request.kind] += 1
        if job.key in again:
            twice[job.request.billing_key, job.request.duration] += 1
        frames.update(frame.sha256 for frame in job.request.frames if frame.local)
    return Purchases(kinds=kinds, uploads=len(frames), again=twice, forms=forms)


def outgoing(jobs: Iterable[WantedJob]) -> list[Frame]:
    """The local frames that these jobs let leave this machine, each content once, in the order of its SHA-256."""
    local = [frame for job in jobs for frame in job.request.frames if frame.local]
    first = {frame.sha256: frame for frame in sorted(local, key=lambda frame: frame.source, reverse=True)}
    return [first[sha256] for sha256 in sorted(first)]


def cost(kinds: Mapping[tuple[str, int], int], price: Callable[[str, int], int | None]) -> int | None:
    """What so many clips of these kinds cost together; None when one of them has no price."""
    total = 0
    for (billing_key, seconds), clips in kinds.items():
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
