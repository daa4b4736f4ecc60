"""When a batch will be finished: against the batch itself, played many times."""

import heapq
import random

import pytest

from batchrunner.eta import expected
from batchrunner.forecast import forecast


def times(rng, count):
    return [min(80 + 25 * rng.lognormvariate(0, 0.9), 253.0) for _ in range(count)]


def played(rng, ages, waiting, places):
    """Seconds until the last of them ends, in one history."""
    ends = []
    for age in ages:
        while (time := times(rng, 1)[0]) <= age:
            pass
        ends.append(time - age)
    heapq.heapify(ends)
    for time in times(rng, waiting):
        start = heapq.heappop(ends) if len(ends) >= places else 0.0
        heapq.heappush(ends, start + time)
    return max(ends)


@pytest.mark.parametrize(
    ("flying", "waiting", "places"), [(1, 0, 1), (10, 0, 10), (10, 90, 10), (100, 5000, 100), (0, 40, 10), (3, 400, 40)]
)
def test_the_expected_finish_is_where_the_batch_ends(flying, waiting, places):
    rng = random.Random(f"{flying}/{waiting}/{places}")
    learned = forecast(times(rng, 256))
    ages = [rng.random() * 80 for _ in range(flying)]
    ends = sorted(played(rng, ages, waiting, places) for _ in range(100))
    eta = expected([(learned, age) for age in ages], {learned: waiting} if waiting else {}, places=places)
    assert eta.median == pytest.approx(ends[50], rel=0.2)
    assert eta.likely == pytest.approx(ends[90], rel=0.2)
    assert eta.median <= eta.likely


def test_two_kinds_count_each_for_itself():
    rng = random.Random(5)
    short, long = forecast(times(rng, 256)), forecast(3 * time for time in times(rng, 256))
    half = expected([], {short: 500, long: 500}, places=10)
    assert half.median == pytest.approx(
        (expected([], {short: 1000}, places=10).median + expected([], {long: 1000}, places=10).median) / 2, rel=0.1
    )


def test_a_slow_submission_rate_is_what_it_takes():
    learned = forecast(times(random.Random(2), 256))
    eta = expected([], {learned: 1000}, places=1000, rate=0.5)
    assert eta.median == pytest.approx(2000 + learned.mean, rel=0.15)


def test_nothing_to_wait_for():
    assert expected([], {}, places=10) is None


def test_a_task_older_than_any_known_is_due_at_once():
    learned = forecast(times(random.Random(2), 256))
    assert expected([(learned, 10_000.0)], {}, places=1).median == pytest.approx(0, abs=0.1)
