"""The limits of ToAPIs' largest account group (svip), kept up by one process: what of a core that takes.

33 submissions a second, tasks of a quarter of a minute asked about as often as the query rate leaves for what is running,
and 33 result files of a megabyte a second.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from dataclasses import dataclass

from tests.bench import jobs

SUBMITS, QUERIES = 2000 / 60, 30_000 / 60
"""A second (API facts §3)."""
SERVICE = 15.0
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """A second, and cores, while submissions went on: without the last tasks' time, in which little is to do."""

    jobs: int
    submits: float
    questions: float
    files: float
    cores: float
    seconds: float


def measure(count: int) -> Sustained:
    """One run of so many jobs, from its start to its last file."""
    with jobs.place() as folder, jobs.serving(SERVICE, jobs.clip(folder, MEGABYTE)) as url:
        rates = {"submit_rate": SUBMITS, "submit_burst": 34, "query_rate": QUERIES, "query_burst": 500}
        limit = int(2 * SERVICE * SUBMITS)
        path = jobs.manifest(folder, count, limit, 0.4, **rates, submit_slots=16, downloads=16)
        command = [sys.executable, "-m", "batchrunner", "run", str(path), "--yes", "--progress", "quiet", "--no-canary"]
        command += ["--db", str(folder / "b.db"), "--out", str(folder / "out")]
        environ = {"TOAPIS_BASE_URL": url, "TOAPIS_API_KEY": "sk-bench-0123456789"}
        cpu, took, _ = jobs.measured(command, folder, environ)
        with urllib.request.urlopen(f"{url}/counts", timeout=60) as answer:
            counts = json.load(answer)
    going = max(took - SERVICE, 1.0)
    return Sustained(
        jobs=count,
        submits=counts["POST"] / going,
        questions=counts["GET"] / going,
        files=counts["files"] / going,
        cores=cpu / going,
        seconds=took,
    )
