"""The database: its versions, and the migrations that lead from one to the next.

The rules are CHECK constraints and unique indexes, so that a bug above is refused and not recorded. Three small tables
(`job_counts`, `spending`, `daily_spending`) are kept by triggers: what a run asks often never costs more as jobs finish.
"""

from __future__ import annotations

import re
import sqlite3

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


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to `VERSION` in one transaction: afterwards it has the new schema or still the old one."""
    from sqlite_utils import Database, Migrations  # 300 ms to import, and most openings have nothing to migrate

    migrations = Migrations("batchrunner")
    for name, statements in STEPS.items():

        def step(database: Database, statements: tuple[str, ...] = statements) -> None:
            for statement in statements:
                database.execute(statement)

        migrations(name=name)(step)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection, recursive_triggers=False, execute_plugins=False))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
