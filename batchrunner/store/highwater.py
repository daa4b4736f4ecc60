"""How far the submissions had come, beside the database: an old copy put in its place is found out before it buys again.

The mark is raised after each commit that holds an intent and before its request leaves, so it is never ahead of the
database that it belongs to (reliability notes §1.5).
"""

from __future__ import annotations

import os
from pathlib import Path

from batchrunner.errors import StorageError
from batchrunner.store.faults import damaged, told_as_storage_error

_WIDTH = 20
"""Digits: the file is always overwritten by one as long, in one write."""


class HighWater:
    """The number of the last submission, in `<database>.seq`."""

    def __init__(self, database: Path) -> None:
        self._database = database
        real = Path(os.path.realpath(database))
        self.path = real.with_name(real.name + ".seq")
        self._descriptor: int | None = None

    def check(self, last: int) -> None:
        """`StorageError` when the database knows of fewer submissions than were made."""
        mark = self._read()
        if last < mark:
            raise StorageError(
                f"{self._database} is older than its journal: {last} submissions < {mark}; it would buy the others again, "
                "so nothing was sent",
                fix=f"put the newest copy in its place; if there is none, remove {self.path} and count on paying for what "
                "was bought since then once more",
            )

    def raise_to(self, last: int) -> None:
        """Durable when it returns."""
        with told_as_storage_error(self.path):
            if self._descriptor is None:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, b"%0*d\n" % (_WIDTH, last))
            os.fsync(self._descriptor)

    def close(self) -> None:
        """The mark stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> int:
        with told_as_storage_error(self.path):
            try:
                content = self.path.read_bytes()[:64].strip()
            except FileNotFoundError:
                return 0
        if content and not content.isdigit():
            raise damaged(self.path, "it holds no number")
        return int(content or b"0")
