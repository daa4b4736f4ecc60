"""Every interleaving of the submission protocol; and that each broken promise would be seen."""

import dataclasses
from functools import cache

import pytest
from model import Model, Protocol, World, explore, mutant

from batchrunner.states import TRANSITIONS, JobEvent, JobState

WORLDS = {
    "crashes and power cuts": World(crashes=3, power_cuts=1, sends=4),
    "two runners": World(runners=2, crashes=3, sends=3),
    "people": World(people=2, guesses=1, failures=1, crashes=1, sends=3),
    "everything": World(
        runners=2, crashes=2, power_cuts=1, sends=3, people=1, guesses=1, stores_all=False, resends=True
    ),
    "tasks that are never stored": World(stores_all=False, crashes=1, people=1),
    "tasks that are never stored, a resend by policy": World(stores_all=False, resends=True),
    "purchases that are never found": World(knows_purchases=False, people=1),
    "a shared key": World(alone=False, stores_all=False, people=1),
    "replay": World(replays=True, alone=False, sends=3),
    "answers that name another task": World(strays=True, crashes=2, stores_all=False),
    "two jobs, one slot": World(jobs=2, slots=1, crashes=2, sends=3),
}

MUTANTS = {
    "recovers_to_doubt": World(),
    "intends_first": World(),
    "syncs_intent": World(crashes=0, power_cuts=1),
    "doubts_timeouts": World(crashes=0),
    "doubts_server_errors": World(crashes=0),
    "doubts_cut_answers": World(crashes=0),
    "settles_first": World(crashes=0),
    "needs_residual": World(crashes=0, stores_all=False),
    "keeps_purchase": World(replays=True, crashes=0, alone=False),
    "records_first": World(jobs=2, slots=1),
    "locks_runners": World(runners=2, crashes=0),
    "locks_people": World(crashes=0, people=1),
    "reads_echo": World(crashes=0, strays=True),
    "remembers_task": World(crashes=0),
}
"""Each broken promise, and the smallest world in which it shows."""


@cache
def explored(world):
    """The true protocol in a world, searched once."""
    return explore(Protocol(), world)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_no_interleaving_buys_twice_or_forgets(world):
    found = explored(world)
    assert found.broken is None, "\n".join([found.broken or "", *found.trace])
    assert found.states > 100, "the model has come to a halt"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_promise_is_seen(name):
    found = explore(mutant(name), MUTANTS[name])
    assert found.broken is not None
    assert explored(MUTANTS[name]).broken is None, "the world itself breaks it"


def test_every_promise_has_its_mutant():
    assert {field.name for field in dataclasses.fields(Protocol)} == set(MUTANTS)


BEYOND = {JobEvent.FINISHED, JobEvent.VANISHED, JobEvent.SAVED, JobEvent.EXPIRED, JobEvent.BAD_FILE, JobEvent.REOPENED}
"""What happens to a task that is known; no purchase begins or ends there."""
BEFORE = {JobEvent.REJECTED, JobEvent.CANCELLED}
"""What happens to a job that nothing was ever sent for."""


def test_every_move_of_the_table_that_touches_money_is_explored():
    """A move that is new in `states.TRANSITIONS` has to be put into the model, or named here."""
    table = {(state, event) for state, moves in TRANSITIONS.items() for event in moves}
    made = set().union(*(explored(world).edges for world in WORLDS.values()))
    left_out = {(state, event) for state, event in table if event in BEYOND | BEFORE}
    left_out.add((JobState.CANCELLED, JobEvent.RETRIED))
    assert made == table - left_out


def test_the_shortest_way_to_a_break_is_told():
    found = explore(mutant("intends_first"), MUTANTS["intends_first"])
    assert found.trace[:2] == ("runner 0: start", "runner 0: send (job 0)")
    assert Model(Protocol(), World()).start().jobs[0].row is JobState.PENDING
