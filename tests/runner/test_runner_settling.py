"""Settling doubts: what was bought is found by its purchase id and collected; nothing is ever sent for it."""

from dataclasses import replace
from datetime import timedelta
from itertools import count, repeat

import anyio
import pytest
import trio
from provider import EPOCH, Reply, ScriptedProvider, lost, refusal, unanswered, unreachable
from world import Watched, assert_has_its_clip, assert_rate, gaps, named

from batchrunner.model import Mode, Reading, ReplayProof
from batchrunner.providers.base import Exchange
from batchrunner.purchase import purchase_id
from batchrunner.runner import settling
from batchrunner.settings import Limits, Rate
from batchrunner.states import JobState

WINDOW = 900.0


@pytest.mark.parametrize(
    "reply",
    [lost(sells=True), unanswered(), Reply(status=500, body=b"", sells=True), Reply(body=b"<html>", sells=True)],
    ids=["lost", "never", "500", "HTML"],
)
async def test_what_was_bought_after_all_is_collected(world, reply):
    world = world(*named(3))
    world.provider.script.write("submit", "job-001", reply)
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 3}
    assert len(world.provider.tries("job-001")) == 1
    assert_has_its_clip(world, "job-001")


@pytest.mark.parametrize("state", [JobState.SUBMITTING, JobState.IN_DOUBT])
async def test_doubts_of_an_earlier_run_are_settled(world, state):
    world = world("a", "b")
    world.prepare("a", state, ago=30.0)
    world.provider.sell({**_body("a"), "client_business_id": "br_a"}, ago=30.0)
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 2}
    assert world.provider.tries("a") == []
    assert_has_its_clip(world, "a")


def _body(key):
    return {"prompt": key, "duration": 5, "aspect_ratio": "16:9", "audio": False}


@pytest.mark.parametrize("sells", [False, True])
async def test_what_is_not_found_stays_in_doubt_and_is_not_sent(world, sells):
    world = world("a", "b")
    world.provider.knows_purchases = False
    world.provider.script.write("submit", "a", lost(sells=sells))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.IN_DOUBT: 1, JobState.DONE: 1}
    assert len(world.provider.tries("a")) == 1
    looks = [r.at for r in world.provider.requests if r.about == world.job("a").purchase_id]
    sent_at = world.provider.tries("a")[0].at
    assert looks[0] < sent_at + 40  # as soon as the answer is lost
    assert len([at for at in looks if at <= sent_at + WINDOW + 1]) == 5
    assert WINDOW <= looks[4] - sent_at < WINDOW + 10
    assert len(looks) <= 8
    assert anyio.current_time() - looks[-1] < 5


async def test_a_purchase_that_is_stored_late_is_found(world):
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=True))
    world.provider.script.write("poll", "a", *[refusal(404, "task_not_found")] * 3)
    await world.run(settle=WINDOW)
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize("reply", [refusal(500), unreachable()], ids=["500", "unreachable"])
async def test_a_look_that_is_not_answered_is_no_look(world, reply):
    world = world("a")
    world.provider.services["a"] = 900.0
    world.provider.script.write("submit", "a", lost(sells=True))
    world.provider.script.write("poll", "a", *[reply] * 5)
    await world.run(settle=60.0)
    assert_has_its_clip(world, "a")


async def test_look_ups_keep_to_the_floor(world):
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=False))
    await world.run(settle=8.0)
    assert min(gaps(world.provider.times("poll"))) >= 5.0


async def test_a_429_on_a_look_up_holds_all_questions(world):
    world = world("a", "b", service=(600.0, 600.0))
    world.provider.script.write("submit", "a", Reply(status=500, body=b"", sells=True))
    world.provider.script.write("poll", "a", refusal(429, retry_after=60))
    await world.run(settle=WINDOW)
    first = world.provider.times("poll")[0] + world.provider.takes["poll"]
    assert [at for at in world.provider.times("poll") if first < at < first + 59.9] == []


async def test_the_look_ups_of_a_verdict_keep_to_the_rate(world):
    limits = Limits(max_in_flight=20, query=Rate(per_second=0.4, burst=2))
    world = world(*named(20), limits=limits)
    world.provider.script.write("submit", "*", *[lost(sells=False)] * 20)
    await world.run(settle=60.0)
    assert_rate(world.provider.times("poll"), limits.query)


async def test_a_429_in_a_verdict_holds_its_other_questions(world):
    world = world(*named(3))
    world.provider.script.write("submit", "*", *[lost(sells=False)] * 3)
    world.provider.script.write("poll", "*", *[None] * 15, refusal(429, retry_after=600))
    await world.run(settle=WINDOW)
    asked = world.provider.times("poll")
    assert asked[16] >= asked[15] + 600


async def test_a_task_that_is_found_twice_belongs_to_one_job(world):
    world = world("a", "b", limits=Limits(submit_slots=1))
    world.provider.script.write("submit", "b", Reply(body=lambda p, t: {"id": p.task_of("a").id}, sells=True))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 2}
    assert_has_its_clip(world, "a")
    assert_has_its_clip(world, "b")


async def test_settling_ends_although_the_key_is_refused(world):
    world = world("a")
    world.prepare("a", JobState.IN_DOUBT, ago=30.0)
    world.provider.script.write("poll", "*", then=repeat(refusal(401)))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.IN_DOUBT: 1}
    assert anyio.current_time() < 60


async def test_an_old_doubt_is_looked_up_again_after_a_look_that_was_not_answered(world):
    """Giving up is measured from the first look of this run: the doubt itself may be days old."""
    world = world("a")
    world.prepare("a", JobState.IN_DOUBT, ago=3 * 86_400.0)
    world.provider.sell({**_body("a"), "client_business_id": "br_a"}, ago=60.0)
    world.provider.script.write("poll", "a", refusal(502), unreachable())
    await world.run(settle=60.0)
    assert_has_its_clip(world, "a")


@pytest.mark.parametrize("created_at", [0, 1_795_395_600 - 7200, 4_000_000_000])
async def test_a_provider_with_another_idea_of_the_time_is_believed_by_the_purchase_id(world, created_at):
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=True))
    healthy = world.provider.report
    world.provider.report = lambda task: {**healthy(task), "created_at": created_at}
    await world.run(settle=60.0)
    assert_has_its_clip(world, "a")


# evidence of absence: sent again with the same id, without a person


def _absences(world, key):
    return [moment.note for moment in world.store.history(world.job(key).id) if moment.event == "absent"]


def _ids(world, key):
    return {post.purchase_id for post in world.provider.tries(key)}


@pytest.mark.parametrize("replays", [False, True])
async def test_what_was_not_bought_is_sent_again_with_the_same_id_when_the_balance_says_so(world, replays):
    world = world(*named(6))
    world.provider.replays = replays
    world.provider.script.write("submit", "job-003", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 6}
    assert len(world.provider.tries("job-003")) == 2
    assert len(_ids(world, "job-003")) == 1
    assert set(world.provider.sold.values()) == {1}
    first, again = world.provider.tries("job-003")
    assert again.at - first.at >= WINDOW
    (note,) = _absences(world, "job-003")
    assert "residual 0" in note
    assert "control br_" in note
    assert_has_its_clip(world, "job-003")


async def test_a_verdict_is_not_given_up_for_a_look_up_that_meets_a_bad_moment(world, monkeypatch):
    """With many doubts some question is always answered with an error; it is asked again, not held against them."""
    asked, ask = count(1), settling.question

    async def badly(context, name):
        bad = context.board.measuring and next(asked) % 3
        return Exchange(status=500, body_started=True) if bad else await ask(context, name)

    monkeypatch.setattr(settling, "question", badly)
    world = world(*named(6))
    world.provider.script.write("submit", "job-003", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 6}
    assert len(world.provider.tries("job-003")) == 2


async def test_what_was_charged_and_never_stored_is_never_sent_again(world):
    """The server takes the money and loses the task: only the balance knows."""
    world = world(*named(6))
    world.provider.script.write("submit", "job-003", Reply(status=500, body=b"", charges=True))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 5, JobState.IN_DOUBT: 1}
    assert len(world.provider.tries("job-003")) == 1
    assert "50 are unexplained" in world.job("job-003").message


async def test_one_charged_and_one_not_are_both_held(world):
    world = world(*named(8))
    world.provider.script.write("submit", "job-003", Reply(status=500, body=b"", charges=True))
    world.provider.script.write("submit", "job-006", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 6, JobState.IN_DOUBT: 2}


async def test_a_server_that_ignores_our_ids_holds_them_all(world):
    world = world(*named(8))
    world.provider.knows_purchases = False
    world.provider.script.write("submit", "job-003", lost(sells=True))
    world.provider.script.write("submit", "job-006", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 6, JobState.IN_DOUBT: 2}
    assert set(world.provider.sold.values()) == {1}
    message = world.job("job-006").message
    assert "it may have cost 5 s of 720P" in message
    assert "batchrunner doubt check batch" in message


async def test_what_is_visible_late_is_found_and_not_sent_again(world):
    world = world(*named(6))
    world.provider.visible_after = 700.0
    world.provider.script.write("submit", "job-003", lost(sells=True))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 6}
    assert set(world.provider.sold.values()) == {1}
    assert len(world.provider.tries("job-003")) == 1


async def test_a_key_that_somebody_else_uses_proves_nothing(world):
    world = world(*named(6))
    world.provider.script.write("submit", "job-003", lost(sells=False))
    world.provider.script.write("poll", "job-005", Reply(bug=None, body=lambda p, t: _elsewhere(p, t)))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 5, JobState.IN_DOUBT: 1}
    assert "unexplained" in world.job("job-003").message


def _elsewhere(provider, task):
    provider.elsewhere += 7
    return provider.report(task)


async def test_refunds_are_counted(world):
    world = world(*named(8))
    world.provider.fates |= {"job-001": {"code": "x", "message": "sensitive"}, "job-005": {"code": "x", "message": "y"}}
    world.provider.script.write("submit", "job-003", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 6, JobState.FAILED: 2}
    assert len(world.provider.tries("job-003")) == 2


async def test_every_kind_is_measured_before_the_balance_is_believed(world):
    world = world(*named(3))
    world.add("long", "longer", duration=10)
    world.provider.script.write("submit", "job-002", lost(sells=False))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 5}
    assert set(world.provider.sold.values()) == {1}


async def test_a_batch_of_one_clip_of_each_kind_is_settled_without_a_person(world):
    world = world("short", limits=Limits(submit_slots=1))
    world.add("long", duration=10)
    world.add("sound", audio=True)
    world.provider.script.write("submit", "long", lost(sells=False))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 3}
    assert set(world.provider.sold.values()) == {1}
    world.add("pro", mode=Mode.PRO)
    world.provider.script.write("submit", "pro", Reply(status=500, body=b"", charges=True))
    assert (await world.run(settle=WINDOW)).counts[JobState.IN_DOUBT] == 1
    assert "unexplained" in world.job("pro").message


async def test_the_first_of_its_kind_goes_alone_and_the_others_right_after(world):
    world = world(*named(9))
    await world.run(settle=WINDOW)
    tries = sorted(post.at for post in world.provider.tries())
    assert tries[1] - tries[0] < 3.0
    assert tries[4] - tries[1] < 0.5  # all the slots
    await world.run(settle=WINDOW)


async def test_a_kind_whose_price_is_known_is_not_measured_again(world):
    world = world(*named(3))
    await world.run(settle=WINDOW)
    world.add("x", "y", "z")
    begun = anyio.current_time()
    await world.run(settle=WINDOW)
    tries = sorted(post.at for post in world.provider.tries() if post.at >= begun)
    assert tries[2] - tries[0] < 0.1


async def test_the_very_first_purchase_in_doubt_is_settled_when_another_was_measured(world):
    """One job is kept back until the doubt can no longer arrive; the others do not wait."""
    world = world(*named(4), limits=Limits(submit_slots=1))
    world.provider.script.write("submit", "job-000", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 4}
    assert set(world.provider.sold.values()) == {1}
    waited = [post.at > WINDOW for key in named(4)[1:] for post in world.provider.tries(key)]
    assert sorted(waited) == [False, False, True]  # and it is sent between two readings


async def test_the_only_purchase_there_ever_was_is_held(world):
    """Nothing was ever seen to move the balance, so that it did not move proves nothing."""
    world = world("a")
    world.provider.script.write("submit", "a", lost(sells=False))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.IN_DOUBT: 1}
    assert len(world.provider.tries()) == 1


@pytest.mark.parametrize(
    "balance",
    [
        Reply(status=200, body={"success": True, "used_credits": 0, "remain_credits": 5}),
        Reply(status=200, body={"success": True, "used_credits": 0.5, "remain_credits": 5}),
        Reply(status=200, body={"success": False, "message": "no"}),
        refusal(503),
        unreachable(),
    ],
    ids=["never moves", "fractions", "no success", "503", "unreachable"],
)
async def test_a_balance_that_tells_nothing_holds_them(world, balance):
    world = world(*named(6))
    world.provider.script.write("submit", "job-003", lost(sells=False))
    world.provider.script.write("balance", "*", then=repeat(balance))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 5, JobState.IN_DOUBT: 1}
    assert len(world.provider.tries("job-003")) == 1


async def test_a_balance_that_lags_a_little_is_waited_for(world):
    world = world(*named(6))
    world.provider.lags = 3.0
    world.provider.script.write("submit", "job-003", lost(sells=False))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 6}
    assert set(world.provider.sold.values()) == {1}


async def test_on_doubt_resend_needs_no_balance_but_a_lookup_that_works(world):
    world = world(*named(6))
    world.provider.script.write("balance", "*", then=repeat(refusal(503)))
    world.provider.script.write("submit", "job-003", lost(sells=False))
    assert (await world.run(settle=WINDOW, on_doubt="resend")).counts == {JobState.DONE: 6}
    assert len(_ids(world, "job-003")) == 1
    assert "resend" in _absences(world, "job-003")[0]


async def test_on_doubt_resend_sends_a_clip_twice_and_never_more_often(world):
    world = world(*named(4))
    world.provider.script.write("submit", "job-003", lost(sells=False), lost(sells=False))
    assert (await world.run(settle=WINDOW, on_doubt="resend")).counts == {JobState.DONE: 3, JobState.IN_DOUBT: 1}
    assert len(world.provider.tries("job-003")) == 2
    assert "sent again once" in world.job("job-003").message
    assert (await world.run(settle=WINDOW, on_doubt="resend")).counts[JobState.IN_DOUBT] == 1
    assert len(world.provider.tries("job-003")) == 2


async def test_on_doubt_resend_holds_where_the_lookup_does_not_work(world):
    world = world(*named(6))
    world.provider.knows_purchases = False
    world.provider.script.write("submit", "job-003", lost(sells=True))
    outcome = await world.run(settle=WINDOW, on_doubt="resend")
    assert outcome.counts == {JobState.DONE: 5, JobState.IN_DOUBT: 1}


def _proof(**changes):
    proof = ReplayProof(base_url="scripted", model="kling-v3", key="k", proved_at=EPOCH, holds=True, note="one task")
    return replace(proof, **changes)


async def test_where_a_repeated_id_was_proven_to_buy_nothing_twice_it_is_repeated_although_the_balance_is_silent(world):
    world = world(*named(6))
    world.provider.replays = True
    world.provider.script.write("balance", "*", then=repeat(refusal(503)))
    world.provider.script.write("submit", "job-003", lost(sells=False))
    assert (await world.run(settle=WINDOW, proof=_proof())).counts == {JobState.DONE: 6}
    first, again = world.provider.tries("job-003")
    assert again.at - first.at >= WINDOW
    assert len(_ids(world, "job-003")) == 1
    assert "proven on" in _absences(world, "job-003")[0]


async def test_a_proof_does_not_outweigh_credits_that_nobody_explains(world):
    world = world(*named(6))
    world.provider.script.write("submit", "job-003", Reply(status=500, body=b"", charges=True))
    outcome = await world.run(settle=WINDOW, proof=_proof())
    assert outcome.counts == {JobState.DONE: 5, JobState.IN_DOUBT: 1}
    assert len(world.provider.tries("job-003")) == 1


async def test_a_proof_of_what_did_not_hold_and_a_lookup_that_fails_prove_nothing(world):
    world = world(*named(6))
    world.provider.knows_purchases = False
    world.provider.script.write("submit", "job-003", lost(sells=True))
    assert (await world.run(settle=WINDOW, proof=_proof())).counts[JobState.IN_DOUBT] == 1
    world.provider.knows_purchases = True
    world.provider.script.write("submit", "x", lost(sells=False))
    world.provider.script.write("balance", "*", then=repeat(refusal(503)))
    world.add("x")
    assert (await world.run(settle=WINDOW, proof=_proof(holds=False))).counts[JobState.IN_DOUBT] == 1


@pytest.mark.parametrize("failures", [1, 4, 12], ids=["one", "a few", "minutes of them"])
async def test_a_balance_that_was_not_told_at_first_is_asked_for_again(world, failures):
    world = world(*named(12), limits=Limits(max_in_flight=2), service=(60.0, 60.0))
    world.provider.script.write("balance", "*", *[refusal(503)] * failures)
    world.provider.script.write("submit", "job-009", lost(sells=False))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 12}
    assert len(world.provider.tries("job-009")) == 2


async def test_a_balance_that_is_never_told_is_asked_for_once_in_a_while_and_holds_nothing_up(world):
    world = world(*named(40), limits=Limits(max_in_flight=2), service=(60.0, 60.0))
    world.provider.script.write("balance", "*", then=repeat(refusal(503)))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 40}
    assert anyio.current_time() < 40 * 40
    assert len(world.provider.times("balance")) < 3 * anyio.current_time() / 60 + 5


async def test_a_balance_that_hiccups_while_a_clip_is_measured_is_asked_again(world):
    world = world(*named(6))
    world.provider.script.write("balance", "*", Reply(), refusal(503), Reply(), refusal(503), refusal(503), Reply())
    world.provider.script.write("submit", "job-003", lost(sells=False))
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 6}
    assert len(world.provider.tries("job-003")) == 2


@pytest.mark.parametrize("how", [{}, {"on_doubt": "resend"}, {"proof": _proof()}], ids=["balance", "resend", "proof"])
async def test_what_was_sent_with_the_key_of_another_account_is_not_absent_because_this_one_does_not_know_it(
    world, how
):
    """A drained key was changed for another account's in between: neither its look-up nor its balance can tell."""
    world = world("a", "b", service=(30.0, 30.0))
    mine, theirs = world.provider, ScriptedProvider(seed=1)
    theirs.account = "another account"
    for key in named(3):  # so that no task has the id of one of ours
        theirs.sell({**_body(key), "client_business_id": key})
    await world.run(settle=WINDOW)
    world.add("c")
    theirs.script.write("submit", "c", lost(sells=True))
    await world.run(provider=theirs, settle=0.0)
    outcome = await world.run(settle=WINDOW, **how)
    assert outcome.counts == {JobState.DONE: 2, JobState.IN_DOUBT: 1}
    assert (theirs.sold["c"], mine.sold["c"]) == (1, 0)
    assert "another key" in world.job("c").message
    assert (await world.run(provider=theirs, settle=WINDOW)).counts[JobState.DONE] == 3


async def test_doubts_that_were_held_are_looked_for_again_by_the_next_run_within_a_minute_or_so(world):
    world = world(*named(6))
    world.provider.knows_purchases = False
    world.provider.script.write("submit", "job-003", lost(sells=True))
    await world.run(settle=WINDOW)
    begun = anyio.current_time()
    await world.run(settle=WINDOW)
    assert anyio.current_time() - begun < 300
    world.provider.knows_purchases = True
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 6}
    assert set(world.provider.sold.values()) == {1}


async def test_the_doubts_of_a_crash_are_settled_from_readings_of_the_run_that_crashed(world):
    world = world(*named(4))
    await world.run(settle=WINDOW, limit=2)
    await world.run(settle=WINDOW, limit=0)
    world.prepare("job-002", JobState.SUBMITTING)
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 4}
    assert set(world.provider.sold.values()) == {1}


async def test_with_the_in_flight_limit_full_of_doubts_they_are_settled_and_the_batch_goes_on(world):
    world = world(*named(12), limits=Limits(max_in_flight=3, submit_slots=2), service=(30.0, 30.0))
    for key in named(12)[2:5]:
        world.provider.script.write("submit", key, lost(sells=False, takes=5.0))
    assert (await world.run(settle=WINDOW, hours=48)).counts == {JobState.DONE: 12}
    assert set(world.provider.sold.values()) == {1}


# salvage


@pytest.mark.parametrize("body", [b'{"id":"%s","object":"gen', b'{"id":"%s"}{"error":{"code":"x","message":"y"}}'])
async def test_the_id_in_a_spoilt_answer_finds_the_task_although_the_server_ignores_our_ids(world, body):
    world = world("a", "b")
    world.provider.knows_purchases = False
    spoilt = Reply(body=lambda p, t: body % t.id.encode(), sells=True, complete=b"}{" in body)
    world.provider.script.write("submit", "a", spoilt)
    assert (await world.run(settle=WINDOW)).counts == {JobState.DONE: 2}
    assert_has_its_clip(world, "a")


async def test_the_id_of_somebody_elses_task_in_a_spoilt_answer_is_not_taken(world):
    world = world("a", "b", limits=Limits(submit_slots=1))
    spoilt = Reply(body=lambda p, t: b'{"id":"%s","obj' % p.task_of("a").id.encode(), complete=False)
    world.provider.script.write("submit", "b", spoilt)
    world.provider.knows_purchases = False
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 1, JobState.IN_DOUBT: 1}


# answers that name somebody else's task


def _says(task_of):
    """Accepted, and the answer names the task of another job."""
    return Reply(body=lambda p, t: {"id": p.task_of(task_of).id}, sells=True)


async def test_two_answers_that_changed_places_end_with_each_job_s_own_clip(world):
    """Neither task had an owner when its id was heard: only the polls say whose they are."""
    world = world("a", "b", service=(60.0, 60.0))
    others = {"task_1": "task_2", "task_2": "task_1"}
    for key in "ab":
        world.provider.script.write("submit", key, Reply(body=lambda p, task: {"id": others[task.id]}, sells=True))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 2}
    assert world.provider.sold == {"a": 1, "b": 1}
    assert all("misattributed" in [moment.event for moment in world.store.history(world.job(key).id)] for key in "ab")
    for key in "ab":
        assert_has_its_clip(world, key)


@pytest.mark.parametrize("settle", [0.0, WINDOW])
async def test_a_clip_of_another_purchase_is_never_ours(world, settle):
    """Somebody else of this account runs batchrunner too, and their task is long finished."""
    world = world("a")
    body = {**_body("a"), "client_business_id": purchase_id(EPOCH, 7)}
    theirs = world.provider.sell(body, ago=300.0)
    world.provider.script.write("submit", "a", Reply(body={"id": theirs.id}))
    outcome = await world.run(settle=settle)
    assert outcome.counts == {JobState.IN_DOUBT: 1}
    assert world.job("a").task_id is None
    assert world.store.money(world.batch.id).spent == 0


async def test_a_task_under_an_id_that_nobody_knows_is_found_by_its_purchase(world):
    world = world("a")
    world.provider.script.write("submit", "a", Reply(body={"id": "task_unheard_of"}, sells=True))
    outcome = await world.run(settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 1}
    assert_has_its_clip(world, "a")
    assert len(world.provider.tries("a")) == 1


async def test_a_task_that_another_job_has_was_bought_and_is_not_sent_again(world):
    """The look-up proves the purchase; that its task is taken is the other job's mistake, and that one is corrected."""
    world = world("a", "b", service=(600.0, 600.0), limits=Limits(submit_slots=1))
    world.provider.script.write("submit", "a", lost(sells=True, takes=1.0))
    world.provider.script.write("submit", "b", _says("a"))
    mute = Reply(body=lambda p, task: {"id": task.id, "status": "queued"})
    world.provider.script.write("poll", "a", then=[mute] * 30)
    outcome = await world.run(settle=60.0, on_doubt="resend")
    assert world.provider.sold == {"a": 1, "b": 1}
    assert outcome.counts == {JobState.DONE: 2}


@pytest.mark.parametrize("body", [{}, [], {"data": {}}, {"id": "task_9", "status": "queued"}, b"<html>"], ids=repr)
async def test_an_answer_about_nothing_is_no_sign_of_absence(world, body):
    world = world("a", "b", service=(60.0, 60.0))
    world.provider.script.write("submit", "a", lost(sells=True))
    world.provider.script.write("poll", "a", *[Reply(body=body)] * 9)
    outcome = await world.run(settle=60.0, on_doubt="resend")
    assert outcome.counts == {JobState.DONE: 2}
    assert world.provider.sold == {"a": 1, "b": 1}


async def test_a_slow_start_costs_no_measurement(world):
    """What the store takes to tell of a doubt does not make it older: its window is over when both clocks say so."""
    world = world("a", "b")
    world.store.record_reading("scripted", "scripted", Reading(at=EPOCH - timedelta(seconds=60), used=0))
    world.prepare("a", JobState.SUBMITTING, ago=30.0)
    clock = trio.lowlevel.current_clock()
    outcome = await world.run(store=Watched(world.store, begin=lambda: clock.jump(0.2)), settle=WINDOW)
    assert outcome.counts == {JobState.DONE: 2}
    assert world.provider.sold == {"a": 1, "b": 1}
