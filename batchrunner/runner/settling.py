"""Settling doubts: look a purchase up by its own id, and take its task over when the provider knows it."""

from __future__ import annotations

import anyio

from batchrunner import answers
from batchrunner.polling import backoff, next_look
from batchrunner.reconcile import next_lookup
from batchrunner.runner.asking import question
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.settings import UNREACHABLE_AFTER
from batchrunner.states import JobEvent


class Settler:
    """The settling part of a run; it can find, and never sends."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def look(self, flight: Flight) -> None:
        """Look for one purchase once."""
        context, board, job = self._context, self._context.board, flight.job
        assert job.purchase_id is not None
        flight.looked_since = anyio.current_time() if flight.looked_since is None else flight.looked_since
        exchange = await question(context, job.purchase_id)
        now = context.now()
        outcome = answers.lookup(exchange, purchase_id=job.purchase_id, now=now)
        if isinstance(outcome, answers.AccountStop):
            await context.pause(Stop.ACCOUNT, outcome.reason, outcome.message)
        elif isinstance(outcome, answers.Found) and await context.writer.run(
            context.store.record_found, job.id, outcome.task_id, now=now
        ):
            flight.job = context.moved(job, JobEvent.FOUND, task_id=outcome.task_id)
            flight.misses = flight.failures = 0
            look = next_look(0.0, floor=context.limits.poll_floor, chance=context.chance.random())
            board.fly(flight, anyio.current_time() + look)
        else:
            self._again(flight, answered=not isinstance(outcome, answers.Later))

    def _again(self, flight: Flight, *, answered: bool) -> None:
        """Look once more, unless it was looked for often enough; a question without an answer is no look."""
        context = self._context
        window, floor, now = context.options.settle, context.limits.poll_floor, anyio.current_time()
        wait: float | None
        if answered:
            flight.misses += 1
            wait = next_lookup(flight.misses, window=window)
        else:
            flight.failures += 1
            wait = backoff(flight.failures, first=floor, chance=context.chance.random())
            if flight.looked_since is not None and now - flight.looked_since > max(2 * window, UNREACHABLE_AFTER):
                wait = None
        if wait is not None:
            context.board.fly(flight, now + max(wait, floor))
