"""Times of day and lengths of time, and which of them ends a run."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from batchrunner import app, moments
from batchrunner.moments import Window
from batchrunner.run_request import RunRequest

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [("06:30", time(6, 30)), ("6:30", time(6, 30)), ("24:00", None), ("6", None), ("６:30", None), ("06:30 ", None)],
)
def test_a_time_of_day(text, at):
    assert moments.time_of_day(text) == at


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90s", 1.5), ("6h", 360), ("1h30m", 90), ("6", None), ("", None), ("-1h", None), ("999d", None)],
)
def test_a_length_of_time(text, minutes):
    assert moments.length_of_time(text) == (None if minutes is None else timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("22:00-06:30", Window(time(22), time(6, 30))),
        ("9:00 \u2013 17:00", Window(time(9), time(17))),
        ("22:00", None),
        ("22:00-22:00", None),
        ("22:00-24:00", None),
        ("-06:30", None),
    ],
)
def test_the_hours_of_a_night(text, hours):
    assert moments.window(text) == hours


BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Window(time(22), time(6, 30))


def berlin(day, hour, minute=0, *, month=11, fold=0):
    """A moment by the clocks of Berlin, which go back on 25 October 2026 and forward on 29 March."""
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "is_open", "opens", "day"),
    [
        (berlin(22, 21, 59), False, 22, 21),
        (berlin(22, 22), True, 22, 22),
        (berlin(23, 1), True, 22, 22),
        (berlin(23, 6, 30), False, 23, 22),
        (berlin(23, 12), False, 23, 22),
    ],
)
def test_a_night_goes_over_midnight_and_keeps_its_date_until_the_next(now, is_open, opens, day):
    night = moments.night(NIGHT, now, zone=BERLIN)
    assert night.is_open(now) is is_open
    assert (night.opens, night.closes) == (berlin(opens, 22), berlin(opens + 1, 6, 30))
    assert moments.date_of(now, NIGHT, zone=BERLIN) == date(2026, 11, day)
    assert moments.date_of(now, None, zone=BERLIN) == now.astimezone(BERLIN).date()


def test_a_day_is_a_window_too():
    hours = Window(time(9), time(17))
    assert moments.night(hours, berlin(22, 8), zone=BERLIN).opens == berlin(22, 9)
    assert moments.night(hours, berlin(22, 16), zone=BERLIN).closes == berlin(22, 17)
    assert moments.night(hours, berlin(22, 17), zone=BERLIN).opens == berlin(23, 9)


@pytest.mark.parametrize(("day", "month", "hours"), [(24, 10, 9.5), (28, 3, 7.5), (22, 11, 8.5)])
def test_a_night_in_which_the_clock_is_changed_is_longer_or_shorter(day, month, hours):
    night = moments.night(NIGHT, berlin(day, 23, month=month), zone=BERLIN)
    assert night.closes - night.opens == timedelta(hours=hours)


def test_hours_that_the_clock_skips_or_shows_twice():
    hours = Window(time(2, 15), time(2, 45))
    skipped = moments.night(hours, berlin(29, 0, month=3), zone=BERLIN)
    assert (skipped.opens, skipped.closes) == (berlin(29, 3, 15, month=3), berlin(29, 3, 45, month=3))
    twice = moments.night(hours, berlin(25, 0, month=10), zone=BERLIN)
    assert (twice.opens, twice.closes) == (berlin(25, 2, 15, month=10), berlin(25, 2, 45, month=10))
    vanished = moments.night(Window(time(2, 30), time(3, 15)), berlin(29, 0, month=3), zone=BERLIN)
    assert vanished.opens == berlin(30, 2, 30, month=3)


def test_a_deadline_in_the_hour_that_comes_twice_is_the_next_of_the_two():
    first, second = berlin(25, 2, 30, month=10), berlin(25, 2, 30, month=10, fold=1)
    assert second - first == timedelta(hours=1)
    assert moments.next_at(time(2, 30), first - timedelta(minutes=1), zone=BERLIN) == first
    assert moments.next_at(time(2, 30), first, zone=BERLIN) == second
    assert moments.next_at(time(2, 30), second, zone=BERLIN) == berlin(26, 2, 30, month=10)
    assert moments.next_at(time(2, 30), berlin(28, 23, month=3), zone=BERLIN) == berlin(29, 3, 30, month=3)


def test_a_run_ends_at_whatever_comes_first():
    assert moments.ends_at(None, None, NOON) is None
    assert moments.ends_at(None, timedelta(hours=1), NOON) == NOON + timedelta(hours=1)
    later = moments.next_at(time(6, 30), NOON)
    assert NOON < later <= NOON + timedelta(days=1)
    assert moments.ends_at(time(6, 30), timedelta(days=2), NOON) == later


def test_an_option_goes_above_the_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "m.yaml"
    manifest.write_text("version: 1\nlimits: {deadline: 06:30, max_duration: 90s}\njobs: [{prompt: a}]\n")

    def ends_in(**options):
        with app.open_run(RunRequest(manifest=manifest, emulator=True, **options), {}) as session:
            session.clock = lambda: NOON
            return session.hours.ends_at - NOON

    assert ends_in() == timedelta(seconds=90)
    assert ends_in(max_duration=timedelta(seconds=5)) == timedelta(seconds=5)
    assert ends_in(max_duration=timedelta(days=5)) == moments.next_at(time(6, 30), NOON) - NOON
    at = (NOON + timedelta(seconds=60)).astimezone().time()
    assert ends_in(deadline=at) == timedelta(seconds=60)
