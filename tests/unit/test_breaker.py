"""The circuit breaker: an outage costs a handful of doubts, and never the batch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.breaker import FREE_PROBES, GIVE_UP_AFTER, PROBES, Breaker, Circuit

SLOTS = 4


def after(*events, breaker=None):
    """A breaker's life: `(method, seconds)`, or the name of a method without a time."""
    breaker = breaker or Breaker()
    for event in events:
        match event:
            case ("doubted" | "unsent" as name, now):
                breaker = getattr(breaker, name)(now)
            case ("probed", now, answered):
                breaker = breaker.probed(now, answered=answered)
            case "answered":
                breaker = breaker.answered()
    return breaker


def test_one_doubt_is_an_accident_and_its_slot_stays_empty_until_another_is_answered():
    assert after(("doubted", 0.0)).circuit is Circuit.CLOSED
    assert after(("doubted", 0.0)).slots(SLOTS) == SLOTS - 1
    assert after(("doubted", 0.0)).slots(1) == 1
    assert after(("doubted", 0.0), "answered").slots(SLOTS) == SLOTS


def test_two_in_a_row_open_it_however_far_apart():
    breaker = after(("doubted", 0.0), ("doubted", 9_000.0))
    assert (breaker.circuit, breaker.slots(SLOTS), breaker.probe_at) == (Circuit.OPEN, 0, 9_060.0)


def test_three_within_a_minute_open_it_whatever_lies_between():
    assert after(("doubted", 0.0), "answered", ("doubted", 30.0), "answered", ("doubted", 59.0)).slots(SLOTS) == 0
    assert after(("doubted", 0.0), "answered", ("doubted", 30.0), "answered", ("doubted", 60.0)).slots(SLOTS) > 0


def test_the_probes_are_further_and_further_apart():
    breaker, waits, now = after(("doubted", 0.0), ("doubted", 0.0)), [], 0.0
    for _ in range(7):
        waits.append(breaker.probe_at - now)
        now = breaker.probe_at
        breaker = breaker.probed(now, answered=False)
    assert waits == [*PROBES, PROBES[-1], PROBES[-1]]


def test_a_probe_that_is_answered_lets_one_through():
    breaker = after(("doubted", 0.0), ("doubted", 0.0), ("probed", 60.0, True))
    assert (breaker.circuit, breaker.slots(SLOTS), breaker.probe_at) == (Circuit.HALF_OPEN, 1, None)


def test_an_answer_closes_it_and_all_is_forgotten():
    assert after(("doubted", 0.0), ("doubted", 0.0), ("probed", 60.0, True), "answered") == Breaker()


def test_a_doubt_when_half_open_opens_it_and_the_waits_go_on():
    breaker = after(("doubted", 0.0), ("doubted", 0.0), ("probed", 60.0, True), ("doubted", 70.0))
    assert (breaker.circuit, breaker.probe_at) == (Circuit.OPEN, 70.0 + PROBES[1])


def test_what_did_not_leave_when_half_open_opens_it_too():
    breaker = after(("doubted", 0.0), ("doubted", 0.0), ("probed", 60.0, True), ("unsent", 70.0))
    assert (breaker.circuit, breaker.probe_at) == (Circuit.OPEN, 70.0 + PROBES[1])


def test_three_in_a_row_that_could_not_leave_open_it_and_the_way_is_looked_for_soon():
    tries = [("unsent", 0.0), ("unsent", 2.0), ("unsent", 6.0)]
    assert after(*tries[:2]).circuit is Circuit.CLOSED
    assert after(*tries[:2], "answered", tries[2]).circuit is Circuit.CLOSED
    breaker = after(*tries)
    assert (breaker.slots(SLOTS), breaker.probe_at) == (0, 6.0 + FREE_PROBES[0])
    again = after(("probed", 11.0, True), ("unsent", 12.0), breaker=breaker)
    assert (again.circuit, again.probe_at) == (Circuit.OPEN, 12.0 + FREE_PROBES[1])
    assert after(("probed", 11.0, True), "answered", breaker=breaker) == Breaker()


def test_a_doubt_after_a_way_was_found_is_as_dear_as_any():
    breaker = after(*[("unsent", 0.0)] * 3, ("probed", 5.0, True), ("doubted", 6.0))
    assert breaker.probe_at == 6.0 + PROBES[1]


def test_answers_to_what_left_before_do_not_close_it():
    breaker = after(("doubted", 0.0), ("doubted", 0.0), "answered")
    assert breaker.circuit is Circuit.OPEN
    assert after(("doubted", 5.0), breaker=breaker).probe_at == breaker.probe_at


def test_it_gives_up_when_the_trouble_lasts():
    breaker = after(("doubted", 0.0), ("doubted", 10.0), ("probed", 70.0, True), ("doubted", 80.0))
    assert not breaker.gives_up(10.0 + GIVE_UP_AFTER - 1)
    assert breaker.gives_up(10.0 + GIVE_UP_AFTER)
    assert not Breaker().gives_up(1e9)


def test_on_the_emulator_all_goes_faster():
    breaker = after(
        ("doubted", 0.0), "answered", ("doubted", 0.5), "answered", ("doubted", 0.59), breaker=Breaker(speed=100)
    )
    assert breaker.probe_at == 0.59 + 0.6
    assert breaker.gives_up(0.59 + 36)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(["lost", "answered", "unsent"]), st.floats(0, 400), st.booleans()), max_size=200)
)
def test_an_outage_costs_no_more_than_two_doubts_and_one_a_probe(plan):
    """Against any provider: submissions one after the other, the breaker asked before each."""
    breaker, now, doubts, probes = Breaker(), 0.0, 0, 0
    for what, pause, probe_answered in plan:
        now += pause
        if breaker.probe_at is not None and now >= breaker.probe_at:
            probes += 1
            breaker = breaker.probed(now, answered=probe_answered)
        if breaker.slots(SLOTS) == 0:
            assert breaker.probe_at is not None  # it always knows when to look again
            continue
        if what == "answered":
            breaker = breaker.answered()
            doubts = probes = 0
            assert breaker.circuit is Circuit.CLOSED
        elif what == "lost":
            breaker = breaker.doubted(now)
            doubts += 1
        else:
            breaker = breaker.unsent(now)
        assert doubts <= 2 + probes
