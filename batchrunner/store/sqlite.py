"""The store on SQLite: how its file is opened, and what a commit leaves behind.

Plain parameterised SQL on one connection; sqlite-utils makes the schema (`schema.py`). Each part of the port has a module of
its name: `sqlite_batches`, `staging` and `sqlite_planning`, `queries`, `sqlite_books`, `sqlite_evidence`,
`sqlite_transitions`.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Self

from batchrunner.store.connect import open_for_reading, open_for_writing, open_nothing
from batchrunner.store.faults import told_as_storage_error
from batchrunner.store.highwater import HighWater
from batchrunner.store.sqlite_batches import Batches
from batchrunner.store.sqlite_evidence import Evidence
from batchrunner.store.sqlite_planning import Planning


class SqliteStore(Planning, Batches, Evidence):
    """Jobs, their purchases and their history, in one file."""

    _water: HighWater | None = None

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """The one store that writes; the caller holds the `DatabaseLock`. A new file is made if there is none."""
        path = Path(path)
        with told_as_storage_error(path):
            water = HighWater(path)
            if not path.exists() or not path.stat().st_size:
                water.check(0)
            store = cls(open_for_writing(path), path)
            store._begin = "BEGIN IMMEDIATE"  # a deferred one fails at once, without waiting, when it comes to write
            try:
                water.check(store._last_attempt())
            except BaseException:
                store.close()
                raise
            store._water = water
        return store

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self:
        """A store that answers questions, beside a run or without one; its `transaction` is one snapshot."""
        path = Path(path)
        with told_as_storage_error(path):
            return cls(open_for_reading(path), path)

    @classmethod
    def planning(cls, path: str | PathLike[str]) -> Self:
        """A store that answers questions and compares, beside a run or without one; it holds nothing where no file is."""
        path = Path(path)
        with told_as_storage_error(path):
            if not path.exists():
                return cls(open_nothing(), path)
            return cls(open_for_reading(path, scratch=True), path)

    def close(self) -> None:
        super().close()
        if self._water is not None:
            self._water.close()

    def _committed(self) -> None:
        """A commit with an intent has raised the high-water mark when its block ends."""
        if self._claimed and self._water is not None:
            self._claimed = False
            self._water.raise_to(self._last_attempt())

    def _last_attempt(self) -> int:
        row = self._row("SELECT max(id) AS last FROM attempts")
        return int(row["last"] or 0) if row else 0
