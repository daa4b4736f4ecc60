"""A run continues from the store alone: whatever state the last one left behind, nothing is bought twice."""

from datetime import timedelta
from itertools import repeat

import anyio
import pytest
from provider import EPOCH, File, refusal
from world import HOUR, assert_has_its_clip, named, wall

from batchrunner.errors import ExitCode
from batchrunner.report.summary import exit_code
from batchrunner.settings import Limits
from batchrunner.states import JobState

DAYS = 3 * 24 * HOUR


async def test_what_was_being_submitted_is_in_doubt_and_never_sent(world):
    world = world("sent", "fresh")
    world.prepare("sent", JobState.SUBMITTING, ago=60.0)
    outcome = await world.run()
    assert world.job("sent").state is JobState.IN_DOUBT
    assert world.job("sent").reason == "crash"
    assert world.provider.posts("sent") == []
    assert_has_its_clip(world, "fresh")
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.DONE: 1}
    assert exit_code(outcome) is ExitCode.IN_DOUBT


async def test_what_is_in_doubt_is_never_sent(world):
    world = world("doubtful", "fresh")
    world.prepare("doubtful", JobState.IN_DOUBT, ago=DAYS)
    for _ in range(3):
        outcome = await world.run()
    assert world.provider.tries("doubtful") == []
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.DONE: 1}
    assert world.job("doubtful").purchase_id == "br_doubtful"


@pytest.mark.parametrize(
    ("state", "ago"),
    [
        (JobState.RUNNING, 0.0),
        (JobState.RUNNING, 90.0),
        (JobState.RUNNING, 6 * HOUR),
        (JobState.FETCHING, 180.0),
        (JobState.FETCHING, 6 * HOUR),
    ],
)
async def test_what_was_bought_is_collected(world, state, ago):
    world = world(*named(6), service=(60.0, 120.0))
    for key in named(6):
        world.prepare(key, state, ago=ago)
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 6}
    assert outcome.purchases == 0
    assert world.provider.tries() == []
    for key in named(6):
        assert_has_its_clip(world, key)


async def test_a_job_that_waits_is_sent_when_its_time_has_come_under_the_same_purchase_id(world):
    world = world("a", "b")
    world.prepare("a", JobState.PENDING, not_before=EPOCH + timedelta(minutes=20))
    outcome = await world.run()
    (post,) = world.provider.posts("a")
    assert 1200 <= post.at <= 1202
    assert post.purchase_id == "br_a"
    assert world.provider.posts("b")[0].at < 5
    assert outcome.counts == {JobState.DONE: 2}


async def test_a_waiting_job_is_not_waited_for_when_nothing_may_be_bought(world):
    world = world("a", "b")
    world.prepare("a", JobState.PENDING, not_before=EPOCH + timedelta(hours=8))
    outcome = await world.run(limit=1)
    assert outcome.counts == {JobState.PENDING: 1, JobState.DONE: 1}
    assert anyio.current_time() < HOUR


async def test_jobs_that_the_manifest_no_longer_has_are_collected_but_not_bought(world):
    world = world("running", "fetching", "pending", "kept")
    world.prepare("running", JobState.RUNNING, ago=30.0)
    world.prepare("fetching", JobState.FETCHING, ago=300.0)
    world.orphan("running", "fetching", "pending")
    outcome = await world.run()
    for key in ("running", "fetching", "kept"):
        assert_has_its_clip(world, key)
    assert [post.about for post in world.provider.tries()] == ["kept"]
    assert outcome.counts == {JobState.DONE: 1}  # of what is wanted


async def test_orphans_in_flight_keep_their_place(world):
    world = world(*named(6), limits=Limits(max_in_flight=3), service=(300.0, 300.0))
    for key in named(2):
        world.prepare(key, JobState.RUNNING)
    world.orphan(*named(2))
    await world.run()
    assert world.provider.peaks["rows"] <= 3
    assert world.keys(JobState.DONE) == set(named(6))


async def test_doubts_that_fill_the_limit_end_the_run(world):
    world = world(*named(9), limits=Limits(max_in_flight=4))
    for key in named(4):
        world.prepare(key, JobState.IN_DOUBT, ago=HOUR)
    outcome = await world.run()
    assert outcome.counts == {JobState.IN_DOUBT: 4, JobState.PENDING: 5}
    assert world.provider.requests == []
    assert wall() == EPOCH
    assert exit_code(outcome) is ExitCode.IN_DOUBT


async def test_doubts_that_fill_the_limit_do_not_keep_the_rest_from_being_collected(world):
    world = world(*named(9), limits=Limits(max_in_flight=4))
    for key in named(4)[:3]:
        world.prepare(key, JobState.SUBMITTING)
    world.prepare(named(4)[3], JobState.RUNNING, ago=30.0)
    world.provider.script.write("submit", "*", then=repeat(refusal(500, "internal_error")))
    outcome = await world.run()
    assert_has_its_clip(world, named(4)[3])
    assert outcome.counts == {JobState.IN_DOUBT: 4, JobState.PENDING: 4, JobState.DONE: 1}


async def test_a_clip_that_could_not_be_fetched_is_left_for_the_next_run(world):
    world = world("a", "b")
    world.provider.script.write("download", "a", then=repeat(File(status=503), 8))
    outcome = await world.run()
    assert outcome.left == 1
    assert outcome.counts == {JobState.FETCHING: 1, JobState.DONE: 1}
    assert exit_code(outcome) is ExitCode.PROVIDER
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 2}
    assert_has_its_clip(world, "a")
    assert world.provider.sold == {"a": 1, "b": 1}


async def test_a_finished_batch_asks_the_provider_nothing(world):
    world = world(*named(3))
    await world.run()
    asked = len(world.provider.requests)
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 3}
    assert len(world.provider.requests) == asked
