"""Canaries at work: the first of each kind go ahead, and what becomes of them is written down."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import anyio.to_thread

from batchrunner import canary
from batchrunner.media import likeness
from batchrunner.model import Clip, Job
from batchrunner.runner.board import Stop
from batchrunner.runner.context import Context
from batchrunner.states import JobState

REASON = "canary"
WAY_OUT = "if it is right all the same, add --no-canary"


class Canaries:
    """What may go ahead, and what has to wait for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._verdicts: dict[str, str | None] = {}

    async def begin(self, collecting: Iterable[Job]) -> None:
        """Which kinds need canaries in this run; tasks of earlier runs that are still collected are such."""
        context, board, options = self._context, self._context.board, self._context.options
        run, store = context.writer.run, context.store
        self._verdicts = await run(store.verdicts, context.batch.endpoint)
        if options.canaries == 0:
            return
        waiting = await run(store.waiting_kinds, context.batch.id, only=options.only, tags=options.tags)
        for kind in waiting:
            if wrong := self._verdicts.get(canary.named(kind, options.dialect)):
                await self._stop(f"{wrong}; the rest of its kind is not bought: {WAY_OUT}")
        board.flocks = canary.flocks(waiting, self._verdicts, dialect=options.dialect, asked=options.canaries)
        for job in collecting:
            flock = board.flocks.get(job.request.kind)
            if (
                flock is not None and flock.is_open and job.state is not JobState.IN_DOUBT
            ):  # which may tell nothing for long
                flock.jobs.add(job.id)

    async def _stop(self, message: str) -> None:
        self._context.board.canary_lost = message
        await self._context.pause(Stop.CANARY, REASON, message)

    async def saved(self, job: Job, clip: Clip) -> None:
        """A clip is ours: what it says about its kind, once for each kind."""
        context, board, options = self._context, self._context.board, self._context.options
        kind = canary.kind_of(job.request, options.dialect)
        if kind in self._verdicts and self._verdicts[kind] is None:
            return
        look = partial(likeness.frames_ignored, Path(clip.path), job.request)
        wrong = await anyio.to_thread.run_sync(look) if job.request.frames else None
        flock = board.flocks.get(job.request.kind)
        if wrong is not None:
            wrong = f"the first clip of its kind, {job.key}, is not what was asked for: {wrong}"
            context.held(REASON, wrong)
        if flock is not None and job.id in flock.jobs:
            flock.jobs.discard(job.id)
            flock.proven += wrong is None
        if wrong is None and flock is not None and not flock.is_proven:
            board.release()
            return
        if kind not in self._verdicts or wrong is None:
            await context.writer.run(
                context.store.record_verdict, context.batch.endpoint, kind, job.id, wrong=wrong, now=context.now()
            )
            self._verdicts[kind] = wrong
        if wrong is None:
            board.flocks.pop(job.request.kind, None)
            board.release()
        elif options.canaries != 0:
            await self._stop(f"{wrong}; look at {clip.path}; {WAY_OUT}")
