"""What `plan` says before anything is bought, and that looking costs and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from .world import Server, World, picture, until

PRICES = {"currency": "USD", "per_second": {"720P": 0.084, "1080P": 0.112}}


def planned(world: World, *words: str, code: int = 0) -> dict[str, Any]:
    """What `plan --json` says."""
    ended = world.batchrunner("plan", "batch.yaml", "--json", *words)
    assert ended.code == code, ended.text
    found: dict[str, Any] = json.loads(ended.out)
    assert found["schema"] == "batchrunner/plan@1"
    return found


def counts(plan: dict[str, Any]) -> dict[str, int]:
    return {name: count for name, count in plan["counts"].items() if count}


def test_editing_a_finished_batch_buys_exactly_what_is_new(world: World, server: Server) -> None:
    jobs = [{"prompt": f"a clip of scene {number}"} for number in range(100)]
    limits = {"max_in_flight": 50, "submit_slots": 16}
    world.manifest(jobs, prices=PRICES, limits=limits)
    assert world.run().code == 0

    jobs = [{"id": f"scene-{number}", **job} for number, job in enumerate(jobs)]
    world.manifest(jobs, prices=PRICES, limits=limits)
    assert counts(planned(world)) == {"jobs": 100, "done": 100, "moved": 100}
    assert world.run().code == 0, "names are given, and nothing is bought"

    jobs[30]["prompt"] = "another scene"
    del jobs[70]
    jobs[50:50] = [{"id": "new-1", "prompt": "one more"}, {"id": "new-2", "prompt": "and one", "mode": "pro"}]
    world.manifest(jobs, prices=PRICES, limits=limits)
    plan = planned(world, "--exit-code", code=10)

    assert counts(plan) == {"jobs": 101, "new": 2, "changed": 1, "orphaned": 1, "done": 98}
    assert plan["to_send"]["seconds"] == {"720P": 5, "1080P": 5}
    assert plan["to_send"]["cost"] == 5 * (0.084 + 0.112)
    assert plan["duration"]["tasks"] == 100
    listed = world.batchrunner("plan", "batch.yaml", "--list").out.splitlines()
    assert next(line for line in listed if line.startswith("~ ")).startswith("~ scene-30 ")
    assert [line.split()[1] for line in listed if line.startswith("+ ")] == ["new-1", "new-2"]
    assert [line.split()[1] for line in listed if line.startswith("- ")] == ["scene-70"]

    assert world.run().code == 0
    assert sorted(entry["body"]["prompt"] for entry in server.ledger[100:]) == ["and one", "one more"]
    assert counts(planned(world, "--exit-code")) == {"jobs": 101, "changed": 1, "done": 100}


def test_the_worst_that_a_resend_may_cost_is_told_before(world: World, serve: Callable[..., Server]) -> None:
    world.manifest([{"prompt": "one"}, {"prompt": "two"}], prices=PRICES, on_doubt="resend")
    told = world.batchrunner("plan", "batch.yaml").out
    assert "at most 2 clips may be paid twice: 0.84 USD more" in told
    assert planned(world)["at_risk"] == {"clips": 2, "cost": 0.84}
    serve({"on": "submit", "do": "drop", "accept": False, "match": "one"})
    assert world.run("--settle", "0").code == 11
    assert planned(world)["at_risk"] == {"clips": 1, "cost": 0.42}
    world.manifest([{"prompt": "one"}, {"prompt": "two"}], prices=PRICES)
    assert "paid twice" not in world.batchrunner("plan", "batch.yaml").out


def test_looking_writes_nothing_and_needs_nothing(world: World) -> None:
    picture(world.cwd / "first.png", "red")
    frames = {"first": "first.png"}
    jobs = [{"id": "a", "prompt": "x", "frames": frames}, {"id": "b", "prompt": "y", "frames": frames}]
    world.manifest(jobs)
    before = sorted(world.cwd.rglob("*"))
    env = {"TOAPIS_API_KEY": None}

    ended = world.batchrunner("plan", "batch.yaml", "--list", "--exit-code", env=env)

    assert ended.code == 10
    assert "+ 2 to send   = 0 done" in ended.out
    assert "sends 1 frame from this machine" in ended.out
    assert f"sends {world.cwd / 'first.png'}" in ended.out
    assert "cost unknown" in ended.out
    assert sorted(world.cwd.rglob("*")) == before, "no database, no folder"


def test_a_plan_beside_a_run(world: World, serve: Callable[..., Server]) -> None:
    serve({"on": "poll", "do": "wait", "times": 0})
    world.manifest([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}], limits={"max_in_flight": 1})
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: world.states()["running"], "a task")

    plan = planned(world, "--exit-code", code=10)

    assert counts(plan) == {"jobs": 2, "new": 1, "in_flight": 1}
    assert running.alive
    running.kill()


def test_what_the_caps_leave(world: World, server: Server) -> None:
    prices = {"currency": "USD", "per_second": {"720P": 1.0}}
    jobs = [{"id": f"j{number}", "prompt": f"p{number}"} for number in range(4)]
    world.manifest(jobs, prices=prices, budget={"max_cost": 12, "warn_at": 0.8})
    assert world.run("--limit", "1").code == 0

    plan = planned(world)

    assert plan["budget"] == [{"cap": "max_cost", "limit": 12.0, "used": 5.0, "left": 7.0, "warns": True}]
    assert plan["fits"] == {"clips": 1, "cost": 5.0, "stopped_by": "max_cost"}
    ended = world.run()
    assert ended.code == 5
    assert "next: batchrunner plan batch.yaml\n" in ended.out
    assert len(server.ledger) == 2, "as the plan said"


def test_what_a_night_comes_to(world: World) -> None:
    """Its hours, what goes ahead, and what may be bought again without another yes."""
    frames = {
        name: str(picture(world.cwd / f"{name}.png", colour)) for name, colour in (("first", "red"), ("last", "blue"))
    }
    jobs = [{"id": f"pair{number}", "prompt": f"p{number}", "frames": frames} for number in range(3)]
    world.manifest(
        [*jobs, {"id": "text", "prompt": "t"}],
        prices={"currency": "USD", "per_second": {"720P": 1.0}},
        retry={"generation": 2},
    )
    words = ("plan", "batch.yaml", "--max-duration", "4m", "--window", "none", "--max-cost", "100.5")

    shown = world.batchrunner(*words).out

    assert "first 1 clip of 720P 5 s from first to last frame; 2 wait until it is right\n" in shown
    assert "retry up to 2 times a clip (generation 2): at worst 60.00 USD,\n" in shown
    assert " about 1 of 4 clips can be here (a guess: too few were seen here)\n" in shown
    assert "next: batchrunner run batch.yaml --max-cost 100.5 --max-duration 4m --window none\n" in shown
    plan = json.loads(world.batchrunner(*words, "--no-canary", "--json").out)
    assert (plan["canary"], plan["canary_wrong"], plan["retry"]) == ([], [], {"purchases": 2})
    assert plan["hours"]["clips"] == 4, "without a canary all are begun at once"


def test_resolved_jobs_can_be_compared(world: World) -> None:
    world.manifest(
        [{"id": "a", "prompt": "猫 #1: {x}"}, {"id": "b", "prompt": "y", "matrix": {"mode": ["std", "pro"]}}]
    )

    text = world.batchrunner("plan", "batch.yaml", "--resolved").out
    lines = world.batchrunner("plan", "batch.yaml", "--resolved", "--json").out.splitlines()

    assert yaml.safe_load(text) == [json.loads(line) for line in lines]
    assert [(job["key"], job["mode"]) for job in yaml.safe_load(text)] == [
        ("a", "std"),
        ("b/std", "std"),
        ("b/pro", "pro"),
    ]
