"""Caps of the day and the month, the warning before one is reached, and the end after too many failures."""

from dataclasses import replace
from datetime import timedelta

import pytest
from provider import EPOCH, refusal, saying
from world import frame, named

from batchrunner.budget import Caps
from batchrunner.errors import ExitCode
from batchrunner.events import Held
from batchrunner.model import Intent, VideoRequest, WantedJob
from batchrunner.report.summary import exit_code
from batchrunner.request import fingerprint
from batchrunner.runner.board import Stop
from batchrunner.settings import Limits
from batchrunner.states import JobState
from batchrunner.store.base import Changes

TODAY = EPOCH.astimezone().date()
ONE_BY_ONE = Limits(max_in_flight=1, submit_slots=1)


def said(world, reason):
    return [event.message for event in world.events if isinstance(event, Held) and event.reason == reason]


def wanted(key, position):
    request = VideoRequest(prompt=key)
    return WantedJob(key=key, fingerprint=fingerprint(request), request=request, output=f"{key}.mp4", position=position)


@pytest.mark.parametrize("cap", ["per_day", "per_month"])
async def test_a_cap_of_the_day_or_month_ends_the_run_and_says_when_it_frees(world, cap):
    world = world(*named(10))
    outcome = await world.run(caps=Caps(**{cap: 350_000_000}), price=lambda job: 100_000_000)
    assert outcome.counts == {JobState.DONE: 3, JobState.PENDING: 7}
    assert exit_code(outcome) is ExitCode.BUDGET
    frees = (
        TODAY + timedelta(days=1) if cap == "per_day" else (TODAY.replace(day=1) + timedelta(days=32)).replace(day=1)
    )
    message = world.store.batch("batch").paused_message
    assert f"pass {cap}, 300.00 of 350.00 USD is used" in message
    assert f"frees on {frees.isoformat()} at 00:00" in message
    assert said(world, "budget") == [message]


async def test_a_cap_of_the_run_lets_the_next_run_go_on(world):
    world = world(*named(5))
    runs = [world.store.start_run(world.batch.id, pid=1, host="h", now=EPOCH) for _ in range(2)]
    caps = Caps(per_run=300)
    outcome = await world.run(caps=caps, run_id=runs[0], price=lambda job: 100)
    assert outcome.counts == {JobState.DONE: 3, JobState.PENDING: 2}
    assert exit_code(outcome) is ExitCode.BUDGET
    assert (await world.run(caps=caps, run_id=runs[1], price=lambda job: 100)).counts == {JobState.DONE: 5}


async def test_a_cap_of_a_tag_holds_back_its_own_jobs_alone(world):
    world = world()
    tagged = [replace(wanted(key, place), tags=("night",) if place < 20 else ()) for place, key in enumerate(named(25))]
    world.store.apply(world.batch.id, Changes(added=tuple(tagged)), now=EPOCH)
    world.provider.fates["job-000"] = {"code": "generation_failed", "message": "no"}
    outcome = await world.run(caps=Caps(tags={"night": 300}), price=lambda job: 100)
    assert outcome.counts == {JobState.DONE: 8, JobState.PENDING: 16, JobState.FAILED: 1}  # what failed was paid back
    assert exit_code(outcome) is ExitCode.BUDGET
    assert (
        "pass tags.night, 0.0003 of 0.0003 USD is used by the batch's jobs with that tag" in said(world, "budget")[-1]
    )


async def test_a_run_ends_when_jobs_meet_a_cap_of_their_tag_one_after_the_other(world, tmp_path):
    """Those that are on their way already when the first meets it used to be tried again for ever."""
    world = world()
    frames = (frame(tmp_path),)  # takes a while to upload
    asked = [(key, VideoRequest(prompt=key, frames=frames if place == 5 else ())) for place, key in enumerate(named(6))]
    tagged = [
        replace(wanted(key, place), request=request, fingerprint=fingerprint(request), tags=("night",))
        for place, (key, request) in enumerate(asked)
    ]
    world.store.apply(world.batch.id, Changes(added=tuple(tagged)), now=EPOCH)
    limits = Limits(submit_slots=6)
    outcome = await world.run(limits=limits, caps=Caps(tags={"night": 100}), price=lambda job: 100)
    assert outcome.counts == {JobState.DONE: 1, JobState.PENDING: 5}
    assert exit_code(outcome) is ExitCode.BUDGET
    assert len(said(world, "budget")) == 1


async def test_what_other_batches_bought_today_counts(world):
    world = world("here")
    other = world.store.open_batch("other", endpoint="scripted", currency="USD", now=EPOCH)
    there = tuple(wanted(key, place) for place, key in enumerate(("old", "new")))
    world.store.apply(other.id, Changes(added=there), now=EPOCH)
    for job, day in zip(world.store.jobs(other.id), (TODAY - timedelta(days=1), TODAY), strict=True):
        intent = Intent(purchase_id=f"br_{job.key}", body_sha256="0", price=100, day=day)
        world.store.record_intent(job.id, intent, cap=None, now=EPOCH)
    assert (await world.run(caps=Caps(per_day=199), price=lambda job: 100)).counts == {JobState.PENDING: 1}
    assert (await world.run(caps=Caps(per_day=200), price=lambda job: 100)).counts == {JobState.DONE: 1}


async def test_a_cap_that_is_nearly_used_is_said_once(world):
    world = world(*named(10), limits=ONE_BY_ONE)
    await world.run(caps=Caps(max_cost=1000, per_day=5000, warn_at=0.8), price=lambda job: 100)
    (message,) = said(world, "budget")
    assert message.startswith("80% of max_cost is used")


async def test_a_run_ends_after_so_many_failures_in_a_row(world):
    world = world(*named(10), limits=Limits(max_in_flight=1, submit_slots=1, stop_after_failures=3))
    for key in ("job-001", "job-002", "job-004", "job-005", "job-006"):
        world.provider.script.write("submit", key, refusal(400))
    outcome = await world.run()
    assert outcome.stops == {Stop.FAILURES}
    assert outcome.counts == {JobState.DONE: 2, JobState.FAILED: 5, JobState.PENDING: 3}
    assert exit_code(outcome) is ExitCode.PROVIDER
    assert said(world, "failures") == ["3 clips in a row failed (limits.stop_after_failures); nothing more is bought"]
    assert world.store.batch("batch").paused == "failures"


async def test_what_runs_is_collected_after_too_many_failures(world):
    world = world(
        *named(6), limits=Limits(max_in_flight=3, submit_slots=1, stop_after_failures=1), service=(60.0, 60.0)
    )
    world.provider.script.write("poll", "job-000", None, saying("failed"))
    outcome = await world.run()
    assert outcome.counts[JobState.FAILED] == 1
    assert outcome.counts[JobState.DONE] == 2
    assert outcome.counts[JobState.PENDING] == 3


async def test_without_the_limit_all_may_fail(world):
    world = world(*named(30), limits=ONE_BY_ONE)
    for key in named(30):
        world.provider.script.write("submit", key, refusal(400))
    outcome = await world.run()
    assert outcome.counts == {JobState.FAILED: 30}
    assert exit_code(outcome) is ExitCode.SOME_FAILED
