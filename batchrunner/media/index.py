"""The index of a plain mp4 file (ISO/IEC 14496-12, `moov`), read without opening a decoder.

FFmpeg takes a millisecond and more for each clip, most of it for a picture that nobody looks at. Nearly every clip is one
film with perhaps one sound, and its index says all that is asked. This module never finds fault: whatever is not plain and
whole is None here, and FFmpeg judges it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

LARGEST = 8 << 20
"""Bytes of an index that is read at once; an hour of film has less."""
FILMS = frozenset({b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09"})
_HEAD, _NUMBER = struct.Struct(">I4s"), struct.Struct(">I")
_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16)
"""The first five numbers of a matrix that neither turns nor scales."""
_UNKNOWN = (0, 2**32 - 1, 2**64 - 1)
"""Durations that say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What a file says of itself: seconds, the sides of its pictures, and whether it has sound."""

    duration: float
    width: int
    height: int
    sound: bool


class _NotPlainError(Exception):
    """Something that is left to FFmpeg."""


def plain(moov: bytes, size: int) -> Index | None:
    """The index of a file of `size` bytes, when it is plain and everything that it names lies inside the file."""
    try:
        return _read(memoryview(moov), size)
    except (_NotPlainError, KeyError, IndexError, ValueError, struct.error):
        return None


def _read(moov: memoryview, size: int) -> Index:
    boxes = list(_boxes(moov))
    movie = dict(boxes)
    _expect(b"mvex" not in movie)  # the rest of its index is elsewhere
    header = movie[b"mvhd"]
    _expect(_matrix(header, 36 if header[0] == 0 else 48) == _UPRIGHT)
    ticks, _ = _times(header)
    films: list[Index] = []
    sound = False
    for kind, body in boxes:
        if kind == b"trak":
            track = dict(_boxes(body))
            media = dict(_boxes(track[b"mdia"]))
            handler = bytes(media[b"hdlr"][8:12])
            samples = dict(_boxes(dict(_boxes(media[b"minf"]))[b"stbl"]))
            _expect(_lie_inside(samples, size))
            sound = sound or handler == b"soun"
            if handler == b"vide":
                films.append(_film(track, media, samples, ticks))
    _expect(len(films) == 1)
    (film,) = films
    return Index(duration=film.duration, width=film.width, height=film.height, sound=sound)


def _film(
    track: dict[bytes, memoryview], media: dict[bytes, memoryview], samples: dict[bytes, memoryview], movie_ticks: int
) -> Index:
    ticks, length = _times(media[b"mdhd"])
    _expect(ticks > 0 and length not in _UNKNOWN)
    _expect(abs(_lasting(samples) - length) <= ticks)
    seconds = length / ticks
    if b"edts" in track:
        cut = dict(_boxes(track[b"edts"]))[b"elst"]
        count, shown, begins, rate = _edit(cut)
        _expect(count == 1 and 0 <= begins <= ticks and rate == 1 << 16 and movie_ticks > 0)
        _expect(seconds - shown / movie_ticks < 1)
        seconds = min(seconds, shown / movie_ticks)
    described = samples[b"stsd"]
    _expect(_number(described, 4) == 1)
    ((codec, entry),) = _boxes(described[8:])
    _expect(codec in FILMS and b"pasp" not in dict(_boxes(entry[78:])))
    width, height = struct.unpack_from(">HH", entry, 24)
    head = track[b"tkhd"]
    at = 40 if head[0] == 0 else 52
    _expect(_matrix(head, at) == _UPRIGHT and width > 0 and height > 0)
    _expect(struct.unpack_from(">II", head, at + 36) == (width << 16, height << 16))
    return Index(duration=seconds, width=width, height=height, sound=False)


def _lie_inside(samples: dict[bytes, memoryview], size: int) -> bool:
    """Whether there are samples, none of them is empty, and all of them end before the file does."""
    each, count = _number(samples[b"stsz"], 4), _number(samples[b"stsz"], 8)
    sizes = [each] * count if each else _table(samples[b"stsz"], 12, count)
    if not count or len(sizes) != count or min(sizes) <= 0:
        return False
    ends = [0, *accumulate(sizes)]
    wide = b"co64" in samples
    places = samples[b"co64" if wide else b"stco"]
    chunks = _number(places, 4)
    offsets = _table(places, 8, chunks, "Q" if wide else "I")
    runs = _table(samples[b"stsc"], 8, 3 * _number(samples[b"stsc"], 4))
    firsts, held, described = runs[0::3], runs[1::3], runs[2::3]
    if firsts[0] != 1 or sorted(set(firsts)) != list(firsts) or set(described) != {1}:
        return False
    begun = 0
    for run, first in enumerate(firsts):
        last = firsts[run + 1] if run + 1 < len(firsts) else chunks + 1
        for offset in offsets[first - 1 : last - 1]:
            if offset + ends[begun + held[run]] - ends[begun] > size:
                return False
            begun += held[run]
    return begun == count


def _lasting(samples: dict[bytes, memoryview]) -> int:
    """Ticks that all samples last together; every one has its time."""
    counts, ticks = _pairs(samples[b"stts"])
    count = _number(samples[b"stsz"], 8)
    _expect(sum(counts) == count)
    if b"ctts" in samples:
        _expect(sum(_pairs(samples[b"ctts"])[0]) == count)
    return sum(map(mul, counts, ticks))


def _pairs(table: memoryview) -> tuple[array[int], array[int]]:
    numbers = _table(table, 8, 2 * _number(table, 4))
    return numbers[0::2], numbers[1::2]


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The boxes of a box, with their contents."""
    at, end = 0, len(content)
    while at + 8 <= end:
        length, kind = _HEAD.unpack_from(content, at)
        _expect(8 <= length <= end - at)
        yield kind, content[at + 8 : at + length]
        at += length
    _expect(at == end)


def _times(header: memoryview) -> tuple[int, int]:
    """Ticks in a second, and the duration in ticks, of a `mvhd` or `mdhd`."""
    ticks, length = struct.unpack_from(*((">II", header, 12) if header[0] == 0 else (">IQ", header, 20)))
    return ticks, length


def _edit(cut: memoryview) -> tuple[int, int, int, int]:
    """How many edits there are; and of the first: its ticks of the movie, where in the film it begins, and its rate."""
    shown, begins, rate = struct.unpack_from(*((">Iii", cut, 8) if cut[0] == 0 else (">Qqi", cut, 8)))
    return _number(cut, 4), shown, begins, rate


def _matrix(header: memoryview, at: int) -> tuple[int, ...]:
    return struct.unpack_from(">5i", header, at)


def _number(content: memoryview, at: int) -> int:
    (number,) = _NUMBER.unpack_from(content, at)
    return int(number)


def _table(content: memoryview, at: int, count: int, kind: str = "I") -> array[int]:
    width = 8 if kind == "Q" else 4
    _expect(at + count * width <= len(content))
    table = array(kind)
    table.frombytes(content[at : at + count * width])
    if sys.byteorder == "little":
        table.byteswap()
    return table


def _expect(is_plain: bool) -> None:
    if not is_plain:
        raise _NotPlainError
