"""Fetching finished clips: download, verify, name, record. It costs nothing, so it is tried again until the clip expires."""

from __future__ import annotations

from datetime import timedelta

import anyio
import anyio.to_thread

from batchrunner import answers
from batchrunner.errors import StorageError
from batchrunner.media import clips
from batchrunner.model import Clip
from batchrunner.outputs import Part
from batchrunner.polling import backoff
from batchrunner.providers.base import Download, DownloadBroken
from batchrunner.runner.asking import poll
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.settings import MAX_CLIP_BYTES
from batchrunner.states import JobEvent

DOWNLOAD_TRIES = 8
"""In a row in one run; after that the clip is left for the next run while it lives at the provider."""
BAD_FILE_TRIES = 3
DEAD_URLS = 3
"""One 404 may be a storage's hiccup, and a clock may be wrong: only both together, and often, mean that a clip is gone."""
UNKNOWN_EXPIRY = timedelta(hours=48)
"""A result lives 24 h (API facts §1); this long after submission it is surely gone when nobody said when it expires."""
BUFFER = 1 << 18
"""Bytes gathered before a thread writes them."""


class NotNow(Exception):
    """The clip could not be fetched this time; the text says why."""


class Gone(Exception):
    """The URL no longer serves the clip."""


class BadFile(Exception):
    """What was served is not the clip that was asked for."""


class Fetcher:
    """The fetching third of a run."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def fetch(self, flight: Flight) -> None:
        """Download one finished clip, verify it and record it, or arrange for the next try."""
        context = self._context
        try:
            clip = await self._download(flight)
        except StorageError as error:
            context.board.left += 1
            await context.pause(Stop.STORAGE, "disk", str(error))
            context.board.stop(Stop.STORAGE)
            return
        except Gone:
            await self._gone(flight)
            return
        except NotNow as why:
            self._retry(flight, str(why))
            return
        except BadFile as bad:
            await self._bad_file(flight, str(bad))
            return
        await context.writer.run(context.store.record_saved, flight.job.id, clip, now=context.now())
        flight.job = context.moved(flight.job, JobEvent.SAVED, clip=clip)

    async def locate(self, flight: Flight) -> None:
        """Ask for the URL of a finished clip: after a restart, or because the one we had is dead."""
        context = self._context
        outcome = await poll(context, flight)
        match outcome:
            case answers.Finished(url, expires_at):
                flight.url = url
                flight.expires_at = expires_at or flight.expires_at
                context.board.fetching.add(flight, anyio.current_time())
                context.board.wake()
            case answers.AccountStop(reason, message):
                context.board.left += 1
                await context.pause(Stop.ACCOUNT, reason, message)
            case answers.Missing() | answers.TaskFailed():
                await self._gone(flight)
            case answers.Working() | answers.Later():
                self._retry(flight, "no URL")

    async def _download(self, flight: Flight) -> Clip:
        context, job = self._context, flight.job
        assert flight.url is not None
        assert job.task_id is not None
        async with context.provider.download(flight.url) as download:
            if download.status in (403, 404, 410):
                raise Gone
            if download.status != 200:
                raise NotNow(download.error or f"HTTP {download.status}")
            part = await anyio.to_thread.run_sync(lambda: context.outputs.part(job.output, owner=job.task_id or ""))
            with part:
                await self._receive(download, part)
                return await self._accept(flight, part)

    async def _receive(self, download: Download, part: Part) -> None:
        buffer = bytearray()
        try:
            async for chunk in download.chunks:
                buffer += chunk
                if part.size + len(buffer) > MAX_CLIP_BYTES:
                    raise BadFile(f"it is larger than {MAX_CLIP_BYTES >> 30} GiB")
                if len(buffer) >= BUFFER:
                    await anyio.to_thread.run_sync(part.write, bytes(buffer))
                    buffer.clear()
        except DownloadBroken as broken:
            raise NotNow(str(broken)) from None
        if download.length is not None and part.size + len(buffer) != download.length:
            raise NotNow("cut short")

        def finish() -> None:
            part.write(bytes(buffer))
            part.sync()

        await anyio.to_thread.run_sync(finish)

    async def _accept(self, flight: Flight, part: Part) -> Clip:
        """Name the file only when it is the clip that was asked for."""
        request = flight.job.request
        try:
            facts = await anyio.to_thread.run_sync(clips.read, part.path)
        except clips.NotAnMp4 as wrong:
            raise NotNow(str(wrong)) from None
        except clips.NotAClip as wrong:
            differences = [str(wrong)]
        else:
            differences = clips.mismatches(facts, request)
        if differences:
            flight.bad_files += 1
            if flight.bad_files >= BAD_FILE_TRIES:
                aside = await anyio.to_thread.run_sync(part.set_aside)
                raise BadFile(f"{'; '.join(differences)}; kept as {aside.name}")
            raise BadFile("; ".join(differences))
        path = await anyio.to_thread.run_sync(part.publish)
        return Clip(
            path=str(path),
            bytes=part.size,
            sha256=part.sha256,
            duration=facts.duration,
            width=facts.width,
            height=facts.height,
            sound=facts.sound,
        )

    async def _bad_file(self, flight: Flight, message: str) -> None:
        context = self._context
        if flight.bad_files < BAD_FILE_TRIES:
            self._retry(flight, message)
            return
        await context.writer.run(context.store.record_bad_file, flight.job.id, message=message, now=context.now())
        flight.job = context.moved(flight.job, JobEvent.BAD_FILE, reason="bad_file", message=message)

    async def _gone(self, flight: Flight) -> None:
        """The URL is dead: a fresh one while the clip may live, the end when its time is over too."""
        context = self._context
        flight.dead_urls += 1
        expires_at = flight.expires_at or (flight.job.submitted_at or context.now()) + UNKNOWN_EXPIRY
        if flight.dead_urls < DEAD_URLS or context.now() < expires_at:
            self._retry(flight, "the URL no longer works")
            return
        message = f"the clip expired at the provider on {expires_at:%Y-%m-%d %H:%M} UTC before it was downloaded"
        await context.writer.run(context.store.record_expired, flight.job.id, message=message, now=context.now())
        flight.job = context.moved(flight.job, JobEvent.EXPIRED, reason="expired", message=message)

    def _retry(self, flight: Flight, why: str) -> None:
        """Ask for a fresh URL and try again, a little later each time."""
        context, board = self._context, self._context.board
        flight.failures += 1
        flight.url = None
        if flight.failures >= DOWNLOAD_TRIES:
            board.left += 1
            context.held("download", f"{flight.job.key} could not be downloaded ({why}); the next run tries again")
            board.wake()
            return
        floor = context.limits.poll_floor
        wait = backoff(flight.failures, first=floor / 5, chance=context.chance.random())
        now = anyio.current_time()
        board.fly(flight, max(now + wait, flight.asked_at + floor))
