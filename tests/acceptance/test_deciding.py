"""What a person can do about a batch: cancel, retry, fetch, show. Only `run` ever submits."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from .world import SIGKILL, until

pytestmark = pytest.mark.slow

PRICES = {"currency": "USD", "per_second": {"720P": 0.1}}
REFUSED = {
    "on": "submit",
    "do": "answer",
    "status": 400,
    "json": {"error": {"code": "invalid_request", "message": "no"}},
}


def test_what_is_not_sent_is_cancelled_and_what_is_bought_is_kept(world, server):
    world.manifest([{"id": key, "prompt": key} for key in ("a", "b", "c")], name="night")
    world.run("--limit", "1")
    ended = world.batchrunner("cancel", "night")
    assert (ended.code, "2 jobs cancelled" in ended.out) == (0, True)
    assert world.batchrunner("cancel", "b", "a").code == 0
    assert world.states() == {"done": 1, "cancelled": 2}
    assert world.run().code == 0
    assert len(server.ledger) == 1

    ended = world.batchrunner("retry", "c", "--yes", "--note", "the client wants it after all")
    assert (ended.code, "batchrunner run batch.yaml" in ended.out) == (0, True)
    assert world.run().code == 0
    assert world.states() == {"done": 2, "cancelled": 1}
    shown = json.loads(world.batchrunner("show", "c", "--json").out)
    assert [one["event"] for one in shown["history"]][:3] == ["cancelled", "retried", "claimed"]
    assert shown["history"][1]["note"] == "the client wants it after all"


def test_a_retry_shows_what_it_buys_asks_and_is_another_purchase(world, serve):
    server = serve({**REFUSED, "match": "bad"})
    world.manifest([{"id": "good", "prompt": "good"}, {"id": "bad", "prompt": "bad"}], name="night", prices=PRICES)
    ended = world.run()
    assert ended.code == 3
    assert "retry" not in ended.out, "the same request would be refused again"
    for shown in (ended, world.batchrunner("status"), world.batchrunner("show", "bad")):
        assert "next: batchrunner run batch.yaml" in shown.out, shown.text
        assert "is edited" in shown.out

    ended = world.batchrunner("retry", "--failed")
    assert (ended.code, "--yes" in ended.err) == (2, True)
    assert "720P 5 s anew: 0.50 USD" in ended.err
    assert world.states() == {"done": 1, "failed": 1}
    for _ in range(2):  # the second finds nothing to do
        assert world.batchrunner("retry", "--failed", "--yes").code == 0
        assert world.states() == {"done": 1, "pending": 1}
    assert len(server.seen("submit")) == 2
    assert world.run().code == 0
    assert world.states() == {"done": 2}
    assert Counter(line["body"]["prompt"] for line in server.ledger) == {"good": 1, "bad": 1}
    tries = json.loads(world.batchrunner("show", "bad", "--json").out)["attempts"]
    assert [one["outcome"] for one in tries] == ["refused", "finished"]
    assert tries[0]["purchase_id"] != tries[1]["purchase_id"]


@pytest.mark.parametrize(
    "words", [("retry", "good", "--yes"), ("retry", "nothing", "--yes"), ("retry",), ("show", "*")]
)
def test_what_is_done_is_not_bought_again_and_slips_change_nothing(world, server, words):
    world.manifest([{"id": "good", "prompt": "good"}, {"id": "other", "prompt": "other"}], name="night")
    world.run()
    before = world.rows()
    ended = world.batchrunner(*words)
    assert ended.code == (0 if "good" in words else 2)
    assert "is not bought again" in ended.err or "fix:" in ended.err
    assert world.rows() == before


@pytest.mark.parametrize("words", [("cancel", "night"), ("retry", "--failed", "--yes")])
def test_nobody_changes_a_database_that_a_run_works_on(world, serve, words):
    server = serve({"on": "submit", "do": "wait"})
    world.manifest([{"id": "a", "prompt": "a"}], name="night")
    run = world.start("run", "batch.yaml", "--yes")
    until(lambda: server.seen("submit"), "the submission")
    ended = world.batchrunner(*words)
    assert (ended.code, "fix:" in ended.err) == (8, True)
    assert world.batchrunner("show", "a").code == 0
    run.send(SIGKILL)
    run.wait()


@pytest.mark.parametrize("words", [("cancel", "x"), ("retry", "--failed"), ("show", "x")])
def test_without_a_database_nothing_is_made(world, words):
    ended = world.batchrunner(*words)
    assert (ended.code, "fix:" in ended.err) == (12, True)
    assert list(world.cwd.iterdir()) == []
