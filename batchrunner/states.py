"""The life of a job: every state, every event, and every legal move, in one table.

Nothing else decides where a job may go: the stores guard each transition with the state it leaves, and the table of the
README is checked against this one. Two rules keep the money safe:

* the only ways back to `pending` are evidence that nothing was bought, or a person's wish to buy again;
* only `submitting`, and a task that turns out to be somebody else's, can become `in_doubt`, and `in_doubt` is never sent again by the clock.
"""

from __future__ import annotations

from enum import StrEnum

from batchrunner.errors import IllegalTransition


class JobState(StrEnum):
    """Where a job is; the words are the ones shown to people and stored in the database."""

    PENDING = "pending"
    """May be sent once its `not_before` has passed; waiting between tries is here too."""
    SUBMITTING = "submitting"
    """The intent is durable; the request may have reached the provider."""
    IN_DOUBT = "in_doubt"
    """It may have been bought and its task is unknown; never sent again blindly."""
    RUNNING = "running"
    """The task id is durable; the provider is asked about it until it is final."""
    FETCHING = "fetching"
    """The provider is done; the clip is not yet verified and on disk."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What can happen to a job."""

    CLAIMED = "claimed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    RETURNED = "returned"
    UNANSWERED = "unanswered"
    FOUND = "found"
    ABSENT = "absent"
    ABANDONED = "abandoned"
    FINISHED = "finished"
    TASK_FAILED = "task_failed"
    VANISHED = "vanished"
    MISATTRIBUTED = "misattributed"
    SAVED = "saved"
    EXPIRED = "expired"
    BAD_FILE = "bad_file"
    RETRIED = "retried"
    REOPENED = "reopened"


TRANSITIONS: dict[JobState, dict[JobEvent, JobState]] = {
    JobState.PENDING: {
        JobEvent.CLAIMED: JobState.SUBMITTING,
        JobEvent.REJECTED: JobState.FAILED,  # a frame was refused: this job can never be sent as it is
        JobEvent.CANCELLED: JobState.CANCELLED,
    },
    JobState.SUBMITTING: {
        JobEvent.ACCEPTED: JobState.RUNNING,
        JobEvent.REFUSED: JobState.FAILED,
        JobEvent.RETURNED: JobState.PENDING,  # certainly not bought: never sent, or refused for now
        JobEvent.UNANSWERED: JobState.IN_DOUBT,
    },
    JobState.IN_DOUBT: {
        JobEvent.FOUND: JobState.RUNNING,
        JobEvent.ABSENT: JobState.PENDING,
        JobEvent.ABANDONED: JobState.FAILED,
    },
    JobState.RUNNING: {
        JobEvent.FINISHED: JobState.FETCHING,
        JobEvent.TASK_FAILED: JobState.FAILED,
        JobEvent.VANISHED: JobState.FAILED,
        JobEvent.MISATTRIBUTED: JobState.IN_DOUBT,  # its task is another purchase's: its own is looked for
    },
    JobState.FETCHING: {
        JobEvent.SAVED: JobState.DONE,
        JobEvent.EXPIRED: JobState.FAILED,
        JobEvent.BAD_FILE: JobState.FAILED,
    },
    JobState.DONE: {JobEvent.REOPENED: JobState.FETCHING},
    JobState.FAILED: {
        JobEvent.RETRIED: JobState.PENDING,
        JobEvent.REOPENED: JobState.FETCHING,  # its task was paid for: collected again, never bought again
    },
    JobState.CANCELLED: {JobEvent.RETRIED: JobState.PENDING},
}

FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
"""Nothing but a person moves a job out of these."""

IN_FLIGHT = frozenset({JobState.SUBMITTING, JobState.IN_DOUBT, JobState.RUNNING})
"""Submitted, or perhaps submitted, and not yet final at the provider: what `max_in_flight` counts."""


def advance(state: JobState, event: JobEvent) -> JobState:
    """The state that `event` leads to from `state`; `IllegalTransition` where the table has no such move."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"a job that is {state} cannot be {event}") from None


def sources(event: JobEvent) -> tuple[JobState, ...]:
    """The states that `event` may happen in, in the order of the table."""
    return tuple(state for state, moves in TRANSITIONS.items() if event in moves)
