"""What the parts of a run share: the ports, the limits, the clock and the board."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

import anyio

from batchrunner import canary
from batchrunner.budget import NO_CAPS, Caps
from batchrunner.events import Held, JobMoved, JobProgress, Listener
from batchrunner.model import Batch, Clip, FrameDialect, Job, ReplayProof, WantedJob
from batchrunner.outputs import OutputFolder
from batchrunner.polling import next_look
from batchrunner.providers.base import Collector
from batchrunner.runner.board import Board, Stop
from batchrunner.runner.lessons import Lessons
from batchrunner.settings import Limits
from batchrunner.states import JobEvent, JobState, advance
from batchrunner.store.base import Planned, Store
from batchrunner.store.writer import Writer

RELEASES = frozenset({JobEvent.TASK_FAILED, JobEvent.REFUSED, JobEvent.RETURNED, JobEvent.ABSENT})
"""Events after which a purchase no longer counts against the budget."""


QUERY_SHARE = 0.8
"""Of the query rate, for what is running; the rest is for look-ups and for what goes wrong."""


def too_many_failures(limits: Limits) -> str:
    """Why a run that met so many failures in a row buys nothing more."""
    return f"{limits.stop_after_failures} clips in a row failed (limits.stop_after_failures); nothing more is bought"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one run was asked for beyond the manifest."""

    only: str | None = None
    """A glob over keys."""
    tags: tuple[str, ...] = ()
    """Only jobs that have one of them; all, when there are none."""
    limit: int | None = None
    """New purchases at most."""
    caps: Caps = NO_CAPS
    exclusive_key: bool = False
    """Whether the key is used by nobody else, says the manifest."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """How often a job is bought again by itself after its task failed for a reason."""
    canaries: int | None = 0
    """Canaries of each kind that is new here; None leaves it to `canary.needed`, 0 sends all at once."""
    dialect: FrameDialect = FrameDialect.URLS
    run_id: int | None = None
    """This run in the database, for what one run may spend."""
    opens_at: datetime | None = None
    """When clips may be bought again; None: now."""
    deadline: datetime | None = None
    """When the run ends, whatever is under way."""
    settle: float = 0.0
    """Seconds over which a submission in doubt is looked up; 0 leaves it to a person at once."""
    on_doubt: str = "hold"
    """Whether doubts that are not found are held (`hold`), or sent again without a look at the balance (`resend`)."""
    proof: ReplayProof | None = None
    """What was seen of a repeated purchase id at this address, with this key."""
    collects: Callable[[Job], bool] = lambda job: True
    """Which jobs that are at the provider already the run is about."""
    price: Callable[[Job], int | None] = lambda job: None
    """Estimated price of a job in micro-units; None without prices."""

    def selects(self, job: Job | WantedJob | Planned) -> bool:
        """Whether the run is about this job."""
        named = self.only is None or fnmatchcase(job.key, self.only)
        return named and (not self.tags or not set(self.tags).isdisjoint(job.tags))


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run's surroundings."""

    batch: Batch
    store: Store
    writer: Writer
    provider: Collector
    outputs: OutputFolder
    limits: Limits
    options: Options
    now: Callable[[], datetime]
    """The wall clock, for records; intervals are measured on anyio's."""
    chance: random.Random
    listener: Listener
    board: Board
    private_urls: Mapping[str, str]
    """Frame URLs that may not be stored, by their SHA-256."""
    lessons: Lessons

    def next_look(self, job: Job, age: float) -> float:
        """Seconds until the next question about a task that was accepted `age` seconds ago."""
        board, floor = self.board, self.limits.poll_floor
        share = QUERY_SHARE * board.query_pace.per_second / max(board.in_flight, 1)
        learned = self.lessons.of(job.request.kind)
        awaited = board.is_awaited(job)
        return next_look(age, floor=floor, chance=self.chance.random(), learned=learned, share=share, awaited=awaited)

    def moved(
        self,
        job: Job,
        event: JobEvent,
        *,
        reason: str | None = None,
        message: str | None = None,
        task_id: str | None = None,
        clip: Clip | None = None,
    ) -> JobState:
        """A transition is durable, or `finished` and queued: keep the counts, tell the listener; the state of the job now."""
        target = advance(job.state, event)
        going_on = Stop.FAILURES not in self.board.stops
        self.board.moved(job.state, target, counted=job.wanted and self.options.selects(job))
        self._canary(job, event, reason)
        if event in RELEASES:
            self.board.stops.discard(Stop.BUDGET)  # what comes back to the budget may be spent on another
            self.board.freed()
        self.listener(
            JobMoved(
                at=self.now(), key=job.key, state=target, reason=reason, message=message, task_id=task_id, clip=clip
            )
        )
        if going_on and Stop.FAILURES in self.board.stops:
            self.held("failures", too_many_failures(self.limits))
        return target

    def _canary(self, job: Job, event: JobEvent, reason: str | None) -> None:
        """When it was a canary that was lost, another takes its place, or nothing more is bought."""
        board = self.board
        how, flock = canary.loss(event, reason, self.options.retries), board.flocks.get(job.request.kind)
        if how is None or flock is None or job.id not in flock.jobs:
            return
        if flock.loses(job.id, how):
            board.release()
        elif Stop.CANARY not in board.stops:
            board.canary_lost = canary.sentence(job, reason or event.value)
            board.pause(Stop.CANARY)
            self.held("canary", board.canary_lost)

    def progressed(self, job: Job) -> None:
        """Tell the listener what the provider says of a running task."""
        self.listener(JobProgress(at=self.now(), key=job.key, status=job.provider_status or "", progress=job.progress))

    async def pause(self, why: Stop, reason: str, message: str) -> None:
        """Buy nothing more in this run, and say so in the database."""
        if why not in self.board.stops:
            self.board.pause(why)
            await self.writer.run(self.store.pause, self.batch.id, reason, message, now=self.now())
            self.held(reason, message)

    def crowded(self) -> None:
        """The provider has no place for so many tasks: fewer from now on, and more again in time (DESIGN §6)."""
        board, now = self.board, anyio.current_time()
        board.room = board.room.lowered(now, flying=board.in_flight - board.doubts)
        self.held("capacity", f"the provider is full: {board.room.at(now)} in flight at most for now")

    def held(self, reason: str, message: str) -> None:
        """Tell the listener that something waits, and why."""
        self.listener(Held(at=self.now(), reason=reason, message=message))
