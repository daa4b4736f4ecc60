"""Fetching finished clips: download, verify, name, record. It costs nothing, so it is tried again until the clip expires."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from batchrunner import answers
from batchrunner.errors import StorageError
from batchrunner.media import clips
from batchrunner.model import Clip, Job
from batchrunner.outputs import Part
from batchrunner.polling import backoff
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.canaries import Canaries
from batchrunner.runner.context import Context
from batchrunner.runner.landings import Landings
from batchrunner.runner.questions import poll
from batchrunner.runner.transfer import BadFile, Gone, NotNow, Transfer
from batchrunner.states import JobEvent

DOWNLOAD_TRIES = 8
"""In a row in one run; after that the clip is left for the next run while it lives at the provider."""
BAD_FILE_TRIES = 3
DEAD_URLS = 3
"""One 404 may be a storage's hiccup, and a clock may be wrong: only both together, and often, mean that a clip is gone."""
UNKNOWN_EXPIRY = timedelta(hours=48)
"""A result lives 24 h (API facts §1); this long after submission it is surely gone when nobody said when it expires."""


class Fetcher:
    """The fetching third of a run."""

    def __init__(self, context: Context, canaries: Canaries) -> None:
        self._context = context
        self._canaries = canaries
        self._landings = Landings()
        self._closed: set[str] = set()
        """Folders in which a clip could not be stored."""

    async def fetch(self, flight: Flight) -> None:
        """Download one finished clip, verify it and record it, or arrange for the next try."""
        folder = flight.job.output.rpartition("/")[0]
        if folder in self._closed:
            self._leave()
            return
        try:
            clip = await self._download(flight)
        except StorageError as error:  # nothing is bought that cannot be kept; other folders may take what is made
            self._closed.add(folder)
            self._leave()
            await self._context.pause(Stop.STORAGE, "disk", str(error))
        except Gone:
            await self._gone(flight, "the URL no longer works")
        except NotNow as why:
            await self._not_now(flight, why)
        except BadFile as bad:
            await self._bad_file(flight, str(bad))
        else:
            await self._saved(flight, clip)

    async def _saved(self, flight: Flight, clip: Clip) -> None:
        """A run that is told to stop does so after it: a clip that has its name is recorded, and loses the second one."""
        context, job = self._context, flight.job
        with anyio.CancelScope(shield=True):
            record = context.writer.run if context.board.is_awaited(job) else context.writer.join
            await record(context.store.record_saved, job.id, clip, now=context.now())
            context.moved(job, JobEvent.SAVED, clip=clip)
            await self._canaries.saved(job, clip)
            self._landings.forget(context.outputs.second_name(job.output, owner=job.task_id or ""))

    async def tidy(self) -> None:
        """The clips that are recorded have no second name any more."""
        await self._landings.tidy()

    async def locate(self, flight: Flight) -> None:
        """Ask for the URL of a finished clip: after a restart, or because the one we had is dead."""
        context = self._context
        if flight.resumed and not flight.failures and await self._adopted(flight):
            return
        outcome = await poll(context, flight)
        match outcome:
            case answers.Finished(url, expires_at):
                flight.url = url
                flight.expires_at = expires_at or flight.expires_at
                context.board.fetching.add(flight, anyio.current_time())
                context.board.wake()
            case answers.AccountStop(reason, message):
                self._leave()
                await context.pause(Stop.ACCOUNT, reason, message)
            case answers.Missing() | answers.TaskFailed():
                await self._gone(flight, "the provider no longer has it")
            case answers.Working() | answers.Later() | answers.Foreign():
                self._retry(flight, "no URL")

    async def _adopted(self, flight: Flight) -> bool:
        """Whether an earlier run named the clip and died before it could say so; then it is not fetched again."""
        context, job = self._context, flight.job

        def found() -> Clip | None:
            path = context.outputs.published(job.output, owner=job.task_id or "")
            if path is None:
                return None
            try:
                return _clip(path, clips.read(path))
            except (clips.NotAClip, OSError):  # whatever became of it, it can still be fetched
                return None

        clip = await anyio.to_thread.run_sync(found)
        if clip is not None:
            await self._saved(flight, clip)
        return clip is not None

    async def _download(self, flight: Flight) -> Clip:
        assert flight.url is not None
        with ExitStack() as kept:
            accept, ready = partial(_accepted, flight.job), partial(self._finished, flight)
            transfer = Transfer(self._context, self._landings, flight.job, flight.url, kept, accept=accept, ready=ready)
            try:
                return await transfer.run()
            except BadFile as bad:
                flight.bad_files += 1
                if flight.bad_files < BAD_FILE_TRIES or transfer.part is None:
                    raise
                aside = await anyio.to_thread.run_sync(partial(transfer.part.set_aside, whole=bad.playable))
                raise BadFile(f"{bad}; kept as {aside.name}") from None

    async def _finished(self, flight: Flight) -> None:
        """That the clip is made is durable: a run that dies after it is named looks for it before it asks."""
        if flight.finished is not None:
            await self._context.writer.reach(flight.finished)

    async def _bad_file(self, flight: Flight, message: str) -> None:
        context = self._context
        if flight.bad_files < BAD_FILE_TRIES:
            self._retry(flight, message)
            return
        await context.writer.run(context.store.record_bad_file, flight.job.id, message=message, now=context.now())
        context.moved(flight.job, JobEvent.BAD_FILE, reason="bad_file", message=message)

    async def _gone(self, flight: Flight, why: str) -> None:
        """The URL is dead: a fresh one while the clip may live, the end when its time is over too."""
        flight.dead_urls += 1
        if flight.dead_urls >= DEAD_URLS and self._is_over(flight):
            await self._expired(flight)
        else:
            self._retry(flight, why)

    async def _not_now(self, flight: Flight, why: NotNow) -> None:
        """Tried again for as long as it may live; a server that is there and never serves it has lost it in the end."""
        if why.answered and flight.failures + 1 >= DOWNLOAD_TRIES and self._is_over(flight):
            await self._expired(flight)
        else:
            self._retry(flight, str(why))

    def _is_over(self, flight: Flight) -> bool:
        return self._context.now() >= self._end_of(flight)

    def _end_of(self, flight: Flight) -> datetime:
        return flight.expires_at or (flight.job.submitted_at or self._context.now()) + UNKNOWN_EXPIRY

    async def _expired(self, flight: Flight) -> None:
        context, at = self._context, self._end_of(flight)
        message = f"the clip expired at the provider on {at:%Y-%m-%d %H:%M} UTC before it was downloaded"
        await context.writer.run(context.store.record_expired, flight.job.id, message=message, now=context.now())
        context.moved(flight.job, JobEvent.EXPIRED, reason="expired", message=message)

    def _leave(self) -> None:
        """To the next run."""
        self._context.board.left += 1
        self._context.board.wake()

    def _retry(self, flight: Flight, why: str) -> None:
        """Ask for a fresh URL and try again, a little later each time."""
        context, board = self._context, self._context.board
        flight.failures += 1
        flight.url = None
        if flight.failures >= DOWNLOAD_TRIES:
            context.held("download", f"{flight.job.key} could not be downloaded ({why}); the next run tries again")
            self._leave()
            return
        floor = context.limits.poll_floor
        wait = backoff(flight.failures, first=floor / 5, chance=context.chance.random())
        now = anyio.current_time()
        board.fly(flight, max(now + wait, flight.asked_at + floor))


def _accepted(job: Job, part: Part) -> Clip:
    """Name the file only when it is the clip that was asked for."""
    try:
        facts = clips.read(part.path, part.content)
    except clips.NotAnMp4:
        raise Gone from None  # a page in its place says nothing about the clip
    except clips.NotAClip as wrong:
        raise BadFile(str(wrong), playable=True) from None  # players may show more of it than we can judge
    if differences := clips.mismatches(facts, job.request):
        raise BadFile("; ".join(differences), playable=True)
    return _clip(part.publish(), facts, size=part.size, sha256=part.sha256)


def _clip(path: Path, facts: clips.ClipFacts, *, size: int | None = None, sha256: str | None = None) -> Clip:
    """What is recorded of a clip; size and digest are read from the file where they are not known."""
    if sha256 is None:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Clip(
        path=str(path),
        bytes=path.stat().st_size if size is None else size,
        sha256=sha256,
        duration=facts.duration,
        width=facts.width,
        height=facts.height,
        sound=facts.sound,
    )
