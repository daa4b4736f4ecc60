"""A lane's pace: never faster than its bucket allows, slower when told, and itself again after a while."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.pacing import RECOVERY, SLOWEST, STEP, Pace, Room
from batchrunner.settings import GROUPS, Rate

SUBMIT = Rate(per_second=5.0, burst=50)
rates = st.builds(Rate, per_second=st.floats(0.01, 500), burst=st.integers(1, 500))
steps = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 60)), min_size=1, max_size=40)


def take(pace, now, number):
    for _ in range(number):
        pace = pace.took(now)
    return pace


def test_a_full_lane_has_its_burst_and_no_more():
    pace = Pace.full(SUBMIT, 100.0)
    assert (pace.available(100.0), pace.wait(100.0)) == (50, 0.0)
    assert pace.available(1e9) == 50


def test_tokens_come_back_at_the_rate():
    pace = take(Pace.full(SUBMIT, 0.0), 0.0, 50)
    assert pace.available(0.0) == 0
    assert pace.wait(0.0) == pytest.approx(0.2)
    assert [pace.available(seconds) for seconds in (0.19, 0.2, 1.0, 9.99, 10.0, 60.0)] == [0, 1, 5, 49, 50, 50]


def test_a_clock_that_steps_back_gives_nothing():
    pace = take(Pace.full(SUBMIT, 100.0), 100.0, 50)
    assert pace.available(50.0) == 0
    back = pace.at_time(50.0)
    assert (back.tokens, back.at) == (0.0, 100.0)


@given(rates, steps)
@settings(max_examples=150)
def test_no_window_holds_more_than_the_bucket_allows(rate, plan):
    """For every two requests: those between them are at most the burst and what came in meanwhile."""
    now, pace, sent = 0.0, Pace.full(rate, 0.0), []
    for pause, wanted in plan:
        now += pause
        number = min(wanted, pace.available(now))
        pace = take(pace, now, number)
        if number:
            sent.append((now, number))
    for first in range(len(sent)):
        total = 0
        for at, number in sent[first:]:
            total += number
            assert total <= rate.burst + rate.per_second * (at - sent[first][0]) + 1e-3


@given(rates, steps, st.floats(0, 1000))
def test_waiting_as_long_as_it_says_is_enough(rate, plan, start):
    now, pace = start, Pace.full(rate, start)
    for pause, wanted in plan:
        now += pause
        pace = take(pace, now, min(wanted, pace.available(now)))
    wait = pace.wait(now)
    assert wait >= 0
    if wait == 0:
        assert pace.available(now) >= 1
    else:
        assert pace.available(now) == 0
        assert pace.available(now + wait * (1 + 1e-9) + 1e-6) >= 1


def test_held_means_nothing_leaves():
    pace = Pace.full(SUBMIT, 0.0).held(30.0)
    assert [pace.available(now) for now in (0.0, 29.9, 30.0)] == [0, 0, 50]
    assert [pace.wait(now) for now in (0.0, 20.0, 30.0)] == [30.0, 10.0, 0.0]


def test_a_shorter_hold_shortens_nothing():
    assert Pace.full(SUBMIT, 0.0).held(30.0).held(10.0).held_until == 30.0


def test_a_complaint_halves_the_rate_and_empties_the_bucket():
    pace = Pace.full(SUBMIT, 0.0).slowed(0.0, until=10.0)
    assert (pace.factor, pace.tokens, pace.held_until) == (0.5, 0.0, 10.0)
    assert pace.available(5.0) == 0
    assert pace.at_time(10.0).tokens == pytest.approx(25.0)  # half of 5 a second, from the complaint on


def test_complaints_about_requests_that_left_together_count_once():
    pace = Pace.full(SUBMIT, 0.0)
    for _ in range(10):
        pace = pace.slowed(0.5, until=10.0)
    assert pace.factor == 0.5
    assert pace.slowed(11.0, until=20.0).factor == 0.25


def test_there_is_a_slowest_pace():
    pace, now = Pace.full(SUBMIT, 0.0), 0.0
    for _ in range(50):
        pace, now = pace.slowed(now, until=now + 1.0), now + 1.5
    assert pace.factor == SLOWEST
    assert 0 < pace.wait(now) <= 1 / (SUBMIT.per_second * SLOWEST)


def test_each_minute_of_peace_gives_a_step_of_the_rate_back_until_it_is_whole():
    pace = Pace.full(SUBMIT, 0.0).slowed(0.0, until=1.0).slowed(2.0, until=3.0)
    assert pace.factor == 0.25
    factors = []
    for minute in range(1, 6):
        pace = pace.at_time(2.0 + minute * RECOVERY)
        factors.append(round(pace.factor, 9))
    assert factors == [0.45, 0.65, 0.85, 1.0, 1.0]


def test_no_recovery_before_its_time():
    pace = Pace.full(SUBMIT, 0.0).slowed(0.0, until=1.0)
    assert pace.at_time(RECOVERY - 0.1).factor == 0.5
    assert pace.at_time(RECOVERY).factor == 0.5 + STEP


def test_a_complaint_after_a_recovery_halves_the_recovered_rate():
    idle = Pace.full(SUBMIT, 0.0).slowed(0.0, until=1.0)
    now = RECOVERY + 1
    assert idle.at_time(now).factor == 0.5 + STEP
    assert idle.slowed(now, until=now + 1).factor == (0.5 + STEP) / 2


def test_where_time_runs_faster_peace_comes_sooner():
    pace = Pace.full(SUBMIT, 0.0, speed=100.0).slowed(0.0, until=0.01)
    assert (pace.at_time(0.59).factor, pace.at_time(0.6).factor) == (0.5, 0.5 + STEP)


# room in flight


def test_a_refusal_for_capacity_leaves_one_place_fewer_than_there_were_tasks():
    assert Room(limit=10).at(0.0) == 10
    assert Room(limit=10).lowered(0.0, flying=9).at(0.0) == 9
    assert Room(limit=100).lowered(0.0, flying=6).at(0.0) == 6  # six had their place, the seventh had none
    assert Room(limit=10).lowered(0.0, flying=30).at(0.0) == 9


def test_room_comes_back_one_by_one():
    room = Room(limit=10).lowered(0.0, flying=7)
    assert [room.at(minutes * RECOVERY) for minutes in (0, 0.9, 1, 2, 3, 4, 99)] == [7, 7, 8, 9, 10, 10, 10]
    again = room.lowered(RECOVERY, flying=7)
    assert [again.at(minutes * RECOVERY) for minutes in (1, 2)] == [7, 8]


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 300), st.integers(0, 60)), max_size=60))
def test_there_is_always_room_for_one_and_never_more_than_was_asked_for(limit, complaints):
    room, now = Room(limit=limit), 0.0
    for pause, flying in complaints:
        now += pause
        assert 1 <= room.at(now) <= limit
        room = room.lowered(now, flying=flying)
        assert 1 <= room.at(now) <= limit


@given(rates, st.lists(st.tuples(st.floats(0, 120), st.booleans()), max_size=30))
def test_whatever_happens_the_pace_stays_within_its_bounds(rate, happenings):
    pace, now = Pace.full(rate, 0.0), 0.0
    for pause, complaint in happenings:
        now += pause
        pace = pace.slowed(now, until=now + 5) if complaint else take(pace, now, min(pace.available(now), 3))
        assert SLOWEST <= pace.factor <= 1.0
        assert -1e-6 <= pace.tokens <= rate.burst
        assert pace.wait(now) >= 0


@pytest.mark.parametrize(("group", "submits", "queries"), [("default", 300, 3_000), ("vip", 1_000, 10_000)])
def test_the_documented_groups_a_minute(group, submits, queries):
    submit, query = GROUPS[group]
    assert (round(submit.per_second * 60), round(query.per_second * 60)) == (submits, queries)
