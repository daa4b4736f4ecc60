"""Paying again for jobs that changed or failed: asked for by name, once, and the old clip stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .world import Server, World, until

pytestmark = pytest.mark.slow

PRICES = {"currency": "USD", "per_second": {"720P": 0.1}}


def _prompts(server: Server) -> list[str]:
    return [entry["body"]["prompt"] for entry in server.ledger]


def test_a_changed_job_is_bought_once_more_and_its_old_clip_stays(world: World, server: Server) -> None:
    jobs = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]
    world.manifest(jobs, prices=PRICES)
    assert world.run().code == 0
    old = {Path(job["output"]): Path(job["output"]).read_bytes() for job in world.jobs()}
    jobs[0]["prompt"] = "another"
    world.manifest(jobs, prices=PRICES)

    assert world.run().code == 0
    assert len(server.ledger) == 2, "a yes alone pays for nothing twice"
    unasked = world.batchrunner("run", "batch.yaml", "--redo", "changed")
    assert unasked.code == 2, unasked.text
    assert "pays again for 1 clip that was bought before, 0.50 USD of it" in unasked.err
    assert "1 paid clip, 1 of them once more" in unasked.err
    assert len(server.ledger) == 2

    for _ in range(2):
        ended = world.run("--redo", "changed")
        assert ended.code == 0, ended.text
    assert sorted(_prompts(server)) == ["another", "one", "two"], "and the same command again bought nothing more"
    assert all(path.read_bytes() == content for path, content in old.items())
    found = {job["key"]: job for job in world.jobs()}
    assert found["a"]["prompt"] == "another"
    assert Path(found["a"]["output"]).name == "a (2).mp4"
    assert json.loads(world.batchrunner("status", "--json").out)["spent"] == 1.5

    jobs[0]["prompt"] = "one"
    world.manifest(jobs, prices=PRICES)
    assert world.run().code == 0
    assert len(server.ledger) == 3, "the old clip is found again"
    assert Path({job["key"]: job for job in world.jobs()}["a"]["output"]).name == "a.mp4"


def test_only_what_was_chosen_is_paid_for_again(world: World, server: Server) -> None:
    jobs = [{"id": f"j{number}", "prompt": f"old {number}"} for number in range(4)]
    world.manifest(jobs)
    assert world.run().code == 0
    world.manifest([{**job, "prompt": job["prompt"].replace("old", "new")} for job in jobs])

    assert world.run("--redo", "changed", "--only", "j[12]", "--limit", "1").code == 0
    assert world.run().code == 0

    assert _prompts(server)[4:] == ["new 1"]


def test_what_is_in_flight_is_not_bought_beside_itself(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "poll", "do": "wait", "times": 0})
    world.manifest([{"id": "a", "prompt": "old"}])
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: world.states()["running"], "a task")
    running.kill()
    server.open()
    server.set_faults()
    world.manifest([{"id": "a", "prompt": "new"}])

    assert world.run("--redo", "changed").code == 0
    assert _prompts(server) == ["old"], "it was collected"
    assert world.run("--redo", "changed").code == 0
    assert _prompts(server) == ["old", "new"]


def test_what_failed_is_bought_again_with_the_same_request(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "poll", "do": "fail", "error": {"code": "x", "message": "no"}, "match": "bad"})
    world.manifest([{"id": "a", "prompt": "good"}, {"id": "b", "prompt": "bad"}])
    failed = world.run()
    assert failed.code == 3

    ended = world.run("--redo", "failed")

    assert ended.code == 0, ended.text
    assert sorted(_prompts(server)) == ["bad", "bad", "good"]
    assert {job["key"]: job["attempts"] for job in world.jobs()} == {"a": 1, "b": 2}
    assert "--redo" not in ended.out
