"""Does a clip begin and end with the pictures that were given? Small colour images, compared by their structure.

The measure is the correlation that SSIM calls structure, over 24 by 24 pixels: light, contrast and details may differ, and
the shape too, so a picture counts both stretched and cropped to the clip's. What has no structure proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.model import VideoRequest

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

SIDE = 24
CHANNELS = 3
ALIKE = 0.4
"""A frame that is less like the picture that was given for it is another one."""
FLAT = 4.0
"""Of 255: what varies less than this holds nothing but a coder's noise."""
SAME = 0.9
"""Pictures that are more alike than this cannot be told apart by what a generator makes of them."""


def likeness(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Of two pictures as rows of red, green and blue, from -1 to 1; None when one of them is nearly a single colour."""
    ones, others = _centred(one), _centred(other)
    spreads = [sqrt(sum(value * value for value in values) / len(values)) for values in (ones, others)]
    if min(spreads) < FLAT:
        return None
    return sum(a * b for a, b in zip(ones, others, strict=True)) / len(ones) / (spreads[0] * spreads[1])


def _centred(values: Sequence[float]) -> list[float]:
    """Less the mean of its own colour: what is the same all over the picture is no structure."""
    means = [sum(values[channel::CHANNELS]) / len(values[channel::CHANNELS]) for channel in range(CHANNELS)]
    return [value - means[place % CHANNELS] for place, value in enumerate(values)]


def frames_ignored(path: Path, request: VideoRequest) -> str | None:
    """How the clip differs from the given frames, for people; None when it does not, or that cannot be seen."""
    from PIL import Image

    given = []
    for frame in request.frames:
        if not frame.local:
            return None
        try:
            with Image.open(frame.source) as picture:
                given.append(picture.convert("RGB"))
        except OSError:
            return None
    ends = _ends(path) if given else None
    if ends is None:
        return None
    beginning, end = ends
    if (found := _alike(beginning, given[0])) is not None and found < ALIKE:
        return f"it does not begin with the first frame (likeness {found:.2f} of 1)"
    return _last_ignored(end, *given) if len(given) > 1 else None


def _last_ignored(end: Image, first: Image, last: Image) -> str | None:
    pair, found, to_first = _alike(first, last), _alike(end, last), _alike(end, first)
    if found is None or (pair is not None and pair > SAME):
        return None
    if found < ALIKE or (to_first is not None and to_first > found):
        return f"it does not end with the last frame (likeness {found:.2f} of 1): was the last frame ignored?"
    return None


def _alike(shown: Image, given: Image) -> float | None:
    """The best of stretching the given picture to the shape of the shown one, and of cutting it to that."""
    from PIL import ImageOps

    seen = _small(shown)
    measured = [likeness(seen, _small(form)) for form in (given, ImageOps.fit(given, shown.size))]
    found = [one for one in measured if one is not None]
    return max(found, default=None)


def _small(picture: Image) -> list[float]:
    return [float(value) for value in picture.resize((SIDE, SIDE), reducing_gap=2.0).tobytes()]


def _ends(path: Path) -> tuple[Image, Image] | None:
    """The first and the last picture of a clip."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            first = last = next(container.decode(stream), None)
            if first is None:
                return None
            container.seek(max((container.duration or 0) - 1_500_000, 0))  # in microseconds; to a key frame before that
            for last in container.decode(stream):  # noqa: B007 - the last one is what is wanted
                pass
            assert last is not None
            return _picture(first), _picture(last)
    except (av.FFmpegError, ValueError, IndexError):
        return None


def _picture(frame: VideoFrame) -> Image:
    picture: Image = frame.to_image()  # type: ignore[no-untyped-call]
    return picture.convert("RGB")
