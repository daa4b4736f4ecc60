"""Asking about running tasks until they are final. It costs nothing, so no answer is taken for an end but a final one."""

from __future__ import annotations

from datetime import datetime

import anyio

from batchrunner import answers
from batchrunner.envelope import retry_after
from batchrunner.polling import backoff, has_vanished, next_look
from batchrunner.providers.base import Exchange
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.settings import RESULT_LIFETIME
from batchrunner.states import JobEvent

UNREADY_TRIES = 10
UNREADY_FOR = 600.0
"""A task that is complete but has no file is given up after ten looks over ten minutes (reliability notes §1.3)."""
QUERY_BACKOFF, QUERY_BACKOFF_CAP = 10.0, 120.0
"""Seconds to hold all questions after a 429 that does not say how long (API facts §1)."""


async def question(context: Context, name: str) -> Exchange:
    """One free question about a task or a purchase, and what its answer means for the pace of all."""
    board = context.board
    exchange = await context.provider.poll(name)
    board.heard(exchange.status is not None)
    if exchange.status == 429:
        now = anyio.current_time()
        asked = retry_after(exchange.headers, context.now())
        wait = asked or backoff(1, first=QUERY_BACKOFF, cap=QUERY_BACKOFF_CAP, chance=context.chance.random())
        board.query_pace = board.query_pace.slowed(now, now + wait)
    return exchange


async def poll(context: Context, flight: Flight) -> answers.PollOutcome:
    """Ask about a flight's task, and read the answer; one about another task of ours is no answer."""
    job = flight.job
    assert job.task_id is not None
    exchange = await question(context, job.task_id)
    flight.asked_at = anyio.current_time()
    named, others = answers.named_task(exchange), []
    if named is not None and named != job.task_id:
        owner = await context.writer.run(context.store.task_owner, named)
        if owner is not None:
            others.append(named)
    outcome = answers.poll(exchange, task_id=job.task_id, purchase_id=job.purchase_id, others=others, now=context.now())
    if flight.resumed and isinstance(outcome, answers.Working | answers.Finished | answers.TaskFailed):
        context.board.known = True
    return outcome


class Asker:
    """The asking third of a run."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ask(self, flight: Flight) -> None:
        """Ask about a running task once, and record what is news."""
        outcome = await poll(self._context, flight)
        now = anyio.current_time()
        if isinstance(outcome, answers.Working | answers.Finished | answers.TaskFailed):
            flight.failures = flight.unready = 0
            flight.unready_since = None
        if not isinstance(outcome, answers.Missing):
            flight.misses, flight.missing_since = 0, None
        match outcome:
            case answers.Working(status, progress):
                await self._progress(flight, status, progress)
                self._again(flight)
            case answers.Finished(url, expires_at):
                await self._finished(flight, url, expires_at)
            case answers.TaskFailed(reason, message):
                await self._task_failed(flight, reason, message)
            case answers.Missing():
                await self._missing(flight, now)
            case answers.AccountStop(reason, message):
                await self._account(flight, reason, message)
            case answers.Later():
                await self._later(flight, outcome, now)

    def _again(self, flight: Flight, *, after: float | None = None) -> None:
        context = self._context
        now = anyio.current_time()
        floor = context.limits.poll_floor
        if after is None:
            after = next_look(now - flight.accepted_at, floor=floor, chance=context.chance.random())
        context.board.fly(flight, now + max(after, floor))

    async def _progress(self, flight: Flight, status: str, progress: int | None) -> None:
        context = self._context
        if (status, progress) == (flight.job.provider_status, flight.job.progress):
            return
        flight.note(status, progress)
        await context.writer.run(
            context.store.record_progress, flight.job.id, status=status, progress=progress, now=context.now()
        )
        context.progressed(flight.job)

    async def _finished(self, flight: Flight, url: str, expires_at: datetime | None) -> None:
        context = self._context
        flight.url, flight.expires_at = url, expires_at
        await context.writer.run(
            context.store.record_finished, flight.job.id, expires_at=flight.expires_at, now=context.now()
        )
        flight.job = context.moved(flight.job, JobEvent.FINISHED)
        context.board.fetching.add(flight, anyio.current_time())
        context.board.wake()

    async def _task_failed(self, flight: Flight, reason: str, message: str) -> None:
        context = self._context
        await context.writer.run(
            context.store.record_task_failed, flight.job.id, reason=reason, message=message, now=context.now()
        )
        flight.job = context.moved(flight.job, JobEvent.TASK_FAILED, reason=reason, message=message)
        if reason == "capacity":
            context.crowded()

    async def _missing(self, flight: Flight, now: float) -> None:
        context = self._context
        flight.misses += 1
        flight.missing_since = flight.missing_since if flight.missing_since is not None else now
        lost = has_vanished(age=now - flight.accepted_at, misses=flight.misses, missing_for=now - flight.missing_since)
        if lost and flight.resumed and not context.board.known and now - flight.accepted_at < RESULT_LIFETIME:
            await self._account(flight, "key", "the provider knows none of the tasks: is the key of another account?")
        elif lost:
            await self._vanish(flight, "the provider no longer knows this task; it was paid for")
        else:
            self._again(flight)

    async def _later(self, flight: Flight, outcome: answers.Later, now: float) -> None:
        flight.failures += 1
        if outcome.reason == "result_missing":
            flight.unready += 1
            flight.unready_since = flight.unready_since if flight.unready_since is not None else now
            if flight.unready >= UNREADY_TRIES and now - flight.unready_since >= UNREADY_FOR:
                await self._vanish(flight, "the provider calls the task completed but offers no file")
                return
        wait = backoff(flight.failures, first=2 * self._context.limits.poll_floor, chance=self._context.chance.random())
        self._again(flight, after=max(wait, outcome.retry_after or 0.0))

    async def _vanish(self, flight: Flight, message: str) -> None:
        context = self._context
        await context.writer.run(context.store.record_vanished, flight.job.id, message=message, now=context.now())
        flight.job = context.moved(flight.job, JobEvent.VANISHED, reason="vanished", message=message)

    async def _account(self, flight: Flight, reason: str, message: str) -> None:
        """The key may not even ask: nothing can be collected now, and everything keeps its state."""
        await self._context.pause(Stop.ACCOUNT, reason, message)
        self._context.board.stop(Stop.ACCOUNT)
        self._again(flight)
