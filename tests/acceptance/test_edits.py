"""Editing a manifest between runs: what was bought is kept, found again, and never forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable

from .world import Server, World


def _job(name: str, prompt: str) -> dict[str, str]:
    return {"id": name, "prompt": prompt}


def test_renumbered_ids_buy_only_what_is_new(world: World, server: Server) -> None:
    world.manifest([_job("s1", "alpha"), _job("s2", "beta")])
    assert world.run("--yes").code == 0

    world.manifest([_job("s1", "NEW"), _job("s2", "alpha"), _job("s3", "beta")])
    ended = world.run("--yes")

    assert ended.code == 0, ended.text
    assert sorted(entry["body"]["prompt"] for entry in server.ledger) == ["NEW", "alpha", "beta"]
    assert {job["key"]: job["prompt"] for job in world.jobs()} == {"s1": "NEW", "s2": "alpha", "s3": "beta"}


def test_a_doubt_outlives_its_place_in_the_manifest(world: World, serve: Callable[..., Server]) -> None:
    serve({"on": "submit", "do": "answer", "status": 500, "json": {"error": {"message": "oops"}}})
    world.manifest([_job("lost", "a clip that may have been bought")])
    assert world.run("--yes").code == 11

    world.manifest([_job("other", "another clip")])
    ended = world.run("--yes")

    assert ended.code == 11, ended.text
    assert "1 submission may have been paid for" in ended.text
    assert [job["key"] for job in world.jobs("--state", "in_doubt")] == ["lost"]
    assert json.loads(world.batchrunner("status", "--json").out)["dropped"] == {"in_doubt": 1}


def test_a_glob_that_matches_nothing_is_a_slip(world: World, server: Server) -> None:
    world.manifest([_job("s1", "alpha")])

    ended = world.run("--yes", "--only", "S1")

    assert ended.code == 2
    assert "no job has a key that matches 'S1'" in ended.err
    assert server.ledger == []


def test_the_lower_of_two_ceilings_holds(world: World, server: Server) -> None:
    prices = {"currency": "USD", "per_second": {"720P": 1.0}}
    world.manifest([_job("a", "x"), _job("b", "y")], prices=prices, budget={"max_cost": 5})

    ended = world.run("--yes", "--max-cost", "100")

    assert ended.code == 5, ended.text
    assert len(server.ledger) == 1


def test_a_ceiling_needs_a_price_for_every_job(world: World, server: Server) -> None:
    world.manifest([_job("a", "x")], prices={"currency": "USD", "per_second": {"1080P": 1.0}})

    ended = world.run("--yes", "--max-cost", "0")

    assert ended.code == 2
    assert "720P" in ended.err
    assert server.ledger == []
