"""The same kills for three ways to run a batch: GNU parallel with --joblog --resume, DBOS steps, and batchrunner.

    python -m tests.bench.durability --jobs 120 --kills 30 [--dbos PYTHON]

Each buys the same clips from the independent server of the acceptance tests and is killed, with all its children, after a
random number of requests; then it is started again in the way its own documentation says, until everything is done. The
ledger of the server is counted. Parallel and DBOS submit with a plain POST: they know nothing of a purchase id, and a
user of theirs could add one. DBOS lives in another environment: name its Python with --dbos.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.acceptance.world import FAST, KEY, ROOT, Server, serving

CLIENT = """
import json, os, sys, time, urllib.request

def call(method, path, body=None):
    headers = {"Authorization": "Bearer " + os.environ["TOAPIS_API_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["TOAPIS_BASE_URL"] + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())

def submit(prompt):
    body = {"model": "kling-v3", "prompt": prompt, "duration": 5, "mode": "std", "aspect_ratio": "16:9"}
    return call("POST", "/v1/videos/generations", json.dumps(body).encode())["id"]

def wait(task):
    while call("GET", "/v1/videos/generations/" + task)["status"] not in ("completed", "failed"):
        time.sleep(0.05)
"""
PARALLEL = "wait(submit(sys.argv[1]))\n"
DBOS_APP = """
from dbos import DBOS, SetWorkflowID

DBOS(config={"name": "bench", "system_database_url": "sqlite:///bench.sqlite", "run_admin_server": False})
submit, wait = DBOS.step()(submit), DBOS.step()(wait)

@DBOS.workflow()
def buy(prompt):
    wait(submit(prompt))

if __name__ == "__main__":
    DBOS.launch()
    DBOS.register_queue("clips", concurrency=4, polling_interval_sec=0.1)
    handles = []
    for prompt in sys.argv[1:]:
        with SetWorkflowID(prompt):
            handles.append(DBOS.enqueue_workflow("clips", buy, prompt))
    for handle in handles:
        handle.get_result()
    os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way came to."""

    name: str
    kills: int
    jobs: int
    twice: int
    extra: int
    lost: int
    held: int
    """In doubt, and said so: only batchrunner has such a state."""
    seconds: float


def main() -> None:
    """Measure what is installed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=120)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dbos", default="", help="a Python that has dbos")
    options = parser.parse_args()
    ways = {"GNU parallel --joblog --resume": _parallel, "DBOS steps": _dbos(options.dbos), "batchrunner": _batchrunner}
    print(f"{'':32}{'kills':>6}{'jobs':>6}{'twice':>7}{'extra':>7}{'lost':>6}{'held':>6}{'s':>6}")
    for name, prepare in ways.items():
        if prepare is None or (prepare is _parallel and shutil.which("parallel") is None):
            print(f"{name:32} is not installed")
            continue
        one = measured(name, prepare, options.jobs, options.kills, options.seed)
        numbers = f"{one.kills:6}{one.jobs:6}{one.twice:7}{one.extra:7}{one.lost:6}{one.held:6}{one.seconds:6.0f}"
        print(f"{name:32}{numbers}", flush=True)


def measured(name: str, prepare: Callable[[Path, list[str]], list[str]], jobs: int, kills: int, seed: int) -> Figures:
    """Run one way under fire until everything is done, and count what the server sold."""
    chance, began = random.Random(seed), time.monotonic()
    clips = Path(tempfile.gettempdir()) / "batchrunner-chaos-clips"
    clips.mkdir(exist_ok=True)
    prompts = [f"clip-{number}" for number in range(jobs)]
    with tempfile.TemporaryDirectory() as temporary, serving(Path(temporary) / "server", clips) as server:
        folder = Path(temporary) / "work"
        folder.mkdir()
        command = prepare(folder, prompts)
        struck = 0
        while _run(command, folder, server, chance.randint(1, 40) if struck < kills else 0):
            struck += 1
        sold = Counter(line["body"]["prompt"] for line in server.ledger)
        twice = sum(count > 1 for count in sold.values())
        held = _in_doubt(folder / ".batchrunner" / "batchrunner.db")
        lost = sum(prompt not in sold for prompt in prompts if prompt not in held)
        extra = sold.total() - len(sold)
        return Figures(name, struck, jobs, twice, extra, lost, len(held), time.monotonic() - began)


def _run(command: list[str], folder: Path, server: Server, after: int) -> bool:
    """One start; killed with its children `after` so many requests (0: never). True when it was killed."""
    env = {**os.environ, "TOAPIS_API_KEY": KEY, "TOAPIS_BASE_URL": server.url, "PYTHONPATH": str(ROOT)}
    goal = len(server.access) + after
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=-3, stderr=-3, start_new_session=True
    ) as process:
        while process.poll() is None:
            if after and len(server.access) >= goal:
                os.killpg(process.pid, signal.SIGKILL)
                return True
            time.sleep(0.002)
    return False


def _in_doubt(database: Path) -> set[str]:
    """The keys of jobs that batchrunner holds for a person."""
    if not database.exists():
        return set()
    with closing(sqlite3.connect(database)) as connection:
        return {key for (key,) in connection.execute("SELECT key FROM jobs WHERE state = 'in_doubt'")}


def _parallel(folder: Path, prompts: list[str]) -> list[str]:
    (folder / "client.py").write_text(CLIENT + PARALLEL)
    (folder / "prompts").write_text("\n".join(prompts))
    words = ["parallel", "-j4", "--joblog", "log", "--resume", "-a", "prompts"]
    return [*words, sys.executable, "-S", "client.py"]


def _dbos(python: str) -> Callable[[Path, list[str]], list[str]] | None:
    python = python or sys.executable
    if subprocess.run([python, "-c", "import dbos"], capture_output=True, check=False).returncode:
        return None

    def prepare(folder: Path, prompts: list[str]) -> list[str]:
        (folder / "app.py").write_text(CLIENT + DBOS_APP)
        return [python, "app.py", *prompts]

    return prepare


def _batchrunner(folder: Path, prompts: list[str]) -> list[str]:
    jobs = [{"id": prompt, "prompt": prompt} for prompt in prompts]
    document = {"version": 1, "limits": {**FAST, "max_in_flight": 200}, "jobs": jobs}
    (folder / "batch.yaml").write_text(yaml.safe_dump(document))
    return [sys.executable, "-m", "batchrunner", "run", "batch.yaml", "--yes", "--settle", "0.4", "--progress", "quiet"]


if __name__ == "__main__":
    main()
