"""What `plan` decides, SQL decides as well: random manifests one after the other, on both stores."""

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchrunner import plan
from batchrunner.errors import StorageError
from batchrunner.model import Answer, Clip, Frame, Intent, VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.states import JobState as S
from batchrunner.store.base import Redo
from batchrunner.store.memory import MemoryStore
from batchrunner.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ANSWER = Answer(rule="R")
CLIP = Clip(path="a.mp4", bytes=1, sha256="c" * 64, duration=5.0, width=16, height=9, sound=False)
STEPS = {
    S.PENDING: [],
    S.SUBMITTING: ["intent"],
    S.IN_DOUBT: ["intent", "unanswered"],
    S.RUNNING: ["intent", "accepted"],
    S.FETCHING: ["intent", "accepted", "finished"],
    S.DONE: ["intent", "accepted", "finished", "saved"],
    "refused": ["intent", "refused"],
    "task failed": ["intent", "accepted", "task_failed"],
    "vanished": ["intent", "accepted", "vanished"],
    "rejected": ["rejected"],
}
FRAMES = [Frame(source=f"{name}.png", sha256=name * 64, local=name != "u") for name in "fgu"]


def wanted(key, content, position, frames=()):
    asked = VideoRequest(prompt=f"content {content}", frames=frames)
    return WantedJob(
        key=key,
        fingerprint=fingerprint(asked),
        request=asked,
        output=f"{content}/{key}.mp4",
        position=position,
        tags=("t",) if content % 2 else (),
    )


def bring(store, job, steps):
    verbs = {
        "intent": lambda: store.record_intent(
            job.id, Intent(purchase_id=f"p{job.id}-{job.attempts}", body_sha256="0", price=7), cap=None, now=NOW
        ),
        "unanswered": lambda: store.record_unanswered(job.id, ANSWER, reason="x", now=NOW),
        "accepted": lambda: store.record_accepted(job.id, f"t{job.id}-{job.attempts}", ANSWER, now=NOW),
        "finished": lambda: store.record_finished(job.id, expires_at=None, now=NOW),
        "saved": lambda: store.record_saved(job.id, CLIP, now=NOW),
        "refused": lambda: store.record_refused(job.id, ANSWER, reason="x", now=NOW),
        "task_failed": lambda: store.record_task_failed(job.id, reason="x", message="x", now=NOW),
        "vanished": lambda: store.record_vanished(job.id, message="x", now=NOW),
        "rejected": lambda: store.record_rejected(job.id, reason="x", message="x", now=NOW),
    }
    for step in steps if job.state is S.PENDING else []:
        assert verbs[step]()


def manifests():
    one = st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.lists(st.sampled_from(FRAMES), max_size=2))
    return st.lists(one, max_size=6, unique_by=lambda job: job[0])


def told(store, **asked):
    """All that the store says of the jobs that were compared, but where clips lie that are saved: those stay there."""
    sent = list(store.planned(to_send=True))
    assert sent == [one for one in store.planned() if one.verdict.is_sent]
    every = [replace(one, output="") if one.state is S.DONE else one for one in store.planned()]
    return sent, every, store.purchases(**asked), list(store.outgoing(**asked))


STATES = st.lists(st.sampled_from(list(STEPS)), min_size=6, max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(manifests(), STATES), min_size=2, max_size=5),
    st.sampled_from([None, "[a-c]"]),
    st.sampled_from([(), ("t",)]),
    st.none() | st.integers(0, 3),
    st.sets(st.sampled_from(["changed", "failed"])),
)
@example(  # a clip that is saved goes on under another key, and stays where it lies
    [
        ([("a", 1, []), ("b", 0, []), ("c", 0, [])], [S.PENDING, S.PENDING, S.DONE]),
        ([("a", 0, [])], [S.PENDING]),
    ],
    None,
    (),
    None,
    set(),
)
def test_the_same_plan_in_python_and_in_sql(history, only, tags, limit, again):
    with tempfile.TemporaryDirectory() as folder:
        stores = MemoryStore(), SqliteStore.open(Path(folder) / "b.db")
        for store in stores:
            batch, other = (store.open_batch(name, endpoint="x", currency=None, now=NOW).id for name in "bo")
        for manifest, states in history:
            jobs = [wanted(key, content, n, tuple(frames)) for n, (key, content, frames) in enumerate(manifest)]
            asked = {"only": only, "tags": tags, "limit": limit}
            redo = Redo(changed="changed" in again, failed="failed" in again, **asked)
            made = plan.plan(jobs, list(stores[1].stored_jobs(batch)), redo=redo)
            for store in stores:
                assert store.compare(batch, iter(jobs), redo=redo) == plan.compared(made)
            assert stores[0].purchases(**asked) == stores[1].purchases(**asked)
            assert list(stores[0].outgoing(**asked)) == list(stores[1].outgoing(**asked))
            assert list(stores[0].planned()) == list(stores[1].planned())
            for store in stores:
                store.adopt(batch, now=NOW)
                store.compare(other, jobs[:1])  # what another batch asks for changes nothing here
            rows = [list(store.jobs(batch, wanted_only=False)) for store in stores]
            assert rows[0] == rows[1]
            for store in stores:
                for job, state in zip(list(store.jobs(batch)), states, strict=False):
                    bring(store, job, STEPS[state])
                if not again and not plan.compared(made).changed:  # where the same manifest need not be expanded again
                    compared = store.compare(batch, jobs), told(store, **asked)
                    assert (store.recall(batch), told(store, **asked)) == compared
                    store.adopt(batch, now=NOW)
                    assert list(store.jobs(batch)) == list(stores[0].jobs(batch))
        stores[1].close()


@pytest.fixture
def store(tmp_path):
    with_jobs = SqliteStore.open(tmp_path / "b.db")
    batch = with_jobs.open_batch("b", endpoint="x", currency=None, now=NOW)
    with_jobs.compare(batch.id, [wanted("a", 1, 0), wanted("b", 2, 1)])
    with_jobs.adopt(batch.id, now=NOW)
    yield with_jobs
    with_jobs.close()


def test_nothing_changes_before_it_is_adopted(store):
    before = list(store.jobs(1, wanted_only=False))
    assert store.compare(1, [wanted("a", 3, 0), wanted("c", 2, 1)]).to_send == 2
    assert list(store.jobs(1, wanted_only=False)) == before
    store.adopt(1, now=NOW)
    assert [(job.key, job.request.prompt) for job in store.jobs(1)] == [("a", "content 3"), ("c", "content 2")]


def test_a_comparison_is_adopted_once(store):
    store.compare(1, [wanted("a", 1, 0)])
    store.adopt(1, now=NOW)
    store.adopt(1, now=NOW)
    assert [job.key for job in store.jobs(1)] == ["a"]


def test_two_jobs_with_one_key_change_nothing(store):
    before = list(store.jobs(1))
    store.compare(1, [wanted("c", 1, 0), replace(wanted("c", 3, 0))])
    with pytest.raises(StorageError):
        store.adopt(1, now=NOW)
    assert list(store.jobs(1)) == before
