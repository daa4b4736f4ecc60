"""Every kind of clip, decoded with PyAV: frames, length, size, sound, and the given first and last frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from batchrunner.emulator.clips import SIZES, VARIANTS, ClipSpec, open_image, render, variant_of


@dataclass(frozen=True)
class Decoded:
    frames: list[Image.Image]
    duration: float
    size: tuple[int, int]
    sound: float | None


def spec(**fields: object) -> ClipSpec:
    return ClipSpec(**{"mode": "std", "duration": 5, "aspect_ratio": "16:9", "audio": False, **fields})  # type: ignore[arg-type]


def decode(path: Path) -> Decoded:
    with av.open(path) as container:
        (video,) = container.streams.video
        assert (video.codec_context.name, video.pix_fmt, video.average_rate) == ("h264", "yuv420p", 24)
        frames = [frame.to_image() for frame in container.decode(video=0)]
        assert len(frames) == video.frames
        assert video.duration is not None
        assert video.time_base is not None
        duration = float(video.duration * video.time_base)
        size = (video.width, video.height)
    with av.open(path) as container:
        sound = None
        for stream in container.streams.audio:
            assert stream.codec_context.name == "aac"
            assert stream.duration is not None
            assert stream.time_base is not None
            sound = float(stream.duration * stream.time_base)
            loudest = max(
                abs(sample)
                for frame in container.decode(audio=0)
                for sample in memoryview(frame.planes[0]).cast("B").cast("f")
            )
            assert 0.02 < loudest < 0.3
    return Decoded(frames, duration, size, sound)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of the pixels, 0 to 255."""
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(means) / len(means)


@pytest.fixture
def photos() -> list[Image.Image]:
    """Two unlike pictures with shapes and gradients, none of them in a clip's aspect."""
    shape = Image.effect_mandelbrot((640, 480), (-2, -1.5, 1, 1.5), 20)
    one = Image.merge("RGB", (Image.linear_gradient("L").resize((640, 480)), shape, Image.new("L", (640, 480), 40)))
    two = Image.radial_gradient("L").resize((500, 700)).convert("RGB")
    two.paste("red", (100, 100, 300, 500))
    return [one, two]


@pytest.mark.parametrize(
    ("mode", "aspect_ratio", "audio"), [(*shape, number % 2 == 1) for number, shape in enumerate(SIZES)]
)
def test_text_to_video(mode: str, aspect_ratio: str, audio: bool, tmp_path: Path) -> None:
    clip = tmp_path / "clip.part"  # the name does not say what it is
    render(spec(mode=mode, aspect_ratio=aspect_ratio, audio=audio), [], clip)
    content = clip.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    decoded = decode(clip)
    assert (len(decoded.frames), decoded.duration, decoded.size) == (120, 5.0, SIZES[mode, aspect_ratio])
    assert decoded.sound == (pytest.approx(5.0, abs=0.001) if audio else None)
    assert difference(decoded.frames[0], decoded.frames[12]) > 2  # it moves
    width, height = (int(side) for side in aspect_ratio.split(":"))
    assert decoded.size[0] * height == decoded.size[1] * width


@pytest.mark.parametrize("duration", [10, 15])
def test_longer_clips(duration: int, tmp_path: Path) -> None:
    render(spec(duration=duration, audio=True), [], tmp_path / "clip.mp4")
    decoded = decode(tmp_path / "clip.mp4")
    assert (len(decoded.frames), decoded.duration) == (24 * duration, duration)
    assert decoded.sound == pytest.approx(duration, abs=0.001)


@pytest.mark.parametrize("aspect_ratio", ["16:9", "9:16", "1:1"])
def test_image_to_video_begins_with_the_image(aspect_ratio: str, photos: list[Image.Image], tmp_path: Path) -> None:
    render(spec(aspect_ratio=aspect_ratio), photos[1:], tmp_path / "clip.mp4")
    decoded = decode(tmp_path / "clip.mp4")
    given = ImageOps.fit(photos[1], decoded.size)
    assert len(decoded.frames) == 120
    assert difference(decoded.frames[0], given) < 6
    assert difference(decoded.frames[-1], given) > difference(decoded.frames[0], given)


@pytest.mark.parametrize(
    ("mode", "aspect_ratio", "duration"), [("std", "16:9", 5), ("pro", "9:16", 10), ("std", "1:1", 5)]
)
def test_a_pair_becomes_a_cross_fade(
    mode: str, aspect_ratio: str, duration: int, photos: list[Image.Image], tmp_path: Path
) -> None:
    render(spec(mode=mode, aspect_ratio=aspect_ratio, duration=duration, audio=True), photos, tmp_path / "clip.mp4")
    decoded = decode(tmp_path / "clip.mp4")
    first, last = (ImageOps.fit(photo, decoded.size) for photo in photos)
    assert len(decoded.frames) == 24 * duration
    assert difference(decoded.frames[0], first) < 6
    assert difference(decoded.frames[-1], last) < 6
    middle = decoded.frames[len(decoded.frames) // 2]
    assert difference(middle, Image.blend(first, last, 0.5)) < 8
    assert difference(first, last) > 40


def test_the_same_spec_makes_the_same_bytes(photos: list[Image.Image], tmp_path: Path) -> None:
    for name in ("a", "b"):
        render(spec(audio=True), photos, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_keys_tell_contents_apart() -> None:
    specs = [spec(), spec(variant=1), spec(audio=True), spec(mode="pro"), spec(images=("a",)), spec(images=("a", "b"))]
    assert len({one.key for one in specs}) == len(specs)
    assert spec().key == spec().key


def test_prompts_are_spread_over_the_variants() -> None:
    assert {variant_of(f"提示 {number}") for number in range(200)} == set(range(VARIANTS))
    assert variant_of("half \ud83d") < VARIANTS


def test_an_image_is_turned_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees, as phones write it
    photo.save(tmp_path / "photo.jpg", exif=exif)
    assert open_image(tmp_path / "photo.jpg").size == (20, 40)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff" + bytes(100)])
def test_what_is_no_image_is_an_oserror(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(OSError):  # noqa: PT011
        open_image(path)
