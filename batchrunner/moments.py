"""Times of day, lengths of time and nights, as people write them, and the moments they stand for. Pure.

Times of day are read off a local clock: the system's, or `zone`. A time that the clock shows twice, in the night that it is
put back, is the first of the two; one that it skips counts on from the hour before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DAY = timedelta(days=1)


def time_of_day(text: str) -> time | None:
    """`06:30`; None when the text is no time of day."""
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text, re.ASCII)
    try:
        return time(int(match[1]), int(match[2])) if match else None
    except ValueError:
        return None


def length_of_time(text: str) -> timedelta | None:
    """`90s`, `30m`, `6h` or `1h30m`; None when the text is no length of time, or one of more than a year."""
    if not re.fullmatch(r"(\d{1,9}[smhd])+", text, re.ASCII):
        return None
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))
    return timedelta(seconds=seconds) if seconds <= 366 * _UNITS["d"] else None


def written(length: timedelta) -> str:
    """A length of time as `length_of_time` reads it: `6h`, `90s`."""
    seconds = int(length.total_seconds())
    unit, each = next((unit, each) for unit, each in (("h", 3600), ("m", 60), ("s", 1)) if seconds % each == 0)
    return f"{seconds // each}{unit}"


@dataclass(frozen=True, slots=True)
class Window:
    """The hours of each day in which clips are bought; over midnight when it closes before it opens."""

    opens: time
    closes: time

    def includes(self, at: time) -> bool:
        """Whether the window is open when a clock shows this."""
        if self.opens < self.closes:
            return self.opens <= at < self.closes
        return at >= self.opens or at < self.closes

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"


@dataclass(frozen=True, slots=True)
class Night:
    """One day's window."""

    opens: datetime
    closes: datetime

    def is_open(self, now: datetime) -> bool:
        """Whether clips may be bought now."""
        return self.opens <= now < self.closes


def window(text: str) -> Window | None:
    """`22:00-06:30`; None when the text is no window, or one of no length."""
    opens, dash, closes = re.sub(r"\s*[-\u2013]\s*", "-", text).partition("-")
    first, last = time_of_day(opens), time_of_day(closes)
    return Window(first, last) if dash and first is not None and last is not None and first != last else None


def night(window: Window, now: datetime, *, zone: tzinfo | None = None) -> Night:
    """The night that has not closed yet: the one that `now` lies in, or else the next."""
    day = now.astimezone(zone).date() - _DAY
    while True:
        closing = day if window.closes > window.opens else day + _DAY
        found = Night(_shown(day, window.opens, zone)[0], _shown(closing, window.closes, zone)[0])
        if now < found.closes and found.opens < found.closes:
            return found
        day += _DAY


def date_of(now: datetime, window: Window | None, *, zone: tzinfo | None = None) -> date:
    """What `{date}` stands for: the day on which the window opened last; without a window, the calendar's.

    A night keeps its date over midnight, and after it has closed, until the next one opens: what it bought is then still
    collected by the same command.
    """
    day = now.astimezone(zone).date()
    return day if window is None or _shown(day, window.opens, zone)[0] <= now else day - _DAY


def next_at(at: time, now: datetime, *, zone: tzinfo | None = None) -> datetime:
    """The next moment that a local clock shows `at`; `now` is aware."""
    today = now.astimezone(zone).date()
    return next(moment for day in (today, today + _DAY) for moment in _shown(day, at, zone) if moment > now)


def ends_at(at: time | None, after: timedelta | None, now: datetime) -> datetime | None:
    """When a run begins nothing more: at that time of day or after that long, whichever comes first."""
    moments = ([next_at(at, now)] if at is not None else []) + ([now + after] if after is not None else [])
    return min(moments, default=None)


def _shown(day: date, at: time, zone: tzinfo | None) -> list[datetime]:
    """The moments, in UTC, at which a local clock shows this: two where it is put back, one that is near where it skips it."""
    local = [datetime.combine(day, at.replace(fold=fold)) for fold in (0, 1)]
    moments = [(one.replace(tzinfo=zone) if zone else one.astimezone()).astimezone(UTC) for one in local]
    return sorted({one for one in moments if one.astimezone(zone).time() == at}) or moments[:1]
