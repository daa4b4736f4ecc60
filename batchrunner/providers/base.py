"""The provider's port: what the runner asks of a video API, and the raw answers that `classify` reads.

Methods raise nothing for what a network or a server can do: every outcome is an `Exchange`. They raise
`AccountError`/`UsageError` only for a key or an address that can never work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from batchrunner.model import VideoRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One HTTP request and all that came back."""

    status: int | None = None
    """None when no status line arrived."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""
    body: bytes = b""
    """As much as arrived, at most `settings.MAX_ANSWER_BYTES`."""
    complete: bool = True
    """Whether the whole answer arrived."""
    body_started: bool = True
    """Whether a byte of our request's body may have left: False is proof that nothing was bought."""
    error: str | None = None
    """The kind of failure, when there was one; never a URL, never a header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """An open result file: its status, its announced length, and its bytes."""

    status: int | None
    length: int | None
    content_type: str
    chunks: AsyncIterator[bytes]
    error: str | None = None
    start: int | None = 0
    """Where in the file the chunks begin; `length` is the whole file's. None when a part was sent that says not which."""
    etag: str | None = None
    """The server's name for exactly these bytes; None when it has none that holds byte by byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is still wanted of a file whose beginning is here."""

    start: int
    length: int | None
    etag: str
    """The file must still be this one, or its whole is wanted."""

    def begins(self, download: Download) -> bool:
        """Whether a download goes on exactly where the last one broke off, in the same file."""
        return (download.status, download.start, download.length) == (
            206,
            self.start,
            self.length,
        ) and download.etag in (None, self.etag)


class DownloadBroken(Exception):
    """The stream of a result file ended before its end."""


class Collector(Protocol):
    """What can be asked of a paid, asynchronous video API without paying: it has no way to submit."""

    @property
    def endpoint(self) -> str:
        """Whose tasks these are: the API's host name, or `emulator`."""

    @property
    def account(self) -> str:
        """Tells one key's balance from another's; nothing of the key can be learned from it."""

    async def poll(self, task_id: str) -> Exchange: ...

    async def balance(self) -> Exchange: ...

    def download(self, url: str, *, rest: Rest | None = None) -> AbstractAsyncContextManager[Download]:
        """A result file, or what is left of it; the key is not sent along. `chunks` raises `DownloadBroken`."""


@runtime_checkable
class Buyer(Protocol):
    """What it takes to buy."""

    def prepare(self, request: VideoRequest, *, image_urls: tuple[str, ...], purchase_id: str) -> bytes:
        """The exact body of the submission."""

    async def submit(self, body: bytes) -> Exchange:
        """Send once, on a fresh connection, following and repeating nothing."""

    async def upload(self, image: bytes, *, name: str, mime: str) -> Exchange: ...


class Provider(Collector, Buyer, Protocol):
    """A paid, asynchronous video API."""
