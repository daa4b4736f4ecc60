"""When to ask next: never too often, less and less often, and never giving up too soon."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.polling import AGEING, JITTER, SLOWEST, backoff, has_vanished, next_look
from batchrunner.settings import MISSING_FOR, MISSING_GRACE, MISSING_TIMES, POLL_FLOOR

chances = st.floats(0, 1, exclude_max=True)
ages = st.floats(0, 1e7)
floors = st.floats(0.02, 60)

LOOKS = [
    # age, chance, seconds until the next question at the documented floor
    (0, 0.0, 5.0),  # the first look
    (0, 0.999, 6.0),
    (2.4, 0.0, 5.0),
    (5, 0.5, 10.0),  # from then on every 10 s
    (60, 0.5, 10.0),
    (100, 0.5, 10.0),
    (100, 0.0, 9.0),
    (100, 0.999, 11.0),
    (300, 0.5, 30.0),  # an old one less often
    (600, 0.5, 60.0),
    (86_400, 0.5, 60.0),  # but never less than once a minute
]


@pytest.mark.parametrize(("age", "chance", "seconds"), LOOKS)
def test_looks(age, chance, seconds):
    assert next_look(age, floor=POLL_FLOOR, chance=chance) == pytest.approx(seconds, abs=0.01)


AWAITED = [
    (0, 0.0, 5.0),
    (5, 0.0, 5.0),  # while others wait for it, at the floor
    (5, 0.5, 5.0),
    (5, 0.999, 5.5),
    (100, 0.5, 10.0),
    (86_400, 0.5, 60.0),
]


@pytest.mark.parametrize(("age", "chance", "seconds"), AWAITED)
def test_a_task_that_others_wait_for_is_asked_about_at_the_floor(age, chance, seconds):
    assert next_look(age, floor=POLL_FLOOR, chance=chance, awaited=True) == pytest.approx(seconds, abs=0.01)


@given(ages, floors, chances, st.booleans())
def test_never_more_often_than_the_floor(age, floor, chance, awaited):
    pause = next_look(age, floor=floor, chance=chance, awaited=awaited)
    assert floor <= pause <= SLOWEST * floor * (1 + JITTER / 2)


@given(floors, chances, ages, ages)
def test_older_tasks_wait_longer(floor, chance, one, other):
    younger, older = sorted((one, other))
    if younger >= floor / 2:
        assert next_look(younger, floor=floor, chance=chance) <= next_look(older, floor=floor, chance=chance)


@given(floors, st.floats(0, 0.99))
def test_tasks_accepted_together_drift_apart(floor, chance):
    later = chance + 0.009
    for age in (0.0, floor, 100 * floor):
        assert next_look(age, floor=floor, chance=chance) <= next_look(age, floor=floor, chance=later)
    assert next_look(0, floor=floor, chance=chance) < next_look(0, floor=floor, chance=later)


@given(st.floats(60, 3600), chances)
def test_a_result_is_noticed_soon(service, chance):
    """Asked in good order, a clip waits at most about a sixth of its own time, or a dozen seconds."""
    age = 0.0
    while age < service:
        age += next_look(age, floor=POLL_FLOOR, chance=chance)
    assert age - service <= max(12.0, AGEING * (1 + JITTER) * service)


# trouble

BACKOFFS = [
    # failures, chance, first, seconds
    (1, 0.0, 1.0, 0.5),
    (1, 1.0, 1.0, 1.0),
    (2, 1.0, 1.0, 2.0),
    (3, 0.5, 1.0, 3.0),
    (7, 1.0, 1.0, 60.0),  # the cap
    (10**6, 1.0, 1.0, 60.0),  # no overflow
    (1, 1.0, 5.0, 5.0),
    (2, 1.0, 5.0, 10.0),
]


@pytest.mark.parametrize(("failures", "chance", "first", "seconds"), BACKOFFS)
def test_backoffs(failures, chance, first, seconds):
    assert backoff(failures, first=first, chance=chance) == pytest.approx(seconds)


@given(st.integers(1, 10**9), st.floats(0.01, 100), st.floats(1, 1000), chances)
def test_backoff_is_bounded_and_never_nothing(failures, first, cap, chance):
    wait = backoff(failures, first=first, cap=cap, chance=chance)
    assert math.isfinite(wait)
    assert 0 < min(first, cap) / 2 <= wait <= cap


@given(st.integers(1, 100), st.floats(0.01, 100), chances)
def test_backoff_grows(failures, first, chance):
    assert backoff(failures, first=first, chance=chance) <= backoff(failures + 1, first=first, chance=chance)


# tasks that are not found

VANISHED = [
    # age, misses, missing for, whether it is given up
    (MISSING_GRACE, 99, 9e9, False),  # the relay may store its row late
    (MISSING_GRACE + 1, MISSING_TIMES, MISSING_FOR, True),
    (9e9, MISSING_TIMES - 1, 9e9, False),  # too few misses, however long
    (9e9, 10**6, MISSING_FOR - 1, False),  # too soon, however many
    (9e9, 0, 0, False),
]


@pytest.mark.parametrize(("age", "misses", "missing_for", "gone"), VANISHED)
def test_given_up_only_after_many_misses_over_a_long_time(age, misses, missing_for, gone):
    assert has_vanished(age=age, misses=misses, missing_for=missing_for) is gone
