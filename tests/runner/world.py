"""One batch, one provider, one store, one folder: as many runs as it takes, on a clock that jumps."""

import hashlib
import json
import random
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import anyio
from footage import stamp_of
from provider import EPOCH, ScriptedProvider

from batchrunner.events import Beat, Held, JobMoved
from batchrunner.model import Answer, Frame, Intent, VideoRequest, WantedJob
from batchrunner.outputs import OutputFolder
from batchrunner.request import fingerprint
from batchrunner.runner.context import Options
from batchrunner.runner.loop import Runner
from batchrunner.settings import Limits
from batchrunner.states import JobState
from batchrunner.store.base import Changes
from batchrunner.store.memory import MemoryStore

HOUR = 3600.0
OK = Answer(rule="R1", http_status=200)


def wall():
    """The wall clock that goes with the virtual one."""
    return EPOCH + timedelta(seconds=anyio.current_time())


class World:
    """Everything that outlives a run."""

    def __init__(self, folder, *keys, limits=None, seed=0, **provider):
        self.seed = seed
        self.limits = limits or Limits()
        self.provider = ScriptedProvider(seed=seed, **provider)
        self.store = MemoryStore()
        self.batch = self.store.open_batch("batch", endpoint="scripted", currency="USD", now=EPOCH)
        self.outputs = OutputFolder(folder)
        self.events = []
        self.runs = 0
        self.add(*keys)

    def add(self, *keys, **request):
        """New wanted jobs."""
        place = len(list(self.store.jobs(self.batch.id, wanted_only=False)))
        added = [
            WantedJob(key=key, fingerprint=fingerprint(asked), request=asked, output=f"{key}.mp4", position=position)
            for position, key in enumerate(keys, place)
            for asked in [VideoRequest(prompt=key, **request)]
        ]
        self.store.apply(self.batch.id, Changes(added=tuple(added)), now=EPOCH)

    def orphan(self, *keys):
        """The manifest has these jobs no longer."""
        ids = tuple(self.job(key).id for key in keys)
        self.store.apply(self.batch.id, Changes(orphaned=ids), now=EPOCH)

    def runner(self, *, store=None, provider=None, limits=None, listener=None, outputs=None, **options):
        """A fresh run; each has its own chance, all of them follow from the seed."""
        self.runs += 1
        return Runner(
            batch=self.batch,
            store=store or self.store,
            provider=provider or self.provider,
            outputs=outputs or self.outputs,
            limits=limits or self.limits,
            options=Options(**options),
            now=wall,
            chance=random.Random(f"{self.seed}/{self.runs}"),
            listener=listener or self.events.append,
            private_urls={},
            inline_store=True,
        )

    async def run(self, *, hours=12.0, **options):
        """Run to the end, which comes within `hours` of virtual time."""
        with anyio.fail_after(hours * HOUR):
            return await self.runner(**options).run()

    # what became of it

    def job(self, key):
        """A job as stored."""
        return next(job for job in self.store.jobs(self.batch.id, wanted_only=False) if job.key == key)

    def jobs(self):
        """All jobs, wanted or not."""
        return list(self.store.jobs(self.batch.id, wanted_only=False))

    def states(self):
        """State by key."""
        return {job.key: job.state for job in self.jobs()}

    def keys(self, state):
        """The jobs in this state."""
        return {key for key, found in self.states().items() if found is state}

    def moves(self, key):
        """The states that the listener saw a job go through."""
        return [event.state for event in self.events if isinstance(event, JobMoved) and event.key == key]

    def holds(self):
        """The reasons that the listener was given for waiting."""
        return [event.reason for event in self.events if isinstance(event, Held)]

    def beats(self):
        """The signs of life."""
        return [event for event in self.events if isinstance(event, Beat)]

    # stores with a past

    def prepare(self, key, state, *, ago=0.0, not_before=None, purchase_id=None):
        """Bring a pending job to `state` as an earlier run would have, `ago` seconds before now."""
        then = wall() - timedelta(seconds=ago)
        job, store = self.job(key), self.store
        purchase = purchase_id or f"br_{key}"
        store.record_intent(job.id, Intent(purchase_id=purchase, body_sha256="0" * 64, price=None), cap=None, now=then)
        if state is JobState.SUBMITTING:
            return None
        if state is JobState.PENDING:
            store.record_returned(job.id, OK, reason="rate_limited", not_before=not_before, now=then)
            return None
        if state is JobState.IN_DOUBT:
            store.record_unanswered(job.id, OK, reason="no_answer", now=then)
            return None
        body = self.provider.prepare(job.request, image_urls=(), purchase_id=purchase)
        task = self.provider.sell(json.loads(body), ago=ago)
        store.record_accepted(job.id, task.id, OK, now=then)
        if state is JobState.FETCHING:
            store.record_finished(job.id, expires_at=EPOCH + timedelta(seconds=task.expires_at), now=then)
        return task


class Watched:
    """A store that calls out at each commit: before anything, right before it is durable, and right after."""

    def __init__(self, store, *, begin=lambda: None, commit=lambda: None, done=lambda: None):
        self._store, self._begin, self._commit, self._done = store, begin, commit, done
        self._depth = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    @contextmanager
    def transaction(self):
        outermost = self._depth == 0
        if outermost:
            self._begin()
        self._depth += 1
        try:
            with self._store.transaction():
                yield
                if outermost:
                    self._commit()
        finally:
            self._depth -= 1
        if outermost:
            self._done()


def assert_has_its_clip(world, key):
    """The job is done, and the file with its name is the clip of its own task."""
    job = world.job(key)
    assert job.state is JobState.DONE, (key, job.state, job.reason, job.message)
    content = Path(job.clip.path).read_bytes()
    assert stamp_of(content) == job.task_id
    assert world.provider.tasks[job.task_id].key == key
    assert job.clip.bytes == len(content)


def assert_rate(times, rate):
    """In no window did more requests leave than a bucket of that size lets through."""
    level, last = 0.0, None
    for at in sorted(times):
        level = max(level - (at - last) * rate.per_second, 0.0) if last is not None else 0.0
        level, last = level + 1, at
        assert level <= rate.burst + 1e-6, f"{level:.2f} requests in the bucket of {rate} at {at:.2f}"


def frame(folder, name="frame.png", content=b"\x89PNG picture"):
    """A local frame; nobody but the provider looks inside."""
    path = folder / name
    path.write_bytes(content)
    return Frame(source=str(path), sha256=hashlib.sha256(content).hexdigest(), local=True, size=(64, 36))


def named(count):
    """Keys for many jobs."""
    return [f"job-{number:03}" for number in range(count)]


def gaps(times):
    """Seconds between neighbours."""
    ordered = sorted(times)
    return [later - earlier for earlier, later in pairwise(ordered)]
