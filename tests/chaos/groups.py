"""What `python -m tests.chaos` runs: groups of lives, each life a case that can be named and lived again."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from tests.acceptance.mangling import OPERATORS
from tests.acceptance.world import picture

from . import damage, launch, providers, tracing, troubles
from .broken import RUNNERS
from .checker import Violation
from .lives import Case, Life, Tally, lived
from .tracing import Point, Traced

STRIKES = 10
"""Kills in one life of a batch."""
SETTLE = ("--settle", "0.4")
CHANCES_TO_SHOW = 3
"""Lives in which a broken runner may be caught: what it breaks may need a kill at a certain moment to show."""
LITTLE = 20
"""Clips that may be bought at first where a cap or the account is too small for the batch."""
CALLS_ARE_RARE = 12
"""Kinds of calls that happen no more often than this are struck at every one of them."""

# random kills


def kills(name: str, count: int, seed: int, **how: object) -> list[Case]:
    """So many kills, a few in each life."""
    numbers = range(-(-count // STRIKES))
    return [
        Case(name=name, seed=seed + n, strikes=min(STRIKES, count - n * STRIKES), options=SETTLE, **how)
        for n in numbers
    ]  # type: ignore[arg-type]


def signalled(count: int, seed: int) -> list[Case]:
    """So many signals, each kind as often as the others."""
    kinds = [troubles.SIGNALS[n % len(troubles.SIGNALS)] for n in range(len(troubles.SIGNALS))]
    each = max(-(-count // len(kinds)), 1)
    return [
        Case(name="signals", seed=seed + n, strikes=min(STRIKES, each - at), options=SETTLE, detail=kind)
        for n, kind in enumerate(kinds)
        for at in range(0, each, STRIKES)
    ]


# faults at system calls


def points(kinds: Sequence[tuple[str, str]], every: int, seed: int) -> list[Case]:
    """Each `every`-th point where a call of these kinds can be struck, by a census of one run."""
    made = _census()
    chance = random.Random(seed)
    found = []
    for call, what in kinds:
        count = made.get(call, 0)
        step = 1 if every == 1 or count * every <= CALLS_ARE_RARE else every
        first = 1 if step == 1 else chance.randrange(step) + 1
        found += [Point(call, what, number) for number in range(first, count + 1, step)]
    return [at(point, seed) for point in found]


def at(point: Point, seed: int) -> Case:
    """The life in which one call is struck."""
    name = "kills at calls" if point.what == "KILL" else "errors at calls"
    return Case(name=name, seed=seed, jobs=5, strikes=1, options=SETTLE, detail=str(point))


@cache
def _census() -> dict[str, int]:
    with TemporaryDirectory(prefix="chaos-") as folder:
        log = Path(folder) / "calls"
        case = Case(name="census", seed=0, jobs=5, strikes=1, options=SETTLE)

        def count(life: Life, child: launch.Child) -> str:
            traced = Traced(child, ["-e", f"trace={','.join(tracing.KILLS)}"], log)
            child.wait()
            traced.end()
            return ""

        lived(case, count, stopped=True)
        return tracing.census(log)


def _at_call(life: Life, child: launch.Child) -> str:
    point, log = Point.of(life.case.detail), life.folder / "calls"
    traced = Traced(child, point.words, log)
    said = child.wait(60)
    traced.end()
    if not point.can_be(log):
        life.is_judged = False
    struck = said.code is not None and said.code < 0 if point.what == "KILL" else True
    return troubles.phase_of(life, 0) if struck else ""


def ordered(case: Case) -> Tally:
    """One run under strace: every intent is durable before its body leaves, every clip before it has its name."""
    violations: list[str] = []

    def watch(life: Life, child: launch.Child) -> str:
        log = life.folder / "calls"
        traced = Traced(child, tracing.ORDER, log)
        child.wait()
        traced.end()
        violations.extend(tracing.order_violations(log))
        return "whole run"

    tally = lived(case, watch, stopped=True)
    tally.violations += [Violation("I21 what is promised is durable first", text) for text in violations]
    return tally


# spoilt answers

LIES = ("302",)
"""Of a sale: what no client can tell from the truth, and what no gateway says by chance."""
TARGETS = ("submit", "upload", "poll", "download", "look-up", "balance")


def spoilt(seeds: int, seed: int) -> list[Case]:
    """Every operator on every kind of answer, so many times each."""
    return [
        Case(name="spoilt answers", seed=seed + n, strikes=0, options=SETTLE, detail=target)
        for n in range(seeds)
        for target in TARGETS
    ]


def answered_badly(case: Case) -> Tally:
    """A batch in which each job meets one spoilt answer; it must end as if nothing had been."""
    began = time.monotonic()
    launch.preload()
    operators = [name for name in OPERATORS if case.detail not in ("submit", "look-up") or name not in LIES]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        clips = Path(gettempdir()) / "batchrunner-chaos-clips"
        clips.mkdir(exist_ok=True)
        shop = stack.enter_context(providers.independent(folder / "provider", clips, seed=case.seed))
        jobs = [{"id": f"job-{number}", "prompt": f"[{number}] {name}"} for number, name in enumerate(operators)]
        life = Life(case, folder, shop, jobs=jobs[:1] if case.detail == "balance" else jobs)
        life.patience = 300  # uploads are tried again after seconds, two at once
        life.exact = case.detail != "download"  # a changed byte in the middle of a clip is nobody's to see
        for faults in _faults(case, life, operators):
            shop.set_faults(*faults)
            life.tally.strikes += sum(fault["do"] == "mangle" for fault in faults)
            life.undisturbed()
        shop.set_faults()
        life.end()
        life.tally.seconds = time.monotonic() - began
        return life.tally


def _faults(case: Case, life: Life, operators: list[str]) -> Iterator[list[dict]]:
    """The faults of each run."""
    target = case.detail
    if target == "balance":
        for name in operators:
            yield [{"on": "balance", "do": "mangle", "by": name, "seed": case.seed}]
        return
    if target == "upload":
        for number, job in enumerate(life.jobs):
            image = life.frames / f"{number}.png"
            picture(image, f"#{number * 997 % (1 << 24):06x}")
            job["frames"] = {"first": str(image)}
        life.write_manifest()
        yield [{"on": "upload", "do": "mangle", "by": name, "first": n + 1} for n, name in enumerate(operators)]
        return
    faults = [
        {
            "on": "poll" if target == "look-up" else target,
            "do": "mangle",
            "by": name,
            "match": f"[{n}]",
            "seed": case.seed,
        }
        for n, name in enumerate(operators)
    ]
    if target == "look-up":
        faults += [{"on": "submit", "do": "drop", "accept": True, "times": len(operators)}]
    yield faults


def broken(name: str, seed: int) -> Case:
    """The case in which a broken runner shows itself."""
    runner = RUNNERS[name]
    (case, *_) = cases(100, seed, runner.group)
    strikes = case.strikes if runner.group == "order of writes" else STRIKES + 2
    return replace(case, strikes=strikes, spoilt_by=name, faults=(runner.fault,) if runner.fault else ())


def caught(name: str, seed: int) -> Tally:
    """The life in which a broken runner was caught by an invariant that it breaks, or the last one that was tried."""
    for number in range(CHANCES_TO_SHOW):
        tally = live(broken(name, seed + number))
        if tally.count(*RUNNERS[name].caught_by):
            break
    return tally


LIVED: dict[str, Callable[[Case], Tally]] = {
    "kills": lambda case: lived(case, troubles.kill),
    "kills, bad day": lambda case: lived(case, troubles.kill),
    "kills, stored late": lambda case: lived(case, troubles.kill),
    "kills, no look-up": lambda case: lived(case, troubles.kill),
    "kills, emulator": lambda case: lived(case, troubles.kill),
    "kills, a cap": lambda case: lived(case, troubles.kill),
    "kills, no money": lambda case: lived(case, troubles.kill),
    "outages": lambda case: lived(case, troubles.outage),
    "signals": lambda case: lived(case, troubles.signals),
    "kills at calls": lambda case: lived(case, _at_call, stopped=True),
    "errors at calls": lambda case: lived(case, _at_call, stopped=True),
    "power cuts": lambda case: lived(case, troubles.cut, stopped=True),
    "order of writes": ordered,
    "spoilt answers": answered_badly,
    "damaged databases": damage.damaged,
}
"""How the lives of each group are lived."""


def cases(kill_count: int, seed: int, only: str = "") -> list[Case]:
    """Everything that belongs to so many kills, or the groups whose names begin with `only`."""
    few = max(kill_count // 5, 1)
    made: dict[str, Callable[[], list[Case]]] = {
        "kills": lambda: kills("kills", kill_count, seed),
        "kills, bad day": lambda: kills("kills, bad day", kill_count, seed, chaotic=True),
        "kills, stored late": lambda: kills("kills, stored late", few, seed, stored_after=0.15),
        "kills, no look-up": lambda: kills("kills, no look-up", few, seed, purchases="ignored"),
        "kills, emulator": lambda: kills("kills, emulator", few, seed, provider="emulator"),
        "kills, a cap": lambda: kills("kills, a cap", few, seed, cap=LITTLE),
        "kills, no money": lambda: kills("kills, no money", few, seed, paid=LITTLE),
        "outages": lambda: kills("outages", few, seed),
        "signals": lambda: signalled(max(kill_count // 10, 6), seed),
        "damaged databases": lambda: [
            Case(name="damaged databases", seed=seed, jobs=20, strikes=0, detail=kind) for kind in damage.KINDS
        ],
        "spoilt answers": lambda: spoilt(max(kill_count // 500, 1), seed),
    }
    if not tracing.missing():
        every = max(1000 // kill_count, 1)
        made["kills at calls"] = lambda: points([(call, "KILL") for call in tracing.KILLS], every, seed)
        made["errors at calls"] = lambda: points(tracing.ERRORS, every, seed)
        made["power cuts"] = lambda: kills("power cuts", few, seed)
        made["order of writes"] = lambda: [Case(name="order of writes", seed=seed, jobs=5, strikes=1, options=SETTLE)]
    names = [only] if only in made else [name for name in made if name.startswith(only)]
    return [case for name in names for case in made[name]()]


def live(case: Case) -> Tally:
    """One life, in a worker; whatever goes wrong in the harness is told as a violation too."""
    try:
        return LIVED[case.name](case)
    except Exception as error:  # noqa: BLE001 - one life must not end the others
        return Tally(case=case, violations=[Violation("harness", f"{error!r} {traceback.format_exc()[-900:]}")])
