"""Buying: what each kind of answer does to the job, to the lane and to the money."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise, repeat

import anyio
import pytest
from provider import EPOCH, NEVER, Reply, lost, refusal, saying, unanswered, unreachable
from world import HOUR, Watched, assert_has_its_clip, frame, named

from batchrunner.budget import Caps
from batchrunner.errors import ExitCode
from batchrunner.model import Mode
from batchrunner.report.summary import exit_code
from batchrunner.runner.board import Stop
from batchrunner.settings import LANDING, SERVICE_P90, Limits, Rate
from batchrunner.states import JobState

ONE_BY_ONE = Limits(submit_slots=1, submit=Rate(per_second=1.0, burst=1))
CAPACITY = refusal(429, "1303", "parallel task over resource pack limit")
FOR_NOW = {
    "429": refusal(429, "rate_limit_exceeded", "slow down"),
    "429 without a word": Reply(status=429, body=b""),
    "capacity": CAPACITY,
    "limiter down": refusal(503, "rate_limit_unavailable"),
    "no channel": refusal(503, "model_not_found", "no available channel"),
    "too early": refusal(425),
    "in a 200": Reply(body={"error": {"code": "rate_limit_exceeded", "message": "slow down"}}),
}


@pytest.mark.parametrize("reply", FOR_NOW.values(), ids=FOR_NOW)
async def test_refused_for_now_is_sent_again_and_costs_nothing(world, reply):
    world = world(*named(8), limits=ONE_BY_ONE)
    world.provider.script.write("submit", "job-002", reply, reply)
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 8}
    assert outcome.purchases == 8
    assert world.provider.sold == Counter(named(8))
    first, *others = world.provider.tries("job-002")
    assert len(others) == 2
    assert {post.purchase_id for post in others} == {first.purchase_id}


async def test_a_429_holds_the_lane_for_as_long_as_it_says(world):
    world = world(*named(8), limits=ONE_BY_ONE)
    world.provider.script.write("submit", "job-002", refusal(429, retry_after=60))
    await world.run()
    refused = world.provider.posts("job-002")[0].at
    answered = refused + world.provider.takes["submit"]
    after = [post.at for post in world.provider.posts() if post.at > refused]
    assert min(after) >= answered + 60 - 0.1
    assert min(after) <= answered + 65
    assert world.keys(JobState.DONE) == set(named(8))


async def test_a_429_that_says_nothing_slows_everybody(world):
    world = world(*named(20), limits=Limits(max_in_flight=20, submit_slots=1, submit=Rate(per_second=0.5, burst=1)))
    world.provider.script.write("submit", "job-002", FOR_NOW["429"])
    await world.run()
    refused = world.provider.posts("job-002")[0].at
    after = sorted(post.at for post in world.provider.posts() if refused < post.at < refused + 50)
    assert after[0] >= refused + 2.5
    assert all(later - earlier >= 4.0 - 0.1 for earlier, later in pairwise(after))  # half of one in two seconds
    assert world.provider.sold == Counter(named(20))


async def test_429s_that_come_together_halve_the_rate_once(world):
    world = world(*named(12), limits=Limits(max_in_flight=12, submit=Rate(per_second=1.0, burst=4)))
    world.provider.script.write("submit", "*", *repeat(refusal(429, retry_after=10), 4))
    await world.run()
    after = sorted(post.at for post in world.provider.posts())[4:]
    assert after[0] >= 11
    assert after[-1] - after[0] <= 12 / 0.5 + 5
    assert world.provider.sold == Counter(named(12))


async def test_a_lane_that_is_always_refused_ends_with_the_deadline_and_nothing_bought(world):
    world = world(*named(5))
    world.provider.script.write("submit", "*", then=repeat(FOR_NOW["429"]))
    outcome = await world.run(deadline=EPOCH + timedelta(minutes=40))
    assert outcome.counts == {JobState.PENDING: 5}
    assert outcome.purchases == 0
    assert len(world.provider.tries()) <= 5 * 2400 / 50
    assert len({try_.purchase_id for try_ in world.provider.tries("job-000")}) == 1


DOUBTFUL = {
    "500": refusal(500, "internal_error"),
    "502": Reply(status=502, body=b"<html>bad gateway</html>"),
    "504, sold": Reply(status=504, body=b"", sells=True),
    "503 of a proxy": Reply(status=503, body=b"", sells=True),
    "408": refusal(408),
    "409": refusal(409, "conflict"),
    "no answer": lost(sells=False),
    "no answer, sold": lost(sells=True),
    "never a word": unanswered(),
    "cut": Reply(complete=False, body=b'{"id": "ta', sells=True),
    "not JSON": Reply(body=b"<html>please log in</html>"),
    "no id": Reply(body={"status": "queued"}, sells=True),
    "see other": Reply(status=303),
    "unknown status": Reply(status=299, body=b"", sells=True),
}


@pytest.mark.parametrize("reply", DOUBTFUL.values(), ids=DOUBTFUL)
async def test_what_may_have_been_bought_is_in_doubt_and_never_sent_again(world, reply):
    world = world(*named(4))
    world.provider.script.write("submit", "job-001", reply)
    for _ in range(2):
        outcome = await world.run()
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.DONE: 3}
    assert len(world.provider.tries("job-001")) == 1
    assert exit_code(outcome) is ExitCode.IN_DOUBT


async def test_a_provider_that_fails_every_purchase_costs_no_more_doubts_than_the_limit(world):
    world = world(*named(50), limits=Limits(max_in_flight=6))
    world.provider.script.write("submit", "*", then=repeat(Reply(status=500, body=b"", sells=True)))
    outcome = await world.run()
    assert outcome.counts == {JobState.IN_DOUBT: 6, JobState.PENDING: 44}
    assert sum(world.provider.sold.values()) == 6
    assert outcome.purchases == 6


async def test_a_task_of_another_job_is_nobody_elses(world):
    world = world("a", "b", limits=ONE_BY_ONE)
    world.provider.script.write("submit", "b", Reply(body=lambda p, t: {"id": p.task_of("a").id}, sells=True))
    outcome = await world.run()
    assert_has_its_clip(world, "a")
    assert world.job("b").state is JobState.IN_DOUBT
    assert world.job("b").reason == "task_of_another_job"
    assert world.job("b").task_id is None
    assert outcome.counts == {JobState.DONE: 1, JobState.IN_DOUBT: 1}


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "invalid_request", "invalid_request"),
        (400, "content_policy_violation", "content_policy"),
        (422, "content_policy_violation", "content_policy"),
        (413, "", "invalid_request"),
    ],
)
async def test_refused_for_good_fails_that_job_alone(world, status, code, reason):
    world = world(*named(4))
    world.provider.script.write("submit", "job-001", refusal(status, code, "no"))
    outcome = await world.run()
    assert outcome.counts == {JobState.FAILED: 1, JobState.DONE: 3}
    assert world.job("job-001").reason == reason
    assert outcome.purchases == 3
    assert len(world.provider.tries("job-001")) == 1
    assert exit_code(outcome) is ExitCode.SOME_FAILED


async def test_an_unreachable_provider_is_tried_again_under_the_same_purchase_id(world):
    world = world(*named(6))
    world.provider.outages.append((0.0, 400.0, unreachable()))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 6}
    assert outcome.stops == frozenset()
    assert outcome.purchases == 6
    assert world.provider.sold == Counter(named(6))
    for key in named(6):
        assert len({post.purchase_id for post in world.provider.tries(key)}) == 1
    assert len([post for post in world.provider.tries() if post.at < 400]) <= 60


async def test_an_outage_in_the_middle_loses_nothing(world):
    world = world(*named(30), limits=Limits(max_in_flight=5))
    world.provider.outages.append((200.0, 700.0, unreachable()))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 30}
    assert world.provider.sold == Counter(named(30))


@pytest.mark.parametrize("reply", [unreachable(), lost(sells=False)], ids=["refused", "timeout"])
async def test_a_provider_that_is_silent_for_ten_minutes_ends_the_run(world, reply):
    world = world(*named(20), limits=Limits(max_in_flight=5), service=(100.0, 100.0))
    world.provider.outages.append((150.0, NEVER, reply))
    outcome = await world.run()
    assert outcome.stops == {Stop.PROVIDER}
    assert exit_code(outcome) in {ExitCode.PROVIDER, ExitCode.IN_DOUBT}
    assert 750 <= anyio.current_time() <= 900
    assert outcome.counts.get(JobState.FAILED) is None
    world.provider.outages.clear()
    world.limits = Limits()
    await world.run()
    doubts = world.keys(JobState.IN_DOUBT)
    assert world.keys(JobState.DONE) == set(named(20)) - doubts
    assert world.provider.sold == Counter(set(named(20)) - doubts)


async def test_a_provider_that_never_answers_ends_the_run_with_nothing_bought(world):
    world = world(*named(6))
    world.provider.outages.append((0.0, NEVER, unreachable()))
    outcome = await world.run()
    assert outcome.stops == {Stop.PROVIDER}
    assert outcome.counts == {JobState.PENDING: 6}
    assert outcome.purchases == 0
    assert 600 <= anyio.current_time() <= 665  # ten minutes, and the last backoff
    assert exit_code(outcome) is ExitCode.PROVIDER


async def test_a_provider_that_was_not_asked_is_not_silent(world):
    world = world("a", "b", service=(HOUR, HOUR))
    world.provider.script.write("poll", "a", lost(sells=False))
    world.provider.script.write("poll", "b", refusal(429, takes=20.0, retry_after=1800))
    outcome = await world.run()
    assert outcome.stops == frozenset()
    assert outcome.counts == {JobState.DONE: 2}


ACCOUNT = {
    "401": (refusal(401, "unauthorized", "no such key"), "key"),
    "402": (refusal(402, "insufficient_quota", "top up"), "quota"),
    "403": (refusal(403, "", "balance too low"), "quota"),
    "429 arrears": (refusal(429, "1102", "resource pack depleted"), "quota"),
    "redirect": (Reply(status=301), "config"),
    "404": (refusal(404), "config"),
}


@pytest.mark.parametrize(("reply", "reason"), ACCOUNT.values(), ids=ACCOUNT)
async def test_account_trouble_buys_no_more_and_collects_the_rest(world, reply, reason):
    world = world(*named(10), limits=ONE_BY_ONE)
    world.provider.script.write("submit", "job-003", then=repeat(reply))
    world.provider.script.write("submit", "job-004", then=repeat(reply))
    outcome = await world.run()
    assert outcome.stops == {Stop.ACCOUNT}
    assert outcome.counts == {JobState.DONE: 3, JobState.PENDING: 7}
    assert world.store.batch("batch").paused == reason
    assert outcome.purchases == 3
    assert len(world.provider.tries()) == 4
    assert exit_code(outcome) is ExitCode.ACCOUNT
    world.provider.script.write("submit", "job-003")
    world.provider.script.write("submit", "job-004")
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 10}
    assert world.provider.sold == Counter(named(10))


async def test_a_key_that_may_not_ask_ends_the_run_at_once(world):
    world = world(*named(10), limits=Limits(max_in_flight=4), service=(600.0, 600.0))
    world.provider.outages.append((30.0, NEVER, refusal(401, "unauthorized", "key revoked", takes=0.2)))
    outcome = await world.run()
    assert outcome.stops == {Stop.ACCOUNT}
    assert anyio.current_time() <= 60
    assert outcome.counts == {JobState.RUNNING: 4, JobState.PENDING: 6}
    world.provider.outages.clear()
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 10}
    assert world.provider.sold == Counter(named(10))


async def test_a_key_that_may_not_ask_gives_a_submission_under_way_its_grace(world):
    world = world("a", "b", service=(600.0, 600.0), limits=ONE_BY_ONE)
    world.provider.script.write("submit", "b", Reply(takes=20.0, sells=True, body=lambda p, t: {"id": t.id}))
    world.provider.script.write("poll", "a", then=repeat(refusal(401)))
    outcome = await world.run()
    assert outcome.counts == {JobState.RUNNING: 2}


async def test_a_key_that_may_not_ask_does_not_wait_longer_than_the_grace(world):
    world = world("a", "b", service=(600.0, 600.0), limits=ONE_BY_ONE)
    world.provider.script.write("submit", "b", unanswered())
    world.provider.script.write("poll", "a", then=repeat(refusal(401)))
    outcome = await world.run()
    assert outcome.counts == {JobState.RUNNING: 1, JobState.IN_DOUBT: 1}
    assert anyio.current_time() <= 60


# money


@pytest.mark.parametrize("slots", [1, 4, 8])
async def test_the_budget_holds_whatever_races(world, slots):
    world = world(*named(20), limits=Limits(submit_slots=slots, max_in_flight=20))
    worst = []
    store = Watched(world.store, done=lambda: worst.append(world.store.money(world.batch.id)))
    outcome = await world.run(store=store, caps=Caps(max_cost=550), price=lambda job: 100)
    assert outcome.stops == {Stop.BUDGET}
    assert sum(world.provider.sold.values()) == 5
    assert max(money.spent + money.committed for money in worst) == 500
    assert outcome.counts == {JobState.DONE: 5, JobState.PENDING: 15}
    assert exit_code(outcome) is ExitCode.BUDGET
    assert world.store.batch("batch").paused == "budget"


async def test_doubts_count_against_the_budget(world):
    world = world(*named(10), limits=ONE_BY_ONE)
    world.provider.script.write("submit", "job-000", refusal(500))
    world.provider.script.write("submit", "job-001", refusal(422))
    outcome = await world.run(caps=Caps(max_cost=300), price=lambda job: 100)
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.FAILED: 1, JobState.DONE: 2, JobState.PENDING: 6}


async def test_what_comes_back_to_the_budget_is_spent_on_another(world):
    world = world(*named(3), limits=Limits(max_in_flight=2), service=(20.0, 20.0))
    world.provider.script.write("poll", "job-000", None, saying("failed"))
    outcome = await world.run(caps=Caps(max_cost=200), price=lambda job: 100)
    assert outcome.counts == {JobState.DONE: 2, JobState.FAILED: 1}
    assert outcome.stops == frozenset()
    assert world.store.batch("batch").paused is None


async def test_a_budget_holds_over_several_runs(world):
    world = world(*named(10))
    for _ in range(4):
        await world.run(caps=Caps(max_cost=450), price=lambda job: 100)
    assert sum(world.provider.sold.values()) == 4


@pytest.mark.parametrize("limit", [0, 1, 3, 7])
async def test_a_limit_buys_exactly_that_many(world, limit):
    world = world(*named(10))
    script = world.provider.script
    script.write("submit", "job-000", refusal(400))
    script.write("submit", "job-001", FOR_NOW["429"])
    script.write("submit", "job-002", unreachable())
    outcome = await world.run(limit=limit)
    assert sum(world.provider.sold.values()) == limit == outcome.purchases
    assert outcome.counts.get(JobState.DONE, 0) == limit
    assert outcome.stops == frozenset()


async def test_a_limit_counts_what_may_have_been_bought(world):
    world = world(*named(10))
    world.provider.script.write("submit", "job-000", lost(sells=True))
    outcome = await world.run(limit=3)
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.DONE: 2, JobState.PENDING: 7}
    assert outcome.purchases == 3


async def test_only_the_selected_are_bought_and_all_are_collected(world):
    world = world("shot-1", "shot-2", "intro", "outro")
    world.prepare("outro", JobState.RUNNING, ago=10.0)
    outcome = await world.run(only="shot-*")
    assert {post.about for post in world.provider.tries()} == {"shot-1", "shot-2"}
    assert_has_its_clip(world, "outro")
    assert outcome.counts == {JobState.DONE: 2}
    assert world.job("intro").state is JobState.PENDING


async def test_what_could_not_land_before_the_deadline_is_not_begun_and_the_rest_is_collected(world):
    world = world(*named(8), limits=Limits(submit_slots=1))
    world.provider.takes["submit"] = 20.0
    outcome = await world.run(deadline=EPOCH + timedelta(seconds=SERVICE_P90 + LANDING + 30))
    assert outcome.stops == {Stop.DEADLINE}
    assert outcome.counts == {JobState.DONE: 2, JobState.PENDING: 6}
    assert world.provider.sold == {"job-000": 1, "job-001": 1}
    assert exit_code(outcome) is ExitCode.DEADLINE
    assert world.holds() == ["deadline"]


async def test_quicker_clips_are_still_begun_when_others_would_land_too_late(world):
    world = world(*named(20), limits=Limits(max_in_flight=3))
    world.add("slow", "slower", mode=Mode.PRO, duration=10)
    world.add("quick")
    outcome = await world.run(deadline=EPOCH + timedelta(seconds=3 * SERVICE_P90))
    assert world.job("slow").state is world.job("slower").state is JobState.PENDING
    assert world.job("quick").state is JobState.DONE
    assert exit_code(outcome) is ExitCode.DEADLINE


async def test_what_the_database_knows_of_a_kind_decides_what_is_late(world):
    world = world(*named(12))
    await world.run()
    world.add("late", "later")
    first = anyio.current_time()
    outcome = await world.run(deadline=EPOCH + timedelta(seconds=first + 0.9 * SERVICE_P90))
    assert outcome.counts[JobState.DONE] == 14, "this provider is quicker than what is taken for granted"
    assert exit_code(outcome) is ExitCode.DONE


async def test_nothing_is_late_when_everything_landed(world):
    outcome = await world(*named(2)).run(deadline=EPOCH + timedelta(seconds=SERVICE_P90 + LANDING + 30))
    assert outcome.counts == {JobState.DONE: 2}
    assert exit_code(outcome) is ExitCode.DONE


async def test_the_deadline_itself_ends_the_collecting(world):
    world = world("a", "b")
    world.prepare("a", JobState.RUNNING)
    outcome = await world.run(deadline=EPOCH + timedelta(seconds=3))
    assert outcome.counts == {JobState.RUNNING: 1, JobState.PENDING: 1}
    assert anyio.current_time() <= 4
    assert exit_code(outcome) is ExitCode.DEADLINE


async def test_before_the_window_opens_all_is_collected_and_nothing_bought(world):
    world = world("a", "b")
    world.prepare("a", JobState.RUNNING)
    outcome = await world.run(opens_at=EPOCH + timedelta(hours=3))
    assert outcome.counts == {JobState.DONE: 1, JobState.PENDING: 1}
    assert (outcome.stops, exit_code(outcome)) == ({Stop.WINDOW}, ExitCode.DEADLINE)
    world.orphan("b")
    assert exit_code(await world.run(opens_at=EPOCH + timedelta(hours=3))) is ExitCode.DONE


async def test_a_deadline_that_has_passed_buys_nothing(world):
    world = world("a")
    outcome = await world.run(deadline=EPOCH)
    assert outcome.counts == {JobState.PENDING: 1}
    assert world.provider.requests == []


# frames


async def test_a_frame_is_uploaded_once_for_all_its_jobs(world, tmp_path):
    world = world()
    world.add(*named(6), frames=(frame(tmp_path), frame(tmp_path, "last.png", b"\x89PNG last")))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 6}
    assert len(world.provider.times("upload")) == 2
    assert len({tuple(task.request["image_urls"]) for task in world.provider.tasks.values()}) == 1
    await world.run()
    assert len(world.provider.times("upload")) == 2


BUSY = Reply(body={"success": False, "message": "system busy"})


async def test_an_upload_that_fails_for_a_while_is_tried_again(world, tmp_path):
    world = world()
    world.add("a", frames=(frame(tmp_path),))
    world.provider.script.write(
        "upload", "*", unreachable(), refusal(500), refusal(429, retry_after=30), lost(sells=False), BUSY
    )
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 1}
    assert len(world.provider.times("upload")) == 6


async def test_an_outage_during_uploads_blocks_no_job(world, tmp_path):
    world = world()
    for number in range(9):
        content = f"\x89PNG {number}".encode("latin-1")
        world.add(f"job-{number}", frames=(frame(tmp_path, f"{number}.png", content),))
    world.provider.outages.append((0.0, 300.0, unreachable()))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 9}
    assert outcome.blocked == {}


async def test_a_frame_that_cannot_be_uploaded_blocks_its_jobs_and_no_others(world, tmp_path):
    world = world("plain")
    world.add("a", "b", frames=(frame(tmp_path),))
    world.provider.script.write("upload", "*", then=repeat(refusal(500)))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 1, JobState.PENDING: 2}
    assert set(outcome.blocked) == {world.job("a").id, world.job("b").id}
    assert exit_code(outcome) is ExitCode.PROVIDER
    assert world.provider.tries("a") == []


async def test_a_frame_that_is_refused_fails_its_jobs(world, tmp_path):
    world = world("plain")
    world.add("a", frames=(frame(tmp_path),))
    world.provider.script.write("upload", "*", refusal(413, "too_large", "10 MB at most"))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 1, JobState.FAILED: 1}
    assert world.job("a").reason == "bad_image"


@pytest.mark.parametrize("change", ["gone", "other"])
async def test_a_frame_that_changed_is_not_sent(world, tmp_path, change):
    world = world()
    world.add("a", frames=(frame(tmp_path),))
    path = tmp_path / "frame.png"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"\x89PNG another picture")
    outcome = await world.run()
    assert list(outcome.blocked) == [world.job("a").id]
    assert world.provider.requests == []


async def test_uploads_that_the_account_may_not_make_pause_the_run(world, tmp_path):
    world = world()
    world.add("a", "b", frames=(frame(tmp_path),))
    world.provider.script.write("upload", "*", then=repeat(refusal(402, "insufficient_quota")))
    outcome = await world.run()
    assert outcome.stops == {Stop.ACCOUNT}
    assert outcome.counts == {JobState.PENDING: 2}
    assert exit_code(outcome) is ExitCode.ACCOUNT
