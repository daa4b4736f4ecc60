"""A table of any length is expanded, compared and stored in the same memory."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from batchrunner import app
from batchrunner.store import shelf
from batchrunner.store.sqlite import SqliteStore

shelf.CACHE = 256  # KiB, so that a short table fills it as well
now = datetime(2026, 11, 22, tzinfo=UTC)
peaks = []
for name in sys.argv[1:]:
    for again in (False, True):
        with app.load(Path(name), {}) as loaded:
            store = SqliteStore.open(name + ".db")
            batch = store.open_batch("b", endpoint="x", currency=None, now=now)
            made = store.compare(batch.id, loaded.jobs)
            bought = store.purchases()
            assert (made.to_send, made.orphaned, bought.clips) == (len(loaded.jobs), 0, len(loaded.jobs))
            store.adopt(batch.id, now=now)
            store.close()
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10)))
print(json.dumps(peaks))
"""
FEW, MANY = 2_000, 15_000


def csv_row(number):
    return f"客户{number % 50},第 {number} 号镜头：雨夜东京街头，霓虹灯倒映在湿润地面上\n"


def json_row(number):
    row = {"key": f"S{number}", "prompt": f"第 {number} 号镜头：雨夜东京街头，霓虹灯倒映在湿润地面上"}
    return json.dumps(row, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    ("ending", "head", "row"),
    [("csv", "client,prompt\n", csv_row), pytest.param("jsonl", "", json_row, marks=pytest.mark.slow)],
    ids=["csv", "jsonl"],
)
def test_memory_does_not_grow_with_rows(tmp_path, ending, head, row):
    """Rows without a key, whose names need all of them at once, and rows with one. In memory they took 1.3 kB each."""
    paths = []
    for count in (FEW, MANY):
        paths.append(tmp_path / f"{count}.{ending}")
        paths[-1].write_text(head + "".join(map(row, range(count))), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)
    assert many - few < 10, f"{FEW} rows took {few:.0f} MB, {MANY} took {many:.0f} MB"
