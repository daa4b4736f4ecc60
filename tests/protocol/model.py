"""The submission protocol, small enough to try every interleaving of it (reliability notes §2).

One job or two, one runner or two, messages that outlive their sender, a provider that charges, stores late or never, and
crashes, power cuts and people at any moment. Rows move only through `states.TRANSITIONS`, answers mean what `classify`
says they mean, and absence is what `reconcile` concludes: what the product does with them is what is explored here. `Protocol` names the promises that the code has
to keep beside that table; each `False` in it is a mutant that must lead to a broken one of `violations`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from batchrunner import classify
from batchrunner.classify import Verdict
from batchrunner.model import Purchase, Reading
from batchrunner.providers.base import Exchange
from batchrunner.reconcile import Evidence, conclude
from batchrunner.states import JobEvent, JobState, advance, sources

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MOVES = {
    Verdict.ACCEPTED: JobEvent.ACCEPTED,
    Verdict.IN_DOUBT: JobEvent.UNANSWERED,
    Verdict.REFUSED: JobEvent.REFUSED,
    Verdict.REFUSED_FOR_NOW: JobEvent.RETURNED,
    Verdict.ACCOUNT_STOP: JobEvent.RETURNED,
    Verdict.UNSENT: JobEvent.RETURNED,
}
"""What `Submitter` records for each verdict."""

ANSWERS = {
    "accepted": Exchange(status=200, body=b'{"id": "task_1"}', body_started=True),
    "cut": Exchange(status=200, body=b'{"id": "ta', complete=False, body_started=True),
    "500": Exchange(status=500, body=b'{"error": {"code": "internal_error"}}', body_started=True),
    "502": Exchange(status=502, body=b"<html>", body_started=True),
    "timeout": Exchange(complete=False, body_started=True, error="ReadTimeout"),
    "429": Exchange(status=429, body=b'{"error": {"code": "rate_limit_exceeded"}}', body_started=True),
    "402": Exchange(status=402, body=b'{"error": {"code": "insufficient_quota"}}', body_started=True),
    "400": Exchange(status=400, body=b'{"error": {"code": "invalid_request"}}', body_started=True),
    "unsent": Exchange(error="ConnectError"),
}
CHARGING = ("accepted", "cut", "500", "502")
"""What a client can hear of a submission that was charged; a time-out needs no answer."""
INNOCENT = ("500", "502", "429", "402", "400")
"""What it can hear of one that was not."""


@cache
def event_of(answer: str) -> JobEvent:
    """What the product records when it hears this."""
    return MOVES[classify.submission(ANSWERS[answer], now=NOW).verdict]


@cache
def shows_absence(*, found_control: bool, others: int, charged: int) -> bool:
    """What the product concludes when a look-up finds nothing: `charged` clips nobody explains, `others` by strangers.

    One purchase went alone between two readings before the doubt, so that a price of one credit is known.
    """
    kind, window = ("720P", 5), timedelta(minutes=15)
    moments = [NOW + timedelta(hours=hour) for hour in range(5)]
    known = Purchase(kind=kind, intended_at=moments[1], outcome="finished", prompt=True)
    doubt = Purchase(kind=kind, intended_at=moments[3], outcome="unanswered", prompt=False)
    used = [(moments[0], 0), (moments[2], 1), (moments[4], 1 + charged + others)]
    evidence = Evidence(
        control="br_known" if found_control else None,
        readings=[Reading(at=at, used=credits) for at, credits in used],
        purchases=[known, doubt],
        window=window,
    )
    return conclude(evidence).absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The promises of the code; a mutant breaks one."""

    recovers_to_doubt: bool = True
    intends_first: bool = True
    syncs_intent: bool = True
    doubts_timeouts: bool = True
    doubts_server_errors: bool = True
    doubts_cut_answers: bool = True
    settles_first: bool = True
    """Whether evidence of absence counts only once nothing can be on its way any more."""
    needs_residual: bool = True
    """Whether a purchase that is not found is sent again only when the balance explains everything."""
    keeps_purchase: bool = True
    records_first: bool = True
    """Whether a submit slot is held until the answer is recorded."""
    locks_runners: bool = True
    locks_people: bool = True
    reads_echo: bool = True
    """Whether a task that the provider calls another purchase's is given up, and looked for by our own id."""
    remembers_task: bool = True
    """Whether the task's id is durable before the job is told to be running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is tried: how many of each, and how the provider is."""

    jobs: int = 1
    slots: int = 4
    runners: int = 1
    crashes: int = 1
    power_cuts: int = 0
    sends: int = 2
    people: int = 0
    """Verdicts of people who looked at the provider's console, and are right."""
    guesses: int = 0
    """Verdicts of people who were not: each may cost a clip."""
    replays: bool = False
    """Whether it is proven that a repeated purchase id is answered with its first task, so that it is simply repeated."""
    stores_all: bool = True
    """Whether a charged task can always be found, at the latest when the settle window ends."""
    knows_purchases: bool = True
    alone: bool = True
    """Whether the balance is moved by this batch alone, so that its residual is evidence."""
    resends: bool = False
    """`on_doubt: resend`: what is not found is sent again, at the user's own risk."""
    failures: int = 0
    strays: bool = False
    """Whether an answer may name the task of somebody else."""


class Task(NamedTuple):
    """A charged submission."""

    purchase: int
    visible: bool
    lost: bool = False
    """Whether it will never be found."""


class Job(NamedTuple):
    """One row as the process sees it and as the disk has it, and what the provider has of it."""

    row: JobState = JobState.PENDING
    disk: JobState = JobState.PENDING
    purchase: int = 0
    owner: int = -1
    """The runner whose lane works on it, -1 for none."""
    phase: str = ""
    """What that lane does: "", "intended", "waiting", or the answer that it holds."""
    wire: tuple[tuple[int, bool], ...] = ()
    """Submissions on their way: purchase, and whether somebody waits for the answer."""
    tasks: tuple[Task, ...] = ()
    permits: int = 0
    """Extra clips that a person, or a failed task, or the user's own policy allowed."""
    resent: bool = False
    """Whether it was sent again because the provider replays: the task that it may have comes back with the answer."""
    absent: bool = False
    """Whether the purchase was looked for and not found."""
    stray: bool = False
    """Whether the task that it has is another purchase's."""


class State(NamedTuple):
    """Everything."""

    jobs: tuple[Job, ...]
    alive: tuple[bool, ...]
    crashes: int
    power_cuts: int
    sends: int
    people: int
    guesses: int
    failures: int
    worst: int = 0
    """The most jobs that one crash has left unanswered."""


Step = tuple[str, State]
OWNED = (JobState.RUNNING, JobState.SUBMITTING, JobState.IN_DOUBT)


class Model:
    """All steps from a state, under a protocol in a world."""

    def __init__(self, protocol: Protocol, world: World) -> None:
        self.protocol, self.world = protocol, world
        self.edges: set[tuple[JobState, JobEvent]] = set()
        """Moves of the table that were made."""

    def start(self) -> State:
        world = self.world
        return State(
            jobs=(Job(),) * world.jobs,
            alive=(False,) * world.runners,
            crashes=world.crashes,
            power_cuts=world.power_cuts,
            sends=world.sends,
            people=world.people,
            guesses=world.guesses,
            failures=world.failures,
        )

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        yield from self._processes(state)
        for number, job in enumerate(state.jobs):
            for runner, alive in enumerate(state.alive):
                if alive:
                    for name, changed in self._lane(state, runner, job):
                        yield f"runner {runner}: {name} (job {number})", _with(state, number, changed, name)
            for name, changed in self._provider(job):
                yield f"provider: {name} (job {number})", _with(state, number, changed, name)
            for name, changed in self._person(state, job):
                yield f"person: {name} (job {number})", _with(state, number, changed, name)

    # processes come and go

    def _processes(self, state: State) -> Iterator[Step]:
        for runner, alive in enumerate(state.alive):
            if not alive and not (self.protocol.locks_runners and any(state.alive)):
                jobs = tuple(map(self._recovered, state.jobs))
                yield f"runner {runner}: start", state._replace(jobs=jobs, alive=_set(state.alive, runner, True))
            if alive and state.crashes:
                left = sum(job.owner == runner and job.row is JobState.SUBMITTING for job in state.jobs)
                jobs = tuple(_orphaned(job) if job.owner == runner else job for job in state.jobs)
                yield (
                    f"runner {runner}: killed",
                    state._replace(
                        jobs=jobs,
                        alive=_set(state.alive, runner, False),
                        crashes=state.crashes - 1,
                        worst=max(state.worst, left),
                    ),
                )
        if state.power_cuts:
            jobs = tuple(_orphaned(job)._replace(row=job.disk) for job in state.jobs)
            none = (False,) * len(state.alive)
            yield "power cut", state._replace(jobs=jobs, alive=none, power_cuts=state.power_cuts - 1)

    def _recovered(self, job: Job) -> Job:
        if job.row is not JobState.SUBMITTING:
            return job
        if not self.protocol.recovers_to_doubt:
            return job._replace(row=JobState.PENDING, disk=JobState.PENDING)
        return self._move(job, JobEvent.UNANSWERED)

    # one lane of a run: claim, send, hear, record; and looking up what is in doubt

    def _lane(self, state: State, runner: int, job: Job) -> Iterator[tuple[str, Job]]:
        if job.owner == runner:
            yield from self._go_on(state, job)
            return
        if job.owner == -1:
            yield from self._begin(state, runner, job)
        if job.row is JobState.RUNNING and job.stray and self.protocol.reads_echo:
            yield "read whose task it is", self._move(job, JobEvent.MISATTRIBUTED)._replace(stray=False)
        elif job.row is JobState.RUNNING and job.stray:
            yield "take somebody's clip", self._move(job, JobEvent.FINISHED)
        yield from self._settle(job)

    def _begin(self, state: State, runner: int, job: Job) -> Iterator[tuple[str, Job]]:
        busy = [one for one in state.jobs if one.owner == runner and self._holds_slot(one)]
        if job.row is not JobState.PENDING or len(busy) >= self.world.slots:
            return
        if self.protocol.intends_first:
            yield "claim", self._claimed(job)._replace(owner=runner, phase="intended")
        elif state.sends:
            sent = job._replace(wire=(*job.wire, (job.purchase, True)))
            yield "send", sent._replace(owner=runner, phase="early")

    def _holds_slot(self, job: Job) -> bool:
        return self.protocol.records_first or job.phase not in ANSWERS

    def _claimed(self, job: Job) -> Job:
        job = self._move(job, JobEvent.CLAIMED, synced=self.protocol.syncs_intent)
        bump = 0 if self.protocol.keeps_purchase or not (job.tasks or job.wire) else 1
        return job._replace(absent=False, purchase=job.purchase + bump)

    def _go_on(self, state: State, job: Job) -> Iterator[tuple[str, Job]]:
        if job.phase == "early":
            yield "claim", self._claimed(job)._replace(phase="waiting")
        elif job.phase == "intended":
            yield "never sent", job._replace(phase="unsent")
            if state.sends:
                yield "send", job._replace(phase="waiting", wire=(*job.wire, (job.purchase, True)))
        elif job.phase == "waiting":
            yield "time out", _deaf(job)._replace(phase="timeout")
        elif job.phase in ANSWERS:
            yield "record", self._recorded(job)
            if self.world.strays and event_of(job.phase) is JobEvent.ACCEPTED:
                yield "record somebody's task", self._recorded(job)._replace(stray=True)

    def _recorded(self, job: Job) -> Job:
        event = event_of(job.phase)
        trusts = not self.protocol.doubts_timeouts and job.phase == "timeout"
        trusts |= not self.protocol.doubts_server_errors and job.phase in ("500", "502")
        trusts |= not self.protocol.doubts_cut_answers and job.phase == "cut"
        if trusts:
            event = JobEvent.RETURNED
        if event is JobEvent.ACCEPTED and not self.protocol.remembers_task:
            event = JobEvent.REFUSED
        return self._move(job, event)._replace(owner=-1, phase="")

    def _settle(self, job: Job) -> Iterator[tuple[str, Job]]:
        """The evidence table: look up, then perhaps decide."""
        if job.row is not JobState.IN_DOUBT:
            return
        if self.world.knows_purchases and any(task.visible and task.purchase == job.purchase for task in job.tasks):
            yield "find", self._move(job, JobEvent.FOUND)
        elif self.world.knows_purchases and (self._window_over(job) or not self.protocol.settles_first):
            yield "not find", job._replace(absent=True)
        if self.world.replays:
            yield "send again, as it is replayed", self._move(job, JobEvent.ABSENT)._replace(resent=True)
        if job.absent:
            charged, others = max(len(job.tasks) - job.permits, 0), 0 if self.world.alone else 1
            shown = shows_absence(found_control=self.world.knows_purchases, others=others, charged=charged)
            if shown or not self.protocol.needs_residual:
                yield "send again, on evidence", self._move(job, JobEvent.ABSENT)
            elif self.world.resends:
                yield (
                    "send again, as the user wishes",
                    self._move(job, JobEvent.ABSENT)._replace(permits=job.permits + 1),
                )

    def _window_over(self, job: Job) -> bool:
        """The settle window is longer than anything travels, and than an honest provider needs to store a row."""
        return not job.wire and all(task.visible or task.lost for task in job.tasks)

    # the provider

    def _provider(self, job: Job) -> Iterator[tuple[str, Job]]:
        for message in set(job.wire):
            purchase, awaited = message
            rest = list(job.wire)
            rest.remove(message)
            gone = job._replace(wire=tuple(rest))
            yield "never hears", gone._replace(phase="timeout") if awaited and job.phase == "waiting" else gone
            known = any(task.purchase == purchase and not task.lost for task in job.tasks)
            sold = [gone] if self.world.replays and known else list(self._sold(gone, purchase))
            for charged in sold:
                for answer in CHARGING:
                    yield f"sells, says {answer}", _told(charged, awaited, answer)
            for answer in INNOCENT:
                yield f"says {answer}", _told(gone, awaited, answer)
        if any(not task.visible and not task.lost for task in job.tasks):
            yield "stores", job._replace(tasks=tuple(task._replace(visible=not task.lost) for task in job.tasks))

    def _sold(self, job: Job, purchase: int) -> Iterator[Job]:
        yield job._replace(tasks=(*job.tasks, Task(purchase, True)))
        yield job._replace(tasks=(*job.tasks, Task(purchase, False)))
        if not self.world.stores_all:
            yield job._replace(tasks=(*job.tasks, Task(purchase, False, lost=True)))

    # people

    def _person(self, state: State, job: Job) -> Iterator[tuple[str, Job]]:
        if self.protocol.locks_people and any(state.alive):
            return
        if job.row in (JobState.SUBMITTING, JobState.IN_DOUBT):
            doubted = self._recovered(job)
            if state.people and not job.wire:  # who looks at the console after the settle window sees what was charged
                if len(job.tasks) <= job.permits:
                    yield "retry", self._move(doubted, JobEvent.ABSENT)
                else:
                    yield "attach", self._move(doubted, JobEvent.FOUND)
            if state.guesses:
                yield "guess", self._move(doubted, JobEvent.ABSENT)._replace(permits=job.permits + 1)
                yield "abandon", self._move(doubted, JobEvent.ABANDONED)._replace(permits=job.permits + 1)
        if job.row is JobState.FAILED and state.people:
            yield "retry a failure", self._move(job, JobEvent.RETRIED)._replace(purchase=job.purchase + 1)
        if job.row is JobState.RUNNING and state.failures:
            failed = self._move(job, JobEvent.TASK_FAILED)
            yield "(the task fails)", failed._replace(permits=job.permits + 1)

    def _move(self, job: Job, event: JobEvent, *, synced: bool = True) -> Job:
        """The guarded transition: nothing happens when the row is not where the event leaves from."""
        if job.row not in sources(event):
            return job
        self.edges.add((job.row, event))
        row = advance(job.row, event)
        return job._replace(row=row, disk=row if synced else job.disk)


def violations(state: State, world: World) -> Iterator[str]:
    """The promises that a state breaks."""
    for number, job in enumerate(state.jobs):
        if len(job.tasks) > 1 + job.permits:
            yield f"job {number} was bought {len(job.tasks)} times"
        if len(job.tasks) > job.permits + (job.row in OWNED or job.resent):
            yield f"job {number} is {job.row} and forgets a task that was bought"
        if job.stray and job.row is JobState.FETCHING:
            yield f"job {number} takes the clip of another purchase"
    if state.worst > world.slots:
        yield f"one crash left {state.worst} submissions unanswered"


@dataclass(frozen=True, slots=True)
class Explored:
    """What a search found."""

    states: int
    edges: frozenset[tuple[JobState, JobEvent]]
    broken: str | None = None
    trace: tuple[str, ...] = ()
    """The shortest way there."""


def explore(protocol: Protocol, world: World) -> Explored:
    """Every state that can be reached, breadth first, until one breaks a promise."""
    model = Model(protocol, world)
    start = model.start()
    came_from: dict[State, tuple[str, State] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        if broken := next(violations(state, world), None):
            return Explored(len(came_from), frozenset(model.edges), broken, _trace(state, came_from))
        for name, following in model.steps(state):
            if following not in came_from:
                came_from[following] = (name, state)
                queue.append(following)
    return Explored(len(came_from), frozenset(model.edges))


def _trace(state: State, came_from: dict[State, tuple[str, State] | None]) -> tuple[str, ...]:
    names = []
    step = came_from[state]
    while step is not None:
        names.append(step[0])
        step = came_from[step[1]]
    return tuple(reversed(names))


def _with(state: State, number: int, job: Job, name: str) -> State:
    """The state with one job changed, and what the step used up."""
    used: dict[str, int] = {}
    if name == "send":
        used["sends"] = state.sends - 1
    elif name in ("retry", "attach", "retry a failure"):
        used["people"] = state.people - 1
    elif name in ("guess", "abandon"):
        used["guesses"] = state.guesses - 1
    elif name == "(the task fails)":
        used["failures"] = state.failures - 1
    return state._replace(jobs=_set(state.jobs, number, job), **used)


def _set(values: tuple, index: int, value: object) -> tuple:
    return (*values[:index], value, *values[index + 1 :])


def _deaf(job: Job) -> Job:
    """Nobody waits for an answer any more; what is on its way stays there."""
    return job._replace(wire=tuple(sorted((purchase, False) for purchase, _ in job.wire)))


def _orphaned(job: Job) -> Job:
    """The dead can still speak: what was sent may yet arrive."""
    return _deaf(job)._replace(owner=-1, phase="")


def _told(job: Job, awaited: bool, answer: str) -> Job:
    return job._replace(phase=answer) if awaited and job.phase == "waiting" else job


def mutant(name: str) -> Protocol:
    """The protocol with one promise broken."""
    return replace(Protocol(), **{name: False})
