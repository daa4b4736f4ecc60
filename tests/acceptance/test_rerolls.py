"""Another take of a clip: bought once, kept by the next runs whatever the manifest says, and its old file stays."""

from __future__ import annotations

from collections.abc import Callable

from . import books
from .world import Server, World

PRICES = {"currency": "USD", "per_second": {"720P": 0.084}}


def keys(world: World) -> dict[str, str]:
    return {row["key"]: row["state"] for row in world.rows()}


def test_a_take_is_asked_for_bought_once_and_kept(world: World, server: Server) -> None:
    jobs = [{"id": "a", "prompt": "prompt a"}, {"id": "b", "prompt": "prompt b"}]
    world.manifest(jobs, prices=PRICES)
    assert world.run().code == 0
    first = world.clips()

    refused = world.batchrunner("reroll", "a")
    assert refused.code == 2
    assert "needs a yes" in refused.text
    asked = world.batchrunner(
        "reroll", "a", "--takes", "2", "--prompt", "prompt a, closer", "--note", "too far", "--yes"
    )

    assert asked.code == 0, asked.text
    assert "buys 720P 10 s: 0.84 USD: a/t2, a/t3" in asked.err
    assert len(server.ledger) == 2
    again = world.run()
    assert again.code == 0, again.text
    assert "+ 2 to send   = 2 done" in again.err
    assert [line["body"]["prompt"] for line in server.ledger[2:]] == ["prompt a, closer"] * 2
    assert set(first) < set(world.clips())
    assert [path.name for path in world.clips()] == ["a-t2.mp4", "a-t3.mp4", "a.mp4", "b.mp4"]
    books.audit_files(world, server)

    world.manifest(jobs[1:], prices=PRICES)  # the manifest drops the job itself, and not what a person asked for
    assert world.run().code == 0
    assert len(server.ledger) == 4
    assert keys(world) == dict.fromkeys(("a", "a/t2", "a/t3", "b"), "done")
    costs = world.batchrunner("cost", "--format", "csv").out.splitlines()
    assert costs[0].startswith("batch,currency,attempts,spent,committed,in_doubt,released,discarded")
    assert costs[1].startswith("batch,USD,4,1.68,0.0,0.0,0.0,0.42,")


def test_the_manifest_may_take_over_a_take(world: World, server: Server) -> None:
    world.manifest([{"id": "a", "prompt": "prompt a"}])
    world.run()
    assert world.batchrunner("reroll", "a", "--yes").code == 0
    world.run()
    world.manifest([{"id": "a", "prompt": "prompt a", "takes": 2}])

    ended = world.run()

    assert ended.code == 0, ended.text
    assert len(server.ledger) == 2, "both takes are there already"
    assert keys(world) == {"a/t1": "done", "a/t2": "done"}


def test_what_has_not_ended_is_not_rerolled(world: World, server: Server) -> None:
    world.manifest([{"id": "a", "prompt": "prompt a"}, {"id": "b", "prompt": "prompt b"}])
    world.run("--limit", "1")
    refused = world.batchrunner("reroll", "b", "--yes")
    assert refused.code == 2
    assert "b has not ended yet" in refused.text


def test_a_failed_take_can_be_dropped_and_what_failed_is_not_rerolled(
    world: World, serve: Callable[..., Server]
) -> None:
    """Otherwise a batch would end with 3 for ever: what no manifest asks for can be edited nowhere."""
    refused = {"code": "content_policy_violation", "message": "refused"}
    server = serve({"on": "poll", "do": "fail", "match": "bad", "error": refused, "times": 0})
    world.manifest([{"id": "a", "prompt": "prompt a"}])
    world.run()
    assert world.batchrunner("reroll", "a", "--prompt", "bad", "--yes").code == 0
    assert world.run().code == world.run().code == 3

    again = world.batchrunner("reroll", "a/t2", "--yes")
    assert again.code == 2
    assert "has no clip" in again.err
    assert "batchrunner retry batch a/t2" in again.err
    dropped = world.batchrunner("cancel", "a/t2")

    assert dropped.code == 0, dropped.text
    assert "1 failed take dropped" in dropped.out
    assert world.run().code == 0
    assert len(server.ledger) == 2
