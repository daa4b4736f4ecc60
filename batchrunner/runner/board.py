"""A run's memory: what is in flight, what is due, how fast each lane may go. Rebuilt from the store at every start.

Its size depends on what is in flight, never on the size of the batch.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count

import anyio

from batchrunner.breaker import Breaker
from batchrunner.canary import Flock
from batchrunner.model import Job
from batchrunner.pacing import Pace, Room
from batchrunner.schedule import Snapshot, gives_up
from batchrunner.settings import Limits
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.base import Without
from batchrunner.store.writer import Group

STRANGE = 2
"""Misses of every task of an earlier run: one could be a hiccup."""
_FAR = datetime.max.replace(tzinfo=UTC)


class Stop(StrEnum):
    """Why a run buys nothing more, or ends before its work is done."""

    SIGINT = "sigint"
    SIGTERM = "sigterm"
    DEADLINE = "deadline"
    WINDOW = "window"
    """The hours in which clips are bought have not come."""
    STORAGE = "storage"
    ACCOUNT = "account"
    PROVIDER = "provider"
    REFUSING = "refusing"
    """The provider refuses everything for now, and has done so for long."""
    BUDGET = "budget"
    FAILURES = "failures"
    CANARY = "canary"


@dataclass(slots=True, kw_only=True)
class Flight:
    """A task at the provider, or a finished clip that is not yet ours."""

    job: Job
    accepted_at: float
    """On the run's own clock, in seconds, as all times here; may lie before its start."""
    resumed: bool = False
    """Whether an earlier run bought it."""
    failures: int = 0
    """Questions or downloads in a row that brought nothing."""
    misses: int = 0
    missing_since: float | None = None
    looks: int = 0
    """Questions of this run about it."""
    first_look: float | None = None
    unready: int = 0
    """Answers in a row that called the task complete without a file."""
    unready_since: float | None = None
    proven: bool = False
    """Whether the provider has said that its task is of our purchase."""
    asked_at: float = float("-inf")
    unfinished_at: float | None = None
    """When it was last known to be unfinished: when this run bought it, or saw it working."""
    url: str | None = None
    """Where the clip is; may hold a signature, so it lives in memory only."""
    expires_at: datetime | None = None
    finished: Group | None = None
    """The commit that says that its clip is made: durable before the clip is named."""
    bad_files: int = 0
    dead_urls: int = 0
    """Fresh URLs that served nothing."""
    looked_since: float | None = None
    """When this run looked a purchase in doubt up first."""

    def note(self, status: str, progress: int | None) -> None:
        """Remember what the provider said last."""
        self.job = replace(self.job, provider_status=status, progress=progress)


@dataclass(slots=True)
class Agenda:
    """Flights by the moment they are due."""

    _heap: list[tuple[float, datetime, int, Flight]] = field(default_factory=list)
    _sequence: count[int] = field(default_factory=count)

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Flight]:
        """All of them, in no order."""
        return (entry[-1] for entry in self._heap)

    def add(self, flight: Flight, due: float) -> None:
        heapq.heappush(self._heap, (due, flight.expires_at or _FAR, next(self._sequence), flight))

    def next_due(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[Flight]:
        """Remove and return the flights whose moment has come."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[3])
        return due


@dataclass(slots=True, kw_only=True)
class Board:
    """Everything that `schedule.decide` is told, and the workers tell each other."""

    limits: Limits
    submit_pace: Pace
    query_pace: Pace
    breaker: Breaker
    room: Room
    counts: Counter[JobState] = field(default_factory=Counter)
    """Wanted, selected jobs by state, for the views."""
    in_flight: int = 0
    doubts: int = 0
    """Rows in doubt: they count as in flight, but the provider may know nothing of them."""
    unfetched: int = 0
    """Finished clips that are not ours yet, whether or not this run still tries."""
    ready: deque[Job] = field(default_factory=deque)
    waiting_until: float | None = None
    asking: Agenda = field(default_factory=Agenda)
    """Running tasks by their next question."""
    fetching: Agenda = field(default_factory=Agenda)
    """Finished clips by their next try."""
    due_polls: deque[Flight] = field(default_factory=deque)
    due_fetches: list[tuple[datetime, int, Flight]] = field(default_factory=list)
    """A heap: the clip that expires first is fetched first."""
    preparing: set[int] = field(default_factory=set)
    """Jobs whose frames are being uploaded; they are still pending in the store."""
    strays: dict[str, str] = field(default_factory=dict)
    """Tasks that the provider calls another purchase's than that of the job which has them, with that purchase."""
    blocked: dict[int, str] = field(default_factory=dict)
    """Jobs that this run cannot send, and why; a later run may."""
    left: int = 0
    """Finished clips that could not be fetched now; the next run tries again."""
    submits: int = 0
    polls: int = 0
    fetches: int = 0
    purchases: int = 0
    """Submissions of this run that were, or may have been, accepted."""
    purchase_limit: int | None = None
    refusals: int = 0
    """Submissions in a row that were refused for now."""
    refused_since: float | None = None
    """When the first of them was."""
    probes: int = 0
    """Questions under way whether the provider is back."""
    unanswered_at: float | None = None
    """When the last submission left that was not answered; None when there was none."""
    refunded_at: float | None = None
    """When a task failed last; None when none did."""
    measuring: bool = False
    """Whether a reading is taken that no submission may disturb."""
    kept: dict[tuple[str, int], Job] = field(default_factory=dict)
    """Jobs, by what their price depends on, that wait until they can be sent alone and so be measured."""
    unfound: list[Flight] = field(default_factory=list)
    """Doubts that were looked for often enough and wait for a verdict."""
    judge_at: float | None = None
    """When to weigh the evidence about them; None when there are none."""
    judging: int = 0
    patient: bool = True
    """Whether a verdict needs the balance, and so has to wait until every known task has ended."""
    sending: dict[int, str] = field(default_factory=dict)
    """Keys of the jobs from their intent to the record of their answer."""
    unsent: int = 0
    """Submissions in a row that did not reach the provider."""
    silent_since: float | None = None
    """Since when no request was answered at all; None when the last one was."""
    silence: float = 0.0
    """Seconds between the first and the last of the requests in a row that nobody answered."""
    troubled_since: float | None = None
    """Since when every question brought an error or nothing; None when the last one brought something."""
    trouble_shown: bool = False
    buys: bool = True
    """Whether the provider sells to this run at all; if not, it collects."""
    exhausted: bool = False
    """No selected pending job is left in the store."""
    known: bool = False
    """Whether the provider knew any task of an earlier run: if not, the key may be another account's."""
    failed_in_a_row: int = 0
    """Clips of this run that failed for good since the last one that was saved."""
    over_budget: str = ""
    """Which cap stops the buying, and when it frees."""
    flocks: dict[str, Flock] = field(default_factory=dict)
    """Canaries by the kind of request that waits for them."""
    released: int = 0
    """How often what was held back was let go: who looked for jobs meanwhile has to look again."""
    canary_lost: str = ""
    """Why the rest of a kind is not bought."""
    capped: frozenset[str] = frozenset()
    """Tags whose cap is reached: jobs without them may still be bought."""
    warned: set[str] = field(default_factory=set)
    """Caps of which a person was told that they are nearly used."""
    late: frozenset[str] = frozenset()
    """Kinds of clips that could not land before the deadline."""
    stops: set[Stop] = field(default_factory=set)
    stopping: bool = False
    _sequence: count[int] = field(default_factory=count)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def paused(self) -> bool:
        return bool(self.stops)

    def pause(self, why: Stop) -> None:
        """Buy nothing more; go on collecting."""
        self.stops.add(why)
        self.wake()

    def stop(self, why: Stop) -> None:
        """Begin nothing more at all."""
        self.stopping = True
        self.pause(why)

    def wake(self) -> None:
        """Something changed: decide again."""
        self._changed.set()

    async def changed(self, at_most: float) -> None:
        """Wait for `wake`, but no longer than this many seconds."""
        with anyio.move_on_after(at_most):
            await self._changed.wait()
        self._changed = anyio.Event()

    def moved(self, source: JobState, target: JobState, *, counted: bool) -> None:
        """Keep the counts as the store has them."""
        if counted:
            self.counts[source] -= 1
            self.counts[target] += 1
        self.in_flight += (target in IN_FLIGHT) - (source in IN_FLIGHT)
        self.doubts += (target is JobState.IN_DOUBT) - (source is JobState.IN_DOUBT)
        self.unfetched += (target is JobState.FETCHING) - (source is JobState.FETCHING)
        if (source, target) == (JobState.RUNNING, JobState.FAILED):
            self.refunded_at = anyio.current_time()
        if target in (JobState.DONE, JobState.FAILED):
            self.failed_in_a_row = self.failed_in_a_row + 1 if target is JobState.FAILED else 0
            if gives_up(self.failed_in_a_row, self.limits):
                self.pause(Stop.FAILURES)
        if target is JobState.PENDING:
            self.release()
        self.wake()

    def hold_back(self, tags: frozenset[str]) -> None:
        """Send no job that has one of these tags for now."""
        self.capped |= tags
        self.ready = deque(job for job in self.ready if not self.capped.intersection(job.tags))

    def freed(self) -> None:
        """Something came back to the budget: what was held back may be tried again."""
        if self.capped:
            self.capped = frozenset()
            self.release()

    @property
    def without(self) -> Without:
        """What is held back for now."""
        waiting = frozenset(kind for kind, one in self.flocks.items() if not one.is_open)
        return Without(tags=self.capped, kinds=waiting | self.late)

    def goes_ahead(self, job: Job) -> bool:
        """Whether the job may be sent before its kind is proven, or that is; one that may not waits in the store."""
        flock = self.flocks.get(job.request.kind)
        if flock is None or job.id in flock.jobs:
            return True
        if flock.is_open:
            flock.jobs.add(job.id)
            return True
        return False

    def is_awaited(self, job: Job) -> bool:
        """Whether others of its kind wait until it is done and right."""
        flock = self.flocks.get(job.request.kind)
        return flock is not None and job.id in flock.jobs

    def left_out(self, job: Job) -> None:
        """A job cannot be sent in this run: it is no canary."""
        flock = self.flocks.get(job.request.kind)
        if flock is not None and job.id in flock.jobs:
            flock.jobs.discard(job.id)
            self.release()

    def release(self) -> None:
        """There may be something to send that was not there before: it may be looked for again."""
        self.exhausted, self.waiting_until = False, None
        self.released += 1
        self.wake()

    def hold_late(self, kinds: frozenset[str]) -> None:
        """Send no job of these kinds any more: it could not land before the deadline."""
        self.late |= kinds
        self.ready = deque(job for job in self.ready if job.request.kind not in kinds)

    def take_turn(self, job: Job) -> bool:
        """Take a place in the submission rate; False when there is none now, or the breaker lets none through."""
        now = anyio.current_time()
        if self.submit_pace.available(now) < 1 or len(self.sending) >= self.breaker.slots(self.limits.submit_slots):
            return False
        self.submit_pace = self.submit_pace.took(now)
        self.sending[job.id] = job.key
        return True

    def heard(self, answered: bool) -> None:
        """Whether a server answered the last request. A silence lasts from question to question, not while none is asked."""
        now = anyio.current_time()
        if answered:
            self.silent_since, self.silence = None, 0.0
            return
        self.silent_since = now if self.silent_since is None else self.silent_since
        self.silence = now - self.silent_since

    def strangers(self, flight: Flight) -> int:
        """How many tasks an earlier run bought, when the provider knows none of them; 0 while it may know one.

        One alone may have vanished, and one that is being asked about now may be known.
        """
        others = [one for one in (*self.asking, *self.due_polls) if one.resumed and one.job.state is JobState.RUNNING]
        alone = self.known or self.polls > 1 or not others
        return 0 if alone or any(one.misses < STRANGE for one in (flight, *others)) else len(others) + 1

    def fly(self, flight: Flight, due: float) -> None:
        """Ask about a flight at `due`."""
        self.asking.add(flight, due)
        self.wake()

    def next_fetch(self) -> Flight:
        """The due clip that expires first."""
        return heapq.heappop(self.due_fetches)[2]

    def snapshot(self, now: float) -> Snapshot:
        """Where the run stands; due flights move from the agendas to their queues."""
        self.due_polls.extend(self.asking.take_due(now))
        for flight in self.fetching.take_due(now):
            heapq.heappush(self.due_fetches, (flight.expires_at or _FAR, next(self._sequence), flight))
        allowance = None if self.purchase_limit is None else self.purchase_limit - self.purchases
        return Snapshot(
            in_flight=self.in_flight,
            preparing=len(self.preparing),
            submits=self.submits,
            polls=self.polls,
            fetches=self.fetches,
            sendable=len(self.ready),
            unsearched=self.buys and not (self.ready or self.exhausted or self.waiting_until is not None),
            waiting_until=self.waiting_until,
            polls_due=len(self.due_polls),
            next_poll=self.asking.next_due(),
            fetches_due=len(self.due_fetches),
            next_fetch=self.fetching.next_due(),
            unfetched=self.unfetched,
            submit_tokens=self.submit_pace.available(now),
            submit_wait=self.submit_pace.wait(now),
            query_tokens=self.query_pace.available(now),
            query_wait=self.query_pace.wait(now),
            allowance=allowance,
            slots=self.breaker.slots(self.limits.submit_slots),
            probe_at=self.breaker.probe_at,
            probes=self.probes,
            measuring=self.measuring,
            kept=len(self.kept),
            judge_at=self.judge_at,
            judging=self.judging,
            settled=not self.patient or (not self.sending and self.in_flight == self.doubts),
            room=self.room.at(now) + self.doubts,
            paused=self.paused,
            stopping=self.stopping,
        )
