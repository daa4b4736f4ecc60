"""An outage costs a handful of doubts and never the batch; what was bought is collected all the while."""

from itertools import repeat

import anyio
import pytest
from provider import NEVER, Reply, lost, refusal, unreachable
from world import HOUR, named

from batchrunner.errors import ExitCode
from batchrunner.events import Held
from batchrunner.report.summary import exit_code
from batchrunner.runner.board import Stop
from batchrunner.settings import Limits
from batchrunner.states import JobState

SLOTS = 4


def lose_answers(world, start, end, **how):
    """Every submission of that time is lost; all else is well."""
    world.provider.script = _Deaf(start, end, lost(takes=30.0, **{"sells": True, **how}))


class _Deaf:
    def __init__(self, start, end, reply):
        self._start, self._end, self._reply = start, end, reply

    def next(self, operation, key):
        return self._reply if operation == "submit" and self._start <= anyio.current_time() < self._end else None


async def test_an_hour_of_lost_answers_costs_the_slots_and_one_a_probe(world):
    world = world(*named(200), limits=Limits(max_in_flight=30))
    lose_answers(world, 60.0, 60.0 + HOUR)
    outcome = await world.run()
    probes = len(world.provider.times("balance"))
    assert 1 <= probes <= 7
    assert 2 <= outcome.counts[JobState.IN_DOUBT] <= SLOTS + probes
    assert outcome.stops == {Stop.PROVIDER}
    assert exit_code(outcome) is ExitCode.IN_DOUBT
    assert outcome.counts[JobState.PENDING] > 100
    assert set(world.provider.sold.values()) == {1}


async def test_polls_and_downloads_go_on_while_nothing_is_submitted(world):
    world = world(*named(30), limits=Limits(max_in_flight=20), service=(100.0, 100.0))
    lose_answers(world, 30.0, 600.0)
    await world.run()
    done = [e.at.timestamp() for e in world.events if getattr(e, "state", None) is JobState.DONE]
    assert sum(at < min(done) + 300 for at in done) >= 14
    assert world.holds().count("provider_unstable") >= 3


async def test_buying_goes_on_when_submissions_are_answered_again(world):
    world = world(*named(20), limits=Limits(max_in_flight=8))
    lose_answers(world, 0.0, 100.0, sells=False)
    outcome = await world.run()
    doubts = outcome.counts[JobState.IN_DOUBT]
    assert doubts <= SLOTS + 1
    assert outcome.counts == {JobState.DONE: 20 - doubts, JobState.IN_DOUBT: doubts}
    assert outcome.stops == frozenset()
    assert world.store.batch("batch").paused is None


async def test_one_at_a_time_when_half_open(world):
    world = world(*named(20), limits=Limits(max_in_flight=15))
    lose_answers(world, 0.0, 40.0)
    await world.run()
    answered = world.provider.times("balance")
    tries = [post.at for post in world.provider.tries()]
    first = min(at for at in tries if at > answered[0])
    assert [at for at in tries if first <= at < first + 0.9] == [first]


async def test_while_it_is_open_the_database_says_why(world):
    world = world(*named(20), limits=Limits(max_in_flight=15))
    lose_answers(world, 0.0, 600.0)
    seen = []
    await world.run(listener=lambda event: seen.append(world.store.batch("batch").paused))
    assert "provider_unstable" in seen


async def test_a_probe_that_is_not_answered_waits_longer(world):
    world = world(*named(20), limits=Limits(max_in_flight=15), service=(3000.0, 3000.0))
    lose_answers(world, 0.0, 600.0, sells=False)
    world.provider.script.next, healthy = None, world.provider.script.next
    world.provider.script.next = lambda operation, key: (
        refusal(503, "internal") if operation == "balance" and anyio.current_time() < 400 else healthy(operation, key)
    )
    await world.run()
    waits = [round(later - earlier) for earlier, later in zip(_probes(world), _probes(world)[1:], strict=False)]
    assert waits[:2] == [120, 240]


def _probes(world):
    return world.provider.times("balance")


async def test_a_key_that_is_refused_by_the_probe_ends_the_wait(world):
    world = world(*named(20), limits=Limits(max_in_flight=15))
    lose_answers(world, 0.0, NEVER)
    healthy = world.provider.script.next
    world.provider.script.next = lambda operation, key: (
        refusal(401) if operation == "balance" else healthy(operation, key)
    )
    outcome = await world.run()
    assert Stop.ACCOUNT in outcome.stops


# refused for now, for long


@pytest.mark.parametrize(
    ("reply", "minutes"),
    [
        (refusal(429, "rate_limit_exceeded"), 30),
        (refusal(429, "1303", "parallel task over resource pack limit"), 30),
        (refusal(503, "model_not_found", "No available channel"), 10),
    ],
    ids=["rate", "capacity", "no channel"],
)
async def test_refusals_for_long_end_the_buying_and_leave_every_job_as_it_was(world, reply, minutes):
    world = world(*named(8), limits=Limits(max_in_flight=3))
    world.provider.script.write("submit", "*", then=repeat(reply))
    outcome = await world.run()
    assert outcome.stops == {Stop.REFUSING}
    assert exit_code(outcome) is ExitCode.PROVIDER
    assert outcome.counts == {JobState.PENDING: 8}
    assert {job.attempts for job in world.jobs()} == {0}
    assert minutes * 60 <= anyio.current_time() <= minutes * 60 + 130
    world.provider.script.write("submit", "*")
    assert (await world.run()).counts == {JobState.DONE: 8}


async def test_refusals_with_successes_between_them_go_on(world):
    world = world(*named(60), limits=Limits(max_in_flight=2), service=(100.0, 100.0))
    for key in named(60):
        world.provider.script.write("submit", key, refusal(429, retry_after=60))
    outcome = await world.run(hours=48)
    assert outcome.counts == {JobState.DONE: 60}
    assert anyio.current_time() > 1800


# capacity


async def test_a_provider_with_few_places_is_filled_and_not_overrun(world):
    """Its account holds five tasks at once: after the first refusals the run keeps to that, and tries one more a minute."""
    world = world(*named(60), limits=Limits(max_in_flight=20), service=(60.0, 60.0))
    provider, full = world.provider, refusal(429, "1303", "parallel task over resource pack limit")
    provider.script.next = lambda operation, key: full if operation == "submit" and _live(provider) >= 5 else None
    outcome = await world.run(hours=48)
    assert outcome.counts == {JobState.DONE: 60}
    assert max(provider.sold.values()) == 1
    refused = len(provider.posts()) - 60
    assert refused < 40
    assert {job.attempts for job in world.jobs()} == {1}


def _live(provider):
    now = anyio.current_time()
    return sum(task.ready_at > now for task in provider.tasks.values())


async def test_a_task_that_fails_for_capacity_leaves_fewer_in_flight(world):
    world = world(*named(40), limits=Limits(max_in_flight=10), service=(100.0, 100.0))
    world.provider.fates["job-000"] = {"code": 1303, "message": "parallel task over resource pack limit"}
    world.provider.services["job-000"] = 20.0
    await world.run()
    later = [(at, key) for at, key in _flights(world) if 40 < at < 80]
    assert later == [] or max(number for _, number in later) <= 9
    assert "capacity" in world.holds()
    assert world.keys(JobState.FAILED) == {"job-000"}


def _flights(world):
    """How many tasks the provider had at once, at each acceptance."""
    tasks = world.provider.tasks.values()
    return [(task.accepted_at, sum(t.accepted_at <= task.accepted_at < t.ready_at for t in tasks)) for task in tasks]


# money


@pytest.mark.parametrize(
    "reply",
    [
        refusal(402, "insufficient_quota", "top up"),
        refusal(403, "insufficient_user_quota", "用户额度不足"),
        refusal(401, "pre_consume_token_quota_failed", "the key is drained"),
        refusal(429, "1102", "resource pack depleted"),
        refusal(429, "1101", "account in arrears"),
    ],
    ids=["402", "403", "401", "429 pack", "429 arrears"],
)
async def test_money_runs_out_and_after_a_top_up_the_same_command_finishes(world, reply):
    world = world(*named(20), limits=Limits(max_in_flight=4))
    provider = world.provider
    provider.script.next = lambda operation, key: reply if operation == "submit" and len(provider.tasks) >= 7 else None
    outcome = await world.run()
    assert outcome.stops == {Stop.ACCOUNT}
    assert exit_code(outcome) is ExitCode.ACCOUNT
    assert outcome.counts == {JobState.DONE: 7, JobState.PENDING: 13}
    assert {job.attempts for job in world.jobs()} == {0, 1}
    assert world.store.batch("batch").paused == "quota"
    provider.script.next = lambda operation, key: None
    assert (await world.run()).counts == {JobState.DONE: 20}
    assert set(provider.sold.values()) == {1}


# one slot, one row


async def test_a_bug_behind_an_intent_leaves_no_key_behind(world):
    world = world("a", "b")
    world.provider.script.write("submit", "a", Reply(bug=RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        await world.run()
    assert world.job("b").state is JobState.DONE


async def test_a_provider_that_cannot_be_reached_is_no_doubt(world):
    world = world(*named(8), limits=Limits(max_in_flight=3))
    world.provider.outages.append((30.0, 300.0, unreachable()))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 8}
    assert "provider_unstable" not in world.holds()


@pytest.mark.parametrize(("error", "reason"), [("ConnectError", "network"), ("ProxyError", "proxy")])
async def test_three_that_could_not_leave_pause_the_buying_until_there_is_a_way_again(world, error, reason):
    world = world(*named(8), limits=Limits(max_in_flight=3))
    world.provider.outages.append((0.0, 300.0, Reply(status=None, error=error, sent=False, takes=0.1)))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 8}
    (paused,) = {
        event.message for event in world.events if isinstance(event, Held) and "nothing was sent" in event.message
    }
    assert error in paused
    assert reason in world.holds()
    assert "provider_unstable" not in world.holds()
    assert (
        len([post for post in world.provider.tries() if post.at < 300]) <= 5
    )  # the rest are questions, which are free
    assert min(post.at for post in world.provider.tries() if post.at > 300) < 370
    assert world.store.batch("batch").paused is None


async def test_a_long_retry_after_is_an_hour_of_the_providers_time(world):
    """On the emulator that is an hour at its speed."""
    world = world("a", limits=Limits().scaled(1000.0))
    world.provider.script.write("submit", "a", refusal(429, retry_after=50_000))
    assert (await world.run()).counts == {JobState.DONE: 1}
    assert 3.6 <= world.provider.tries("a")[1].at < 10
