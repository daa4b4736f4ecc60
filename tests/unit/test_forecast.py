"""What finished tasks say of the next: the closed forms against sums, and questions that are well spent."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.forecast import FEWEST, WINDOW, forecast, service_time
from batchrunner.polling import next_look

times = st.lists(st.floats(0.1, 1e5), min_size=FEWEST, max_size=WINDOW)


def measured(rng):
    """Seconds as measured: median 105, from 83 to 253 (API facts §6)."""
    return min(max(80 + rng.lognormvariate(math.log(25), 0.9), 83), 253)


@pytest.fixture
def learned():
    rng = random.Random(4)
    return forecast([measured(rng) for _ in range(WINDOW)])


@given(st.lists(st.floats(-10, 1e5) | st.just(math.inf) | st.just(math.nan), max_size=FEWEST - 1))
def test_few_times_say_nothing(few):
    assert forecast(few) is None


def test_times_that_are_none_do_not_count():
    assert forecast([0.0, -5.0, math.inf, math.nan] * FEWEST) is None


@given(times)
def test_the_distribution_falls_from_one_and_never_to_nothing(seen):
    found = forecast(seen)
    assert found.knots[0] == 0
    assert found.survival[0] == 1
    assert found.survival[-1] > 0
    assert all(left < right for left, right in pairwise(found.knots))
    assert all(left > right for left, right in pairwise(found.survival))
    assert found.knots[-1] <= max(seen) * (1 + 1e-9)


@given(times, st.floats(0.01, 0.98))
def test_quantiles_lie_among_the_times_and_rise(seen, share):
    found = forecast(seen)
    assert 0 <= found.quantile(share) <= found.quantile(min(share + 0.01, 1)) <= max(seen) * (1 + 1e-9)


def test_the_mean_and_the_steps_are_the_integrals(learned):
    """By summing thin slices of the piecewise constant density."""
    mean = expected = total = 0.0
    for left, right, before, after in zip(
        learned.knots, learned.knots[1:], learned.survival, learned.survival[1:], strict=False
    ):
        density = (before - after) / (right - left)
        slices = 2_000
        for number in range(slices):
            alive = before - (before - after) * (number + 0.5) / slices
            width = (right - left) / slices
            mean += alive * width
            expected += math.sqrt(density * alive) * width
            total += math.sqrt(density / alive) * width
    assert learned.mean == pytest.approx(mean, rel=1e-3)
    assert learned.expected_steps == pytest.approx(expected, rel=1e-3)
    assert learned.steps[-1] == pytest.approx(total, rel=1e-3)


@given(times, st.floats(0, 1e5), st.floats(1e-3, 10))
def test_a_step_leads_on_and_two_lead_as_far_as_both(seen, age, step):
    found = forecast(seen)
    then = found.after(age, step)
    if then is None:
        return
    assert then >= age - 1e-6
    further = found.after(then, step)
    both = found.after(age, 2 * step)
    if further is not None and both is not None:
        assert further == pytest.approx(both, rel=1e-4, abs=1e-3)


@given(times, st.floats(0, 2e5))
def test_what_remains_is_never_negative_and_unknown_beyond_all_known(seen, age):
    found = forecast(seen)
    left = found.remaining(age)
    if age >= found.knots[-1]:
        assert left is None
    else:
        assert left is not None
        assert 0 <= left <= found.knots[-1]


def test_half_of_the_tasks_are_finished_at_the_median(learned):
    assert learned.quantile(0.5) == pytest.approx(105, rel=0.07)
    assert learned.remaining(0) == pytest.approx(105, rel=0.07)
    assert learned.remaining(90) < learned.remaining(0) - 60


def looks(service, **how):
    """Questions about one task, and the seconds until its end was noticed."""
    age, asked = 0.0, 0
    while age < service:
        age += next_look(age, chance=0.5, **how)
        asked += 1
    return asked, age - service


def test_a_task_of_a_known_kind_is_noticed_sooner_for_fewer_questions(learned):
    rng = random.Random(5)
    ends = [measured(rng) for _ in range(500)]
    known = [looks(end, floor=5.0, learned=learned) for end in ends]
    unknown = [looks(end, floor=5.0) for end in ends]
    assert sum(delay for _, delay in known) < 0.6 * sum(delay for _, delay in unknown)
    assert sum(asked for asked, _ in known) < 0.9 * sum(asked for asked, _ in unknown)


@pytest.mark.parametrize("service", [41.0, 42.0, 43.0])
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_tasks_that_all_take_about_as_long_are_asked_about_once(service, chance):
    """A question in the middle of a narrow spread would find half of them unfinished, and could not be repeated soon."""
    learned = forecast([41.0, 42.0, 43.0] * 40)
    pause = next_look(0.0, floor=5.0, chance=chance, learned=learned)
    assert service <= pause <= 43.0 + 1.0


@pytest.mark.parametrize(("scale", "floor"), [(1.0, 0.125), (40.0, 5.0)])
def test_no_more_questions_than_are_of_use(scale, floor):
    """The documented cadence would allow for several, a floor apart; all but one would be too early."""
    learned = forecast([scale * (1 + number / 10_000) for number in range(-20, 21)])
    asked, delay = looks(scale, floor=floor, learned=learned)
    assert asked == 1
    assert delay < 0.2 * floor


@given(
    st.lists(st.floats(0.1, 1e3), min_size=FEWEST, max_size=24),
    st.floats(0, 1e3),
    st.floats(0, 1e3),
    st.floats(0.01, 60),
)
def test_no_moment_nearby_is_better_for_the_one_question(seen, age, later, floor):
    """Against sums over a grid: the delay to be expected with a question then, and one a floor after it."""
    learned, first = forecast(seen), age + later

    def delay(moment):
        slices = 40
        ends = [age + (first + floor - age) * (number + 0.5) / slices for number in range(slices)]
        falls = [(end, learned.alive(end - width) - learned.alive(end + width)) for end in ends]
        return sum((moment - end if end <= moment else first + floor - end) * fall for end, fall in falls)

    width = (first + floor - age) / 80
    chosen = learned.best(age, first, floor)
    assert first <= chosen < first + floor
    knots = [knot for knot in learned.knots if first < knot < first + floor]
    grain = width * 2 * (first + floor - age) * max(learned.alive(age) - learned.alive(first + floor), 1e-9) + 1e-9
    assert delay(chosen) <= min(map(delay, [first, *knots])) + 4 * grain


@given(times, st.floats(0, 1e6), st.floats(0, 1, exclude_max=True), st.floats(1e-4, 100))
def test_never_more_often_than_the_floor_and_never_in_vain(seen, age, chance, share):
    pause = next_look(age, floor=5.0, chance=chance, learned=forecast(seen), share=share)
    assert 5.0 <= pause <= max(max(seen), 60.0) * 1.1 + 5


def test_a_stuck_task_is_asked_about_like_any_other_old_one(learned):
    for age in (300.0, 3_000.0, 90_000.0):
        assert next_look(age, floor=5.0, chance=0.5, learned=learned) == next_look(age, floor=5.0, chance=0.5)


def test_a_crowd_asks_less_often(learned):
    rng = random.Random(6)
    ends = [measured(rng) for _ in range(300)]
    alone = sum(looks(end, floor=5.0, learned=learned)[0] for end in ends)
    crowded = sum(looks(end, floor=5.0, learned=learned, share=1 / 50)[0] for end in ends)
    assert crowded < alone / 2


@pytest.mark.parametrize(
    ("told", "earliest", "latest", "took"),
    [
        (105.0, 100.0, 110.0, 105.0),  # the provider's word
        (None, 100.0, 110.0, 102.5),  # any moment between the two looks
        (60.0, 100.0, 110.0, 100.0),  # it showed its news late
        (500.0, 100.0, 110.0, 110.0),  # it cannot have taken longer than we have waited
        (105.0, None, 110.0, 105.0),  # nobody looked before it ended, but it tells
        (None, None, 110.0, None),
        (math.nan, None, 110.0, None),
        (-3.0, 100.0, 110.0, 102.5),
    ],
)
def test_what_a_task_took(told, earliest, latest, took):
    assert service_time(told, earliest=earliest, latest=latest, chance=0.25) == took


@pytest.mark.parametrize("seen", [[3.0] * 40, [105.0] * 20 + [106.0] * 20, [83.0] * 30 + [120.0, 130.0] * 5])
def test_times_that_are_told_in_whole_seconds_are_no_spread(seen):
    learned = forecast(seen)
    assert learned.mean == pytest.approx(sum(seen) / len(seen), rel=0.05)
