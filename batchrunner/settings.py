"""Limits and times: every default is a named constant with its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

API_BASE_URL = "https://toapis.com"

MAX_IN_FLIGHT = 10
SUBMIT_SLOTS = 4
"""So that one crash leaves at most four submissions unanswered (reliability notes, finding 5)."""
DOWNLOADS = 4
UPLOADS = 2
POLL_FLOOR = 5.0
"""Seconds; ToAPIs asks for a first look after 5 s and none more often (API facts §1)."""

SUBMIT_DEADLINE = 180.0
"""Seconds for one whole submission; a live ToAPIs client waits as long (API facts §6): a slow answer is cheaper than none."""
LONGEST_WAIT = timedelta(hours=1)
"""What a pending job ever has to wait for, `Retry-After` included; a later time was written by a clock that was wrong."""
SETTLE = 900.0
"""Seconds from a submission that was not answered to the verdict: what may still arrive has arrived (reliability notes §2.4)."""
SERVICE_P90 = 200.0
"""Seconds in which nine of ten clips of 5 s in std are made, until the database knows better: of 8 equal ones that somebody
measured the median took 105 s and the last 253 (API facts §6). Longer clips are taken to need as much more time."""
PRO_FACTOR = 2.0
"""How much longer pro takes: 90-200 s are told of it, and 45-90 s of std (same place)."""
LANDING = 30.0
"""Seconds from the end of a task to its clip on the disk, in a deadline: the look that sees it, some 20 MB over a line that
others share (four at once, 10 Mbit/s each), the check of the file. An estimate: nobody tells how large clips are."""
SUBMIT_GRACE = 30.0
"""Seconds that requests under way get to be answered and recorded after the first Ctrl-C."""
CALL_TIMEOUT = 30.0
"""Seconds without a byte before a poll, an upload or a balance call is given up and tried again."""
UNREACHABLE_AFTER = 600.0
"""Seconds without any answer from the provider before a run ends and says so."""
MISSING_GRACE = 120.0
"""Seconds after acceptance in which a 404 means nothing: the relay may store its row late (reliability notes §1.3)."""
MISSING_TIMES = 5
MISSING_FOR = 1800.0
"""A task is given up as vanished after five 404s spread over half an hour (same place)."""
STUCK_AFTER = 24 * 3600.0
"""Seconds after which a task that still runs is shown as stuck (reliability notes §1.3); no clock ever fails it."""
TROUBLED_SHOWN = 600.0
TROUBLED_AFTER = 7200.0
"""Seconds in which every question was answered by an error: then it is shown, and then the run ends and says so."""
RESULT_LIFETIME = 24 * 3600.0
"""Seconds that a finished clip is kept at the provider (API facts §1)."""
ASSET_LIFETIME = 20 * 3600.0
"""Seconds that an uploaded frame's URL is trusted; its lifetime is undocumented, results live 24 h (API facts §2)."""
MAX_CLIP_BYTES = 1 << 30
MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A token bucket: `per_second` on average, `burst` at once."""

    per_second: float
    burst: int

    def scaled(self, speed: float) -> Rate:
        """The same bucket where `speed` seconds pass in one."""
        return replace(self, per_second=self.per_second * speed)


GROUPS = {
    "default": (Rate(per_second=5.0, burst=50), Rate(per_second=50.0, burst=500)),
    "vip": (Rate(per_second=1000 / 60, burst=167), Rate(per_second=10_000 / 60, burst=1_667)),
    "svip": (Rate(per_second=2000 / 60, burst=334), Rate(per_second=30_000 / 60, burst=5_000)),
}
"""Submissions and queries by account group (API facts §3, per user, all keys together)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may have going at once and how fast it may ask."""

    max_in_flight: int = MAX_IN_FLIGHT
    submit_slots: int = SUBMIT_SLOTS
    submit: Rate = GROUPS["default"][0]
    query: Rate = GROUPS["default"][1]
    poll_floor: float = POLL_FLOOR
    """Seconds between two questions about one task, at least."""
    downloads: int = DOWNLOADS
    uploads: int = UPLOADS
    stop_after_failures: int | None = None
    """Clips that may fail for good in a row before nothing more is bought; None: all may."""
    speed: float = 1.0
    """How many of the provider's seconds pass in one of ours: 1 but for the emulator."""

    def lasting(self, seconds: float) -> float:
        """A wait that is meant in the provider's seconds, in ours."""
        return seconds / self.speed

    def scaled(self, speed: float) -> Limits:
        """The same limits against a provider whose clock runs `speed` times faster, as the emulator's does."""
        return replace(
            self,
            submit=self.submit.scaled(speed),
            query=self.query.scaled(speed),
            poll_floor=max(self.poll_floor / speed, 0.02),
            speed=self.speed * speed,
        )
