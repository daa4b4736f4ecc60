"""Canaries: the first of a kind that is new goes ahead, and the rest waits until it is done and right."""

from hashlib import sha256
from itertools import pairwise

import anyio
from provider import refusal
from world import named

from batchrunner.errors import ExitCode
from batchrunner.media import likeness
from batchrunner.model import Frame
from batchrunner.report.summary import exit_code
from batchrunner.runner.board import Stop
from batchrunner.states import JobState

URLS = ("https://x.test/1.png", "https://x.test/2.png")
PAIR = tuple(Frame(source=url, sha256=sha256(url.encode()).hexdigest(), local=False) for url in URLS)
FAILED = {"code": "generation_failed", "message": "no"}
REFUSED = {"code": "x", "message": "content policy violation"}


def ahead(world, count=1):
    """How many were sent before the first of them was there."""
    first = min(task.ready_at for task in list(world.provider.tasks.values())[:count])
    return sum(at < first for at in world.provider.times("submit"))


async def test_the_rest_of_a_new_kind_waits_for_its_first_clip(world):
    world = world(*named(25))
    outcome = await world.run(canaries=None)
    assert outcome.counts == {JobState.DONE: 25}
    assert ahead(world) == 1
    world.add(*[f"more-{n}" for n in range(25)])
    before = len(world.provider.times("submit"))
    await world.run(canaries=None)
    times = world.provider.times("submit")[before:]
    assert times[4] - times[0] < 10, "the kind is known"


async def test_a_clip_that_others_wait_for_is_asked_about_twice_as_often(world):
    world = world(*named(25))
    await world.run(canaries=None)
    canary, other, *_ = world.provider.tasks.values()
    its, any_other = (
        next(later - at for at, later in pairwise(world.provider.polls(task.key))) for task in (canary, other)
    )
    assert its < 6
    assert any_other >= 9


async def test_what_is_let_go_while_the_store_is_searched_is_found(world, monkeypatch):
    """In a batch of a hundred thousand a look takes longer than the landing of the canary."""
    world = world(*named(25))
    runner = world.runner(canaries=None)
    run, board = runner._writer.run, runner._context.board

    async def slow(verb, *args, **named):
        if verb.__name__ == "record_saved":
            board.release()  # something else is let go, and looked for
            await anyio.sleep(1)
        found = await run(verb, *args, **named)
        if verb.__name__ == "next_not_before":
            while board.fetches:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return found

    monkeypatch.setattr(runner._writer, "run", slow)
    outcome = await runner.run()
    assert (outcome.counts, outcome.stops) == ({JobState.DONE: 25}, frozenset())


async def test_few_jobs_without_pairs_are_sent_at_once(world):
    world = world(*named(20))
    await world.run(canaries=None)
    assert ahead(world) > 1


async def test_a_manifest_decides_how_many_go_ahead(world):
    world = world(*named(12))
    await world.run(canaries=3)
    assert ahead(world, 3) == 3


async def test_kinds_do_not_wait_for_each_other(world):
    world = world(*named(5))
    world.add("long-1", "long-2", duration=10)
    await world.run(canaries=1)
    first = {key: world.provider.task_of(key).accepted_at for key in ("job-000", "long-1")}
    assert max(first.values()) < 5


async def test_a_canary_that_fails_stops_the_buying_and_says_why(world):
    world = world(*named(5))
    world.provider.fates["job-000"] = FAILED
    outcome = await world.run(canaries=1)
    assert outcome.stops == {Stop.CANARY}
    assert outcome.counts == {JobState.FAILED: 1, JobState.PENDING: 4}
    assert exit_code(outcome) is ExitCode.PROVIDER
    assert world.store.batch("batch").paused == "canary"
    assert "(720P 5 s), job-000, failed: task_failed" in world.store.batch("batch").paused_message
    assert (await world.run(canaries=0)).counts == {JobState.FAILED: 1, JobState.DONE: 4}


async def test_a_refused_prompt_says_nothing_about_its_kind(world):
    world = world(*named(8))
    world.provider.fates |= {"job-000": REFUSED, "job-001": REFUSED}
    outcome = await world.run(canaries=1)
    assert outcome.counts == {JobState.FAILED: 2, JobState.DONE: 6}
    assert ahead(world) == 1


async def test_three_in_a_row_say_enough(world):
    world = world(*named(8))
    world.provider.fates |= dict.fromkeys(("job-000", "job-001", "job-002"), REFUSED)
    outcome = await world.run(canaries=1)
    assert outcome.counts == {JobState.FAILED: 3, JobState.PENDING: 5}


async def test_a_canary_of_an_earlier_run_is_one_of_this(world):
    world = world(*named(5), service=(60.0, 60.0))
    world.prepare("job-000", JobState.RUNNING, ago=10.0)
    await world.run(canaries=1)
    assert min(world.provider.times("submit")) >= 50
    assert len(world.keys(JobState.DONE)) == 5


async def test_a_doubt_is_no_canary(world):
    world = world(*named(5), service=(60.0, 60.0))
    world.prepare("job-000", JobState.IN_DOUBT, ago=10.0)
    await world.run(canaries=1, settle=900.0, on_doubt="resend")
    assert min(world.provider.times("submit")) < 60, "another goes ahead while it is looked up"


async def test_a_canary_that_waits_again_is_sent_again(world):
    world = world(*named(4))
    world.provider.script.write("submit", "job-000", refusal(429, retry_after=30))
    assert (await world.run(canaries=1)).counts == {JobState.DONE: 4}


async def test_a_last_frame_that_was_ignored_pauses_and_is_remembered(world, monkeypatch):
    monkeypatch.setattr(likeness, "frames_ignored", lambda path, request: "it does not end with the last frame")
    world = world()
    world.add(*named(3), frames=PAIR)
    outcome = await world.run(canaries=None)
    assert outcome.counts == {JobState.DONE: 1, JobState.PENDING: 2}
    message = world.store.batch("batch").paused_message
    assert "job-000, is not what was asked for: it does not end with the last frame" in message
    assert "--no-canary" in message
    again = await world.run(canaries=None)
    assert (again.stops, again.counts) == ({Stop.CANARY}, outcome.counts), "no other canary is bought to learn it anew"
    assert (await world.run(canaries=0)).counts == {JobState.DONE: 3}
