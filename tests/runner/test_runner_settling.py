"""Settling doubts: what was bought is found by its purchase id and collected; nothing is ever sent for it."""

from itertools import repeat

import anyio
import pytest
from provider import Reply, lost, refusal, unanswered, unreachable
from world import assert_has_its_clip, gaps, named

from batchrunner.settings import Limits
from batchrunner.states import JobState

WINDOW = 900.0


@pytest.mark.parametrize(
    "reply",
    [lost(sells=True), unanswered(), Reply(status=500, body=b"", sells=True), Reply(body=b"<html>", sells=True)],
    ids=["lost", "never", "500", "HTML"],
)
async def test_what_was_bought_after_all_is_collected(world, reply):
    world = world(*named(3))
    world.provider.script.write("submit", "job-001", reply)
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 3}
    assert len(world.provider.tries("job-001")) == 1
    assert_has_its_clip(world, "job-001")


@pytest.mark.parametrize("state", [JobState.SUBMITTING, JobState.IN_DOUBT])
async def test_doubts_of_an_earlier_run_are_settled(world, state):
    world = world("a", "b")
    world.prepare("a", state, ago=30.0)
    world.provider.sell({**_body("a"), "client_business_id": "br_a"}, ago=30.0)
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 2}
    assert world.provider.tries("a") == []
    assert_has_its_clip(world, "a")


def _body(key):
    return {"prompt": key, "duration": 5, "aspect_ratio": "16:9", "audio": False}


@pytest.mark.parametrize("sells", [False, True])
async def test_what_is_not_found_stays_in_doubt_and_is_not_sent(world, sells):
    world = world("a", "b")
    world.provider.knows_purchases = False
    world.provider.script.write("submit", "a", lost(sells=sells))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.DONE: 1}
    assert len(world.provider.tries("a")) == 1
    looks = [r.at for r in world.provider.requests if r.about == world.job("a").purchase_id]
    assert len(looks) == 5
    assert looks[-1] - looks[0] == pytest.approx(WINDOW, abs=10)
    assert anyio.current_time() - looks[-1] < 5


async def test_a_purchase_that_is_stored_late_is_found(world):
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=True))
    world.provider.script.write("poll", "a", *[refusal(404, "task_not_found")] * 3)
    await world.run(settle=WINDOW)
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize("reply", [refusal(500), unreachable()], ids=["500", "unreachable"])
async def test_a_look_that_is_not_answered_is_no_look(world, reply):
    world = world("a")
    world.provider.services["a"] = 900.0
    world.provider.script.write("submit", "a", lost(sells=True))
    world.provider.script.write("poll", "a", *[reply] * 5)
    await world.run(settle=60.0)
    assert_has_its_clip(world, "a")


async def test_look_ups_keep_to_the_floor(world):
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=False))
    await world.run(settle=8.0)
    assert min(gaps(world.provider.times("poll"))) >= 5.0


async def test_a_429_on_a_look_up_holds_all_questions(world):
    world = world("a", "b", service=(600.0, 600.0))
    world.provider.script.write("submit", "a", Reply(status=500, body=b"", sells=True))
    world.provider.script.write("poll", "a", refusal(429, retry_after=60))
    await world.run(settle=WINDOW)
    first = world.provider.times("poll")[0] + world.provider.takes["poll"]
    assert [at for at in world.provider.times("poll") if first < at < first + 59.9] == []


async def test_a_task_that_is_found_twice_belongs_to_one_job(world):
    world = world("a", "b", limits=Limits(submit_slots=1))
    world.provider.script.write("submit", "b", Reply(body=lambda p, t: {"id": p.task_of("a").id}, sells=True))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 2}
    assert_has_its_clip(world, "a")
    assert_has_its_clip(world, "b")


async def test_settling_ends_although_the_key_is_refused(world):
    world = world("a")
    world.prepare("a", JobState.IN_DOUBT, ago=30.0)
    world.provider.script.write("poll", "*", then=repeat(refusal(401)))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.IN_DOUBT: 1}
    assert anyio.current_time() < 60


async def test_an_old_doubt_is_looked_up_again_after_a_look_that_was_not_answered(world):
    """Giving up is measured from the first look of this run: the doubt itself may be days old."""
    world = world("a")
    world.prepare("a", JobState.IN_DOUBT, ago=3 * 86_400.0)
    world.provider.sell({**_body("a"), "client_business_id": "br_a"}, ago=60.0)
    world.provider.script.write("poll", "a", refusal(502), unreachable())
    await world.run(settle=60.0)
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize("created_at", [0, 1_795_395_600 - 7200, 4_000_000_000])
async def test_a_provider_with_another_idea_of_the_time_is_believed_by_the_purchase_id(world, created_at):
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=True))
    healthy = world.provider.report
    world.provider.report = lambda task: {**healthy(task), "created_at": created_at}
    await world.run(settle=60.0)
    assert_has_its_clip(world, "a")
