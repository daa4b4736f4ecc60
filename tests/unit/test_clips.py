"""Is it the clip that was asked for? Real files, read with PyAV; and the judgement on its own."""

import sys
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import UsageError
from batchrunner.media import index
from batchrunner.media.clips import (
    ASPECT_TOLERANCE,
    DURATION_TOLERANCE,
    ClipFacts,
    NotAClip,
    NotAnMp4,
    _read_by_ffmpeg,
    load,
    mismatches,
    read,
)
from batchrunner.model import AspectRatio, Frame, VideoRequest

FPS = 8


def render(path, *, size=(160, 90), seconds=5, sound=False, index_first=True, video=True, container="mp4"):
    """A small clip with something in every frame, so that a cut loses frames and not only padding."""
    options = {"movflags": "+faststart"} if index_first else {}
    with av.open(str(path), "w", format=container, options=options) as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "threads": "1"}) if video else None
        hum = out.add_stream("aac", rate=48_000, layout="mono") if sound else None
        if stream is not None:
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for number in range(seconds * FPS):
                frame = av.VideoFrame(*size, "yuv420p")
                for plane in frame.planes:
                    plane.update(bytes((number * 7 + byte * 5) % 251 for byte in range(plane.buffer_size)))
                frame.pts = number
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        if hum is not None:
            for start in range(0, seconds * 48_000, 1024):
                samples = av.AudioFrame("fltp", "mono", min(1024, seconds * 48_000 - start))
                samples.planes[0].update(bytes(samples.planes[0].buffer_size))
                samples.sample_rate, samples.pts, samples.time_base = 48_000, start, Fraction(1, 48_000)
                out.mux(hum.encode(samples))
            out.mux(hum.encode(None))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Makes clips, each kind once."""
    folder, made = tmp_path_factory.mktemp("clips"), {}

    def make(**kind):
        key = repr(sorted(kind.items()))
        if key not in made:
            made[key] = render(folder / f"{len(made)}.mp4", **kind)
        return made[key]

    return make


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        return path

    return write


# reading

WHOLE = [
    pytest.param({}, ClipFacts(duration=5.0, width=160, height=90, sound=False), id="index first"),
    pytest.param({"index_first": False}, ClipFacts(duration=5.0, width=160, height=90, sound=False), id="index last"),
    pytest.param({"sound": True}, ClipFacts(duration=5.0, width=160, height=90, sound=True), id="sound"),
    pytest.param({"size": (90, 160)}, ClipFacts(duration=5.0, width=90, height=160, sound=False), id="portrait"),
    pytest.param({"seconds": 3}, ClipFacts(duration=3.0, width=160, height=90, sound=False), id="short"),
]


@pytest.mark.parametrize(("kind", "facts"), WHOLE)
def test_a_whole_clip(clip, kind, facts):
    found = read(clip(**kind))
    assert found.duration == pytest.approx(facts.duration, abs=0.01)
    assert (found.width, found.height, found.sound) == (facts.width, facts.height, facts.sound)


@pytest.mark.parametrize("index_first", [True, False], ids=["index first", "index last"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("sound", [False, True], ids=["silent", "sound"])
def test_a_clip_that_was_cut(clip, file, index_first, kept, sound):
    content = clip(index_first=index_first, sound=sound).read_bytes()
    with pytest.raises(NotAClip):
        read(file(content[: int(len(content) * kept)]))


@pytest.mark.parametrize("lost", [1, 100, 1000])
def test_a_clip_that_was_cut_in_its_last_frame(clip, file, lost):
    with pytest.raises(NotAClip):
        read(file(clip().read_bytes()[:-lost]))


FOREIGN = [
    pytest.param(b"", id="empty"),
    pytest.param(b"ftyp", id="four bytes"),
    pytest.param(b"<!DOCTYPE html><html><body>Just a moment...</body></html>", id="HTML"),
    pytest.param(b'{"error":{"code":403,"message":"expired"}}', id="JSON"),
    pytest.param(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", id="XML"),
    pytest.param(b"\0\0\0\x20ftypisom" + bytes(4000), id="a beginning and nothing"),
    pytest.param(b"\0\0\0\x20ftypisom" + b"<html>" * 500, id="a beginning and HTML"),
    pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), id="a picture"),
]


@pytest.mark.parametrize("content", FOREIGN)
def test_no_clip_at_all(file, content):
    with pytest.raises(NotAClip):
        read(file(content))


def test_another_kind_of_video(tmp_path):
    with pytest.raises(NotAClip, match="not an mp4"):
        read(render(tmp_path / "clip.mp4", container="matroska", seconds=1))


def test_sound_alone_is_no_clip(clip):
    with pytest.raises(NotAClip, match="no video"):
        read(clip(video=False, sound=True, seconds=1))


def test_a_missing_file_is_no_verdict_on_a_clip(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "gone.mp4")


# judging


def facts(**changes):
    return ClipFacts(**{"duration": 5.0, "width": 1280, "height": 720, "sound": False, **changes})


def asked(**changes):
    return VideoRequest(**{"prompt": "a cat", **changes})


def frame(size):
    return Frame(source="a.png", sha256="a" * 64, local=True, size=size)


LENGTHS = [
    # lasts, asked, whether it is what was asked for
    (5.0, 5, True),
    (5.04, 5, True),  # real ones end a frame late
    (5.0 - DURATION_TOLERANCE, 5, True),
    (5.0 + DURATION_TOLERANCE, 5, True),
    (4.4, 5, False),
    (5.6, 5, False),
    (5.0, 10, False),  # the neighbour on offer
    (10.0, 5, False),
    (0.0, 5, False),
]


@pytest.mark.parametrize(("lasts", "seconds", "good"), LENGTHS)
def test_length(lasts, seconds, good):
    found = mismatches(facts(duration=lasts), asked(duration=seconds))
    assert found == ([] if good else [f"it lasts {lasts:.1f} s, asked were {seconds} s"])


SHAPES = [
    # size of the clip, asked, frames, whether it is what was asked for
    pytest.param((1280, 720), "16:9", (), True, id="16:9"),
    pytest.param((1284, 716), "16:9", (), True, id="rounded"),
    pytest.param((320, 180), "16:9", (), True, id="small is let through"),
    pytest.param((720, 1280), "16:9", (), False, id="turned"),
    pytest.param((960, 960), "16:9", (), False, id="square"),
    pytest.param((1280, 800), "16:9", (), False, id="16:10"),
    pytest.param((720, 1280), "9:16", (), True, id="9:16"),
    pytest.param((960, 960), "1:1", (), True, id="1:1"),
    pytest.param((960, 998), "1:1", (), True, id="1:1, just so"),
    pytest.param((960, 1002), "1:1", (), False, id="1:1, no more"),
    pytest.param((0, 0), "16:9", (), False, id="no size"),
    pytest.param((0, 0), "16:9", (frame(None),), False, id="no size, any shape"),
    # with frames the picture may decide
    pytest.param((1000, 750), "16:9", (frame((1600, 1200)),), True, id="the first frame's shape"),
    pytest.param((1280, 720), "16:9", (frame((1600, 1200)),), True, id="the asked shape"),
    pytest.param((750, 1000), "16:9", (frame((1600, 1200)),), False, id="neither"),
    pytest.param((1000, 750), "16:9", (frame((1600, 900)), frame((1600, 1200))), False, id="the last frame's shape"),
    pytest.param((777, 333), "16:9", (frame(None),), True, id="a frame of unknown shape: any"),
]


@pytest.mark.parametrize(("size", "ratio", "frames", "good"), SHAPES)
def test_shape(size, ratio, frames, good):
    width, height = size
    found = mismatches(facts(width=width, height=height), asked(aspect_ratio=AspectRatio(ratio), frames=frames))
    assert found == ([] if good else [f"it is {width}x{height}, asked was {ratio}"])


@pytest.mark.parametrize(
    ("wanted", "heard", "good"), [(True, True, True), (True, False, False), (False, False, True), (False, True, True)]
)
def test_sound(wanted, heard, good):
    found = mismatches(facts(sound=heard), asked(audio=wanted))
    assert found == ([] if good else ["it has no sound, asked was audio"])


def test_everything_that_differs_is_said():
    assert len(mismatches(facts(duration=1, width=100, height=100), asked(audio=True))) == 3


def test_no_shape_on_offer_can_be_taken_for_another():
    ratios = sorted(ratio.value_of for ratio in AspectRatio)
    assert all(b / a > (1 + ASPECT_TOLERANCE) ** 2 for a, b in pairwise(ratios))


def test_a_real_clip_is_what_was_asked_for(clip):
    assert mismatches(read(clip(sound=True)), asked(audio=True)) == []
    assert len(mismatches(read(clip()), asked(audio=True, duration=10, aspect_ratio=AspectRatio.PORTRAIT))) == 3


# legal files that few players trip over


def boxed(content, *path):
    """Where a box of an mp4 file begins and ends."""
    begin, end = 0, len(content)
    for name in path:
        while content[begin + 4 : begin + 8] != name:
            begin += int.from_bytes(content[begin : begin + 4], "big")
            assert begin < end, name
        end = begin + int.from_bytes(content[begin : begin + 4], "big")
        begin += 8
    return begin - 8, end


def without_duration(content, box, at):
    begin, _ = boxed(content, *box)
    return content[: begin + at] + bytes(4) + content[begin + at + 4 :]


def packed(path, *, size=(160, 90), turn=None, stretch=None, options=None):
    """Five seconds of plain pictures."""
    with av.open(str(path), "w", format="mp4", options=options or {}) as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if stretch:
            stream.codec_context.sample_aspect_ratio = stretch
        if turn:
            stream.set_display_rotation(turn)
        for number in range(5 * FPS):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number]) * plane.buffer_size)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("turn", "ratio"), [(90, "9:16"), (-90, "9:16"), (180, "16:9")])
def test_a_picture_that_is_turned_has_the_sides_that_players_show(tmp_path, turn, ratio):
    found = read(packed(tmp_path / "clip.mp4", turn=turn))
    assert mismatches(found, asked(aspect_ratio=AspectRatio(ratio))) == []


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    found = read(packed(tmp_path / "clip.mp4", size=(240, 180), stretch=Fraction(4, 3)))
    assert (found.width, found.height) == (320, 180)
    assert mismatches(found, asked()) == []


MEDIA_HEADER, MOVIE_HEADER, TRACK_HEADER = (
    ((b"moov", b"trak", b"mdia", b"mdhd"), 24),
    ((b"moov", b"mvhd"), 24),
    ((b"moov", b"trak", b"tkhd"), 28),
)


@pytest.mark.parametrize("fragmented", [False, True])
def test_without_a_duration_in_the_index_the_frames_say_how_long_it_is(file, tmp_path, fragmented):
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"} if fragmented else {}
    content = packed(tmp_path / "whole.mp4", options=options).read_bytes()
    for box, at in (MEDIA_HEADER, MOVIE_HEADER, TRACK_HEADER):
        content = without_duration(content, box, at)
    assert read(file(content)).duration == pytest.approx(5.0, abs=0.2)


def test_pictures_in_an_unknown_format_are_no_clip(clip, file):
    with pytest.raises(NotAClip):
        read(file(clip().read_bytes().replace(b"avc1", b"zzzz")))


@pytest.mark.parametrize("content", [b"", b"<html>busy</html>", b'{"error":{"code":429}}'])
def test_what_does_not_begin_like_an_mp4_is_told_apart(file, content):
    with pytest.raises(NotAnMp4):
        read(file(content))


@pytest.mark.parametrize(
    ("more", "good"),
    [
        pytest.param(b"\0\0\0\x10free12345678", True, id="whole"),
        pytest.param(b"\0\0\0\x10free123", False, id="cut"),
        pytest.param(b"\0\0\0\x10fr", False, id="cut in its head"),
        pytest.param(b"\0\0\0\1free\0\0\0\0\0\0\0\x12ab", True, id="with a long length"),
        pytest.param(b"\0\0\0\1free\0\0\0\0\0\0\0\x13ab", False, id="with a long length, cut"),
        pytest.param(b"\0\0\0\1free\0\0", False, id="cut in its long length"),
        pytest.param(b"\0\0\0\0free whatever comes", True, id="to the end of the file"),
        pytest.param(b"\0" * 7, True, id="filled up"),
        pytest.param(b"\xff\xff\xff\xfffree", False, id="longer than any file"),
    ],
)
def test_a_part_that_nobody_looks_at_has_to_be_whole_too(clip, file, more, good):
    path = file(clip().read_bytes() + more)
    if good:
        read(path)
        return
    with pytest.raises(NotAClip, match="cut short"):
        read(path)


def test_a_verifier_that_does_not_load_says_so_before_anything_is_sent(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match="nothing was sent") as caught:
        load()
    assert "ulimit" in caught.value.fix


# by the index alone


@pytest.mark.parametrize(("kind", "facts"), WHOLE)
def test_ffmpeg_says_of_a_plain_clip_what_its_index_says(clip, kind, facts, monkeypatch):
    judged = _read_by_ffmpeg(clip(**kind))
    monkeypatch.setitem(sys.modules, "av", None)  # it is not asked
    found = read(clip(**kind))
    assert found.duration == pytest.approx(judged.duration, abs=0.01)
    assert (found.width, found.height, found.sound) == (judged.width, judged.height, judged.sound)


def index_of(content):
    begin, end = boxed(content, b"moov")
    return index.plain(content[begin + 8 : end], len(content))


FILM = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


@pytest.mark.parametrize(
    ("box", "at", "number"),
    [
        pytest.param((b"moov", b"mvhd"), 44, 0, id="a movie that is turned"),
        pytest.param((b"moov", b"trak", b"tkhd"), 48, 0, id="a film that is turned"),
        pytest.param((b"moov", b"trak", b"tkhd"), 84, 240 << 16, id="stretched"),
        pytest.param((b"moov", b"trak", b"mdia", b"mdhd"), 24, 0, id="no duration"),
        pytest.param((b"moov", b"trak", b"mdia", b"hdlr"), 16, 0, id="no film"),
        pytest.param((b"moov", b"trak", b"edts", b"elst"), 12, 2, id="two edits"),
        pytest.param((b"moov", b"trak", b"edts", b"elst"), 16, 1000, id="four seconds cut off"),
        pytest.param((*FILM, b"stsd"), 20, 0x7A7A7A7A, id="an unknown format"),
        pytest.param((*FILM, b"stts"), 16, 39, id="a frame without its time"),
        pytest.param((*FILM, b"stsz"), 20, 0, id="an empty frame"),
        pytest.param((*FILM, b"stsz"), 20, 1 << 30, id="a frame larger than the file"),
        pytest.param((*FILM, b"stsz"), 16, 41, id="a frame too many"),
        pytest.param((*FILM, b"stco"), 16, 1 << 30, id="frames that lie outside"),
        pytest.param((*FILM, b"stsc"), 16, 2, id="frames that lie nowhere"),
    ],
)
def test_what_is_not_plain_is_left_to_ffmpeg(clip, box, at, number):
    content = clip().read_bytes()
    begin, _ = boxed(content, *box)
    changed = content[: begin + at] + number.to_bytes(4) + content[begin + at + 4 :]
    assert index_of(content) is not None
    assert index_of(changed) is None


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 300])
def test_half_an_index_is_none(clip, kept):
    content = clip().read_bytes()
    begin, _ = boxed(content, b"moov")
    assert index.plain(content[begin + 8 : begin + 8 + kept], len(content)) is None


@given(at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_no_index_is_an_error(clip, at, byte):
    content = clip(sound=True).read_bytes()
    begin, end = boxed(content, b"moov")
    moov = bytearray(content[begin + 8 : end])
    moov[at % len(moov)] = byte
    index.plain(bytes(moov), len(content))
