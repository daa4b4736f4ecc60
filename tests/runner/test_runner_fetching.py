"""Downloading: a clip that was paid for is fetched until it is whole, and kept only when it is the right one."""

from itertools import repeat
from types import SimpleNamespace

import pytest
from footage import clip
from provider import DAY, File, Reply, refusal, unreachable
from world import HOUR, Watched, assert_has_its_clip, gaps, named

from batchrunner.errors import ExitCode, StorageError
from batchrunner.model import AspectRatio
from batchrunner.outputs import OutputFolder
from batchrunner.report.summary import exit_code
from batchrunner.runner import transfer
from batchrunner.runner.board import Stop
from batchrunner.settings import Limits
from batchrunner.states import JobState

TROUBLE = {
    "404": File(status=404),
    "403": File(status=403),
    "410": File(status=410),
    "500": File(status=500),
    "429": File(status=429),
    "unreachable": File(status=None, error="ConnectError"),
    "redirected": File(status=302),
    "broken in the middle": File(breaks_at=1000),
    "broken at once": File(breaks_at=0),
    "shorter than announced": File(content=lambda whole: whole[:-500], length=5000),
    "longer than announced": File(length=10),
    "cut, unannounced": File(content=lambda whole: whole[:-500], length=None),
    "HTML": File(content=b"<html>please log in</html>"),
    "empty": File(content=lambda whole: b""),
}


@pytest.mark.parametrize("file", TROUBLE.values(), ids=TROUBLE)
async def test_trouble_is_followed_by_a_fresh_address(world, file):
    world = world("a", "b")
    world.provider.script.write("download", "a", file, file)
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 2}
    assert_has_its_clip(world, "a")
    assert len(world.provider.times("download")) == 4
    assert world.provider.refetched[world.provider.task_of("a").id] == 3
    assert sorted(path.name for path in world.outputs.root.iterdir()) == ["a.mp4", "b.mp4"]


async def test_that_a_clip_is_made_is_durable_before_the_clip_has_its_name(world):
    """Otherwise the next run would ask about it first, and a provider that has forgotten the task would have the last word."""
    world = world("a")
    found = []

    def look():
        if (world.outputs.root / "a.mp4").exists():
            found.append(world.job("a").state)

    await world.run(store=Watched(world.store, begin=look))
    assert found[0] is JobState.FETCHING


WRONG = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "of another length": lambda whole: clip(10, "16:9", False, stamp="x"),
    "of another shape": lambda whole: clip(5, "9:16", False, stamp="x"),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
async def test_a_file_that_is_wrong_three_times_is_kept_aside(world, content):
    world = world("a", "b")
    world.provider.script.write("download", "a", then=repeat(File(content=content)))
    outcome = await world.run(price=lambda job: 100)
    assert outcome.counts == {JobState.FAILED: 1, JobState.DONE: 1}
    assert world.job("a").reason == "bad_file"
    assert sorted(path.name for path in world.outputs.root.iterdir()) == ["a.mp4.bad", "b.mp4"]
    assert world.store.money(world.batch.id).spent == 200
    assert len(world.provider.tries("a")) == 1
    assert exit_code(outcome) is ExitCode.SOME_FAILED


async def test_a_clip_without_the_sound_that_was_asked_for_is_a_bad_file(world):
    world = world()
    world.add("a", audio=True, aspect_ratio=AspectRatio.SQUARE)
    world.provider.script.write("download", "a", then=repeat(File(content=clip(5, "1:1", False, stamp="x"))))
    outcome = await world.run()
    assert outcome.counts == {JobState.FAILED: 1}
    assert "no sound" in world.job("a").message


async def test_a_clip_that_is_right_at_the_third_try_is_kept(world):
    world = world("a")
    world.provider.script.write("download", "a", *[File(content=lambda whole: whole[:2000])] * 2)
    await world.run()
    assert_has_its_clip(world, "a")


PAGES = {
    "HTML": b"<html>busy</html>",
    "JSON": b'{"error":{"code":429}}',
    "empty": lambda whole: b"",
}


@pytest.mark.parametrize("content", PAGES.values(), ids=PAGES)
async def test_a_page_in_the_place_of_the_clip_is_never_the_end_of_it(world, content):
    world = world("a", "b", service=(60.0, 60.0))
    world.provider.script.write("download", "a", *[File(content=content)] * 8)
    outcome = await world.run()
    assert outcome.counts == {JobState.FETCHING: 1, JobState.DONE: 1}
    assert outcome.left == 1
    assert exit_code(outcome) is ExitCode.PROVIDER
    assert [path.name for path in world.outputs.root.iterdir()] == ["b.mp4"]
    await world.run()
    assert_has_its_clip(world, "a")


ENDLESS = {
    "a page": File(content=b"<html>gone</html>"),
    "broken off": File(breaks_at=700),
    "in trouble": File(status=503),
    "redirected": File(status=302),
}


@pytest.mark.parametrize("file", ENDLESS.values(), ids=ENDLESS)
async def test_what_is_served_in_place_of_an_expired_clip_ends_it(world, file):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=2 * DAY)
    world.provider.script.write("download", "a", then=repeat(file))
    await world.run()
    assert world.job("a").reason == "expired"
    assert 3 <= len(world.provider.times("download")) <= 8


async def test_a_line_that_is_down_ends_no_clip(world):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=2 * DAY)
    world.provider.script.write("download", "a", then=repeat(File(status=None, error="ConnectError")))
    outcome = await world.run()
    assert (outcome.left, outcome.counts) == (1, {JobState.FETCHING: 1})


# a stream that breaks off

BROKEN = File(breaks_at=700, etag='"v1"')
GOES_ON = File(status=206, etag='"v1"')


@pytest.mark.parametrize(
    ("then", "starts", "addresses"),
    [
        pytest.param([GOES_ON], [None, 700], 1, id="is gone on with"),
        pytest.param([File(status=503), File(status=None), GOES_ON], [None, 700, 700, 700], 1, id="after trouble"),
        pytest.param(
            [File(status=206, etag='"v1"', breaks_at=700), GOES_ON], [None, 700, 1400], 1, id="and breaks again"
        ),
        pytest.param([File(etag='"v1"')], [None, 700], 1, id="comes again as a whole"),
        pytest.param([File(status=206, etag='"v2"'), None], [None, 700, None], 2, id="is another file"),
        pytest.param([File(status=206, part=(0, 9)), None], [None, 700, None], 2, id="is another part"),
        pytest.param([File(status=416), None], [None, 700, None], 2, id="is shorter now"),
        pytest.param([File(status=404), None], [None, 700, None], 2, id="is gone"),
    ],
)
async def test_a_stream_that_breaks_off(world, then, starts, addresses):
    world = world("a")
    world.provider.script.write("download", "a", BROKEN, *then)
    await world.run()
    assert_has_its_clip(world, "a")
    assert [rest and rest.start for rest in world.provider.rests] == starts
    assert world.provider.refetched[world.provider.task_of("a").id] == addresses
    assert [path.name for path in world.outputs.root.iterdir()] == ["a.mp4"]


async def test_a_stream_without_a_name_begins_anew_at_a_fresh_address(world):
    world = world("a")
    world.provider.script.write("download", "a", File(breaks_at=700))
    await world.run()
    assert world.provider.rests == [None, None]


async def test_a_stream_that_breaks_off_for_ever_is_left_for_the_next_run(world):
    world = world("a")
    world.provider.script.write(
        "download",
        "a",
        then=repeat(File(status=206, etag='"v1"', breaks_at=0)),
    )
    outcome = await world.run()
    assert outcome.left == 1
    assert not world.outputs.root.exists()


# what an earlier run did not live to record (C11)


def saved_and_not_recorded(world, key, content=None):
    """The clip has its name, durably; `done` was never committed."""
    task = world.prepare(key, JobState.FETCHING, ago=90.0)
    part = world.outputs.part(f"{key}.mp4", owner=task.id)
    part.write(content or task.content)
    part.sync()
    part.publish()
    part.close()


async def test_a_clip_that_has_its_name_is_not_fetched_again(world):
    world = world("a")
    saved_and_not_recorded(world, "a")
    world.provider.outages.append((0.0, DAY, refusal(404, "task_not_found")))
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 1}
    assert_has_its_clip(world, "a")
    assert world.provider.requests == []
    assert [path.name for path in world.outputs.root.iterdir()] == ["a.mp4"]


async def test_a_file_with_its_name_that_is_damaged_since_is_fetched_again(world):
    world = world("a")
    saved_and_not_recorded(world, "a", content=b"damaged")
    await world.run()
    assert_has_its_clip(world, "a")
    assert (world.outputs.root / "a.mp4").read_bytes() == b"damaged"


async def test_a_file_that_is_too_large_three_times_is_bad(world, monkeypatch):
    monkeypatch.setattr(transfer, "MAX_CLIP_BYTES", 1000)
    world = world("a")
    outcome = await world.run()
    assert outcome.counts == {JobState.FAILED: 1}
    assert (world.job("a").reason, len(world.provider.times("download"))) == ("bad_file", 3)
    assert [path.name for path in world.outputs.root.iterdir()] == ["a.mp4.bad"]


async def test_an_announced_length_that_is_absurd_is_no_full_disk(world):
    world = world("a", "b")
    world.provider.script.write("download", "a", File(length=10**15))
    outcome = await world.run()
    assert outcome.stops == set()
    assert outcome.counts == {JobState.DONE: 2}


async def test_a_clip_that_would_fill_the_disk_is_not_begun_and_nothing_more_is_bought(world, monkeypatch):
    world = world(*named(20), limits=Limits(max_in_flight=4))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000, total=1000))
    outcome = await world.run()
    assert outcome.stops == {Stop.STORAGE}
    assert sum(world.provider.sold.values()) <= 8
    assert outcome.counts[JobState.FETCHING] == outcome.left == sum(world.provider.sold.values())
    assert list(world.outputs.root.glob("*")) == []


async def test_a_clip_that_expired_fails_for_good(world):
    world = world("a", "b", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=2 * DAY)
    outcome = await world.run()
    assert outcome.counts == {JobState.FAILED: 1, JobState.DONE: 1}
    assert world.job("a").reason == "expired"


@pytest.mark.parametrize("dead", [1, 2])
async def test_a_clip_that_seems_expired_is_fetched_from_a_fresh_address(world, dead):
    """Our clock may be ahead, and what the provider says of the end may be wrong."""
    world = world("a", service=(60.0, 60.0))
    world.provider.lifetimes["a"] = -HOUR
    answers = [File(status=404)] * dead + [File()]
    world.provider.script.write("download", "a", *answers)
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 1}
    assert_has_its_clip(world, "a")


async def test_three_fresh_addresses_fail_before_a_clip_is_given_up(world):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=2 * DAY)
    await world.run()
    assert world.job("a").reason == "expired"
    assert len(world.provider.times("download")) == 3
    assert world.provider.refetched[world.provider.task_of("a").id] == 3


async def test_a_clip_that_is_unknown_but_not_expired_is_left_for_the_next_run(world):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=HOUR)
    world.provider.script.write("poll", "a", then=repeat(refusal(404, "task_not_found")))
    outcome = await world.run()
    assert outcome.counts == {JobState.FETCHING: 1}
    assert outcome.left == 1
    world.provider.script.write("poll", "a")
    await world.run()
    assert_has_its_clip(world, "a")


async def test_a_clip_is_fetched_while_it_lives_however_long_the_outage(world):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.RUNNING, ago=50.0)
    world.provider.script.write("download", "a", *repeat(File(status=503), 7))
    await world.run()
    assert_has_its_clip(world, "a")


async def test_polls_for_a_fresh_address_that_fail_are_tried_again(world):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=90.0)
    world.provider.script.write("poll", "a", refusal(500), unreachable(), Reply(body=b"<html>"), refusal(429))
    await world.run()
    assert_has_its_clip(world, "a")


async def test_asking_for_a_fresh_address_keeps_to_the_floor(world):
    world = world("a")
    world.provider.script.write("download", "a", File(status=404), File(status=404))
    await world.run()
    assert min(gaps(world.provider.polls("a"))) >= 5.0


async def test_asking_for_a_fresh_address_waits_for_a_held_lane(world):
    world = world("a", "b", service=(300.0, 300.0))
    world.prepare("a", JobState.FETCHING, ago=600.0)
    world.prepare("b", JobState.RUNNING, ago=10.0)
    world.provider.script.write("download", "a", *[File(status=404)] * 6)
    world.provider.script.write("poll", "b", refusal(429, retry_after=60))
    await world.run()
    refused = world.provider.polls("b")[0] + world.provider.takes["poll"]
    assert [at for at in world.provider.times("poll") if refused < at < refused + 59.9] == []


async def test_a_key_that_may_not_ask_for_an_address_leaves_the_clip_for_the_next_run(world):
    world = world("a", service=(60.0, 60.0))
    world.prepare("a", JobState.FETCHING, ago=90.0)
    world.provider.script.write("poll", "a", refusal(401))
    outcome = await world.run()
    assert outcome.counts == {JobState.FETCHING: 1}
    assert outcome.stops == {Stop.ACCOUNT}
    assert outcome.left == 1
    await world.run()
    assert_has_its_clip(world, "a")


async def test_no_more_is_bought_than_can_be_fetched(world):
    world = world(*named(60), limits=Limits(max_in_flight=5))
    world.provider.script.write("download", "*", then=repeat(File(status=503)))
    await world.run()
    assert sum(world.provider.sold.values()) <= 3 * 5


class FullDisk(OutputFolder):
    """A folder that has room for some clips only."""

    def __init__(self, root, *, room):
        super().__init__(root)
        self.room = room

    def part(self, output, *, owner):
        if self.room == 0:
            raise StorageError("the disk is full")
        self.room -= 1
        return super().part(output, owner=owner)


async def test_a_full_disk_ends_the_run_and_every_job_keeps_its_state(world):
    world = world(*named(12), limits=Limits(max_in_flight=6), service=(60.0, 300.0))
    outcome = await world.run(outputs=FullDisk(world.outputs.root, room=3))
    assert outcome.stops == {Stop.STORAGE}
    assert outcome.counts[JobState.DONE] == 3
    assert set(outcome.counts) <= {JobState.DONE, JobState.FETCHING, JobState.PENDING}  # what was made is asked about
    assert world.store.batch("batch").paused == "disk"
    assert exit_code(outcome) is ExitCode.STORAGE
    outcome = await world.run()
    assert outcome.counts == {JobState.DONE: 12}
    assert world.provider.sold == dict.fromkeys(named(12), 1)


async def test_a_folder_that_takes_nothing_keeps_no_clip_from_another(world):
    clips = {day: {f"{day}/{number}" for number in range(6)} for day in ("mon", "tue")}
    world = world(*sorted(clips["mon"]), *sorted(clips["tue"]), limits=Limits(max_in_flight=12, downloads=1))
    world.outputs.root.mkdir()
    (world.outputs.root / "mon").write_bytes(b"a file of the user's")
    outcome = await world.run()
    assert outcome.stops == {Stop.STORAGE}
    assert (world.keys(JobState.DONE), world.keys(JobState.FETCHING)) == (clips["tue"], clips["mon"])
    assert outcome.left == 6
    (world.outputs.root / "mon").unlink()
    assert (await world.run()).counts == {JobState.DONE: 12}
    assert world.provider.sold == dict.fromkeys(clips["mon"] | clips["tue"], 1)


async def test_a_full_disk_lets_a_submission_under_way_be_recorded(world):
    world = world("a", "b", service=(60.0, 60.0), limits=Limits(submit_slots=1, max_in_flight=2))
    world.prepare("a", JobState.FETCHING, ago=90.0)
    world.provider.takes["submit"] = 20.0
    outcome = await world.run(outputs=FullDisk(world.outputs.root, room=0))
    assert outcome.counts == {JobState.FETCHING: 2}
    assert world.provider.sold == {"a": 1, "b": 1}


async def test_a_file_that_is_not_ours_is_not_replaced(world):
    world = world("a")
    world.outputs.root.mkdir()
    (world.outputs.root / "a.mp4").write_bytes(b"somebody else's")
    await world.run()
    assert_has_its_clip(world, "a")
    assert (world.outputs.root / "a.mp4").read_bytes() == b"somebody else's"
    assert (world.outputs.root / "a (2).mp4").exists()
