"""What every store does: the same suite over the one in memory and the one on SQLite."""

from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter

import pytest

from batchrunner.budget import Used
from batchrunner.diagnostic import Place
from batchrunner.errors import StorageError
from batchrunner.model import (
    Answer,
    AspectRatio,
    Asset,
    Clip,
    Frame,
    Intent,
    Mode,
    Money,
    Posting,
    Reading,
    ReplayProof,
    VideoRequest,
    WantedJob,
)
from batchrunner.purchase import key_fingerprint
from batchrunner.request import fingerprint
from batchrunner.states import IN_FLIGHT, TRANSITIONS, JobEvent, JobState, advance, sources
from batchrunner.store.base import Changes, Receipt, SourceFile, Without
from batchrunner.store.memory import MemoryStore
from batchrunner.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 22, 1, 0, 3, 123456, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
YES = Answer(rule="S200", http_status=200, request_id="req-1", candidate="task_1")
NO = Answer(rule="S400", http_status=400, code="invalid_prompt", message="the prompt was refused")
WORDS = "the console does not list it"
CLIP = Clip(path="a.mp4", bytes=10, sha256="c" * 64, duration=5.04, width=1280, height=720, sound=True)
RICH = VideoRequest(
    prompt="一只猫 [in the rain]",
    mode=Mode.PRO,
    duration=10,
    aspect_ratio=AspectRatio.PORTRAIT,
    frames=(
        Frame(source="a.png", sha256="a" * 64, local=True, size=(720, 1280)),
        Frame(source="https://example.com/b.png", sha256="b" * 64, local=False),
    ),
    audio=True,
    negative_prompt="blur",
    watermark=False,
)


@pytest.fixture(params=[MemoryStore, SqliteStore], ids=lambda kind: kind.__name__)
def store(request, tmp_path):
    store = MemoryStore() if request.param is MemoryStore else SqliteStore.open(tmp_path / "batch.db")
    yield store
    store.close()


def wanted(key, position=0, *, prompt=None, request=None):
    request = request or VideoRequest(prompt=prompt or key)
    place = Place(file="m.yaml", line=position + 1, column=3)
    return WantedJob(
        key=key, fingerprint=fingerprint(request), request=request, output=f"{key}.mp4", position=position, place=place
    )


def intent(name="p", price=100):
    return Intent(purchase_id=name, body_sha256="d" * 64, price=price)


def new_batch(store, *keys, name="b"):
    """A batch with one pending job for each key; its id and the jobs' ids."""
    batch = store.open_batch(name, endpoint="toapis.com", currency="USD", now=NOW)
    added = tuple(wanted(key, position) for position, key in enumerate(keys))
    store.apply(batch.id, Changes(added=added), now=NOW)
    ids = {job.key: job.id for job in store.jobs(batch.id)}
    return batch.id, *(ids[key] for key in keys)


VERBS = {
    JobEvent.CLAIMED: lambda s, i: s.record_intent(i, intent(f"p{i}"), cap=None, now=LATER),
    JobEvent.REJECTED: lambda s, i: s.record_rejected(i, reason="frame", message="too small", now=LATER),
    JobEvent.ACCEPTED: lambda s, i: s.record_accepted(i, f"t{i}", YES, now=LATER),
    JobEvent.REFUSED: lambda s, i: s.record_refused(i, NO, reason="invalid", now=LATER),
    JobEvent.RETURNED: lambda s, i: s.record_returned(i, NO, reason="busy", not_before=LATER, now=LATER),
    JobEvent.UNANSWERED: lambda s, i: s.record_unanswered(i, NO, reason="timeout", now=LATER),
    JobEvent.FOUND: lambda s, i: s.record_found(i, f"t{i}", now=LATER),
    JobEvent.FINISHED: lambda s, i: s.record_finished(i, expires_at=LATER, now=LATER),
    JobEvent.TASK_FAILED: lambda s, i: s.record_task_failed(i, reason="moderation", message="no", now=LATER),
    JobEvent.VANISHED: lambda s, i: s.record_vanished(i, message="404", now=LATER),
    JobEvent.MISATTRIBUTED: lambda s, i: s.record_misattributed(i, reason="stray", message="not ours", now=LATER),
    JobEvent.SAVED: lambda s, i: s.record_saved(i, CLIP, now=LATER),
    JobEvent.EXPIRED: lambda s, i: s.record_expired(i, message="too late", now=LATER),
    JobEvent.BAD_FILE: lambda s, i: s.record_bad_file(i, message="3 s instead of 5", now=LATER),
    JobEvent.ABSENT: lambda s, i: s.record_absent(i, note=WORDS, not_before=LATER, now=LATER),
    JobEvent.ABANDONED: lambda s, i: s.record_abandoned(i, note=WORDS, now=LATER),
    JobEvent.CANCELLED: lambda s, i: s.record_cancelled(i, note=WORDS, now=LATER),
    JobEvent.RETRIED: lambda s, i: s.record_retried(i, note=WORDS, now=LATER),
    JobEvent.REOPENED: lambda s, i: s.record_reopened(i, note=WORDS, now=LATER),
}
"""The verb of each event."""
PATHS = {
    JobState.PENDING: (),
    JobState.SUBMITTING: (JobEvent.CLAIMED,),
    JobState.IN_DOUBT: (JobEvent.CLAIMED, JobEvent.UNANSWERED),
    JobState.RUNNING: (JobEvent.CLAIMED, JobEvent.ACCEPTED),
    JobState.FETCHING: (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED),
    JobState.DONE: (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.SAVED),
    JobState.FAILED: (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.EXPIRED),
    JobState.CANCELLED: (JobEvent.CANCELLED,),
}
"""How a new job gets to a state, by verbs."""


def bring(store, job_id, state):
    for event in PATHS[state]:
        assert VERBS[event](store, job_id)


def snapshot(store, batch_id):
    return list(store.jobs(batch_id, wanted_only=False)), store.money(batch_id), store.counts(batch_id)


# transitions


def test_every_event_has_a_verb():
    assert set(VERBS) == set(JobEvent)
    assert set(PATHS) == set(JobState)


@pytest.mark.parametrize("event", VERBS)
@pytest.mark.parametrize("state", PATHS)
def test_a_verb_applies_exactly_where_the_table_says(store, state, event):
    batch_id, job_id, other = new_batch(store, "a", "other")
    bring(store, job_id, state)
    before = snapshot(store, batch_id)

    applied = bool(VERBS[event](store, job_id))

    assert applied == (event in TRANSITIONS[state])
    if applied:
        assert store.job(job_id).state == advance(state, event)
        assert store.counts(batch_id) == count_by_hand(store, batch_id)
        assert store.in_flight(batch_id) == int(advance(state, event) in IN_FLIGHT)
    else:
        assert snapshot(store, batch_id) == before
    assert store.job(other).state == JobState.PENDING


def count_by_hand(store, batch_id):
    states = [job.state for job in store.jobs(batch_id)]
    return {state: states.count(state) for state in JobState if state in states}


@pytest.mark.parametrize("event", VERBS)
def test_a_job_that_does_not_exist_is_not_moved(store, event):
    new_batch(store, "a")
    assert not VERBS[event](store, 99)


def test_a_job_that_does_not_exist_cannot_be_read(store):
    with pytest.raises(KeyError, match="99"):
        store.job(99)


def test_a_clip_from_the_manifest_to_the_disk(store):
    batch_id = store.open_batch("b", endpoint="toapis.com", currency=None, now=NOW).id
    store.apply(batch_id, Changes(added=(wanted("cat", request=RICH),)), now=NOW)
    (job,) = store.jobs(batch_id)
    assert (job.request, job.output, job.attempts, job.wanted) == (RICH, "cat.mp4", 0, True)

    assert store.record_intent(job.id, intent("p1"), cap=None, now=NOW)
    sent = store.job(job.id)
    assert (sent.state, sent.attempts, sent.purchase_id, sent.submitted_at) == (JobState.SUBMITTING, 1, "p1", NOW)
    assert store.record_accepted(job.id, "t1", YES, now=LATER)
    assert store.job(job.id).submitted_at == LATER
    assert store.record_progress(job.id, status="processing", progress=40, now=LATER)
    running = store.job(job.id)
    assert (running.task_id, running.provider_status, running.progress) == ("t1", "processing", 40)
    assert store.record_finished(job.id, expires_at=LATER, now=NOW)
    assert store.job(job.id).expires_at == LATER
    assert store.record_saved(job.id, CLIP, now=NOW)
    done = store.job(job.id)
    assert (done.state, done.clip, done.reason, done.purchase_id) == (JobState.DONE, CLIP, None, "p1")


def test_progress_that_is_no_news_is_not_written(store):
    _, job_id = new_batch(store, "a")
    assert not store.record_progress(job_id, status="queued", progress=None, now=NOW)
    bring(store, job_id, JobState.RUNNING)
    assert store.record_progress(job_id, status="queued", progress=None, now=NOW)
    assert not store.record_progress(job_id, status="queued", progress=None, now=LATER)
    assert store.record_progress(job_id, status="queued", progress=0, now=LATER)


def test_a_returned_job_keeps_its_purchase_and_waits(store):
    batch_id, job_id = new_batch(store, "a")
    store.record_intent(job_id, intent("p1"), cap=None, now=NOW)
    assert store.record_returned(job_id, NO, reason="busy", not_before=LATER, now=NOW)
    job = store.job(job_id)
    assert (job.purchase_id, job.attempts, job.reason, job.message) == ("p1", 0, "busy", NO.message)
    assert (job.not_before, job.submitted_at) == (LATER, None)
    assert store.sendable(batch_id, now=NOW, limit=9) == []
    assert store.record_intent(job_id, intent("p1"), cap=None, now=LATER)
    job = store.job(job_id)
    assert (job.attempts, job.reason, job.message, job.not_before) == (1, None, None, None)


@pytest.mark.parametrize(
    ("state", "event", "reason", "message"),
    [
        (JobState.PENDING, JobEvent.REJECTED, "frame", "too small"),
        (JobState.SUBMITTING, JobEvent.REFUSED, "invalid", NO.message),
        (JobState.SUBMITTING, JobEvent.UNANSWERED, "timeout", NO.message),
        (JobState.RUNNING, JobEvent.TASK_FAILED, "moderation", "no"),
        (JobState.RUNNING, JobEvent.VANISHED, "vanished", "404"),
        (JobState.RUNNING, JobEvent.MISATTRIBUTED, "stray", "not ours"),
        (JobState.FETCHING, JobEvent.EXPIRED, "expired", "too late"),
        (JobState.FETCHING, JobEvent.BAD_FILE, "bad_file", "3 s instead of 5"),
        (JobState.IN_DOUBT, JobEvent.ABANDONED, "abandoned", WORDS),
        (JobState.PENDING, JobEvent.CANCELLED, "cancelled", WORDS),
    ],
)
def test_a_job_says_why(store, state, event, reason, message):
    _, job_id = new_batch(store, "a")
    bring(store, job_id, state)
    VERBS[event](store, job_id)
    job = store.job(job_id)
    assert (job.reason, job.message) == (reason, message)
    assert type(job.reason) is str


def test_a_task_belongs_to_one_job(store):
    batch_id, a, b = new_batch(store, "a", "b")
    store.record_intent(a, intent("pa"), cap=None, now=NOW)
    store.record_intent(b, intent("pb"), cap=None, now=NOW)
    assert store.record_accepted(a, "t", YES, now=NOW)
    before = snapshot(store, batch_id)
    assert not store.record_accepted(b, "t", YES, now=NOW)
    assert snapshot(store, batch_id) == before
    assert store.record_unanswered(b, YES, reason="foreign_task", now=NOW)


def test_a_purchase_belongs_to_one_job(store):
    batch_id, a, b = new_batch(store, "a", "b")
    store.record_intent(a, intent("p"), cap=None, now=NOW)
    before = snapshot(store, batch_id)
    with pytest.raises(StorageError, match="rules"):
        store.record_intent(b, intent("p"), cap=None, now=NOW)
    assert snapshot(store, batch_id) == before


def test_a_job_has_at_most_one_open_attempt(store):
    batch_id, job_id = new_batch(store, "a")
    first = store.record_intent(job_id, intent("p"), cap=None, now=NOW)
    assert first is not None
    assert store.record_intent(job_id, intent("p"), cap=None, now=NOW) is None
    assert (store.job(job_id).attempts, store.money(batch_id).committed) == (1, 100)
    store.record_returned(job_id, NO, reason="busy", not_before=None, now=NOW)
    second = store.record_intent(job_id, intent("p"), cap=None, now=NOW)
    assert second not in (None, first)


def test_after_a_crash_every_unanswered_submission_is_in_doubt_and_nothing_else_moves(store):
    batch_id, *ids = new_batch(store, *"abcdefgh")
    for job_id, state in zip(ids, PATHS, strict=True):
        bring(store, job_id, state)
    other, stranger = new_batch(store, "x", name="other")
    bring(store, stranger, JobState.SUBMITTING)
    money = store.money(batch_id)

    assert store.recover(batch_id, now=LATER) == 1

    states = [store.job(job_id).state for job_id in ids]
    assert states == [JobState.IN_DOUBT if state is JobState.SUBMITTING else state for state in PATHS]
    job = store.job(ids[1])
    assert (job.reason, job.submitted_at, job.purchase_id) == ("crash", LATER, f"p{ids[1]}")
    assert "not sent again" in job.message
    assert store.money(batch_id) == money
    assert store.job(stranger).state == JobState.SUBMITTING
    assert store.recover(batch_id, now=LATER) == 0
    assert store.in_flight(other) == 1


def test_recovery_covers_jobs_that_the_manifest_dropped(store):
    batch_id, job_id = new_batch(store, "a")
    bring(store, job_id, JobState.SUBMITTING)
    store.apply(batch_id, Changes(orphaned=(job_id,)), now=NOW)
    assert store.recover(batch_id, now=NOW) == 1


# money


@pytest.mark.parametrize(
    ("path", "spent", "committed"),
    [
        ((), 0, 0),
        ((JobEvent.CLAIMED,), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.UNANSWERED), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.RETURNED), 0, 0),
        ((JobEvent.CLAIMED, JobEvent.REFUSED), 0, 0),
        ((JobEvent.CLAIMED, JobEvent.RETURNED, JobEvent.CLAIMED), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.UNANSWERED, JobEvent.FOUND), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.UNANSWERED, JobEvent.ABSENT), 0, 0),
        ((JobEvent.CLAIMED, JobEvent.UNANSWERED, JobEvent.ABSENT, JobEvent.CLAIMED), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.UNANSWERED, JobEvent.ABANDONED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.UNANSWERED, JobEvent.ABANDONED, JobEvent.RETRIED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.REFUSED, JobEvent.RETRIED), 0, 0),
        ((JobEvent.CANCELLED, JobEvent.RETRIED), 0, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.EXPIRED, JobEvent.REOPENED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.MISATTRIBUTED), 0, 100),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.MISATTRIBUTED, JobEvent.ABSENT), 0, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.TASK_FAILED), 0, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.VANISHED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.SAVED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.EXPIRED), 100, 0),
        ((JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.BAD_FILE), 100, 0),
    ],
    ids=lambda path: "-".join(path) if isinstance(path, tuple) else "",
)
def test_money_follows_what_the_provider_did(store, path, spent, committed):
    batch_id, job_id = new_batch(store, "a")
    for event in path:
        assert VERBS[event](store, job_id)
    seconds = {"720P": 5} if spent or committed else {}
    assert store.money(batch_id) == Money(spent=spent, committed=committed, seconds=seconds)


def test_billing_seconds_and_unpriced_purchases(store):
    batch_id = store.open_batch("b", endpoint="e", currency=None, now=NOW).id
    added = (wanted("a"), wanted("b", 1), wanted("cat", 2, request=RICH))
    store.apply(batch_id, Changes(added=added), now=NOW)
    for job, price in zip(store.jobs(batch_id), (None, 7, None), strict=True):
        assert store.record_intent(job.id, intent(job.key, price), cap=5, now=NOW) is None  # nor what has no price
        if price is None:
            assert store.record_intent(job.id, intent(job.key, price), cap=None, now=NOW)
    assert store.money(batch_id) == Money(committed=0, seconds={"720P": 5, "1080P+Sound": 10}, unpriced=2)
    store.record_refused(1, NO, reason="x", now=NOW)
    assert store.money(batch_id) == Money(seconds={"1080P+Sound": 10}, unpriced=1)


def test_money_is_counted_by_batch(store):
    one, a = new_batch(store, "a", name="one")
    two, b = new_batch(store, "a", name="two")
    bring(store, a, JobState.RUNNING)
    assert (store.money(one).committed, store.money(two).committed) == (100, 0)
    assert store.record_intent(b, intent("pb"), cap=100, now=NOW)


def test_the_cap_counts_spent_committed_and_this_one(store):
    batch_id, *ids = new_batch(store, *"abcd")
    bring(store, ids[0], JobState.DONE)
    bring(store, ids[1], JobState.IN_DOUBT)
    before = snapshot(store, batch_id)
    assert store.record_intent(ids[2], intent("p3"), cap=299, now=NOW) is None
    assert snapshot(store, batch_id) == before
    assert store.record_intent(ids[2], intent("p3"), cap=300, now=NOW)
    assert store.record_intent(ids[3], intent("p4"), cap=300, now=NOW) is None
    store.record_refused(ids[2], NO, reason="x", now=NOW)
    assert store.record_intent(ids[3], intent("p4"), cap=300, now=NOW)


DAY, NEXT_DAY, NEXT_MONTH = date(2026, 11, 29), date(2026, 11, 30), date(2026, 12, 1)


TAGGED = {"a": ("night", "draft"), "b": ("night",), "plain": ()}


def on(day, name="p", price=100):
    return Intent(purchase_id=name, body_sha256="d" * 64, price=price, day=day)


def test_a_cap_for_the_day_counts_every_batch_of_the_currency(store):
    one, a, b = new_batch(store, "a", "b", name="one")
    two, c, d = new_batch(store, "c", "d", name="two")
    assert store.record_intent(a, on(DAY, "pa"), cap=None, per_day=150, now=NOW)
    assert store.record_intent(c, on(DAY, "pc"), cap=None, per_day=199, now=NOW) is None
    assert store.record_intent(c, on(DAY, "pc"), cap=None, per_day=200, now=NOW)
    assert store.record_intent(d, on(DAY, "pd"), cap=None, per_day=200, now=NOW) is None
    assert store.record_intent(d, on(DAY, "pd", price=None), cap=None, per_day=900, now=NOW) is None
    assert store.used(two, day=DAY) == Used(max_cost=100, per_day=200, per_month=200)
    assert store.record_intent(b, on(NEXT_DAY, "pb"), cap=None, per_day=100, per_month=300, now=NOW)
    assert store.used(one, day=NEXT_DAY) == Used(max_cost=200, per_day=100, per_month=300)
    assert store.used(one, day=NEXT_MONTH) == Used(max_cost=200)


def test_a_cap_for_the_month_begins_anew_with_the_month(store):
    _, a, b, c = new_batch(store, "a", "b", "c")
    assert store.record_intent(a, on(DAY, "pa"), cap=None, per_month=100, now=NOW)
    assert store.record_intent(b, on(NEXT_DAY, "pb"), cap=None, per_month=199, now=NOW) is None
    assert store.record_intent(b, on(NEXT_MONTH, "pb"), cap=None, per_month=100, now=NOW)
    assert (
        store.record_intent(c, on(NEXT_MONTH, "pc"), cap=199, per_month=900, now=NOW) is None
    )  # all caps hold at once


def test_money_that_comes_back_frees_its_own_day(store):
    batch_id, a, b, c = new_batch(store, "a", "b", "c")
    for job_id, name, day in ((a, "pa", DAY), (b, "pb", DAY), (c, "pc", NEXT_DAY)):
        assert store.record_intent(job_id, on(day, name), cap=None, now=NOW)
    store.record_accepted(a, "t1", YES, now=NOW)
    store.record_task_failed(a, reason="x", message="x", now=NOW)
    store.record_returned(b, NO, reason="x", not_before=None, now=NOW)
    assert store.used(batch_id, day=DAY) == Used(max_cost=100, per_day=0, per_month=100)
    assert store.record_intent(b, on(NEXT_DAY, "pb"), cap=None, now=LATER)  # sent again, it is of the day it is sent on
    store.record_unanswered(b, NO, reason="x", now=LATER)
    assert store.used(batch_id, day=NEXT_DAY) == Used(max_cost=200, per_day=200, per_month=200)


def test_a_cap_for_the_run_counts_what_this_run_bought(store):
    batch_id, a, b, c = new_batch(store, "a", "b", "c")
    first, second = (store.start_run(batch_id, pid=1, host="h", now=NOW) for _ in range(2))
    assert store.record_intent(a, replace(intent("pa"), run_id=first), cap=None, per_run=100, now=NOW)
    assert store.record_intent(b, replace(intent("pb"), run_id=first), cap=None, per_run=199, now=NOW) is None
    assert store.record_intent(b, replace(intent("pb"), run_id=second), cap=None, per_run=100, now=NOW)
    store.record_refused(b, NO, reason="x", now=NOW)
    assert store.record_intent(c, replace(intent("pc"), run_id=second), cap=None, per_run=100, now=NOW)
    assert store.used(batch_id, day=DAY, run_id=second).per_run == 100


def test_a_cap_for_a_tag_counts_the_jobs_that_had_it_when_they_were_bought(store):
    batch = store.open_batch("b", endpoint="toapis.com", currency="USD", now=NOW)
    tagged = [replace(wanted(key, place), tags=tags) for place, (key, tags) in enumerate(TAGGED.items())]
    store.apply(batch.id, Changes(added=tuple(tagged)), now=NOW)
    ids = {job.key: job.id for job in store.jobs(batch.id)}
    caps = {"night": 100, "draft": 300}
    assert store.record_intent(ids["a"], intent("pa"), cap=None, tags=caps, now=NOW)
    assert store.record_intent(ids["b"], intent("pb"), cap=None, tags=caps, now=NOW) is None
    assert store.record_intent(ids["plain"], intent("pp", None), cap=None, tags=caps, now=NOW)
    assert store.used(batch.id, day=DAY, tags=caps).tags == {"night": 100, "draft": 100}
    store.apply(batch.id, Changes(kept=((ids["a"], replace(tagged[0], tags=())),)), now=NOW)
    assert store.record_intent(ids["b"], intent("pb"), cap=None, tags=caps, now=NOW) is None
    store.record_refused(ids["a"], NO, reason="x", now=NOW)
    assert store.record_intent(ids["b"], intent("pb"), cap=None, tags=caps, now=NOW)


def test_what_may_not_be_sent_for_now_is_left_out(store):
    batch = store.open_batch("b", endpoint="toapis.com", currency="USD", now=NOW)
    tagged = [replace(wanted(key, place), tags=tags) for place, (key, tags) in enumerate(TAGGED.items())]
    rich = wanted("rich", 9, request=RICH)
    store.apply(batch.id, Changes(added=(*tagged, rich)), now=NOW)

    def sendable(**without):
        return [job.key for job in store.sendable(batch.id, now=NOW, limit=9, without=Without(**without))]

    assert sendable(tags=frozenset({"night"})) == ["plain", "rich"]
    assert sendable(kinds=frozenset({RICH.kind})) == ["a", "b", "plain"]
    assert sendable(tags=frozenset({"draft"}), kinds=frozenset({VideoRequest(prompt="x").kind})) == ["rich"]


def test_the_ledger_has_every_purchase_and_what_became_of_it(store):
    batch = store.open_batch("b", endpoint="toapis.com", currency="USD", now=NOW)
    store.apply(batch.id, Changes(added=(replace(wanted("a"), tags=("night",)), wanted("b", 1))), now=NOW)
    ids = {job.key: job.id for job in store.jobs(batch.id)}
    store.record_intent(ids["a"], on(DAY, "p1", price=7), cap=None, now=NOW)
    store.record_accepted(ids["a"], "t1", YES, now=NOW)
    store.record_task_failed(ids["a"], reason="task_failed", message="no", now=LATER)
    store.record_retried(ids["a"], note=WORDS, now=LATER)
    store.record_intent(ids["a"], on(DAY, "p2", price=7), cap=None, now=LATER)
    store.record_unanswered(ids["a"], NO, reason="no_answer", now=LATER)
    store.record_intent(ids["b"], on(DAY, "p3", price=None), cap=None, now=LATER)

    first, second, third = store.ledger()

    assert (first.batch, first.key, first.number, first.tags, first.day) == ("b", "a", 1, ("night",), DAY)
    assert (first.charge, first.outcome, first.is_last) == ("released", "task_failed", False)
    assert (first.task_id, first.answered_at, first.settled_at) == ("t1", NOW, LATER)
    assert (second.charge, second.settled_at, second.is_last, second.state) == (
        "committed",
        None,
        True,
        JobState.IN_DOUBT,
    )
    assert (third.price, third.purchase_id, third.billing_key, third.seconds) == (None, "p3", "720P", 5)
    assert [entry.purchase_id for entry in store.ledger(batch.id, since=LATER)] == ["p2", "p3"]
    assert list(store.ledger(99)) == []

    posting = attrgetter(*(one.name for one in fields(Posting)))
    same = [posting(entry) for entry in (first, second, third)]
    assert [posting(one) for one in store.postings("toapis.com", since=NOW)] == same
    assert [posting(one) for one in store.postings("toapis.com", since=LATER)] == same[1:]
    assert [posting(one) for one in store.postings("toapis.com", since=NOW, until=LATER)] == same[:1]
    assert list(store.postings("elsewhere", since=NOW)) == []


def test_a_take_that_a_person_asked_for_is_a_job_of_the_batch(store):
    batch_id, a = new_batch(store, "a")
    take = replace(wanted("a/t2", 0, prompt="closer"), tags=("night",), place=None)
    with pytest.raises(StorageError):
        store.add_takes(a, [take], note=" ", now=NOW)
    store.add_takes(a, [take], note=WORDS, now=NOW)
    with pytest.raises(StorageError):
        store.add_takes(a, [take], note=WORDS, now=NOW)
    assert store.asked(batch_id) == [take]
    assert [job.key for job in store.sendable(batch_id, now=NOW, limit=9)] == ["a", "a/t2"]
    store.record_intent(a, intent(), cap=None, now=NOW)
    (bought,) = store.ledger()
    assert bought.is_rerolled
    moved = store.compare(batch_id, [wanted("a"), *store.asked(batch_id)])
    assert (moved.orphaned, moved.to_send) == (0, 1)


def test_who_has_a_clip_is_found_by_its_output(store):
    batch_id, _, b, c = new_batch(store, "a", "b", "片")
    for job_id in (b, c):
        bring(store, job_id, JobState.DONE)
    store.apply(batch_id, Changes(orphaned=(c,)), now=LATER)
    assert store.saved_as(batch_id, {"a.mp4", "b.mp4", "片.mp4", "z.mp4"}) == [("b.mp4", f"t{b}"), ("片.mp4", f"t{c}")]
    assert store.saved_as(batch_id, set()) == []
    assert store.saved_as(99, {"b.mp4"}) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda s, b, a: s.apply(b, Changes(added=(wanted("c"),)), now=NOW),
        lambda s, b, a: s.apply(b, Changes(kept=((a, wanted("z")),)), now=NOW),
        lambda s, b, a: s.apply(b, Changes(replaced=((a, wanted("a", prompt="other")),)), now=NOW),
        lambda s, b, a: s.apply(b, Changes(orphaned=(a,)), now=NOW),
        lambda s, b, a: s.add_takes(a, [wanted("a/t2")], note=WORDS, now=NOW),
    ],
    ids=["added", "renamed", "replaced", "orphaned", "takes"],
)
def test_a_receipt_is_void_once_anything_wanted_changes(store, change):
    batch_id, a, b = new_batch(store, "a", "b")
    (other, _) = new_batch(store, "a", name="other")
    receipt = Receipt(manifest="/m.yaml", made_of="d", summary="{}")
    files = [SourceFile(path=f"/{name}", kind="content", identity=name) for name in "yx"]
    for one in (batch_id, other):
        store.record_receipt(one, receipt, files)
    store.record_receipt(batch_id, receipt, files[:1])
    for event in PATHS[JobState.DONE]:
        assert VERBS[event](store, b)
    store.record_cancelled(a, note=WORDS, now=LATER)
    store.record_retried(a, note=WORDS, now=LATER)
    assert store.receipts("/m.yaml") == [(batch_id, receipt), (other, receipt)]
    assert store.receipts("/n.yaml") == []
    assert list(store.receipt_sources(batch_id)) == files[:1]
    assert sorted(one.path for one in store.receipt_sources(other)) == ["/x", "/y"]
    change(store, batch_id, a)
    assert store.receipts("/m.yaml") == [(other, receipt)]


def test_kinds_are_counted_and_what_their_first_clips_say_is_kept(store):
    batch_id, a, b = new_batch(store, "a", "b")
    store.apply(batch_id, Changes(added=(wanted("rich", 9, request=RICH),)), now=NOW)
    plain = VideoRequest(prompt="a").kind
    assert store.waiting_kinds(batch_id) == {plain: 2, RICH.kind: 1}
    assert store.waiting_kinds(batch_id, only="a") == {plain: 1}
    mimic = replace(RICH, prompt='a label that says "frames":[] and nothing else')
    store.apply(batch_id, Changes(added=(wanted("mimic", 10, request=mimic),)), now=NOW)
    assert store.waiting_kinds(batch_id) == {plain: 2, RICH.kind: 2}
    store.record_verdict("toapis.com", plain, a, wrong=None, now=NOW)
    store.record_verdict("toapis.com", RICH.kind, b, wrong="no", now=NOW)
    store.record_verdict("elsewhere", plain, b, wrong="no", now=NOW)
    assert store.verdicts("toapis.com") == {plain: None, RICH.kind: "no"}
    store.record_verdict("toapis.com", RICH.kind, b, wrong=None, now=LATER)
    assert store.verdicts("toapis.com")[RICH.kind] is None


def test_other_currencies_have_caps_of_their_own(store):
    _, a = new_batch(store, "a", name="dollars")
    assert store.record_intent(a, on(DAY, "pa"), cap=None, now=NOW)
    euros = store.open_batch("euros", endpoint="toapis.com", currency="EUR", now=NOW)
    assert store.used(euros.id, day=DAY) == Used()


def test_intents_that_share_a_transaction_see_each_other(store):
    _, *ids = new_batch(store, *"abc")
    with store.transaction():
        made = [store.record_intent(job_id, intent(f"p{job_id}"), cap=250, now=NOW) for job_id in ids]
    assert [attempt is not None for attempt in made] == [True, True, False]


# transactions


class Boom(Exception):
    pass


def test_a_transaction_that_raises_changes_nothing(store):
    batch_id, a, b = new_batch(store, "a", "b")
    bring(store, b, JobState.RUNNING)
    before = snapshot(store, batch_id)

    def work():
        with store.transaction():
            bring(store, a, JobState.RUNNING)
            store.record_finished(b, expires_at=None, now=NOW)
            store.apply(batch_id, Changes(added=(wanted("new", 9),), orphaned=(b,)), now=NOW)
            store.pause(batch_id, "r", "m", now=NOW)
            store.record_asset(Asset(sha256="s", endpoint="e", url="https://x/y", uploaded_at=NOW))
            store.open_batch("another", endpoint="e", currency=None, now=NOW)
            raise Boom

    with pytest.raises(Boom):
        work()
    assert snapshot(store, batch_id) == before
    assert store.asset("s", endpoint="e") is None
    assert [batch.name for batch in store.batches()] == ["b"]
    assert store.batches()[0].paused is None
    bring(store, a, JobState.DONE)  # and works on


def test_a_block_inside_is_undone_alone(store):
    _, a, b, c = new_batch(store, "a", "b", "c")

    def fail():
        with store.transaction():
            bring(store, b, JobState.RUNNING)
            raise Boom

    with store.transaction():
        bring(store, a, JobState.RUNNING)
        with pytest.raises(Boom):
            fail()
        bring(store, c, JobState.SUBMITTING)
    states = [store.job(job_id).state for job_id in (a, b, c)]
    assert states == [JobState.RUNNING, JobState.PENDING, JobState.SUBMITTING]


def test_what_is_done_as_one_is_undone_as_one(store):
    _, a, b = new_batch(store, "a", "b")

    def fail():
        with store.transaction(), store.as_one():
            bring(store, a, JobState.RUNNING)
            bring(store, b, JobState.SUBMITTING)
            raise Boom

    with pytest.raises(Boom):
        fail()
    assert [store.job(job_id).state for job_id in (a, b)] == [JobState.PENDING, JobState.PENDING]
    with store.transaction(), store.as_one():
        bring(store, a, JobState.RUNNING)
        bring(store, b, JobState.SUBMITTING)
    assert [store.job(job_id).state for job_id in (a, b)] == [JobState.RUNNING, JobState.SUBMITTING]


# batches


def test_a_batch_is_made_once(store):
    batch = store.open_batch("b", endpoint="emulator", currency=None, now=NOW)
    again = store.open_batch("b", endpoint="emulator", currency="USD", now=LATER)
    assert (again.id, again.currency) == (batch.id, "USD")
    assert store.open_batch("b", endpoint="emulator", currency=None, now=LATER).currency == "USD"
    assert store.batch("b") == again
    assert store.batch("c") is None


def test_a_batch_keeps_its_endpoint_once_something_was_submitted(store):
    _, job_id = new_batch(store, "a")
    assert store.open_batch("b", endpoint="emulator", currency="USD", now=NOW).endpoint == "emulator"
    store.record_intent(job_id, intent(), cap=None, now=NOW)
    store.record_returned(job_id, NO, reason="busy", not_before=None, now=NOW)
    assert store.open_batch("b", endpoint="toapis.com", currency="USD", now=NOW).endpoint == "emulator"


def test_the_batch_last_worked_on_comes_first(store):
    ids = {name: store.open_batch(name, endpoint="e", currency=None, now=NOW).id for name in "abc"}
    assert [batch.name for batch in store.batches()] == ["c", "b", "a"]
    run = store.start_run(ids["a"], pid=1, host="h", now=LATER)
    store.finish_run(run, exit_code=0, now=LATER)
    store.start_run(ids["b"], pid=1, host="h", now=LATER + timedelta(hours=1))
    assert [batch.name for batch in store.batches()] == ["b", "a", "c"]


def test_a_pause_says_why_and_ends(store):
    batch_id, _ = new_batch(store, "a")
    store.pause(batch_id, "balance", "top up the account", now=NOW)
    batch = store.batch("b")
    assert (batch.paused, batch.paused_message) == ("balance", "top up the account")
    store.unpause(batch_id, now=LATER)
    assert store.batch("b").paused is None


# questions


def test_jobs_come_in_manifest_order_whatever_their_state(store):
    batch_id = store.open_batch("b", endpoint="e", currency=None, now=NOW).id
    added = tuple(wanted(key, position) for position, key in ((3, "d"), (0, "a"), (2, "c"), (1, "b")))
    store.apply(batch_id, Changes(added=added), now=NOW)
    ids = {job.key: job.id for job in store.jobs(batch_id)}
    bring(store, ids["b"], JobState.DONE)
    bring(store, ids["d"], JobState.RUNNING)
    store.apply(batch_id, Changes(orphaned=(ids["a"],)), now=NOW)

    def keys(**choice):
        return [job.key for job in store.jobs(batch_id, **choice)]

    assert keys() == ["b", "c", "d"]
    assert keys(wanted_only=False) == ["a", "b", "c", "d"]
    assert keys(states=[JobState.RUNNING, JobState.DONE]) == ["b", "d"]
    assert keys(states=iter([JobState.PENDING]), wanted_only=False) == ["a", "c"]
    assert [job.key for job in store.stored_jobs(batch_id)] == ["a", "b", "c", "d"]
    assert [job.wanted for job in store.stored_jobs(batch_id)] == [False, True, True, True]


def test_counts_and_in_flight(store):
    batch_id, *ids = new_batch(store, *"abcdefgh")
    for job_id, state in zip(ids, PATHS, strict=True):
        bring(store, job_id, state)
    assert store.counts(batch_id) == dict.fromkeys(PATHS, 1)
    assert store.in_flight(batch_id) == 3
    store.apply(batch_id, Changes(orphaned=tuple(ids[:4])), now=NOW)
    assert store.counts(batch_id) == dict.fromkeys(list(PATHS)[4:], 1)
    assert store.in_flight(batch_id) == 3
    assert store.counts(batch_id + 1) == {}


def test_sendable_waits_for_its_time(store):
    batch_id, a, b, c, d = new_batch(store, "a", "b", "c", "d")
    assert store.next_not_before(batch_id, after=NOW) is None
    for job_id, minutes in ((a, 9), (b, 5)):
        store.record_intent(job_id, intent(f"p{job_id}"), cap=None, now=NOW)
        wait = NOW + timedelta(minutes=minutes)
        store.record_returned(job_id, NO, reason="busy", not_before=wait, now=NOW)
    store.apply(batch_id, Changes(orphaned=(d,)), now=NOW)

    def keys(now, limit=9):
        return [job.key for job in store.sendable(batch_id, now=now, limit=limit)]

    assert keys(NOW) == ["c"]
    assert keys(LATER - timedelta(microseconds=1)) == ["c"]
    assert keys(LATER) == ["b", "c"]
    assert keys(LATER + timedelta(hours=1)) == ["a", "b", "c"]
    assert keys(LATER + timedelta(hours=1), limit=2) == ["a", "b"]
    assert keys(LATER, limit=0) == keys(LATER, limit=-1) == []
    assert store.next_not_before(batch_id, after=NOW) == LATER
    assert store.next_not_before(batch_id, after=NOW, only="a") == NOW + timedelta(minutes=9)
    assert store.next_not_before(batch_id, after=NOW, only="c") is None
    store.record_intent(c, intent("pc"), cap=None, now=NOW)
    assert keys(NOW) == []


KEYS = ("a", "b", "ab", "A", "猫", "a-1", "a[1]", "^a", "a]", "x*y", "scene/one", "!")


@pytest.mark.parametrize(
    ("only", "matching"),
    [
        ("*", KEYS),
        ("a", ("a",)),
        ("a*", ("a", "ab", "a-1", "a[1]", "a]")),
        ("?", ("a", "b", "A", "猫", "!")),
        ("[ab]", ("a", "b")),
        ("[!ab]", ("A", "猫", "!")),
        ("[a-c]", ("a", "b")),
        ("[^a]", ("a",)),
        ("[^]a", ("^a",)),
        ("a[[]1]", ("a[1]",)),
        ("a[", ()),
        ("a[1", ()),
        ("a[]]", ("a]",)),
        ("x[*]y", ("x*y",)),
        ("scene*", ("scene/one",)),
        ("[!]", ()),
        ("", ()),
    ],
)
def test_a_glob_over_keys(store, only, matching):
    batch_id, *_ = new_batch(store, *KEYS)
    assert [job.key for job in store.sendable(batch_id, now=NOW, limit=99, only=only)] == list(matching)
    assert store.counts(batch_id, only=only) == ({JobState.PENDING: len(matching)} if matching else {})


# the plan


def test_a_job_never_sent_takes_the_new_request(store):
    batch_id, job_id = new_batch(store, "a")
    new = wanted("renamed", 7, prompt="another")
    store.apply(batch_id, Changes(replaced=((job_id, new),)), now=LATER)
    job = store.job(job_id)
    assert (job.key, job.request, job.fingerprint, job.output) == (new.key, new.request, new.fingerprint, new.output)
    assert job.state == JobState.PENDING


def test_a_new_request_is_a_new_purchase_and_the_same_one_is_not(store):
    batch_id, job_id = new_batch(store, "a")
    store.record_intent(job_id, intent("p1"), cap=None, now=NOW)
    store.record_returned(job_id, NO, reason="busy", not_before=LATER, now=NOW)
    store.apply(batch_id, Changes(replaced=((job_id, wanted("a", 5)),)), now=NOW)
    assert store.job(job_id).purchase_id == "p1"
    store.apply(batch_id, Changes(replaced=((job_id, wanted("a", 5, prompt="other")),)), now=NOW)
    job = store.job(job_id)
    assert (job.purchase_id, job.state, job.not_before) == (None, JobState.PENDING, LATER)


@pytest.mark.parametrize(
    "path",
    [
        (JobEvent.REJECTED,),
        (JobEvent.CLAIMED, JobEvent.REFUSED),
        (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.TASK_FAILED),
    ],
)
def test_a_job_that_failed_for_nothing_may_be_sent_with_another_request(store, path):
    batch_id, job_id = new_batch(store, "a")
    for event in path:
        assert VERBS[event](store, job_id)
    attempts = store.job(job_id).attempts
    assert not next(store.stored_jobs(batch_id)).paid
    store.apply(batch_id, Changes(replaced=((job_id, wanted("a", 1, prompt="other")),)), now=NOW)
    job = store.job(job_id)
    assert (job.state, job.reason, job.message, job.attempts) == (JobState.PENDING, None, None, attempts)
    assert (job.purchase_id, job.task_id, job.submitted_at, job.price) == (None, None, None, None)
    assert store.record_intent(job_id, intent("another"), cap=None, now=NOW)


PAID = [
    (JobEvent.CLAIMED,),
    (JobEvent.CLAIMED, JobEvent.UNANSWERED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.MISATTRIBUTED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.VANISHED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.SAVED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.EXPIRED),
    (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.BAD_FILE),
]


@pytest.mark.parametrize("path", PAID, ids="-".join)
def test_a_job_that_was_paid_for_is_never_replaced(store, path):
    batch_id, job_id = new_batch(store, "a")
    for event in path:
        assert VERBS[event](store, job_id)
    assert store.job(job_id).price == 100
    assert next(store.stored_jobs(batch_id)).paid
    before = snapshot(store, batch_id)
    store.apply(batch_id, Changes(replaced=((job_id, wanted("z", 9, prompt="other")),)), now=NOW)
    assert snapshot(store, batch_id) == before


def test_a_kept_job_keeps_its_request(store):
    batch_id, job_id = new_batch(store, "a")
    bring(store, job_id, JobState.DONE)
    before = store.job(job_id)
    store.apply(batch_id, Changes(orphaned=(job_id,)), now=NOW)
    assert not store.job(job_id).wanted
    store.apply(batch_id, Changes(kept=((job_id, wanted("z", 9, prompt="other")),)), now=NOW)
    job = store.job(job_id)
    assert (job.key, job.wanted) == ("z", True)
    assert (job.request, job.fingerprint, job.output, job.clip) == (
        before.request,
        before.fingerprint,
        before.output,
        before.clip,
    )


@pytest.mark.parametrize("state", PATHS)
def test_a_kept_job_takes_the_manifest_s_output_until_its_clip_is_saved(store, state):
    batch_id, job_id = new_batch(store, "a")
    bring(store, job_id, state)
    moved = replace(wanted("a"), output="elsewhere/a.mp4", tags=("nightly",))
    store.apply(batch_id, Changes(kept=((job_id, moved),)), now=NOW)
    job = store.job(job_id)
    assert (job.state, job.tags) == (state, ("nightly",))
    assert job.output == ("a.mp4" if state is JobState.DONE else "elsewhere/a.mp4")


def test_a_run_may_be_about_some_tags(store):
    batch_id = new_batch(store)[0]
    tags = {"a": ("nightly", "ab"), "b": ("nightly",), "c": ()}
    jobs = [replace(wanted(key, position), tags=tags[key]) for position, key in enumerate(tags)]
    store.apply(batch_id, Changes(added=tuple(jobs)), now=NOW)

    def keys(**selection):
        return [job.key for job in store.sendable(batch_id, now=NOW, limit=9, **selection)]

    assert [job.tags for job in store.jobs(batch_id)] == list(tags.values())
    assert keys(tags=["nightly"]) == ["a", "b"]
    assert keys(tags=["ab", "none"]) == ["a"]
    assert keys(tags=["nightly"], only="[bc]") == ["b"]
    assert keys(tags=["none"]) == []
    assert store.counts(batch_id, tags=["nightly"]) == {JobState.PENDING: 2}
    store.record_intent(store.sendable(batch_id, now=NOW, limit=1)[0].id, intent(), cap=None, now=NOW)
    store.record_returned(1, NO, reason="busy", not_before=LATER, now=NOW)
    assert store.next_not_before(batch_id, after=NOW, tags=["ab"]) == LATER
    assert store.next_not_before(batch_id, after=NOW, tags=["none"]) is None


def test_jobs_may_exchange_their_keys(store):
    batch_id, a, b, c = new_batch(store, "a", "b", "c")
    bring(store, a, JobState.DONE)
    bring(store, b, JobState.RUNNING)
    changes = Changes(
        kept=((a, wanted("b", 0)), (b, wanted("c", 1))), replaced=((c, wanted("a", 2)),), added=(wanted("d", 3),)
    )
    store.apply(batch_id, changes, now=NOW)
    assert [(job.id, job.key) for job in store.jobs(batch_id)][:3] == [(a, "b"), (b, "c"), (c, "a")]
    assert store.counts(batch_id) == count_by_hand(store, batch_id)


def test_a_new_job_may_take_the_key_of_a_dropped_one(store):
    batch_id, a = new_batch(store, "a")
    bring(store, a, JobState.DONE)
    store.apply(batch_id, Changes(orphaned=(a,), added=(wanted("a", prompt="other"),)), now=NOW)
    assert [job.key for job in store.jobs(batch_id, wanted_only=False)] == ["a", "a"]
    (new,) = store.jobs(batch_id)
    store.apply(batch_id, Changes(orphaned=(new.id,), kept=((a, wanted("a")),)), now=NOW)
    assert [job.id for job in store.jobs(batch_id)] == [a]


def test_a_comparison_changes_nothing_until_it_is_adopted_once(store):
    batch_id, a = new_batch(store, "a")
    before = snapshot(store, batch_id)
    made = store.compare(batch_id, [wanted("a", prompt="other"), wanted("b", 1)])
    assert (made.to_send, made.orphaned, made.needs_provider) == (2, 0, True)
    assert snapshot(store, batch_id) == before
    for _ in range(2):
        store.adopt(batch_id, now=NOW)
        assert store.job(a).request.prompt == "other"
        assert [job.key for job in store.jobs(batch_id)] == ["a", "b"]


def test_two_wanted_jobs_cannot_have_one_key(store):
    batch_id, a = new_batch(store, "a")
    with pytest.raises(StorageError, match="rules"):
        store.apply(batch_id, Changes(added=(wanted("b", 1), wanted("a", 2)), orphaned=()), now=NOW)
    assert [job.id for job in store.jobs(batch_id, wanted_only=False)] == [a]


def test_a_plan_touches_its_own_batch_only(store):
    one, a = new_batch(store, "a", name="one")
    two, _ = new_batch(store, "a", name="two")
    before = snapshot(store, one)
    changes = Changes(orphaned=(a,), kept=((a, wanted("k")),), replaced=((a, wanted("r")),))
    store.apply(two, changes, now=NOW)
    assert snapshot(store, one) == before


def test_a_plan_needs_a_batch(store):
    with pytest.raises(StorageError):
        store.apply(7, Changes(added=(wanted("a"),)), now=NOW)
    with pytest.raises(StorageError):
        store.start_run(7, pid=1, host="h", now=NOW)


# frames


def test_assets_are_kept_by_content_and_endpoint(store):
    asset = Asset(sha256="a" * 64, endpoint="e", url="https://files/x.png", uploaded_at=NOW)
    store.record_asset(asset)
    assert store.asset(asset.sha256, endpoint="e") == asset
    assert store.asset(asset.sha256, endpoint="other") is None
    newer = Asset(sha256=asset.sha256, endpoint="e", url="https://files/y.png", uploaded_at=LATER)
    store.record_asset(newer)
    assert store.asset(asset.sha256, endpoint="e") == newer


def test_a_url_that_may_be_signed_is_not_kept(store):
    store.record_asset(Asset(sha256="s", endpoint="e", url="https://files/x.png?sig=secret", uploaded_at=NOW))
    assert store.asset("s", endpoint="e") is None


def test_only_a_person_s_verbs_have_more_than_one_source():
    assert {event for event in VERBS if len(sources(event)) > 1} == {JobEvent.RETRIED, JobEvent.REOPENED}


def test_a_doubt_cannot_be_settled_with_the_task_of_another_job(store):
    batch_id, a, b = new_batch(store, "a", "b")
    bring(store, a, JobState.RUNNING)
    bring(store, b, JobState.IN_DOUBT)
    assert store.task_owner(f"t{a}") == a
    assert store.task_owner("t99") is None
    before = snapshot(store, batch_id)
    assert not store.record_found(b, f"t{a}", now=LATER)
    assert snapshot(store, batch_id) == before


def test_a_task_of_somebody_else_is_given_up_and_the_purchase_is_not(store):
    """Both answers had gone astray: each job finds its own task, the one that the other had held too."""
    _, a, b = new_batch(store, "a", "b")
    for job_id, task in ((a, "of b"), (b, "of a")):
        store.record_intent(job_id, intent(f"p{job_id}"), cap=None, now=NOW)
        assert store.record_accepted(job_id, task, YES, now=NOW)
        store.record_progress(job_id, status="queued", progress=3, now=NOW)
    assert store.record_misattributed(a, reason="stray", message="task `of b` is purchase p2's", now=LATER)
    job = store.job(a)
    assert (job.task_id, job.purchase_id, job.provider_status, job.progress) == (None, f"p{a}", None, None)
    assert store.task_owner("of b") is None
    (attempt,) = store.attempts(a)
    assert (attempt.outcome, attempt.charge, attempt.answer.rule) == ("unanswered", "committed", "R3")
    assert "of b" in store.history(a)[-1].note
    assert not store.record_found(a, "of a", now=LATER)
    assert store.record_misattributed(b, reason="stray", message="as the other", now=LATER)
    assert store.known_purchase("toapis.com") is None
    assert store.record_found(a, "of a", now=LATER)
    assert store.record_found(b, "of b", now=LATER)


# what evidence or a person decides


def test_a_purchase_that_was_not_made_is_sent_again_under_its_own_name(store):
    batch_id, job_id = new_batch(store, "a")
    bring(store, job_id, JobState.IN_DOUBT)
    assert store.record_absent(job_id, note=WORDS, not_before=LATER, now=NOW)
    job = store.job(job_id)
    assert (job.purchase_id, job.task_id, job.reason, job.not_before) == (f"p{job_id}", None, None, LATER)
    assert (job.submitted_at, job.attempts, job.price) == (None, 1, None)
    assert store.sendable(batch_id, now=NOW, limit=9) == []
    assert store.record_intent(job_id, intent(job.purchase_id), cap=None, now=LATER)
    assert (store.job(job_id).attempts, store.money(batch_id).committed) == (2, 100)


@pytest.mark.parametrize(
    "path",
    [
        (JobEvent.REJECTED,),
        (JobEvent.CANCELLED,),
        (JobEvent.CLAIMED, JobEvent.REFUSED),
        (JobEvent.CLAIMED, JobEvent.UNANSWERED, JobEvent.ABANDONED),
        (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.TASK_FAILED),
        (JobEvent.CLAIMED, JobEvent.ACCEPTED, JobEvent.FINISHED, JobEvent.EXPIRED),
    ],
    ids="-".join,
)
def test_a_retry_is_another_purchase_and_forgets_nothing_that_was_paid(store, path):
    batch_id, job_id = new_batch(store, "a")
    for event in path:
        assert VERBS[event](store, job_id)
    before = store.job(job_id)
    money = store.money(batch_id)
    assert store.record_retried(job_id, note=WORDS, not_before=LATER + timedelta(minutes=1), now=LATER)
    assert store.sendable(batch_id, now=LATER, limit=9) == []
    (job,) = store.sendable(batch_id, now=LATER + timedelta(minutes=1), limit=9)
    assert (job.purchase_id, job.task_id, job.expires_at, job.reason, job.message) == (None, None, None, None, None)
    assert (job.attempts, job.price) == (before.attempts, before.price)
    assert store.money(batch_id) == money
    assert not before.task_id or store.task_owner(before.task_id) == job_id
    assert store.record_intent(job_id, intent("another"), cap=None, now=LATER)
    assert store.money(batch_id).spent + 100 == money.spent + store.money(batch_id).committed


def test_a_task_stays_with_the_job_it_was_bought_for(store):
    batch_id, a, b = new_batch(store, "a", "b")
    bring(store, a, JobState.FAILED)
    store.record_retried(a, note=WORDS, now=NOW)
    bring(store, b, JobState.IN_DOUBT)
    before = snapshot(store, batch_id)
    assert not store.record_found(b, f"t{a}", now=LATER)
    assert snapshot(store, batch_id) == before
    assert store.record_found(b, "t9", now=LATER, note=WORDS)
    assert store.task_owner("t9") == b


@pytest.mark.parametrize(
    ("path", "paid"),
    [
        ((JobEvent.SAVED,), True),
        ((JobEvent.EXPIRED,), True),
        ((JobEvent.BAD_FILE,), True),
        ((JobEvent.VANISHED,), True),
        ((JobEvent.TASK_FAILED,), False),
        ((JobEvent.REFUSED,), False),
        ((JobEvent.UNANSWERED, JobEvent.ABANDONED), False),
        ((JobEvent.EXPIRED, JobEvent.RETRIED, JobEvent.CLAIMED, JobEvent.REFUSED), False),
    ],
    ids=str,
)
def test_only_what_was_paid_for_is_collected_again(store, path, paid):
    batch_id, job_id = new_batch(store, "a")
    bring(store, job_id, JobState.SUBMITTING)
    for event in (JobEvent.ACCEPTED, JobEvent.FINISHED):
        if path[0] not in TRANSITIONS[store.job(job_id).state]:
            VERBS[event](store, job_id)
    for event in path:
        assert VERBS[event](store, job_id)
    before = store.job(job_id)
    money = store.money(batch_id)
    assert store.record_reopened(job_id, note=WORDS, now=LATER) is paid
    job = store.job(job_id)
    assert store.money(batch_id) == money
    if not paid:
        assert job == before
        return
    assert (job.state, job.task_id, job.expires_at, job.reason) == (
        JobState.FETCHING,
        f"t{job_id}",
        before.expires_at,
        None,
    )
    assert store.record_saved(job_id, CLIP, now=LATER)
    assert store.record_reopened(job_id, note=WORDS, now=LATER)


SAYING_WHY = {
    JobEvent.ABSENT: (JobState.IN_DOUBT, lambda s, i, note: s.record_absent(i, note=note, not_before=None, now=NOW)),
    JobEvent.ABANDONED: (JobState.IN_DOUBT, lambda s, i, note: s.record_abandoned(i, note=note, now=NOW)),
    JobEvent.CANCELLED: (JobState.PENDING, lambda s, i, note: s.record_cancelled(i, note=note, now=NOW)),
    JobEvent.RETRIED: (JobState.CANCELLED, lambda s, i, note: s.record_retried(i, note=note, now=NOW)),
    JobEvent.REOPENED: (JobState.DONE, lambda s, i, note: s.record_reopened(i, note=note, now=NOW)),
}


@pytest.mark.parametrize("event", SAYING_WHY)
@pytest.mark.parametrize("note", ["", "  ", None])
def test_no_verdict_without_a_note(store, event, note):
    batch_id, job_id = new_batch(store, "a")
    state, verb = SAYING_WHY[event]
    bring(store, job_id, state)
    before = snapshot(store, batch_id)
    with pytest.raises(StorageError, match="evidence or the person"):
        verb(store, job_id, note)
    assert snapshot(store, batch_id) == before


# history


def test_a_job_s_history_and_its_purchases_can_be_read(store):
    _, job_id = new_batch(store, "a")
    store.record_intent(job_id, intent("p1", None), cap=None, now=NOW)
    store.record_returned(job_id, NO, reason="busy", not_before=None, now=NOW)
    store.record_intent(job_id, intent("p1", 100), cap=None, now=NOW)
    store.recover(1, now=LATER)
    store.record_absent(job_id, note=WORDS, not_before=None, now=LATER)
    store.record_intent(job_id, intent("p1", 100), cap=None, now=LATER)
    store.record_accepted(job_id, "t1", YES, now=LATER)

    told = [(one.at, one.event, one.source, one.target, one.note) for one in store.history(job_id)]
    assert told == [
        (NOW, "claimed", "pending", "submitting", None),
        (NOW, "returned", "submitting", "pending", "busy"),
        (NOW, "claimed", "pending", "submitting", None),
        (LATER, "unanswered", "submitting", "in_doubt", "crash"),
        (LATER, "absent", "in_doubt", "pending", WORDS),
        (LATER, "claimed", "pending", "submitting", None),
        (LATER, "accepted", "submitting", "running", None),
    ]
    first, second, third = store.attempts(job_id)
    assert (first.number, first.outcome, first.charge, first.price, first.answer) == (
        1,
        "returned",
        "released",
        None,
        NO,
    )
    assert (first.intended_at, first.answered_at, first.task_id, first.body_sha256) == (NOW, NOW, None, "d" * 64)
    assert (second.outcome, second.charge, second.answer, second.answered_at) == (
        "absent",
        "released",
        Answer(rule="C3"),
        None,
    )
    assert (third.outcome, third.charge, third.task_id, third.purchase_id) == ("accepted", "committed", "t1", "p1")
    assert third.answer == YES
    assert store.attempts(99) == store.history(99) == []


def test_a_batch_knows_its_places(store):
    batch_id, _ = new_batch(store, "a")
    assert (store.batch("b").manifest, store.batch("b").folder) == (None, None)
    store.record_places(batch_id, manifest="/m/b.yaml", folder="/out")
    store.record_places(99, manifest="/m/b.yaml", folder="/out")
    assert (store.batch("b").manifest, store.batch("b").folder) == ("/m/b.yaml", "/out")
    store.record_places(batch_id, manifest=None, folder="/other")
    assert (store.batch("b").manifest, store.batch("b").folder) == (None, "/other")
    assert store.open_batch("b", endpoint="toapis.com", currency=None, now=NOW) == store.batch("b")


# evidence


def test_readings_are_kept_by_endpoint_and_account(store):
    readings = [Reading(at=NOW, used=10), Reading(at=LATER, used=30)]
    for reading in readings:
        store.record_reading("toapis.com", "a", reading)
    store.record_reading("toapis.com", "b", Reading(at=NOW, used=7))
    assert store.readings("toapis.com", "a") == readings
    assert store.readings("toapis.com", "b") == [Reading(at=NOW, used=7)]
    assert store.readings("localhost", "a") == []


def test_purchases_are_what_may_have_been_charged(store):
    """Not what was sent back or refused; of each it is known whether it was accepted at once, and when it failed."""
    _, *ids = new_batch(store, *"abcdef")
    for name, job_id in zip("abcdef", ids, strict=True):
        account = "k" if name == "b" else None
        store.record_intent(job_id, replace(intent(name), account=account), cap=None, now=NOW)
    a, b, c, d, e, _ = ids
    store.record_accepted(a, "t-a", YES, now=NOW)
    store.record_unanswered(b, NO, reason="no_answer", now=NOW)
    store.record_returned(c, NO, reason="rate_limited", not_before=None, now=NOW)
    store.record_refused(d, NO, reason="invalid_request", now=NOW)
    store.record_accepted(e, "t-e", replace(YES, rule="R1"), now=NOW)
    store.record_task_failed(e, reason="task_failed", message="m", now=LATER)
    found = store.charges("toapis.com")
    assert [(one.outcome, one.prompt, one.failed_at) for one in found] == [
        ("accepted", False, None),
        ("unanswered", False, None),
        ("task_failed", True, LATER),
        ("open", False, None),
    ]
    assert [one.answered_at for one in found] == [NOW, NOW, NOW, None]
    assert [(one.purchase_id, one.account) for one in found] == [("a", None), ("b", "k"), ("e", None), ("f", None)]
    assert {one.kind for one in found} == {("720P", 5)}
    assert {one.intended_at for one in found} == {NOW}
    assert store.charges("localhost") == []


def test_the_task_that_is_known_best_is_the_last_one_that_was_accepted_at_once(store):
    _, a, b, c = new_batch(store, *"abc")
    assert store.known_purchase("toapis.com") is None
    for name, job_id in (("a", a), ("b", b), ("c", c)):
        store.record_intent(job_id, intent(name), cap=None, now=NOW)
    store.record_accepted(a, "t-a", replace(YES, rule="R1"), now=NOW)
    store.record_accepted(b, "t-b", replace(YES, rule="R2"), now=NOW)
    store.record_unanswered(c, NO, reason="no_answer", now=NOW)
    store.record_found(c, "t-c", now=NOW)
    assert store.known_purchase("toapis.com") == "b"


def test_what_is_held_says_why(store):
    _, a, b = new_batch(store, *"ab")
    store.record_intent(a, intent("a"), cap=None, now=NOW)
    store.record_unanswered(a, replace(NO, candidate="task_1"), reason="no_answer", now=NOW)
    assert store.record_held(a, message="not found", now=LATER)
    assert (store.job(a).state, store.job(a).reason, store.job(a).message) == (
        JobState.IN_DOUBT,
        "no_answer",
        "not found",
    )
    assert store.attempts(a)[-1].answer.candidate == "task_1"
    assert not store.record_held(b, message="not found", now=LATER)


# replay


def test_a_proof_of_replay_is_about_one_address_model_and_key(store):
    about = {"base_url": "https://toapis.com", "model": "kling-v3", "key": "0123abcd"}
    assert store.replay_proof(**about) is None
    seen = ReplayProof(**about, proved_at=NOW, holds=False, note="two tasks")
    store.record_proof(seen)
    assert store.replay_proof(**about) == seen
    better = replace(seen, proved_at=LATER, holds=True, note="one task, one charge")
    store.record_proof(better)
    assert store.replay_proof(**about) == better
    for name in about:
        assert store.replay_proof(**{**about, name: "anothers"}) is None


def test_a_salt_is_the_database_s_own_and_stays(store):
    assert store.salt() == store.salt()
    assert len(store.salt()) >= 16
    assert key_fingerprint("sk-one", salt=store.salt()) != key_fingerprint("sk-two", salt=store.salt())
    assert key_fingerprint("sk-one", salt=b"a" * 16) != key_fingerprint("sk-one", salt=b"b" * 16)


# service times


def test_service_times_are_kept_by_kind_the_last_first(store):
    _, *ids = new_batch(store, *"abcdef")
    for took, job_id in enumerate(ids[:4], 1):
        bring(store, job_id, JobState.RUNNING)
        assert store.record_finished(job_id, expires_at=None, took=float(took), now=LATER)
    bring(store, ids[4], JobState.RUNNING)
    assert store.record_task_failed(ids[4], reason="moderation", message="no", took=0.5, now=LATER)
    kind = store.job(ids[0]).request.kind
    assert store.service_times(kind, endpoint="toapis.com", limit=9) == [0.5, 4.0, 3.0, 2.0, 1.0]
    assert store.service_times(kind, endpoint="toapis.com", limit=2) == [0.5, 4.0]
    assert store.service_times(kind, endpoint="emulator", limit=9) == []
    assert store.service_times(RICH.kind, endpoint="toapis.com", limit=9) == []


def test_only_a_move_that_happened_teaches(store):
    _, job_id, other = new_batch(store, "a", "b")
    assert not store.record_finished(job_id, expires_at=None, took=5.0, now=LATER)
    bring(store, other, JobState.RUNNING)
    assert store.record_finished(other, expires_at=None, now=LATER)
    assert store.service_times(store.job(other).request.kind, endpoint="toapis.com", limit=9) == []


def test_a_service_time_is_undone_with_its_transaction(store):
    _, job_id = new_batch(store, "a")
    bring(store, job_id, JobState.RUNNING)
    with suppress(ZeroDivisionError), store.transaction():
        assert store.record_finished(job_id, expires_at=None, took=5.0, now=LATER)
        raise ZeroDivisionError
    assert store.service_times(store.job(job_id).request.kind, endpoint="toapis.com", limit=9) == []


def test_the_kinds_of_what_is_sent_next(store):
    batch_id = store.open_batch("b", endpoint="toapis.com", currency=None, now=NOW).id
    jobs = (wanted("a"), wanted("b", 1, request=RICH), wanted("c", 2), wanted("d", 3))
    store.apply(batch_id, Changes(added=jobs), now=NOW)
    bring(store, next(store.jobs(batch_id)).id, JobState.RUNNING)
    assert RICH.kind == "1080P+Sound 10 2"
    assert store.kinds_ahead(batch_id, limit=9) == {"720P 5 0": 2, RICH.kind: 1}
    assert store.kinds_ahead(batch_id, limit=2) == {"720P 5 0": 1, RICH.kind: 1}
    assert store.kinds_ahead(batch_id, limit=9, only="b") == {RICH.kind: 1}


def test_saved_files_are_those_of_wanted_jobs_that_are_done(store):
    batch_id, a, b, c = new_batch(store, *"abc")
    for job_id in (c, a):
        bring(store, job_id, JobState.DONE)
    bring(store, b, JobState.FETCHING)
    assert list(store.saved_files(batch_id)) == [("a", CLIP.path), ("c", CLIP.path)]
    store.apply(batch_id, Changes(orphaned=(a,)), now=LATER)
    assert list(store.saved_files(batch_id)) == [("c", CLIP.path)]


# how long tasks took


def test_past_durations_are_those_of_the_last_tasks_of_a_kind(store):
    _batch_id, *jobs = new_batch(store, "a", "b", "c", "d")
    for number, job_id in enumerate(jobs):
        store.record_intent(job_id, intent(f"p{number}"), cap=None, now=NOW)
        if number == 2:  # found later: when it was accepted is not known
            store.record_unanswered(job_id, NO, reason="timeout", now=NOW)
            store.record_found(job_id, f"t{number}", now=NOW)
        else:
            store.record_accepted(job_id, f"t{number}", YES, now=NOW + timedelta(seconds=1))
        if number < 3:
            store.record_finished(job_id, expires_at=LATER, now=NOW + timedelta(seconds=61.25 + number))

    asked = {"endpoint": "toapis.com", "limit": 5}
    assert store.past_durations("720P", 5, **asked) == [61.25, 60.25]
    assert store.past_durations("720P", 5, endpoint="toapis.com", limit=1) == [61.25]
    assert store.past_durations("1080P", 5, **asked) == []
    assert store.past_durations("720P", 10, **asked) == []
    assert store.past_durations("720P", 5, endpoint="emulator", limit=5) == []


# saved plans


def test_a_run_of_a_saved_plan_is_known_to_its_batch(store):
    ids = [store.open_batch(name, endpoint="toapis.com", currency="USD", now=NOW).id for name in ("a", "b")]
    store.start_run(ids[0], pid=1, host="h", now=NOW)
    assert not store.has_run(ids[0], "digest")
    store.start_run(ids[0], pid=1, host="h", plan="digest", now=NOW)
    assert store.has_run(ids[0], "digest")
    assert not store.has_run(ids[1], "digest")
    assert not store.has_run(ids[0], "another")
