"""What many jobs cost: `python -m tests.bench.expand [JOBS …]` expands, checks and stores them, and prints one table.

Each line is a process of its own, so that its peak memory is its own. `again` is the same command once more when all jobs
are stored; `bare` is the C parser of YAML, csv or json reading the same file and doing nothing with it, and `ratio` is
what expanding costs of it.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml

from batchrunner import app
from batchrunner.store.sqlite import SqliteStore

SIZES = (1_000, 10_000, 100_000)
LONGEST_LIST = 100_000
NOW = datetime(2026, 11, 22, tzinfo=UTC)
PROMPT = "第 {} 号镜头：雨夜东京街头，霓虹灯倒映在湿润地面上，电影镜头，{}"
MOVES = ("镜头静止", "缓慢推进", "环绕", "拉远", "俯拍", "仰拍", "跟拍", "摇臂", "手持", "延时")


def _matrix(folder: Path, count: int) -> Path:
    """Jobs from a matrix of 10 moves, 2 modes and as many scenes as it takes."""
    scenes = "".join(f"        - 场景 {number}\n" for number in range(max(1, count // 20)))
    text = f"version: 1\nlimits: {{max_jobs: {count}}}\njobs:\n  - id: m\n    prompt: '{{scene}}，{{move}}，电影质感'\n"
    text += f"    matrix:\n      move: [{', '.join(MOVES)}]\n      mode: [std, pro]\n      scene:\n{scenes}"
    (folder / "m.yaml").write_text(text, "utf-8")
    return folder / "m.yaml"


def _written(folder: Path, count: int) -> Path:
    """A list of jobs, each written out; a manifest may have 10 MiB, so they are short."""
    lines = (f"  - {{id: s{number}, prompt: 第 {number} 只猫，{MOVES[number % 10]}}}\n" for number in range(count))
    (folder / "m.yaml").write_text("version: 1\njobs:\n" + "".join(lines), "utf-8")
    return folder / "m.yaml"


def _csv(folder: Path, count: int) -> Path:
    """A table with a name, two parameters and a variable."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "prompt", "mode", "duration", "client"])
        for number in range(count):
            prompt = PROMPT.format(number, MOVES[number % 10])
            writer.writerow([f"S{number}", prompt, ("std", "pro")[number % 2], 5, f"客户{number % 50}"])
    return _rows(folder, "{csv: rows.csv}")


def _jsonl(folder: Path, count: int) -> Path:
    """The same as JSON lines."""
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {
                "key": f"S{number}",
                "prompt": PROMPT.format(number, MOVES[number % 10]),
                "mode": "std",
                "duration": 5,
            }
            file.write(json.dumps(row | {"client": f"客户{number % 50}"}, ensure_ascii=False) + "\n")
    return _rows(folder, "{jsonl: rows.jsonl}")


def _rows(folder: Path, source: str) -> Path:
    text = f'version: 1\nlimits: {{max_jobs: 1000000}}\njobs:\n  - id: r\n    from: {source}\n    output: {{filename: "{{client}}/{{row}}.mp4"}}\n'
    (folder / "m.yaml").write_text(text, "utf-8")
    return folder / "m.yaml"


def _bare_yaml(folder: Path) -> None:
    yaml.load((folder / "m.yaml").read_text("utf-8"), yaml.CSafeLoader)


def _bare_csv(folder: Path) -> None:
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        for _ in csv.reader(file):
            pass


def _bare_json(folder: Path) -> None:
    with (folder / "rows.jsonl").open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)


KINDS: dict[str, tuple[Callable[[Path, int], Path], Callable[[Path], None]]] = {
    "YAML matrix": (_matrix, _bare_yaml),
    "YAML list": (_written, _bare_yaml),
    "CSV": (_csv, _bare_csv),
    "JSONL": (_jsonl, _bare_json),
}


def measure(kind: str, count: int) -> dict[str, float]:
    """Seconds of CPU to expand, to compare and store, to do both again, and for the bare read; peak megabytes."""
    make, bare = KINDS[kind]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make(folder, count)
        idle = _peak()
        expand, store = _run(path, folder / "jobs.db", count)
        peak = _peak()
        again = sum(_run(path, folder / "jobs.db", 0))
        begin = time.process_time()
        bare(folder)
        read = time.process_time() - begin
        return {"expand": expand, "store": store, "again": again, "peak": peak, "idle": idle, "bare": read}


def _run(path: Path, database: Path, new: int) -> tuple[float, float]:
    """What `run` does before it sends anything: seconds to expand and check, seconds to compare and store."""
    begin = time.process_time()
    with app.load(path, {}) as loaded:
        expanded = time.process_time()
        store = SqliteStore.open(database)
        batch = store.open_batch("bench", endpoint="https://example.com", currency=None, now=NOW)
        before = sum(store.counts(batch.id).values())
        store.compare(batch.id, loaded.jobs)
        store.purchases()
        store.adopt(batch.id, now=NOW)
        assert sum(store.counts(batch.id).values()) == before + new
        store.close()
    return expanded - begin, time.process_time() - expanded


def _peak() -> float:
    """Megabytes that this process has had at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _alone(kind: str, count: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.expand", "--one", kind, str(count)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    """Measure every kind at every size."""
    sizes = [int(word) for word in sys.argv[1:]] or SIZES
    head = f"{'source':12} {'jobs':>9} {'expand s':>9} {'store s':>8} {'µs/job':>7} {'again s':>8} {'peak MB':>8} {'grown MB':>9}"
    print(head + f" {'bare s':>7} {'ratio':>6}")
    for kind in KINDS:
        for count in sizes:
            if kind == "YAML list" and count > LONGEST_LIST:
                continue
            found = _alone(kind, count)
            seconds = found["expand"] + found["store"]
            line = f"{kind:12} {count:9,} {found['expand']:9.2f} {found['store']:8.2f} {seconds / count * 1e6:7.0f}"
            line += f" {found['again']:8.2f} {found['peak']:8.0f} {found['peak'] - found['idle']:9.0f}"
            print(line + f" {found['bare']:7.3f} {found['expand'] / found['bare']:5.0f}x", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
