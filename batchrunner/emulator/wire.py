"""Faults of the connection itself: closed without a byte, closed in the middle of an answer, silent in its middle."""

from __future__ import annotations

import socket
import struct
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from batchrunner.emulator.relay import Relay


class Protocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]
    """uvicorn's, which lets an answer get at its connection: as `transport` in the scope's state."""

    app_state: dict[str, Any]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Died(Response):
    """No answer: the connection is closed; with `reset`, by RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        if self._reset and (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await _gone(receive)


class Cut(Response):
    """An answer that ends in its middle: whole headers, a part of the body, then the connection is closed.

    `silence`: seconds of the clock that it stays open first.
    """

    def __init__(
        self, request: Request, whole: Response, relay: Relay, *, silence: float = 0.0, promise: int = 0
    ) -> None:
        """`promise`: send the whole body, but say in `Content-Length` that so many bytes more will come."""
        super().__init__()
        self._request, self._whole, self._relay = request, whole, relay
        self._silence, self._promise = silence, promise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = _transport(scope)
        start, body = await captured(self._whole, self._request)
        if self._promise:
            MutableHeaders(raw=start["headers"])["content-length"] = str(len(body) + self._promise)
        else:
            body = body[: _middle(body)]
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if self._silence:
            await self._relay.wait(self._silence, unless=transport.is_closing)
        transport.close()
        await _gone(receive)


async def captured(response: Response, request: Request) -> tuple[Message, bytes]:
    """The start message and the body of an answer, as they would be sent."""
    start: list[Message] = []
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = list(message["headers"])
            start.append(message)
        else:
            body.extend(message.get("body", b""))

    scope = {**request.scope, "extensions": {}}  # or a file would be handed over by its path
    await response(scope, request.receive, keep)
    return start[0], bytes(body)


def _middle(body: bytes) -> int:
    """Where to cut: behind the task's id, so that it can be saved, or in the middle."""
    mark = body.find(b'"id": "')
    end = body.find(b'"', mark + len(b'"id": "')) if mark >= 0 else -1
    return end + 1 if end > 0 else len(body) // 2


def _transport(scope: Scope) -> Any:
    transport = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("this fault needs a real connection")
    return transport


async def _gone(receive: Receive) -> None:
    """Until the server knows that the connection is closed; an app that returned before that would be called faulty."""
    while (await receive())["type"] != "http.disconnect":
        pass
