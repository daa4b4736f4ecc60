"""The pre-flight of input images, by content and never by name."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchrunner.media.frames import MAX_BYTES, FrameFacts, FrameProblem, inspect


def image(width: int = 640, height: int = 360, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be large and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return image(640, 360, "JPEG", exif=exif)


@pytest.fixture
def look(tmp_path):
    def looking(data: bytes, name: str = "a.png") -> FrameFacts | FrameProblem:
        path = tmp_path / name
        path.write_bytes(data)
        return inspect(path, roots=[tmp_path])

    return looking


@pytest.mark.parametrize(
    ("data", "mime", "size"),
    [
        (image(), "image/png", (640, 360)),
        (image(kind="JPEG"), "image/jpeg", (640, 360)),
        (image(kind="JPEG", progressive=True), "image/jpeg", (640, 360)),
        (image(300, 750), "image/png", (300, 750)),
        (turned(), "image/jpeg", (360, 640)),
    ],
)
def test_good_frames(look, data, mime, size):
    found = look(data, "any.name")
    sha256 = hashlib.sha256(data).hexdigest()
    assert found == FrameFacts(sha256=sha256, width=size[0], height=size[1], mime=mime, bytes=len(data))


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"", "FRM305", "not an image"),
        (b"hello", "FRM305", "not an image"),
        (image(kind="GIF"), "FRM305", "is GIF, which the upload takes and Kling refuses"),
        (image(kind="WEBP"), "FRM305", "is WebP"),
        (image(kind="BMP"), "FRM305", "is BMP"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "FRM305", "is HEIC"),
        (image()[:-200], "FRM306", "damaged PNG"),
        (image(kind="JPEG")[:-200], "FRM306", "damaged JPEG"),
        (b"\xff\xd8\xff", "FRM306", "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "FRM306", "damaged PNG"),
        (image() + b"x" * MAX_BYTES, "FRM304", "more than 10 MB"),
        (image(299, 400), "FRM307", "299×400, each side needs 300 px"),
        (image(300, 751), "FRM307", "ratio"),
        (png_header(20_000, 20_000), "FRM307", "more than 40 million pixels"),
        (png_header(2_000_000, 2_000_000), "FRM307", "more than 40 million pixels"),
        (png_header(5_000, 5_000), "FRM306", "damaged PNG"),
    ],
)
def test_bad_frames(look, data, code, says):
    start = time.process_time()
    found = look(data)
    assert isinstance(found, FrameProblem)
    assert found.code == code
    assert says in found.message
    assert found.help
    assert time.process_time() - start < 2


def test_missing_and_irregular_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    found = {
        name: inspect(tmp_path / name, roots=[tmp_path])
        for name in ("no.png", "pipe.png", "folder.png", "loop.png", "a\0b")
    }
    assert {name: problem.code for name, problem in found.items() if isinstance(problem, FrameProblem)} == {
        "no.png": "FRM301",
        "pipe.png": "FRM303",
        "folder.png": "FRM303",
        "loop.png": "FRM301",
        "a\0b": "FRM301",
    }


def test_only_files_below_the_roots_are_read(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "a.png").write_bytes(image())
    (inside / "link.png").symlink_to(outside / "a.png")
    for path in (
        inside / "link.png",
        inside / "../out/a.png",
        outside / "a.png",
        Path("/dev/zero"),
        Path("/etc/passwd"),
    ):
        found = inspect(path, roots=[inside])
        assert isinstance(found, FrameProblem)
        assert found.code == "FRM302"
    assert isinstance(inspect(inside / "link.png", roots=[inside, outside]), FrameFacts)


WHOLE = {kind: image(400, 400, kind) for kind in ("PNG", "JPEG")}


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(WHOLE)), at=st.integers(8, 2_000), junk=st.binary(max_size=40), cut=st.booleans())
def test_no_damage_raises(tmp_path_factory, kind, at, junk, cut):
    data = WHOLE[kind]
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(data[:at] + junk + (b"" if cut else data[at + len(junk) :]))
    assert isinstance(inspect(path, roots=[path.parent]), FrameFacts | FrameProblem)
