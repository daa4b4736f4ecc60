"""The least that a durable job costs: `python -m tests.bench.bare URL JOBS LIMIT POLL FOLDER`.

The same requests on the same lanes, three records a job in shared commits, the file durable under its name, and nothing
else: no manifest, no look into the file, no budget, no way to go on after a death. What batchrunner costs beyond this is its
own; what this costs beyond the naive scripts is the price of durability, and of a connection for each submission.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from batchrunner.providers import quick
from batchrunner.providers.lanes import Lane, raw, stock
from tests.bench.naive import BODY, HEADERS, PATH

TABLES = """
    PRAGMA journal_mode = wal; PRAGMA synchronous = full;
    CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT, task TEXT); CREATE INDEX jobs_by_state ON jobs (state);
    CREATE TABLE events (id INTEGER PRIMARY KEY, job INTEGER, event TEXT); CREATE INDEX events_by_job ON events (job);
"""


class Shared:
    """Work that is done in a thread, together with all that came while it was busy."""

    def __init__(self, work: Callable[[list[Any]], None]) -> None:
        self._work, self._waiting, self._busy = work, list[tuple[Any, asyncio.Future[None]]](), False

    async def do(self, item: Any) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if not self._busy:
            self._busy = True
            while self._waiting:
                await asyncio.sleep(0)
                group, self._waiting = self._waiting, []
                await asyncio.to_thread(self._work, [item for item, _ in group])
                for _, one in group:
                    one.set_result(None)
            self._busy = False
        await done


class Disk:
    """The files, and the database beside them."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self._folder = folder
        self._database = sqlite3.connect(folder / "bare.db", check_same_thread=False, isolation_level=None)
        self._database.executescript(TABLES)
        with self._database:
            self._database.executemany("INSERT INTO jobs VALUES (?, 'pending', NULL)", ((n,) for n in range(jobs)))

    def record(self, moves: list[tuple[int, str, str | None]]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        for job, state, task in moves:
            self._database.execute(
                "UPDATE jobs SET state = ?, task = coalesce(?, task) WHERE id = ?", (state, task, job)
            )
            self._database.execute("INSERT INTO events (job, event) VALUES (?, ?)", (job, state))
        self._database.execute("COMMIT")

    def keep(self, clips: list[tuple[int, bytes]]) -> None:
        files = [(self._folder / f"{job}.part", content) for job, content in clips]
        opened = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644) for path, _ in files]
        for file, (_, content) in zip(opened, files, strict=True):
            os.write(file, content)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        for file, (path, _) in zip(opened, files, strict=True):
            os.fsync(file)
            os.close(file)
            path.rename(path.with_suffix(".mp4"))
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


async def asked(lane: Lane, method: str, url: str, **content: bytes) -> bytes:
    response = await lane.ask(method, url, {}, {}, **content)
    try:
        return b"".join([chunk async for chunk in raw(response)])
    finally:
        await response.aclose()


async def run(url: str, jobs: int, limit: int, poll: float, folder: Path) -> None:
    tls, slots, disk = httpx.create_ssl_context(), asyncio.Semaphore(limit), Disk(folder, jobs)
    records, clips = Shared(disk.record), Shared(disk.keep)
    submits = Lane(stock(tls, keeps=0, proxies=False), HEADERS, 60)
    others = quick.lane(tls, HEADERS, 60)
    assert others is not None

    async def job(number: int) -> None:
        async with slots:
            await records.do((number, "submitting", None))
            body = json.dumps(BODY | {"prompt": f"clip {number}"}).encode()
            task_id = json.loads(await asked(submits, "POST", url + PATH, content=body))["id"]
            await records.do((number, "running", task_id))
            while True:
                await asyncio.sleep(poll)
                task = json.loads(await asked(others, "GET", f"{url}{PATH}/{task_id}"))
                if task["status"] == "completed":
                    break
            await clips.do((number, await asked(others, "GET", task["result"]["data"][0]["url"])))
            await records.do((number, "done", None))

    await asyncio.gather(*map(job, range(jobs)))
    await others.aclose()


if __name__ == "__main__":
    there, *numbers, place = sys.argv[1:]
    asyncio.run(run(there, int(numbers[0]), int(numbers[1]), float(numbers[2]), Path(place)))
