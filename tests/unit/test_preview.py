"""What a run would buy within its caps, and how long it would take."""

import pytest

from batchrunner.budget import Caps, Used
from batchrunner.preview import Pace, fit, landing, outlook
from batchrunner.settings import Limits, Rate
from batchrunner.store.base import Purchases

STD, PRO = ("720P", 5), ("1080P", 5)


def limits(in_flight, per_second=1000.0):
    return Limits(max_in_flight=in_flight, submit=Rate(per_second=per_second, burst=50))


@pytest.mark.parametrize(
    ("prices", "caps", "used", "expected"),
    [
        pytest.param([4, 4, 4], Caps(), Used(), (3, 12, None), id="no cap"),
        pytest.param([4, 4, 4], Caps(max_cost=12), Used(), (3, 12, None), id="all of it fits"),
        pytest.param([4, 4, 4], Caps(max_cost=11), Used(), (2, 8, "max_cost"), id="one too many"),
        pytest.param([4, 4, 4], Caps(max_cost=20), Used(max_cost=11), (2, 8, "max_cost"), id="some is used"),
        pytest.param([4, 4, 4], Caps(max_cost=20, per_day=5), Used(), (1, 4, "per_day"), id="the nearest cap"),
        pytest.param(
            [4, 9, 1], Caps(max_cost=8), Used(), (1, 4, "max_cost"), id="what comes later does not jump ahead"
        ),
        pytest.param(
            [4, None], Caps(max_cost=80), Used(), (1, 4, "max_cost"), id="what has no price may cost anything"
        ),
        pytest.param([4], Caps(max_cost=3), Used(max_cost=9), (0, 0, "max_cost"), id="a cap that was lowered"),
    ],
)
def test_what_fits(prices, caps, used, expected):
    bought = Purchases(kinds={STD: len(prices)}, uploads=0)
    cost = None if None in prices else sum(prices)

    found = fit(bought, lambda: [(price, ()) for price in prices], caps, used, cost)

    assert (found.clips, found.cost, found.cap) == expected


def test_the_cap_of_a_tag_holds_back_its_own_jobs_alone():
    clips = [(4, ("t",)), (4, ("t",)), (4, ()), (1, ("t",))]
    found = fit(Purchases(kinds={STD: 4}, uploads=0), lambda: clips, Caps(tags={"t": 5}, max_cost=50), Used(), 13)
    assert (found.clips, found.cost, found.cap) == (2, 8, "tags.t")


def test_a_long_batch_takes_its_work_over_what_is_in_flight():
    found = outlook({STD: 100, PRO: 50}, {STD: [60.0] * 10, PRO: [120.0] * 10}, limits(10))
    assert (found.seconds, found.tasks, found.unknown) == (1200.0, 20, 0)


def test_one_clip_takes_as_long_as_the_slow_ones():
    found = outlook({STD: 1}, {STD: [60.0] * 9 + [90.0] + [86400.0]}, limits(10))
    assert (found.seconds, found.median) == (90.0, 60.0)


def test_a_night_that_was_interrupted_does_not_count_whole():
    usual, interrupted = ({STD: [60.0] * 20 + late} for late in ([], [86400.0]))
    assert outlook({STD: 100}, usual, limits(10)).seconds == outlook({STD: 100}, interrupted, limits(10)).seconds


def test_submissions_take_their_time_too():
    assert outlook({STD: 1000}, {STD: [1.0]}, limits(100, per_second=5.0)).seconds == 200.0


def test_kinds_that_were_never_seen_are_taken_like_the_others():
    found = outlook({STD: 10, PRO: 10}, {STD: [60.0], PRO: []}, limits(1))
    assert (found.seconds, found.unknown) == (1200.0, 10)


def test_nothing_is_invented():
    assert outlook({STD: 10}, {STD: []}, limits(1)) is None


@pytest.mark.parametrize(
    ("seconds", "ahead", "clips"),
    [
        pytest.param(89, False, 0, id="none would be here"),
        pytest.param(90, False, 10, id="as many as may be in flight"),
        pytest.param(90 + 60, False, 20, id="and their places once more"),
        pytest.param(90 + 59, True, 1, id="the canary takes the time of the others"),
        pytest.param(90 + 120, True, 20, id="they follow it"),
        pytest.param(86400, False, 40, id="no more than there are"),
    ],
)
def test_what_lands_in_time(seconds, ahead, clips):
    paces = {"720P 5 0": Pace(usual=60.0, needs=90.0), "1080P 5 0": Pace(usual=3600.0, needs=10**6)}
    assert landing({"720P 5 0": 40, "1080P 5 0": 5}, paces, limits(10), seconds=seconds, ahead=ahead) == clips
