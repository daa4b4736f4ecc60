"""What to do next: tables of moments, and what holds at every moment."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.forecast import forecast
from batchrunner.model import Mode, VideoRequest
from batchrunner.schedule import POLL_WORKERS, Decision, Snapshot, decide, lands_within
from batchrunner.settings import LANDING, PRO_FACTOR, SERVICE_P90, Limits

LIMITS = Limits(max_in_flight=10, submit_slots=4, downloads=4)
NOW = 100.0
READY = Snapshot(in_flight=0, sendable=100, submit_tokens=50, query_tokens=500)


def at(**changes):
    return decide(NOW, replace(READY, **changes), LIMITS)


DECISIONS = [
    # what is different from a fresh run with a hundred jobs, what is begun, when to look again
    pytest.param({}, (4, 0, 0), None, id="fresh: as many as there are slots"),
    pytest.param({"sendable": 2}, (2, 0, 0), None, id="fewer jobs than slots"),
    pytest.param({"in_flight": 8, "next_poll": 105.0}, (2, 0, 0), 5.0, id="in flight is nearly full"),
    pytest.param({"in_flight": 10, "next_poll": 105.0}, (0, 0, 0), 5.0, id="in flight is full"),
    pytest.param({"in_flight": 12, "next_poll": 105.0}, (0, 0, 0), 5.0, id="in flight is over-full after a change"),
    pytest.param({"in_flight": 9, "preparing": 1, "submits": 1}, (0, 0, 0), None, id="preparing counts as in flight"),
    pytest.param({"in_flight": 3, "submits": 3}, (1, 0, 0), None, id="one slot is free"),
    pytest.param({"in_flight": 4, "submits": 4}, (0, 0, 0), None, id="no slot is free"),
    pytest.param({"submit_tokens": 1, "submit_wait": 0.0}, (1, 0, 0), 0.0, id="the rate lets one go"),
    pytest.param({"submit_tokens": 0, "submit_wait": 2.5}, (0, 0, 0), 2.5, id="the rate lets none go"),
    pytest.param({"allowance": 3}, (3, 0, 0), None, id="--limit 3"),
    pytest.param({"allowance": 3, "preparing": 2, "submits": 2}, (1, 0, 0), None, id="--limit counts what is prepared"),
    pytest.param({"allowance": 0, "in_flight": 3, "next_poll": 101.0}, (0, 0, 0), 1.0, id="--limit is used up"),
    pytest.param({"paused": True, "in_flight": 2, "next_poll": 103.0}, (0, 0, 0), 3.0, id="paused: collect only"),
    pytest.param({"slots": 1}, (1, 0, 0), None, id="half-open: one slot"),
    pytest.param({"slots": 0, "probe_at": 160.0}, (0, 0, 0), 60.0, id="open: wait for the probe"),
    pytest.param({"slots": 0, "probe_at": 90.0, "probes": 1}, (0, 0, 0), None, id="open: the probe is under way"),
    pytest.param({"room": 6, "in_flight": 5, "next_poll": 105.0}, (1, 0, 0), 5.0, id="the provider is full"),
    pytest.param({"polls_due": 30}, (4, 16, 0), None, id="as many questions as workers"),
    pytest.param({"polls_due": 30, "polls": 15}, (4, 1, 0), None, id="one worker is free"),
    pytest.param({"polls_due": 3, "query_tokens": 1, "query_wait": 0.4}, (4, 1, 0), 0.4, id="the rate of questions"),
    pytest.param({"fetches_due": 9, "unfetched": 9}, (4, 0, 4), None, id="downloads"),
    pytest.param({"fetches_due": 9, "fetches": 3, "unfetched": 9}, (4, 0, 1), None, id="one download is free"),
    pytest.param(
        {"fetches_due": 11, "unfetched": 11}, (0, 0, 4), None, id="more finished than can be stored: buy less"
    ),
    pytest.param({"sendable": 0, "next_poll": 130.0, "next_fetch": 104.0}, (0, 0, 0), 4.0, id="the first of both"),
    pytest.param({"sendable": 0, "waiting_until": 160.0}, (0, 0, 0), 60.0, id="a job waits for its time"),
    pytest.param({"sendable": 0, "waiting_until": 90.0}, (0, 0, 0), 0.0, id="its time has come"),
    pytest.param({"sendable": 0, "next_poll": 90.0}, (0, 0, 0), 0.0, id="a question is late"),
    pytest.param(
        {"sendable": 0, "waiting_until": 110.0, "in_flight": 10, "next_poll": 150.0},
        (0, 0, 0),
        50.0,
        id="no room to wait for",
    ),
    pytest.param({"sendable": 0, "unsearched": True}, (0, 0, 0), 0.0, id="the store may have more: look again at once"),
    pytest.param(
        {"sendable": 0, "unsearched": True, "in_flight": 10, "next_poll": 150.0},
        (0, 0, 0),
        50.0,
        id="no room to look for",
    ),
]


@pytest.mark.parametrize(("changes", "begun", "wake_in"), DECISIONS)
def test_decisions(changes, begun, wake_in):
    found = at(**changes)
    assert (found.submit, found.poll, found.fetch) == begun
    assert found.wake_in == wake_in
    assert not found.finished


ENDS = [
    pytest.param({"sendable": 0}, id="nothing is left"),
    pytest.param({"paused": True}, id="paused, and all is collected"),
    pytest.param({"paused": True, "waiting_until": 101.0}, id="paused: nobody waits for what will not be sent"),
    pytest.param({"allowance": 0}, id="--limit is used up, and all is collected"),
    pytest.param({"paused": True, "slots": 0, "probe_at": 160.0}, id="paused: nobody waits for the provider"),
    pytest.param({"sendable": 0, "slots": 0, "probe_at": 160.0}, id="nothing to send: nobody waits for the provider"),
    pytest.param({"in_flight": 10, "slots": 0, "probe_at": 160.0}, id="doubt fills every place: nobody waits either"),
    pytest.param({"allowance": 0, "waiting_until": 101.0}, id="--limit is used up: nobody waits"),
    pytest.param({"allowance": 0, "unsearched": True}, id="--limit is used up: nobody looks"),
    pytest.param({"paused": True, "unsearched": True}, id="paused: nobody looks"),
    pytest.param({"in_flight": 10}, id="doubt fills every place"),
    pytest.param({"in_flight": 10, "waiting_until": 101.0}, id="doubt fills every place, another would wait"),
    pytest.param({"stopping": True}, id="stopping, nothing busy"),
    pytest.param({"stopping": True, "submits": 2, "preparing": 2}, id="stopping: no intent is open"),
    pytest.param({"stopping": True, "polls": 3, "fetches": 2, "polls_due": 9}, id="stopping: questions can be cut off"),
]


@pytest.mark.parametrize("changes", ENDS)
def test_the_end(changes):
    assert at(**changes) == Decision(finished=True)


NO_ENDS = [
    pytest.param({"stopping": True, "submits": 1}, id="stopping: an intent is open"),
    pytest.param({"stopping": True, "submits": 3, "preparing": 2}, id="stopping: one of three has its intent"),
    pytest.param({"sendable": 0, "submits": 1}, id="a submission is under way"),
    pytest.param({"sendable": 0, "polls": 1}, id="a question is under way"),
    pytest.param({"sendable": 0, "fetches": 1}, id="a download is under way"),
    pytest.param({"sendable": 0, "next_poll": 900.0}, id="a task is running"),
    pytest.param({"paused": True, "next_fetch": 900.0}, id="paused: a clip waits for its next try"),
    pytest.param({"sendable": 0, "waiting_until": 900.0}, id="a job waits for its time"),
    pytest.param({"sendable": 0, "unsearched": True}, id="the store may have more"),
]


@pytest.mark.parametrize("changes", NO_ENDS)
def test_not_the_end(changes):
    assert not at(**changes).finished


def test_the_probe_goes_when_its_time_has_come():
    assert at(slots=0, probe_at=NOW).probe
    assert not at(slots=0, probe_at=NOW + 1).probe
    assert not at(slots=0, probe_at=NOW, probes=1).probe


def test_stopping_begins_nothing():
    found = at(stopping=True, submits=1, polls_due=5, fetches_due=5)
    assert (found.submit, found.poll, found.fetch) == (0, 0, 0)


# at every moment

few = st.integers(0, 30)
times = st.none() | st.floats(0, 1000)
limits = st.builds(
    Limits, max_in_flight=st.integers(1, 20), submit_slots=st.integers(1, 8), downloads=st.integers(1, 8)
)


@st.composite
def snapshots(draw):
    submits = draw(st.integers(0, 10))
    preparing = draw(st.integers(0, submits))
    due, later = draw(few), draw(times)
    return Snapshot(
        in_flight=draw(few),
        preparing=preparing,
        submits=submits,
        polls=draw(st.integers(0, POLL_WORKERS)),
        fetches=draw(st.integers(0, 8)),
        sendable=draw(few),
        waiting_until=draw(times),
        polls_due=draw(few),
        next_poll=draw(times),
        fetches_due=due,
        next_fetch=later,
        unfetched=due + (draw(few) if later is not None else 0),
        submit_tokens=(tokens := draw(few)),
        submit_wait=0.0 if tokens else draw(st.floats(0.001, 60)),
        query_tokens=(queries := draw(few)),
        query_wait=0.0 if queries else draw(st.floats(0.001, 60)),
        allowance=draw(st.none() | st.integers(preparing, 30)),
        slots=(slots := draw(st.none() | st.integers(0, 8))),
        probe_at=draw(st.floats(0, 1000)) if slots == 0 else None,
        probes=draw(st.integers(0, 1)),
        room=draw(st.none() | st.integers(1, 20)),
        unsearched=draw(st.booleans()),
        paused=draw(st.booleans()),
        stopping=draw(st.booleans()),
    )


@settings(max_examples=60)
@given(snapshots(), limits)
def test_no_limit_is_ever_passed(seen, limits):
    found = decide(NOW, seen, limits)
    assert min(found.submit, found.poll, found.fetch) >= 0
    if found.submit:
        assert not seen.paused
        assert not seen.stopping
        assert found.submit <= min(seen.sendable, seen.submit_tokens)
        assert found.submit + seen.submits <= min(limits.submit_slots, 99 if seen.slots is None else seen.slots)
        assert found.submit + seen.in_flight + seen.preparing <= limits.max_in_flight
        assert seen.allowance is None or found.submit + seen.preparing <= seen.allowance
    if found.poll:
        assert found.poll <= min(seen.polls_due, seen.query_tokens)
        assert found.poll + seen.polls <= POLL_WORKERS
    if found.fetch:
        assert found.fetch <= seen.fetches_due
        assert found.fetch + seen.fetches <= limits.downloads


@settings(max_examples=60)
@given(snapshots(), limits)
def test_the_end_is_an_end(seen, limits):
    found = decide(NOW, seen, limits)
    if found.finished:
        assert (found.submit, found.poll, found.fetch, found.wake_in) == (0, 0, 0, None)
        if seen.stopping:
            assert seen.submits == seen.preparing
        else:
            assert seen.submits + seen.polls + seen.fetches == 0
            assert seen.polls_due + seen.fetches_due == 0
            assert seen.next_poll is None
            assert seen.next_fetch is None


@settings(max_examples=100)
@given(snapshots(), limits)
def test_nobody_waits_forever(seen, limits):
    """Not finished: then something is begun, or something is busy and will wake us, or there is a time to wake up."""
    found = decide(NOW, seen, limits)
    if not found.finished:
        busy = seen.submits + seen.polls + seen.fetches + seen.probes
        assert found.submit + found.poll + found.fetch + found.probe + busy or found.wake_in is not None
    if found.wake_in is not None:
        assert found.wake_in >= 0


@settings(max_examples=60)
@given(snapshots(), limits)
def test_what_could_be_begun_is_begun(seen, limits):
    """Looking again at once, after what was decided has begun, begins nothing more."""
    found = decide(NOW, seen, limits)
    if found.finished or seen.stopping:
        return
    after = replace(
        seen,
        preparing=seen.preparing + found.submit,
        submits=seen.submits + found.submit,
        sendable=seen.sendable - found.submit,
        submit_tokens=seen.submit_tokens - found.submit,
        polls=seen.polls + found.poll,
        polls_due=seen.polls_due - found.poll,
        query_tokens=seen.query_tokens - found.poll,
        fetches=seen.fetches + found.fetch,
        fetches_due=seen.fetches_due - found.fetch,
        unfetched=seen.unfetched,
    )
    again = decide(NOW, after, limits)
    assert (again.submit, again.poll, again.fetch) == (0, 0, 0)


@given(snapshots(), limits)
def test_a_pause_stops_buying_and_nothing_else(seen, limits):
    going, paused = (decide(NOW, replace(seen, stopping=False, paused=paused), limits) for paused in (False, True))
    assert paused.submit == 0
    if not paused.finished:
        assert (paused.poll, paused.fetch) == (going.poll, going.fetch)


def test_how_long_a_clip_needs_to_land():
    quick, slow = VideoRequest(prompt="p"), VideoRequest(prompt="p", mode=Mode.PRO, duration=10)
    needs = 2 * PRO_FACTOR * SERVICE_P90 + LANDING
    assert lands_within(quick.kind, None, LIMITS) == SERVICE_P90 + LANDING
    assert lands_within(slow.kind, None, LIMITS) == needs
    assert lands_within(slow.kind, None, LIMITS.scaled(100)) == needs / 100
    learned = forecast([float(seconds) for seconds in range(100)])
    assert 80 + LANDING < lands_within(slow.kind, learned, LIMITS) < 99 + LANDING, "made, and then fetched"
