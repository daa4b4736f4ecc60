"""What each event does to the money of an attempt; both stores read it here, so that they cannot disagree."""

from __future__ import annotations

from enum import StrEnum

from batchrunner.states import JobEvent


class Charge(StrEnum):
    """Where the price of an attempt stands."""

    COMMITTED = "committed"
    """Being sent, in doubt or running: bought, or perhaps bought. At most one attempt of a job is here."""
    SPENT = "spent"
    RELEASED = "released"
    """Certainly not bought, or given back by the provider."""


OPEN = "open"
"""The outcome of an attempt that is being sent; afterwards it is the last event of `CHARGES` that it saw."""

CHARGES: dict[JobEvent, Charge] = {
    JobEvent.ACCEPTED: Charge.COMMITTED,
    JobEvent.REFUSED: Charge.RELEASED,
    JobEvent.RETURNED: Charge.RELEASED,
    JobEvent.UNANSWERED: Charge.COMMITTED,
    JobEvent.FOUND: Charge.COMMITTED,
    JobEvent.ABSENT: Charge.RELEASED,
    JobEvent.ABANDONED: Charge.SPENT,  # nobody knows; the budget is the safer side
    JobEvent.FINISHED: Charge.SPENT,
    JobEvent.TASK_FAILED: Charge.RELEASED,
    JobEvent.VANISHED: Charge.SPENT,
    JobEvent.MISATTRIBUTED: Charge.COMMITTED,
}
"""Events that say something about the money; the others leave it as it is."""

OUTCOMES: dict[JobEvent, str] = {
    **{event: event.value for event in CHARGES},
    JobEvent.MISATTRIBUTED: JobEvent.UNANSWERED.value,  # the answer named no task of ours: none was given
}
"""The outcome of an attempt after each of these events."""

COUNTED = {JobEvent.CLAIMED: 1, JobEvent.RETURNED: -1}
"""What each event does to a job's count of attempts: what came back unbought was none."""

TAKES = frozenset({JobEvent.ACCEPTED, JobEvent.FOUND})
"""Events that give a job its task, which no other purchase may own."""

EXPLAINED = frozenset({JobEvent.ABSENT, JobEvent.ABANDONED, JobEvent.CANCELLED, JobEvent.RETRIED, JobEvent.REOPENED})
"""Events that rest on evidence or on a person's word: none is recorded without a note that names it."""
UNEXPLAINED = "the note must name the evidence or the person"

UNSENT: dict[str, None] = dict.fromkeys(
    ("not_before", "task_id", "provider_status", "progress", "submitted_at", "expires_at")
)
"""What a job forgets of its earlier submission when it may be sent anew; its attempts and its history keep it."""
DISCARDED = "discarded"
"""The reason of a clip that was bought and whose place another purchase has taken."""
BOUGHT_ANEW = "a person pays for another version (--redo); this clip and its price stay"
REDONE = "a person pays again (--redo failed)"
ASKED_ANEW = "the manifest asks for it anew"

CRASH_RULE = "C3"
"""The row of the failure matrix for a run that died between its intent and the answer's record."""
STRAY_RULE = "R3"
"""The row for an answer that named the task of another purchase, seen at once or only when the task was asked about."""
CRASH_REASON = "crash"
CRASH_MESSAGE = (
    "an earlier run ended before the answer was recorded; this clip may have been bought, so it is not sent again"
)
