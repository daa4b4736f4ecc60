"""Is this file the clip that was asked for? Read with PyAV, judged by a pure function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchrunner.model import VideoRequest

DURATION_TOLERANCE = 0.5
"""Seconds; generators end a clip a few frames early or late, and the lengths on offer are 5 s apart."""
ASPECT_TOLERANCE = 0.04
"""Relative; sizes are rounded to even pixels."""


class NotAClip(Exception):
    """The file is not a whole mp4 video; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What a clip is."""

    duration: float
    width: int
    height: int
    sound: bool


def read(path: Path) -> ClipFacts:
    """The facts of a whole mp4 file; `NotAClip` when it is anything else, or was cut short."""
    import av  # it loads FFmpeg, which only a run needs

    with path.open("rb") as file:
        if file.read(12)[4:8] != b"ftyp":
            raise NotAClip("it is not an mp4 file")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise NotAClip("it holds no video")
            stream = container.streams.video[0]
            found = 0
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise NotAClip("it is cut short inside a frame")
                found += bool(packet.size)
            if stream.frames and found < stream.frames:
                raise NotAClip(f"it is cut short: {found} of {stream.frames} frames")
            if not found:
                raise NotAClip("it holds no frames")
            return ClipFacts(
                duration=_duration(container, stream),
                width=stream.codec_context.width,
                height=stream.codec_context.height,
                sound=bool(container.streams.audio),
            )
    except (av.FFmpegError, ValueError) as error:
        raise NotAClip(f"it cannot be read as an mp4 file ({type(error).__name__})") from None


def _duration(container: object, stream: object) -> float:
    time_base, ticks = getattr(stream, "time_base", None), getattr(stream, "duration", None)
    if ticks and time_base:
        return float(ticks * time_base)
    return (getattr(container, "duration", None) or 0) / 1_000_000


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
