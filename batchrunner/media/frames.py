"""The pre-flight of input images: what a frame file is, or why the provider would refuse it.

Kling takes JPEG and PNG up to 10 MB, sides of at least 300 px, ratios from 1:2.5 to 2.5:1 (API facts §2, §5). Uploads
become public URLs, so only regular files under allowed folders are ever opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 10_000_000
"""The upload's "10MB", read as the smaller of its two meanings."""
MIN_SIDE = 300
MAX_RATIO = 2.5
MAX_PIXELS = 40_000_000
"""So that looking at one frame takes at most 160 MB of memory; real frames have two to nine million."""

_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
"""What Pillow raises for files that are not what they begin like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """A frame that can be sent."""

    sha256: str
    width: int
    height: int
    mime: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameProblem:
    """Why a frame cannot be sent."""

    code: str
    message: str
    help: str


def inspect(path: Path, *, roots: Sequence[Path]) -> FrameFacts | FrameProblem:
    """Look at one local frame; it must lie under one of `roots`, with symbolic links followed."""
    try:
        resolved = path.resolve(strict=True)
        allowed = any(resolved.is_relative_to(root.resolve()) for root in roots)
        if not allowed:
            help = (
                "copy it next to the manifest, or allow its folder with --allow-dir DIR: frames become public URLs, "
                "so they must lie where you said"
            )
            return FrameProblem(code="FRM302", message=f"{path} is outside the manifest's folder", help=help)
        data = _content(resolved)
    except FileNotFoundError:
        return FrameProblem(code="FRM301", message=f"there is no file {path}", help=_missing_help(path))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links; ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return FrameProblem(
            code="FRM301", message=f"{path} cannot be read: {reason}", help="check the path and its rights"
        )
    if isinstance(data, FrameProblem):
        return data
    return _look(path.name, data)


def _content(path: Path) -> bytes | FrameProblem:
    """The file's bytes. Never waits: a pipe or a device is refused before and after it is opened."""
    not_a_file = FrameProblem(code="FRM303", message=f"{path.name} is not a regular file", help="name an image file")
    if not stat.S_ISREG(path.stat().st_mode):
        return not_a_file
    flags = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:  # noqa: PTH123  (it is a descriptor: the path may have been swapped since)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return not_a_file
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        message = f"{path.name} has more than {MAX_BYTES // 1_000_000} MB, which uploads do not take"
        return FrameProblem(code="FRM304", message=message, help="save it smaller, or as JPEG")
    return data


def _missing_help(path: Path) -> str:
    if "\\" in str(path) and os.sep == "/":
        return "write / between folders, not \\"
    return "paths start from the manifest's folder; check spelling and upper and lower case"


def _look(name: str, data: bytes) -> FrameFacts | FrameProblem:
    kind = _kind(data)
    if kind not in ("JPEG", "PNG"):
        message = f"{name} is {kind}" if kind else f"{name} is not an image"
        if kind in ("WebP", "GIF"):
            message += ", which the upload takes and Kling refuses"
        return FrameProblem(code="FRM305", message=message, help="save it as JPEG or PNG")
    try:
        size = _decoded_size(data, kind)
    except _BROKEN as error:
        message = f"{name} is a damaged {kind} file: {error}"
        return FrameProblem(code="FRM306", message=message, help="save it again from its source")
    width, height = size
    if width * height > MAX_PIXELS:
        message = f"{name} has more than {MAX_PIXELS // 1_000_000} million pixels"
        return FrameProblem(code="FRM307", message=message, help="scale it down, for example to 1920 px")
    if min(size) < MIN_SIDE:
        message = f"{name} is {width}×{height}, each side needs {MIN_SIDE} px at least"
        return FrameProblem(code="FRM307", message=message, help="use a larger image")
    if max(size) > MAX_RATIO * min(size):
        message = f"{name} is {width}×{height}, its ratio must lie between 1:{MAX_RATIO} and {MAX_RATIO}:1"
        return FrameProblem(code="FRM307", message=message, help="crop it")
    return FrameFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        mime=f"image/{kind.lower()}",
        bytes=len(data),
    )


def _kind(data: bytes) -> str:
    """What the content is, whatever the name says; empty for no image that is known."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}.get(data[8:12], "a video")
    return "BMP" if data.startswith(b"BM") else ""


def _decoded_size(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height as the picture is seen; the whole file is decoded, so that a cut one is found."""
    from PIL import Image  # which a manifest without frames does not need

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's bomb warning: our own bound below is lower
        try:
            opened = Image.open(io.BytesIO(data), formats=[kind])
        except Image.DecompressionBombError:
            return MAX_PIXELS, MAX_PIXELS
        with opened as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                return width, height
            turned = image.getexif().get(_ORIENTATION) in _TURNED
            if kind == "JPEG":
                image.draft("RGB", (width // 8, height // 8))  # decodes an eighth: faster, and as strict
            image.load()
    return (height, width) if turned else (width, height)
