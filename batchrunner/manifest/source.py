"""The text of a manifest and the places in it: bytes are decoded here, and offsets become lines and columns.

YAML's own idea of a line is not an editor's, so places are computed from character offsets.
"""

from __future__ import annotations

import codecs
import re
from array import array
from bisect import bisect_right
from itertools import accumulate, islice
from typing import NamedTuple, NoReturn

from batchrunner.diagnostic import Diagnostic, Place, Severity
from batchrunner.errors import ManifestError

MAX_BYTES = 10 << 20
"""A manifest is written by people; 10 MiB is about 100,000 jobs written out."""
SHOWN_CONTROLS = 20

_URL_SECRET = re.compile(r"(?<=://)[^\s/?#\"'@]+(?=@)|(?<=\?)[^\s\"']*=[^\s\"']+")
"""What stands before the @ of a URL, and a query; the latter wherever it stands, for a look-behind has one width."""
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
# YAML's printable characters, without the invisible line breaks that libyaml would fold into spaces.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE_AS = "save the file as UTF-8 (in most editors: Save as, encoding UTF-8)"

Loc = tuple[str | int, ...]
"""A path of keys and list indexes, as pydantic's errors carry it."""


class Span(NamedTuple):
    """Characters `start` to `end` (not included) of a source's text."""

    start: int
    end: int


class Source:
    """The decoded text of one file."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._starts = _line_starts(text)
        self._lines: dict[int, str] = {}

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, without its end; the same object each time, since lines may be long."""
        if not 1 <= number <= len(self._starts):
            return ""
        if number not in self._lines:
            start = self._starts[number - 1]
            end = self._starts[number] if number < len(self._starts) else len(self.text)
            self._lines[number] = self.text[start:end].rstrip("\r\n")
        return self._lines[number]

    def offset(self, line: int, column: int) -> int:
        """The inverse of `position`, kept inside the text."""
        start = self._starts[min(max(line, 1), len(self._starts)) - 1]
        return min(start + max(column, 1) - 1, len(self.text))

    def place(self, span: Span | None) -> Place:
        """Where `span` begins; the caret stays on its first line. The first character when nothing is known."""
        if span is None:
            return Place(file=self.file, line=1, column=1)
        line, column = self.position(min(span.start, len(self.text)))
        rest = len(self.line(line).rstrip()) - column + 1
        return Place(file=self.file, line=line, column=column, length=max(1, min(span.end - span.start, rest)))

    def diagnostic(
        self, code: str, message: str, span: Span | None, *, help: str = "", severity: Severity = Severity.ERROR
    ) -> Diagnostic:
        """A mistake at `span`."""
        place = self.place(span)
        return Diagnostic(
            code=code,
            message=veiled(message),
            place=place,
            help=veiled(help),
            severity=severity,
            source_line=veiled(self.line(place.line)),
        )


def veiled(text: str) -> str:
    """The same text with the passwords and signatures of its URLs starred out, character by character for the caret."""
    return _URL_SECRET.sub(lambda found: "*" * len(found[0]), text)


def _line_starts(text: str) -> array[int]:
    """The offset of each line's first character; compact, since 10 MiB can be ten million lines."""
    if "\r" in text.replace("\r\n", ""):  # line ends of old Macs
        return array("I", [0, *(found.end() for found in _LINE_BREAK.finditer(text))])
    starts = array("I", [0])
    starts.extend(accumulate(map((1).__add__, map(len, text.split("\n")))))
    starts.pop()
    return starts


def decode(data: bytes, file: str) -> Source:
    """The text of a manifest; `ManifestError` when it is not UTF-8 text of a sensible size."""
    if len(data) > MAX_BYTES:
        size = f"{len(data) / (1 << 20):.1f} MiB" if len(data) < 11 << 20 else f"more than {MAX_BYTES >> 20} MiB"
        _refuse(file, "YAML004", f"the manifest has {size}, {MAX_BYTES >> 20} MiB are allowed", "split it")
    if data.startswith(_WIDE_BOMS) or data[:2].count(0) == 1:
        _refuse(file, "YAML014", "this file is UTF-16 or UTF-32 text, a manifest is UTF-8", _SAVE_AS)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        source = Source(file, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        _not_utf8(data, file, error.start)
    if not source.text.strip():
        _refuse(file, "YAML001", "the manifest is empty", "begin with `version: 1` and a list of `jobs:`")
    unprintable = [
        source.diagnostic(
            "YAML003",
            f"a manifest may not hold the invisible character U+{ord(found.group()):04X}",
            Span(*found.span()),
            help='delete it, or write it as an escape in double quotes, such as "\\n"',
        )
        for found in islice(_UNPRINTABLE.finditer(source.text), SHOWN_CONTROLS)
    ]
    if unprintable:
        raise ManifestError(unprintable)
    return source


def _not_utf8(data: bytes, file: str, at: int) -> NoReturn:
    line = data.count(b"\n", 0, at) + 1
    column = len(data[data.rfind(b"\n", 0, at) + 1 : at].decode("utf-8", "replace")) + 1
    try:
        data.decode("gb18030")
        guess = "it looks like GBK, which Excel and 记事本 call ANSI"
    except UnicodeDecodeError:
        guess = "it may be another encoding, or not text at all"
    message = f"this file is not UTF-8 at line {line}: {guess}"
    _refuse(file, "YAML014", message, _SAVE_AS, line=line, column=column)


def _refuse(file: str, code: str, message: str, help: str, *, line: int = 1, column: int = 1) -> NoReturn:
    place = Place(file=file, line=line, column=column)
    raise ManifestError([Diagnostic(code=code, message=message, place=place, help=help)])
