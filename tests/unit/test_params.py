"""Option values: what a person may write, and what is refused with the right form."""

import click
import pytest

from batchrunner.cli.params import Seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("900", 900.0), ("0", 0.0), ("0.5", 0.5), ("90s", 90.0), ("5m", 300.0), ("1h30m", 5400.0)]
)
def test_seconds(text, seconds):
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "soon", "5 minutes", "25h", "86401"])
def test_what_is_no_time_of_at_most_a_day(text):
    with pytest.raises(click.BadParameter, match="write 900, 90s or 15m"):
        Seconds().convert(text, None, None)
