"""Whole batches: as many submissions as jobs as files, and never more in flight than was allowed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from . import books, prompts
from .world import Server, World

REHEARSAL = ".batchrunner/rehearsal.db"


def check_batch(world: World, serve: Callable[..., Server], count: int, in_flight: int) -> None:
    """Run a batch of so many jobs to its end and audit it; then once more, for nothing."""
    server = serve(speed=200)
    wanted = prompts.jobs(count)
    world.manifest(wanted, limits={"max_in_flight": in_flight, "downloads": 8})

    ended = world.run("--progress", "quiet", timeout=300)

    assert ended.code == 0, ended.text
    assert Counter(line["body"]["prompt"] for line in server.ledger) == Counter(job["prompt"] for job in wanted)
    assert server.seen("refused") == []
    assert len(server.seen("submit")) == len(server.ledger) == count
    assert server.peak <= in_flight
    assert server.peak > in_flight // 2, "the limit is there to be used"
    assert books.audit(world, books.sales(server)) == {"done": count}
    books.audit_files(world, server)
    assert world.run("--progress", "quiet", timeout=300).code == 0
    assert len(server.seen("submit")) == count


def test_a_hundred_and_twenty_prompts(world: World, serve: Callable[..., Server]) -> None:
    check_batch(world, serve, 120, in_flight=24)


@pytest.mark.slow
def test_nine_hundred_and_forty_six_prompts(world: World, serve: Callable[..., Server]) -> None:
    check_batch(world, serve, 946, in_flight=60)


@pytest.mark.slow
def test_a_batch_on_the_emulator(world: World) -> None:
    check_rehearsal(world, 20)


@pytest.mark.slow
def test_nine_hundred_and_forty_six_prompts_on_the_emulator(world: World) -> None:
    check_rehearsal(world, 946)


def check_rehearsal(world: World, count: int) -> None:
    """The same on the embedded emulator, which keeps a ledger of its own."""
    wanted = prompts.jobs(count)
    world.manifest(wanted, limits={"max_in_flight": 20})

    ended = world.run("--emulator", "--speed", "500", "--progress", "quiet", timeout=600)

    assert ended.code == 0, ended.text
    assert books.audit(world, rehearsed(world), database=REHEARSAL) == {"done": count}
    assert Counter(sale.prompt for sale in rehearsed(world)) == Counter(job["prompt"] for job in wanted)
    assert len(list((world.cwd / "rehearsal").rglob("*.mp4"))) == count
    again = world.run("--emulator", "--speed", "500", "--progress", "quiet")
    assert again.code == 0, again.text
    assert len(rehearsed(world)) == count
    assert not (world.cwd / ".batchrunner" / "batchrunner.db").exists(), "a rehearsal is kept apart"


def rehearsed(world: World) -> list[books.Sale]:
    """What the emulator sold, from its own ledger."""
    path = world.cwd / f"{REHEARSAL}.emulator" / "ledger.jsonl"
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    facts = [json.loads(line) for line in whole.splitlines()]
    return [
        books.Sale(
            fact["id"], fact["submission"]["client_business_id"], fact["submission"]["prompt"], fact["body_sha256"]
        )
        for fact in facts
        if fact["kind"] == "accepted"
    ]
