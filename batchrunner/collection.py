"""Collecting finished work again: clips that were deleted, damaged, expired or refused, and all that is still at the provider.

It can never buy: the provider that it is given has no way to submit.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import anyio

from batchrunner.conduct import conduct
from batchrunner.errors import BatchrunnerError, ExitCode
from batchrunner.events import Listener
from batchrunner.model import Batch, Clip, Job
from batchrunner.outputs import OutputFolder
from batchrunner.process import Watchdog
from batchrunner.providers.base import Collector
from batchrunner.purchase import Chance
from batchrunner.report import summary
from batchrunner.runner.context import Options
from batchrunner.runner.loop import Outcome, Runner
from batchrunner.settings import Limits
from batchrunner.states import JobState
from batchrunner.store.base import Store

AT_PROVIDER = (JobState.RUNNING, JobState.FETCHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of a selection is collected, and why the rest is not."""

    again: tuple[Job, ...]
    """Over, paid for, and not here."""
    open: tuple[Job, ...]
    """Still at the provider."""
    here: tuple[Job, ...]
    """Done, and the clip is where it was put."""
    lost: tuple[Job, ...]
    """Done and no longer here, but the provider's copy has expired: named ones are asked for all the same."""
    unpaid: tuple[Job, ...]
    """Nothing was paid for them: there is nothing to collect."""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All that is collected."""
        return self.again + self.open


def wanted(jobs: tuple[Job, ...], *, named: bool, now: datetime) -> Wanted:
    """Sort a selection. What was done and is merely somewhere else now is not given up for a copy that cannot be had."""
    found: dict[str, list[Job]] = {"again": [], "open": [], "here": [], "lost": [], "unpaid": []}
    for job in jobs:
        found[_kind(job, named=named, now=now)].append(job)
    return Wanted(**{name: tuple(some) for name, some in found.items()})


def _kind(job: Job, *, named: bool, now: datetime) -> str:
    if job.state in AT_PROVIDER:
        return "open"
    if job.state is JobState.DONE and job.clip is not None:
        if _is_here(job.clip, thoroughly=named):
            return "here"
        expired = job.expires_at is not None and job.expires_at < now
        return "lost" if expired and not named else "again"
    paid = job.state is JobState.FAILED and job.task_id is not None and job.reason in summary.PAID_FAILURES
    return "again" if paid else "unpaid"


def _is_here(clip: Clip, *, thoroughly: bool) -> bool:
    """Whether the clip is where it was put, by its size, and thoroughly by its content."""
    path = Path(clip.path)
    try:
        if not path.is_file() or path.stat().st_size != clip.bytes:
            return False
        if not thoroughly:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == clip.sha256
    except OSError:
        return False


@dataclass(slots=True, kw_only=True)
class Collection:
    """One `fetch`: the database is ours, and what it collects is known."""

    batch: Batch
    wanted: Wanted
    store: Store
    database: Path
    folder: OutputFolder
    limits: Limits
    connect: Callable[[AsyncExitStack], Awaitable[Collector]]
    clock: Callable[[], datetime]

    def execute(self, listener: Listener, *, note: str) -> Outcome:
        """Ask, download and verify until all of it is here or cannot be had; the outcome is that of the selected jobs."""
        with self.store.transaction():
            for job in self.wanted.again:
                self.store.record_reopened(job.id, note=note, now=self.clock())
        run_id = self.store.start_run(self.batch.id, pid=os.getpid(), host=socket.gethostname(), now=self.clock())
        try:
            with Watchdog(self.database.absolute().parent) as watchdog:
                outcome = self._narrowed(anyio.run(self._main, listener, watchdog))
        except BatchrunnerError as error:
            self.store.finish_run(run_id, exit_code=error.exit_code, now=self.clock())
            raise
        self.store.finish_run(run_id, exit_code=summary.exit_code(outcome), now=self.clock())
        return outcome

    def _narrowed(self, outcome: Outcome) -> Outcome:
        """What is open or failed elsewhere in the batch is not this command's."""
        counts = Counter(self.store.job(job.id).state for job in self.wanted.jobs)
        return replace(outcome, counts=counts, blocked={}, doubts=0)

    async def _main(self, listener: Listener, watchdog: Watchdog) -> Outcome:
        ids = {job.id for job in self.wanted.jobs}
        async with AsyncExitStack() as stack:
            provider = await self.connect(stack)
            runner = Runner(
                batch=self.batch,
                store=self.store,
                provider=provider,
                outputs=self.folder,
                limits=self.limits,
                options=Options(collects=lambda job: job.id in ids),
                now=self.clock,
                chance=Chance(),
                listener=listener,
                private_urls={},
            )
            return await conduct(runner, provider, watchdog, clock=self.clock)


def exit_code(outcome: Outcome) -> ExitCode:
    """The worst of what is true of the jobs that were to be collected."""
    code = summary.exit_code(outcome)
    left = any(outcome.counts.get(state) for state in AT_PROVIDER)
    return ExitCode.PROVIDER if code is ExitCode.DONE and left else code
