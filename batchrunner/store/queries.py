"""What is asked of the jobs in SQLite, on a writer's connection or a reader's."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from heapq import merge

from batchrunner.model import Attempt, Job, Moment
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.comparison import StoredJob
from batchrunner.store.connection import Connection
from batchrunner.store.questions import NOTHING, Without
from batchrunner.store.rows import (
    JOB_COLUMNS,
    STORED_JOB_COLUMNS,
    read,
    to_attempt,
    to_job,
    to_list,
    to_text,
    to_time,
)

PAGE = 1000
"""Rows that are read at once; between pages the connection is free and the WAL may be reset."""

RECENT = 50_000
"""Events that are looked through for how long tasks took; older ones say little of tonight."""

SELECTED_BY = """
    ({only} IS NULL OR key_matches(key, {only}))
    AND ({tags} IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN (SELECT value FROM json_each({tags}))))
"""
SELECTED = SELECTED_BY.format(only="?", tags="?")
"""Jobs that a run is about; its parameters are `selection`'s."""
FRAMES = """
    CASE WHEN instr(request, '"frames":[]') THEN 0 ELSE json_array_length(request, '$.frames') END
"""
"""How many frames a request has. Most have none, which is seen without parsing: no quote stands alone inside a prompt."""
KIND_OF = "billing_key || ' ' || seconds || ' ' || {}"
KIND = KIND_OF.format(FRAMES)
"""`VideoRequest.kind`."""
ALLOWED = f"""
    (? IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(jobs.tags) WHERE value IN (SELECT value FROM json_each(?))))
    AND (? IS NULL OR {KIND} NOT IN (SELECT value FROM json_each(?)))
"""
"""Jobs that may be sent now; its parameters are `_held`'s."""


class Questions(Connection):
    """The port's part of the same name."""

    def job(self, job_id: int) -> Job:
        row = self._row(f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?", (job_id,))
        if row is None:
            raise KeyError(f"no job has the id {job_id}")
        return to_job(row)

    def jobs(self, batch_id: int, *, states: Iterable[JobState] = (), wanted_only: bool = True) -> Iterator[Job]:
        """In manifest order. A job that moves meanwhile may be missed or come twice: read inside a transaction."""
        chosen = tuple(dict.fromkeys(states)) or tuple(JobState)
        return map(to_job, self._in_order(JOB_COLUMNS, batch_id, chosen, (1,) if wanted_only else (1, 0)))

    def saved_files(self, batch_id: int) -> Iterator[tuple[str, str]]:
        rows = self._pages("key, clip_path, position, id", batch_id, JobState.DONE, 1)
        return ((row["key"], row["clip_path"]) for row in rows)

    def saved_as(self, batch_id: int, outputs: Collection[str]) -> list[tuple[str, str]]:
        sql = """
            SELECT output, task_id FROM jobs WHERE batch_id = ? AND wanted IN (0, 1) AND state = 'done'
                AND output IN (SELECT value FROM json_each(?)) ORDER BY id
        """
        return [tuple(row) for row in self._rows(sql, (batch_id, to_list(sorted(outputs))))] if outputs else []

    def stored_jobs(self, batch_id: int) -> Iterator[StoredJob]:
        return (read(StoredJob, row) for row in self._in_order(STORED_JOB_COLUMNS, batch_id, tuple(JobState), (1, 0)))

    def _in_order(
        self, columns: str, batch_id: int, states: Iterable[JobState], wanted: Iterable[int]
    ) -> Iterator[sqlite3.Row]:
        """One stream for each state straight from the index, merged: no sort, whatever the number of jobs."""
        streams = [self._pages(columns, batch_id, state, flag) for state in states for flag in wanted]
        return merge(*streams, key=lambda row: (row["position"], row["id"]))

    def _pages(self, columns: str, batch_id: int, state: JobState, wanted: int) -> Iterator[sqlite3.Row]:
        sql = f"""
            SELECT {columns} FROM jobs
            WHERE batch_id = ? AND wanted = ? AND state = ? AND (position, id) > (?, ?)
            ORDER BY position, id LIMIT {PAGE}
        """
        after = (-1 << 63, 0)
        while page := self._rows(sql, (batch_id, wanted, state, *after)):
            yield from page
            if len(page) < PAGE:
                return
            after = (page[-1]["position"], page[-1]["id"])

    def counts(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[JobState, int]:
        if only is None and not tags:
            sql = "SELECT state, jobs FROM job_counts WHERE batch_id = ? AND wanted = 1 AND jobs > 0"
            rows = self._rows(sql, (batch_id,))
        else:
            sql = f"SELECT state, count(*) AS jobs FROM jobs WHERE batch_id = ? AND wanted = 1 AND {SELECTED} GROUP BY state"
            rows = self._rows(sql, (batch_id, *selection(only, tags)))
        found = {row["state"]: row["jobs"] for row in rows}
        return {state: found[state] for state in JobState if state in found}

    def in_flight(self, batch_id: int) -> int:
        rows = self._rows("SELECT state, jobs FROM job_counts WHERE batch_id = ?", (batch_id,))
        return sum(row["jobs"] for row in rows if row["state"] in IN_FLIGHT)

    def sendable(
        self,
        batch_id: int,
        *,
        now: datetime,
        limit: int,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> list[Job]:
        sql = f"""
            SELECT {JOB_COLUMNS} FROM jobs
            WHERE batch_id = ? AND wanted = 1 AND state = 'pending'
                AND (not_before IS NULL OR not_before <= ?) AND {SELECTED} AND {ALLOWED}
            ORDER BY position, id LIMIT ?
        """
        parameters = (batch_id, to_text(now), *selection(only, tags), *_held(without), max(limit, 0))
        return [to_job(row) for row in self._rows(sql, parameters)]

    def next_not_before(
        self,
        batch_id: int,
        *,
        after: datetime,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> datetime | None:
        sql = f"""
            SELECT not_before FROM jobs
            WHERE batch_id = ? AND state = 'pending' AND wanted = 1 AND not_before > ? AND {SELECTED} AND {ALLOWED}
            ORDER BY not_before LIMIT 1
        """
        row = self._row(sql, (batch_id, to_text(after), *selection(only, tags), *_held(without)))
        return None if row is None else to_time(row["not_before"])

    def attempts(self, job_id: int) -> list[Attempt]:
        rows = self._rows("SELECT * FROM attempts WHERE job_id = ? ORDER BY number", (job_id,))
        return [to_attempt(row) for row in rows]

    def history(self, job_id: int) -> list[Moment]:
        return [
            read(Moment, row)
            for row in self._rows(
                "SELECT at, event, from_state AS source, to_state AS target, note FROM events WHERE job_id = ? ORDER BY id",
                (job_id,),
            )
        ]

    def past_durations(self, billing_key: str, seconds: int, *, endpoint: str, limit: int) -> list[float]:
        sql = f"""
            SELECT round((julianday(ended.at) - julianday(begun.at)) * 86400, 3) AS seconds
            FROM events AS ended JOIN jobs ON jobs.id = ended.job_id JOIN batches ON batches.id = jobs.batch_id
            JOIN events AS begun ON begun.id = (SELECT max(id) FROM events WHERE job_id = ended.job_id
                AND id < ended.id AND event IN ('accepted', 'found'))
            WHERE ended.event = 'finished' AND begun.event = 'accepted' AND jobs.billing_key = ? AND jobs.seconds = ?
                AND batches.endpoint = ? AND ended.id > (SELECT max(id) FROM events) - {RECENT}
            ORDER BY ended.id DESC LIMIT ?
        """
        return [row["seconds"] for row in self._rows(sql, (billing_key, seconds, endpoint, limit))]

    def task_owner(self, task_id: str) -> int | None:
        row = self._row("SELECT job_id FROM attempts WHERE task_id = ?", (task_id,))
        return None if row is None else int(row["job_id"])

    def service_times(self, kind: str, *, endpoint: str, limit: int) -> list[float]:
        sql = "SELECT seconds FROM service_times WHERE endpoint = ? AND kind = ? ORDER BY id DESC LIMIT ?"
        return [row["seconds"] for row in self._rows(sql, (endpoint, kind, limit))]

    def kinds_ahead(
        self, batch_id: int, *, limit: int, only: str | None = None, tags: Sequence[str] = ()
    ) -> dict[str, int]:
        sql = f"""
            SELECT {KIND} AS kind, count(*) AS jobs FROM (
                SELECT billing_key, seconds, request FROM jobs
                WHERE batch_id = ? AND wanted = 1 AND state = 'pending' AND {SELECTED} ORDER BY position, id LIMIT ?
            ) GROUP BY 1
        """
        rows = self._rows(sql, (batch_id, *selection(only, tags), limit))
        return {row["kind"]: row["jobs"] for row in rows}

    def waiting_kinds(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[str, int]:
        sql = f"""
            SELECT {KIND_OF.format("frames")} AS kind, jobs FROM (
                SELECT billing_key, seconds, {FRAMES} AS frames, count(*) AS jobs FROM jobs
                WHERE batch_id = ? AND wanted = 1 AND state = 'pending' AND {SELECTED} GROUP BY 1, 2, 3
            )
        """
        return {row["kind"]: row["jobs"] for row in self._rows(sql, (batch_id, *selection(only, tags)))}


def _held(without: Without) -> tuple[str | None, ...]:
    tags = to_list(sorted(without.tags)) if without.tags else None
    kinds = to_list(sorted(without.kinds)) if without.kinds else None
    return tags, tags, kinds, kinds


def selection(only: str | None, tags: Sequence[str]) -> tuple[str | None, ...]:
    """The parameters of `SELECTED`."""
    words = to_list(tags) if tags else None
    return only, only, words, words
