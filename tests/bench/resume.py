"""How soon a run that goes on sends its first request, by the size of its batch: 99 of 100 jobs are done already."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

from batchrunner import app
from batchrunner.manifest import witness
from batchrunner.run_request import RunRequest
from tests.bench import jobs

DONE = """
    UPDATE jobs SET state = 'done', purchase_id = 'p' || id, task_id = 't' || id,
        clip_path = output, clip_bytes = 1, clip_sha256 = fingerprint, clip_seconds = 5, clip_width = 1, clip_height = 1, clip_sound = 0
    WHERE position < ?
"""


def _stored(request: RunRequest, environ: dict[str, str], count: int) -> None:
    """The manifest's jobs in a database, nearly all of them done."""
    with app.open_run(request, environ) as session:
        session.adopt_plan()
        with session.store.transaction():
            session.store._run(DONE, (count * 99 // 100,))


def _first_request(request: RunRequest, environ: dict[str, str]) -> float:
    command = [sys.executable, "-m", "batchrunner", "run", str(request.manifest), "--yes", "--progress", "json"]
    command += ["--db", str(request.database), "--out", str(request.out)]
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["type"] == "job.submitting":
                break
        took = time.perf_counter() - begin
        process.kill()
    return took


def measure(count: int) -> dict[str, float]:
    """Seconds from the start of the command to its first submission: the manifest as it was, and with an edit."""
    with jobs.place() as folder, jobs.serving(0.0, jobs.clip(folder)) as url:
        path = jobs.manifest(folder, count, jobs.LIMIT, 0.05)
        environ = {**os.environ, "TOAPIS_BASE_URL": url, "TOAPIS_API_KEY": "sk-bench-0123456789"}
        request = RunRequest(manifest=path, database=folder / "b.db", out=folder / "out")
        time.sleep(witness.COARSE)  # what is newer than that is not trusted
        _stored(request, environ, count)
        again = replace(request, database=folder / "copy.db")
        with closing(sqlite3.connect(folder / "b.db")) as stored, closing(sqlite3.connect(folder / "copy.db")) as copy:
            stored.backup(copy)
        same = _first_request(request, environ)
        with path.open("a", encoding="utf-8") as file:
            file.write("# edited\n")
        return {"same": same, "edited": _first_request(again, environ)}
