"""A provider that has bad days: none of them costs a clip, and none of them buys one twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from . import books
from .world import Server, World, picture

JOBS = [{"id": name, "prompt": f"prompt {name}"} for name in ("a", "b", "c")]
WORDS = {"queued": "Reticulating", "in_progress": "IN_PROGRESS", "completed": "Completed"}
HTML = "<!doctype html><title>502 Bad Gateway</title>"
ALWAYS = 0


SOLD_ALL_THE_SAME: dict[str, dict[str, Any]] = {
    "500": {"do": "answer", "status": 500, "json": {"error": {"code": "internal_error", "message": "oops"}}},
    "a page of HTML": {"do": "answer", "status": 200, "text": HTML},
    "the connection is lost": {"do": "drop"},
    "504": {"do": "answer", "status": 504, "text": HTML},
    "no id": {"do": "answer", "status": 200, "json": {"object": "generation.task"}},
    "409": {"do": "answer", "status": 409, "json": {"error": {"code": "conflict", "message": "again?"}}},
    "303": {"do": "answer", "status": 303, "text": "", "headers": {"Location": "/v1/videos/generations"}},
}
EVERYDAY = 3


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({**fault, "accept": True}, id=name, marks=[] if number < EVERYDAY else pytest.mark.slow)
        for number, (name, fault) in enumerate(SOLD_ALL_THE_SAME.items())
    ],
)
def test_an_answer_that_is_no_answer(world: World, serve: Callable[..., Server], fault: dict[str, Any]) -> None:
    """Sold all the same: it may never be sent again."""
    server = serve({"on": "submit", "match": "prompt b", "times": ALWAYS, **fault})
    world.manifest(JOBS)

    ended = world.run()

    assert ended.code == 11, ended.text
    assert books.audit(world, books.sales(server)) == {"done": 2, "in_doubt": 1}
    assert world.run().code == 11
    assert len(server.seen("submit")) == len(server.ledger) == 3


def test_faults_that_only_cost_time(world: World, serve: Callable[..., Server]) -> None:
    """One of each, all in one run, with as many clips at its end as were asked for."""
    limited = {"error": {"code": "rate_limit_exceeded", "message": "Async task request rate exceeded"}}
    broken = {"error": {"code": "internal_error", "message": "oops"}}
    names = ("limit", "words", "other-id", "missing", "poll", "url", "cut", "page", "lost", "slow", "half")
    server = serve(
        {"on": "submit", "do": "answer", "status": 429, "json": limited, "headers": {"Retry-After": "1"}, "match": "limit"},
        {"on": "poll", "do": "respell", "words": WORDS, "times": ALWAYS, "match": "words"},
        {"on": "poll", "do": "patch", "json": {"id": "video_0197-AB.c"}, "times": ALWAYS, "match": "other-id"},
        {"on": "poll", "do": "answer", "status": 404, "json": broken, "times": 2, "match": "missing"},
        {"on": "poll", "do": "answer", "status": 502, "text": HTML, "match": "poll"},
        {"on": "poll", "do": "drop", "first": 2, "match": "poll"},
        {"on": "poll", "do": "patch", "json": {"result": None}, "finished": True, "times": 4, "match": "half"},
        {"on": "download", "do": "answer", "status": 404, "text": "", "match": "url"},
        {"on": "download", "do": "cut", "match": "cut"},
        {"on": "download", "do": "answer", "status": 200, "text": HTML, "match": "page"},
        {"on": "download", "do": "drop", "match": "lost"},
        {"on": "submit", "do": "delay", "seconds": 1.5, "match": "slow"},
        {"on": "balance", "do": "answer", "status": 200, "json": {"success": False, "message": "busy"}},
        pad=600_000,
    )  # fmt: skip
    world.manifest([{"id": name, "prompt": name} for name in names], limits={"max_in_flight": 20})

    ended = world.run()

    assert ended.code == 0, ended.text
    assert len(server.ledger) == len(names)
    assert len(server.seen("submit")) == len(names) + 1, "only what was refused is sent again"
    books.audit(world, books.sales(server))
    books.audit_files(world, server)
    times = [line["at"] for line in server.seen("submit")]
    assert times[-1] - times[0] >= 1, "Retry-After"


def test_a_refusal_for_now_is_no_attempt(world: World, serve: Callable[..., Server]) -> None:
    limited = {"error": {"code": "rate_limit_exceeded", "message": "Async task request rate exceeded"}}
    serve({"on": "submit", "do": "answer", "status": 429, "json": limited, "headers": {"Retry-After": "1"}})
    world.manifest(JOBS[:1])

    assert world.run().code == 0

    assert [job["attempts"] for job in world.jobs()] == [1]


def test_a_clip_of_the_wrong_length_is_never_taken_for_the_right_one(
    world: World, serve: Callable[..., Server]
) -> None:
    server = serve({"on": "download", "do": "clip", "duration": 10, "times": ALWAYS, "match": "prompt b"})
    world.manifest(JOBS)

    ended = world.run()

    assert ended.code == 3, ended.text
    assert books.audit(world, books.sales(server)) == {"done": 2, "failed": 1}
    assert sorted(path.stem for path in world.clips()) == ["a", "c"]
    failed = next(job for job in world.rows() if job["key"] == "b")
    assert failed["reason"] == "bad_file"
    assert "10.0 s" in ended.text


def test_an_upload_that_is_refused_fails_its_own_jobs_only(world: World, serve: Callable[..., Server]) -> None:
    picture(world.cwd / "a.png", "red")
    refusal = {"success": False, "message": "Unsupported image type"}
    server = serve({"on": "upload", "do": "answer", "status": 400, "json": refusal, "times": ALWAYS})
    world.manifest([*JOBS, {"id": "frame", "prompt": "f", "frames": {"first": "a.png"}}])

    ended = world.run()

    assert ended.code == 3
    assert books.audit(world, books.sales(server)) == {"done": 3, "failed": 1}
    assert "a.png" in ended.text


@pytest.mark.slow
def test_an_upload_that_is_slow_to_succeed(world: World, serve: Callable[..., Server]) -> None:
    picture(world.cwd / "a.png", "red")
    server = serve({"on": "upload", "do": "answer", "status": 503, "text": HTML})
    world.manifest([{"id": "frame", "prompt": "f", "frames": {"first": "a.png"}}])

    ended = world.run()

    assert ended.code == 0, ended.text
    assert len(server.seen("upload")) == 2
    assert len(server.ledger) == 1
