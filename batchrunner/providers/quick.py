"""The faster lane, for what is free: aiohttp's connections (performance notes §2).

It asks with a seventh of the CPU of httpx's own pool, and keeps connections to result files too. Submissions stay out of
it: it has no trace that proves what of them left. It takes a quarter of a second to load, so that only who asks often does.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Self

import aiohttp
import anyio
import httpx
from aiohttp.http import HttpProcessingError
from yarl import URL

from batchrunner.providers.lanes import CONNECT_TIMEOUT, Lane

KEPT = 15.0
"""Seconds that an idle connection is kept."""
LONGEST_LINE = 1 << 16
"""Bytes of one header: addresses that are signed and redirected may be long, and httpx's own transport takes as much."""
CHUNK = 1 << 18
"""Bytes at most that are handed on at once."""
_BY_HTTPX: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientOSError, httpx.ReadError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
    (HttpProcessingError, httpx.RemoteProtocolError),  # as it comes from a parser that is not compiled
)
"""The name that httpx has for a failure; the first that fits. What ends too early is a broken protocol."""
_FAILURES = tuple(kind for kind, _ in _BY_HTTPX)


def lane(tls: ssl.SSLContext, headers: Mapping[str, str], timeout: float) -> QuickLane | None:
    """As `Lane`, for what has no body; None on trio, where httpx's own has to do."""
    # Two hosts behind one address may show different certificates: only a pool that tells them apart is shared.
    apart = "server_hostname" in aiohttp.client_reqrep.ConnectionKey._fields
    keeping: dict[str, Any] = {"keepalive_timeout": KEPT} if apart else {"force_close": True}
    try:
        connector = aiohttp.TCPConnector(ssl=tls, limit=0, **keeping)  # who asks decides how much is asked at once
    except RuntimeError:  # this loop is not asyncio's
        return None
    session = aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        timeout=aiohttp.ClientTimeout(connect=timeout, sock_connect=CONNECT_TIMEOUT, sock_read=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        read_bufsize=CHUNK,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )
    return QuickLane(session, 2 * timeout)


class QuickLane(Lane):
    """Asks for addresses as they are written, since a signature in one would not survive another spelling."""

    def __init__(self, session: aiohttp.ClientSession, within: float) -> None:
        self._session, self._within = session, within

    async def ask(
        self, method: str, url: str | httpx.URL, headers: Mapping[str, str], extensions: dict[str, Any], **content: Any
    ) -> httpx.Response:
        assert not content, "what has a body goes through httpx"
        try:
            answer = await self._session.request(
                method,
                URL(str(url), encoded=True),
                headers=headers,
                allow_redirects=False,
                server_hostname=extensions.get("sni_hostname"),
            )
        except _FAILURES as failure:
            raise _told(failure) from failure
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Stream(answer, self._within))

    async def aclose(self) -> None:
        await self._session.close()


class _Stream(httpx.AsyncByteStream):
    """aiohttp tells nobody of a malformed piece that comes late: who waits for it would wait for ever but for `within`."""

    def __init__(self, answer: aiohttp.ClientResponse, within: float) -> None:
        self._answer, self._within = answer, within

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        content = self._answer.content
        try:
            chunk = content.read_nowait(CHUNK)
            if not chunk and not content.at_eof():
                with anyio.fail_after(self._within):
                    chunk = await content.read(CHUNK)
        except _FAILURES as failure:
            raise _told(failure) from failure
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._answer.release()


def _told(failure: Exception) -> httpx.TransportError:
    name = next(name for kind, name in _BY_HTTPX if isinstance(failure, kind))
    return name(str(failure))
