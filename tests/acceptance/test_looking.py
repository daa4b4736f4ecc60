"""`status` and `ls` while a run works, and after: they never wait for it, and programs can read them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from . import books, prompts
from .world import Server, World, until

LS_FIELDS = {"key", "state", "reason", "task_id", "attempts", "output", "price", "prompt"}
STATUS_FIELDS = {"batch", "counts", "paused", "spent", "committed"}


def test_during_a_run_and_after(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "submit", "do": "wait", "first": 20, "times": 0})
    world.manifest(prompts.jobs(30), name="看", prices={"per_request": {"720P": 0.25}}, limits={"max_in_flight": 30})
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: len(server.seen("submit")) == 23, "submissions that wait for their answers")

    status = json.loads(world.batchrunner("status", "--json").out)
    jobs = world.jobs()
    table = world.batchrunner("ls", "--format", "csv").out

    assert running.alive, "they were answered while the run waits for the server"
    assert set(status) >= STATUS_FIELDS
    assert status["batch"] == "看"
    assert status["paused"] is None
    assert sum(status["counts"].values()) == len(jobs) == 30
    assert status["counts"]["submitting"] == 4
    assert status["spent"] + status["committed"] == 23 * 0.25
    assert all(set(job) >= LS_FIELDS for job in jobs)
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["key"] for row in rows] == [job["key"] for job in jobs]
    assert set(rows[0]) >= LS_FIELDS
    server.open()
    assert running.wait().code == 0
    status = json.loads(world.batchrunner("status", "--json", "看").out)
    assert status["counts"] == {"done": 30}
    assert (status["spent"], status["committed"]) == (30 * 0.25, 0)
    jobs = world.jobs("--state", "done")
    assert [job["prompt"] for job in jobs] == [job["prompt"] for job in prompts.jobs(30)]
    rows_of = [
        {name: row[name] for name in ("key", "state", "task_id", "purchase_id", "output")} for row in world.rows()
    ]
    assert [{name: job[name] for name in rows_of[0]} for job in jobs] == rows_of
    books.audit(world, books.sales(server))
    rows = list(csv.DictReader(io.StringIO(world.batchrunner("ls", "--format", "csv").out)))
    assert [row["prompt"].removeprefix("'") for row in rows] == [job["prompt"] for job in jobs]
    assert not any(row["prompt"].startswith(("=", "+", "-", "@")) for row in rows), "a spreadsheet would run it"


def test_before_any_run(world: World) -> None:
    ended = world.batchrunner("status", "--json")

    assert ended.code in (2, 12)
    assert "Traceback" not in ended.text
    assert list(world.cwd.iterdir()) == [], "looking creates nothing"
