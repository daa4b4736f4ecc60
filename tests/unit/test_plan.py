"""Wanted against stored: what is new, done, changed, moved or no longer wanted, and that nothing is bought twice."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.model import Answer, Clip, Frame, Intent, Mode, VideoRequest, WantedJob
from batchrunner.plan import billed_seconds, cost, plan, purchases
from batchrunner.request import fingerprint
from batchrunner.states import JobState
from batchrunner.store.base import Changes, Redo, StoredJob
from batchrunner.store.memory import MemoryStore

NOW = datetime(2026, 11, 22, 1, 0, 0, tzinfo=UTC)
S = JobState
BOUGHT = (S.SUBMITTING, S.IN_DOUBT, S.RUNNING, S.FETCHING, S.DONE)


def wanted(key, content=None, position=0, **request):
    asked = VideoRequest(prompt=content or key, **request)
    return WantedJob(key=key, fingerprint=fingerprint(asked), request=asked, output=f"{key}.mp4", position=position)


def stored(key, state=S.PENDING, *, id=1, content=None, wanted=True, paid=True):
    return StoredJob(
        id=id,
        key=key,
        fingerprint=fingerprint(VideoRequest(prompt=content or key)),
        state=state,
        attempts=0 if state is S.PENDING else 1,
        output=f"{key}.mp4",
        wanted=wanted,
        paid=paid,
    )


def test_new():
    found = plan([wanted("a"), wanted("b", position=1)], [])
    assert found.changes == Changes(added=found.to_send)
    assert [job.key for job in found.to_send] == ["a", "b"]
    assert found.needs_provider


@pytest.mark.parametrize("state", JobState)
def test_the_same_again(state):
    job = wanted("a")
    found = plan([job], [stored("a", state)])
    assert found.changes == Changes(kept=((1, job),))
    assert bool(found.to_send) is (state is S.PENDING)
    assert found.done == (("a",) if state is S.DONE else ())
    assert found.collecting == (("a",) if state in (S.RUNNING, S.FETCHING) else ())
    assert found.in_doubt == (("a",) if state in (S.SUBMITTING, S.IN_DOUBT) else ())
    assert found.failed == (("a",) if state is S.FAILED else ())
    assert found.needs_provider is (state in (S.PENDING, S.RUNNING, S.FETCHING))
    assert (found.changed, found.moved, found.orphaned) == ((), (), ())


@pytest.mark.parametrize("state", JobState)
def test_another_request_for_the_same_key(state):
    """What was bought is kept and said; what was certainly not bought takes the new request."""
    job = wanted("a", "another")
    found = plan([job], [stored("a", state)])
    if state is S.PENDING:
        assert (found.changes, found.to_send, found.changed) == (Changes(replaced=((1, job),)), (job,), ())
    else:
        assert (found.changes, found.to_send, found.changed) == (Changes(kept=((1, job),)), (), ("a",))


@pytest.mark.parametrize("state", [S.FAILED, S.CANCELLED])
def test_another_request_for_what_was_never_bought(state):
    job = wanted("a", "another")
    found = plan([job], [stored("a", state, paid=False)])
    assert (found.changes, found.to_send, found.changed, found.failed) == (
        Changes(replaced=((1, job),)),
        (job,),
        (),
        (),
    )


@pytest.mark.parametrize("state", [S.FAILED, S.CANCELLED])
def test_what_has_ended_is_not_sent_again_by_itself(state):
    job = wanted("a")
    found = plan([job], [stored("a", state, paid=False)])
    assert (found.changes, found.to_send) == (Changes(kept=((1, job),)), ())
    assert found.failed == (("a",) if state is S.FAILED else ())


@pytest.mark.parametrize("state", JobState)
def test_another_key_for_the_same_request(state):
    job = wanted("new", "same")
    found = plan([job], [stored("old", state, content="same")])
    assert found.moved == ("new",)
    assert found.orphaned == ()
    assert found.changes == Changes(kept=((1, job),))
    assert bool(found.to_send) is (state is S.PENDING)


def test_keys_that_swap_their_requests_take_their_clips_along():
    rows = [stored("a", S.DONE, id=1, content="x"), stored("b", S.DONE, id=2, content="y")]
    found = plan([wanted("a", "y"), wanted("b", "x")], rows)
    assert (found.changed, found.moved, found.to_send) == ((), ("a", "b"), ())


def test_renumbered_ids_buy_only_what_is_new():
    rows = [stored("s1", S.DONE, id=1, content="alpha"), stored("s2", S.DONE, id=2, content="beta")]
    found = plan([wanted("s1", "new"), wanted("s2", "alpha"), wanted("s3", "beta")], rows)
    assert [job.key for job in found.to_send] == ["s1"]
    assert (found.moved, found.changed, found.done) == (("s2", "s3"), (), ("s2", "s3"))


@pytest.mark.parametrize("state", [S.IN_DOUBT, S.SUBMITTING])
def test_a_doubt_is_not_forgotten_because_the_manifest_dropped_it(state):
    found = plan([], [stored("a", state, id=1)])
    assert found.in_doubt == ("a",)


@pytest.mark.parametrize("state", JobState)
def test_no_longer_wanted(state):
    found = plan([], [stored("a", state, id=7)])
    assert (found.changes, found.orphaned) == (Changes(orphaned=(7,)), ("a",))
    assert found.collecting == (("a",) if state in (S.RUNNING, S.FETCHING) else ())
    assert (found.done, found.failed, found.to_send) == ((), (), ())


def test_what_is_an_orphan_already_is_not_said_again():
    found = plan([], [stored("a", S.DONE, wanted=False)])
    assert (found.changes, found.orphaned) == (Changes(), ())


def test_an_orphan_that_is_wanted_again_is_the_old_one():
    job = wanted("a")
    found = plan([job], [stored("a", S.DONE, wanted=False)])
    assert (found.changes, found.done, found.to_send) == (Changes(kept=((1, job),)), ("a",), ())


def test_two_jobs_may_ask_for_the_same():
    found = plan([wanted("a", "x"), wanted("b", "x")], [])
    assert [job.key for job in found.to_send] == ["a", "b"]


def test_one_more_of_the_same_is_new():
    found = plan([wanted("a", "x"), wanted("b", "x")], [stored("a", S.DONE, content="x")])
    assert ([job.key for job in found.to_send], found.done) == (["b"], ("a",))


def test_one_of_two_that_ask_for_the_same_can_be_renamed():
    rows = [stored("a", S.DONE, id=1, content="x"), stored("b", S.DONE, id=2, content="x")]
    found = plan([wanted("a", "x"), wanted("c", "x")], rows)
    assert (found.moved, found.to_send, found.orphaned) == (("c",), (), ())


def test_both_of_two_that_ask_for_the_same_can_be_renamed():
    rows = [stored("a", S.DONE, id=1, content="x"), stored("b", S.DONE, id=2, content="x")]
    found = plan([wanted("c", "x"), wanted("d", "x")], rows)
    assert (sorted(found.moved), found.to_send, found.orphaned) == (["c", "d"], (), ())


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([("b", S.PENDING), ("a", S.DONE)], id="the bought one comes last"),
        pytest.param(
            [("a", S.DONE), ("b", S.PENDING)],
            id="the bought one comes first",
        ),
    ],
)
def test_of_two_rows_that_fit_the_bought_one_moves(rows):
    found = plan([wanted("c", "x")], [stored(key, state, id=i, content="x") for i, (key, state) in enumerate(rows)])
    assert (found.done, found.to_send) == (("c",), ())


# money and frames


def test_seconds_by_what_is_billed():
    jobs = [wanted("a", duration=5), wanted("b", duration=10), wanted("c", mode=Mode.PRO, audio=True, duration=15)]
    assert billed_seconds(purchases(plan(jobs, []).to_send)) == {"720P": 15, "1080P+Sound": 15}
    assert billed_seconds(purchases(plan(jobs, [stored("a", S.DONE, id=1)]).to_send)) == {
        "720P": 15,
        "1080P+Sound": 15,
    } | {"720P": 10}
    assert billed_seconds(purchases([])) == {}


def test_uploads_are_counted_by_content():
    one, same = (Frame(source=name, sha256="a" * 64, local=True) for name in ("x.png", "y.png"))
    other = Frame(source="https://h/z.png", sha256="b" * 64, local=False)
    found = plan([wanted("a", frames=(one, other)), wanted("b", frames=(same,))], [])
    assert purchases(found.to_send).uploads == 1


@pytest.mark.parametrize(
    ("prices", "total"),
    [
        ({"720P": 10, "1080P": 20}, 250),
        ({"720P": 10}, None),  # one has no price
        ({}, None),
    ],
)
def test_cost(prices, total):
    jobs = [wanted("a", duration=5), wanted("b", mode=Mode.PRO, duration=10)]
    assert cost(purchases(jobs).kinds, lambda key, seconds: prices[key] * seconds if key in prices else None) == total


def test_nothing_costs_nothing():
    assert cost(purchases([]).kinds, lambda key, seconds: None) == 0


# properties

names = st.sampled_from("abcdefgh")
manifests = st.lists(st.tuples(names, st.integers(0, 5)), max_size=8, unique_by=lambda job: job[0])
"""Keys are unique in a manifest, contents need not be."""
CLIP = Clip(path="a.mp4", bytes=1, sha256="c" * 64, duration=5.0, width=16, height=9, sound=False)
STEPS = {
    S.SUBMITTING: [],
    S.RUNNING: ["accepted"],
    S.IN_DOUBT: ["unanswered"],
    S.FAILED: ["accepted", "task_failed"],
    S.FETCHING: ["accepted", "finished"],
    S.DONE: ["accepted", "finished", "saved"],
}


def jobs_of(manifest):
    return [wanted(key, f"content {content}", position) for position, (key, content) in enumerate(manifest)]


def bring(store, job, state):
    """A pending job to another state, by the store's own verbs."""
    if state is S.PENDING or job.state is not S.PENDING:
        return
    answer = Answer(rule="R1")
    store.record_intent(job.id, Intent(purchase_id=f"p{job.id}", body_sha256="0" * 64, price=None), cap=None, now=NOW)
    verbs = {
        "accepted": lambda: store.record_accepted(job.id, f"t{job.id}-{job.attempts}", answer, now=NOW),
        "unanswered": lambda: store.record_unanswered(job.id, answer, reason="no_answer", now=NOW),
        "task_failed": lambda: store.record_task_failed(job.id, reason="x", message="x", now=NOW),
        "finished": lambda: store.record_finished(job.id, expires_at=None, now=NOW),
        "saved": lambda: store.record_saved(job.id, CLIP, now=NOW),
    }
    for step in STEPS[state]:
        assert verbs[step]()
    assert store.job(job.id).state is state


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(manifests, st.lists(st.sampled_from([S.PENDING, *STEPS]), min_size=8, max_size=8)), max_size=4)
)
def test_an_adopted_plan_leaves_nothing_to_change(history):
    store = MemoryStore()
    batch = store.open_batch("b", endpoint="x", currency=None, now=NOW).id
    for manifest, states in history:
        jobs = jobs_of(manifest)
        first = plan(jobs, store.stored_jobs(batch))
        store.apply(batch, first.changes, now=NOW)
        again = plan(jobs, store.stored_jobs(batch))
        assert (again.changes.added, again.changes.replaced, again.changes.orphaned) == ((), (), ())
        assert (again.moved, again.orphaned) == ((), ())
        assert again.to_send == first.to_send
        assert (set(again.done), set(again.in_doubt)) == (set(first.done), set(first.in_doubt))
        assert {job.key for job in store.jobs(batch)} == {job.key for job in jobs}
        for job, state in zip(list(store.jobs(batch)), states, strict=False):
            bring(store, job, state)


@settings(max_examples=100)
@given(manifests, manifests, st.lists(st.sampled_from(JobState), min_size=8, max_size=8), st.randoms())
def test_the_order_of_the_rows_does_not_matter(before, after, states, random):
    distinct = list({content: key for key, content in before}.items())  # for rows that ask for the same, see above
    rows = [
        stored(key, state, id=i, content=f"content {content}")
        for i, ((content, key), state) in enumerate(zip(distinct, states, strict=False))
    ]
    shuffled = random.sample(rows, len(rows))
    one, other = plan(jobs_of(after), rows), plan(jobs_of(after), shuffled)
    assert one.changes.added == other.changes.added
    assert one.changes.replaced == other.changes.replaced
    assert one.changes.kept == other.changes.kept
    assert set(one.changes.orphaned) == set(other.changes.orphaned)
    assert (one.to_send, one.changed, one.moved) == (other.to_send, other.changed, other.moved)
    assert set(one.collecting) == set(other.collecting)


@settings(max_examples=100)
@given(manifests, manifests, st.lists(st.sampled_from(JobState), min_size=8, max_size=8))
def test_every_row_and_every_job_is_spoken_for_once(before, after, states):
    rows = [
        stored(key, state, id=i, content=f"content {content}")
        for i, ((key, content), state) in enumerate(zip(before, states, strict=False))
    ]
    jobs = jobs_of(after)
    found = plan(jobs, rows).changes
    spoken = [job_id for job_id, _ in (*found.replaced, *found.kept)] + list(found.orphaned)
    assert sorted(spoken) == [row.id for row in rows]
    taken = [job.key for job in found.added] + [job.key for _, job in (*found.replaced, *found.kept)]
    assert sorted(taken) == sorted(job.key for job in jobs)


@settings(max_examples=100)
@given(manifests, manifests, st.lists(st.sampled_from(JobState), min_size=8, max_size=8))
def test_what_is_bought_keeps_its_request(before, after, states):
    rows = [
        stored(key, state, id=i, content=f"content {content}")
        for i, ((key, content), state) in enumerate(zip(before, states, strict=False))
    ]
    found = plan(jobs_of(after), rows)
    replaced = {job_id for job_id, _ in found.changes.replaced}
    assert not [row for row in rows if row.id in replaced and row.state in BOUGHT]
    sent = {job.key for job in found.to_send}
    by_id = {row.id: row for row in rows}
    assert not [job.key for job_id, job in found.changes.kept if by_id[job_id].state in BOUGHT and job.key in sent]


def test_a_refused_job_that_was_edited_is_sent_again():
    """As `report.summary.REMEDIES` promises: edit the prompt, then run the same command."""
    store = MemoryStore()
    batch = store.open_batch("b", endpoint="x", currency=None, now=NOW).id
    store.apply(batch, plan([wanted("a")], []).changes, now=NOW)
    (job,) = store.jobs(batch)
    store.record_intent(job.id, Intent(purchase_id="p", body_sha256="0" * 64, price=1), cap=None, now=NOW)
    store.record_refused(job.id, Answer(rule="R20c"), reason="content_policy", now=NOW)
    store.apply(batch, plan([wanted("a", "edited")], store.stored_jobs(batch)).changes, now=NOW)
    (job,) = store.jobs(batch)
    assert (job.state, job.request.prompt) == (S.PENDING, "edited")


# paying again


def redone(jobs, rows, **redo):
    """What is discarded, what is retried, what is sent, and what is paid for again."""
    found = plan(jobs, rows, redo=Redo(**redo))
    changes = found.changes
    return changes.discarded, changes.retried, [job.key for job in found.to_send], found.again


@pytest.mark.parametrize("state", JobState)
def test_what_changed_is_paid_for_again_once_it_is_final(state):
    is_final = state in (S.DONE, S.FAILED, S.CANCELLED)
    job = wanted("a", "another")
    discarded, retried, sent, again = redone([job], [stored("a", state)], changed=True)
    assert (discarded, retried) == (((1,) if is_final else ()), ())
    assert again == (("a",) if is_final else ())
    assert sent == (["a"] if is_final or state is S.PENDING else [])


@pytest.mark.parametrize("state", JobState)
def test_what_failed_is_paid_for_again(state):
    discarded, retried, _, again = redone([wanted("a")], [stored("a", state)], failed=True)
    assert (discarded, retried, again) == ((), *(((1,), ("a",)) if state is S.FAILED else ((), ())))


def test_what_failed_and_changed_is_paid_for_as_it_is_now():
    assert redone([wanted("a", "new")], [stored("a", S.FAILED)], failed=True) == ((1,), (), ["a"], ("a",))


def test_what_is_paid_for_again_counts_for_the_limit():
    jobs = [wanted("new"), wanted("a", "x", 1), wanted("b", "y", 2), wanted("c", "z", 3)]
    rows = [stored(key, S.DONE, id=number) for number, key in enumerate("abc", 1)]
    assert redone(jobs, rows, changed=True, limit=2)[3] == ("a",)
    assert redone(jobs, rows, changed=True, limit=0)[3] == ()
    assert redone(jobs, rows, changed=True, only="[bc]", limit=1)[3] == ("b",)
    assert redone(jobs, rows, changed=True)[3] == ("a", "b", "c")


def test_the_same_wish_again_buys_nothing_more():
    store = MemoryStore()
    batch = store.open_batch("b", endpoint="x", currency=None, now=NOW).id
    redo = Redo(changed=True, failed=True)
    for content in ("one", "two", "two"):
        store.compare(batch, [wanted("a", content)], redo=redo)
        sent = store.purchases().clips
        store.adopt(batch, now=NOW)
        for job in store.jobs(batch):
            bring(store, job, S.DONE)
    assert sent == 0
    old, new = store.jobs(batch, wanted_only=False)
    assert [(job.request.prompt, job.wanted, job.reason) for job in (old, new)] == [
        ("one", False, "discarded"),
        ("two", True, None),
    ]


def test_the_old_version_is_found_again_when_the_manifest_goes_back():
    store = MemoryStore()
    batch = store.open_batch("b", endpoint="x", currency=None, now=NOW).id
    for content in ("one", "two"):
        store.compare(batch, [wanted("a", content)], redo=Redo(changed=True))
        store.adopt(batch, now=NOW)
        for job in store.jobs(batch):
            bring(store, job, S.DONE)
    found = store.compare(batch, [wanted("a", "one")])
    store.adopt(batch, now=NOW)
    assert (found.to_send, found.done, found.orphaned) == (0, 1, 1)
    (job,) = store.jobs(batch)
    assert (job.request.prompt, job.reason, job.message) == ("one", None, None)
