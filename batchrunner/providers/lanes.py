"""Lanes: httpx's transports without its client, whose cookies, merged addresses and redirects are not wanted here.

What the client adds to a request costs as much as the request itself.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any

import httpx

from batchrunner.providers.fresh import Fresh

CONNECT_TIMEOUT = 15.0


class Lane:
    """Where requests of one kind leave, and what each of them says; `timeout` in seconds, for each read and write."""

    def __init__(self, transport: httpx.AsyncBaseTransport, headers: Mapping[str, str], timeout: float) -> None:
        self._transport = transport
        self._headers = headers
        self._timeout = httpx.Timeout(timeout, connect=CONNECT_TIMEOUT).as_dict()

    async def ask(
        self, method: str, url: str | httpx.URL, headers: Mapping[str, str], extensions: dict[str, Any], **content: Any
    ) -> httpx.Response:
        """The head of the answer; its body is still to be read, and the caller closes it."""
        extensions["timeout"] = self._timeout
        url = _parsed(url) if isinstance(url, str) else url
        request = _request(method, url, {**self._headers, **headers}, extensions, **content)
        return await self._transport.handle_async_request(request)


_parsed = lru_cache(maxsize=1024)(httpx.URL)
"""Submissions all go to one address, the questions about a task to another: reading one takes a fifth of asking there."""


def _request(
    method: str, url: httpx.URL, headers: dict[str, str], extensions: dict[str, Any], **content: Any
) -> httpx.Request:
    """As httpx makes it; what it would add by itself, without a form, takes it twice as long."""
    if "files" in content:
        return httpx.Request(method, url, headers=headers, extensions=extensions, **content)
    body: bytes = content.get("content", b"")
    said = {"Host": url.netloc.decode("ascii"), **headers}
    if body:
        said["Content-Length"] = str(len(body))
    request = httpx.Request(method, url, headers=said, extensions=extensions, stream=httpx.ByteStream(body))
    request.read()
    return request


def stock(tls: ssl.SSLContext, *, keeps: int, proxies: bool) -> httpx.AsyncBaseTransport:
    """httpx's own transport, which holds `keeps` connections; with 0 each request gets a fresh one, past the pool."""
    if not keeps and not proxies:
        return Fresh(tls)
    limits = httpx.Limits(max_connections=keeps or None, max_keepalive_connections=keeps)
    if proxies:
        return _ByProxy(httpx.AsyncClient(verify=tls, limits=limits, follow_redirects=False))
    return httpx.AsyncHTTPTransport(verify=tls, limits=limits)


class _ByProxy(httpx.AsyncBaseTransport):
    """By way of the environment's proxies, which only httpx's client knows."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


def raw(response: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes of an answer as they come, packed or not."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return response.stream.__aiter__()
