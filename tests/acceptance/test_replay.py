"""`doctor --prove-replay`: one clip is bought, and what its repeated request comes to is stored."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from .world import DATABASE, KEY, until

pytestmark = pytest.mark.slow

PROVE = ("doctor", "--prove-replay", "--every", "0.1")


def proofs(world):
    with closing(sqlite3.connect(world.cwd / DATABASE)) as connection:
        return connection.execute("SELECT base_url, model, key, holds, note FROM replay_proofs").fetchall()


def test_it_says_what_it_costs_and_asks(world, server):
    ended = world.batchrunner(*PROVE)
    assert (ended.code, "buys one clip" in ended.err, "--yes" in ended.err) == (2, True, True)
    assert not server.access


def test_a_server_that_sells_each_time_is_seen_through(world, server):
    ended = world.batchrunner(*PROVE, "--yes")
    assert (ended.code, "not proven" in ended.out) == (3, True), ended.text
    sold = [line["id"] for line in server.ledger]
    assert Counter(line["body"]["client_business_id"] for line in server.ledger).most_common(1)[0][1] == 4
    assert all(task in ended.out for task in sold), "what was paid for is named"
    ((base_url, model, key, holds, _),) = proofs(world)
    assert (base_url, model, holds, len(key)) == (server.url, "kling-v3", 0, 8)
    assert KEY not in ended.text
    assert world.batchrunner("fetch", "replay-proof").code == 0
    assert world.states() == {"done": 1}


def test_a_server_that_knows_the_id_again_is_believed(world):
    emulator = world.start("emulator", "--speed", "400")
    until(lambda: "TOAPIS_BASE_URL" in emulator.out.read_text(), "the emulator")
    told = dict(line.removeprefix("export ").split("=", 1) for line in emulator.out.read_text().split() if "=" in line)
    world.env |= {name: told[name] for name in ("TOAPIS_BASE_URL", "TOAPIS_API_KEY")}
    for number in range(2):
        ended = world.batchrunner(*PROVE, "--yes")
        assert (ended.code, "one task, and one charge" in ended.out) == (0, True), ended.text
        assert len(proofs(world)) == number + 1
    assert "replay    proven on" in world.batchrunner("doctor").out
    assert world.batchrunner("fetch", "replay-proof").code == 0
    assert world.states() == {"done": 2}


def test_the_first_purchase_there_ever_was_is_settled_once_a_repeated_id_is_proven(world):
    (world.cwd / "faults.yaml").write_text("faults: [{name: dies, stage: submit, first: 1}]\n")
    emulator = world.start("emulator", "--speed", "400", "--faults", "faults.yaml")
    until(lambda: "TOAPIS_BASE_URL" in emulator.out.read_text(), "the emulator")
    told = dict(line.removeprefix("export ").split("=", 1) for line in emulator.out.read_text().split() if "=" in line)
    world.env |= {name: told[name] for name in ("TOAPIS_BASE_URL", "TOAPIS_API_KEY")}
    world.manifest([{"id": "only", "prompt": "only"}], name="night")
    assert world.run("--settle", "1").code == 11, "nothing was ever seen here that could prove anything"
    checked = world.batchrunner("doubt", "check", "night")
    assert "next: batchrunner doctor --prove-replay" in checked.out, checked.text
    assert world.batchrunner(*PROVE, "--yes").code == 0
    ended = world.run("--settle", "1")
    assert ended.code == 0, ended.text
    tries = json.loads(world.batchrunner("show", "night", "only", "--json").out)["attempts"]
    assert [one["outcome"] for one in tries] == ["absent", "finished"]
    assert len({one["purchase_id"] for one in tries}) == 1


def test_a_lost_answer_is_in_doubt_and_not_repeated(world, serve):
    server = serve({"on": "submit", "do": "drop", "accept": True})
    ended = world.batchrunner(*PROVE, "--yes")
    assert (ended.code, "doubt check replay-proof" in ended.err) == (9, True), ended.text
    assert (len(server.ledger), world.states()) == (1, {"in_doubt": 1})
    assert world.batchrunner("doubt", "resolve", "replay-proof").code == 0
