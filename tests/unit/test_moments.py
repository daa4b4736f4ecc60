"""Times of day and lengths of time, and which of them ends a run."""

from datetime import UTC, datetime, time, timedelta

import pytest

from batchrunner import app, moments
from batchrunner.session import RunRequest

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
            return session.ends_at - NOON

    assert ends_in() == timedelta(seconds=90)
    assert ends_in(max_duration=timedelta(seconds=5)) == timedelta(seconds=5)
    assert ends_in(max_duration=timedelta(days=5)) == moments.next_at(time(6, 30), NOON) - NOON
    at = (NOON + timedelta(seconds=60)).astimezone().time()
    assert ends_in(deadline=at) == timedelta(seconds=60)
