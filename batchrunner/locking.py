"""One process holds a file: a lock of the operating system, which frees it however the process ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    _FAR_AWAY = 1 << 30  # a locked byte cannot be read there, and what the file says must be

    def lock(descriptor: int) -> None:
        """Take the lock at once, or raise one of `BUSY`; closing the descriptor frees it."""
        os.lseek(descriptor, _FAR_AWAY, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    BUSY: tuple[type[OSError], ...] = (PermissionError, BlockingIOError)
else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Take the lock at once, or raise one of `BUSY`; closing the descriptor frees it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    BUSY: tuple[type[OSError], ...] = (BlockingIOError,)
