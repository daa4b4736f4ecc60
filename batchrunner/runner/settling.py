"""Settling doubts: look a purchase up by its own id, and take its task over when the provider knows it."""

from __future__ import annotations

import anyio

from batchrunner import answers
from batchrunner.polling import next_look
from batchrunner.reconcile import next_lookup
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.states import JobEvent


class Settler:
    """The settling part of a run; it can find, and never sends."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def look(self, flight: Flight) -> None:
        """Look for one purchase once."""
        context, board, job = self._context, self._context.board, flight.job
        assert job.purchase_id is not None
        exchange = await context.provider.poll(job.purchase_id)
        board.heard(exchange.status is not None)
        now = context.now()
        outcome = answers.lookup(exchange, purchase_id=job.purchase_id, intended_at=job.submitted_at or now, now=now)
        if isinstance(outcome, answers.AccountStop):
            await context.pause(Stop.ACCOUNT, outcome.reason, outcome.message)
            return
        if isinstance(outcome, answers.Found) and await context.writer.run(
            context.store.record_found, job.id, outcome.task_id, now=now
        ):
            flight.job = context.moved(job, JobEvent.FOUND, task_id=outcome.task_id)
            flight.misses = 0
            look = next_look(0.0, floor=context.limits.poll_floor, chance=context.chance.random())
            board.fly(flight, anyio.current_time() + look)
            return
        flight.misses += 1
        wait = next_lookup(flight.misses, window=context.options.settle)
        if wait is not None:
            board.asking.add(flight, anyio.current_time() + wait)
            board.wake()
