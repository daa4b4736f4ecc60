"""Times of day and lengths of time as people write them, and the moment at which a run begins nothing more. Pure."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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


def next_at(at: time, now: datetime) -> datetime:
    """The next moment that a local clock shows `at`; `now` is aware."""
    moment = now.astimezone().replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def ends_at(at: time | None, after: timedelta | None, now: datetime) -> datetime | None:
    """When a run begins nothing more: at that time of day or after that long, whichever comes first."""
    moments = ([next_at(at, now)] if at is not None else []) + ([now + after] if after is not None else [])
    return min(moments, default=None)
