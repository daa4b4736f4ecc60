"""What an expansion read of the disk, and whether that is still the same: as long as it is, so are the jobs.

In doubt it is not the same: then the manifest is expanded again, which costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import batchrunner
from batchrunner.manifest import files
from batchrunner.store.comparison import SourceFile

FINE, COARSE = 0.1, 2.1
"""Seconds after which another change has another time, where a file system counts in milliseconds or less, and where not."""
_MILLISECOND = 1_000_000
_State = tuple[int, int, int, int]
"""Size, times of modification and of any change in nanoseconds, inode."""


class Kind(StrEnum):
    """How a file or folder is told from what it was."""

    CONTENT = "content"
    """By the SHA-256 of its bytes: tables and lists."""
    NAMES = "names"
    """By what lies in the folder."""
    FRAME = "frame"
    """By what the file system says of it, which no other content keeps: there may be a million."""


class Witness:
    """Takes down everything that is read, from the moment `began` on."""

    def __init__(self, began: datetime) -> None:
        self._began = began.timestamp()
        self._seen: dict[tuple[str, Kind], _State | None] = {}

    def saw(self, kind: Kind, path: Path) -> None:
        """To be told before it is read."""
        if (str(path), kind) not in self._seen:
            self._seen[str(path), kind] = _state(path)

    def sources(self, roots: Sequence[Path]) -> list[SourceFile] | None:
        """All that was read; None when some of it may have changed since, or might change without being noticed."""
        found = []
        for (name, kind), state in self._seen.items():
            identity = _identity(Path(name), kind, roots)
            if identity is None or state is None or _state(Path(name)) != state or not self._is_settled(state):
                return None
            found.append(SourceFile(path=name, kind=kind.value, identity=identity))
        return found

    def _is_settled(self, state: _State) -> bool:
        """Whether a change after the beginning would have given the file another time than it has."""
        latest = max(state[1], state[2])
        margin = FINE if latest % _MILLISECOND else COARSE
        return latest / 1e9 + margin < self._began


def is_same(source: SourceFile, roots: Sequence[Path]) -> bool:
    """Whether it is what it was."""
    return _identity(Path(source.path), Kind(source.kind), roots) == source.identity


def program() -> Iterator[str]:
    """What this program is: another version may make other jobs of the same words, and so may a developer's change."""
    yield f"{batchrunner.__version__} {sys.version}"
    folder = Path(batchrunner.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        yield f"{path.relative_to(folder)} {_state(path)}"


def _state(path: Path) -> _State | None:
    try:
        found = os.stat(path)  # noqa: PTH116  (there may be a million)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _identity(path: Path, kind: Kind, roots: Sequence[Path]) -> str | None:
    """None for what cannot be read, or may not be."""
    if kind is Kind.FRAME:
        state = _state(path)
        return None if state is None else ":".join(map(str, state))
    with suppress(files.Refused, OSError):
        if kind is Kind.NAMES:
            return _digest(files.listed(path, roots))
        with files.opened(path, roots) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _digest(words: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
