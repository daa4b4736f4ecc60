"""Frames that were given and frames that came back: by pictures that cross over, and by a clip that ignores its last one."""

from itertools import pairwise

import av
import pytest
from PIL import Image, ImageDraw

from batchrunner.media.likeness import frames_ignored, likeness
from batchrunner.model import Frame, VideoRequest

SIZE = (128, 72)


def picture(path, shapes, *, size=SIZE, ground="navy"):
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    for x, colour in shapes:
        draw.ellipse((x * size[0] / 128, size[1] / 6, (x + 40) * size[0] / 128, size[1] * 5 / 6), fill=colour)
    image.save(path)
    return Frame(source=str(path), sha256="0" * 64, local=True, size=size)


def opened(frame):
    with Image.open(frame.source) as image:
        return image.convert("RGB")


def clip(path, *pictures):
    """A clip that goes from picture to picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for one, other in pairwise(pictures):
            for step in range(20):
                blended = Image.blend(one.resize(SIZE), other.resize(SIZE), step / 19)
                container.mux(stream.encode(av.VideoFrame.from_image(blended)))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def pair(tmp_path):
    first = picture(tmp_path / "first.png", [(0, "white"), (50, "red")])
    last = picture(tmp_path / "last.png", [(80, "yellow")], size=(256, 192), ground="gray")
    return VideoRequest(prompt="p", frames=(first, last)), opened(first), opened(last)


def test_a_clip_from_the_first_to_the_last_frame_is_right(tmp_path, pair):
    request, first, last = pair
    assert frames_ignored(clip(tmp_path / "a.mp4", first, last), request) is None


def test_a_last_frame_that_was_ignored_is_seen(tmp_path, pair):
    request, first, _ = pair
    moved = opened(picture(tmp_path / "moved.png", [(10, "white"), (60, "red")]))
    assert "does not end with the last frame" in frames_ignored(clip(tmp_path / "a.mp4", first, moved), request)


def test_a_first_frame_that_was_ignored_is_seen(tmp_path, pair):
    request, _, last = pair
    other = opened(picture(tmp_path / "other.png", [(85, "black")], ground="white"))
    assert "does not begin with the first frame" in frames_ignored(clip(tmp_path / "a.mp4", other, last), request)


def test_what_cannot_be_compared_proves_nothing(tmp_path, pair):
    request, first, last = pair
    path = clip(tmp_path / "a.mp4", last, first)
    away = VideoRequest(prompt="p", frames=(Frame(source="https://x.test/a.png", sha256="0" * 64, local=False),) * 2)
    assert frames_ignored(path, away) is None
    plain = [picture(tmp_path / f"{name}.png", [], ground=name) for name in ("gray", "black")]
    assert frames_ignored(path, VideoRequest(prompt="p", frames=tuple(plain))) is None
    (tmp_path / "no.mp4").write_bytes(b"no clip")
    assert frames_ignored(tmp_path / "no.mp4", request) is None


def test_a_loop_ends_with_the_frame_that_it_begins_with(tmp_path, pair):
    request, first, last = pair
    loop = VideoRequest(prompt="p", frames=(request.frames[0], request.frames[0]))
    assert frames_ignored(clip(tmp_path / "a.mp4", first, last, first), loop) is None


def test_likeness_is_of_structure():
    dark, light = [10, 20, 30, 50, 60, 70], [100, 0, 10, 200, 100, 110]
    assert likeness(dark, light) == pytest.approx(1)
    assert likeness(dark, dark[3:] + dark[:3]) == pytest.approx(-1)
    assert likeness([0, 135, 0, 0, 136, 0], dark) is None
