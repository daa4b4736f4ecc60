"""The writer: shared commits, results only after the commit, and an end at the first commit that fails."""

import gc
import threading
import weakref
from contextlib import contextmanager
from datetime import UTC, datetime

import anyio
import pytest

from batchrunner.errors import StorageError
from batchrunner.model import Answer, Clip, Intent, VideoRequest, WantedJob
from batchrunner.states import JobState
from batchrunner.store.base import Changes
from batchrunner.store.memory import MemoryStore
from batchrunner.store.sqlite import SqliteStore
from batchrunner.store.writer import Writer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOBS = 50
OK = Answer(rule="R1", http_status=200)
CLIP = Clip(path="c.mp4", bytes=1, sha256="0" * 64, duration=5.0, width=1280, height=720, sound=False)


class Watched:
    """A store that counts its commits, and fails them on demand."""

    def __init__(self, store):
        self.store = store
        self.commits = 0
        self.depth = 0
        self.fails = False
        self.gate = None
        self.threads = set()

    def __getattr__(self, name):
        return getattr(self.store, name)

    @contextmanager
    def transaction(self):
        if self.gate is not None:
            self.gate.wait()
        self.threads.add(threading.current_thread())
        self.depth += 1
        try:
            with self.store.transaction():
                yield
                if self.depth == 1 and self.fails:
                    raise StorageError("the disk is full", fix="free some space")
            self.commits += self.depth == 1
        finally:
            self.depth -= 1


@pytest.fixture(params=[MemoryStore, SqliteStore], ids=lambda kind: kind.__name__)
def store(request, tmp_path):
    store = MemoryStore() if request.param is MemoryStore else SqliteStore.open(tmp_path / "batch.db")
    batch = store.open_batch("b", endpoint="e", currency=None, now=NOW)
    added = tuple(
        WantedJob(key=f"k{n}", fingerprint="f", request=VideoRequest(prompt="p"), output="o", position=n)
        for n in range(JOBS)
    )
    store.apply(batch.id, Changes(added=added), now=NOW)
    yield Watched(store)
    store.close()


@pytest.fixture(params=[True, False], ids=["inline", "thread"])
def writer(request, store):
    return Writer(store, inline=request.param)


def intent(number):
    return Intent(purchase_id=f"p{number}", body_sha256="d", price=1)


async def claim(writer, store, number, results=None):
    attempt = await writer.run(store.record_intent, number, intent(number), cap=None, now=NOW)
    if results is not None:
        results[number] = attempt
    return attempt


async def test_a_call_returns_what_the_verb_returns(writer, store):
    assert await claim(writer, store, 1) == 1
    assert await claim(writer, store, 1) is None
    assert await writer.run(store.counts, 1) == {JobState.PENDING: JOBS - 1, JobState.SUBMITTING: 1}


async def test_calls_that_are_ready_together_share_commits(writer, store):
    results = {}
    async with anyio.create_task_group() as tasks:
        for number in range(1, JOBS + 1):
            tasks.start_soon(claim, writer, store, number, results)
    assert sorted(results.values()) == list(range(1, JOBS + 1))
    assert store.counts(1) == {JobState.SUBMITTING: JOBS}
    assert 1 <= store.commits <= 5


async def test_results_come_only_after_the_commit(store):
    writer = Writer(store)
    store.gate = threading.Event()
    results = {}
    async with anyio.create_task_group() as tasks:
        for number in range(1, 4):
            tasks.start_soon(claim, writer, store, number, results)
        await anyio.wait_all_tasks_blocked()
        assert results == {}
        store.gate.set()
    assert len(results) == 3
    assert threading.main_thread() not in store.threads


async def test_inline_commits_stay_on_the_loop(store):
    await claim(Writer(store, inline=True), store, 1)
    assert store.threads == {threading.main_thread()}


async def test_one_call_that_fails_is_undone_alone(writer, store):
    def two_steps_and_a_mistake(number):
        store.record_intent(number, intent(number), cap=None, now=NOW)
        raise LookupError(number)

    failures, results = [], {}

    async def mistaken(number):
        try:
            await writer.run(two_steps_and_a_mistake, number)
        except LookupError as error:
            failures.append(error.args[0])

    async with anyio.create_task_group() as tasks:
        for number in range(1, 11):
            if number % 5 == 0:
                tasks.start_soon(mistaken, number)
            else:
                tasks.start_soon(claim, writer, store, number, results)
    assert sorted(failures) == [5, 10]
    assert len(results) == 8
    assert store.counts(1) == {JobState.PENDING: JOBS - 8, JobState.SUBMITTING: 8}
    assert await claim(writer, store, 5)


async def test_a_commit_that_fails_fails_everybody_and_is_never_repeated(writer, store):
    assert await claim(writer, store, 1)
    store.fails = True
    failures = []

    async def doomed(number):
        with pytest.raises(StorageError, match="disk is full") as caught:
            await claim(writer, store, number)
        failures.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for number in range(2, 8):
            tasks.start_soon(doomed, number)
    assert len(set(map(id, failures))) == 6
    assert {failure.fix for failure in failures} == {"free some space"}
    store.fails = False
    commits = store.commits
    with pytest.raises(StorageError, match="disk is full"):
        await claim(writer, store, 9)
    await writer.close()
    assert store.commits == commits
    assert store.counts(1) == {JobState.PENDING: JOBS - 1, JobState.SUBMITTING: 1}


async def test_a_cancelled_caller_loses_no_write(store):
    writer = Writer(store)
    store.gate = threading.Event()
    results = {}
    async with anyio.create_task_group() as tasks:
        for number in range(1, 6):
            tasks.start_soon(claim, writer, store, number, results)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        store.gate.set()
    assert sorted(results) == [1, 2, 3, 4, 5]  # each learned what became of its call
    assert store.counts(1)[JobState.SUBMITTING] == 5


async def test_a_caller_that_is_cancelled_before_leaves_no_trace(writer, store):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await claim(writer, store, 1)
    assert scope.cancelled_caught
    await writer.close()
    assert store.counts(1) == {JobState.PENDING: JOBS}


async def test_close_carries_out_what_is_queued(store):
    writer = Writer(store)
    store.gate = threading.Event()
    results = {}
    async with anyio.create_task_group() as tasks:
        for number in range(1, 6):
            tasks.start_soon(claim, writer, store, number, results)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(writer.close)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert len(results) == 5
    with pytest.raises(StorageError, match="has ended"):
        await claim(writer, store, 7)


async def test_what_is_deferred_is_carried_out_in_its_turn_without_a_commit_of_its_own(writer, store):
    assert await claim(writer, store, 1)
    commits = store.commits
    writer.defer(store.record_accepted, 1, "t1", OK, now=NOW)
    deferred = writer.defer(store.record_finished, 1, expires_at=None, now=NOW)
    await anyio.wait_all_tasks_blocked()
    assert store.commits == commits
    assert await writer.run(store.record_saved, 1, CLIP, now=NOW)  # only after the other two
    assert store.commits == commits + 1
    assert store.counts(1) == {JobState.PENDING: JOBS - 1, JobState.DONE: 1}
    await writer.reach(deferred)
    await writer.flush()
    assert store.commits == commits + 1


async def test_who_can_wait_a_moment_shares_the_commit_of_who_comes_in_it(writer, store):
    await claim(writer, store, 1)
    commits, told = store.commits, []

    async def accept():
        told.append(await writer.join(store.record_accepted, 1, "t1", OK, now=NOW))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        await anyio.wait_all_tasks_blocked()
        assert (store.commits, told) == (commits, [])
        await claim(writer, store, 2)
    assert (store.commits, told) == (commits + 1, [True])


async def test_who_waits_a_moment_waits_no_longer_when_nobody_comes(writer, store):
    await claim(writer, store, 1)
    assert await writer.join(store.record_accepted, 1, "t1", OK, now=NOW)
    assert store.counts(1)[JobState.RUNNING] == 1


@pytest.mark.parametrize("stop", ["cancelled", "closed"])
async def test_who_waits_a_moment_loses_nothing_when_the_run_ends_in_it(writer, store, stop):
    await claim(writer, store, 1)
    told = []

    async def accept():
        told.append(await writer.join(store.record_accepted, 1, "t1", OK, now=NOW))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        await anyio.wait_all_tasks_blocked()
        if stop == "closed":
            await writer.close()
        else:
            tasks.cancel_scope.cancel()
    assert told == [True]
    assert store.counts(1)[JobState.RUNNING] == 1


@pytest.mark.parametrize("end", ["flush", "reach", "close"])
async def test_what_is_deferred_needs_nobody_else(writer, store, end):
    await claim(writer, store, 1)
    deferred = writer.defer(store.record_accepted, 1, "t1", OK, now=NOW)
    await (writer.reach(deferred) if end == "reach" else getattr(writer, end)())
    assert store.counts(1)[JobState.RUNNING] == 1


async def test_what_is_deferred_while_others_commit_joins_the_next_group(store):
    writer = Writer(store)
    store.gate = threading.Event()
    results = {}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, writer, store, 1, results)
        await anyio.wait_all_tasks_blocked()
        first = writer.defer(store.record_accepted, 1, "t1", OK, now=NOW)
        tasks.start_soon(claim, writer, store, 2, results)
        await anyio.wait_all_tasks_blocked()
        second = writer.defer(store.record_finished, 1, expires_at=None, now=NOW)
        tasks.start_soon(writer.reach, first)
        tasks.start_soon(writer.reach, second)
        tasks.start_soon(writer.flush)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert store.commits == 2
    assert store.counts(1) == {JobState.PENDING: JOBS - 2, JobState.SUBMITTING: 1, JobState.FETCHING: 1}


async def test_who_keeps_a_group_keeps_nothing_of_what_it_recorded(writer, store):
    class Clips:
        """Anything that a verb is told or answers."""

    clips = Clips()
    kept = weakref.ref(clips)
    group = writer.defer(lambda one: one, clips)
    del clips
    await writer.flush()
    await anyio.to_thread.run_sync(gc.collect)  # by the thread that carried it out, once that has let go of it
    assert kept() is None
    await writer.reach(group)


async def test_after_a_deferred_call_that_fails_nothing_is_recorded(writer, store):
    def mistaken():
        store.record_rejected(2, reason="r", message="m", now=NOW)
        raise StorageError("it is not so")

    writer.defer(store.record_rejected, 1, reason="r", message="m", now=NOW)
    deferred = writer.defer(mistaken)
    writer.defer(store.record_rejected, 3, reason="r", message="m", now=NOW)
    for number in (4, 5):
        with pytest.raises(StorageError, match="not so"):
            await claim(writer, store, number)
    with pytest.raises(StorageError, match="not so"):
        await writer.reach(deferred)
    with pytest.raises(StorageError, match="not so"):
        writer.defer(store.record_rejected, 6, reason="r", message="m", now=NOW)
    await writer.close()
    assert store.counts(1) == {JobState.PENDING: JOBS - 1, JobState.FAILED: 1}
    assert store.job(1).state is JobState.FAILED


async def test_a_commit_that_fails_is_told_to_whoever_comes_after_what_was_deferred(writer, store):
    writer.defer(store.record_rejected, 1, reason="r", message="m", now=NOW)
    store.fails = True
    with pytest.raises(StorageError, match="disk is full"):
        await writer.flush()
    store.fails = False
    with pytest.raises(StorageError, match="disk is full"):
        await claim(writer, store, 2)
    assert store.counts(1) == {JobState.PENDING: JOBS}
