"""The database: its versions, and the migrations that lead from one to the next.

The rules are CHECK constraints and unique indexes, so that a bug above is refused and not recorded. Three small tables
(`job_counts`, `spending`, `daily_spending`) are kept by triggers: what a run asks often never costs more as jobs finish.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from batchrunner.store.first_version import INDEXES, TABLES, TRIGGERS, VIEWS
from batchrunner.store.later_versions import (
    CAPS,
    COMPARISONS,
    DAYS,
    EVIDENCE,
    LEDGER,
    PLACES,
    PROOFS,
    RECEIPTS,
    SERVICE_TIMES,
    TAGS,
    VERDICTS,
    WORDS,
)

APPLICATION_ID = 0x62_61_74_72
"""`batr` in the file's header: tells our databases from those of other programs."""

_LISTED = re.compile(r"(\w+) (NOT )?IN\s+\(('[^()]*')\)")


def compared(sql: str) -> str:
    """`x IN ('a', 'b', 'c')` as comparisons: SQLite makes a table of three constants or more whenever it checks a row."""

    def spell(found: re.Match[str]) -> str:
        column, negated, words = found.groups()
        sign, joint = ("<>", " AND ") if negated else ("=", " OR ")
        return "(" + joint.join(f"{column} {sign} {word.strip()}" for word in words.split(",")) + ")"

    return _LISTED.sub(spell, sql)


STEPS: dict[str, tuple[str, ...]] = {
    "1_first_version": (*map(compared, TABLES), *INDEXES, *TRIGGERS, *VIEWS),
    "2_tags": TAGS,
    "3_days": DAYS,
    "4_words": WORDS,
    "5_places": PLACES,
    "6_candidates": ("ALTER TABLE attempts ADD COLUMN candidate TEXT",),
    "7_evidence": EVIDENCE,
    "8_proofs": PROOFS,
    "9_caps": CAPS,
    "10_ledger": LEDGER,
    "11_verdicts": VERDICTS,
    "12_service_times": SERVICE_TIMES,
    "13_saved_plans": ("ALTER TABLE runs ADD COLUMN plan TEXT",),
    "14_comparisons": COMPARISONS,
    "15_accounts": ("ALTER TABLE attempts ADD COLUMN account TEXT",),
    "16_receipts": RECEIPTS,
}
"""Every migration, oldest first. A step that was released never changes; what comes later is a new step."""

VERSION = len(STEPS)
"""`user_version` of a database that has every step."""


_SET = "batchrunner"
_RECORD = (
    """
    CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)
    """,
    """
    CREATE UNIQUE INDEX idx__sqlite_migrations_migration_set_name ON _sqlite_migrations (migration_set, name)
    """,
)
"""Where sqlite-utils looks for the steps that a database has."""


def create(connection: sqlite3.Connection) -> None:
    """Give a new database every step in one transaction, and leave it as `migrate` would."""
    with _all_or_nothing(connection):
        for statement in (*chain.from_iterable(STEPS.values()), *_RECORD):
            connection.execute(statement)
        connection.executemany(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, datetime('now'))",
            [(_SET, name) for name in STEPS],
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to `VERSION` in one transaction: afterwards it has the new schema or still the old one."""
    from sqlite_utils import Database, Migrations  # takes longer to import than a new database to make

    migrations = Migrations(_SET)
    for name, statements in STEPS.items():

        def step(database: Database, statements: tuple[str, ...] = statements) -> None:
            for statement in statements:
                database.execute(statement)

        migrations(name=name)(step)
    with _all_or_nothing(connection):
        migrations.apply(Database(connection, recursive_triggers=False, execute_plugins=False))


@contextmanager
def _all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, which ends with the marks of a database that has every step."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
