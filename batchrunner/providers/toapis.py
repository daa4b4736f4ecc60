"""ToAPIs: its paths and its words. Everything that a client must know of this one API and of no other."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from urllib.parse import quote

from batchrunner import request as wire
from batchrunner.model import FrameDialect, VideoRequest
from batchrunner.providers.base import Download, Exchange, Rest
from batchrunner.providers.http import HttpClient

GENERATIONS = "/v1/videos/generations"
UPLOADS = "/v1/uploads/images"
BALANCE = "/v1/balance"
TOKENS = "/v1/tokens"


class ToApisCollector:
    """What costs nothing. `endpoint` says whose tasks these are; by default the API's host."""

    def __init__(self, http: HttpClient, *, endpoint: str | None = None) -> None:
        self._http = http
        self.endpoint = endpoint or http.host
        self.account = http.account

    async def poll(self, task_id: str) -> Exchange:
        """`GET /v1/videos/generations/{id}`; task ids are opaque, so they are quoted whole."""
        return await self._http.get(f"{GENERATIONS}/{quote(task_id, safe='')}")

    async def balance(self) -> Exchange:
        """`GET /v1/balance`: what the key has left."""
        return await self._http.get(BALANCE)

    def download(self, url: str, *, rest: Rest | None = None) -> AbstractAsyncContextManager[Download]:
        """A result file from wherever the provider keeps it."""
        return self._http.download(url, rest=rest)


class ToApis(ToApisCollector):
    """The whole of the provider's port over HTTP."""

    def __init__(self, http: HttpClient, *, dialect: FrameDialect, endpoint: str | None = None) -> None:
        super().__init__(http, endpoint=endpoint)
        self._dialect = dialect

    def prepare(self, request: VideoRequest, *, image_urls: tuple[str, ...], purchase_id: str) -> bytes:
        """The exact body of the submission."""
        return wire.body(request, image_urls=image_urls, purchase_id=purchase_id, dialect=self._dialect)

    async def submit(self, body: bytes) -> Exchange:
        """`POST /v1/videos/generations`, once."""
        return await self._http.submit(GENERATIONS, body)

    async def upload(self, image: bytes, *, name: str, mime: str) -> Exchange:
        """`POST /v1/uploads/images`, multipart field `file`."""
        return await self._http.post_file(UPLOADS, field="file", name=name, content=image, mime=mime)


async def make_key(http: HttpClient, body: bytes) -> Exchange:
    """`POST /v1/tokens`, once: a key with a cap of its own (API facts §3). It buys nothing."""
    return await http.submit(TOKENS, body)
