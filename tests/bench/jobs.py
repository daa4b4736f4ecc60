"""Whole runs against scripts that keep nothing, on one server: CPU and memory a job, makespan against the ideal.

Each runner is a process of its own; its CPU and its peak memory are what the system charged it with. batchrunner records
every step durably and opens each clip to verify it; the scripts do neither. `bare` is the bound: durable, and nothing else.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

SIZE = 100_000
"""Bytes of a clip."""
LIMIT = 100
SCRIPTS = ("httpx", "aiohttp", "aiometer")
FEW = 300
"""Jobs at most of what starts a process for each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    runner: str
    jobs: int
    limit: int
    service: float
    cpu_ms_a_job: float
    makespan: float
    peak_mb: float

    @property
    def against_ideal(self) -> float | None:
        """None for tasks that take no time."""
        return self.makespan / (self.jobs / self.limit * self.service) if self.service else None


@cache
def _all_places() -> Path:
    kept = tempfile.TemporaryDirectory()
    atexit.register(kept.cleanup)
    return Path(kept.name)


@contextmanager
def place() -> Iterator[Path]:
    """A folder of its own; its files are emptied after it and deleted when the process ends.

    ext4 looks at every file that was deleted in the last 35 seconds when it makes one: a run after a deletion of thousands
    would pay half a millisecond for each clip.
    """
    folder = Path(tempfile.mkdtemp(dir=_all_places()))
    try:
        yield folder
    finally:
        for path in _files(folder):
            os.truncate(path, 0)


def _files(folder: Path) -> Iterator[str]:
    """One by one: a process is charged with the memory of the one that started it, so this one has to stay small."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                yield entry.path


def clip(folder: Path, size: int = SIZE) -> Path:
    """A true clip of five seconds, made so many bytes long by a box that players skip."""
    path = folder / "clip.mp4"
    # Elsewhere: a process that is started from a large one is charged with its memory.
    render = "from batchrunner.emulator.clips import ClipSpec, render; import pathlib, sys; "
    render += (
        "render(ClipSpec(mode='std', duration=5, aspect_ratio='16:9', audio=False), [], pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", render, str(path)], check=True)
    lacking = size - path.stat().st_size
    with path.open("ab") as file:
        file.write(lacking.to_bytes(4, "big") + b"free" + bytes(lacking - 8))
    return path


@contextmanager
def serving(service: float, file: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.server", str(service), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def measured(command: list[str], folder: Path, environ: dict[str, str]) -> tuple[float, float, float]:
    """Seconds of CPU, seconds, and peak megabytes of a process."""
    log = folder / "log.txt"
    begin = time.perf_counter()
    with log.open("wb") as file:
        environ = {**os.environ, **environ}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody compiles a whole program at each start
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environ)
        _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - begin
    if status:
        raise RuntimeError(f"{command[2:5]} ended with {status}: {log.read_text('utf-8')[-2000:]}")
    return usage.ru_utime + usage.ru_stime, took, usage.ru_maxrss / 1024


def manifest(folder: Path, jobs: int, limit: int, floor: float, **more: object) -> Path:
    """`limits` are as good as none, but for those that are given."""
    path = folder / "m.yaml"
    limits: dict[str, object] = {
        **dict.fromkeys(("submit_rate", "submit_burst", "query_rate", "query_burst"), 100_000),
        "max_in_flight": limit,
        "submit_slots": min(limit, 32),
        "downloads": min(limit, 32),
        "poll_floor": floor,
        "max_jobs": jobs,
        **more,
    }
    with (folder / "rows.csv").open("w", encoding="utf-8") as file:
        file.write("key,prompt\n")
        file.writelines(f"c{number},clip {number}\n" for number in range(jobs))
    path.write_text(f"version: 1\nlimits: {json.dumps(limits)}\njobs: [{{from: {{csv: rows.csv}}}}]\n", "utf-8")
    return path


def run(runner: str, url: str, jobs: int, *, limit: int = LIMIT, service: float = 0.0, slow: bool = False) -> Run:
    """One run from nothing to the last file; a `slow` one of batchrunner asks at the documented floor, and sends no canary."""
    with place() as folder:
        poll = 0.25 if service else 0.01
        if runner == "batchrunner":
            path = manifest(folder, jobs, limit, 5.0 if slow else poll / 2 if service else poll)
            command = [sys.executable, "-m", "batchrunner", "run", str(path), "--yes", "--progress", "quiet"]
            command += ["--db", str(folder / "b.db"), "--out", str(folder / "out"), *["--no-canary"] * slow]
        elif runner == "parallel":
            script = Path(__file__).with_name("parallel.sh")
            command = ["bash", str(script), url, str(jobs), str(limit), str(poll), str(folder)]
        elif runner == "bare":
            command = [sys.executable, "-m", "tests.bench.bare", url, str(jobs), str(limit), str(poll), str(folder)]
        else:
            command = [
                sys.executable,
                "-m",
                "tests.bench.naive",
                runner,
                url,
                str(jobs),
                str(limit),
                str(poll),
                str(folder),
            ]
        environ = {"TOAPIS_BASE_URL": url, "TOAPIS_API_KEY": "sk-bench-0123456789"}
        cpu, took, peak = measured(command, folder, environ)
        made = sum(path.endswith(".mp4") for path in _files(folder))
        if made != jobs:
            raise RuntimeError(f"{runner} made {made} clips of {jobs}")
    return Run(
        runner=runner,
        jobs=jobs,
        limit=limit,
        service=service,
        cpu_ms_a_job=1000 * cpu / jobs,
        makespan=took,
        peak_mb=peak,
    )


def runners() -> list[str]:
    """batchrunner, the least that a durable job costs, and the scripts whose libraries and programs are installed."""
    shell = ["parallel"] if shutil.which("parallel") and shutil.which("curl") else []
    return ["batchrunner", "bare", *(name for name in SCRIPTS if importlib.util.find_spec(name)), *shell]


def paired(jobs: int, service: float, *, limit: int = LIMIT) -> list[Run]:
    """Every runner, one after the other, on one server."""
    with place() as folder, serving(service, clip(folder)) as url:
        sizes = {runner: min(jobs, FEW) if runner == "parallel" else jobs for runner in runners()}
        return [run(runner, url, size, limit=limit, service=service) for runner, size in sizes.items()]


A_SECOND = 150
"""Submissions that are surely made in a second: tasks take as long as so many need to be in flight together."""


def by_size(sizes: list[int], limits: list[int]) -> list[Run]:
    """batchrunner alone: batches of each size, then each number in flight, of tasks that take long enough for that."""
    with place() as folder, serving(0.0, clip(folder)) as url:
        found = [run("batchrunner", url, size) for size in sizes]
    for limit in limits:
        service = max(2.0, limit / A_SECOND)
        with place() as folder, serving(service, clip(folder)) as url:
            found.append(run("batchrunner", url, limit * 6 // 5, limit=limit, service=service, slow=True))
    return found


def as_json(runs: list[Run]) -> list[dict[str, object]]:
    return [asdict(one) | {"against_ideal": one.against_ideal} for one in runs]
