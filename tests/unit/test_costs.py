"""Sums over purchases: each is counted once, and what nobody has any more is said."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.costs import By, is_discarded, reason, settled, sums
from batchrunner.model import LedgerEntry
from batchrunner.states import JobState

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
DONE = LedgerEntry(
    batch="b",
    key="a",
    number=1,
    purchase_id="p",
    task_id="t",
    billing_key="720P",
    seconds=5,
    price=100,
    currency="USD",
    charge="spent",
    outcome="finished",
    intended_at=AT,
    answered_at=AT,
    settled_at=AT,
    day=date(2026, 11, 22),
    tags=("night", "acme"),
    state=JobState.DONE,
    reason=None,
    wanted=True,
    is_last=True,
)
RUNNING = replace(DONE, charge="committed", outcome="accepted", state=JobState.RUNNING, settled_at=None)
DOUBT = replace(RUNNING, outcome="unanswered", state=JobState.IN_DOUBT)
REFUNDED = replace(DONE, charge="released", outcome="task_failed", state=JobState.FAILED, reason="content_policy")


def test_every_purchase_is_in_one_column():
    (row,), (total,) = sums([DONE, RUNNING, DOUBT, REFUNDED, replace(DONE, price=None)], By.BATCH)
    assert (row.name, row.attempts, row.unpriced) == ("b", 5, 1)
    assert (row.spent, row.committed, row.in_doubt, row.released, row.discarded) == (100, 100, 100, 100, 0)
    assert row.seconds == {"720P": 20}
    assert total.spent == row.spent


@pytest.mark.parametrize(
    ("entry", "word", "came_to"),
    [
        (DONE, "done", 100),
        (RUNNING, "at the provider", None),
        (DOUBT, "in doubt", None),
        (REFUNDED, "content_policy", 0),
        (replace(REFUNDED, is_last=False, state=JobState.DONE), "task_failed", 0),
        (replace(DONE, state=JobState.FAILED, reason="expired"), "expired", 100),
        (replace(DONE, is_last=False), "bought again", 100),
        (replace(DONE, is_rerolled=True), "discarded", 100),
        (replace(DONE, wanted=False), "discarded", 100),
    ],
)
def test_what_became_of_a_purchase(entry, word, came_to):
    assert (reason(entry), settled(entry)) == (word, came_to)


@pytest.mark.parametrize(
    "change",
    [{"wanted": False}, {"is_last": False}, {"is_rerolled": True}, {"state": JobState.FAILED, "reason": "bad_file"}],
    ids=str,
)
def test_what_nobody_has_any_more_is_discarded(change):
    entry = replace(DONE, **change)
    assert is_discarded(entry)
    assert sums([entry], By.DAY)[0][0].discarded == 100
    assert not is_discarded(replace(entry, charge="released"))


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (By.TAG, ["(no tag)", "acme", "night"]),
        (By.BILLING, ["1080P", "720P"]),
        (By.DAY, ["2026-11-22"]),
        (By.REASON, ["done"]),
    ],
)
def test_sums_are_made_by_what_is_asked_for(by, names):
    rows, (total,) = sums([DONE, replace(DONE, tags=(), billing_key="1080P")], by)
    assert [row.name for row in rows] == names
    assert total.attempts == 2


COLUMNS = ("attempts", "spent", "committed", "in_doubt", "released", "discarded", "unpriced")


@given(
    st.lists(
        st.builds(
            replace,
            st.sampled_from([DONE, RUNNING, DOUBT, REFUNDED]),
            batch=st.sampled_from("ab"),
            price=st.none() | st.integers(0, 10**9),
            currency=st.sampled_from(["USD", "CNY", None]),
            billing_key=st.sampled_from(["720P", "1080P+Sound"]),
            day=st.sampled_from([date(2026, 11, 21), date(2026, 11, 22)]),
            tags=st.sampled_from([(), ("t",), ("t", "u")]),
            wanted=st.booleans(),
            is_last=st.booleans(),
            is_rerolled=st.booleans(),
        ),
        max_size=8,
    )
)
def test_each_view_comes_to_the_same(entries):
    """Whatever the rows are by, they come to the total of each currency; only a clip with two tags is in two of them."""
    totals = {by: {one.currency: one for one in sums(entries, by)[1]} for by in By if by is not By.ATTEMPT}
    for by, found in totals.items():
        assert {name: replace(one, seconds={}) for name, one in found.items()} == {
            name: replace(one, seconds={}) for name, one in totals[By.BATCH].items()
        }
        if by is By.TAG:
            continue
        for currency, total in found.items():
            rows = [row for row in sums(entries, by)[0] if row.currency == currency]
            for column in COLUMNS:
                assert sum(getattr(row, column) for row in rows) == getattr(total, column)


def test_currencies_are_never_added():
    rows, totals = sums([DONE, replace(DONE, currency="CNY"), replace(DONE, currency=None, price=None)], By.BATCH)
    assert {row.currency: row.spent for row in rows} == {"USD": 100, "CNY": 100, None: 0}
    assert len(totals) == 3
