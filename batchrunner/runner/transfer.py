"""One result file on its way to its `.part`: gone on with where it broke off, when the server can do that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial

import anyio
import anyio.to_thread

from batchrunner.model import Clip, Job
from batchrunner.outputs import Part
from batchrunner.polling import backoff
from batchrunner.providers.base import Download, DownloadBroken, Rest
from batchrunner.runner.context import Context
from batchrunner.runner.landings import Landings
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

    def __init__(
        self,
        context: Context,
        landings: Landings,
        job: Job,
        url: str,
        kept: ExitStack,
        *,
        accept: Callable[[Part], Clip],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        """`accept` says what the whole, durable part is, once `ready`; it runs in a thread, as it reads and names files."""
        self._context = context
        self._landings = landings
        self._job = job
        self._url = url
        self._kept = kept
        self._accept = accept
        self._ready = ready
        self._rest: Rest | None = None
        self.part: Part | None = None

    async def run(self) -> Clip:
        """What is said of the whole file, durable under its `.part` name; `NotNow`, `Gone` or `BadFile` without one."""
        for tries in range(1, TRIES + 1):
            try:
                return await self._advance()
            except NotNow:
                if self._rest is None or tries == TRIES:
                    raise
            first = self._context.limits.poll_floor / 5  # shorter where a rehearsal's clock runs faster
            await anyio.sleep(backoff(tries, first=first, chance=self._context.chance.random()))
        raise AssertionError("the last try returns or raises")

    async def _advance(self) -> Clip:
        async with self._context.provider.download(self._url, rest=self._rest) as download:
            self._check(download)
            if self.part is None and (download.length or 0) > BUFFER:  # what finds no place is not fetched
                await anyio.to_thread.run_sync(self._placed, download)
            elif self.part is not None and download.status == 200:  # the whole file comes again
                await anyio.to_thread.run_sync(self.part.restart)
            self._rest = None
            last = await self._receive(download)
        await self._ready()
        write = partial(self._write, download, bytes(last))
        return await self._landings.land(write, self._accept, alone=self.part is not None)

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

    async def _receive(self, download: Download) -> bytearray:
        """Write what comes, but for the last bytes, which are returned: most clips need one thread in all."""
        buffer = bytearray()
        try:
            async for chunk in download.chunks:
                buffer += chunk
                if self._size + len(buffer) > MAX_CLIP_BYTES:
                    await anyio.to_thread.run_sync(self._placed, download)  # its beginning may be kept
                    raise BadFile(f"it is larger than {MAX_CLIP_BYTES >> 30} GiB")
                if len(buffer) >= BUFFER:
                    await anyio.to_thread.run_sync(self._write, download, bytes(buffer))
                    buffer.clear()
        except DownloadBroken as broken:
            await anyio.to_thread.run_sync(self._write, download, bytes(buffer))
            if download.etag is not None and self._size:
                self._rest = Rest(start=self._size, length=download.length, etag=download.etag)
            raise NotNow(str(broken)) from None
        if download.length is not None and self._size + len(buffer) != download.length:
            raise NotNow("cut short")
        return buffer

    @property
    def _size(self) -> int:
        return 0 if self.part is None else self.part.size

    def _placed(self, download: Download) -> Part:
        """Where the bytes go: the part that was begun, or a new one."""
        if self.part is None:
            outputs, job = self._context.outputs, self._job
            outputs.make_room(min(download.length or 0, MAX_CLIP_BYTES))  # more is never written, whatever is announced
            self.part = self._kept.enter_context(outputs.part(job.output, owner=job.task_id or ""))
        return self.part

    def _write(self, download: Download, content: bytes) -> Part:
        part = self._placed(download)
        part.write(content)
        return part
