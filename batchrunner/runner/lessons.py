"""What a run learns of service times while tasks end: a forecast for each kind, from this database's own history."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from batchrunner.forecast import WINDOW, Forecast, forecast
from batchrunner.settings import Limits
from batchrunner.store.base import Store
from batchrunner.store.writer import Writer

RELEARN = 16
"""Tasks that end between two forecasts of a kind."""


@dataclass(slots=True)
class _Lesson:
    times: deque[float]
    """The last service times, in the provider's seconds."""
    learned: Forecast | None
    new: int = 0
    """Times since the last forecast."""


@dataclass(slots=True, kw_only=True)
class Lessons:
    """Forecasts in seconds of the run's own clock."""

    store: Store
    writer: Writer
    endpoint: str
    limits: Limits
    _lessons: dict[str, _Lesson] = field(default_factory=dict)

    def of(self, kind: str) -> Forecast | None:
        """What is known of a kind that was looked up; None while it is too little."""
        lesson = self._lessons.get(kind)
        return lesson.learned if lesson else None

    async def look_up(self, kind: str) -> None:
        """Read what earlier tasks of a kind took, once in a run."""
        if kind in self._lessons:
            return
        seen = await self.writer.run(self.store.service_times, kind, endpoint=self.endpoint, limit=WINDOW)
        if kind not in self._lessons:
            times = deque(reversed(seen), maxlen=WINDOW)
            self._lessons[kind] = _Lesson(times, self._forecast(times))

    def ended(self, kind: str, took: float) -> None:
        """A task took so many of the provider's seconds."""
        lesson = self._lessons.get(kind)
        if lesson is None:
            return
        lesson.times.append(took)
        lesson.new += 1
        if lesson.new >= RELEARN or lesson.learned is None:
            lesson.new, lesson.learned = 0, self._forecast(lesson.times)

    def _forecast(self, times: deque[float]) -> Forecast | None:
        return forecast(self.limits.lasting(time) for time in times)
