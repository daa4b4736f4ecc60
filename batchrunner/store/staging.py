"""A manifest against the stored jobs, as sets: `plan.match` and `plan.plan` in SQL, for a million jobs in little memory.

The wanted jobs are copied into temporary tables beside the database's own; which row belongs to which job is decided
there, and `SqliteStore` carries it out from there. Nothing of the database itself changes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from batchrunner.model import WantedJob
from batchrunner.store.base import (
    NOTHING_AGAIN,
    Changes,
    Comparison,
    Redo,
)
from batchrunner.store.compared import Compared
from batchrunner.store.faults import told_as_storage_error
from batchrunner.store.queries import SELECTED_BY, selection
from batchrunner.store.rows import WANTED_COLUMNS, wanted_columns

UNPAID = """
    (state = 'pending' OR state IN ('cancelled', 'failed') AND NOT EXISTS
        (SELECT 1 FROM attempts WHERE job_id = jobs.id AND charge <> 'released'))
"""
"""Jobs whose request the manifest may still change: nothing is bought for them, nor can be before they are claimed."""

_TABLES = (
    f"CREATE TEMP TABLE staged (rank INTEGER PRIMARY KEY, {', '.join(WANTED_COLUMNS)})",
    # narrow and by itself: whether a job has a row is asked often, and its long texts are not
    """
    CREATE TEMP TABLE matches (rank INTEGER PRIMARY KEY, job_id INTEGER NOT NULL UNIQUE,
        state TEXT NOT NULL, moved INTEGER NOT NULL, differs INTEGER NOT NULL, replaces INTEGER NOT NULL)
    """,
    "CREATE TEMP TABLE dropped (key TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
    """
    CREATE TEMP TABLE spare (id INTEGER PRIMARY KEY, key TEXT NOT NULL, fingerprint TEXT NOT NULL,
        state TEXT NOT NULL, wanted INTEGER NOT NULL, unpaid INTEGER NOT NULL)
    """,
    "CREATE TEMP TABLE orphans (id INTEGER PRIMARY KEY)",
    # fresh: another job takes its place; otherwise it is sent once more itself
    "CREATE TEMP TABLE again (rank INTEGER PRIMARY KEY, job_id INTEGER NOT NULL UNIQUE, fresh INTEGER NOT NULL)",
)
_NAMES = ("staged", "matches", "dropped", "spare", "orphans", "again", "outgoing")

_STAGE = f"INSERT INTO staged VALUES (NULL, {', '.join('?' * len(WANTED_COLUMNS))})"
"""The rank is the next one; positions are what the manifest says, and nothing here depends on them."""

_MATCH = f"""
    INSERT INTO matches SELECT wanted_job.rank, jobs.id, jobs.state, jobs.key <> wanted_job.key,
        jobs.fingerprint <> wanted_job.fingerprint, jobs.fingerprint <> wanted_job.fingerprint AND {UNPAID}
"""
_NAMED_SELECTED = SELECTED_BY.format(only=":only", tags=":tags")
_OWNER = "SELECT id FROM jobs WHERE batch_id = :batch AND key = wanted_job.key AND wanted = 1"
_LEFT = "wanted_job.rank NOT IN (SELECT rank FROM matches)"

_SAME_KEY_AND_REQUEST = f"""
    {_MATCH} FROM staged AS wanted_job CROSS JOIN jobs
    ON jobs.batch_id = :batch AND jobs.key = wanted_job.key AND jobs.wanted = 1
    WHERE jobs.fingerprint = wanted_job.fingerprint
"""
_DROPPED_WITH_SAME_KEY_AND_REQUEST = f"""
    {_MATCH} FROM staged AS wanted_job JOIN dropped ON dropped.key = wanted_job.key JOIN jobs ON jobs.id = dropped.id
    WHERE jobs.fingerprint = wanted_job.fingerprint AND NOT EXISTS ({_OWNER})
"""
_LAST_DROPPED = """
    INSERT OR REPLACE INTO dropped SELECT key, id FROM jobs WHERE batch_id = :batch AND wanted = 0 ORDER BY position, id
"""
_SPARE = f"""
    INSERT INTO spare SELECT id, key, fingerprint, state, wanted, {UNPAID} FROM jobs
    WHERE batch_id = :batch AND wanted IN (0, 1) AND id NOT IN (SELECT job_id FROM matches)
"""
_SAME_REQUEST = f"""
    {_MATCH} FROM (
        SELECT rank, key, fingerprint, row_number() OVER (PARTITION BY fingerprint ORDER BY rank) AS take
        FROM staged AS wanted_job WHERE {_LEFT}
    ) AS wanted_job JOIN (
        SELECT id, fingerprint,
            row_number() OVER (PARTITION BY fingerprint ORDER BY state <> 'done', unpaid, id) AS take
        FROM spare
    ) AS fitting ON fitting.fingerprint = wanted_job.fingerprint AND fitting.take = wanted_job.take
    JOIN jobs ON jobs.id = fitting.id
"""
_SAME_KEY = f"""
    {_MATCH} FROM staged AS wanted_job JOIN jobs
    ON jobs.id = coalesce(({_OWNER}), (SELECT id FROM dropped WHERE key = wanted_job.key))
    WHERE {_LEFT} AND jobs.id NOT IN (SELECT job_id FROM matches)
"""
_ORPHANS = """
    INSERT INTO orphans SELECT id FROM spare WHERE wanted = 1 AND id NOT IN (SELECT job_id FROM matches)
"""
_AGAIN = f"""
    WITH sendable AS (
        SELECT rank, job_id, differs, coalesce(replaces OR state = 'pending', 1) AS new,
            coalesce(NOT replaces AND CASE
                WHEN differs THEN (:changed OR :failed AND state = 'failed') AND state IN ('done', 'failed', 'cancelled')
                ELSE :failed AND state = 'failed' END, 0) AS again
        FROM staged LEFT JOIN matches USING (rank) WHERE {_NAMED_SELECTED}
    )
    INSERT INTO again SELECT rank, job_id, differs FROM (
        SELECT *, row_number() OVER (ORDER BY rank) AS turn FROM sendable WHERE new OR again
    ) WHERE again AND turn <= coalesce(:limit, turn)
"""
_NOT_BESIDE_ITSELF = "DELETE FROM matches WHERE rank IN (SELECT rank FROM again WHERE fresh)"


class Staging(Compared):
    """The comparing half of the port's planning."""

    def compare(self, batch_id: int, jobs: Iterable[WantedJob], *, redo: Redo = NOTHING_AGAIN) -> Comparison:
        with self.transaction():
            self._clear_stage()
            columns = getattr(jobs, "columns", None)  # a shelf on the disk has them as they are stored
            self._stage(columns() if columns else map(_columns, jobs))
            self._match(batch_id)
            if redo.changed or redo.failed:
                self._redo(redo)
            return self._compared(batch_id)

    def _clear_stage(self) -> None:
        self._recalled = None
        for name in _NAMES:
            self._run(f"DROP TABLE IF EXISTS temp.{name}")
        for sql in _TABLES:
            self._run(sql)

    def _stage(self, rows: Iterable[Sequence[Any]]) -> None:
        with told_as_storage_error(self._path):
            self._connection.executemany(_STAGE, rows)

    def _stage_changes(self, batch_id: int, changes: Changes) -> None:
        """What was decided elsewhere; rows that the batch does not have are nobody's."""
        found = """
            INSERT INTO matches SELECT (SELECT count(*) + 1 FROM staged), id, state, key <> ?, 0, ? FROM jobs
            WHERE id = ? AND batch_id = ?
        """
        self._clear_stage()
        for replaces, moves in ((True, changes.replaced), (False, changes.kept)):
            for job_id, wanted in moves:
                if self._run(found, (wanted.key, replaces, job_id, batch_id)).rowcount:
                    self._stage([_columns(wanted)])
        self._stage(map(_columns, changes.added))
        for job_id in changes.orphaned:
            self._run("INSERT INTO orphans VALUES (?)", (job_id,))
        for fresh, jobs in ((True, changes.discarded), (False, changes.retried)):
            for job_id in jobs:
                self._run("INSERT INTO again VALUES (NULL, ?, ?)", (job_id, fresh))

    def _match(self, batch_id: int) -> None:
        """The rules of `plan.match`, in its order; what cannot find anything is not asked."""
        batch = {"batch": batch_id}
        sql = "SELECT wanted, sum(jobs) AS jobs FROM job_counts WHERE batch_id = ? GROUP BY wanted"
        counts = {row["wanted"]: row["jobs"] for row in self._rows(sql, (batch_id,))}
        if counts.get(1):
            self._run(_SAME_KEY_AND_REQUEST, batch)
        if counts.get(0):
            self._run(_LAST_DROPPED, batch)
            self._run(_DROPPED_WITH_SAME_KEY_AND_REQUEST, batch)
        if sum(counts.values()) == self._count("matches"):
            return
        self._run(_SPARE, batch)
        if self._count("staged") > self._count("matches"):
            self._run(_SAME_REQUEST)
            self._run(_SAME_KEY, batch)
        self._run(_ORPHANS)

    def _redo(self, redo: Redo) -> None:
        """What is paid for again is as new to the manifest as if its key were, or as a pending job."""
        only, _, tags, _ = selection(redo.only, redo.tags)
        chosen = {"changed": redo.changed, "failed": redo.failed, "only": only, "tags": tags, "limit": redo.limit}
        self._run(_AGAIN, chosen)
        self._run(_NOT_BESIDE_ITSELF)

    def _count(self, table: str) -> int:
        return int(self._rows(f"SELECT count(*) FROM temp.{table}")[0][0])


def _columns(job: WantedJob) -> tuple[Any, ...]:
    columns = wanted_columns(job)
    return tuple(columns[name] for name in WANTED_COLUMNS)
