"""Ways to spoil an answer: each operator takes the good one and returns the bytes that go over the wire instead.

None of them says truly that nothing was sold: after each of them a client may know less than before, and never more.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is written."""

    status: int
    headers: dict[str, str]
    body: bytes

    def wire(self, *, length: int | None = None, reason: str = "OK") -> bytes:
        """As HTTP/1.1, with the body's true length or another."""
        headers = {**self.headers, "Content-Length": str(len(self.body) if length is None else length)}
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


Operator = Callable[[Reply, random.Random], bytes]
OPERATORS: dict[str, Operator] = {}


def _operator(name: str) -> Callable[[Operator], Operator]:
    def add(operator: Operator) -> Operator:
        OPERATORS[name] = operator
        return operator

    return add


def _body(name: str, change: Callable[[bytes, random.Random], bytes]) -> None:
    """An operator that changes the body and tells its true length."""
    OPERATORS[name] = lambda reply, chance: replace(reply, body=change(reply.body, chance)).wire()


def _value(name: str, change: Callable[[Any, random.Random], Any]) -> None:
    """An operator on the JSON value; a body that is none becomes the changed empty object."""

    def changed(body: bytes, chance: random.Random) -> bytes:
        try:
            value = json.loads(body)
        except ValueError:
            value = {}
        return json.dumps(change(value, chance)).encode()

    _body(name, changed)


def _raw(name: str, text: bytes) -> None:
    OPERATORS[name] = lambda reply, chance: text


def _head(name: str, **headers: str) -> None:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    OPERATORS[name] = lambda reply, chance: replace(reply, headers={**reply.headers, **named}).wire()


def _status(name: str, status: int, body: bytes | None = None) -> None:
    OPERATORS[name] = lambda reply, chance: replace(
        reply, status=status, body=reply.body if body is None else body
    ).wire()


# the JSON is not what it says

_body("empty", lambda body, chance: b"")
_body("html", lambda body, chance: b"<!doctype html><title>Please log in</title>")
_body("half", lambda body, chance: body[: len(body) // 2])
_body("some bytes fewer", lambda body, chance: body[: max(len(body) - chance.randint(1, 9), 0)])
_body("one byte changed", lambda body, chance: _flipped(body, chance))
_body("ten bytes changed", lambda body, chance: _flipped(body, chance, 10))
_body("reversed", lambda body, chance: body[::-1])
_body("twice", lambda body, chance: body + body)
_body("then an error", lambda body, chance: body + b'{"error": {"code": "internal_error", "message": "insert failed"}}')
_body("a byte order mark", lambda body, chance: b"\xef\xbb\xbf" + body)
_body("utf-16", lambda body, chance: body.decode("utf-8", "replace").encode("utf-16"))
_body("zero bytes", lambda body, chance: b"\0" * len(body))
_body("noise", lambda body, chance: chance.randbytes(200))
_body("white space", lambda body, chance: b" \n\t" * 50)
_body("deep", lambda body, chance: b"[" * 100_000)
_body("deep objects", lambda body, chance: b'{"id":' * 50_000)
_body("a great number", lambda body, chance: b'{"id": ' + b"9" * 1_000_000 + b"}")
_body("NaN", lambda body, chance: b'{"id": NaN, "status": Infinity, "expires_at": NaN, "created_at": -Infinity}')
_body("a key twice", lambda body, chance: b'{"id": "task_of_nobody", ' + body.lstrip()[1:])
_body("lone surrogates", lambda body, chance: b'{"id": "\\ud800", "status": "\\udfff", "message": "\\ud83d"}')
_body("a megabyte more", lambda body, chance: body + b" " * (2 << 20))
_body("a great string", lambda body, chance: b'{"id": "' + b"a" * (1 << 20) + b'"}')
_body("an error in words", lambda body, chance: b"error code: 1020")
_body("an event stream", lambda body, chance: b"data: " + body + b"\n\ndata: [DONE]\n\n")

# the JSON says something else

_value("null", lambda value, chance: None)
_value("a list", lambda value, chance: [value])
_value("a string", lambda value, chance: json.dumps(value))
_value("a number", lambda value, chance: 42)
_value("true", lambda value, chance: True)
_value("nothing in it", lambda value, chance: {})
_value("wrapped", lambda value, chance: {"code": "success", "message": "", "data": value})
_value("every value null", lambda value, chance: dict.fromkeys(_names(value)))
_value("every value a number", lambda value, chance: {name: chance.randint(-5, 10**12) for name in _names(value)})
_value("every value a list", lambda value, chance: {name: [None] for name in _names(value)})
_value("every value an object", lambda value, chance: {name: {"id": {}} for name in _names(value)})
_value("a field missing", lambda value, chance: _without(value, chance))
_value("the id empty", lambda value, chance: _with(value, id=""))
_value("the id a path", lambda value, chance: _with(value, id="../balance"))
_value("the id a query", lambda value, chance: _with(value, id="x?status=completed#"))
_value("the id with a line break", lambda value, chance: _with(value, id="task_1\r\nX-Evil: 1"))
_value("the id a number", lambda value, chance: _with(value, id=12345))
_value("another id", lambda value, chance: _with(value, id="task_of_somebody_else"))
_value("another purchase", lambda value, chance: _with(value, client_business_id="br_OF_SOMEBODY_ELSE"))
_value("a status of its own", lambda value, chance: _with(value, status="出图中"))
_value("completed without a clip", lambda value, chance: _with(value, status="completed", result=None))
_value("a clip elsewhere", lambda value, chance: _completed(value, "http://169.254.169.254/latest/meta-data"))
_value("a clip in a file", lambda value, chance: _completed(value, "file:///etc/passwd"))
_value("a clip nowhere", lambda value, chance: _completed(value, "http://127.0.0.1:1/video.mp4"))
_value("times of another age", lambda value, chance: _with(value, expires_at=10**18, created_at=-(10**18)))
_value("unsuccessful", lambda value, chance: {"success": False, "message": "系统错误", "data": None})
_value("an error beside it", lambda value, chance: _with(value, error={"code": "internal_error", "message": "boom"}))
_value("an error of its own", lambda value, chance: {"error": {"code": "xyzzy", "message": "\x1b]52;c;aGk=\x07"}})

# HTTP is not what it says

_status("204", 204, b"")
_status("206", 206)
_status("302", 302)
_status("500", 500)
_status("502 in HTML", 502, b"<html><h1>502 Bad Gateway</h1></html>")
_status("599", 599)
_status("700", 700)
_raw("not HTTP", b"SSH-2.0-OpenSSH_9.2p1\r\n")
_raw("no head at all", b"\r\n\r\n")
_raw("half a status line", b"HTTP/1.1 20")
_raw("a status without a number", b"HTTP/1.1 OK\r\n\r\n")
_raw("hundred continues for ever", b"HTTP/1.1 100 Continue\r\n\r\n" * 20)
_raw("a header without end", b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 300_000)
_raw("chunks that lie", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nab")
_raw("chunks that stop", b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"id": "task_')
_head("gzip it is not", Content_Encoding="gzip")
_head("an encoding of its own", Content_Encoding="zstd, br, xyzzy")
_head("another type", Content_Type="application/octet-stream; charset=\\xff")
_head("wait for a year", Retry_After="31536000")
_head("wait for nonsense", Retry_After="soon, \x7f")


@_operator("too few bytes")
def _too_few(reply: Reply, chance: random.Random) -> bytes:
    return reply.wire(length=len(reply.body) + 50)


@_operator("too many bytes")
def _too_many(reply: Reply, chance: random.Random) -> bytes:
    return reply.wire(length=max(len(reply.body) - 5, 0))


@_operator("two lengths")
def _two_lengths(reply: Reply, chance: random.Random) -> bytes:
    return replace(reply, headers={**reply.headers, "content-length": "7"}).wire()


@_operator("a packed bomb")
def _bomb(reply: Reply, chance: random.Random) -> bytes:
    packed = gzip.compress(b" " * (32 << 20), 9)
    return replace(reply, headers={**reply.headers, "Content-Encoding": "gzip"}, body=packed).wire()


def _flipped(body: bytes, chance: random.Random, times: int = 1) -> bytes:
    changed = bytearray(body or b"{}")
    for _ in range(times):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _names(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else ["id", "status", "data", "success"]


def _with(value: Any, **fields: Any) -> Any:
    return {**(value if isinstance(value, dict) else {}), **fields}


def _without(value: Any, chance: random.Random) -> Any:
    names = _names(value)
    gone = chance.choice(names) if names else ""
    return {name: one for name, one in _with(value).items() if name != gone}


def _completed(value: Any, url: str) -> Any:
    return _with(value, status="completed", result={"type": "video", "data": [{"url": url, "format": "mp4"}]})
