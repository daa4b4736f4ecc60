"""Every kind of clip, decoded with PyAV: frames, length, size, sound, and the given first and last frames."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from operator import mul
from pathlib import Path

import av
import pytest
from click.testing import CliRunner
from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageStat

from batchrunner.cli.main import cli
from batchrunner.emulator.clips import TINY, VARIANTS, ClipSpec, open_image, render, variant_of
from batchrunner.errors import UsageError


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
    ("mode", "aspect_ratio", "audio"), [(*shape, number % 2 == 1) for number, shape in enumerate(TINY)]
)
def test_text_to_video(mode: str, aspect_ratio: str, audio: bool, tmp_path: Path) -> None:
    clip = tmp_path / "clip.part"  # the name does not say what it is
    render(spec(mode=mode, aspect_ratio=aspect_ratio, audio=audio), [], clip)
    content = clip.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    decoded = decode(clip)
    assert (len(decoded.frames), decoded.duration, decoded.size) == (120, 5.0, TINY[mode, aspect_ratio])
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


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Structural similarity of the brightness, 1 for equal pictures: the mean over windows of 8 × 8 pixels (Wang 2004)."""
    width, height = one.size
    left, right = (list(image.convert("L").tobytes()) for image in (one, other))
    scores = []
    for x, y in product(range(0, width - 7, 8), range(0, height - 7, 8)):
        rows = [slice(at := row * width + x, at + 8) for row in range(y, y + 8)]
        a, b = ([value for row in rows for value in image[row]] for image in (left, right))
        mean_a, mean_b = sum(a) / 64, sum(b) / 64
        square_a, square_b = (sum(map(mul, values, values)) / 64 for values in (a, b))
        product_ab = sum(map(mul, a, b)) / 64
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        alike = (2 * mean_a * mean_b + c1) * (2 * (product_ab - mean_a * mean_b) + c2)
        scores.append(alike / ((mean_a**2 + mean_b**2 + c1) * (square_a - mean_a**2 + square_b - mean_b**2 + c2)))
    return sum(scores) / len(scores)


def scene(number: int, size: tuple[int, int]) -> Image.Image:
    """A picture as a camera makes it: planes and edges at every scale, and a little noise."""
    width, height = size
    sky = Image.linear_gradient("L").rotate(90 * number).resize(size)
    shape = Image.effect_mandelbrot(size, (-2 + number / 4, -1.2, 0.8, 1.2), 30)
    image = Image.merge("RGB", (sky, Image.blend(sky, shape, 0.5), shape))
    draw = ImageDraw.Draw(image)
    for step in range(12):
        at = (number * 3 + step * 5) % 12 / 12
        box = (at * width, step / 14 * height, at * width + width / 9, (step + 2) / 14 * height)
        draw.rectangle(box, fill=f"hsl({(number * 77 + step * 30) % 360}, 70%, 50%)", outline="white", width=2)
    return Image.blend(image, Image.effect_noise(size, 60).convert("RGB"), 0.08)


SHAPES = [((1376, 768), (1376, 768)), ((999, 401), (401, 999)), ((333, 334), (640, 301))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize(("mode", "aspect_ratio"), [("std", "16:9"), ("pro", "9:16"), ("std", "1:1")])
def test_a_pair_begins_and_ends_with_its_pictures(
    shapes: tuple[tuple[int, int], tuple[int, int]], mode: str, aspect_ratio: str, tmp_path: Path
) -> None:
    begins_and_ends(shapes, tmp_path, mode=mode, aspect_ratio=aspect_ratio)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "aspect_ratio"), [("std", "9:16"), ("pro", "16:9")])
def test_so_does_one_in_full_size(mode: str, aspect_ratio: str, tmp_path: Path) -> None:
    begins_and_ends(SHAPES[0], tmp_path, mode=mode, aspect_ratio=aspect_ratio, full=True)


def begins_and_ends(shapes: tuple[tuple[int, int], tuple[int, int]], folder: Path, **fields: object) -> None:
    pair = [scene(number, size) for number, size in enumerate(shapes)]
    wanted = spec(**fields)
    render(wanted, pair, folder / "clip.mp4")
    decoded = decode(folder / "clip.mp4")
    assert decoded.size == wanted.size
    first, last = (ImageOps.fit(image, decoded.size) for image in pair)
    assert ssim(decoded.frames[0], first) > 0.9
    assert ssim(decoded.frames[-1], last) > 0.9
    assert ssim(first, last) < 0.7


@pytest.mark.parametrize(("mode", "height"), [("std", 720), ("pro", 1080)])
@pytest.mark.parametrize("aspect_ratio", ["16:9", "9:16", "1:1"])
def test_full_clips_have_the_lines_that_are_billed(mode: str, height: int, aspect_ratio: str) -> None:
    size = spec(mode=mode, aspect_ratio=aspect_ratio, full=True).size
    width, tall = (int(side) for side in aspect_ratio.split(":"))
    assert min(size) == height
    assert size[0] * tall == size[1] * width


def test_the_same_spec_makes_the_same_bytes(photos: list[Image.Image], tmp_path: Path) -> None:
    for name in ("a", "b"):
        render(spec(audio=True), photos, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_keys_tell_contents_apart() -> None:
    specs = [
        spec(),
        spec(variant=1),
        spec(audio=True),
        spec(mode="pro"),
        spec(full=True),
        spec(images=("a",)),
        spec(images=("a", "b")),
    ]
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


def test_the_size_of_clips_is_the_emulators_alone(tmp_path: Path) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text("version: 1\njobs: [{prompt: a cat}]\n", "utf-8")
    answer = CliRunner().invoke(cli, ["run", str(manifest), "--clips", "full"])
    assert isinstance(answer.exception, UsageError)
    assert "--emulator" in (answer.exception.fix or "")
