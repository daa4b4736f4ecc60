"""How a run ended: which exit code wins, and what is said."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import SEVERITY, ExitCode
from batchrunner.eta import Eta
from batchrunner.model import Job, Money, VideoRequest
from batchrunner.report.summary import (
    REMEDIES,
    amount,
    at_provider,
    bought,
    exit_code,
    failures,
    finish,
    finish_as_json,
    standing,
)
from batchrunner.runner.board import Stop
from batchrunner.runner.loop import Outcome
from batchrunner.states import JobState

S, X = JobState, ExitCode
CLEAN = Outcome(stops=frozenset(), counts={S.DONE: 3}, blocked={}, left=0, purchases=3)


def ended(*stops, **changes):
    return replace(CLEAN, stops=frozenset(stops), **changes)


CODES = [
    pytest.param(ended(), X.DONE, id="all done"),
    pytest.param(ended(counts={}), X.DONE, id="nothing was asked"),
    pytest.param(ended(counts={S.DONE: 1, S.CANCELLED: 2}), X.DONE, id="cancelled is what was asked"),
    pytest.param(
        ended(counts={S.DONE: 1, S.PENDING: 2}, limited=True), X.DONE, id="--limit: the rest is for another run"
    ),
    pytest.param(ended(counts={S.DONE: 1, S.PENDING: 2}), X.PROVIDER, id="work is left and nothing says why"),
    pytest.param(ended(counts={S.PENDING: 2}, doubts=1), X.IN_DOUBT, id="11: a doubt outside the selection"),
    pytest.param(ended(counts={S.FAILED: 1}), X.SOME_FAILED, id="3: one failed"),
    pytest.param(ended(Stop.DEADLINE), X.DEADLINE, id="6: deadline"),
    pytest.param(ended(Stop.BUDGET), X.BUDGET, id="5: budget"),
    pytest.param(ended(Stop.PROVIDER), X.PROVIDER, id="9: provider"),
    pytest.param(ended(blocked={1: "upload"}), X.PROVIDER, id="9: a job could not be sent"),
    pytest.param(ended(left=1), X.PROVIDER, id="9: a clip could not be fetched"),
    pytest.param(ended(counts={S.IN_DOUBT: 1}), X.IN_DOUBT, id="11: doubt"),
    pytest.param(ended(counts={S.SUBMITTING: 1}), X.IN_DOUBT, id="11: an open intent"),
    pytest.param(ended(Stop.ACCOUNT), X.ACCOUNT, id="7: account"),
    pytest.param(ended(Stop.STORAGE), X.STORAGE, id="12: storage"),
    pytest.param(ended(Stop.SIGINT), X.SIGINT, id="130"),
    pytest.param(ended(Stop.SIGTERM), X.SIGTERM, id="143"),
    pytest.param(ended(Stop.SIGINT, Stop.SIGTERM), X.SIGINT, id="both signals"),
    pytest.param(ended(Stop.SIGINT, counts={S.IN_DOUBT: 1, S.FAILED: 1}), X.SIGINT, id="a signal tells more"),
    pytest.param(ended(Stop.SIGTERM, Stop.STORAGE), X.STORAGE, id="but a full disk is told"),
    # DESIGN §8: several at once, 12 7 11 9 5 6 3 in that order
    pytest.param(ended(*Stop, counts={S.IN_DOUBT: 1, S.FAILED: 1}, left=1), X.STORAGE, id="12 first"),
    pytest.param(ended(Stop.ACCOUNT, counts={S.IN_DOUBT: 1}, left=1), X.ACCOUNT, id="7 before 11"),
    pytest.param(ended(Stop.PROVIDER, counts={S.IN_DOUBT: 1, S.FAILED: 1}), X.IN_DOUBT, id="11 before 9"),
    pytest.param(ended(Stop.PROVIDER, Stop.BUDGET), X.PROVIDER, id="9 before 5"),
    pytest.param(ended(Stop.BUDGET, Stop.DEADLINE), X.BUDGET, id="5 before 6"),
    pytest.param(ended(Stop.DEADLINE, counts={S.FAILED: 1}), X.DEADLINE, id="6 before 3"),
]


@pytest.mark.parametrize(("outcome", "code"), CODES)
def test_exit_codes(outcome, code):
    assert exit_code(outcome) is code


def test_the_order_of_the_design():
    assert [code.value for code in SEVERITY] == [12, 7, 11, 9, 5, 6, 3]


def test_the_numbers_that_automation_relies_on():
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "BUG": 1,
        "USAGE": 2,
        "SOME_FAILED": 3,
        "MANIFEST": 4,
        "BUDGET": 5,
        "DEADLINE": 6,
        "ACCOUNT": 7,
        "LOCKED": 8,
        "PROVIDER": 9,
        "WORK": 10,
        "IN_DOUBT": 11,
        "STORAGE": 12,
        "SIGINT": 130,
        "SIGTERM": 143,
    }


@given(
    st.frozensets(st.sampled_from(Stop)),
    st.dictionaries(st.sampled_from(JobState), st.integers(0, 5)),
    st.dictionaries(st.integers(0, 5), st.just("x")),
    st.integers(0, 3),
)
def test_more_trouble_is_never_a_better_ending(stops, counts, blocked, left):
    outcome = Outcome(stops=stops, counts=counts, blocked=blocked, left=left, purchases=0)
    code = exit_code(outcome)
    trouble = stops or blocked or left or any(counts.get(s) for s in (S.FAILED, S.IN_DOUBT, S.SUBMITTING, S.PENDING))
    assert (code is X.DONE) is not bool(trouble)
    if code in SEVERITY:
        worse = exit_code(replace(outcome, stops=stops | {Stop.STORAGE}))
        assert SEVERITY.index(worse) <= SEVERITY.index(code)


# words


def job(key, reason, message="m"):
    return Job(
        id=1,
        key=key,
        fingerprint="",
        state=S.FAILED,
        request=VideoRequest(prompt="x"),
        output="",
        reason=reason,
        message=message,
    )


def test_failures_by_reason_the_most_frequent_first():
    found = failures([job("a", "expired"), job("b", "bad_image"), job("c", "bad_image", "other"), job("d", None, None)])
    assert [(one.reason, one.keys, one.message) for one in found] == [
        ("bad_image", ("b", "c"), "m"),
        ("expired", ("a",), "m"),
        ("failed", ("d",), ""),
    ]
    assert [one.remedy for one in found] == [REMEDIES["bad_image"], REMEDIES["expired"], found[2].remedy]
    assert "batchrunner ls --state failed" in found[2].remedy


def test_no_failures():
    assert failures([]) == []


@pytest.mark.parametrize("reason", ["content_policy", "invalid_request", "bad_image", "capacity", "task_failed"])
@pytest.mark.parametrize("lost", ["vanished", "expired", "bad_file"])
def test_every_reason_has_its_remedy(reason, lost):
    assert REMEDIES[reason]
    assert "nothing was charged" not in REMEDIES[lost]  # these were paid for


@pytest.mark.parametrize(
    ("micro", "currency", "text"),
    [
        (0, "USD", "0.00 USD"),
        (12_500_000, "USD", "12.50 USD"),
        (420_000, None, "0.42"),
        (1_234_567_890_000, "CNY", "1234567.89 CNY"),
        (84_000, "USD", "0.0840 USD"),  # a price per second
        (10_000, "", "0.01"),
    ],
)
def test_amounts(micro, currency, text):
    assert amount(micro, currency) == text


@pytest.mark.parametrize(
    ("money", "currency", "text"),
    [
        (Money(), None, "nothing bought"),
        (Money(), "USD", "0.00 USD spent (nothing bought)"),
        (Money(seconds={"720P": 15, "1080P": 5}), None, "1080P 5 s · 720P 15 s"),
        (Money(spent=420_000, seconds={"720P": 5}), "USD", "0.42 USD spent (720P 5 s)"),
        (
            Money(spent=420_000, committed=840_000, seconds={"720P": 15}),
            "USD",
            "0.42 USD spent, 0.84 USD committed (720P 15 s)",
        ),
        (
            Money(spent=1_000_000, unpriced=2, seconds={"720P": 5}),
            "USD",
            "1.00 USD spent, 2 without a price (720P 5 s)",
        ),
        (Money(unpriced=2, seconds={"720P": 5}), "USD", "720P 5 s"),  # no price at all: seconds say it all
        (Money(spent=420_000, seconds={"720P": 5}), None, "720P 5 s"),
    ],
)
def test_what_was_bought(money, currency, text):
    assert bought(money, currency) == text


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "no jobs"),
        ({S.DONE: 0}, "no jobs"),
        ({S.FAILED: 2, S.DONE: 940, S.RUNNING: 4}, "940 done, 4 running, 2 failed"),
        (
            dict.fromkeys(JobState, 1),
            "1 done, 1 fetching, 1 running, 1 submitting, 1 pending, 1 in doubt, 1 failed, 1 cancelled",
        ),
    ],
)
def test_standing(counts, text):
    assert standing(counts) == text


def test_what_is_at_the_provider_while_nobody_looks():
    assert at_provider(dict.fromkeys(JobState, 1)) == 3  # submitting, running, fetching; doubt is told on its own
    assert at_provider({S.DONE: 9, S.IN_DOUBT: 2}) == 0
    assert at_provider({}) == 0


def test_an_expected_finish_is_told_by_the_clock_on_the_wall():
    at = datetime(2026, 11, 22, 9, 0, tzinfo=UTC).astimezone().replace(hour=9, minute=0)
    assert finish(Eta(3600, 5400), at) == "about 10:00, by 10:30 nine times out of ten"
    assert finish(Eta(3600, 86_400), at) == "about 2026-11-22 10:00, by 2026-11-23 09:00 nine times out of ten"
    assert finish_as_json(None, at) is None
    document = finish_as_json(Eta(3600, 5400), datetime(2026, 11, 22, 9, 0, tzinfo=UTC))
    assert document == {"median": "2026-11-22T10:00:00+00:00", "p90": "2026-11-22T10:30:00+00:00"}
