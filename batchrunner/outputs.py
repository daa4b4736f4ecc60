"""The only writer of clips: stream -> `.part` -> fsync -> verified -> final name -> fsync of the folder.

Nothing half-written ever has a final name, and no file that is not ours is replaced.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from batchrunner.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
MARK = b"<!-- batchrunner report -->"
"""In the first bytes of a report, so that it is told from a file of the user's."""
_MARKED_WITHIN = 128
_PROBE = b"\0" * 4096
COLLECT_AGAIN = "run the same command again: what is finished at the provider is downloaded without paying again"
SEND_AGAIN = "run the same command again: nothing was sent yet"


def storage_error(error: OSError, path: Path, *, then: str = COLLECT_AGAIN) -> StorageError:
    """What an operating system's refusal means for the user."""
    if error.errno in _FULL:
        return StorageError(f"the disk of {path} is full; no paid clip is lost", fix=f"free some space, then {then}")
    if error.errno in _READ_ONLY:
        return StorageError(
            f"{path} cannot be written ({os.strerror(error.errno or 0)})",
            fix=f"make the folder writable or choose another with --out DIR, then {then}",
        )
    return StorageError(
        f"{path} cannot be written: {error.strerror or type(error).__name__}",
        fix=f"choose another folder with --out DIR, then {then}",
    )


class OutputFolder:
    """The folder that a batch's clips go to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Prove, with a real file, that clips can be kept here; `StorageError` before anything is paid for."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe, file = _created(self.root / ".batchrunner.probe", _PROBE.startswith)
            try:
                with file:
                    _write_durably(file, _PROBE)
            finally:
                _remove(probe)
        except OSError as error:
            raise storage_error(error, self.root, then=SEND_AGAIN) from None

    def part(self, output: str, *, owner: str) -> Part:
        """A new, empty `.part` for the clip `output`; `owner` (a task id) keeps two databases apart."""
        final = self.root.joinpath(*output.split("/"))
        tag = hashlib.sha256(owner.encode()).hexdigest()[:8]
        path = final.with_name(f"{final.name}.{tag}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A run that died between link and unlink left one file with two names: emptying it would empty the clip.
            path.unlink(missing_ok=True)
            file = _opened_new(path)
        except OSError as error:
            raise storage_error(error, path.parent) from None
        return Part(path=path, final=final, file=file)


@dataclass(slots=True, kw_only=True)
class Part:
    """A clip that is being written. As a context manager it leaves nothing behind unless it was published or set aside."""

    path: Path
    final: Path
    file: IO[bytes]
    size: int = 0
    """Bytes written so far."""
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()
        except OSError:  # what could not be flushed is thrown away with the rest
            pass
        finally:
            _remove(self.path)

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append; `StorageError` when the disk is full."""
        try:
            self.file.write(chunk)
        except OSError as error:
            raise storage_error(error, self.path.parent) from None
        self._digest.update(chunk)
        self.size += len(chunk)

    def sync(self) -> None:
        """Make what was written durable."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise storage_error(error, self.path.parent) from None

    def publish(self) -> Path:
        """Give the clip its final name, durably, and return it.

        A file that has the name already is kept: if it is this very clip (the run died between rename and record) it is
        the answer, otherwise the clip gets the next free number.
        """
        return self._named(self.final)

    def _named(self, name: Path) -> Path:
        try:
            for candidate in _names(name):
                if _claim(self.path, candidate) or self._is(candidate):
                    _sync_folder(candidate.parent)
                    return candidate
        except OSError as error:
            raise storage_error(error, name) from None
        raise AssertionError("there is always a next number")

    def _is(self, other: Path) -> bool:
        """Whether a file is this very clip."""
        if other.is_symlink() or not other.is_file() or other.stat().st_size != self.size:
            return False
        with other.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def set_aside(self) -> Path:
        """Keep what the provider sent, under a name that no one takes for a clip; nothing else loses its name for it."""
        return self._named(self.final.with_name(self.final.name + ".bad"))


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file with a `MARK`, durably, and return its path: a reader sees the old one or the new one.

    Only a file that has the mark too is replaced; beside any other the new one gets the next free number.
    """
    try:
        part, file = _created(path.with_name(path.name + ".part"), _is_marked)
        try:
            with file:
                _write_durably(file, content)
            for candidate in _names(path):
                if _begins(candidate, _is_marked):
                    part.replace(candidate)
                elif not _claim(part, candidate):
                    continue
                _sync_folder(path.parent)
                return candidate
        finally:
            _remove(part)
    except OSError as error:
        raise storage_error(error, path) from None
    raise AssertionError("there is always a next number")


def _is_marked(beginning: bytes) -> bool:
    return MARK in beginning[:_MARKED_WITHIN]


def _created(path: Path, ours: Callable[[bytes], bool]) -> tuple[Path, IO[bytes]]:
    """A new file at `path`, in place of one that an earlier run left there; a file that is not ours keeps its name."""
    for candidate in _names(path):
        if _begins(candidate, ours):
            _remove(candidate)
        with suppress(FileExistsError):
            return candidate, _opened_new(candidate)
    raise AssertionError("there is always a next number")


def _begins(path: Path, ours: Callable[[bytes], bool]) -> bool:
    """Whether there is a file, and its first bytes are ours; what cannot be read is not."""
    if path.is_symlink() or not path.is_file():
        return False
    with suppress(PermissionError), path.open("rb") as file:
        return ours(file.read(len(_PROBE) + 1))
    return False


def _opened_new(path: Path) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o644), "wb")


def _write_durably(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _names(final: Path) -> Iterator[Path]:
    yield final
    number = 2
    while True:
        yield final.with_name(f"{final.stem} ({number}){final.suffix}")
        number += 1


def _claim(part: Path, final: Path) -> bool:
    """Give the file its name unless the name is taken; a hard link is the atomic way to find out."""
    try:
        os.link(part, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if (
            final.exists()
        ):  # a file system without hard links: the names of one batch are unique, so this is close enough
            return False
        part.rename(final)
    return True


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
