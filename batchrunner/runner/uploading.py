"""Frames at the provider: each local image is uploaded once per content, before the intent of the job that needs it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import timedelta
from pathlib import Path, PurePath

import anyio
import anyio.to_thread

from batchrunner import answers
from batchrunner.model import Asset, Frame
from batchrunner.polling import backoff
from batchrunner.providers.base import Buyer
from batchrunner.runner.board import Stop
from batchrunner.runner.context import Context
from batchrunner.settings import ASSET_LIFETIME

UPLOAD_TRIES = 6
"""Answers, none of them helpful, after which a frame is left for the next run."""


class CannotSend(Exception):
    """This job cannot be sent in this run; nothing was bought."""


class Rejected(Exception):
    """This job can never be sent as it is; nothing was bought."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Uploader:
    """The frames of one run."""

    def __init__(self, context: Context, buyer: Buyer) -> None:
        self._context = context
        self._buyer = buyer
        self._uploading: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._uploaded: dict[str, str] = {}
        """URLs of this run's uploads, also of those that may not be stored because they are signed."""
        self._uploads = anyio.CapacityLimiter(context.limits.uploads)

    async def url_of(self, frame: Frame) -> str:
        """Where the provider can read a frame; a local one is uploaded once per content."""
        context = self._context
        if not frame.local:
            url = context.private_urls.get(frame.sha256, frame.source)
            if hashlib.sha256(url.encode()).hexdigest() != frame.sha256:
                raise CannotSend("the frame's URL is in a manifest that this run does not have")
            return url
        async with self._uploading[frame.sha256]:
            if (known := self._uploaded.get(frame.sha256)) is not None:
                return known
            asset = await context.writer.run(context.store.asset, frame.sha256, endpoint=context.provider.endpoint)
            if asset is not None and context.now() - asset.uploaded_at < timedelta(seconds=ASSET_LIFETIME):
                return asset.url
            async with self._uploads:
                return await self._upload(frame)

    async def _upload(self, frame: Frame) -> str:
        context = self._context
        image = await anyio.to_thread.run_sync(_read, frame)
        mime, suffix = ("image/png", ".png") if image.startswith(b"\x89PNG") else ("image/jpeg", ".jpg")
        name = f"{frame.sha256[:16]}{suffix}"  # the provider need not learn how the user names files
        answered = tries = 0
        while answered < UPLOAD_TRIES:
            exchange = await self._buyer.upload(image, name=name, mime=mime)
            context.board.heard(exchange.status is not None)
            tries += 1
            answered += exchange.status is not None  # an outage ends the run when it lasts, not this job
            match answers.upload(exchange, now=context.now()):
                case answers.Uploaded(url):
                    await self._keep(frame, url)
                    return url
                case answers.UploadRefused(message):
                    raise Rejected("bad_image", f"the provider refuses {PurePath(frame.source).name}: {message}")
                case answers.AccountStop(reason, message):
                    await context.pause(Stop.ACCOUNT, reason, message)
                    raise CannotSend(f"uploads are refused: {message}")
                case answers.Later(reason, wait):
                    if answered < UPLOAD_TRIES:
                        await anyio.sleep(
                            wait or context.limits.lasting(backoff(tries, chance=context.chance.random()))
                        )
        raise CannotSend(f"{PurePath(frame.source).name} could not be uploaded ({reason})")

    async def _keep(self, frame: Frame, url: str) -> None:
        """Remember where a frame is, for other jobs and other runs."""
        context = self._context
        endpoint, now = context.provider.endpoint, context.now()
        asset = Asset(sha256=frame.sha256, endpoint=endpoint, url=url, uploaded_at=now)
        await context.writer.run(context.store.record_asset, asset)
        self._uploaded[frame.sha256] = url


def _read(frame: Frame) -> bytes:
    """The frame's content, which must still be what the manifest was checked with."""
    try:
        image = Path(frame.source).read_bytes()
    except OSError as error:
        raise CannotSend(f"{frame.source} cannot be read: {error.strerror}") from None
    if hashlib.sha256(image).hexdigest() != frame.sha256:
        raise CannotSend(f"{frame.source} has changed since the manifest was read; run the same command again")
    return image
