"""`fetch` collects finished work again, and never submits: by construction, and on the wire."""

from __future__ import annotations

from batchrunner.model import FrameDialect
from batchrunner.providers.base import Buyer, Collector
from batchrunner.providers.http import HttpClient
from batchrunner.providers.toapis import ToApis, ToApisCollector

from .world import SIGINT, until


def test_a_collector_has_no_way_to_submit():
    http = HttpClient("https://toapis.example", "sk-nobody-asks")
    assert not isinstance(ToApisCollector(http, endpoint="e"), Buyer)
    assert not {name for name in dir(ToApisCollector) if name in ("submit", "prepare", "upload")}
    assert issubclass(ToApis, ToApisCollector)
    assert "submit" not in dir(Collector)
    assert isinstance(ToApis(http, dialect=FrameDialect.URLS, endpoint="e"), Buyer)


def test_clips_that_were_deleted_or_damaged_come_back(world, server):
    world.manifest([{"id": key, "prompt": key} for key in ("a", "b", "c")], name="night")
    assert world.run().code == 0
    clips = {path.stem: path for path in world.clips()}
    whole = clips["a"].read_bytes()
    clips["a"].unlink()
    clips["b"].write_bytes(clips["b"].read_bytes()[:-1] + b"?")
    ended = world.run()
    assert "batchrunner fetch night" in ended.out
    asked = len(server.access)

    assert world.batchrunner("fetch").code == 0
    assert clips["a"].read_bytes() == whole
    assert clips["b"].read_bytes()[-1:] == b"?", "what has the name is never overwritten"
    ended = world.batchrunner("fetch", "b")
    assert (ended.code, world.states()) == (0, {"done": 3})
    (row,) = [row for row in world.rows() if row["key"] == "b"]
    assert row["output"].endswith("b (2).mp4")
    ended = world.batchrunner("fetch", "*")
    assert (ended.code, "nothing to collect" in ended.out) == (0, True)
    kinds = {line["kind"] for line in server.access[asked:]}
    assert kinds == {"balance", "poll", "download"}
    assert len(server.ledger) == 3


def test_failures_that_were_paid_for_are_asked_for_once_more(world, serve):
    wrong = [{"on": "download", "do": "clip", "duration": 10, "times": 3, "match": "short"}]
    refused = {
        "on": "submit",
        "do": "answer",
        "status": 400,
        "json": {"error": {"code": "invalid_request"}},
        "match": "bad",
    }
    server = serve(*wrong, refused)
    world.manifest([{"id": key, "prompt": key} for key in ("fine", "short", "bad")], name="night")
    ended = world.run()
    assert (ended.code, world.states()) == (3, {"done": 1, "failed": 2})
    free, paid = (
        ended.out.index("batchrunner fetch night --failed"),
        ended.out.index("batchrunner retry night --failed"),
    )
    assert free < paid, "what is free of charge comes first"

    ended = world.batchrunner("fetch", "--failed")
    assert (ended.code, "nothing was paid for it" in ended.err) == (0, True)
    assert world.states() == {"done": 2, "failed": 1}
    assert len(server.ledger) == 2


def test_what_is_still_at_the_provider_is_collected(world, serve):
    server = serve(speed=60)
    world.manifest([{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "b"}], name="night", limits={"max_in_flight": 1})
    run = world.start("run", "batch.yaml", "--yes")
    until(lambda: world.states()["running"], "the first task")
    run.send(SIGINT)
    run.wait()
    assert world.batchrunner("fetch").code == 0
    assert world.states() == {"done": 1, "pending": 1}
    assert len(server.ledger) == 1


def test_another_provider_is_not_asked(world, server):
    world.manifest([{"id": "a", "prompt": "a"}], name="night")
    world.run()
    world.clips()[0].unlink()
    ended = world.batchrunner("fetch", env={"TOAPIS_BASE_URL": "https://toapis.com"})
    assert (ended.code, "belongs to localhost" in ended.err) == (2, True)
    assert world.states() == {"done": 1}
