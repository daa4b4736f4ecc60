"""What a run finds in the store: what earlier ones left under way, and what may be sent next."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import anyio

from batchrunner.model import Job
from batchrunner.pacing import Pace
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.canaries import Canaries
from batchrunner.runner.context import Context
from batchrunner.states import JobState

LOOK_AGAIN = 3600.0
"""Seconds at most until the next look for jobs that may not be sent before a moment."""


class Stock:
    """The board's stock of jobs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def doubts(self) -> int:
        """Jobs in doubt in the whole batch."""
        store, batch = self._context.store, self._context.batch
        return sum(1 for _ in store.jobs(batch.id, states=[JobState.IN_DOUBT], wanted_only=False))

    async def take(self, canaries: Canaries) -> None:
        """Rebuild the board from the store. What was being submitted when the last run died is in doubt from now on."""
        context, board = self._context, self._context.board
        batch, store, run = context.batch, context.store, context.writer.run
        now = anyio.current_time()
        board.submit_pace = Pace.full(context.limits.submit, now, speed=context.limits.speed)
        board.query_pace = Pace.full(context.limits.query, now, speed=context.limits.speed)
        await run(store.recover, batch.id, now=context.now())
        board.counts = Counter(await run(store.counts, batch.id, only=context.options.only, tags=context.options.tags))
        board.in_flight = await run(store.in_flight, batch.id)
        board.doubts = await run(self.doubts)
        if context.options.opens_at is not None:
            board.pause(Stop.WINDOW)
        board.patient = context.options.on_doubt == "hold"
        collectable = await run(self._collectable)
        await canaries.begin(collectable)
        wall, now = (
            context.now(),
            anyio.current_time(),
        )  # together: what lies between them would make a doubt look older
        for job in collectable:
            age = (wall - job.submitted_at).total_seconds() if job.submitted_at else 0.0
            flight = Flight(job=job, accepted_at=now - max(age, 0.0), expires_at=job.expires_at, resumed=True)
            if job.state is JobState.IN_DOUBT:
                board.unanswered_at = max(board.unanswered_at or flight.accepted_at, flight.accepted_at)
            board.unfetched += job.state is JobState.FETCHING
            # Spread over one floor: after a restart many tasks are due at once.
            due = now + context.limits.poll_floor * context.chance.random() * min(board.in_flight / 100, 1.0)
            board.asking.add(flight, due)

    def _collectable(self) -> list[Job]:
        states = [JobState.RUNNING, JobState.FETCHING]
        if self._context.options.settle:
            states.append(JobState.IN_DOUBT)
        jobs = self._context.store.jobs(self._context.batch.id, states=states, wanted_only=False)
        return [job for job in jobs if self._context.options.collects(job)]

    async def refill(self) -> None:
        """Keep as many sendable jobs at hand as could be submitted next."""
        context, board = self._context, self._context.board
        full = board.in_flight + len(board.preparing) >= context.limits.max_in_flight
        if not board.buys or board.ready or board.exhausted or board.paused or full:
            return
        if board.waiting_until is not None and anyio.current_time() < board.waiting_until:
            return
        released = board.released
        held = board.preparing | board.blocked.keys() | {job.id for job in board.kept.values()}
        jobs = await context.writer.run(
            context.store.sendable,
            context.batch.id,
            now=context.now(),
            limit=context.limits.max_in_flight + len(held),
            only=context.options.only,
            tags=context.options.tags,
            without=board.without,
        )
        board.ready.extend(job for job in jobs if job.id not in held and board.goes_ahead(job))
        board.waiting_until = None
        if not board.ready:
            ask, options = context.store.next_not_before, context.options
            at = await context.writer.run(
                ask,
                context.batch.id,
                after=context.now(),
                only=options.only,
                tags=options.tags,
                without=board.without,
            )
            board.exhausted = at is None and board.released == released
            if at is not None:
                wait = max(at - context.now(), timedelta(0)).total_seconds()
                board.waiting_until = anyio.current_time() + min(wait, LOOK_AGAIN)
