"""Errors of SQLite and of the file system, told as what they mean for the work and the money."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from batchrunner.errors import StorageError

BUSY_SECONDS = 10
"""How long another program may hold the database before a step is given up (reliability notes §1.5)."""

_KEPT = "everything recorded before is kept; what was under way is never bought a second time blindly"
_SAME = "then run the same command again"
_BACKUP = "put a backup of the file in its place; do not start an empty one: it would buy every clip again"

_FULL = f"the disk is full: {{path}} could not be written; {_KEPT}", f"free some space, {_SAME}"
_DENIED = (
    "{path} or its folder cannot be opened or written ({detail}); nothing was sent for it",
    "make the folder writable for this user, or choose another with --db PATH",
)
_UNMADE = (
    "{path} was being made when its program was cut short; nothing is recorded in it, and nothing was sent for it",
    "run the manifest: that makes it anew",
)
_BUSY = (
    f"another program held {{path}} for more than {BUSY_SECONDS} s; {_KEPT}",
    f"close what has the database open for writing, {_SAME}",
)
_CORRUPT = "{path} is damaged ({detail}); nothing was sent and the file was left as it is", _BACKUP
_NOT_A_DATABASE = (
    "{path} is not a database; it was left untouched and nothing was sent",
    "choose another file with --db PATH, or put a backup of the database in its place",
)
_DISK = f"the disk failed under {{path}} ({{detail}}); {_KEPT}", f"check the disk, {_SAME}"
_RULE = (
    "{path} refused a step that would break one of its rules ({detail}); the step was undone",
    "this is a bug of batchrunner: please report it with this line",
)
_OTHER = "{path} cannot be used ({detail}); the step was undone", _SAME.removeprefix("then ")

_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _DENIED,
    # a journal of the old kind can only lie there from before the first table: the first thing made is the WAL
    sqlite3.SQLITE_READONLY_ROLLBACK: _UNMADE,
    sqlite3.SQLITE_CANTOPEN: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_CORRUPT: _CORRUPT,
    sqlite3.SQLITE_NOTADB: _NOT_A_DATABASE,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_CONSTRAINT: _RULE,
}
_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.EIO: _DISK,
}


def storage_fault(error: sqlite3.Error | OSError, path: str | PathLike[str]) -> StorageError:
    """The `StorageError` that says what this failure of `path` means."""
    if isinstance(error, sqlite3.Error):
        # the low byte is the primary code; the rest says more of the same
        code = getattr(error, "sqlite_errorcode", 0)
        message, fix = _SQLITE.get(code, _SQLITE.get(code & 0xFF, _OTHER))
        detail = str(error)
    else:
        message, fix = _ERRNO.get(error.errno or 0, _OTHER)
        detail = error.strerror or str(error)
    return StorageError(message.format(path=path, detail=detail), fix=fix)


def broken_rule(path: str | PathLike[str], detail: str) -> StorageError:
    """What a constraint says, from a store that has no constraints of its own."""
    message, fix = _RULE
    return StorageError(message.format(path=path, detail=detail), fix=fix)


def damaged(path: str | PathLike[str], detail: str) -> StorageError:
    """A database whose content contradicts itself."""
    message, fix = _CORRUPT
    return StorageError(message.format(path=path, detail=detail), fix=fix)


def not_a_database(path: str | PathLike[str]) -> StorageError:
    """A file of some other kind."""
    message, fix = _NOT_A_DATABASE
    return StorageError(message.format(path=path), fix=fix)


@contextmanager
def told_as_storage_error(path: str | PathLike[str]) -> Iterator[None]:
    """No exception of SQLite or the file system leaves this block; `StorageError` does."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise storage_fault(error, path) from error
    except UnicodeDecodeError as error:
        raise damaged(path, "it holds text that is none") from error
