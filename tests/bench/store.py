"""Transitions a second of the store at `synchronous=FULL`: through the writer, as a run has them, against raw SQLite."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio

from batchrunner.model import Answer, Intent, VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.store.base import Changes
from batchrunner.store.sqlite import SqliteStore
from batchrunner.store.writer import Writer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OK = Answer(rule="R1", http_status=200)
WAITING = 100
"""Callers at once."""


def _wanted(number: int) -> WantedJob:
    request = VideoRequest(prompt=f"clip {number}")
    return WantedJob(
        key=f"c{number}", fingerprint=fingerprint(request), request=request, output=f"{number}.mp4", position=number
    )


async def _moved(folder: Path, jobs: int, waiting: int) -> dict[str, float]:
    store = SqliteStore.open(folder / f"{waiting}.db")
    writer = Writer(store)
    batch = store.open_batch("b", endpoint="toapis.com", currency=None, now=NOW)
    store.apply(batch.id, Changes(added=tuple(map(_wanted, range(jobs)))), now=NOW)
    left = iter([job.id for job in store.jobs(batch.id)])

    async def worker() -> None:
        for job_id in left:
            intent = Intent(purchase_id=f"p{job_id}", body_sha256="0" * 64, price=None)
            await writer.run(store.record_intent, job_id, intent, cap=None, now=NOW)
            await writer.run(store.record_accepted, job_id, f"t{job_id}", OK, now=NOW)
            await writer.run(store.record_finished, job_id, expires_at=None, took=1.0, now=NOW)

    begin, cpu = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(waiting):
            group.start_soon(worker)
    took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    await writer.close()
    store.close()
    return {"per_second": 3 * jobs / took, "cpu_us": 1e6 * cpu / (3 * jobs)}


def _raw(folder: Path, jobs: int, shared: int) -> dict[str, float]:
    """A table of jobs and one of events, `shared` transitions in a commit: no guards, no money, no history by triggers."""
    with closing(sqlite3.connect(folder / f"raw{shared}.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT)")
        connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, job_id INTEGER, state TEXT)")
        connection.executemany("INSERT INTO jobs VALUES (?, 'pending')", ((number,) for number in range(jobs)))
        begin, cpu = time.perf_counter(), time.process_time()
        moves = [(number, state) for state in ("submitting", "running", "fetching") for number in range(jobs)]
        for first in range(0, len(moves), shared):
            connection.execute("BEGIN IMMEDIATE")
            for number, state in moves[first : first + shared]:
                connection.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, number))
                connection.execute("INSERT INTO events (job_id, state) VALUES (?, ?)", (number, state))
            connection.execute("COMMIT")
        took, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {"per_second": 3 * jobs / took, "cpu_us": 1e6 * cpu / (3 * jobs)}


def measure(jobs: int) -> dict[str, dict[str, float]]:
    """Both, with shared commits and one by one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            f"store, {WAITING} waiting": anyio.run(_moved, folder, jobs, WAITING),
            "store, one waiting": anyio.run(_moved, folder, jobs // 10, 1),
            f"sqlite3, {WAITING} a commit": _raw(folder, jobs, WAITING),
            "sqlite3, one a commit": _raw(folder, jobs // 10, 1),
        }
