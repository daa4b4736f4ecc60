"""A circuit breaker for paid submissions: while answers are lost, an outage must not cost one doubt for every job.

Two submissions in doubt in a row, or three within a minute, open it: nothing is submitted. The free balance endpoint is
asked after 1, 2, 4, 8 and then every 15 minutes; once it answers, one submission at a time is tried. The first one that is
answered, whatever the answer says, closes the breaker; one that is in doubt opens it again, and the waits go on from where
they were. So an outage costs at most the submit slots and one submission a probe (reliability notes §1.0).

Three submissions in a row that could not leave (no name, no connection, a proxy that refuses) open it as well: they cost
nothing, so the question whether there is a way again is asked soon, and often. Pure: `now` is an argument, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

IN_A_ROW = 2
WITHIN, IN_ALL = 60.0, 3
PROBES = (60.0, 120.0, 240.0, 480.0, 900.0)
"""Seconds from opening to the first probe, from there to the next, and so on; the last goes on for ever."""
UNSENT_IN_A_ROW = 3
FREE_PROBES = (5.0, 10.0, 20.0, 40.0, 60.0)
"""The same after submissions that could not leave."""
GIVE_UP_AFTER = 3600.0
"""Seconds without one answered submission after which a run stops trying: its jobs stay as they are for the next run."""


class Circuit(StrEnum):
    """Whether submissions may leave."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state of one run's submissions. `speed`: how many seconds pass in one, as on the emulator."""

    speed: float = 1.0
    circuit: Circuit = Circuit.CLOSED
    in_a_row: int = 0
    unsent_in_a_row: int = 0
    waits: tuple[float, ...] = PROBES
    """Between the probes."""
    doubts: tuple[float, ...] = ()
    """When the last submissions were in doubt, those within the last minute."""
    opened_at: float | None = None
    """When the trouble began; None while there is none."""
    probes: int = 0
    """Since the trouble began."""
    probe_at: float | None = None
    """When to ask for the balance; None unless open."""

    def doubted(self, now: float) -> Breaker:
        """After a submission that is in doubt."""
        recent = (*(at for at in self.doubts if now - at < WITHIN / self.speed), now)
        after = replace(self, in_a_row=self.in_a_row + 1, unsent_in_a_row=0, doubts=recent, waits=PROBES)
        tripped = after.in_a_row >= IN_A_ROW or len(recent) >= IN_ALL
        if self.circuit is Circuit.OPEN or not (tripped or self.circuit is Circuit.HALF_OPEN):
            return after
        return after._opened(now)

    def answered(self) -> Breaker:
        """After a submission that was answered, with a task or with a refusal."""
        if self.circuit is Circuit.OPEN:  # it left before the others were lost: no sign that the trouble is over
            return replace(self, in_a_row=0, unsent_in_a_row=0)
        return Breaker(speed=self.speed, doubts=() if self.circuit is Circuit.HALF_OPEN else self.doubts)

    def unsent(self, now: float) -> Breaker:
        """After a submission that did not leave: it cost nothing, but there is no way, or the trouble is not over."""
        after = replace(self, unsent_in_a_row=self.unsent_in_a_row + 1)
        if self.circuit is Circuit.HALF_OPEN:
            return after._opened(now)
        if self.circuit is Circuit.CLOSED and after.unsent_in_a_row >= UNSENT_IN_A_ROW:
            return replace(after, waits=FREE_PROBES)._opened(now)
        return after

    def probed(self, now: float, *, answered: bool) -> Breaker:
        """After a question for the balance."""
        if self.circuit is not Circuit.OPEN:
            return self
        return replace(self, circuit=Circuit.HALF_OPEN, probe_at=None) if answered else self._opened(now)

    def _opened(self, now: float) -> Breaker:
        wait = self.waits[min(self.probes, len(self.waits) - 1)] / self.speed
        return replace(
            self,
            circuit=Circuit.OPEN,
            opened_at=now if self.opened_at is None else self.opened_at,
            probes=self.probes + 1,
            probe_at=now + wait,
        )

    def slots(self, slots: int) -> int:
        """How many of the submit slots may be used; after a first doubt, none more than were taken with it."""
        if self.circuit is Circuit.OPEN:
            return 0
        return 1 if self.circuit is Circuit.HALF_OPEN else max(slots - self.in_a_row, 1)

    def gives_up(self, now: float) -> bool:
        """Whether the trouble has lasted for so long that the run is to end."""
        return self.opened_at is not None and now - self.opened_at >= GIVE_UP_AFTER / self.speed
