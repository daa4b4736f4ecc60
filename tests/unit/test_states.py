"""The table of a job's life: what it allows, and above all what it does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.errors import ExitCode, IllegalTransition
from batchrunner.states import FINAL, IN_FLIGHT, TRANSITIONS, JobEvent, JobState, advance, sources

S, E = JobState, JobEvent
MOVES = [
    # state, event, where it leads: DESIGN §4, row by row
    (S.PENDING, E.CLAIMED, S.SUBMITTING),
    (S.PENDING, E.REJECTED, S.FAILED),
    (S.PENDING, E.CANCELLED, S.CANCELLED),
    (S.SUBMITTING, E.ACCEPTED, S.RUNNING),
    (S.SUBMITTING, E.REFUSED, S.FAILED),
    (S.SUBMITTING, E.RETURNED, S.PENDING),
    (S.SUBMITTING, E.UNANSWERED, S.IN_DOUBT),
    (S.IN_DOUBT, E.FOUND, S.RUNNING),
    (S.IN_DOUBT, E.ABSENT, S.PENDING),
    (S.IN_DOUBT, E.ABANDONED, S.FAILED),
    (S.RUNNING, E.FINISHED, S.FETCHING),
    (S.RUNNING, E.TASK_FAILED, S.FAILED),
    (S.RUNNING, E.VANISHED, S.FAILED),
    (S.RUNNING, E.MISATTRIBUTED, S.IN_DOUBT),
    (S.FETCHING, E.SAVED, S.DONE),
    (S.FETCHING, E.EXPIRED, S.FAILED),
    (S.FETCHING, E.BAD_FILE, S.FAILED),
    (S.FAILED, E.RETRIED, S.PENDING),
    (S.CANCELLED, E.RETRIED, S.PENDING),
    (S.DONE, E.REOPENED, S.FETCHING),
    (S.FAILED, E.REOPENED, S.FETCHING),
]


@pytest.mark.parametrize(("state", "event", "target"), MOVES, ids=lambda value: str(value))
def test_a_legal_move(state, event, target):
    assert advance(state, event) is target
    assert state in sources(event)


def test_there_is_no_other_move():
    table = {(state, event, target) for state, moves in TRANSITIONS.items() for event, target in moves.items()}
    assert table == set(MOVES)


@given(st.sampled_from(JobState), st.sampled_from(JobEvent))
def test_everything_else_is_our_bug(state, event):
    if event in TRANSITIONS[state]:
        assert advance(state, event) in JobState
    else:
        with pytest.raises(IllegalTransition, match=rf"^a job that is {state} cannot be {event}$") as caught:
            advance(state, event)
        assert caught.value.exit_code is ExitCode.BUG
        assert state not in sources(event)


def test_every_state_and_every_event_is_in_the_table():
    assert set(TRANSITIONS) == set(JobState)
    assert {event for moves in TRANSITIONS.values() for event in moves} == set(JobEvent)


def test_every_state_can_be_reached():
    reached, found = {S.PENDING}, [S.PENDING]
    while found:
        new = set(TRANSITIONS[found.pop()].values()) - reached
        reached |= new
        found += new
    assert reached == set(JobState)


def test_from_every_state_an_end_can_be_reached():
    ends = set(FINAL)
    while more := {state for state, moves in TRANSITIONS.items() if ends & set(moves.values())} - ends:
        ends |= more
    assert ends == set(JobState)


# the rules that keep the money safe


def test_only_a_person_moves_a_job_out_of_an_end():
    assert {S.DONE, S.FAILED, S.CANCELLED} == FINAL
    assert {event for state in FINAL for event in TRANSITIONS[state]} == {E.RETRIED, E.REOPENED}
    assert TRANSITIONS[S.DONE] == {E.REOPENED: S.FETCHING}  # what is done is never bought again, not even by a person


def test_only_a_submission_or_a_task_of_somebody_else_can_become_doubtful():
    doubts = [(state, event) for state, event, target in MOVES if target is S.IN_DOUBT]
    assert doubts == [(S.SUBMITTING, E.UNANSWERED), (S.RUNNING, E.MISATTRIBUTED)]


def test_nothing_is_sent_but_what_is_pending():
    assert [state for state, _, target in MOVES if target is S.SUBMITTING] == [S.PENDING]


def test_doubt_is_never_sent_again():
    assert S.SUBMITTING not in TRANSITIONS[S.IN_DOUBT].values()


def test_every_way_back_to_pending_is_evidence_or_a_person():
    evidence, person = {E.RETURNED, E.ABSENT}, {E.RETRIED}
    assert {event for _, event, target in MOVES if target is S.PENDING} == evidence | person


def test_what_was_accepted_is_never_sent_again_by_itself():
    beyond = {S.RUNNING, S.FETCHING, S.DONE}
    assert not {S.PENDING, S.SUBMITTING} & {target for state, _, target in MOVES if state in beyond}


def test_in_flight_is_submitted_and_not_final_there():
    assert {S.SUBMITTING, S.IN_DOUBT, S.RUNNING} == IN_FLIGHT
    assert not IN_FLIGHT & FINAL


@pytest.mark.parametrize("event", JobEvent)
def test_sources_come_in_the_order_of_the_table(event):
    assert list(sources(event)) == [state for state in TRANSITIONS if event in TRANSITIONS[state]]


def test_an_event_leads_to_one_place():
    """So that a verb of the store has one meaning wherever it starts."""
    for event in JobEvent:
        assert len({target for _, found, target in MOVES if found is event}) == 1
