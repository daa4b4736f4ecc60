"""Texts and paths as a terminal may show them, and the two ways to write them."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from batchrunner.errors import StorageError


def printable(text: str) -> str:
    """Characters that would move the cursor or turn the text round are shown, not sent."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def shown(path: Path) -> str:
    """A path as people write it from where they are."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the folder that we are in was removed
        return str(path)


def plural(count: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def say(text: str, *, err: bool = False) -> None:
    """A line about the work. A stream that is closed, full or read by nobody changes nothing about the work."""
    try:
        put(text + "\n", err=err)
    except StorageError:
        return


def put(text: str, *, err: bool = False) -> bool:
    """Write data as it is; False when its reader has left, `StorageError` when it cannot be written."""
    stream = sys.stderr if err else sys.stdout
    if stream is None:  # closed before we began
        return False
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _discard(err=err)
        return False
    except (OSError, ValueError) as error:
        _discard(err=err)
        if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EBADF):
            return False
        raise StorageError("the output could not be written", fix="free some space, or write it elsewhere") from None
    return True


def _discard(*, err: bool) -> None:
    """What is still in the stream's buffer would fail again when the interpreter ends, and change the exit code."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2 if err else 1)
        os.close(nowhere)
    except OSError:
        return
