"""The faster transport under httpx's client, for free questions to the API: aiohttp's connections (performance notes §2).

It asks with a seventh of the CPU of httpx's own pool. It stays out of two lanes: it has no trace that proves what of a
submission left, and it writes addresses anew, which a signature in a result's URL need not survive.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.request import getproxies

import httpx

CONNECTIONS = 64
KEPT = 15.0
"""Seconds that an idle connection is kept."""


def transport(tls: ssl.SSLContext, *, proxies: bool) -> httpx.AsyncBaseTransport | None:
    """For one client; None where httpx's own has to do: on trio, without aiohttp, or behind a proxy.

    `proxies` says whether the environment's proxies are to be asked; with a transport of its own, httpx forgets them.
    """
    if proxies and getproxies():
        return None
    try:
        import aiohttp  # a tenth of a second, for those who ask
        from httpx_aiohttp import AiohttpTransport

        connector = aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS, keepalive_timeout=KEPT)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
    except (ImportError, RuntimeError):  # RuntimeError: this loop is not asyncio's
        return None
    return _Told(AiohttpTransport(verify=tls, client=session), aiohttp.ClientError)


class _Told(httpx.AsyncBaseTransport):
    """Tells every failure as httpx would: those that the transport does not know as broken protocol."""

    def __init__(self, inner: httpx.AsyncBaseTransport, failures: type[Exception]) -> None:
        self._inner, self._failures = inner, failures

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with self._told():
            response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Stream(response.stream, self)
        return response

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._failures as failure:
            raise httpx.RemoteProtocolError(type(failure).__name__) from failure

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, transport: _Told) -> None:
        self._inner, self._transport = inner, transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._transport._told():
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
