"""One result file on its way to its `.part`: gone on with where it broke off, when the server can do that."""

from __future__ import annotations

from contextlib import ExitStack

import anyio
import anyio.to_thread

from batchrunner.model import Job
from batchrunner.outputs import Part
from batchrunner.polling import backoff
from batchrunner.providers.base import Download, DownloadBroken, Rest
from batchrunner.runner.context import Context
from batchrunner.settings import MAX_CLIP_BYTES

TRIES = 8
"""At one address, as long as there is something to go on with."""
BUFFER = 1 << 18
"""Bytes gathered before a thread writes them."""


class NotNow(Exception):
    """The clip could not be fetched this time; the text says why."""

    def __init__(self, why: str, *, answered: bool = True) -> None:
        super().__init__(why)
        self.answered = answered
        """Whether a server was reached: then it is not our line that is down."""


class Gone(Exception):
    """The URL no longer serves the clip."""


class BadFile(Exception):
    """What was served is not the clip that was asked for."""

    def __init__(self, what: str, *, playable: bool = False) -> None:
        super().__init__(what)
        self.playable = playable


class Transfer:
    """The download of one job's clip from one address. The part is left to `kept`."""

    def __init__(self, context: Context, job: Job, url: str, kept: ExitStack) -> None:
        self._context = context
        self._job = job
        self._url = url
        self._kept = kept
        self._rest: Rest | None = None
        self.part: Part | None = None

    async def run(self) -> Part:
        """The whole file, durable under its `.part` name; `NotNow`, `Gone` or `BadFile` when it cannot be had."""
        for tries in range(1, TRIES + 1):
            try:
                return await self._advance()
            except NotNow:
                if self._rest is None or tries == TRIES:
                    raise
            first = self._context.limits.poll_floor / 5  # shorter where a rehearsal's clock runs faster
            await anyio.sleep(backoff(tries, first=first, chance=self._context.chance.random()))
        raise AssertionError("the last try returns or raises")

    async def _advance(self) -> Part:
        async with self._context.provider.download(self._url, rest=self._rest) as download:
            self._check(download)
            part = await self._place(download)
            self._rest = None
            await self._receive(download, part)
            return part

    def _check(self, download: Download) -> None:
        rest = self._rest
        if download.status in (403, 404, 410):
            raise Gone
        if download.status == 206 and rest is not None and rest.begins(download):
            return
        if download.status in (206, 416):  # it is not the file that was begun
            self._rest = None
        if download.status != 200:
            raise NotNow(download.error or f"HTTP {download.status}", answered=download.status is not None)

    async def _place(self, download: Download) -> Part:
        """Where the bytes go: a new part, the same one, or the same one emptied since the whole file comes again."""
        outputs, job, part = self._context.outputs, self._job, self.part
        if part is None:

            def begun() -> Part:
                outputs.make_room(download.length or 0)
                return outputs.part(job.output, owner=job.task_id or "")

            part = self.part = self._kept.enter_context(await anyio.to_thread.run_sync(begun))
        elif download.status == 200:
            await anyio.to_thread.run_sync(part.restart)
        return part

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
            await anyio.to_thread.run_sync(part.write, bytes(buffer))
            if download.etag is not None and part.size:
                self._rest = Rest(start=part.size, length=download.length, etag=download.etag)
            raise NotNow(str(broken)) from None
        if download.length is not None and part.size + len(buffer) != download.length:
            raise NotNow("cut short")

        def finish() -> None:
            part.write(bytes(buffer))
            part.sync()

        await anyio.to_thread.run_sync(finish)
