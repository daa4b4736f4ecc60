"""One process owns a database: a lock of the operating system, which frees it however the process ends.

The file beside the database says who holds it; what it says never blocks anybody.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from batchrunner.errors import LockedError
from batchrunner.locking import BUSY, lock
from batchrunner.store.connect import make_private_file, make_private_folder
from batchrunner.store.faults import told_as_storage_error
from batchrunner.store.mounts import refuse_network
from batchrunner.store.rows import to_text


class DatabaseLock:
    """The right to write to the database at `path`: taken by `acquire` or `with`, `now` is what others are told."""

    def __init__(self, path: str | PathLike[str], *, now: datetime, networked: bool = False) -> None:
        self._database = Path(path)
        self._real = Path(os.path.realpath(path))  # one lock for one database, by whatever links it is reached
        self.path = self._real.with_name(self._real.name + ".lock")
        self._now = now
        self._networked = networked
        """Whether the user answers for a folder on another machine."""
        self._descriptors: list[int] = []

    def acquire(self) -> None:
        """Take the lock at once, or raise `LockedError` that names the holder."""
        with told_as_storage_error(self.path):
            make_private_folder(self.path.parent)
            if not self._networked:
                refuse_network(self.path.parent)
            try:
                self._take(self.path)
                self._introduce(self._descriptors[0])
                if sys.platform == "linux":  # elsewhere the two kinds of locks on one file may be in each other's way
                    # The database itself as well: the file beside it may be removed while somebody holds it.
                    self._take(self._real)
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Let go; the file stays, since removing it could free a lock that somebody just took."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, path: Path) -> None:
        make_private_file(path)
        descriptor = os.open(path, os.O_RDWR)
        self._descriptors.append(descriptor)
        try:
            lock(descriptor)
        except BUSY:
            raise self._held() from None

    def _introduce(self, descriptor: int) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": to_text(self._now)}
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())

    def _held(self) -> LockedError:
        holder = self._holder()
        who = "another run"
        if holder:
            who = f"the run with pid {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')},"
        return LockedError(
            f"{who} works on {self._database}; this one did nothing",
            fix="wait for it, or look: batchrunner status",
        )

    def _holder(self) -> dict[str, Any]:
        """Who says to hold it; empty while it is still writing that."""
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return holder if isinstance(holder, dict) else {}
