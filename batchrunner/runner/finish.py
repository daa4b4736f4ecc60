"""When the run will be over, looked at every few seconds for those who watch it."""

from __future__ import annotations

import anyio

from batchrunner.eta import AHEAD, Eta, of_batch
from batchrunner.runner.context import Context
from batchrunner.states import JobState

EVERY = 10.0
"""Seconds between two looks: what waits is asked of the store."""


class Finish:
    """The expected finish of one run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked = float("-inf")
        self._eta: Eta | None = None

    async def look(self) -> Eta | None:
        """Seconds from now until everything selected is final; None while too little is known."""
        now = anyio.current_time()
        if now - self._looked >= EVERY:
            self._looked, self._eta = now, await self._expected(now)
        if self._eta is None:
            return None
        since = now - self._looked
        return Eta(max(self._eta.median - since, 0.0), max(self._eta.likely - since, 0.0))

    async def _expected(self, now: float) -> Eta | None:
        context, board, options = self._context, self._context.board, self._context.options
        flights = [one for one in (*board.asking, *board.due_polls) if one.job.state is JobState.RUNNING]
        ages = [(one.job.request.kind, now - one.accepted_at) for one in flights]
        waiting = 0 if board.paused else board.counts[JobState.PENDING]
        ahead: dict[str, int] = {}
        if waiting:
            ask, batch = context.store.kinds_ahead, context.batch.id
            ahead = await context.writer.run(ask, batch, limit=AHEAD, only=options.only, tags=options.tags)
        kinds = ahead.keys() | {kind for kind, _ in ages}
        for kind in kinds:
            await context.lessons.look_up(kind)
        learned = {kind: known for kind in kinds if (known := context.lessons.of(kind)) is not None}
        places, rate = board.room.at(now), board.submit_pace.per_second
        return of_batch(ages, ahead, waiting, learned, places=places, rate=rate)
