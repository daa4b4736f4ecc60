"""How soon a run that goes on sends its first request, by the size of its batch: 99 of 100 jobs are done already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from batchrunner import app
from batchrunner.store.sqlite import SqliteStore
from tests.bench import jobs

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DONE = """
    UPDATE jobs SET state = 'done', purchase_id = 'p' || id, task_id = 't' || id,
        clip_path = output, clip_bytes = 1, clip_sha256 = fingerprint, clip_seconds = 5, clip_width = 1, clip_height = 1, clip_sound = 0
    WHERE position < ?
"""


def _stored(path: Path, database: Path, count: int) -> None:
    """The manifest's jobs in a database, nearly all of them done."""
    with app.load(path, {}) as loaded, closing(SqliteStore.open(database)) as store:
        batch = store.open_batch(loaded.manifest.name, endpoint="localhost", currency=None, now=NOW)
        store.compare(batch.id, loaded.jobs)
        store.adopt(batch.id, now=NOW)
        with store.transaction():
            store._run(DONE, (count * 99 // 100,))


def measure(count: int) -> float:
    """Seconds from the start of the command to its first submission."""
    with tempfile.TemporaryDirectory() as name, jobs.serving(0.0, jobs.clip(Path(name))) as url:
        folder = Path(name)
        path = jobs.manifest(folder, count, jobs.LIMIT, 0.05)
        _stored(path, folder / "b.db", count)
        command = [sys.executable, "-m", "batchrunner", "run", str(path), "--yes", "--progress", "json"]
        command += ["--db", str(folder / "b.db"), "--out", str(folder / "out")]
        environ = {**os.environ, "TOAPIS_BASE_URL": url, "TOAPIS_API_KEY": "sk-bench-0123456789"}
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
