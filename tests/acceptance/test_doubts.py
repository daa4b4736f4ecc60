"""What a person can do about a submission whose answer was lost: look, take over, decide. Nothing but `run` submits."""

from __future__ import annotations

import json

import pytest

LOST = {"on": "submit", "do": "drop", "accept": True}
"""The clip is sold, and the answer never comes."""
NEVER = {"on": "submit", "do": "drop"}
"""The connection is closed, and nothing was sold."""


@pytest.fixture
def doubtful(world, serve):
    """A batch of two: one is done, and of the other nobody knows; `serve` again has no more faults."""

    def start(fault):
        server = serve({**fault, "match": "lost"})
        world.manifest([{"id": "sure", "prompt": "sure"}, {"id": "lost", "prompt": "lost"}], name="night")
        ended = world.run()
        assert (ended.code, world.states()) == (11, {"done": 1, "in_doubt": 1}), ended.text
        assert "batchrunner doubt check night" in ended.out
        return server

    return start


def test_what_the_provider_knows_is_taken_over_and_not_bought_again(world, doubtful):
    server = doubtful(LOST)
    listed = json.loads(world.batchrunner("doubt", "list", "--json").out)["doubts"]
    (task,) = [line for line in server.ledger if line["body"]["prompt"] == "lost"]
    assert [(one["key"], one["purchase_id"], one["settled"]) for one in listed] == [
        ("lost", task["body"]["client_business_id"], False)
    ]

    checked = world.batchrunner("doubt", "check", "night")
    assert (checked.code, task["id"] in checked.out, "doubt resolve" in checked.out) == (0, True, True)
    assert world.states() == {"done": 1, "in_doubt": 1}
    assert world.batchrunner("doubt", "resolve", "night").code == 0
    assert world.batchrunner("doubt", "resolve", "night").out == "night: nothing is in doubt\n"
    shown = json.loads(world.batchrunner("show", "lost", "--json").out)
    assert (shown["state"], shown["task_id"]) == ("running", task["id"])
    assert "the provider knows purchase" in shown["history"][-1]["note"]
    assert world.run().code == 0
    assert len(server.ledger) == 2


def test_what_is_not_found_is_a_person_s_to_decide(world, doubtful):
    server = doubtful(NEVER)
    checked = world.batchrunner("doubt", "check")
    assert (checked.code, "less than 15 min" in checked.out) == (11, True)
    assert "the look-up works" in checked.out
    assert "credits used by this key" in checked.out
    assert world.batchrunner("doubt", "resolve").code == 11

    early = world.batchrunner("doubt", "retry", "lost", "--note", "not in the console", "--yes")
    assert (early.code, "--unsettled" in early.err) == (2, True)
    words = ("doubt", "retry", "lost", "--note", "not in the console", "--unsettled")
    unasked = world.batchrunner(*words)
    assert (unasked.code, "may buy 1 clip twice" in unasked.err, "--yes" in unasked.err) == (2, True, True)
    assert world.states() == {"done": 1, "in_doubt": 1}
    assert world.batchrunner(*words, "--yes").code == 0
    before = json.loads(world.batchrunner("show", "lost", "--json").out)
    assert (before["state"], "not in the console" in before["history"][-1]["note"]) == ("pending", True)
    assert world.batchrunner(*words, "--yes").out == "night: nothing is in doubt\n"
    assert world.run().code == 0
    (task,) = [line for line in server.ledger if line["body"]["prompt"] == "lost"]
    assert task["body"]["client_business_id"] == before["purchase_id"], "the same purchase, so the same id"


def test_a_task_that_a_person_names_is_believed_only_if_it_fits(world, doubtful):
    server = doubtful(LOST)
    tasks = {line["body"]["prompt"]: line["id"] for line in server.ledger}
    for wrong in (tasks["sure"], "task_of_nobody", "../balance"):
        ended = world.batchrunner("doubt", "attach", "lost", wrong)
        assert (ended.code, "fix:" in ended.err) == (2, True), ended.text
    assert world.states() == {"done": 1, "in_doubt": 1}
    for _ in range(2):
        assert world.batchrunner("doubt", "attach", "night", "lost", tasks["lost"]).code == 0
        assert world.states() == {"done": 1, "running": 1}
    assert world.run().code == 0
    assert len(server.ledger) == 2


def test_what_is_given_up_counts_as_spent_and_is_bought_again_only_by_a_retry(world, doubtful):
    server = doubtful(NEVER)
    assert world.batchrunner("doubt", "abandon", "lost", "--note", "too old", "--yes").code == 0
    assert world.batchrunner("doubt", "abandon", "lost", "--note", "too old", "--yes").code == 0
    (row,) = [row for row in world.rows() if row["key"] == "lost"]
    assert (row["state"], row["reason"]) == ("failed", "abandoned")
    assert world.run().code == 3
    assert len(server.ledger) == 1
    assert world.batchrunner("retry", "--failed", "--yes").code == 0
    assert world.run().code == 0
    assert len(server.ledger) == 2


def test_what_waits_because_doubts_hold_every_place_says_so(world, serve):
    serve(LOST, purchases="ignored")
    world.manifest([{"id": f"job-{n}", "prompt": "x"} for n in range(3)], limits={"max_in_flight": 1})
    ended = world.run()
    assert (ended.code, world.states()) == (11, {"in_doubt": 1, "pending": 2}), ended.text
    assert "waits   2 clips: what is in doubt holds every place in flight (max_in_flight 1)" in ended.out


@pytest.mark.parametrize("command", ["retry", "abandon"])
def test_a_person_says_why(world, doubtful, command):
    doubtful(NEVER)
    for words in ((), ("--note", " ")):
        ended = world.batchrunner("doubt", command, "lost", *words, "--yes")
        assert ended.code == 2
    assert world.states() == {"done": 1, "in_doubt": 1}
