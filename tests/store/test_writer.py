"""The writer: shared commits, results only after the commit, and an end at the first commit that fails."""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import anyio
import pytest

from batchrunner.errors import StorageError
from batchrunner.model import Intent, VideoRequest, WantedJob
from batchrunner.states import JobState
from batchrunner.store.base import Changes
from batchrunner.store.memory import MemoryStore
from batchrunner.store.sqlite import SqliteStore
from batchrunner.store.writer import Writer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
JOBS = 50


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
