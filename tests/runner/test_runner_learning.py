"""When to ask, end to end: a run that learns notices sooner and asks no more; what it learned is there for the next one."""

import math
import random

import pytest
from provider import EPOCH, Reply
from world import named

from batchrunner.forecast import WINDOW
from batchrunner.runner.lessons import Lessons
from batchrunner.settings import Limits
from batchrunner.states import JobState

COUNT = 140
SETTLED = 60
"""Jobs that a run may learn from first."""


def services(keys, seed=3):
    """Seconds as measured: median 105, from 83 to 253 (API facts §6)."""
    rng = random.Random(seed)
    return {key: min(max(80 + rng.lognormvariate(math.log(25), 0.9), 83.0), 253.0) for key in keys}


def noticing(world, keys):
    """Mean seconds from the end of a task to the question that found it, and questions a task."""
    asked = {key: world.provider.polls(key) for key in keys}
    delays = [asked[key][-1] - world.provider.task_of(key).ready_at for key in keys]
    return sum(delays) / len(keys), sum(map(len, asked.values())) / len(keys)


async def worked(world, floor):
    world = world(*named(COUNT), limits=Limits(max_in_flight=20, poll_floor=floor))
    world.provider.services = services(named(COUNT))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: COUNT}
    return world


@pytest.mark.parametrize(("floor", "times_less"), [(5.0, 1.5), pytest.param(1.0, 3.0, marks=pytest.mark.slow)])
async def test_what_is_learned_is_noticed_sooner_with_no_more_questions(world, monkeypatch, floor, times_less):
    """At the documented floor of 5 s a question can be aimed, but not two of them."""
    learning = await worked(world, floor)
    with monkeypatch.context() as blind:
        blind.setattr(Lessons, "of", lambda self, kind: None)
        blind.setattr("batchrunner.runner.context.QUERY_SHARE", 1e9)
        fixed = await worked(world, 5.0)
    late = named(COUNT)[SETTLED:]
    (delay, questions), (before, allowed) = noticing(learning, late), noticing(fixed, late)
    assert before / delay >= times_less
    if floor == 5.0:
        assert questions <= allowed


async def test_the_next_run_knows_what_this_one_learned(world):
    first = await worked(world, 5.0)
    kind = first.job(named(1)[0]).request.kind
    seen = first.store.service_times(kind, endpoint="scripted", limit=WINDOW)
    assert len(seen) == COUNT
    assert sum(seen) / len(seen) == pytest.approx(sum(first.provider.services.values()) / COUNT, rel=0.1)
    more = [f"more-{number}" for number in range(20)]
    first.add(*more)
    first.provider.services |= services(more, seed=9)
    await first.run()
    assert first.provider.polls("more-0")[0] - first.provider.task_of("more-0").accepted_at > 30


async def test_tasks_that_fail_teach_as_well(world):
    world = world("a")
    world.provider.fates["a"] = {"code": "moderation", "message": "no"}
    world.provider.services["a"] = 42.0
    await world.run()
    (took,) = world.store.service_times(world.job("a").request.kind, endpoint="scripted", limit=9)
    assert took == pytest.approx(42.0, abs=11.0)


async def test_what_an_earlier_run_bought_teaches_only_by_the_provider_s_word(world):
    world = world("silent", "telling")
    for key, service in (("silent", 50.0), ("telling", 61.0)):
        world.provider.services[key] = service
        world.prepare(key, JobState.RUNNING, ago=400.0)

    def told(provider, task):
        return provider.finished(task) | {"created_at": 1_000, "completed_at": 1_061}

    world.provider.script.write("poll", "telling", Reply(body=told))
    await world.run()
    assert world.store.service_times(world.job("telling").request.kind, endpoint="scripted", limit=9) == [61.0]


async def test_the_signs_of_life_say_when_it_will_be_over(world):
    world = await worked(world, 5.0)
    over = max(task.ready_at for task in world.provider.tasks.values())
    told = [beat for beat in world.beats() if beat.eta is not None]
    assert told[0].at < world.beats()[len(world.beats()) // 2].at
    middle = told[len(told) // 2]
    expected = (middle.at - EPOCH).total_seconds() + middle.eta.median
    assert expected == pytest.approx(over, rel=0.15)
    assert middle.eta.likely > middle.eta.median
