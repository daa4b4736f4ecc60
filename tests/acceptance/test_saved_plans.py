"""A saved plan is the yes to exactly what it says: it is carried out as it is, goes on as it is, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .world import KEY, SIGKILL, Server, World, picture, until

pytestmark = pytest.mark.slow

PRICES = {"currency": "USD", "per_second": {"720P": 0.1}}


def _jobs(count: int) -> list[dict[str, str]]:
    return [{"id": f"j{number}", "prompt": f"p{number}"} for number in range(count)]


def _save(world: World, *words: str) -> None:
    ended = world.batchrunner("plan", "batch.yaml", "--out", "plan.json", *words)
    assert ended.code == 0, ended.text
    assert "next: batchrunner run plan.json" in ended.out


def _prompts(server: Server) -> list[str]:
    return sorted(entry["body"]["prompt"] for entry in server.ledger)


def _refused(world: World, server: Server, why: str, *words: str) -> None:
    before = len(server.ledger)
    ended = world.batchrunner("run", "plan.json", *words)
    assert ended.code == 2, ended.text
    assert why in ended.err
    assert len(server.ledger) == before


def test_it_is_carried_out_without_asking_and_again_does_nothing(world: World, server: Server) -> None:
    world.manifest(_jobs(4), prices=PRICES)
    _save(world, "--limit", "3", "--only", "j[0123]")
    text = (world.cwd / "plan.json").read_text("utf-8")
    assert KEY not in text
    assert [row[:2] for row in json.loads(text)["jobs"]] == [["send", f"j{n}"] for n in range(3)] + [["later", "j3"]]

    assert "batchrunner run plan.json carries it out" in world.batchrunner("plan", "plan.json").err
    for _ in range(2):
        ended = world.batchrunner("run", "plan.json")
        assert ended.code == 0, ended.text
    assert _prompts(server) == ["p0", "p1", "p2"]


def test_an_interrupted_one_goes_on(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "poll", "do": "wait", "times": 0})
    world.manifest(_jobs(5), prices=PRICES, limits={"max_in_flight": 2})
    _save(world, "--limit", "4")
    running = world.start("run", "plan.json")
    until(lambda: world.states()["running"] == 2, "two tasks")
    running.send(SIGKILL)
    running.wait()
    server.set_faults()
    server.open()

    ended = world.batchrunner("run", "plan.json")

    assert ended.code == 0, ended.text
    assert _prompts(server) == ["p0", "p1", "p2", "p3"]


def _frame(world: World, colour: str) -> None:
    picture(world.cwd / "a.png", colour)


CHANGES = {
    "a prompt": (lambda jobs: jobs[1].update(prompt="other"), "j1 asks for something else"),
    "a new job": (lambda jobs: jobs.insert(0, {"id": "n", "prompt": "n"}), "n is new"),
    "a job less": (lambda jobs: jobs.pop(), "j2 is gone"),
    "another order": (lambda jobs: jobs.reverse(), "the order of the jobs"),
    "another name": (lambda jobs: jobs[0].update(output={"filename": "x.mp4"}), "j0 would lie at x.mp4"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_that_has_moved_on_is_refused(change: str, world: World, server: Server) -> None:
    jobs = _jobs(3)
    world.manifest(jobs, prices=PRICES)
    _save(world)
    edit, why = CHANGES[change]
    edit(jobs)
    world.manifest(jobs, prices=PRICES)
    _refused(world, server, why)


def test_a_frame_a_price_or_the_database_that_has_moved_on_is_refused(world: World, server: Server) -> None:
    _frame(world, "red")
    jobs = [{"id": "f", "prompt": "x", "frames": {"first": "a.png"}}, *_jobs(1)]
    world.manifest(jobs, prices=PRICES)
    _save(world)
    _frame(world, "blue")
    _refused(world, server, "f asks for something else: its text, its parameters or a frame")
    _frame(world, "red")
    world.manifest(jobs, prices={"currency": "USD", "per_second": {"720P": 0.2}})
    _refused(world, server, "prices was")
    world.manifest(jobs, prices=PRICES)
    assert world.run("--only", "f").code == 0
    _refused(world, server, "f was to be sent, and is to be left alone (done)")


def test_what_is_bought_cannot_be_said_twice(world: World, server: Server) -> None:
    world.manifest(_jobs(2), prices=PRICES, budget={"max_cost": 5})
    _save(world)
    _refused(world, server, "--limit cannot change it", "--limit", "1")
    _refused(world, server, "not for a rehearsal", "--emulator")
    text = (world.cwd / "plan.json").read_text("utf-8")
    (world.cwd / "plan.json").write_text(text[: len(text) * 3 // 4], "utf-8")
    _refused(world, server, "is not a whole plan")
    assert world.batchrunner("plan", "batch.yaml", "--out", "batch.yaml").code == 2, "a manifest is not overwritten"
    _save(world)
    assert world.batchrunner("run", "plan.json", "--max-cost", "0.5").code == 5
    assert len(server.ledger) == 1


def test_what_failed_is_not_paid_for_a_third_time(world: World, serve: Callable[..., Server]) -> None:
    fault = {"on": "poll", "do": "fail", "error": {"code": "x", "message": "no"}, "times": 0}
    server = serve(fault)
    world.manifest(_jobs(1), prices=PRICES)
    assert world.run().code == 3
    _save(world, "--redo", "failed")

    for _ in range(2):
        assert world.batchrunner("run", "plan.json").code == 3
    assert len(server.ledger) == 2


def test_a_signed_address_is_not_saved(world: World) -> None:
    world.manifest([{"id": "a", "prompt": "{u}", "vars": {"u": "x"}}])
    ended = world.batchrunner("plan", "batch.yaml", "--set", "u=https://x.example/a.png?sig=abc", "--out", "plan.json")
    assert ended.code == 2
    assert not (world.cwd / "plan.json").exists()
