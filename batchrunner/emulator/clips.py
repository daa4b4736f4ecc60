"""Renders what a task was asked for as a real, small H.264 mp4: right length, shape and sound, and the given frames.

Every clip is a row of stills, and each of its frames a blend of two neighbours: two given images make a cross-fade, zoomed
copies of one image a slow zoom, shifted stripes a moving pattern. Blending is done on raw YUV buffers, which is several
times cheaper than drawing each frame. The same spec gives the same bytes within one version of PyAV.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from PIL import Image, ImageOps

FPS = 24
TINY = {
    ("std", "16:9"): (320, 180),
    ("std", "9:16"): (180, 320),
    ("std", "1:1"): (240, 240),
    ("pro", "16:9"): (480, 270),
    ("pro", "9:16"): (270, 480),
    ("pro", "1:1"): (360, 360),
}
"""Width and height by default; a real 1080P clip takes seconds to render (UX notes §4.1)."""
FULL = {
    ("std", "16:9"): (1280, 720),
    ("std", "9:16"): (720, 1280),
    ("std", "1:1"): (720, 720),
    ("pro", "16:9"): (1920, 1080),
    ("pro", "9:16"): (1080, 1920),
    ("pro", "1:1"): (1080, 1080),
}
"""As they are billed: 720P and 1080P (API page)."""
VARIANTS = 12
"""Patterns that prompts are spread over, so that bulk runs find their clips in the cache."""
ZOOM_STILLS, ZOOM = 12, 0.15
STRIPE_PHASES = 8
SAMPLE_RATE = 48_000
SAMPLES = 1024
"""Of one AAC frame."""
TONE_CYCLES = 9
"""Per AAC frame, about 422 Hz: a whole number, so that every frame of the tone is the same."""
TONE_LEVEL = 0.1
TONE_PIECES = math.ceil(SAMPLE_RATE / SAMPLES / FPS)
"""AAC frames that go with each video frame, so that both streams lie side by side in the file."""
RENDERER = f"1/{av.__version__}"
"""Part of every cache key: other code or another encoder makes other bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """Everything that a clip's bytes depend on."""

    mode: str
    duration: int
    """Seconds."""
    aspect_ratio: str
    audio: bool
    full: bool = False
    """In the size of its billing class."""
    variant: int = 0
    """Which pattern, without images."""
    images: tuple[str, ...] = ()
    """Names in the image store, which are content hashes."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return (FULL if self.full else TINY)[self.mode, self.aspect_ratio]

    @property
    def key(self) -> str:
        """The cache key, by content."""
        return hashlib.sha256(json.dumps([RENDERER, asdict(self)]).encode()).hexdigest()[:40]


def variant_of(prompt: str) -> int:
    """Which pattern stands for a prompt."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[0] % VARIANTS


def open_image(source: Path) -> Image.Image:
    """An input image, upright and without transparency; `OSError` when it cannot be decoded."""
    try:
        with Image.open(source) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (
        Image.DecompressionBombError,
        SyntaxError,
        ValueError,
    ) as error:  # what Pillow's readers raise besides OSError
        raise OSError(f"not a readable image: {error}") from error


def render(spec: ClipSpec, images: list[Image.Image], target: Path) -> None:
    """Write the clip to `target`, the index in front so that it plays while it loads."""
    size = spec.size
    stills = [_yuv(picture) for picture in _pictures(spec, images, size)]
    frames = spec.duration * FPS
    with av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # One thread: the emulator shares its cores with the client that is being tried out.
        video = container.add_stream("libx264", rate=FPS, options={"preset": "superfast", "crf": "24", "threads": "1"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=48_000) if spec.audio else None
        tone = _tone(spec.duration)
        for number in range(frames):
            container.mux(video.encode(_frame(stills, number, frames, size)))
            if sound is not None:
                for piece in islice(tone, TONE_PIECES):
                    container.mux(sound.encode(piece))
        container.mux(video.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))


def _pictures(spec: ClipSpec, images: list[Image.Image], size: tuple[int, int]) -> list[Image.Image]:
    """The stills of a clip, at least two."""
    if len(images) >= 2:
        return [ImageOps.fit(image, size) for image in images]
    if images:
        return _zoom(images[0], size)
    phases = [_stripes(spec.variant, phase, size) for phase in range(STRIPE_PHASES)]
    return [phases[step % STRIPE_PHASES] for step in range(2 * spec.duration + 1)]


def _zoom(image: Image.Image, size: tuple[int, int]) -> list[Image.Image]:
    width, height = size
    large = ImageOps.fit(image, (2 * width, 2 * height))
    pictures = []
    for step in range(ZOOM_STILLS):
        margin = ZOOM / 2 * step / (ZOOM_STILLS - 1)
        box = (large.width * margin, large.height * margin, large.width * (1 - margin), large.height * (1 - margin))
        pictures.append(large.resize(size, Image.Resampling.BILINEAR, box=box))
    return pictures


def _stripes(variant: int, phase: int, size: tuple[int, int]) -> Image.Image:
    """Soft diagonal stripes in the variant's two colours, shifted by a part of their width."""
    width, height = size
    period = 120
    wave = bytes(int(127.5 + 127.5 * math.sin(2 * math.pi * x / period)) for x in range(period))
    pattern = wave * ((width + 2 * period) // period + 1)
    shift = period * phase // STRIPE_PHASES
    rows = (pattern[(start := (shift + row // 2) % period) : start + width] for row in range(height))
    grey = Image.frombytes("L", size, b"".join(rows))
    hue = 360 * variant // VARIANTS
    return ImageOps.colorize(grey, f"hsl({hue}, 60%, 20%)", f"hsl({(hue + 50) % 360}, 70%, 65%)")


def _yuv(picture: Image.Image) -> Image.Image:
    """The picture's YUV 4:2:0 planes, with the padding of PyAV's frames, as one long row of bytes that Pillow can blend."""
    frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p")  # type: ignore[no-untyped-call]
    planes = b"".join(bytes(plane) for plane in frame.planes)
    return Image.frombytes("L", (len(planes), 1), planes)


def _frame(stills: list[Image.Image], number: int, frames: int, size: tuple[int, int]) -> av.VideoFrame:
    position = number * (len(stills) - 1) / (frames - 1)
    left = min(int(position), len(stills) - 2)
    blended = Image.blend(stills[left], stills[left + 1], position - left).tobytes()
    frame = av.VideoFrame(*size, "yuv420p")
    start = 0
    for plane in frame.planes:
        plane.update(blended[start : start + plane.buffer_size])
        start += plane.buffer_size
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    return frame


def _tone(duration: int) -> Iterator[av.AudioFrame]:
    """A soft hum of exactly the clip's length."""
    cycle = (TONE_LEVEL * math.sin(2 * math.pi * TONE_CYCLES * sample / SAMPLES) for sample in range(SAMPLES))
    wave = array("f", cycle).tobytes()
    for begin in range(0, duration * SAMPLE_RATE, SAMPLES):
        frame = av.AudioFrame("fltp", "mono", min(SAMPLES, duration * SAMPLE_RATE - begin))
        (plane,) = frame.planes
        plane.update(wave[: plane.buffer_size].ljust(plane.buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, begin, Fraction(1, SAMPLE_RATE)
        yield frame
