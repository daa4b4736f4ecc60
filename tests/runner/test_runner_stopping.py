"""Stopping: nothing is begun any more, what is being bought is recorded, and the run ends promptly."""

from collections import Counter
from functools import partial

import anyio
import pytest
from provider import NEVER, File, Reply, lost, refusal, unanswered
from world import HOUR, assert_has_its_clip, frame, named

from batchrunner.errors import ExitCode
from batchrunner.report.summary import exit_code
from batchrunner.runner.board import Stop
from batchrunner.settings import SUBMIT_GRACE, Limits
from batchrunner.states import JobState


async def stopped(world, at, *, why=Stop.SIGINT, **options):
    """Run, and stop at this moment; the outcome and how long the end took."""
    runner = world.runner(**options)
    outcomes = []

    async def work():
        outcomes.append(await runner.run())

    with anyio.fail_after(HOUR):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await anyio.sleep(at)
            begun = anyio.current_time()
            runner.stop(why)
    return outcomes[0], anyio.current_time() - begun


async def test_a_frame_on_its_way_is_dropped(world, tmp_path):
    world = world()
    world.add("a", frames=(frame(tmp_path),))
    world.provider.script.write("upload", "*", Reply(takes=NEVER))
    outcome, took = await stopped(world, 5.0)
    assert took == 0
    assert outcome.counts == {JobState.PENDING: 1}
    assert outcome.stops == {Stop.SIGINT}
    assert world.provider.tries() == []
    assert exit_code(outcome) is ExitCode.SIGINT


async def test_a_clip_that_gets_its_name_meanwhile_is_recorded(world, monkeypatch):
    async def slow_disk(work, *args, **_):
        await anyio.sleep(60.0)
        return work(*args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", slow_disk)
    world = world("a", "b", service=(20.0, 20.0))
    outcome, _ = await stopped(world, 50.0)
    assert (outcome.stops, outcome.counts) == ({Stop.SIGINT}, {JobState.DONE: 2})
    assert sorted(path.name for path in world.outputs.root.iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("why", [Stop.SIGINT, Stop.SIGTERM])
async def test_an_answer_within_the_grace_is_recorded(world, why):
    world = world(*named(6))
    world.provider.takes["submit"] = 25.0
    outcome, took = await stopped(world, 5.0, why=why)
    assert took == pytest.approx(20.02)
    assert outcome.counts == {JobState.RUNNING: 4, JobState.PENDING: 2}
    assert outcome.stops == {why}
    assert world.provider.sold == Counter({world.job(key).key: 1 for key in world.keys(JobState.RUNNING)})
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 6}
    assert world.provider.sold == Counter(named(6))


async def test_an_answer_that_never_comes_leaves_a_doubt(world):
    world = world(*named(6))
    world.provider.script.write("submit", "*", then=[unanswered()] * 4)
    outcome, took = await stopped(world, 5.0)
    assert took == SUBMIT_GRACE
    assert outcome.counts == {JobState.IN_DOUBT: 4, JobState.PENDING: 2}
    assert exit_code(outcome) is ExitCode.SIGINT
    outcome = await world.run()
    assert outcome.counts == {JobState.IN_DOUBT: 4, JobState.DONE: 2}
    assert max(world.provider.sold.values()) == 1


@pytest.mark.parametrize(("reply", "state"), [
    (refusal(500, takes=20.0), JobState.IN_DOUBT),
    (refusal(429, takes=20.0), JobState.PENDING),
    (refusal(422, takes=20.0), JobState.FAILED),
    (lost(sells=True, takes=20.0), JobState.IN_DOUBT),
])  # fmt: skip
async def test_any_answer_within_the_grace_is_recorded(world, reply, state):
    world = world("a")
    world.provider.script.write("submit", "*", reply)
    outcome, took = await stopped(world, 5.0)
    assert took <= 16
    assert outcome.counts == {state: 1}


async def test_a_poll_on_its_way_is_dropped(world):
    world = world("a", "b")
    world.provider.takes["poll"] = 60.0
    outcome, took = await stopped(world, 20.0)
    assert took == 0
    assert outcome.counts == {JobState.RUNNING: 2}
    world.provider.takes["poll"] = 0.2
    await world.run()
    assert world.keys(JobState.DONE) == {"a", "b"}


async def test_a_download_on_its_way_is_dropped_without_a_trace(world):
    world = world("a", service=(30.0, 30.0))
    world.provider.script.write("download", "a", File(takes=120.0))
    outcome, took = await stopped(world, 100.0)
    assert took == 0
    assert outcome.counts == {JobState.FETCHING: 1}
    assert list(world.outputs.root.glob("*")) == []
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_stream_on_its_way_is_dropped_without_a_trace(world):
    world = world("a", service=(30.0, 30.0))
    world.provider.script.write("download", "a", File(content=lambda clip: clip + bytes(50_000_000)))
    world.provider.takes["poll"] = 0.0
    outcome, took = await stopped(world, 60.0)
    assert world.provider.under_way["download"] == 0
    assert took == 0
    assert outcome.counts == {JobState.FETCHING: 1}
    assert list(world.outputs.root.glob("*")) == []


async def test_a_frame_that_arrives_while_a_submission_is_waited_for_is_not_sent(world, tmp_path):
    world = world("slow")
    world.add("framed", frames=(frame(tmp_path),))
    world.provider.takes |= {"submit": 25.0, "upload": 10.0}
    outcome, _ = await stopped(world, 5.0)
    assert outcome.counts == {JobState.RUNNING: 1, JobState.PENDING: 1}
    assert world.provider.tries("framed") == []


async def test_a_lane_that_is_held_is_not_waited_for(world):
    world = world("a")
    world.provider.script.write("submit", "*", refusal(429, retry_after=3000))
    outcome, took = await stopped(world, 60.0)
    assert took == 0
    assert outcome.counts == {JobState.PENDING: 1}


async def test_a_run_that_is_stopped_before_it_begins_sends_nothing(world):
    world = world("a")
    runner = world.runner()
    runner.stop(Stop.SIGTERM)
    outcome = await runner.run()
    assert outcome.counts == {JobState.PENDING: 1}
    assert world.provider.requests == []
    assert exit_code(outcome) is ExitCode.SIGTERM


@pytest.mark.parametrize("at", [0.01, 0.5, 1.0, 1.03, 6.0, 40.0, 61.0, 75.0, 130.0, 200.0])
async def test_stopping_at_any_moment_loses_and_repeats_nothing(world, at):
    world = world(*named(12), limits=Limits(max_in_flight=5))
    outcome, took = await stopped(world, at)
    assert took <= 1.1
    assert JobState.IN_DOUBT not in outcome.counts
    assert JobState.SUBMITTING not in outcome.counts
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 12}
    assert world.provider.sold == Counter(named(12))


async def test_the_second_signal_ends_the_run_at_once_and_what_was_sent_is_in_doubt(world):
    """The second signal kills the process; what the store then holds is what this one holds."""
    world = world("a", "b")
    world.provider.script.write("submit", "*", then=[unanswered()] * 2)
    runner = world.runner()
    with anyio.move_on_after(10.0):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(runner.run))
            await anyio.sleep(5.0)
            runner.stop(Stop.SIGINT)
            assert world.keys(JobState.SUBMITTING) == {"a", "b"}
    outcome = await world.run()
    assert outcome.counts == {JobState.IN_DOUBT: 2}
    assert world.provider.sold == {"a": 1, "b": 1}


async def test_a_cancelled_run_records_the_submissions_under_way(world):
    world = world(*named(6))
    world.provider.takes["submit"] = 20.0
    with anyio.move_on_after(5.0):
        await world.runner().run()
    assert anyio.current_time() == pytest.approx(20.02)
    assert Counter(world.states().values()) == {JobState.RUNNING: 4, JobState.PENDING: 2}
