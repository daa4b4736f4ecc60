"""When a run may buy and when it ends, seen from one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from batchrunner import moments
from batchrunner.moments import Night, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The hours of one run at the moment `now`."""

    window: Window | None
    """The hours in which it may buy; None for any."""
    deadline: time | None
    """The time of day at which it ends."""
    max_duration: timedelta | None
    """After how long it ends."""
    now: datetime

    @property
    def night(self) -> Night | None:
        """The window that is open now, or else the next; None without any."""
        return None if self.window is None else moments.night(self.window, self.now)

    @property
    def opens_at(self) -> datetime | None:
        """When the window opens; None while it is open, or without any."""
        night = self.night
        return None if night is None or night.is_open(self.now) else night.opens

    @property
    def next_opening(self) -> datetime | None:
        """When the window opens next; None without any."""
        night = self.night
        if self.window is None or night is None:
            return None
        return self.opens_at or moments.night(self.window, night.closes).opens

    @property
    def ends_at(self) -> datetime | None:
        """When the run ends: at the deadline, after the duration, and at the latest when its night ends."""
        night = self.night
        ends = [moments.ends_at(self.deadline, self.max_duration, self.now), night.closes if night else None]
        return min((end for end in ends if end is not None), default=None)
