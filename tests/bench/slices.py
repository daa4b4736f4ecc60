"""A slice of a batch: what one more job costs, and the peak memory, however large the batch around it is.

All but the last `OPEN` jobs of a batch are done already; of the rest two runs buy a few and many, and the difference of
their CPU is what the jobs between them cost, without what it costs to start.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass

from batchrunner.manifest.witness import COARSE
from tests.bench import jobs
from tests.bench.resume import DONE

OPEN = 5000
FEW, MANY = 200, 2200
IN_FLIGHT = 1000
SERVICE = 1.0
"""Seconds that a task takes, so that there are so many in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    jobs: int
    first_run_s: float
    """Expanding, storing and adopting it, for nothing: `--limit 0`."""
    first_run_mb: float
    start_cpu_s: float
    """What a later start costs by itself, at the most."""
    cpu_ms_a_job: float
    peak_mb: float


def measure(count: int) -> Slice:
    with jobs.place() as folder, jobs.serving(SERVICE, jobs.clip(folder)) as url:
        path = jobs.manifest(folder, count, IN_FLIGHT, 0.25)
        environ = {"TOAPIS_BASE_URL": url, "TOAPIS_API_KEY": "sk-bench-0123456789"}
        command = [sys.executable, "-m", "batchrunner", "run", str(path), "--yes", "--progress", "quiet"]
        command += ["--db", str(folder / "b.db"), "--out", str(folder / "out"), "--limit"]
        time.sleep(COARSE)  # what is newer than that is not trusted, and read again
        _, first, memory = jobs.measured([*command, "0"], folder, environ)
        with closing(sqlite3.connect(folder / "b.db")) as database:
            database.execute(DONE, (max(count - OPEN, 0),))
            database.commit()
        few, many = min(FEW, count // 5), min(MANY, count * 4 // 5)
        one, _, _ = jobs.measured([*command, str(few)], folder, environ)
        other, _, peak = jobs.measured([*command, str(many)], folder, environ)
    cost = (other - one) / (many - few)
    return Slice(
        jobs=count,
        first_run_s=first,
        first_run_mb=memory,
        start_cpu_s=one - few * cost,
        cpu_ms_a_job=1000 * cost,
        peak_mb=peak,
    )
