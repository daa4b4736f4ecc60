"""What to do next: a snapshot in, a decision out. No clock, no database, no network, no task is touched here."""

from __future__ import annotations

from dataclasses import dataclass

from batchrunner.forecast import Forecast
from batchrunner.settings import LANDING, PRO_FACTOR, SERVICE_P90, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Where a run stands at one moment."""

    in_flight: int
    """Rows that are submitting, in doubt or running."""
    preparing: int = 0
    """Submissions whose frames are being uploaded: no row says so yet."""
    submits: int = 0
    polls: int = 0
    fetches: int = 0
    """Workers that are busy with each."""
    sendable: int = 0
    """Pending jobs at hand whose time has come."""
    unsearched: bool = False
    """Whether there may be more in the store: something was let go since the last look, or while it lasted."""
    waiting_until: float | None = None
    """When the first pending job that waits may be sent."""
    polls_due: int = 0
    next_poll: float | None = None
    """When the first question not yet due will be."""
    fetches_due: int = 0
    next_fetch: float | None = None
    unfetched: int = 0
    """Finished clips that are not yet on disk."""
    submit_tokens: int = 0
    submit_wait: float = 0.0
    query_tokens: int = 0
    query_wait: float = 0.0
    allowance: int | None = None
    """How many more purchases this run may make; None without `--limit`."""
    slots: int | None = None
    """Submit slots that the circuit breaker leaves; None when it leaves all."""
    probe_at: float | None = None
    """When the breaker wants to know whether the provider is back."""
    probes: int = 0
    """Probes under way."""
    measuring: bool = False
    """A reading of the balance is taken, or a purchase is measured: nothing else is sent."""
    kept: int = 0
    """Jobs that wait until they can be sent alone."""
    judge_at: float | None = None
    """When to weigh the evidence about the doubts that were not found; None when there are none."""
    judging: int = 0
    settled: bool = True
    """Whether all that the verdict needs has come to rest."""
    room: int | None = None
    """What capacity refusals have left of `max_in_flight`; None when they left it all."""
    paused: bool = False
    """Nothing is bought; what was bought is collected."""
    stopping: bool = False
    """Nothing is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many of each to begin now, and when to look again."""

    submit: int = 0
    poll: int = 0
    fetch: int = 0
    probe: bool = False
    """Ask for the balance: is the provider back?"""
    judge: bool = False
    """Weigh the evidence about doubts."""
    wake_in: float | None = None
    """Seconds; None when only an event can change anything."""
    finished: bool = False


LANDS = 0.9
"""The share of clips that has to land before a deadline for one more to be begun."""
POLL_WORKERS = 16
"""Questions under way at once; the rate decides how many a second."""


def decide(now: float, snapshot: Snapshot, limits: Limits) -> Decision:
    """The next actions. Downloads outrank submissions: no more is bought than can be stored."""
    if snapshot.stopping:
        return Decision(finished=snapshot.submits <= snapshot.preparing)  # what has no intent yet may be cut off
    fetch = min(snapshot.fetches_due, limits.downloads - snapshot.fetches)
    poll = min(snapshot.polls_due, POLL_WORKERS - snapshot.polls, snapshot.query_tokens)
    wants = _wanted_submissions(snapshot, limits)
    submit = min(wants, snapshot.submit_tokens)
    fetch, poll, submit = max(fetch, 0), max(poll, 0), max(submit, 0)
    waits = _waits_for_the_provider(snapshot, limits)
    probe = waits and snapshot.probes == 0 and snapshot.probe_at is not None and snapshot.probe_at <= now
    judge = _can_judge(now, snapshot, limits)
    busy = snapshot.submits + snapshot.polls + snapshot.fetches + snapshot.probes + snapshot.judging
    busy += fetch + poll + submit + probe + judge
    if busy == 0 and not waits and _nothing_left(now, snapshot, wants, limits):
        return Decision(finished=True)
    moments = [at - now for at in (snapshot.next_poll, snapshot.next_fetch) if at is not None]
    if snapshot.judge_at is not None and snapshot.judge_at > now:
        moments.append(snapshot.judge_at - now)
    if waits and not probe and snapshot.probes == 0 and snapshot.probe_at is not None:
        moments.append(snapshot.probe_at - now)
    if (look_at := _looks_again(now, snapshot, limits)) is not None:
        moments.append(look_at - now)
    if wants > submit:
        moments.append(snapshot.submit_wait)
    if snapshot.polls_due > poll and snapshot.query_tokens <= poll:
        moments.append(snapshot.query_wait)
    wake = max(min(moments), 0.0) if moments else None
    return Decision(submit=submit, poll=poll, fetch=fetch, probe=probe, judge=judge, wake_in=wake)


def lands_within(kind: str, learned: Forecast | None, limits: Limits) -> float:
    """Seconds in which nine of ten clips of a kind are made and here: as learned, or by default. With less, none is begun."""
    if learned is not None:
        return learned.quantile(LANDS) + limits.lasting(LANDING)
    billing_key, seconds, _ = kind.split()
    factor = int(seconds) / 5 * (PRO_FACTOR if billing_key.startswith("1080P") else 1.0)
    return limits.lasting(SERVICE_P90 * factor + LANDING)


def _room(snapshot: Snapshot, limits: Limits) -> int:
    """Places in flight that are free."""
    room = limits.max_in_flight if snapshot.room is None else min(snapshot.room, limits.max_in_flight)
    return room - snapshot.in_flight - snapshot.preparing


def gives_up(failed_in_a_row: int, limits: Limits) -> bool:
    """Whether so many clips failed, without a success between them, that buying more would be waste."""
    return limits.stop_after_failures is not None and failed_in_a_row >= limits.stop_after_failures


def _has_room(snapshot: Snapshot, limits: Limits) -> bool:
    allowed = snapshot.allowance is None or snapshot.allowance > snapshot.preparing
    return _room(snapshot, limits) > 0 and allowed


def _keeps_back(snapshot: Snapshot, limits: Limits) -> bool:
    """Whether a job is kept back that will be sent when it can be measured."""
    return snapshot.kept > 0 and not snapshot.paused and _has_room(snapshot, limits)


def _can_judge(now: float, snapshot: Snapshot, limits: Limits) -> bool:
    """Whether to weigh the evidence now: nothing moves the balance, and no price is still to be learned."""
    due = snapshot.judge_at is not None and snapshot.judge_at <= now and snapshot.settled
    return due and not (snapshot.judging or snapshot.measuring or _keeps_back(snapshot, limits))


def _waits_for_the_provider(snapshot: Snapshot, limits: Limits) -> bool:
    """Whether the breaker is open and there is something that could be sent if it were not."""
    could = snapshot.sendable > 0 or snapshot.waiting_until is not None
    return snapshot.probe_at is not None and could and not snapshot.paused and _has_room(snapshot, limits)


def _wanted_submissions(snapshot: Snapshot, limits: Limits) -> int:
    """How many submissions the limits would let begin if the rate allowed them."""
    if snapshot.paused or snapshot.measuring or snapshot.judging or snapshot.unfetched > limits.max_in_flight:
        return 0
    room = _room(snapshot, limits)
    slots = limits.submit_slots if snapshot.slots is None else min(snapshot.slots, limits.submit_slots)
    free = slots - snapshot.submits
    allowed = snapshot.sendable if snapshot.allowance is None else snapshot.allowance - snapshot.preparing
    return max(min(room, free, snapshot.sendable, allowed), 0)


def _looks_again(now: float, snapshot: Snapshot, limits: Limits) -> float | None:
    """When the store may have more to send; None when it has not, or nothing could be sent."""
    if snapshot.paused or not _has_room(snapshot, limits):
        return None
    return now if snapshot.unsearched else snapshot.waiting_until


def _nothing_left(now: float, snapshot: Snapshot, wants: int, limits: Limits) -> bool:
    """Nothing is busy: is there anything to wait for?

    Jobs in doubt keep their place in flight; when they fill it, nothing can be sent and the run has to say so.
    """
    collecting = snapshot.polls_due or snapshot.next_poll is not None
    collecting = collecting or snapshot.fetches_due or snapshot.next_fetch is not None
    if collecting or wants > 0 or snapshot.measuring:
        return False
    if snapshot.judge_at is not None and (snapshot.judge_at > now or snapshot.settled):
        return False
    if _keeps_back(snapshot, limits):
        return False
    return _looks_again(now, snapshot, limits) is None
