"""The faster transport under httpx's types, for what is free: aiohttp's connections (performance notes §2).

It asks with a seventh of the CPU of httpx's own pool, and keeps connections to result files too. Submissions stay out of
it: it has no trace that proves what of them left.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx

CONNECTIONS = 64
KEPT = 15.0
"""Seconds that an idle connection is kept."""
LONGEST_LINE = 1 << 16
"""Bytes of one header: addresses that are signed and redirected may be long, and httpx's own transport takes as much."""
CHUNK = 1 << 18
"""Bytes at most that are handed on at once."""


def load() -> bool:
    """Whether aiohttp is there; it takes a quarter of a second, which a thread can spend."""
    try:
        import httpx_aiohttp  # noqa: F401
    except ImportError:
        return False
    return True


def transport(tls: ssl.SSLContext) -> httpx.AsyncBaseTransport | None:
    """For one lane, once it is loaded; None on trio, where httpx's own has to do."""
    import aiohttp
    from httpx_aiohttp import AiohttpTransport
    from httpx_aiohttp.transport import AiohttpResponseStream
    from yarl import URL

    # Two hosts behind one address may show different certificates: only a pool that tells them apart is shared.
    apart = "server_hostname" in aiohttp.client_reqrep.ConnectionKey._fields
    keeping: dict[str, Any] = {"keepalive_timeout": KEPT} if apart else {"force_close": True}
    try:
        connector = aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS, **keeping)
    except RuntimeError:  # this loop is not asyncio's
        return None
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )
    AiohttpResponseStream.CHUNK_SIZE = CHUNK
    verbatim: Any = _Verbatim(session, URL)
    return _Told(AiohttpTransport(verify=tls, client=verbatim), session, aiohttp)


class _Verbatim:
    """A session that asks for addresses as they are written: a signature in one would not survive another spelling."""

    def __init__(self, session: Any, parsed: Any) -> None:
        self._session, self._parsed = session, parsed

    def __call__(self) -> _Verbatim:
        """The transport asks for its session at each request."""
        return self

    def request(self, *, url: str, **more: Any) -> Any:
        return self._session.request(url=self._parsed(url, encoded=True), **more)


class _Told(httpx.AsyncBaseTransport):
    """Tells every failure as httpx would: what ends too early, and what the transport does not know, as broken protocol."""

    def __init__(self, inner: httpx.AsyncBaseTransport, session: Any, failures: Any) -> None:
        self._inner, self._session = inner, session
        self._known, self._unreached = failures.ClientError, failures.ClientConnectorError
        self._early = failures.ClientPayloadError, failures.ServerDisconnectedError

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as failure:
            raise self.told(failure) from failure
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Stream(response.stream, self)
        return response

    def told(self, failure: Exception) -> Exception:
        """The failure by the name that httpx has for it."""
        cause = failure.__cause__
        if isinstance(cause, self._unreached):
            return httpx.ConnectError(str(cause))
        if isinstance(cause, self._early):
            return httpx.RemoteProtocolError(type(cause).__name__)
        return httpx.RemoteProtocolError(type(failure).__name__) if isinstance(failure, self._known) else failure

    async def aclose(self) -> None:
        await self._session.close()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, transport: _Told) -> None:
        self._inner, self._transport = inner, transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except Exception as failure:
            raise self._transport.told(failure) from failure

    async def aclose(self) -> None:
        await self._inner.aclose()
