"""Everything that can be known of a batch from outside: the provider's books, the database, the folders, the words."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .providers import Shop

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sale:
    """One accepted submission, by the provider's own ledger."""

    task_id: str
    purchase_id: str
    prompt: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Said:
    """What one process printed, and how it ended; None when it was killed."""

    text: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the provider has seen."""

    submissions: int = 0
    sold: int = 0
    balances: int = 0
    """Questions what the account has, which are free."""

    @classmethod
    def of(cls, shop: Shop) -> Traffic:
        """All of it until now."""
        sold, kinds = len(shop.sales()), Counter(line["kind"] for line in shop.requests())
        return cls(kinds["submit"], sold, kinds["balance"])

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(self.submissions - before.submissions, self.sold - before.sold, self.balances - before.balances)

    @property
    def unsold(self) -> int:
        """Submissions that nothing came of."""
        return self.submissions - self.sold


@dataclass(kw_only=True)
class Evidence:
    """A batch as it is now. The database is read once, when it is first asked for."""

    folder: Path
    """The user's working folder."""
    database: Path
    clips: Path
    """The output folder."""
    prompts: list[str]
    """Of the manifest, one for each wanted job."""
    outgrown: list[str] = field(default_factory=list)
    """Of the manifest as it was before jobs were added to it."""
    sales: list[Sale]
    bodies: list[str]
    """SHA-256 of every submission that arrived, sold or not."""
    clip_of: Callable[[str], bytes] | None = None
    """The bytes that are sold as a task, when the provider can say."""
    said: Iterable[Said] = ()
    elsewhere: tuple[Path, ...] = ()
    """Folders of this machine that are not the user's working folder: home and temporary files."""
    foreign: dict[Path, bytes] = field(default_factory=dict)
    """Files that were there before, which nobody may touch."""
    secrets: tuple[str, ...] = ()
    slots: int = 4
    most_submitting: int = 0
    """Submissions that the provider saw under way at once."""
    jobs_before: int = 0
    """Jobs that the database had when it was looked at last."""
    cap: int = 0
    """Clips that the budget allows; 0 without a budget."""
    is_short: bool = False
    """Whether the account pays for less than the batch wants."""
    is_shut: bool = False
    """Whether every submission of this run was answered with an error, and sold nothing."""
    run: Traffic = Traffic()
    """Of the last run."""

    @property
    def last(self) -> Said | None:
        """The process that ended last."""
        return next(reversed(list(self.said)), None)

    @cached_property
    def jobs(self) -> list[Row]:
        return self._read("SELECT * FROM jobs ORDER BY id")

    @cached_property
    def attempts(self) -> list[Row]:
        return self._read("SELECT * FROM attempts ORDER BY id")

    @cached_property
    def events(self) -> list[Row]:
        return self._read("SELECT * FROM events ORDER BY id")

    @cached_property
    def by_purchase(self) -> dict[str, Row]:
        """Each purchase's job, also of purchases that it no longer has."""
        by_id = {job["id"]: job for job in self.jobs}
        return {attempt["purchase_id"]: by_id[attempt["job_id"]] for attempt in self.attempts}

    def ask(self, sql: str) -> list[Any]:
        """Any question to the database; no answers while there is none."""
        return [tuple(row.values()) for row in self._read(sql)]

    def _read(self, sql: str) -> list[Row]:
        if not self.database.exists() or not self.database.stat().st_size:
            return []
        uri = f"{self.database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(sql)]
            except sqlite3.OperationalError as error:
                unmade = error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK  # ended before it had tables
                if unmade or "no such table" in str(error):
                    return []
                raise
