"""Exit codes: each ending has its own, says what helps, and leaves the other jobs alone (DESIGN §8)."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable

import pytest

from . import books
from .world import KEY, Server, World, picture, until

JOBS = [{"id": name, "prompt": f"prompt {name}"} for name in ("a", "b", "c", "d")]


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (None, "TOAPIS_API_KEY"),
        ("", "TOAPIS_API_KEY"),
        (KEY[:9] + "\n" + KEY[9:], "TOAPIS_API_KEY"),
        ("sk-é" + KEY, ""),
    ],
    ids=["missing", "empty", "with a line break inside", "not ascii"],
)
def test_no_usable_key(world: World, server: Server, key: str | None, shown: str) -> None:
    world.manifest(JOBS)

    ended = world.batchrunner("run", "batch.yaml", "--yes", env={"TOAPIS_API_KEY": key})

    assert ended.code == 7
    assert shown in ended.err
    assert "fix:" in ended.err
    assert server.access == []
    assert KEY[:9] not in ended.text
    assert KEY[9:] not in ended.text
    assert "Traceback" not in ended.text


def test_a_key_with_a_line_break_at_its_end_works(world: World, server: Server) -> None:
    world.manifest(JOBS[:1])

    ended = world.batchrunner("run", "batch.yaml", "--yes", env={"TOAPIS_API_KEY": KEY + "\n"})

    assert ended.code == 0, ended.text


def test_a_refused_key_stops_before_anything_is_sent(world: World, server: Server) -> None:
    world.manifest(JOBS)

    ended = world.batchrunner("run", "batch.yaml", "--yes", env={"TOAPIS_API_KEY": KEY + "x"})

    assert ended.code == 7
    assert server.seen("submit") == []
    assert KEY not in ended.text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (402, "insufficient_quota"),
        pytest.param(403, "quota_not_enough", marks=pytest.mark.slow),
    ],
)
def test_account_trouble_in_mid_run(world: World, serve: Callable[..., Server], status: int, code: str) -> None:
    refusal = {"error": {"code": code, "message": f"no, {KEY} will not do"}}
    server = serve({"on": "submit", "do": "answer", "status": status, "json": refusal, "first": 2, "times": 0})
    world.manifest(JOBS, limits={"submit_slots": 1})

    ended = world.run()

    assert ended.code == 7, ended.text
    assert len(server.seen("submit")) == 2, "one refusal is enough"
    states = books.audit(world, books.sales(server))
    assert states == {"done": 1, "pending": 3}
    status_json = json.loads(world.batchrunner("status", "--json").out)
    assert status_json["paused"]
    assert KEY not in ended.text
    server.set_faults()
    assert world.run().code == 0
    assert len(server.ledger) == 4


WRONG = """\
version: 1
jobs:
  - prompt: too long
    duration: 7
  - prompt: no such file
    frames: {first: no.png}
  - promt: misspelt
  - prompt: fifteen seconds are for text only
    duration: 15
    frames: {first: a.png}
"""


def test_a_wrong_manifest_shows_every_mistake_at_once(world: World, server: Server) -> None:
    picture(world.cwd / "a.png", "red")
    (world.cwd / "batch.yaml").write_text(WRONG)

    ended = world.run()

    assert ended.code == 4
    places = re.findall(r"^batch\.yaml:(\d+:\d+): error", ended.err, re.MULTILINE)
    assert {"4:15", "6:21", "7:5", "9:15"} <= set(places), ended.err
    assert server.access == []
    assert not (world.cwd / ".batchrunner").exists()
    assert not (world.cwd / "out").exists()


def test_a_manifest_that_is_no_yaml(world: World, server: Server) -> None:
    (world.cwd / "batch.yaml").write_text("version: 1\njobs:\n  - prompt: [x\n")

    ended = world.run()

    assert ended.code == 4
    assert re.search(r"^batch\.yaml:\d+:\d+: ", ended.err)
    assert server.access == []


def test_no_manifest(world: World, server: Server) -> None:
    ended = world.run()

    assert ended.code == 4
    assert "batch.yaml" in ended.err
    assert server.access == []


def test_a_second_run(world: World, serve: Callable[..., Server]) -> None:
    server = serve({"on": "submit", "do": "wait", "times": 0})
    world.manifest(JOBS)
    first = world.start("run", "batch.yaml", "--yes")
    until(lambda: server.seen("submit"), "the first run's first submission")

    second = world.run()

    assert second.code == 8
    assert str(first.pid) in second.err
    server.open()
    assert first.wait().code == 0
    assert len(server.ledger) == 4


def test_a_yes_is_needed(world: World, server: Server) -> None:
    world.manifest(JOBS)

    ended = world.batchrunner("run", "batch.yaml")

    assert ended.code == 2
    assert "--yes" in ended.err
    assert server.seen("submit") == []


def test_an_unreachable_provider(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    world.env["TOAPIS_BASE_URL"] = f"http://127.0.0.1:{port}"
    world.manifest(JOBS)

    ended = world.run()

    assert ended.code == 9
    assert "fix:" in ended.err
    assert world.states() in ({}, {"pending": 4})


def test_a_plain_http_address_elsewhere(world: World, server: Server) -> None:
    world.manifest(JOBS)

    ended = world.batchrunner("run", "batch.yaml", "--yes", env={"TOAPIS_BASE_URL": "http://example.com"})

    assert ended.code == 2
    assert "https" in ended.err


def test_a_task_that_fails(world: World, serve: Callable[..., Server]) -> None:
    error = {"code": "generation_failed", "message": "content policy: \x1b[31mno\x1b[0m"}
    server = serve({"on": "poll", "do": "fail", "error": error, "match": "prompt b"})
    world.manifest(JOBS)

    ended = world.run()

    assert ended.code == 3
    assert "\x1b" not in ended.text
    assert books.audit(world, books.sales(server)) == {"done": 3, "failed": 1}
    failed = next(job for job in world.rows() if job["state"] == "failed")
    assert failed["key"] == "b"
    assert failed["reason"] == "content_policy"
    assert world.run().code == 3, "only a person buys it again"
    assert len(server.ledger) == 4


@pytest.mark.slow
def test_a_refused_job_does_not_stop_the_others(world: World, serve: Callable[..., Server]) -> None:
    refusal = {"error": {"code": "content_policy_violation", "message": "not that"}}
    server = serve({"on": "submit", "do": "answer", "status": 422, "json": refusal, "match": "prompt b"})
    world.manifest(JOBS)

    ended = world.run()

    assert ended.code == 3
    assert books.audit(world, books.sales(server)) == {"done": 3, "failed": 1}


def test_a_clip_that_could_not_land_in_time_is_not_bought(world: World, serve: Callable[..., Server]) -> None:
    server = serve(speed=1)
    world.manifest(JOBS, limits={"max_in_flight": 2})

    ended = world.run("--max-duration", "1s")

    assert ended.code == 6, ended.text
    assert books.audit(world, books.sales(server)) == {"pending": 4}


def test_limit_and_only(world: World, server: Server) -> None:
    world.manifest(JOBS)

    assert world.run("--limit", "1").code == 0
    assert len(server.ledger) == 1
    assert world.run("--only", "[cd]").code == 0
    assert sorted(line["body"]["prompt"][-1] for line in server.ledger) == ["a", "c", "d"]
    assert books.audit(world, books.sales(server)) == {"done": 3, "pending": 1}


def test_a_cap(world: World, server: Server) -> None:
    world.manifest(JOBS, prices={"per_second": {"720P": 0.1}})

    ended = world.run("--max-cost", "1.20")

    assert ended.code == 5, ended.text
    assert len(server.ledger) == 2
    assert books.audit(world, books.sales(server)) == {"done": 2, "pending": 2}
    money = json.loads(world.batchrunner("status", "--json").out)
    assert money["spent"] + money["committed"] == pytest.approx(1.0)
    assert world.run("--max-cost", "1.20").code == 5
    assert len(server.ledger) == 2


def test_a_cap_without_prices(world: World, server: Server) -> None:
    world.manifest(JOBS)

    assert world.run("--max-cost", "1").code == 2
    assert server.access == []


def test_a_database_of_another_kind(world: World, server: Server) -> None:
    world.manifest(JOBS)
    (world.cwd / "notes.db").write_text("these are my notes, and they are longer than a database's header is " * 20)
    before = books.sha256(world.cwd / "notes.db")

    ended = world.run("--db", "notes.db")

    assert ended.code == 12
    assert server.access == []
    assert books.sha256(world.cwd / "notes.db") == before
