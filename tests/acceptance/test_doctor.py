"""`doctor` says whether everything is ready, shows no secret, and changes nothing; `policy` is the table that decides."""

from __future__ import annotations

import json

import pytest

from batchrunner.matrix import POLICY

from .world import DATABASE, KEY


def test_everything_is_ready(world, server):
    world.manifest([{"id": "a", "prompt": "a"}], name="night")
    world.run()
    before = (world.cwd / DATABASE).read_bytes()
    ended = world.batchrunner("doctor", "--online", env={"HTTPS_PROXY": "http://user:pass-word@proxy.example:3128"})
    assert ended.code == 0, ended.text
    assert "✗" not in ended.text
    assert "credits used" in ended.out
    assert "proxy.example:3128" in ended.out
    assert "pass-word" not in ended.text
    assert KEY not in ended.text
    assert (world.cwd / DATABASE).read_bytes() == before
    assert {line["kind"] for line in server.access[-1:]} == {"balance"}


@pytest.mark.parametrize(
    ("env", "code", "name"),
    [
        ({"TOAPIS_API_KEY": None}, 7, "key"),
        ({"TOAPIS_API_KEY": "sk with spaces"}, 7, "key"),
        ({"TOAPIS_API_KEY": "sk-somebody-elses"}, 7, "balance"),
        ({"TOAPIS_BASE_URL": "http://toapis.com"}, 2, "address"),
        ({"TOAPIS_BASE_URL": "http://127.0.0.1:9"}, 9, "reach"),
    ],
)
def test_what_is_wrong_has_its_exit_code_and_a_remedy(world, server, env, code, name):
    ended = world.batchrunner("doctor", "--online", "--json", env=env)
    wrong = [one for one in json.loads(ended.out)["findings"] if one["level"] == "wrong"]
    assert (ended.code, [one["name"] for one in wrong]) == (code, [name]), ended.text
    assert all(one["fix"] for one in wrong)
    assert list(world.cwd.iterdir()) == []


def test_a_database_that_is_none_is_found(world):
    database = world.cwd / DATABASE
    database.parent.mkdir()
    database.write_bytes(b"SQLite format 3\0" + b"\0" * 4080)
    ended = world.batchrunner("doctor")
    assert (ended.code, "✗ database" in ended.out) == (12, True), ended.text


def test_the_policy_is_the_table_that_decides(world):
    rows = json.loads(world.batchrunner("policy", "--json").out)
    assert [row["row"] for row in rows] == [row.id for row in POLICY]
    assert all(row["when"] and row["verdict"] and row["meaning"] for row in rows)
    printed = world.batchrunner("policy").out
    assert all(row.when in printed for row in POLICY)
