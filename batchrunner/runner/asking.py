"""Asking about running tasks until they are final. It costs nothing, so no answer is taken for an end but a final one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import takewhile

import anyio

from batchrunner import answers
from batchrunner.errors import StorageError
from batchrunner.forecast import service_time
from batchrunner.matrix import TAKEN_ID
from batchrunner.model import Job, Moment
from batchrunner.polling import BACKOFF_CAP, backoff, has_vanished
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.runner.questions import further_question, poll
from batchrunner.settings import MISSING_GRACE, RESULT_LIFETIME, STUCK_AFTER
from batchrunner.states import JobEvent

UNREADY_TRIES = 10
UNREADY_FOR = 600.0
"""A task that is complete but has no file is given up after ten looks over ten minutes (reliability notes §1.3)."""
ASTRAY = 3
"""Answers in a row about another task: one is a hiccup of somebody's cache."""
STRANGERS = (
    "the provider knows none of the tasks that were bought before: this key belongs to another account, or "
    "TOAPIS_BASE_URL to another server"
)
RETRY_PAUSE, RETRY_PAUSE_CAP = 60.0, 900.0
"""Seconds to wait before a clip is bought again by itself: what failed it is rarely over at once, and a provider in trouble
takes, and gives back, the price of each try."""
AGAIN = "bought again by the manifest's `retry`:"
"""How a job's history names what no person ordered."""


def _retried(history: Sequence[Moment]) -> int:
    """How often the job was bought again by itself since a person last asked for it."""
    orders = [moment.note or "" for moment in history if moment.event == JobEvent.RETRIED]
    return len(list(takewhile(lambda note: note.startswith(AGAIN), reversed(orders))))


class Asker:
    """The asking third of a run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._odd_words: set[str] = set()

    async def ask(self, flight: Flight) -> None:
        """Ask about a running task once, and record what is news."""
        await self._context.lessons.look_up(flight.job.request.kind)
        outcome = await poll(self._context, flight)
        now = anyio.current_time()
        if isinstance(outcome, answers.Working | answers.Finished | answers.TaskFailed):
            flight.failures = flight.unready = 0
            flight.unready_since = None
        if not isinstance(outcome, answers.Missing):
            flight.misses, flight.missing_since = 0, None
        match outcome:
            case answers.Working(status, progress):
                flight.unfinished_at = now
                await self._progress(flight, status, progress)
                self._again(flight)
            case answers.Finished(url, expires_at, told):
                await self._finished(flight, url, expires_at, took=self._took(flight, told))
            case answers.TaskFailed(reason, message, told):
                await self._task_failed(flight, reason, message, took=self._took(flight, told))
            case answers.Missing():
                await self._missing(flight, now)
            case answers.Foreign(purchase_id):
                await self._misattributed(flight, f"is of another purchase, {purchase_id}")
            case answers.AccountStop(reason, message):
                await self._account(flight, reason, message)
            case answers.Later():
                await self._later(flight, outcome, now)

    def _again(self, flight: Flight, *, after: float | None = None) -> None:
        context = self._context
        now = anyio.current_time()
        if self._is_stuck(flight, now):
            self._leave_stuck(flight)
            return
        if after is None:
            after = context.next_look(flight.job, now - flight.accepted_at)
        context.board.fly(flight, now + max(after, context.limits.poll_floor))

    def _took(self, flight: Flight, told: float | None) -> float | None:
        """The service time of a task that has just been seen final, and learn from it; in the provider's seconds."""
        context, speed = self._context, self._context.limits.speed
        seen = flight.unfinished_at
        earliest = None if seen is None else max(seen - flight.accepted_at, 0.0) * speed
        latest = (flight.asked_at - flight.accepted_at) * speed
        took = service_time(told, earliest=earliest, latest=latest, chance=context.chance.random())
        if took is not None:
            context.lessons.ended(flight.job.request.kind, took)
        return took

    def _is_stuck(self, flight: Flight, now: float) -> bool:
        """After a day, and looks enough in this run for it not to be our clock or one bad answer."""
        flight.looks += 1
        flight.first_look = now if flight.first_look is None else flight.first_look
        enough = flight.looks >= UNREADY_TRIES and now - flight.first_look >= self._context.limits.lasting(UNREADY_FOR)
        return enough and now - flight.accepted_at > STUCK_AFTER

    def _leave_stuck(self, flight: Flight) -> None:
        """No clock fails what was paid for; but a run that waits for it would never end."""
        job = flight.job
        self._context.held(
            "stuck",
            f"{job.key} is not finished after 24 hours; it stays as it is and the next run asks again. "
            f"Ask the provider's support about task {job.task_id}",
        )
        self._context.board.left += 1
        self._context.board.wake()

    async def _progress(self, flight: Flight, status: str, progress: int | None) -> None:
        context = self._context
        if status not in answers.WORKING and status not in self._odd_words:
            self._odd_words.add(status)
            context.held("status", f"the provider calls a task {status!r}: taken for running")
        status, progress = answers.furthest((flight.job.provider_status, flight.job.progress), (status, progress))
        if (status, progress) == (flight.job.provider_status, flight.job.progress):
            return
        flight.note(status, progress)
        record = context.store.record_progress
        context.writer.defer(record, flight.job.id, status=status, progress=progress, now=context.now())
        context.progressed(flight.job)

    async def _finished(self, flight: Flight, url: str, expires_at: datetime | None, *, took: float | None) -> None:
        """Fetch the clip and tell of it at once; the record is durable before the clip has its name.

        A run that dies before has lost nothing: the next one asks again about a task that is still called running.
        """
        context = self._context
        flight.url, flight.expires_at = url, expires_at
        flight.finished = context.writer.defer(self._record_finished, flight.job, expires_at, took, context.now())
        flight.job = replace(flight.job, state=context.moved(flight.job, JobEvent.FINISHED))
        context.board.fetching.add(flight, anyio.current_time())
        context.board.wake()

    def _record_finished(self, job: Job, expires_at: datetime | None, took: float | None, now: datetime) -> None:
        if not self._context.store.record_finished(job.id, expires_at=expires_at, took=took, now=now):
            raise StorageError(
                f"{job.key} was moved in the database while this run collected it; its clip is not lost",
                fix="run the same command again",
            )

    async def _task_failed(self, flight: Flight, reason: str, message: str, *, took: float | None) -> None:
        context = self._context
        again = await context.writer.run(self._record_failure, flight.job, reason, message, took)
        state = context.moved(flight.job, JobEvent.TASK_FAILED, reason=reason, message=message)
        if reason == "capacity":
            context.crowded()
        if again and Stop.FAILURES not in context.board.stops:
            context.held("retry", f"{flight.job.key}: {again}")
        if again:
            context.moved(replace(flight.job, state=state), JobEvent.RETRIED, reason=reason, message=again)

    def _record_failure(self, job: Job, reason: str, message: str, took: float | None) -> str:
        """The failure and, where the manifest opens its class, the wish to buy again: both or neither are durable."""
        store, now = self._context.store, self._context.now()
        allowed = self._context.options.retries.get(reason, 0)
        with store.transaction():
            store.record_task_failed(job.id, reason=reason, message=message, took=took, now=now)
            tried = _retried(store.history(job.id)) if allowed else 0
            if tried >= allowed or not job.wanted:
                return ""
            note = f"{AGAIN} {tried + 1} of {allowed} after {reason}"
            pause = backoff(tried + 1, first=RETRY_PAUSE, cap=RETRY_PAUSE_CAP, chance=self._context.chance.random())
            not_before = now + timedelta(seconds=self._context.limits.lasting(pause))
            store.record_retried(job.id, note=note, not_before=not_before, now=now)
        return note

    async def _missing(self, flight: Flight, now: float) -> None:
        context = self._context
        if now - flight.accepted_at < context.limits.lasting(MISSING_GRACE):
            self._again(flight)
            return
        if flight.misses == 0 and await self._is_elsewhere(flight):
            return
        flight.misses += 1
        flight.missing_since = flight.missing_since if flight.missing_since is not None else now
        age, missing_for = (
            (now - since) * context.limits.speed for since in (flight.accepted_at, flight.missing_since)
        )
        lost = has_vanished(age=age, misses=flight.misses, missing_for=missing_for)
        strangers = context.board.strangers(flight) if flight.resumed else 0
        alone = lost and flight.resumed and not context.board.known
        if (strangers or alone) and now - flight.accepted_at < RESULT_LIFETIME:
            await self._account(flight, "key", STRANGERS)
        elif lost:
            await self._vanish(flight, "vanished", "the provider no longer knows this task; it was paid for")
        else:
            self._again(flight)

    async def _later(self, flight: Flight, outcome: answers.Later, now: float) -> None:
        limits = self._context.limits
        flight.failures += 1
        if outcome.reason == "result_missing":
            flight.unready += 1
            flight.unready_since = flight.unready_since if flight.unready_since is not None else now
            if flight.unready >= UNREADY_TRIES and now - flight.unready_since >= limits.lasting(UNREADY_FOR):
                message = "the provider calls the task completed but offers no file; it was paid for"
                await self._vanish(flight, "result_missing", message)
                return
        astray = outcome.reason == "answer_of_another_task" and flight.failures == ASTRAY
        if astray and await self._is_elsewhere(flight):
            return
        cap, chance = limits.lasting(BACKOFF_CAP), self._context.chance.random()
        wait = backoff(flight.failures, first=2 * limits.poll_floor, cap=cap, chance=chance)
        self._again(flight, after=max(wait, outcome.retry_after or 0.0))

    async def _is_elsewhere(self, flight: Flight) -> bool:
        """Ask for the purchase by its own id: when the provider knows it by another task, that one is the job's."""
        context, job = self._context, flight.job
        assert job.purchase_id is not None
        exchange = await further_question(context, job.purchase_id)
        own = answers.lookup(exchange, purchase_id=job.purchase_id, now=context.now())
        if not isinstance(own, answers.Found) or own.task_id == job.task_id:
            return False
        await self._misattributed(flight, f"is not known, and our purchase is task {own.task_id} there")
        return True

    async def _misattributed(self, flight: Flight, why: str) -> None:
        """The id that we were told was of somebody else's task; ours is found by its purchase id."""
        context, job = self._context, flight.job
        message = f"task {job.task_id} {why}: what this clip's own task is, is asked for by its purchase id"
        if not await context.writer.run(
            context.store.record_misattributed, job.id, reason=TAKEN_ID.reason, message=message, now=context.now()
        ):
            return
        state = context.moved(job, JobEvent.MISATTRIBUTED, reason=TAKEN_ID.reason, message=message)
        flight.job = replace(job, state=state, task_id=None, provider_status=None, progress=None)
        flight.misses = flight.failures = 0
        if context.options.settle:
            context.board.fly(flight, anyio.current_time() + context.limits.poll_floor)

    async def _vanish(self, flight: Flight, reason: str, message: str) -> None:
        context = self._context
        await context.writer.run(
            context.store.record_vanished, flight.job.id, reason=reason, message=message, now=context.now()
        )
        context.moved(flight.job, JobEvent.VANISHED, reason=reason, message=message)

    async def _account(self, flight: Flight, reason: str, message: str) -> None:
        """The key may not even ask: nothing can be collected now, and everything keeps its state."""
        await self._context.pause(Stop.ACCOUNT, reason, message)
        self._context.board.stop(Stop.ACCOUNT)
        self._again(flight)
