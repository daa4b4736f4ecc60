"""What explains the movement of a balance, and prices from it: by table."""

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_costs import AT, DONE

from batchrunner.audit import audit, credits, quiet, sentence, start
from batchrunner.calibrate import calibrate
from batchrunner.model import Reading


def at(seconds):
    return AT + timedelta(seconds=seconds)


def reading(seconds, used):
    return Reading(at=at(seconds), used=used)


def bought(
    start, answered=None, settled=None, *, outcome="finished", charge="spent", key="720P", seconds=5, price=420_000
):
    """A purchase at `start`, accepted a second later, that ended at `settled`."""
    return replace(
        DONE,
        intended_at=at(start),
        answered_at=at(start + 1 if answered is None else answered),
        settled_at=None if settled is None else at(settled),
        outcome=outcome,
        charge=charge,
        billing_key=key,
        seconds=seconds,
        price=price,
    )


def failed(start, settled):
    return bought(start, settled=settled, outcome="task_failed", charge="released")


def running(start):
    return bought(start, outcome="accepted", charge="committed")


def lost(start, outcome="unanswered"):
    return bought(start, outcome=outcome, charge="committed")


@pytest.mark.parametrize(
    ("price", "currency", "expected"),
    [
        (420_000, "USD", 84),
        (84_000, "USD", Fraction(84, 5)),
        (84_000_000, "credits", 84),
        (1, "CNY", None),
        (None, "USD", None),
        (1, None, None),
    ],
)
def test_a_price_in_credits(price, currency, expected):
    assert credits(price, currency) == expected


def test_a_reading_is_quiet_when_nothing_was_on_its_way():
    readings = [reading(second, 0) for second in (0, 10, 20, 30, 40)]
    entries = [bought(5, answered=12, settled=35), failed(15, 25)]
    assert [one.at for one in quiet(readings, entries)] == [at(0), at(30), at(40)]
    assert quiet(readings, [lost(25)]) == readings[:3]


LINES = [
    ([bought(1, settled=9)], 84, "charged 84 credits; 1 task explains 84; unexplained 0; in doubt 0"),
    ([bought(1, settled=9), failed(2, 9)], 84, "charged 84 credits; 1 task explains 84; unexplained 0; in doubt 0"),
    ([bought(1), running(2)], 168, "charged 168 credits; 2 tasks explain 168; unexplained 0; in doubt 0"),
    ([bought(1), lost(2)], 168, "charged 168 credits; 1 task explains 84; unexplained 84; in doubt 1"),
    ([bought(1), lost(2, "abandoned")], 84, "charged 84 credits; 1 task explains 84; unexplained 0; in doubt 1"),
    ([], 0, "charged 0 credits; 0 tasks explain 0; unexplained 0; in doubt 0"),
]


@pytest.mark.parametrize(("entries", "used", "line"), LINES)
def test_the_audit_line(entries, used, line):
    found = audit(reading(0, 1000), reading(10, 1000 + used), entries)
    assert sentence(found, exclusive=False) == line


def test_an_audit_begins_before_the_tasks_that_end_in_the_run():
    entries = [failed(5, 25), bought(6, settled=30), bought(21, settled=29)]
    readings = [reading(0, 100), reading(10, 268), reading(20, 184), reading(30, 268)]
    first = start(readings, entries, began=at(20))
    found = audit(first, readings[-1], entries)
    assert (found.since, found.charged, found.tasks, found.unexplained) == (at(0), 168, 2, 0)
    assert start(readings[2:], entries, began=at(20)) is None


def test_the_parts_of_an_audit_are_read_once():
    entries = [bought(1), replace(bought(2), currency="credits", price=3_000_000), failed(3, 9), lost(4)]
    found = audit(reading(0, 0), reading(10, 100), iter(entries))
    assert (found.tasks, found.explained, found.in_doubt) == (2, 87, 1)
    assert audit(reading(0, 0), reading(10, 100), iter([*entries, bought(5, price=None)])).explained is None


@pytest.mark.parametrize(
    ("entries", "exclusive", "why"),
    [
        ([bought(1)], False, "not auditable: the key is not known to be exclusive"),
        ([bought(1)], True, "the prices are not the account's"),
        ([bought(1), running(2)], True, "1 still running"),
        ([bought(1, price=None)], True, "charged 100 credits for 1 task; not auditable: they have no price"),
    ],
)
def test_what_is_not_explained_is_said_with_its_reasons(entries, exclusive, why):
    found = audit(reading(0, 0), reading(10, 100), entries)
    assert why in sentence(found, exclusive=exclusive)


# prices


def test_prices_come_from_stretches_of_one_kind():
    found = calibrate(
        [reading(0, 0), reading(10, 252), reading(20, 420)], [bought(1), bought(2, seconds=10), bought(11, seconds=10)]
    )
    assert (found.rates, found.mixed, found.contradicts, found.intervals) == ({"720P": Fraction(84, 5)}, (), False, 2)


def test_mixed_stretches_are_solved_when_they_are_determined():
    entries = [
        bought(1),
        bought(2, key="1080P"),
        bought(11),
        bought(12),
        bought(13, key="1080P"),
        bought(21, key="720P+Sound"),
        bought(22, key="1080P+Sound"),
        bought(31, key="1080P"),
        bought(32, key="1080P"),
        bought(33),
    ]
    readings = [reading(0, 0), reading(10, 196), reading(20, 476), reading(30, 770), reading(40, 1078)]
    found = calibrate(readings, entries)
    assert found.rates == {"720P": Fraction(84, 5), "1080P": Fraction(112, 5)}
    assert found.mixed == ("1080P+Sound", "720P+Sound")


def test_the_same_for_different_amounts_is_a_key_that_others_use():
    found = calibrate([reading(0, 0), reading(10, 84), reading(20, 200)], [bought(1), bought(11)])
    assert (found.rates, found.contradicts) == ({}, True)
    assert calibrate([reading(0, 0), reading(10, 84), reading(20, 90)], [bought(1)]).contradicts


def test_a_price_that_nothing_confirms_is_not_told():
    """Somebody else bought for 50 credits in the only stretch: nothing shows it, so nothing is said."""
    noisy = calibrate([reading(0, 0), reading(10, 134)], [bought(1)])
    assert (noisy.rates, noisy.once) == ({}, ("720P",))
    mixed = calibrate(
        [reading(0, 0), reading(10, 196), reading(20, 420)],
        [bought(1), bought(2, key="1080P"), bought(11, key="1080P"), bought(12, key="1080P")],
    )
    assert (mixed.rates, mixed.once) == ({}, ("1080P", "720P"))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["720P", "1080P"]), st.integers(1, 3), min_size=1), min_size=1, max_size=5
    ),
    st.data(),
)
def test_noise_in_one_stretch_never_becomes_a_price(stretches, data):
    """Whoever else uses the key in one of the stretches, the prices that are told are the right ones, or none."""
    noise, where = data.draw(st.integers(0, 500)), data.draw(st.integers(0, len(stretches) - 1))
    used, readings, entries = 0, [reading(0, 0)], []
    for number, clips in enumerate(stretches):
        for place, (key, count) in enumerate(sorted(clips.items())):
            entries += [bought(number * 100 + 10 * place + n + 1, key=key) for n in range(count)]
            used += count * {"720P": 84, "1080P": 112}[key]
        used += noise if number == where else 0
        readings.append(reading(number * 100 + 99, used))
    found = calibrate(readings, entries)
    if found.per_second:
        assert found.rates.items() <= {"720P": Fraction(84, 5), "1080P": Fraction(112, 5)}.items()
        assert not (noise and found.rates and len(found.rates) == len({key for one in stretches for key in one}))


def test_a_price_by_the_clip_is_told_when_only_that_fits():
    readings = [reading(0, 0), reading(10, 50), reading(20, 100), reading(30, 150)]
    found = calibrate(readings, [bought(1), bought(11, seconds=10), bought(21)])
    assert (found.rates, found.per_second) == ({"720P": Fraction(50)}, False)


def test_a_failed_task_is_no_movement_and_an_unquiet_reading_no_bound():
    entries = [failed(1, 15), bought(2), bought(21)]
    readings = [reading(0, 0), reading(10, 168), reading(20, 84), reading(30, 168)]
    again = [*readings, reading(40, 252)]
    assert calibrate(again, [*entries, bought(31)]).rates == {"720P": Fraction(84, 5)}
    assert calibrate(readings[:2], entries).rates == {}
