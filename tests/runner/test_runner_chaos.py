"""Seeded lives: every fault at once, processes that die at random calls, and a ledger that is counted at the end.

A life is a batch that is run again and again until all its jobs are settled. Whoever sees a failure finds the seed in the
test's name, and `live(seed)` lives the very same life.
"""

import random
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from footage import stamp_of
from provider import File, Reply, Script, lost, refusal, saying, unanswered, unreachable
from trio.testing import MockClock
from world import HOUR, Watched, World, frame, named

from batchrunner.errors import StorageError
from batchrunner.events import JobMoved
from batchrunner.settings import Limits
from batchrunner.states import FINAL, JobState

LIMITS = Limits(max_in_flight=25, downloads=3)
RUNS = 120
"""A life that needs more runs than this goes round in circles."""


class Kill(BaseException):
    """The process is gone. Not an `Exception`: nothing of ours may catch it."""


class Life:
    """A process: it makes a number of calls, and then no more ever."""

    def __init__(self, calls):
        self.left = calls
        self.over = False

    def tick(self):
        """One call to the outside; this may be the moment."""
        self.left -= 1
        self.over = self.over or self.left == 0
        if self.over:
            raise Kill


class Mortal:
    """The provider as a process sees it. A request that has left goes on without its process."""

    def __init__(self, provider, life):
        self._provider, self._life = provider, life
        self.endpoint, self.account, self.prepare = provider.endpoint, provider.account, provider.prepare

    async def _call(self, request):
        self._life.tick()
        answer = await request()
        self._life.tick()
        return answer

    async def submit(self, body):
        return await self._call(partial(self._provider.submit, body))

    async def poll(self, task_id):
        return await self._call(partial(self._provider.poll, task_id))

    async def upload(self, image, **names):
        return await self._call(partial(self._provider.upload, image, **names))

    async def balance(self):
        return await self._call(self._provider.balance)

    @asynccontextmanager
    async def download(self, url, *, rest=None):
        self._life.tick()
        async with self._provider.download(url, rest=rest) as download:
            self._life.tick()
            yield download


def _foreign(provider, task):
    """The id of another job's task, whose own answer has long arrived."""
    asked = [r.about for r in provider.requests if r.operation == "poll" and r.about in provider.tasks]
    return {"id": asked[0] if asked else task.id}


def _other_answer(provider, task):
    """An answer about another task than the one that was asked about."""
    other = next(iter(provider.tasks.values()))
    return provider.report(task) if other is task else provider.finished(other)


SUBMITS = [
    (0.030, refusal(429, "rate_limit_exceeded", "slow down", retry_after=7)),
    (0.010, Reply(status=429, body=b"")),
    (0.010, refusal(429, "1303", "parallel task over resource pack limit")),
    (0.010, refusal(503, "rate_limit_unavailable")),
    (0.030, unreachable()),
    (0.010, refusal(500, "internal_error")),
    (0.010, Reply(status=500, body=b"", sells=True)),
    (0.010, lost(sells=True)),
    (0.005, lost(sells=False)),
    (0.005, unanswered()),
    (0.005, Reply(complete=False, body=b'{"id": "ta', sells=True)),
    (0.005, Reply(body=b"<html>please log in</html>")),
    (0.010, Reply(body=_foreign, sells=True)),
    (0.020, refusal(422, "content_policy_violation")),
    (0.020, refusal(400, "invalid_request")),
    (0.005, refusal(402, "insufficient_quota", "top up")),
    (0.100, Reply(takes=15.0, sells=True, body=lambda provider, task: {"id": task.id})),
]
POLLS = [
    (0.040, refusal(500, "internal_error")),
    (0.030, refusal(404, "task_not_found")),
    (0.020, unreachable()),
    (0.020, lost(sells=False)),
    (0.005, refusal(429, "rate_limit_exceeded", retry_after=5)),
    (0.020, Reply(body=b"<html>please log in</html>")),
    (0.020, saying("出图中")),
    (0.020, saying("completed")),
    (0.020, Reply(body=_other_answer)),
    (0.001, refusal(401, "unauthorized")),
]
DOWNLOADS = [
    (0.05, File(status=404)),
    (0.05, File(status=503)),
    (0.05, File(breaks_at=1000)),
    (0.05, File(content=lambda whole: whole[:-500], length=None)),
    (0.03, File(content=b"<html>")),
    (0.03, File(length=10)),
    (0.02, File(status=None, error="ConnectError")),
    (0.05, File(takes=90.0)),
]
UPLOADS = [(0.1, unreachable()), (0.1, refusal(500)), (0.05, refusal(429, retry_after=3))]
REFUSED_LATE = {"code": "x", "message": "sensitive"}
BALANCES = [(0.1, refusal(503)), (0.05, unreachable())]
MENU = {"submit": SUBMITS, "poll": POLLS, "download": DOWNLOADS, "upload": UPLOADS, "balance": BALANCES}


class Chaos(Script):
    """Every answer may be a fault."""

    def __init__(self, chance):
        super().__init__()
        self._chance = chance

    def next(self, operation, key):
        point = self._chance.random()
        for share, reply in MENU[operation]:
            point -= share
            if point < 0:
                return reply
        return None


class Story:
    """One life, as it was lived."""

    def __init__(self, world, settle):
        self.world, self.settle = world, settle
        self.runs = self.deaths = 0
        self.doubts_of_a_crash = []

    @property
    def history(self):
        """Everything that was seen, in order."""
        seen = [(e.at, e.key, e.state, e.task_id) for e in self.world.events if isinstance(e, JobMoved)]
        return seen, self.world.provider.requests, sorted(self.world.states().items())


def live(folder, files, scheduling, seed, jobs, *, kills=True, settle=0.0, outages=()):
    """Run a batch until all is settled; the same seed lives the same life. `outages` are (from, to, reply)."""
    scheduling._r = random.Random(seed)
    chance = random.Random(f"chaos {seed}")
    world = World(folder / "clips", limits=LIMITS, seed=seed, script=Chaos(random.Random(f"script {seed}")))
    keys = named(jobs)
    frames = frame(folder), frame(folder, "last.png", b"\x89PNG last")
    world.add(*keys[: jobs // 2])
    world.add(*keys[jobs // 2 : -jobs // 8], duration=10, audio=True)
    world.add(*keys[-jobs // 8 :], frames=frames)
    world.provider.fates |= dict.fromkeys(chance.sample(keys, jobs // 20), REFUSED_LATE)
    world.provider.outages += outages
    story = Story(world, settle)

    async def whole():
        while not settled(world):
            await one_run(story, files, chance, kills)

    anyio.run(whole, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    return story


def settled(world):
    """Whether nothing but a person can go on."""
    return set(world.states().values()) <= FINAL | {JobState.IN_DOUBT}


async def one_run(story, files, chance, kills):
    """One process, to its end or to its death."""
    world = story.world
    story.runs += 1
    assert story.runs <= RUNS, world.states()
    life = Life(int(chance.expovariate(1 / 700)) + 1 if kills else 0)
    files.before = files.after = life.tick
    doubts = len(world.keys(JobState.IN_DOUBT))
    limits = replace(LIMITS, max_in_flight=LIMITS.max_in_flight + doubts)  # a person gives the batch its room back
    room = max(limits.max_in_flight, world.store.in_flight(world.batch.id))  # doubts that were settled give theirs back
    world.provider.peaks.clear()
    store = Watched(world.store, begin=life.tick, commit=life.tick, done=life.tick)
    try:
        with anyio.fail_after(6 * HOUR):
            await world.runner(
                store=store, provider=Mortal(world.provider, life), limits=limits, settle=story.settle
            ).run()
    except* Kill:
        story.deaths += 1
        story.doubts_of_a_crash.append(len(world.keys(JobState.SUBMITTING)))
    except* StorageError:  # what those hear who shared the commit that died
        assert life.over
    assert world.provider.peaks["rows"] <= room
    assert world.store.in_flight(world.batch.id) <= room
    await anyio.sleep(chance.choice([0.0, 5.0, 600.0]))


def check(story):
    """The promise: nothing bought twice, nothing bought forgotten, every clip where it belongs."""
    world, provider = story.world, story.world.provider
    assert max(provider.sold.values()) == 1
    states = world.states()
    owners = {job.task_id: job for job in world.jobs() if job.task_id}
    for task in provider.tasks.values():
        owner = owners.get(task.id)
        assert owner.key == task.key if owner else states[task.key] is JobState.IN_DOUBT, task
    paths = Counter()
    for job in world.jobs():
        tries = {attempt.purchase_id for attempt in provider.tries(job.key)}
        assert len(tries) <= 1, job
        if job.state is JobState.DONE:
            paths[job.clip.path] += 1
            assert stamp_of(Path(job.clip.path).read_bytes()) == job.task_id
        elif job.state is JobState.FAILED:
            assert job.reason in {"content_policy", "invalid_request", "bad_file", "vanished"}, job
    assert max(paths.values()) == 1
    assert not list(world.outputs.root.glob("*.part")) or story.deaths
    assert max(story.doubts_of_a_crash, default=0) <= LIMITS.submit_slots
    assert Counter(states.values())[JobState.DONE] >= len(states) / 2


@pytest.mark.parametrize(("seed", "settle"), [(0, 0.0), (1, 300.0)])
def test_a_life_with_every_fault_buys_nothing_twice_and_forgets_nothing(tmp_path, files, scheduling, seed, settle):
    story = live(tmp_path, files, scheduling, seed, 300, settle=settle)
    check(story)
    assert story.deaths >= 3


def test_a_life_without_deaths(tmp_path, files, scheduling):
    check(live(tmp_path, files, scheduling, 1000, 100, kills=False))


def test_the_same_seed_lives_the_same_life(tmp_path, files, scheduling):
    histories = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        histories.append(live(tmp_path / name, files, scheduling, 77, 60).history)
    assert histories[0] == histories[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 148))
def test_many_lives(tmp_path, files, scheduling, seed):
    check(live(tmp_path, files, scheduling, seed, 200 + seed, settle=[0.0, 60.0, 900.0][seed % 3]))
