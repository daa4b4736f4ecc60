"""The images that tasks are rendered from: uploaded to the emulator, or fetched from where a submission points.

Both are stored by content hash, so the same image is stored once and an upload's URL keeps its meaning after a restart.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from batchrunner.emulator.clips import open_image

MAX_BYTES = 10 * 1024 * 1024
"""Of one image (facts §2)."""
FETCH_TIMEOUT = 10.0
"""Seconds, for the whole of one image."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
NAME = r"[0-9a-f]{64}\.(jpg|png|webp|gif)"
"""Of a stored image."""
_SUFFIX = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}
MIME = {suffix: mime for mime, suffix in _SUFFIX.items()}


class ImageUnavailable(Exception):
    """An input image cannot be fetched or decoded; the message is what a failed task says."""


def sniff(content: bytes) -> str | None:
    """The MIME type by content, of the four that may be uploaded (facts §2); None for anything else."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return None


class ImageStore:
    """A folder of images, each named by its content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes, mime: str) -> str:
        """Store an image; the same content has the same name."""
        name = f"{hashlib.sha256(content).hexdigest()}.{_SUFFIX[mime]}"
        target = self.folder / name
        if not target.exists():
            part = self.folder / f".{name}.{threading.get_ident()}.part"
            part.write_bytes(content)
            part.replace(target)
        return name

    def path(self, name: str) -> Path | None:
        """Where the image of that name lies; None when there is none, or when the name is no name."""
        path = self.folder / name
        return path if re.fullmatch(NAME, name) and path.is_file() else None

    def resolve(self, url: str) -> str:
        """The stored image that a submission's URL means; fetched if it is elsewhere, and certain to be readable."""
        name = self._own(url)
        if name is None:
            content = _fetch(url)
            mime = sniff(content)
            if mime is None:
                raise ImageUnavailable("image format not supported")
            name = self.add(content, mime)
        try:
            open_image(self.folder / name)
        except OSError as error:
            raise ImageUnavailable("image cannot be decoded") from error
        return name

    def _own(self, url: str) -> str | None:
        """Our own upload, whatever port it was made on: the port of an embedded emulator changes with each run."""
        parts = urlsplit(url)
        folder, _, name = parts.path.rpartition("/")
        return name if parts.hostname in LOOPBACK and folder == "/uploads" and self.path(name) is not None else None


def _fetch(url: str) -> bytes:
    deadline = time.monotonic() + FETCH_TIMEOUT
    # A proxy for the world outside knows nothing of this machine's own ports.
    opener = build_opener(ProxyHandler({})) if urlsplit(url).hostname in LOOPBACK else build_opener()
    content = bytearray()
    try:
        with opener.open(url, timeout=FETCH_TIMEOUT) as answer:
            while chunk := answer.read1(1 << 16):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ImageUnavailable("image larger than 10MB")
                if time.monotonic() > deadline:
                    raise ImageUnavailable("image download timed out")
    except ImageUnavailable:
        raise
    except URLError as error:
        with_status = f": HTTP {code}" if (code := getattr(error, "code", None)) else ""
        raise ImageUnavailable(f"image could not be downloaded{with_status}") from error
    except (
        Exception
    ) as error:  # urllib and http.client raise OSError, ValueError, UnicodeError, HTTPException for what a URL can be
        raise ImageUnavailable("image could not be downloaded") from error
    return bytes(content)
