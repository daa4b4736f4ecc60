"""Polling: no answer about a paid task ends it but a final one, and no task is asked about too often."""

from datetime import timedelta
from itertools import repeat

import anyio
import pytest
from provider import EPOCH, NEVER, File, Reply, lost, refusal, saying, unreachable
from world import HOUR, assert_has_its_clip, gaps, named

from batchrunner.errors import ExitCode
from batchrunner.events import Beat, Held, JobProgress
from batchrunner.report.summary import exit_code
from batchrunner.runner.asking import RETRY_PAUSE
from batchrunner.runner.board import Stop
from batchrunner.settings import Limits, Rate
from batchrunner.states import JobState

MISSING = refusal(404, "task_not_found")
UNREADY = saying("completed")


async def test_a_task_that_is_unknown_for_two_minutes_is_not_given_up(world):
    world = world("a", "b")
    world.provider.outages.append((0.0, 0.0, MISSING))
    world.provider.script.write("poll", "a", *[MISSING] * 8)
    await world.run()
    assert_has_its_clip(world, "a")
    assert_has_its_clip(world, "b")


async def test_a_task_that_is_unknown_for_twenty_minutes_is_not_given_up(world):
    world = world("a", service=(60.0, 60.0))
    world.provider.script.write("poll", "*")

    async def forget():
        world.provider.script.write("poll", "a", then=repeat(MISSING))
        await anyio.sleep(20 * 60)
        world.provider.script.write("poll", "a")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(forget)
        await world.run()
    assert_has_its_clip(world, "a")


async def test_a_task_that_stays_unknown_is_given_up_after_half_an_hour_and_stays_paid(world):
    world = world("a", "b")
    world.provider.script.write("poll", "a", then=repeat(MISSING))
    outcome = await world.run(price=lambda job: 100)
    assert outcome.counts == {JobState.FAILED: 1, JobState.DONE: 1}
    assert world.job("a").reason == "vanished"
    asked = world.provider.polls("a")
    assert len(asked) >= 5
    assert 1800 <= asked[-1] - asked[0] <= 120 + 1800 + 90
    assert world.store.money(world.batch.id).spent == 200
    assert len(world.provider.tries("a")) == 1
    await world.run()
    assert len(world.provider.tries("a")) == 1


async def fail_first(world, times, message="it failed"):
    """The first tasks of the job fail, the others do not."""
    world.provider.script.write("poll", "a", *[saying("failed", error={"code": "x", "message": message})] * times)
    return await world.run(retries={"task_failed": 2, "capacity": 1}, price=lambda job: 100)


async def test_a_failed_task_is_bought_again_as_often_as_the_manifest_says(world):
    world = world("a")
    outcome = await fail_first(world, 2)
    assert outcome.counts == {JobState.DONE: 1}
    assert len({post.purchase_id for post in world.provider.posts("a")}) == 3
    assert [(one.charge, one.price) for one in world.store.attempts(1)] == [("released", 100)] * 2 + [("spent", 100)]
    notes = [moment.note for moment in world.store.history(1) if moment.event == "retried"]
    assert notes[-1] == "bought again by the manifest's `retry`: 2 of 2 after task_failed"
    _, second, third = (post.at for post in world.provider.posts("a"))
    refused = world.provider.polls("a")
    assert second - refused[0] >= RETRY_PAUSE / 2, "a provider in trouble gets a pause"
    assert third - refused[1] >= RETRY_PAUSE, "and then a longer one"


@pytest.mark.parametrize(("times", "message"), [(3, "it failed"), (1, "content policy violation")])
async def test_it_is_bought_no_more_often_and_a_refused_prompt_never(world, times, message):
    world = world("a")
    assert (await fail_first(world, times, message)).counts == {JobState.FAILED: 1}
    assert len(world.provider.posts("a")) == times
    world.store.record_retried(1, note="me", now=EPOCH)
    assert (await world.run()).counts == {JobState.DONE: 1}


async def test_misses_begin_anew_after_any_other_answer(world):
    world = world("a", service=(0.8 * HOUR, 0.8 * HOUR))
    world.provider.script.write("poll", "a", *[*[MISSING] * 20, None] * 5)
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_provider_that_knows_none_of_the_tasks_is_another_account_s(world):
    world = world("a", "b", service=(60.0, 60.0))
    for key in ("a", "b"):
        world.prepare(key, JobState.RUNNING, ago=HOUR)
    world.provider.outages.append((0.0, HOUR, MISSING))
    outcome = await world.run(hours=0.02)  # long before anything would count as lost
    assert outcome.stops == {Stop.ACCOUNT}
    assert "another account" in next(event.message for event in world.events if isinstance(event, Held))
    assert world.states()["a"] is world.states()["b"] is JobState.RUNNING
    world.provider.outages.clear()
    await world.run()
    assert world.keys(JobState.DONE) == {"a", "b"}


async def test_one_task_that_is_known_is_enough(world):
    world = world("a", "b", "c", service=(60.0, 60.0))
    for key in ("a", "b", "c"):
        world.prepare(key, JobState.RUNNING, ago=HOUR)
    world.provider.script.write("poll", "a", then=repeat(MISSING))
    world.provider.script.write("poll", "b", then=repeat(MISSING))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 1, JobState.FAILED: 2}


async def test_misses_of_the_first_two_minutes_are_none(world):
    """The relay may store its row late: half an hour is counted from then on."""
    world = world("a")
    world.provider.script.write("poll", "a", then=repeat(MISSING))
    await world.run()
    asked = world.provider.polls("a")
    assert asked[-1] - next(at for at in asked if at >= 120) >= 1800


async def test_a_key_of_another_account_loses_no_task(world):
    world = world(*named(4), service=(60.0, 60.0))
    for key in named(4):
        world.prepare(key, JobState.RUNNING, ago=HOUR)
    world.provider.outages.append((0.0, HOUR, MISSING))
    outcome = await world.run()
    assert JobState.FAILED not in outcome.counts


@pytest.mark.parametrize("word", ["processing", "UNKNOWN", "not_start", "rendering", "出图中", "", "x" * 5000])
async def test_any_word_that_is_not_final_means_that_it_works(world, word):
    world = world("a")
    world.provider.script.write("poll", "a", *[saying(word)] * 5)
    await world.run()
    assert_has_its_clip(world, "a")


async def test_an_unknown_word_is_told_once(world):
    world = world("a", "b", service=(60.0, 60.0))
    for key in ("a", "b"):
        world.provider.script.write("poll", key, *[saying("rendering"), saying("processing")] * 3)
    await world.run()
    assert [event.message for event in world.events if isinstance(event, Held)] == [
        "the provider calls a task 'rendering': taken for running"
    ]


async def test_news_of_a_task_never_go_backwards(world):
    world = world("a", service=(60.0, 60.0))
    told = [("queued", 0), ("in_progress", 40), ("queued", 0), ("in_progress", 20), ("in_progress", 70)]
    world.provider.script.write("poll", "a", *[saying(word, progress=share) for word, share in told])
    await world.run()
    seen = [(event.status, event.progress) for event in world.events if isinstance(event, JobProgress)]
    assert seen == [("queued", 0), ("in_progress", 40), ("in_progress", 70)]


async def test_what_the_provider_says_of_a_task_is_stored_by_the_next_beat(world):
    """Nobody waits for it, and for minutes there may be nothing else to write."""
    world = world("a")
    told, stored = [], []

    def listener(event):
        if isinstance(event, JobProgress):
            told.append(event.progress)
        if isinstance(event, Beat) and told:
            stored.append((told[-1], world.job("a").progress))

    await world.run(listener=listener)
    assert len(set(told)) > 3
    assert len(stored) > 30
    assert {both for both in stored if both[0] != both[1]} == set()


async def test_a_task_that_runs_for_a_day_is_shown_and_left_to_the_next_run(world):
    world = world("a", "b", service=(60.0, 60.0))
    world.provider.services["a"] = 50 * HOUR
    world.prepare("a", JobState.RUNNING, ago=25 * HOUR)
    for _ in range(2):
        outcome = await world.run(hours=1)
        assert (world.job("a").state, outcome.left, exit_code(outcome)) == (JobState.RUNNING, 1, ExitCode.PROVIDER)
    assert world.holds() == ["stuck", "stuck"]
    assert world.job("b").state is JobState.DONE
    await anyio.sleep(25 * HOUR)
    await world.run()
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize(
    "reply", [refusal(500), Reply(body=b"<html>log in</html>"), refusal(429)], ids=["500", "page", "429"]
)
async def test_endless_errors_are_shown_and_end_the_run(world, reply):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.RUNNING, ago=10.0)
    world.provider.outages.append((0.0, 100 * HOUR, reply))
    outcome = await world.run(hours=2.2)
    assert outcome.stops == {Stop.PROVIDER}
    assert world.holds() == ["trouble"]
    assert outcome.counts == {JobState.RUNNING: 1}
    world.provider.outages.clear()
    await world.run()
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize("days", [-366, -1, 1, 366])
@pytest.mark.parametrize("at", [0.0, 30.0])
async def test_a_clock_that_jumps_loses_and_repeats_nothing(world, monkeypatch, days, at):
    """Intervals are measured on a clock of their own; what the wall clock says decides nothing alone."""
    world = world("a", "b", "c", service=(60.0, 60.0))
    world.prepare("a", JobState.RUNNING, ago=50.0)
    world.prepare("b", JobState.FETCHING, ago=90.0)

    def jumped():
        now = EPOCH + timedelta(seconds=anyio.current_time())
        return now + timedelta(days=days) if anyio.current_time() >= at else now

    monkeypatch.setattr("world.wall", jumped)
    world.provider.script.write("download", "b", File(status=404))
    await world.run(hours=1)
    for key in ("a", "b", "c"):
        assert_has_its_clip(world, key)
    assert world.provider.sold == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("word", ["completed", "COMPLETED", "succeeded", "Success"])
async def test_any_word_for_the_end_ends_it(world, word):
    world = world("a", service=(10.0, 10.0))
    world.provider.script.write(
        "poll", "a", None, then=repeat(Reply(body=lambda p, task: p.finished(task) | {"status": word}))
    )
    await world.run()
    assert_has_its_clip(world, "a")


NOISE = {
    "500": refusal(500, "internal_error"),
    "502": Reply(status=502, body=b"<html>"),
    "429": refusal(429, retry_after=20),
    "408": refusal(408),
    "HTML": Reply(body=b"<html>please log in</html>"),
    "empty": Reply(body=b""),
    "a list": Reply(body=[]),
    "no status": Reply(body={"id": "x"}),
    "a number": saying(7),
    "cut": Reply(complete=False),
    "timeout": lost(sells=False),
    "unreachable": unreachable(),
    "another purchase": Reply(body=lambda p, task: p.finished(task) | {"id": "x", "client_business_id": "br_other"}),
}


@pytest.mark.parametrize("reply", NOISE.values(), ids=NOISE)
async def test_noise_is_asked_again_and_fails_nothing(world, reply):
    world = world("a", "b", service=(60.0, 60.0))
    world.provider.script.write("poll", "a", *[reply] * 6)
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 2}
    assert_has_its_clip(world, "a")
    assert min(gaps(world.provider.polls("a"))) >= 5.0


async def test_noise_for_hours_fails_nothing(world):
    world = world("a", "b", service=(60.0, HOUR))
    world.provider.services["b"] = 0.7 * HOUR
    world.provider.script.write("poll", "a", *[refusal(500)] * 60)
    await world.run()
    assert_has_its_clip(world, "a")
    asked = len([at for at in world.provider.polls("a") if at < 0.6 * HOUR])
    assert 35 <= asked <= 80  # once a minute at most


async def test_an_answer_about_another_running_task_is_ignored(world):
    world = world("a", "b", service=(60.0, 60.0))

    def of_the_other(provider, task):
        return {k: v for k, v in provider.finished(provider.task_of("b")).items() if k != "client_business_id"}

    world.provider.services["b"] = 600.0
    world.provider.script.write("poll", "a", *[Reply(body=of_the_other)] * 5)
    await world.run()
    assert_has_its_clip(world, "a")
    assert_has_its_clip(world, "b")


async def test_an_answer_about_another_finished_task_is_ignored(world):
    world = world("a", "b", service=(60.0, 60.0))

    def of_the_other(provider, task):
        return {k: v for k, v in provider.finished(provider.task_of("b")).items() if k != "client_business_id"}

    world.provider.services["a"] = 600.0
    world.provider.script.write("poll", "a", *[None] * 15, Reply(body=of_the_other))
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_task_that_is_complete_before_its_file_is_waited_for(world):
    world = world("a", service=(30.0, 30.0))
    world.provider.script.write("poll", "a", *[UNREADY] * 8)
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_task_that_never_gets_its_file_is_given_up_after_ten_looks_over_ten_minutes(world):
    world = world("a", "b")
    world.provider.script.write("poll", "a", then=repeat(UNREADY))
    outcome = await world.run(price=lambda job: 100)
    assert outcome.counts == {JobState.FAILED: 1, JobState.DONE: 1}
    asked = world.provider.polls("a")
    assert len(asked) >= 10
    assert asked[-1] - asked[0] >= 600
    assert world.store.money(world.batch.id).spent == 200
    assert world.job("a").reason == "result_missing"
    assert world.job("a").task_id == world.provider.task_of("a").id


async def test_failed_looks_do_not_count_as_looks_at_a_missing_file(world):
    world = world("a", service=(30.0, 30.0))
    world.provider.script.write("poll", "a", UNREADY, *[refusal(500)] * 14, UNREADY)
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_task_that_works_again_has_ten_minutes_anew(world):
    world = world("a", service=(30.0, 30.0))
    working = saying("in_progress")
    world.provider.script.write("poll", "a", UNREADY, *[working] * 40, *[UNREADY] * 11)
    await world.run()
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": "content_policy_violation", "message": "sensitive"}, "content_policy"),
        ({"code": "1303", "message": "parallel task over resource pack limit"}, "capacity"),
        ({"code": "x", "message": "the image is too small"}, "bad_image"),
        ({"code": "", "message": ""}, "task_failed"),
    ],
)
async def test_a_failed_task_fails_its_job_and_gives_the_money_back(world, error, reason):
    world = world("a", "b")
    world.provider.fates["a"] = error
    outcome = await world.run(price=lambda job: 100)
    assert outcome.counts == {JobState.FAILED: 1, JobState.DONE: 1}
    assert world.job("a").reason == reason
    assert world.store.money(world.batch.id).spent == 100
    assert exit_code(outcome) is ExitCode.SOME_FAILED


async def test_a_failed_task_without_a_reason_fails_its_job(world):
    world = world("a", service=(10.0, 10.0))
    world.provider.script.write("poll", "a", None, saying("failed"))
    outcome = await world.run()
    assert outcome.counts == {JobState.FAILED: 1}
    assert world.job("a").reason == "task_failed"


async def test_a_429_on_polls_holds_all_questions(world):
    world = world(*named(6), service=(300.0, 300.0))
    world.provider.script.write("poll", "job-003", None, refusal(429, retry_after=60))
    await world.run()
    refused = world.provider.polls("job-003")[1] + world.provider.takes["poll"]
    under_way = [at for at in world.provider.times("poll") if refused < at < refused + 59.9]
    assert under_way == []
    assert world.keys(JobState.DONE) == set(named(6))


async def test_a_429_on_polls_that_says_nothing_slows_all_questions(world):
    limits = Limits(max_in_flight=30, query=Rate(per_second=1.0, burst=1))
    world = world(*named(30), limits=limits, service=(300.0, 300.0))
    world.provider.script.write("poll", "job-003", None, refusal(429))
    await world.run()
    refused = world.provider.polls("job-003")[1] + world.provider.takes["poll"]
    after = [at for at in world.provider.times("poll") if refused < at < refused + 50]
    assert min(after) >= refused + 5 - 0.1
    assert min(gaps(after)) >= 2.0 - 0.1


async def test_a_402_on_polls_ends_at_once_and_keeps_every_state(world):
    world = world("a", "b", "c", service=(300.0, 300.0))
    world.prepare("c", JobState.FETCHING, ago=600.0)
    world.provider.outages.append((20.0, NEVER, refusal(402, "insufficient_quota", takes=0.2)))
    world.provider.script.write("poll", "c", then=repeat(refusal(500)))
    outcome = await world.run()
    assert outcome.stops == {Stop.ACCOUNT}
    assert outcome.counts == {JobState.RUNNING: 2, JobState.FETCHING: 1}


@pytest.mark.parametrize("floor", [1.0, 5.0, 20.0])
async def test_no_task_is_asked_about_more_often_than_the_floor(world, floor):
    world = world(*named(8), limits=Limits(poll_floor=floor), service=(60.0, 600.0))
    for key, reply in zip(
        named(5), (refusal(500), MISSING, UNREADY, lost(sells=False, takes=1.0), refusal(429)), strict=True
    ):
        world.provider.script.write("poll", key, *[reply, None] * 10)
    await world.run()
    assert world.keys(JobState.DONE) == set(named(8))
    for key in named(8):
        assert min(gaps(world.provider.polls(key)), default=floor) >= floor


async def test_a_high_floor_holds_after_failures_too(world):
    world = world("a", limits=Limits(poll_floor=120.0), service=(60.0, 60.0))
    world.provider.script.write("poll", "a", *[refusal(500)] * 5)
    await world.run()
    assert min(gaps(world.provider.polls("a"))) >= 120.0


async def test_old_tasks_are_asked_about_once_a_minute(world):
    world = world("a", service=(HOUR, HOUR))
    await world.run()
    asked = world.provider.polls("a")
    assert 5.0 <= asked[0] <= 8.0
    assert all(9.0 <= gap <= 11.5 for gap in gaps(asked)[:5])
    assert max(gaps(asked)) <= 67
    assert len(asked) <= 110


async def test_news_are_told_and_kept_once(world):
    world = world("a", service=(300.0, 300.0))
    await world.run()
    told = [(event.status, event.progress) for event in world.events if isinstance(event, JobProgress)]
    assert told
    assert len(told) == len(set(told))
