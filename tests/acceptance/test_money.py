"""Money, against a server with books of its own: a budget holds, a drained account loses nothing, every credit is explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from . import books
from .world import SIGKILL, Server, World, until

CLIP = 84
"""Credits of one clip of five seconds in 720P."""
PRICES = {"currency": "USD", "per_second": {"720P": 0.084, "1080P": 0.112, "720P+Sound": 0.126, "1080P+Sound": 0.168}}
FAILED = {"code": "generation_failed", "message": "upstream returned status 422"}


def jobs(count: int) -> list[dict[str, Any]]:
    return [{"id": f"j{number:02}", "prompt": f"prompt {number:02}"} for number in range(count)]


def audited(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("  audit   ")]
    return line.removeprefix("  audit   ")


@pytest.mark.parametrize(
    "cap", ["max_cost", *(pytest.param(cap, marks=pytest.mark.slow) for cap in ("per_day", "per_month", "tags"))]
)
def test_a_budget_holds_under_concurrency_and_kills(cap: str, world: World, server: Server) -> None:
    """Twenty submissions race for what is left, the run is killed twice in between, and the cap is never passed."""
    limits = {"max_in_flight": 60, "submit_slots": 20}
    amount = 0.42 * 30
    tagged = [{**job, "tags": ["night"]} for job in jobs(60)]
    budget = {cap: {"night": amount} if cap == "tags" else amount}
    world.manifest(tagged, limits=limits, prices=PRICES, budget=budget)
    for goal in (7, 19):
        running = world.start("run", "batch.yaml", "--yes", "--progress", "quiet")
        until(lambda: len(server.ledger) >= goal or not running.alive, "so many sales")  # noqa: B023
        running.send(SIGKILL)
        running.wait()

    ended = world.run("--settle", "1", "--progress", "quiet")

    assert len(server.ledger) <= 30
    assert server.used <= 30 * CLIP
    assert ended.code in (5, 11), ended.text
    states = books.audit(world, books.sales(server))
    assert states["done"] + states["in_doubt"] <= 30
    assert states["pending"] >= 30
    assert world.run("--progress", "quiet").code == ended.code
    assert len(server.ledger) <= 30


@pytest.mark.parametrize("priced", [True, False], ids=["foreseen by the prices", "refused by the provider"])
def test_a_drained_account_costs_nothing_but_time(world: World, serve: Callable[..., Server], priced: bool) -> None:
    server = serve(credits=3 * CLIP)
    world.manifest(jobs(7), limits={"submit_slots": 1}, **({"prices": PRICES} if priced else {}))

    ended = world.run()

    assert ended.code == 7, ended.text
    assert books.audit(world, books.sales(server)) == {"done": 3, "pending": 4}
    assert len([line for line in server.access if line["kind"] == "refused"]) == (0 if priced else 1)
    assert ("they pay for 0 of the 4 clips" in ended.out) is priced, ended.out
    assert world.run().code == 7
    assert world.states()["pending"] == 4
    server.top_up(7 * CLIP)
    again = world.run()
    assert again.code == 0, again.text
    assert len(server.ledger) == 7


def test_the_audit_line_agrees_with_the_servers_books(world: World, serve: Callable[..., Server]) -> None:
    """To the credit: with a failed task that is paid back, and with one that a killed run left behind."""
    server = serve({"on": "poll", "do": "fail", "match": "prompt 01", "error": FAILED, "times": 0}, speed=40)
    kinds = [{}, {}, {"mode": "pro"}, {"audio": True, "mode": "pro", "duration": 10}]
    world.manifest([{**job, **kind} for job, kind in zip(jobs(4), kinds, strict=True)], prices=PRICES)
    running = world.start("run", "batch.yaml", "--yes", "--progress", "quiet")
    until(lambda: world.states()["running"] + world.states()["done"] == 4, "all to be accepted")
    running.kill()

    ended = world.run()

    assert ended.code == 3, ended.text
    assert server.used == CLIP + 112 + 2 * 168
    assert (
        audited(ended.out) == f"charged {server.used} credits; 3 tasks explain {server.used}; unexplained 0; in doubt 0"
    )
    world.manifest([*jobs(4), {"id": "new", "prompt": "new"}][-1:], prices=PRICES)
    assert audited(world.run().out) == "charged 84 credits; 1 task explains 84; unexplained 0; in doubt 0"


def test_what_others_use_is_not_called_ours(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "poll", "do": "delay", "seconds": 1.0, "match": "prompt 00"})
    world.manifest(jobs(1), prices=PRICES)
    running = world.start("run", "batch.yaml", "--yes")
    until(lambda: server.ledger, "the sale")
    server.use_elsewhere(50)
    line = audited(running.wait().out)
    assert line.startswith(
        "charged 134 credits; 1 task explains 84; unexplained 50; in doubt 0; not auditable: the key"
    )


def test_without_prices_the_audit_says_what_is_missing(world: World, server: Server) -> None:
    world.manifest(jobs(2))
    assert audited(world.run().out).startswith("charged 168 credits for 2 tasks; not auditable: they have no price")


def test_prices_in_another_currency_are_never_added(world: World, server: Server) -> None:
    """They used to count one to one against the caps of the batch."""
    world.manifest(jobs(2), prices=PRICES)
    assert world.run("--limit", "1").code == 0
    world.manifest(jobs(2), prices={**PRICES, "currency": "CNY"}, budget={"max_cost": 20})
    for words in (("plan", "batch.yaml"), ("run", "batch.yaml", "--yes")):
        refused = world.batchrunner(*words)
        assert refused.code == 2, refused.text
        assert "batch batch was bought with prices in USD (0.42 USD), these are in CNY" in refused.err
    world.manifest(jobs(2), prices={**PRICES, "currency": "CNY"}, name="other")
    assert world.run("--limit", "1").code == 0
    assert [line.split(",")[:4] for line in world.batchrunner("cost", "--format", "csv").out.splitlines()[1:]] == [
        ["batch", "USD", "1", "0.42"],
        ["other", "CNY", "1", "0.42"],
    ]
    assert len(server.ledger) == 2
