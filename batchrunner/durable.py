"""Files that are whole or not there, and never another's: what clips and reports are written with."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import IO

from batchrunner.errors import StorageError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
MARK = b"<!-- batchrunner report -->"
"""In the first bytes of a report, so that it is told from a file of the user's."""
_MARKED_WITHIN = 128
_BEGINNING = 4097
"""Bytes by which a file is told to be ours; one more than the probe of a folder has."""
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


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file with a `MARK`, durably, and return its path: a reader sees the old one or the new one.

    Only a file that has the mark too is replaced; beside any other the new one gets the next free number.
    """
    try:
        part, file = created(path.with_name(path.name + ".part"), _is_marked)
        try:
            with file:
                write_durably(file, content)
            for candidate in names(path):
                if begins(candidate, _is_marked):
                    part.replace(candidate)
                elif not claim(part, candidate):
                    continue
                sync_folder(path.parent)
                return candidate
        finally:
            remove(part)
    except OSError as error:
        raise storage_error(error, path) from None
    raise AssertionError("there is always a next number")


def _is_marked(beginning: bytes) -> bool:
    return MARK in beginning[:_MARKED_WITHIN]


def created(path: Path, ours: Callable[[bytes], bool]) -> tuple[Path, IO[bytes]]:
    """A new file at `path`, in place of one that an earlier run left there; a file that is not ours keeps its name."""
    for candidate in names(path):
        if begins(candidate, ours):
            remove(candidate)
        with suppress(FileExistsError):
            return candidate, os.fdopen(opened_new(candidate), "wb")
    raise AssertionError("there is always a next number")


def begins(path: Path, ours: Callable[[bytes], bool]) -> bool:
    """Whether there is a file, and its first bytes are ours; what cannot be read is not."""
    if path.is_symlink() or not path.is_file():
        return False
    with suppress(PermissionError), path.open("rb") as file:
        return ours(file.read(_BEGINNING))
    return False


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def opened_new(path: Path) -> int:
    """The descriptor of a file that did not exist before; a link in its place is not followed."""
    return os.open(path, _NEW, 0o644)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it, where one call may write a part only."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def begin_sync(descriptor: int) -> None:
    """Let the disk begin with what was written, and wait for nothing: files that are synced one after the other are written
    together. Without effect where the system has no such call."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def private_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file for its owner only, durable when the block ends, and gone again when it raises; none is overwritten."""
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise UsageError(
            f"{path} is there already and is not overwritten; nothing was sent", fix="name another file"
        ) from None
    except OSError as error:
        raise storage_error(error, path, then=SEND_AGAIN) from None
    try:
        with file:
            yield file
        sync_folder(path.absolute().parent)
    except BaseException:
        remove(path)
        raise


def write_durably(file: IO[bytes], content: bytes) -> None:
    """Write all of it and wait for the disk."""
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def names(final: Path) -> Iterator[Path]:
    """The name itself, then the same with a number, for ever."""
    yield final
    number = 2
    while True:
        yield final.with_name(f"{final.stem} ({number}){final.suffix}")
        number += 1


def claim(part: Path, final: Path) -> bool:
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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """The folder, made durably with those that it lies in where they are missing: what is in it is no surer than its name."""
    missing = list(takewhile(lambda one: not one.exists(), (folder, *folder.parents)))
    if not missing:
        return
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there and can be removed."""
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108  (one for each clip)
