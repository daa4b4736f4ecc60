"""The files that a manifest names beside its frames: opened and listed only below the folders that are allowed.

A manifest may come from somebody else: it must not read other files of this machine, nor make us wait or fill the memory.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 256 << 20
"""A table of a million rows; 100,000 have about 20 MB."""
MAX_FILES = 200_000
"""Directory entries that are looked at for one pattern."""
CHUNK = 1 << 20

_DIGITS = re.compile(r"([0-9]+)")


_TELL: ContextVar[Callable[[str, Path], None] | None] = ContextVar("tell", default=None)


@contextmanager
def telling(tell: Callable[[str, Path], None]) -> Iterator[None]:
    """Inside, `tell` hears of each file ("content") and each folder ("names") before it is read."""
    token = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(token)


def _tell(kind: str, path: Path) -> None:
    if tell := _TELL.get():
        tell(kind, path)


class Refused(ValueError):
    """A file or folder that cannot be used; the text is the message, `help` the fix."""

    def __init__(self, code: str, message: str, help: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.help = help
        self.line = line
        """Of the file itself, where the mistake is in there."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text file that is open, and how it is to be read."""

    file: BinaryIO
    encoding: str
    guessed: bool
    """Whether nobody said so."""

    def stream(self) -> io.TextIOWrapper:
        """Its characters from the beginning, line ends as they are."""
        self.file.seek(0)
        return io.TextIOWrapper(self.file, encoding=self.encoding, newline="")


def open_text(path: Path, roots: Sequence[Path], encoding: str | None) -> Text:
    """A file below one of `roots` and its encoding; `Refused` where there is none to be read."""
    _tell("content", path)
    file = opened(path, roots)
    try:
        return _decodable(file, path.name, encoding)
    except BaseException:
        file.close()
        raise


def opened(path: Path, roots: Sequence[Path]) -> io.BufferedReader:
    """A file below one of `roots`. Never waits: a pipe or a device is refused before and after it is opened."""
    flags = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))
    try:
        resolved = _confined(path, roots)
        if not stat.S_ISREG(resolved.stat().st_mode):
            raise Refused("SRC401", f"{path.name} is not a regular file", "name a file")
        file = os.fdopen(os.open(resolved, flags), "rb")
    except FileNotFoundError:
        raise Refused("SRC401", f"there is no file {path.name}", _near(path)) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from None
    size = os.fstat(file.fileno())
    if not stat.S_ISREG(size.st_mode) or size.st_size > MAX_BYTES:
        file.close()
        message = f"{path.name} is not a regular file of at most {MAX_BYTES >> 20} MiB"
        raise Refused("SRC401", message, "split it, and write an entry for each part")
    return file


def _confined(path: Path, roots: Sequence[Path]) -> Path:
    """The path with symbolic links followed, below one of `roots`."""
    resolved = path.resolve(strict=True)
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        help = "copy it next to the manifest, or allow its folder with --allow-dir DIR"
        raise Refused("SRC402", f"{path.name} is outside the manifest's folder", help)
    return resolved


def _unreadable(path: Path, error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Refused("SRC401", f"{path.name} cannot be read: {reason}", "check the path and its rights")


def _near(path: Path) -> str:
    if "\\" in str(path) and os.sep == "/":
        return "write / between folders, not \\"
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(1000), strict=False)]
    except OSError:
        names = []
    close = get_close_matches(path.name, names, n=1)
    return f"did you mean `{close[0]}`?" if close else "paths start from the manifest's folder"


def _decodable(file: BinaryIO, name: str, encoding: str | None) -> Text:
    """The file's encoding, found by decoding it all: a mistake in the last line must not come after the first jobs."""
    head = file.read(4)
    if encoding is None and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"  # what Excel calls Unicode text
    codec = "utf-8-sig" if encoding in (None, "utf-8") else str(encoding)
    line = _undecodable_line(file, codec)
    if line is None:
        return Text(file, codec, guessed=False)
    if encoding is None and _undecodable_line(file, "gb18030") is None:
        return Text(file, "gb18030", guessed=True)
    tried = encoding or "UTF-8, nor GB18030,"
    help = "save it as UTF-8 (Excel: CSV UTF-8), or name its `encoding:`"
    raise Refused("SRC403", f"{name} is not {tried} at line {line}", help, line=line)


def _undecodable_line(file: BinaryIO, codec: str) -> int | None:
    """The line of the first byte that the codec does not know; None when it knows them all."""
    decoder = codecs.getincrementaldecoder(codec)()
    file.seek(0)
    line = 1
    while True:
        chunk = file.read(CHUNK)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            good = error.start if isinstance(error, UnicodeDecodeError) else 0
            return line + chunk[:good].count(b"\n")
        if not chunk:
            return None
        line += text.count("\n")


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts as people count: shot2 before shot10."""
    return tuple(
        (0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part.casefold())
        for part in _DIGITS.split(text)
        if part
    )


def matching(folder: Path, roots: Sequence[Path], patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[str, ...]]:
    """The files below `folder` whose path, folder by folder, matches `patterns`: the parts of each path."""
    try:
        _confined(folder, roots)
    except FileNotFoundError:
        raise Refused("SRC401", f"there is no folder {folder.name}", _near(folder)) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(folder, error) from None
    yield from _matching(folder, roots, patterns, [0])


def listed(folder: Path, roots: Sequence[Path]) -> Iterator[str]:
    """What `matching` sees of a folder below one of `roots`, in the order of the names; folders end in `/`."""
    _confined(folder, roots)
    with os.scandir(folder) as entries:
        yield from sorted(entry.name + "/" * entry.is_dir() for entry in entries if not entry.name.startswith("."))


def _matching(
    folder: Path, roots: Sequence[Path], patterns: Sequence[re.Pattern[str]], seen: list[int]
) -> Iterator[tuple[str, ...]]:
    for name in _names(folder, seen):
        if name.startswith(".") or patterns[0].fullmatch(name) is None:
            continue
        if len(patterns) == 1:
            yield (name,)
        elif (folder / name).is_dir():
            _confined(folder / name, roots)
            for rest in _matching(folder / name, roots, patterns[1:], seen):
                yield (name, *rest)


def _names(folder: Path, seen: list[int]) -> list[str]:
    _tell("names", folder)
    try:
        with os.scandir(folder) as entries:
            names = []
            for entry in entries:
                seen[0] += 1
                if seen[0] > MAX_FILES:
                    raise Refused(
                        "SRC401", f"{folder.name} holds more than {MAX_FILES:,} files", "use a smaller folder"
                    )
                names.append(entry.name)
            return names
    except OSError as error:
        raise _unreadable(folder, error) from None
