"""The run itself: look at the board, decide, act; one task group that ends when everything asked for is final.

`schedule.decide` decides; the three workers act; the store records. A run that dies at any instant is continued by the
next one from the store alone.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import anyio

from batchrunner.breaker import Breaker
from batchrunner.errors import BatchrunnerError
from batchrunner.events import Beat, Listener, RunEvent
from batchrunner.model import Balance, Batch, Job
from batchrunner.outputs import OutputFolder
from batchrunner.pacing import RECOVERY, Pace, Room
from batchrunner.providers.base import Buyer, Collector
from batchrunner.runner.account import Account
from batchrunner.runner.asking import Asker
from batchrunner.runner.board import Board, Flight, Stop
from batchrunner.runner.canaries import Canaries
from batchrunner.runner.context import Context, Options, too_many_failures
from batchrunner.runner.crew import Crew
from batchrunner.runner.deadline import hold_late
from batchrunner.runner.fetching import Fetcher
from batchrunner.runner.finish import Finish
from batchrunner.runner.lessons import Lessons
from batchrunner.runner.metering import Meter
from batchrunner.runner.outage import Outage
from batchrunner.runner.settling import Settler
from batchrunner.runner.stock import Stock
from batchrunner.runner.submission import Submitter
from batchrunner.schedule import Decision, decide
from batchrunner.settings import SUBMIT_GRACE, UNREACHABLE_AFTER, Limits
from batchrunner.states import JobState
from batchrunner.store.base import Store
from batchrunner.store.writer import Writer

T = TypeVar("T")

HEARTBEAT = 1.0
"""Seconds at most between two looks at the board, so that a lost wake-up delays and never hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    stops: frozenset[Stop]
    counts: Mapping[JobState, int]
    """Wanted, selected jobs by state."""
    blocked: Mapping[int, str]
    """Pending jobs that this run could not send, and why."""
    left: int
    """Finished clips that the next run has to fetch."""
    purchases: int
    doubts: int = 0
    """Jobs in doubt in the whole batch, also those that the manifest or `--only` leaves out."""
    limited: bool = False
    """Whether the run bought as many as `--limit` lets it."""
    audit: str | None = None
    """What the account was charged and what explains it; None when the balance was never told."""


class Runner:
    """One run of one batch; with a provider that cannot submit it collects, and nothing else."""

    def __init__(
        self,
        *,
        batch: Batch,
        store: Store,
        provider: Collector,
        outputs: OutputFolder,
        limits: Limits,
        options: Options,
        now: Callable[[], datetime],
        chance: random.Random,
        listener: Listener,
        private_urls: Mapping[str, str],
        inline_store: bool = False,
    ) -> None:
        self._writer = Writer(store, inline=inline_store)
        # The paces start at the loop's own time; until then nothing may leave.
        board = Board(
            limits=limits,
            submit_pace=Pace.full(limits.submit, 0),
            query_pace=Pace.full(limits.query, 0),
            breaker=Breaker(speed=limits.speed),
            room=Room(limit=limits.max_in_flight, recovery=limits.lasting(RECOVERY)),
        )
        board.purchase_limit = options.limit
        self._context = Context(
            batch=batch,
            store=store,
            writer=self._writer,
            provider=provider,
            outputs=outputs,
            limits=limits,
            options=options,
            now=now,
            chance=chance,
            listener=partial(self._tell, listener),
            board=board,
            private_urls=private_urls,
            lessons=Lessons(store=store, writer=self._writer, endpoint=batch.endpoint, limits=limits),
        )
        self._finish = Finish(self._context)
        self._outage = Outage(self._context)
        self._meter = Meter(self._context)
        self._settler = Settler(self._context, self._meter)
        self._account = Account(self._context)
        self._submitter = (
            Submitter(self._context, self._outage, self._meter, self._account, provider)
            if isinstance(provider, Buyer)
            else None
        )
        board.buys = self._submitter is not None
        self._stock = Stock(self._context)
        self._canaries = Canaries(self._context)
        self._fetcher = Fetcher(self._context, self._canaries)
        self._questions = {
            JobState.RUNNING: Asker(self._context).ask,
            JobState.FETCHING: self._fetcher.locate,
            JobState.IN_DOUBT: self._settler.look,
        }
        self._failure: BatchrunnerError | None = None
        self._bug: Exception | None = None
        self._muted = False
        self._beaten = float("-inf")

    def _tell(self, listener: Listener, event: RunEvent) -> None:
        """Listeners look on: one that fails is not told any more, and its error is raised when the work is done."""
        if self._muted:
            return
        try:
            listener(event)
        except Exception as bug:  # noqa: BLE001 - a view must not stop between an intent and its request
            self._muted, self._bug = True, self._bug or bug

    def stop(self, why: Stop) -> None:
        """Begin nothing more; requests under way get `SUBMIT_GRACE` seconds to be answered and recorded."""
        self._context.board.stop(why)
        self._hurry()

    def _hurry(self) -> None:
        if self._submitter is not None:
            self._submitter.hurry(SUBMIT_GRACE)

    @property
    def sending(self) -> list[str]:
        """Keys of the jobs that would be in doubt if the process ended now."""
        return list(self._context.board.sending.values())

    def held(self, reason: str, message: str) -> None:
        """Tell the listener that something waits, and why."""
        self._context.held(reason, message)

    async def begin(self, balance: Balance) -> None:
        """The account's balance, before anything is sent."""
        await self._account.begin(balance)

    async def run(self) -> Outcome:
        """Work until everything selected is final, or until something stops the run.

        Raises `StorageError` when the database cannot be written any more: what is durable stays true.
        """
        try:
            await self._stock.take(self._canaries)
            await self._work()
            return await self._outcome()
        finally:
            await self._writer.close()
            await self._fetcher.tidy()

    async def _work(self) -> None:
        async with anyio.create_task_group() as workers:
            try:
                await self._loop(Crew(workers))
            except BatchrunnerError as error:
                self._failure = self._failure or error
            except Exception as bug:  # noqa: BLE001 - raised below, outside the group
                self._bug = self._bug or bug
            workers.cancel_scope.cancel()
        if wrong := self._failure or self._bug:
            raise wrong

    async def _outcome(self) -> Outcome:
        """What the run came to; what keeps the batch from going on is recorded."""
        context, board, run = self._context, self._context.board, self._writer.run
        if board.late:
            board.stops.add(Stop.DEADLINE)
        if board.capped:
            board.stops.add(Stop.BUDGET)
        for stop, why in (
            (Stop.BUDGET, board.over_budget),
            (Stop.FAILURES, too_many_failures(context.limits)),
            (Stop.CANARY, board.canary_lost),
        ):
            if stop in board.stops:
                await run(context.store.pause, context.batch.id, stop.value, why, now=context.now())
        only, tags = context.options.only, context.options.tags
        counts = await run(context.store.counts, context.batch.id, only=only, tags=tags)
        doubts = await run(self._stock.doubts)
        audited = None if Stop.PROVIDER in board.stops else await self._account.close()
        limited = board.purchase_limit is not None and board.purchases >= board.purchase_limit
        if limited or not counts.get(JobState.PENDING):
            board.stops.discard(Stop.WINDOW)  # it kept nothing back
        return Outcome(
            stops=frozenset(board.stops),
            counts=counts,
            blocked=dict(board.blocked),
            left=board.left,
            purchases=board.purchases,
            doubts=doubts,
            limited=limited,
            audit=audited,
        )

    async def _loop(self, crew: Crew) -> None:
        context, board = self._context, self._context.board
        while True:
            self._check_clocks()
            await self._stock.refill()
            while await hold_late(context):
                await self._stock.refill()  # others may be quicker
            self._meter.release()
            now = anyio.current_time()
            decision = decide(now, board.snapshot(now), context.limits)
            if decision.finished or self._failure is not None:
                return
            self._act(crew, decision, now)
            if now - self._beaten >= HEARTBEAT:
                self._beaten = now
                await self._writer.flush()
                crew.begin(partial(self._guarded, Fetcher.tidy, self._fetcher))
                eta = await self._finish.look()
                context.listener(Beat(at=context.now(), counts=dict(board.counts), eta=eta))
            await board.changed(HEARTBEAT if decision.wake_in is None else min(decision.wake_in, HEARTBEAT))

    def _check_clocks(self) -> None:
        """The deadline, and a provider that is silent for too long."""
        context, board = self._context, self._context.board
        deadline = context.options.deadline
        if deadline is not None and context.now() >= deadline and Stop.DEADLINE not in board.stops:
            board.stop(Stop.DEADLINE)
        if board.silence > UNREACHABLE_AFTER:
            board.stop(Stop.PROVIDER)
        self._outage.give_up()
        if board.stopping:
            self._hurry()

    def _act(self, crew: Crew, decision: Decision, now: float) -> None:
        board = self._context.board
        for _ in range(decision.submit):
            job = board.ready.popleft()
            board.submits += 1
            board.preparing.add(job.id)
            crew.begin(partial(self._submit, job))
        if decision.probe:
            board.probes += 1
            crew.begin(self._probe)
        if decision.judge:
            board.judging += 1
            crew.begin(self._judge)
        if decision.poll:
            board.query_pace = board.query_pace.took(now, decision.poll)
        for _ in range(decision.poll):
            flight = board.due_polls.popleft()
            board.polls += 1
            crew.begin(partial(self._ask, flight))
        for _ in range(decision.fetch):
            flight = board.next_fetch()
            board.fetches += 1
            crew.begin(partial(self._fetch, flight))

    async def _submit(self, job: Job) -> None:
        board = self._context.board
        assert self._submitter is not None
        try:
            await self._guarded(self._submitter.run, job)
        finally:
            board.preparing.discard(job.id)
            board.submits -= 1
            board.wake()

    async def _probe(self) -> None:
        board = self._context.board
        try:
            await self._guarded(lambda outage: outage.probe(), self._outage)
        finally:
            board.probes -= 1
            board.wake()

    async def _judge(self) -> None:
        board = self._context.board
        try:
            await self._guarded(lambda settler: settler.judge(), self._settler)
        finally:
            board.judging -= 1
            board.wake()

    async def _ask(self, flight: Flight) -> None:
        board = self._context.board
        try:
            await self._guarded(self._questions[flight.job.state], flight)
        finally:
            board.polls -= 1
            board.wake()

    async def _fetch(self, flight: Flight) -> None:
        board = self._context.board
        try:
            await self._guarded(self._fetcher.fetch, flight)
        finally:
            board.fetches -= 1
            board.wake()

    async def _guarded(self, work: Callable[[T], Awaitable[None]], subject: T) -> None:
        """A database that cannot be written ends the run; a bug of ours leaves its job as it is and is raised at the end."""
        try:
            await work(subject)
        except BatchrunnerError as error:
            self._failure = self._failure or error
        except Exception as bug:  # noqa: BLE001 - the one boundary: a bug about one job must not take the others with it
            self._bug = self._bug or bug
