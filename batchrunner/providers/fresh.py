"""A connection of its own for each request: httpcore's HTTP/1.1 under httpx's types, without a pool.

A pool that keeps nothing still looks through all of its connections for each request. And it forgets a socket when the
request is cancelled in the moment after the connection: here each is closed, whatever the moment.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import anyio
import httpcore
import httpx

_BY_HTTPX: dict[type[BaseException], type[httpx.TransportError]] = {
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.ProtocolError: httpx.ProtocolError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}
"""The same names on both floors, as httpx's own transport maps them."""


class Fresh(httpx.AsyncBaseTransport):
    """Connects, asks once and closes the connection with the answer; the request's trace extension sees all of it."""

    def __init__(self, tls: ssl.SSLContext, network: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._tls = tls
        self._network = network or httpcore.AnyIOBackend()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol("only http:// and https:// are asked")
        there = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        socket = _Socket(self._network)
        connection = httpcore.AsyncHTTPConnection(there.origin, self._tls, network_backend=socket)
        try:
            answer = await connection.handle_async_request(
                httpcore.Request(
                    request.method,
                    there,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except BaseException as failure:
            await socket.aclose()
            if (told := _told(failure)) is not None:
                raise told from failure
            raise
        assert isinstance(answer.stream, AsyncIterable)
        stream = _Stream(answer.stream, socket)
        return httpx.Response(answer.status, headers=answer.headers, stream=stream, extensions=answer.extensions)


class _Socket(httpcore.AsyncNetworkBackend):
    """The network of one connection: it knows its socket from the first moment to the last, also between them."""

    def __init__(self, network: httpcore.AsyncNetworkBackend) -> None:
        self._network = network
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Whole(self._stream)

    async def aclose(self) -> None:
        """Under TLS too: HTTP says itself where an answer ends."""
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()


class _Whole(httpcore.AsyncNetworkStream):
    """Holds the head of a request back until its body comes: they leave together, in one packet and one turn of the loop."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._head: bytes | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        if self._head is None:
            self._head = buffer
            return
        whole, self._head = self._head + buffer, b""
        await self._inner.write(whole, timeout)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Whole(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._inner.read(max_bytes, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: AsyncIterable[bytes], socket: _Socket) -> None:
        self._inner, self._socket = inner, socket

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except Exception as failure:
            if (told := _told(failure)) is not None:
                raise told from failure
            raise

    async def aclose(self) -> None:
        await self._socket.aclose()


def _told(failure: BaseException) -> httpx.TransportError | None:
    """The failure by the name that httpx has for it; None for what is not httpcore's."""
    name = next((_BY_HTTPX[kind] for kind in type(failure).__mro__ if kind in _BY_HTTPX), None)
    return None if name is None else name(str(failure))
