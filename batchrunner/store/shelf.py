"""The jobs of a manifest on the disk until it is known to be right: as little memory for a million as for ten.

The file has no name: SQLite makes it where temporary files go, readable by nobody else, and only when there is more
than the cache holds; it is gone when the shelf is closed, however the process ends.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Self

from batchrunner import request as requests
from batchrunner.diagnostic import Place
from batchrunner.manifest.shelf import Clash, Unnamed
from batchrunner.model import WantedJob
from batchrunner.store.faults import storage_fault, told_as_storage_error
from batchrunner.store.rows import WANTED_COLUMNS, wanted_columns

CACHE = 8 << 10
"""KiB of pages in memory; a manifest of a few thousand jobs never reaches the disk."""
HELD = 500
"""Rows that are written at once."""
NAME = "the temporary file of the manifest's jobs"

_TABLES = """
    CREATE TABLE jobs (number INTEGER PRIMARY KEY, priority INTEGER, spot INTEGER, base TEXT, draft TEXT, length INTEGER,
        fingerprint TEXT, prompt TEXT, request TEXT, billing_key TEXT, seconds INTEGER, place TEXT, tags TEXT);
    CREATE TABLE names (number INTEGER PRIMARY KEY, key TEXT, output TEXT, file TEXT);
    CREATE TABLE owners (key TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID;
    CREATE TABLE asked (base TEXT PRIMARY KEY, times INTEGER) WITHOUT ROWID;
    CREATE TABLE folders (folder TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
"""
# names are a table of their own, so that whoever looks for a path or gives a name need not touch the long texts
_PUT = """
    INSERT INTO jobs VALUES (:number, :priority, :spot, :base, :draft, :length,
        :fingerprint, :prompt, :request, :billing_key, :seconds, :place, :tags)
"""
_POSITIONS = {False: "number", True: "row_number() OVER (ORDER BY priority DESC, number) - 1"}
"""By whether any job has a priority."""


class DiskShelf:
    """Keeps jobs, and then is all of them in the order of submission."""

    def __init__(self) -> None:
        with told_as_storage_error(NAME):
            self._connection = sqlite3.connect("", isolation_level=None)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE}"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(_TABLES)
            self._connection.execute("BEGIN")
        self._count = 0
        self._prioritised = False
        self._rows: list[dict[str, Any]] = []
        self._names: list[tuple[int, str, str, str]] = []

    def close(self) -> None:
        """Forget the jobs."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    # expansion

    def claim(self, key: str, place: str) -> str | None:
        try:
            if self._connection.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (key, place)).rowcount:
                return None
            return str(self._connection.execute("SELECT place FROM owners WHERE key = ?", (key,)).fetchone()[0])
        except sqlite3.Error as error:  # without a context manager: every job passes here
            raise storage_fault(error, NAME) from error

    def again(self, base: str) -> int:
        sql = "INSERT INTO asked VALUES (?, 2) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"
        with told_as_storage_error(NAME):
            return int(self._connection.execute(sql, (base,)).fetchone()[0])

    def put(self, job: WantedJob, file: str, *, spot: int, priority: int) -> None:
        self._names.append((self._count, job.key, job.output, file))
        self._put(job, spot=spot, priority=priority)

    def put_unnamed(self, job: WantedJob, draft: str, *, base: str, spot: int, priority: int) -> None:
        self._put(job, spot=spot, priority=priority, base=base, draft=draft)

    def _put(
        self, job: WantedJob, *, spot: int, priority: int, base: str | None = None, draft: str | None = None
    ) -> None:
        length = job.place.length if job.place else 0
        row = {
            "number": self._count,
            "spot": spot,
            "priority": priority,
            "base": base,
            "draft": draft,
            "length": length,
        }
        self._rows.append(wanted_columns(job) | row)
        self._prioritised = self._prioritised or priority != 0
        self._count += 1
        if len(self._rows) >= HELD:
            self._flush()

    def need(self, folder: str, number: int) -> None:
        sql = "INSERT INTO folders VALUES (?, ?) ON CONFLICT DO UPDATE SET number = min(number, excluded.number)"
        with told_as_storage_error(NAME):
            self._connection.execute(sql, (folder, number))

    def unnamed(self) -> Iterator[Unnamed]:
        self._flush()
        with told_as_storage_error(NAME):
            self._connection.execute("""
                CREATE TABLE shared AS SELECT base FROM jobs WHERE base IS NOT NULL
                GROUP BY base HAVING min(fingerprint) <> max(fingerprint)
            """)
        sql = f"""
            SELECT number, fingerprint, draft, base IN (SELECT base FROM shared) FROM jobs
            WHERE base IS NOT NULL AND number > ? ORDER BY number LIMIT {HELD}
        """
        last = -1
        while page := self._page(sql, last):
            for number, fingerprint, draft, shared in page:
                yield Unnamed(number, fingerprint, draft, bool(shared))
            last = page[-1][0]

    def _page(self, sql: str, after: int) -> list[tuple[Any, ...]]:
        with told_as_storage_error(NAME):
            return self._connection.execute(sql, (after,)).fetchall()

    def name(self, number: int, key: str, output: str, file: str) -> None:
        self._names.append((number, key, output, file))
        if len(self._names) >= HELD:
            self._flush()

    def same_files(self) -> Iterator[Clash]:
        self._flush()
        with told_as_storage_error(NAME):
            self._connection.execute("CREATE INDEX names_by_file ON names (file)")
            yield from self._clashes("""
                FROM (SELECT file, min(number) AS first FROM names GROUP BY file HAVING count(*) > 1) AS twice
                JOIN names AS owner ON owner.number = twice.first
                JOIN names AS other ON other.file = twice.file AND other.number <> twice.first
            """)

    def files_in_the_way(self) -> Iterator[Clash]:
        with told_as_storage_error(NAME):
            yield from self._clashes("""
                FROM folders JOIN names AS other USING (number)
                JOIN names AS owner ON owner.number = (SELECT min(number) FROM names WHERE file = folder)
            """)

    def _clashes(self, tables: str) -> Iterator[Clash]:
        columns = "owner.key, other.key, other.output, jobs.spot"
        sql = f"SELECT {columns} {tables} JOIN jobs ON jobs.number = other.number ORDER BY other.number"
        yield from map(Clash._make, self._connection.execute(sql))

    def jobs(self) -> DiskShelf:
        self._flush()
        return self

    def _flush(self) -> None:
        with told_as_storage_error(NAME):
            self._connection.executemany(_PUT, self._rows)
            self._connection.executemany("INSERT INTO names VALUES (?, ?, ?, ?)", self._names)
        self._rows.clear()
        self._names.clear()

    # the jobs

    def __iter__(self) -> Iterator[WantedJob]:
        for length, key, fingerprint, _, request, _, _, output, position, place, tags in self._in_order(
            ("length", *WANTED_COLUMNS)
        ):
            yield WantedJob(
                key=key,
                fingerprint=fingerprint,
                request=requests.from_json(request),
                output=output,
                position=position,
                place=_to_place(place, length),
                tags=tuple(json.loads(tags)),
            )

    def columns(self) -> Iterator[tuple[Any, ...]]:
        """`WANTED_COLUMNS` of each job, as they are stored."""
        return self._in_order(WANTED_COLUMNS)

    def _in_order(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        listed = ", ".join(columns).replace("position", f"{_POSITIONS[self._prioritised]} AS position")
        sql = f"SELECT {listed} FROM jobs JOIN names USING (number) ORDER BY position"
        with told_as_storage_error(NAME):
            yield from self._connection.execute(sql)


def _to_place(text: str | None, length: int) -> Place | None:
    if text is None:
        return None
    file, line, column = text.rsplit(":", 2)
    return Place(file=file, line=int(line), column=int(column), length=length)
