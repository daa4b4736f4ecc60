"""A guarded connection to the database: errors are told as `StorageError`, transactions nest.

One lock guards the connection: a question from another thread waits until the transaction under way is decided, so
nobody sees what may yet be undone. Ask through `Writer.run` where the event loop must not wait for that.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import get_ident
from typing import Any

from batchrunner.errors import StorageError
from batchrunner.store.faults import storage_fault, told_as_storage_error

_INSIDE = nullcontext()


class Connection:
    """A guarded connection: errors are told as `StorageError`, transactions nest."""

    _begin = "BEGIN"  # a reader's: one snapshot for every question inside

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._one_in: int | None = None
        """The thread whose transactions are one."""

    def close(self) -> None:
        with self._lock, told_as_storage_error(self._path):
            self._connection.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is durable together when the block ends, or undone when it raises; blocks may nest."""
        if self._one_in == get_ident():
            self._check_open()
            return _INSIDE
        return self._step()

    @contextmanager
    def as_one(self) -> Iterator[None]:
        """Without savepoints: SQLite copies every page that is touched after each of them."""
        with self._lock:
            self._one_in = get_ident()
            try:
                yield
            finally:
                self._one_in = None

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._lock:
            outermost = self._depth == 0
            if not outermost:
                self._check_open()
            self._run(self._begin if outermost else "SAVEPOINT step")
            self._depth += 1
            try:
                yield
                self._run("COMMIT" if outermost else "RELEASE step")
            except BaseException:
                self._undo(outermost=outermost)
                raise
            finally:
                self._depth -= 1
            if outermost:
                self._committed()

    def _check_open(self) -> None:
        """SQLite may undo everything by itself (disk full, say); what came then would be committed alone."""
        if not self._connection.in_transaction:
            raise StorageError(
                f"{self._path} undid the step under way after an error; nothing of it is recorded",
                fix="see the error before this one, then run the same command again",
            )

    def _committed(self) -> None:
        """A transaction is durable; nobody else has the connection yet."""

    def _undo(self, *, outermost: bool) -> None:
        with suppress(sqlite3.Error):  # where SQLite undid it already, there is nothing left to undo
            if outermost:
                self._connection.execute("ROLLBACK")
            else:
                self._connection.execute("ROLLBACK TO step")
                self._connection.execute("RELEASE step")

    def _run(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._connection.execute(sql, parameters)
            except sqlite3.Error as error:
                raise storage_fault(error, self._path) from error

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise storage_fault(error, self._path) from error

    def _row(self, sql: str, parameters: Sequence[Any] = ()) -> sqlite3.Row | None:
        return next(iter(self._rows(sql, parameters)), None)
