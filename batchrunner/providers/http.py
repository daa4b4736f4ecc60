"""The rules of every request: addresses looked at, answers bounded, failures turned into `Exchange`.

The lanes share them: submissions get a fresh connection each, so that a dropped idle connection can never be taken for a
lost answer; questions keep theirs, and so do result files on the faster lane. None follows redirects by itself, submits
again or leaks the key.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

import anyio
import anyio.to_thread
import httpx

from batchrunner.providers import access, addresses, lanes
from batchrunner.providers.addresses import is_loopback
from batchrunner.providers.base import Download, DownloadBroken, Exchange, Rest
from batchrunner.providers.lanes import Lane
from batchrunner.redaction import MASK, echoes
from batchrunner.settings import CALL_TIMEOUT, MAX_ANSWER_BYTES, SUBMIT_DEADLINE

if TYPE_CHECKING:
    from batchrunner.providers.quick import QuickLane

MAX_REDIRECTS = 3
"""Of a result file; API calls follow none."""
MAX_ADDRESSES = 4
"""Of one host, that are tried until one answers."""
CALL_DEADLINE = 60.0
"""Seconds for one whole question, however busily the server sends a byte now and then."""
UPLOAD_SPEED = 32 << 10
"""Bytes in a second that a slow line still sends: an upload gets its deadline and the time that its file takes."""
SLOW_FOR = 60.0
SLOWEST = 1 << 10
"""A result file that comes more slowly than this many bytes in a second, for a minute, is given up and asked for again."""
DOWNLOAD_DEADLINE = 6 * 3600.0
"""Seconds that one answer with a result file may take in all; it lives for 24 hours."""
POOL = 16
"""Connections of the lane for questions and uploads: httpx's cost grows with the size of its pool (performance notes §2)."""
MANY = 64
"""Questions after which the faster lane, which takes a quarter of a second to load, is worth it."""
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"\Z')
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})\Z")
_NONE: Mapping[str, str] = {}
_BODY_BEGUN = "send_request_body.started"
_SURELY_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
    httpx.InvalidURL,
    UnicodeError,
)
"""Failures that come before a body whatever the transport; all others need the trace to prove it."""


def _quick() -> Callable[[ssl.SSLContext, Mapping[str, str], float], QuickLane | None] | None:
    """The faster lane, which takes a quarter of a second to load: a thread can spend it. None where it is missing."""
    try:
        from batchrunner.providers.quick import lane
    except ImportError:
        return None
    return lane


class HttpClient:
    """All lanes to one API. Use as an async context manager."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: addresses.Resolve = addresses.resolved,
    ) -> None:
        self.host = urlsplit(base_url).hostname or ""
        self._base_url = base_url
        self._echoes = echoes(key)
        self._key = key
        self.account = hashlib.sha256(key.encode()).hexdigest()[:12]
        self._transport = transport
        self._resolve = resolve
        self._stack = AsyncExitStack()
        self._asked = 0
        self._spare: tuple[ssl.SSLContext, dict[str, str], dict[str, str]] | None = None
        """What the faster lanes are made of, until they are."""

    async def __aenter__(self) -> Self:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "batchrunner"}
        known = {**headers, "Authorization": f"Bearer {self._key}"}  # a result file is somebody else's address
        tls = access.tls()  # once, not for each lane: it reads hundreds of authorities
        self._careful = await self._lane(tls, known, SUBMIT_DEADLINE, keeps=0)
        self._asking = self._quick = await self._lane(tls, known, CALL_TIMEOUT, keeps=POOL)
        # httpx would share connections to a number: two hosts behind one address may show different certificates.
        self._open = await self._lane(tls, headers, CALL_TIMEOUT, keeps=0)
        self._spare = None if self._transport or self._proxied else (tls, known, headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._stack.aclose()

    async def _lane(self, tls: ssl.SSLContext, headers: dict[str, str], within: float, *, keeps: int) -> Lane:
        stock = self._transport or lanes.stock(tls, keeps=keeps, proxies=self._proxied)
        return Lane(await self._stack.enter_async_context(stock), headers, within)

    async def _hasten(self) -> None:
        """Who asks often asks on the faster lane from then on, where there is one."""
        self._asked += 1
        if self._asked <= MANY or self._spare is None:
            return
        (tls, known, headers), self._spare = self._spare, None
        if (fast := await anyio.to_thread.run_sync(_quick)) is not None:
            self._asking = self._kept(fast(tls, known, CALL_TIMEOUT)) or self._asking
            self._open = self._kept(fast(tls, headers, CALL_TIMEOUT)) or self._open

    def _kept(self, lane: QuickLane | None) -> QuickLane | None:
        """Closed at the end."""
        if lane is not None:
            self._stack.push_async_callback(lane.aclose)
        return lane

    @property
    def _proxied(self) -> bool:
        """A proxy leads to the provider, never to this machine."""
        return not is_loopback(self.host) and bool(getproxies().keys() - {"no"})

    async def submit(self, path: str, body: bytes) -> Exchange:
        """POST once on a fresh connection; `body_started` comes from the transport's own trace."""
        return await self._exchange(
            self._careful, "POST", path, content=body, headers={"Content-Type": "application/json"}
        )

    async def get(self, path: str) -> Exchange:
        """GET an API answer."""
        await self._hasten()
        return await self._exchange(self._asking, "GET", path, within=CALL_DEADLINE)

    async def post_file(self, path: str, *, field: str, name: str, content: bytes, mime: str) -> Exchange:
        """POST a multipart file."""
        within = CALL_DEADLINE + len(content) / UPLOAD_SPEED
        return await self._exchange(self._quick, "POST", path, within=within, files={field: (name, content, mime)})

    async def _exchange(
        self,
        lane: Lane,
        method: str,
        path: str,
        *,
        within: float | None = None,
        headers: Mapping[str, str] = _NONE,
        **content: Any,
    ) -> Exchange:
        seen: list[str] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if getattr(info.get("request"), "method", None) != b"CONNECT":  # that one is the proxy's, not ours
                seen.append(event)

        status: int | None = None
        told: Mapping[str, str] = {}
        body = bytearray()
        error: str | None = None
        complete = False
        begun = True
        try:
            with nullcontext() if within is None else anyio.fail_after(within):
                response = await lane.ask(method, self._base_url + path, headers, {"trace": trace}, **content)
                async with aclosing(response):
                    status, told = response.status_code, response.headers
                    async for chunk in lanes.raw(response):
                        body += chunk
                        if len(body) > MAX_ANSWER_BYTES:
                            break
                    else:
                        complete = True
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as failure:
            error = _kind(failure)
            begun = any(event.endswith(_BODY_BEGUN) for event in seen) or (
                not seen and not isinstance(failure, _SURELY_UNSENT)
            )
        plain, whole = _unpacked(bytes(body[:MAX_ANSWER_BYTES]))
        return Exchange(
            status=status,
            headers=self._scrubbed_headers(told),
            body=self._scrubbed(plain),
            complete=complete and whole,
            body_started=begun,
            error=error,
        )

    def _scrubbed(self, text: bytes) -> bytes:
        return self._echoes.sub(MASK.encode(), text)

    def _scrubbed_headers(self, told: Mapping[str, str]) -> dict[str, str]:
        headers = {name.lower(): value for name, value in told.items()}
        if not self._echoes.search("\n".join(headers.values()).encode()):  # one look at all of them: nothing, as ever
            return headers
        return {name: self._scrubbed(value.encode()).decode() for name, value in headers.items()}

    @asynccontextmanager
    async def download(self, url: str, *, rest: Rest | None = None) -> AsyncIterator[Download]:
        """Open a result file, without the key, following at most three redirects that may be followed.

        An address without a host is one of the API's own. With `rest`, only what is left of the same file is asked for.
        """
        await self._hasten()
        wanted = {} if rest is None else {"Range": f"bytes={rest.start}-", "If-Range": rest.etag}
        response, error = await self._opened(url, wanted)
        if response is None:
            yield Download(status=None, length=None, content_type="", chunks=_nothing(), error=error)
            return
        async with aclosing(response):
            start, length = _extent(response)
            etag = response.headers.get("etag", "")
            yield Download(
                status=response.status_code,
                length=length,
                content_type=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
                chunks=_chunks(response),
                start=start,
                etag=etag if _STRONG_ETAG.match(etag) else None,
            )

    async def _opened(self, url: str, wanted: Mapping[str, str]) -> tuple[httpx.Response | None, str | None]:
        if url.startswith("/"):
            url = addresses.joined(self._base_url, url)
        for _ in range(MAX_REDIRECTS + 1):
            if not addresses.may_read(url, api_host=self.host):
                return None, "refused_url"
            try:
                with anyio.fail_after(CALL_DEADLINE):
                    response = await self._ask(httpx.URL(url), wanted)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as failure:
                return None, _kind(failure)
            if response is None:
                return None, "refused_address"
            if response.status_code not in (301, 302, 303, 307, 308):
                return response, None
            await response.aclose()
            url = addresses.joined(url, response.headers.get("location", ""))
        return None, "too_many_redirects"

    async def _ask(self, url: httpx.URL, wanted: Mapping[str, str]) -> httpx.Response | None:
        """Ask at the addresses that were looked at, one after the other; None when one of them must not be asked."""
        host, port = url.raw_host.decode("ascii"), url.port or 443
        found = await addresses.checked(host, port, api_host=self.host, resolve=self._resolve)
        if found is None:
            return await self._open.ask("GET", url, wanted, {})
        named = {**wanted, "Host": url.netloc.decode("ascii")}
        failure: httpx.TransportError | None = None
        for address in found[:MAX_ADDRESSES]:
            there = url.copy_with(host=address)
            try:
                return await self._open.ask("GET", there, named, {"sni_hostname": host})
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        if failure is not None:
            raise failure
        return None


def _extent(response: httpx.Response) -> tuple[int | None, int | None]:
    """Where an answer's bytes begin, and how long the whole file is; None for what it does not say."""
    if response.status_code == 206:
        found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
        return (int(found[1]), int(found[3])) if found else (None, None)
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isascii() and length.isdecimal() else None


def _kind(failure: BaseException) -> str:
    """The name of a failure; never its text, which may hold the URL or the key."""
    if "CERTIFICATE_VERIFY_FAILED" in str(failure):
        return "certificate"
    return type(failure).__name__


def _unpacked(body: bytes) -> tuple[bytes, bool]:
    """An answer as it was before a server packed it, although it was asked not to; and whether it is whole."""
    if not body.startswith(b"\x1f\x8b"):
        return body, True
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(body, MAX_ANSWER_BYTES)
    except zlib.error:
        return body, False
    return plain, unpacker.eof


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes of a file, as long as they come fast enough; the time that is spent on them elsewhere does not count."""
    waited, came, in_all = 0.0, 0, 0.0
    asked = anyio.current_time()
    try:
        async for chunk in lanes.raw(response):
            took = anyio.current_time() - asked
            waited, came, in_all = waited + took, came + len(chunk), in_all + took
            if in_all >= DOWNLOAD_DEADLINE:
                raise DownloadBroken("too slow")
            if waited >= SLOW_FOR:
                if came < SLOWEST * waited:
                    raise DownloadBroken("too slow")
                waited, came = 0.0, 0
            yield chunk
            asked = anyio.current_time()
    except (httpx.HTTPError, httpx.StreamError, OSError) as failure:
        raise DownloadBroken(_kind(failure)) from None


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
