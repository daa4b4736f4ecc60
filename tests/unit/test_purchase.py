"""The purchase id: unique by chance, sorted by time, and nothing that an API could misread."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from batchrunner.classify import _TASK_ID
from batchrunner.emulator.validation import CLIENT_ID
from batchrunner.purchase import PREFIX, RANDOM_BITS, Chance, purchase_id

NOW = datetime(2026, 11, 22, 1, 0, 3, 123456, tzinfo=UTC)
CROCKFORD_TO_PYTHON = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "0123456789ABCDEFGHIJKLMNOPQRSTUV")
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
chances = st.integers(0, (1 << RANDOM_BITS) - 1)


def test_the_shape():
    assert purchase_id(NOW, 0) == "br_01M80C8VNK0000000000000000"
    assert purchase_id(NOW, (1 << RANDOM_BITS) - 1) == "br_01M80C8VNKZZZZZZZZZZZZZZZZ"


@given(moments, chances)
def test_it_is_a_ulid_that_says_when_it_was_made(now, chance):
    digits = purchase_id(now, chance).removeprefix(PREFIX).translate(CROCKFORD_TO_PYTHON)
    milliseconds, random = divmod(int(digits, 32), 1 << RANDOM_BITS)
    assert abs(milliseconds - now.timestamp() * 1000) < 1
    assert random == chance


@given(moments, chances)
def test_letters_digits_and_underscore_only(now, chance):
    made = purchase_id(now, chance)
    assert re.fullmatch(r"br_[0-9A-HJKMNP-TV-Z]{26}", made)
    assert len(made) == 29
    assert re.fullmatch(CLIENT_ID, made)  # what a live client limits itself to
    assert _TASK_ID.match(made)  # a look-up by it is a poll
    assert not made.startswith(("task_", "tsk_", "video_", "img_"))


@given(moments, chances, chances)
def test_different_chance_is_a_different_purchase(now, one, other):
    assert (purchase_id(now, one) == purchase_id(now, other)) == (one == other)


@given(moments, st.integers(1, 10**12), chances, chances)
def test_later_ids_sort_later(now, later, one, other):
    assert purchase_id(now, one) < purchase_id(now + timedelta(milliseconds=later), other)


@given(moments, st.integers())
def test_too_much_chance_changes_no_more_than_chance(now, chance):
    made = purchase_id(now, chance)
    assert made == purchase_id(now, chance % (1 << RANDOM_BITS))
    assert made[: len(PREFIX) + 10] == purchase_id(now, 0)[: len(PREFIX) + 10]


def test_the_bits_of_purchases_do_not_follow_from_a_state_that_two_machines_may_share():
    """A snapshot that is woken twice: the jitter may be the same, the purchase ids may not."""
    one, copy = Chance(5), Chance(5)
    assert one.random() == copy.random()
    assert one.getrandbits(RANDOM_BITS) != copy.getrandbits(RANDOM_BITS)
