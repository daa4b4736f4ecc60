"""Is this file the clip that was asked for? Its index or, where that is not plain, PyAV says what it is; a pure function judges."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from batchrunner.errors import UsageError
from batchrunner.media import index
from batchrunner.model import VideoRequest

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

DURATION_TOLERANCE = 0.5
"""Seconds; generators end a clip a few frames early or late, and the lengths on offer are 5 s apart."""
ASPECT_TOLERANCE = 0.04
"""Relative; sizes are rounded to even pixels."""


class NotAClip(Exception):
    """The file is not a whole mp4 video; the text says why."""


class NotAnMp4(NotAClip):
    """It does not even begin like one: a page or nothing was served in its place, which says nothing about the clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What a clip is."""

    duration: float
    width: int
    height: int
    """The sides as players show them: turned and stretched as the file asks for."""
    sound: bool


def load() -> None:
    """Load FFmpeg before anything is paid for; `UsageError` when it cannot be."""
    try:
        import av  # noqa: F401
    except (ImportError, OSError) as error:
        raise UsageError(
            f"clips cannot be verified: PyAV does not load ({error}); nothing was sent",
            fix="install it again (pip install --force-reinstall av); with too many open files, ulimit -n 1024",
        ) from None


def read(path: Path, content: bytes | None = None) -> ClipFacts:
    """The facts of a whole mp4 file; `NotAClip` when it is anything else, or was cut short.

    `content` is what the file holds, where that is at hand: a plain clip's file is not opened then.
    """
    if content is not None:
        plain = _plain(io.BytesIO(content), len(content))
    else:
        with path.open("rb") as file:
            plain = _plain(file, os.fstat(file.fileno()).st_size)
    if plain is not None:
        return ClipFacts(duration=plain.duration, width=plain.width, height=plain.height, sound=plain.sound)
    return _read_by_ffmpeg(path)


def _plain(file: IO[bytes], size: int) -> index.Index | None:
    """What a plain file's index says; None leaves it to PyAV."""
    if file.read(12)[4:8] != b"ftyp":
        raise NotAnMp4("it is not an mp4 file")
    found = _index(file, size)
    return index.plain(found, size) if found else None


def _read_by_ffmpeg(path: Path) -> ClipFacts:
    import av  # it loads FFmpeg, which only a run needs

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise NotAClip("it holds no video")
            stream = container.streams.video[0]
            if stream.codec_context is None:  # whatever PyAV's types say
                raise NotAClip("its pictures are in an unknown format")
            found, spans = 0, _Span()
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise NotAClip("it is cut short inside a frame")
                if packet.size:
                    found += 1
                    spans.add(packet.pts, packet.duration)
            if stream.frames and found < stream.frames:
                raise NotAClip(f"it is cut short: {found} of {stream.frames} frames")
            if not found:
                raise NotAClip("it holds no frames")
            width, height = _shown_size(container, stream)
            return ClipFacts(
                duration=_duration(container, stream) or float(spans.ticks * (stream.time_base or 0)),
                width=width,
                height=height,
                sound=bool(container.streams.audio),
            )
    except (av.FFmpegError, ValueError) as error:
        raise NotAClip(f"it cannot be read as an mp4 file ({type(error).__name__})") from None


def _index(file: IO[bytes], size: int) -> bytes | None:
    """The contents of its `moov`, when there is one. Every part of the file ends inside it: PyAV does not look at all."""
    at, found = 0, None
    while at < size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4])
        if len(head) < 8:
            if head.strip(b"\0"):
                raise NotAClip("it is cut short after its last part")
            break
        if length == 0:  # this part goes on to the end of the file
            break
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8 or at + length > size:
            raise NotAClip("it is cut short inside a part")
        if head[4:8] == b"moov" and 8 < length <= index.LARGEST:
            file.seek(at + 8)
            found = file.read(length - 8)
        at += length
    return found


@dataclass(slots=True)
class _Span:
    """From the beginning of the first picture to the end of the last, in ticks of the stream."""

    first: int | None = None
    last: int = 0

    def add(self, at: int | None, lasts: int | None) -> None:
        if at is not None:
            self.first = at if self.first is None else min(self.first, at)
            self.last = max(self.last, at + (lasts or 0))

    @property
    def ticks(self) -> int:
        return 0 if self.first is None else self.last - self.first


def _duration(container: InputContainer, stream: VideoStream) -> float:
    """As the index has it; 0 where it says nothing."""
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    return max(container.duration or 0, 0) / 1_000_000


def _shown_size(container: InputContainer, stream: VideoStream) -> tuple[int, int]:
    """The sides after stretching (not every pixel is square) and turning (phones and players know that as rotation)."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if stretch := stream.sample_aspect_ratio:
        width = round(width * stretch)
    return (height, width) if _turned(container, stream) else (width, height)


def _turned(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the picture is to be shown lying on its side; only a decoded one tells."""
    import av

    try:
        container.seek(0)
        picture = next(container.decode(stream), None)
    except (av.FFmpegError, ValueError):  # what it looks like inside is not asked
        return False
    return picture is not None and picture.rotation % 180 == 90


def mismatches(facts: ClipFacts, request: VideoRequest) -> list[str]:
    """How the clip differs from what was asked; empty when it is what was paid for.

    With frames the picture may decide the shape (API facts §0), so the first frame's is as good as the asked one, and
    where that is unknown any shape is. Small sizes are let through: the API names resolutions for billing only.
    """
    found = []
    if abs(facts.duration - request.duration) > DURATION_TOLERANCE:
        found.append(f"it lasts {facts.duration:.1f} s, asked were {request.duration} s")
    shape = facts.width / facts.height if facts.height else 0.0
    if not any(abs(shape / ratio - 1) <= ASPECT_TOLERANCE for ratio in _shapes(request, shape)):
        found.append(f"it is {facts.width}x{facts.height}, asked was {request.aspect_ratio.value}")
    if request.audio and not facts.sound:
        found.append("it has no sound, asked was audio")
    return found


def _shapes(request: VideoRequest, shape: float) -> list[float]:
    asked = [request.aspect_ratio.value_of]
    if not request.frames:
        return asked
    size = request.frames[0].size
    return [*asked, size[0] / size[1] if size else shape or 1.0]
