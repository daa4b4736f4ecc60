"""Trouble of our own: a database that cannot be written ends the run, a bug about one job does not end the others."""

from collections import Counter
from functools import partial

import pytest
from provider import Reply
from world import Watched, assert_has_its_clip, named

from batchrunner.errors import StorageError
from batchrunner.events import JobMoved
from batchrunner.runner import fetching
from batchrunner.runner.landings import Landings
from batchrunner.settings import Limits
from batchrunner.states import JobState


class Failing:
    """Commits that fail from the n-th on, before they are durable."""

    def __init__(self, after):
        self.left = after
        self.failed_at = None

    def commit(self, posts):
        self.left -= 1
        if self.left < 0:
            self.failed_at = posts() if self.failed_at is None else self.failed_at
            raise StorageError("the disk is full")


@pytest.mark.parametrize("after", [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 20, 30, 40, 55, 65])
async def test_a_commit_that_fails_ends_the_run_and_nothing_more_is_sent(world, after):
    world = world(*named(10), limits=Limits(max_in_flight=5, submit_slots=2))
    failing = Failing(after)
    commit = partial(failing.commit, lambda: len(world.provider.tries()))
    with pytest.raises((StorageError, ExceptionGroup)) as caught:
        await world.run(store=Watched(world.store, commit=commit))
    wrong = caught.value.exceptions if isinstance(caught.value, ExceptionGroup) else [caught.value]
    assert {type(error) for error in wrong} == {StorageError}
    assert len(world.provider.tries()) == failing.failed_at
    accepted = {job.key for job in world.jobs() if job.task_id}
    unrecorded = world.keys(JobState.SUBMITTING)
    assert set(world.provider.sold) <= accepted | unrecorded
    assert len(unrecorded) <= 2
    outcome = await world.run()
    assert max(world.provider.sold.values()) == 1
    assert outcome.counts.get(JobState.IN_DOUBT, 0) == len(unrecorded)
    assert outcome.counts[JobState.DONE] == 10 - len(unrecorded)


@pytest.mark.parametrize("after", [4])
async def test_a_commit_that_fails_under_the_loop_is_raised_as_what_it_is(world, after):
    """`Session.execute` and the exit code 12 rest on the type."""
    world = world(*named(10))
    commit = partial(Failing(after).commit, lambda: 0)
    with pytest.raises(StorageError, match="disk is full"):
        await world.run(store=Watched(world.store, commit=commit))


@pytest.mark.parametrize("operation", ["poll", "submit", "download"])
async def test_a_bug_about_one_job_does_not_take_the_others_with_it(world, operation):
    world = world(*named(6))
    world.provider.script.write(operation, "job-002", _bug(operation))
    with pytest.raises(ZeroDivisionError):
        await world.run()
    others = set(named(6)) - {"job-002"}
    assert world.keys(JobState.DONE) == others
    outcome = await world.run()
    assert max(world.provider.sold.values()) == 1
    left = {JobState.IN_DOUBT: 1} if operation == "submit" else {}
    assert outcome.counts == {JobState.DONE: 6 - len(left), **left}


def _bug(operation):
    if operation == "download":
        from provider import File

        return File(content=lambda whole: 1 // 0)
    return Reply(bug=ZeroDivisionError("a mistake"))


async def test_the_first_of_several_bugs_is_raised(world):
    world = world(*named(4))
    world.provider.script.write("poll", "job-000", Reply(bug=LookupError("first")))
    world.provider.script.write("poll", "job-001", Reply(bug=ValueError("second"), takes=60.0))
    with pytest.raises(LookupError, match="first"):
        await world.run()
    assert world.keys(JobState.DONE) == {"job-002", "job-003"}


@pytest.mark.parametrize("kind", [BrokenPipeError, ValueError])
async def test_a_view_that_fails_puts_no_job_in_doubt(world, kind):
    world = world(*named(4))

    def broken(event):
        if isinstance(event, JobMoved):
            raise kind

    with pytest.raises(kind):
        await world.run(listener=broken)
    await world.run()
    assert world.keys(JobState.DONE) == set(named(4))


async def test_a_view_that_fails_loses_nothing_that_was_bought(world):
    world = world(*named(4), limits=Limits(max_in_flight=4))

    def broken(event):
        if isinstance(event, JobMoved) and event.state is not JobState.SUBMITTING:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await world.run(listener=broken)
    await world.run()
    assert world.provider.sold == Counter(named(4))
    for key in named(4):
        assert_has_its_clip(world, key)


async def test_a_machine_that_is_out_of_threads_is_told_so_and_takes_no_clip_with_it(world, monkeypatch):
    class Busy(Landings):
        async def tidy(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(fetching, "Landings", Busy)
    world = world(*named(6))
    with pytest.raises(RuntimeError, match="start new thread"):
        await world.run()
    assert world.keys(JobState.DONE) == set(named(6))
