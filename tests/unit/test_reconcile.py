"""What an unanswered submission means: no verdict on half of the evidence, and never "absent" for what was charged."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.model import Balance, Job, Purchase, Reading, ReplayProof, VideoRequest
from batchrunner.purchase import purchase_id
from batchrunner.reconcile import (
    FORGOTTEN,
    LOOKUPS,
    REPLAYED_FOR,
    SPREAD,
    Books,
    Evidence,
    conclude,
    gather,
    next_lookup,
    reading,
    residual,
    tariff,
)
from batchrunner.states import JobState

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
WINDOW = timedelta(minutes=15)
SHORT, LONG = ("720P", 5), ("720P", 10)


def at(minutes):
    return START + timedelta(minutes=minutes)


def read(minutes, used):
    return Reading(at=at(minutes), used=used)


def bought(minutes, outcome="finished", kind=SHORT, *, prompt=True, failed=None, answered=None):
    failed_at, answered_at = (None if moment is None else at(moment) for moment in (failed, answered))
    return Purchase(
        kind=kind,
        intended_at=at(minutes),
        outcome=outcome,
        prompt=prompt,
        failed_at=failed_at,
        answered_at=answered_at,
    )


def doubt(minutes, kind=SHORT, outcome="unanswered"):
    return bought(minutes, outcome, kind, prompt=False)


def weigh(readings, purchases, *, control="br_1"):
    return Evidence(control=control, readings=readings, purchases=purchases, window=WINDOW)


# when to look


def test_the_looks_are_spread_over_the_window_from_the_intent():
    age, ages = 0.0, [0.0]
    for looked in range(1, 10):
        wait = next_lookup(looked, age=age, window=900.0)
        if wait is None:
            break
        age += wait
        ages.append(age)
    assert ages == [0.0, 225.0, 450.0, 675.0, 900.0]


def test_an_old_doubt_gets_its_looks_over_a_short_time():
    waits = [next_lookup(looked, age=86_400.0, window=900.0) for looked in range(1, 7)]
    assert waits == [15.0, 15.0, 15.0, 15.0, None, None]
    assert sum(waits[: LOOKUPS - 1]) == 900.0 * SPREAD


@given(st.floats(0, 2000), st.floats(1, 2000), st.floats(0, 30))
def test_no_verdict_before_the_window_is_over_and_five_looks_are_made(age, window, delay):
    looked, since = 0, 0.0
    while True:
        looked += 1
        wait = next_lookup(looked, age=age + since, window=window)
        if wait is None:
            break
        assert wait > 0
        since += wait + delay
        assert looked < 100
    assert looked >= LOOKUPS
    assert age + since >= window - 1e-6


# prices

MEASURED = [read(0, 0), read(1, 20)]


def test_a_price_is_what_one_purchase_moved():
    assert tariff(MEASURED, [bought(0.5)], WINDOW) == {SHORT: 20}


@pytest.mark.parametrize(
    "purchases",
    [
        pytest.param([], id="nothing bought"),
        pytest.param([bought(0.5), bought(0.6)], id="two at once"),
        pytest.param([bought(0.5, prompt=False)], id="found only later: it may have been charged at any time"),
        pytest.param([bought(0.5, answered=1.1)], id="the balance was read while it was sent"),
        pytest.param([bought(-0.1, answered=0.1), bought(0.5)], id="another was being sent when the balance was read"),
        pytest.param([bought(0.5), doubt(-5)], id="a doubt may still arrive"),
        pytest.param(
            [bought(0.5), bought(-5, "found", prompt=False)], id="one that was found may have arrived meanwhile"
        ),
        pytest.param([bought(0.5), bought(-9, "task_failed", failed=0.7)], id="a refund falls into it"),
        pytest.param([bought(0.5), bought(-9, "task_failed", failed=-0.5)], id="a refund may fall into it"),
    ],
)
def test_no_price_is_learned_where_anything_else_can_have_moved_the_balance(purchases):
    assert tariff(MEASURED, purchases, WINDOW) == {}


def test_old_doubts_and_old_refunds_do_not_disturb():
    assert tariff(MEASURED, [bought(0.5), doubt(-16), bought(-30, "task_failed", failed=-2)], WINDOW) == {SHORT: 20}


def test_the_smallest_of_several_measurements_counts():
    assert tariff([*MEASURED, read(2, 45)], [bought(0.5), bought(1.5)], WINDOW) == {SHORT: 20}


def test_a_balance_that_did_not_move_with_a_purchase_teaches_nothing():
    """It lags: what it shows later belongs to somebody else."""
    assert tariff([*MEASURED, read(2, 20)], [bought(0.5), bought(1.5, kind=LONG)], WINDOW) == {}


def test_a_purchase_that_a_reading_overtook_does_not_hide_the_prices_that_were_seen():
    """It is no sign that the balance lags: the request was still on its way."""
    readings = [*MEASURED, read(2, 20), read(3, 40)]
    assert tariff(readings, [bought(0.5), bought(1.9, answered=2.1)], WINDOW) == {SHORT: 20}


# the residual

KNOWN = [bought(0.5), doubt(2), bought(3), bought(4)]


@pytest.mark.parametrize(
    ("used", "credits"), [(60, 0), (80, 20), (40, -20), (63, 3)], ids=["absent", "charged", "too little", "shared"]
)
def test_the_residual_is_what_nobody_explains(used, credits):
    evidence = weigh([*MEASURED, read(40, used)], KNOWN)
    assert residual(evidence).credits == credits
    assert conclude(evidence).absent is (credits == 0)


SILENT = [
    pytest.param([*MEASURED, read(40, 60)], [*KNOWN, bought(5, "accepted")], "still running", id="a task is running"),
    pytest.param([read(2.5, 20), read(40, 60)], KNOWN, "no reading", id="no reading from before the doubt"),
    pytest.param([read(0, 0), read(40, 60)], KNOWN, "ever seen to move", id="no price"),
    pytest.param(
        [*MEASURED, read(40, 60)], [*KNOWN, bought(9, kind=LONG)], "10 s in 720P", id="a kind without a price"
    ),
    pytest.param(
        [read(-1, 0), *MEASURED, read(40, 60)], [bought(-2, "found", prompt=False), *KNOWN], "", id="unsettled"
    ),
]


@pytest.mark.parametrize(("readings", "purchases", "why"), SILENT)
def test_without_all_of_it_the_balance_proves_nothing(readings, purchases, why):
    found = residual(weigh(readings, purchases))
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize(("used", "absent"), [(20, True), (60, False)])
def test_a_doubt_whose_kind_was_never_measured_is_seen_by_a_balance_that_moves(used, absent):
    assert conclude(weigh([*MEASURED, read(40, used)], [bought(0.5), doubt(2, LONG)])).absent is absent


def test_a_balance_that_was_never_seen_to_move_cannot_show_that_it_did_not():
    evidence = weigh([read(0, 5), read(40, 5)], [doubt(2)])
    assert not conclude(evidence).absent
    assert "ever seen to move" in residual(evidence)


def test_without_the_control_nothing_is_absent():
    assert not conclude(weigh([*MEASURED, read(40, 60)], KNOWN, control=None)).absent


def test_refunds_count_where_they_fall():
    failed_within = [*KNOWN, bought(5, "task_failed", failed=9)]
    assert residual(weigh([*MEASURED, read(40, 60)], failed_within)).credits == 0
    bought_before = [bought(-30, "task_failed", failed=9), *KNOWN]
    assert residual(weigh([read(0, 100), read(1, 120), read(40, 140)], bought_before)).credits == 0


def test_the_reading_that_counts_is_the_last_settled_one_before_the_doubts():
    used_elsewhere = [read(-600, 0), read(-599, 20), read(0, 500), read(1, 520), read(40, 560)]
    purchases = [bought(-599.5), *KNOWN]
    assert residual(weigh(used_elsewhere, purchases)).since == at(1)


def test_what_vanished_or_was_abandoned_is_not_paid_back_unseen():
    """A task that nobody knows of may still be paid back: a reading from after it cannot be counted from, for two days."""
    gone = doubt(-60, outcome="abandoned")
    assert isinstance(residual(weigh([*MEASURED, read(40, 60)], [gone, *KNOWN])), str)
    old = doubt(-FORGOTTEN.total_seconds() / 60 - 60, outcome="abandoned")
    assert residual(weigh([*MEASURED, read(40, 60)], [old, *KNOWN])).credits == 0


# against a server that keeps its books, whatever happens


@st.composite
def histories(draw):
    """A key that is used alone: what its balance showed, what was bought, and whether any doubt was charged."""
    prices = {SHORT: draw(st.integers(1, 40)), LONG: draw(st.integers(1, 40))}
    moves, purchases, charged, clock = [], [], False, 0.0
    looks = [0.0]
    for _ in range(draw(st.integers(1, 12))):
        clock += draw(st.sampled_from([0.1, 1.0, 20.0]))
        kind = draw(st.sampled_from([SHORT, LONG]))
        match draw(st.sampled_from(["finished", "finished", "failed", "doubt", "read", "read"])):
            case "finished":
                purchases.append(bought(clock, kind=kind))
                moves.append((clock, prices[kind]))
            case "failed":
                purchases.append(bought(clock, "task_failed", kind, failed=clock + 2))
                moves += [(clock, prices[kind]), (clock + 2 + draw(st.sampled_from([0.0, 0.9])), -prices[kind])]
            case "doubt":
                purchases.append(doubt(clock, kind))
                if draw(st.booleans()):  # it may arrive late
                    charged = True
                    moves.append((clock + draw(st.sampled_from([0.0, 0.05, 0.5, 14.0])), prices[kind]))
            case "read":
                looks.append(clock + 0.05)
    looks.append(clock + 60)
    readings = [read(look, sum(credits for when, credits in moves if when <= look)) for look in looks]
    return readings, purchases, charged


@settings(max_examples=300)
@given(histories())
def test_what_was_charged_is_never_called_absent(history):
    readings, purchases, charged = history
    if charged and conclude(weigh(readings, purchases)).absent:
        raise AssertionError(residual(weigh(readings, purchases)))


def test_a_clock_that_was_set_back_proves_nothing():
    """Every reading since then seems to be from before the doubt, and none of them moved."""
    readings = [read(-200, 0), read(-199, 20), read(-50, 40), read(-40, 40)]  # the doubt was charged: 20
    evidence = weigh(readings, [bought(-199.5), doubt(20)])
    assert not conclude(evidence).absent
    assert "clock" in residual(evidence)


@pytest.mark.parametrize(
    ("used", "credits"), [(84.0, 84), (84.00000000000001, 84), (83.99999999999999, 84), (84.5, None), (67.2, None)]
)
def test_a_balance_is_read_in_whole_credits_give_or_take_a_server_s_own_rounding(used, credits):
    found = reading(Balance(remaining=None, used=used), START)
    assert (None if found is None else found.used) == credits


# what stands in for a balance that is silent


def proof(*, holds=True, model="kling-v3"):
    return ReplayProof(base_url="u", model=model, key="k", proved_at=at(-9000), holds=holds, note="")


def job_in_doubt(minutes, purchase=None):
    return Job(
        id=1,
        key="a",
        fingerprint="f",
        state=JobState.IN_DOUBT,
        request=VideoRequest(prompt="a"),
        output="a.mp4",
        purchase_id=purchase or purchase_id(at(minutes), 7),
    )


def gathered(*, control="br_1", seen=None, latest=None, readings=(), purchases=(), now=30, job=None, resend=False):
    books = Books(known="br_1", account="k", readings=readings, purchases=purchases, proof=seen)
    return gather(
        [job or job_in_doubt(2)], books, control=control, now=at(now), latest=latest, window=WINDOW, resend=resend
    )


def test_a_proven_replay_stands_in_for_a_balance_that_says_nothing():
    evidence = gathered(seen=proof())
    assert conclude(evidence).absent
    assert "proven on 2026-11-16" in conclude(evidence).text
    assert not conclude(gathered()).absent


@pytest.mark.parametrize(
    "lacking",
    [
        {"control": None},
        {"seen": proof(holds=False)},
        {"seen": proof(model="kling-v4")},
        {"now": 2 + REPLAYED_FOR.total_seconds() / 60},
        {"job": job_in_doubt(2, purchase="br_1")},
    ],
    ids=["no control", "not proven", "another model", "a day later", "an id without a time"],
)
def test_a_proof_says_nothing_of_anything_else(lacking):
    assert not conclude(gathered(**{"seen": proof(), **lacking})).absent


def test_credits_that_nobody_explains_outweigh_a_proof():
    evidence = gathered(
        seen=proof(), readings=MEASURED, purchases=[*KNOWN, doubt(2)], latest=read(40, MEASURED[-1].used + 50), now=40
    )
    assert not conclude(evidence).absent
    assert "10 are unexplained" in conclude(evidence).text


def test_a_manifest_that_says_so_takes_not_found_for_enough_where_the_lookup_works():
    assert conclude(gathered(resend=True)).absent
    assert not conclude(gathered(resend=True, control=None)).absent
