"""A run buys each clip once, stays within every limit, ends when all is final, and never spins."""

from collections import Counter
from datetime import timedelta
from itertools import repeat

import anyio
import pytest
from provider import EPOCH, File, refusal
from world import HOUR, Watched, assert_has_its_clip, assert_rate, frame, gaps, named, wall

from batchrunner.events import JobMoved
from batchrunner.model import AspectRatio
from batchrunner.settings import Limits, Rate
from batchrunner.states import JobState

TIGHT = Limits(
    max_in_flight=7,
    submit_slots=3,
    submit=Rate(per_second=0.5, burst=2),
    query=Rate(per_second=0.4, burst=2),
    downloads=2,
)


async def test_every_clip_is_bought_once_and_kept(world):
    world = world("square", limits=Limits(max_in_flight=3))
    world.add("portrait", aspect_ratio=AspectRatio.PORTRAIT, duration=10)
    world.add("loud", audio=True)
    world.add(*named(9))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 12}
    assert (outcome.stops, outcome.blocked, outcome.left, outcome.purchases) == (frozenset(), {}, 0, 12)
    assert world.provider.sold == Counter(world.states().keys())
    for key in world.states():
        assert_has_its_clip(world, key)
        assert world.moves(key) == [JobState.SUBMITTING, JobState.RUNNING, JobState.FETCHING, JobState.DONE]
    assert {path.suffix for path in world.outputs.root.iterdir()} == {".mp4"}


async def test_the_counts_of_the_views_are_those_of_the_store(world):
    world = world(*named(20))
    world.provider.script.write("submit", "job-003", refusal(429))
    world.provider.script.write("submit", "job-004", refusal(422))
    world.provider.script.write("submit", "job-005", refusal(500))
    world.provider.services["job-019"] = 300.0  # so that the last beats show all others as they end
    await world.run()
    final = Counter(world.states().values()) - Counter([JobState.DONE])
    assert +Counter(world.beats()[-5].counts) == final + Counter([JobState.RUNNING])
    assert {key: world.moves(key)[-1] for key in world.states()} == world.states()


async def test_no_limit_is_passed(world):
    world = world(*named(30), limits=TIGHT)
    provider = world.provider
    provider.takes |= {"submit": 5.0, "download": 30.0}
    rows = []
    store = Watched(world.store, done=lambda: rows.append(world.store.in_flight(world.batch.id)))
    await world.run(store=store)
    assert world.keys(JobState.DONE) == set(named(30))
    assert max(rows) == TIGHT.max_in_flight  # reached, never passed
    assert provider.peaks["rows"] <= TIGHT.max_in_flight
    assert provider.peaks["submit"] <= TIGHT.submit_slots
    assert provider.peaks["download"] == TIGHT.downloads
    assert_rate([post.at for post in provider.tries()], TIGHT.submit)
    assert_rate(provider.times("poll"), TIGHT.query)
    for key in world.states():
        assert min(gaps(provider.polls(key)), default=TIGHT.poll_floor) >= TIGHT.poll_floor


@pytest.mark.parametrize("rows", [1, 3])
async def test_rows_and_slots_hold_when_all_else_is_plenty(world, rows):
    world = world(*named(12), limits=Limits(max_in_flight=rows, submit_slots=4))
    await world.run()
    assert world.provider.peaks["rows"] == rows
    assert world.provider.peaks["submit"] <= 4
    assert world.provider.sold == Counter(named(12))


async def test_jobs_whose_frames_are_on_their_way_count_as_rows(world, tmp_path):
    world = world(limits=Limits(max_in_flight=2, uploads=4))
    for key in named(8):
        world.add(key, frames=(frame(tmp_path, f"{key}.png", f"\x89PNG {key}".encode("latin-1")),))
    world.provider.takes["upload"] = 20.0
    world.provider.services |= {"job-000": 30.0, "job-001": 600.0}  # one place is taken while the other changes hands
    await world.run()
    assert world.keys(JobState.DONE) == set(named(8))
    assert world.provider.peaks["rows"] == 2


async def test_rates_hold_in_a_large_run(world):
    limits = Limits(max_in_flight=110, submit_slots=50)
    world = world(*named(110), limits=limits)
    await world.run()
    assert world.keys(JobState.DONE) == set(named(110))
    assert_rate([post.at for post in world.provider.tries()], limits.submit)
    assert_rate(world.provider.times("poll"), limits.query)


async def test_the_second_question_of_an_action_keeps_to_the_rate_too(world):
    """What is not found by its task is looked up by its purchase at once."""
    world = world(*named(10), limits=TIGHT)
    world.provider.script.write("poll", "*", then=repeat(refusal(404, "task_not_found")))
    await world.run()
    assert world.keys(JobState.FAILED) == set(named(10))
    assert_rate(world.provider.times("poll"), TIGHT.query)


async def test_submissions_that_waited_for_one_frame_keep_to_the_rate(world, tmp_path):
    limits = Limits(submit=Rate(per_second=0.1, burst=1))
    world = world(limits=limits)
    world.add(*named(4), frames=(frame(tmp_path),))
    world.provider.takes["upload"] = 60.0
    await world.run()
    assert_rate([post.at for post in world.provider.tries()], limits.submit)


async def test_the_clip_that_expires_first_is_fetched_first(world):
    keys = ["late", "soon", "later", "sooner", "soonest"]
    world = world(*keys, limits=Limits(downloads=1), service=(60.0, 60.0))
    for key, hours in zip(keys, [9, 3, 12, 2, 1], strict=True):
        world.provider.lifetimes[key] = hours * HOUR
        world.prepare(key, JobState.FETCHING, ago=120.0)
    await world.run()
    fetched = [request.about for request in world.provider.requests if request.operation == "download"]
    assert fetched == ["soonest", "sooner", "soon", "late", "later"]


async def test_clips_that_finish_behind_a_slow_download_are_fetched_by_expiry(world):
    world = world("slow", "late", "soon", limits=Limits(downloads=1), service=(60.0, 60.0))
    world.provider.services |= {"slow": 20.0, "late": 40.0, "soon": 80.0}
    world.provider.lifetimes |= {"late": 9 * HOUR, "soon": HOUR}
    world.provider.script.write("download", "slow", File(takes=600.0))
    await world.run()
    fetched = [request.about for request in world.provider.requests if request.operation == "download"]
    assert fetched == ["slow", "soon", "late"]


async def test_downloads_outrank_submissions(world):
    """No more is bought than can be stored: while many clips wait for their download, nothing new is sent."""
    world = world(*named(30), limits=Limits(max_in_flight=4, downloads=1), service=(15.0, 15.0))
    world.provider.takes["download"] = 30.0
    waiting = []
    store = Watched(world.store, done=lambda: waiting.append(len(world.keys(JobState.FETCHING))))
    await world.run(store=store)
    assert world.keys(JobState.DONE) == set(named(30))
    assert max(waiting) <= 2 * 4 + 2


async def test_the_run_ends_with_the_last_clip(world):
    world = world(*named(5), service=(60.0, 300.0))
    await world.run()
    last = max(event.at for event in world.events if isinstance(event, JobMoved))
    assert wall() - last <= timedelta(seconds=0.01)


async def test_a_run_without_work_ends_at_once(world, decisions):
    world = world()
    outcome = await world.run()
    assert outcome.counts == {}
    assert wall() == EPOCH
    assert decisions.total == 1


async def test_an_idle_run_looks_once_a_second(world, decisions):
    world = world("a", service=(HOUR, HOUR))
    await world.run()
    looks = len(world.provider.requests)
    assert decisions.total <= 3600 + 10 * looks + 120
    assert len(world.beats()) <= 3600 + 120


async def test_a_held_lane_is_waited_for_in_peace(world, decisions):
    world = world(*named(8), service=(60.0, 60.0))
    world.provider.script.write("submit", "*", *repeat(refusal(429, "rate_limit_exceeded", retry_after=1200), 4))
    await world.run()
    assert world.keys(JobState.DONE) == set(named(8))
    assert decisions.total <= 1200 + 600


async def test_slow_requests_are_waited_for_in_peace(world, decisions):
    limits = Limits(max_in_flight=50, submit_slots=2, downloads=1, submit=Rate(per_second=0.25, burst=1))
    world = world(*named(12), limits=limits, service=(5.0, 5.0))
    world.provider.takes |= {"submit": 60.0, "download": 60.0, "poll": 20.0}
    await world.run()
    assert decisions.total <= anyio.current_time() + 20 * len(world.provider.requests) + 60


async def test_a_slow_upload_of_a_job_that_once_waited_is_waited_for_in_peace(world, tmp_path):
    world = world()
    world.add("a", frames=(frame(tmp_path),))
    world.prepare("a", JobState.PENDING, ago=300.0, not_before=EPOCH - timedelta(seconds=60))
    world.provider.takes["upload"] = 20.0
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_run_ends_when_a_job_that_once_waited_cannot_be_sent(world, tmp_path):
    world = world()
    world.add("a", frames=(frame(tmp_path),))
    world.prepare("a", JobState.PENDING, ago=300.0, not_before=EPOCH - timedelta(seconds=60))
    (tmp_path / "frame.png").unlink()
    outcome = await world.run(hours=1)
    assert list(outcome.blocked) == [world.job("a").id]


async def test_the_heartbeat_is_only_a_safety_net(world, monkeypatch, decisions):
    """Every wake-up comes by itself: a run with next to no heartbeat takes as long, and looks far less often."""
    monkeypatch.setattr("batchrunner.runner.loop.HEARTBEAT", 10 * HOUR)
    world = world(*named(30), limits=TIGHT)
    world.provider.script.write(
        "submit", "job-003", refusal(429, retry_after=20), refusal(503, "rate_limit_unavailable")
    )
    world.provider.script.write("download", "job-004", File(status=404), File(breaks_at=100))
    await world.run(hours=1)
    assert world.keys(JobState.DONE) == set(named(30))
    assert decisions.total <= 12 * len(world.provider.requests)
