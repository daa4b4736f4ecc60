"""What can strike a run from outside: SIGKILL and other signals, at random instants."""

from __future__ import annotations

import signal
import time

from . import power
from .launch import Child
from .lives import Life, phase_of
from .tracing import Traced

REQUEST = 330
"""Bytes that the independent server writes for one request, about."""


def _instant(life: Life, child: Child) -> int:
    """Wait for a random instant in this run; how many requests there were before it."""
    seen, traffic = len(life.shop.requests()), life.shop.traffic()
    chance = life.chance
    if life.case.provider == "emulator" or chance.random() < 0.15:
        _sleep(child, chance.uniform(0.0, 1.2))  # also before anything is sent
        return seen
    goal = traffic + REQUEST * min(int(chance.expovariate(1 / 25)) + 1, 150)
    end = time.monotonic() + 20
    while child.alive and life.shop.traffic() < goal and time.monotonic() < end:
        time.sleep(0.001)
    _sleep(child, chance.choice([0.0, 0.0, chance.uniform(0, 0.01), chance.uniform(0, 0.05)]))
    return seen


def _sleep(child: Child, seconds: float) -> None:
    end = time.monotonic() + seconds
    while child.alive and time.monotonic() < end:
        time.sleep(0.001)


def kill(life: Life, child: Child) -> str:
    """SIGKILL at a random instant."""
    seen = _instant(life, child)
    if not child.alive:
        return ""
    child.kill()
    return phase_of(life, seen)


def cut(life: Life, child: Child) -> str:
    """The power goes at a random instant: the folders are as a disk would have kept them."""
    log = life.folder / "calls"
    log.unlink(missing_ok=True)
    disk = power.Disk(life.cwd)
    traced = Traced(child, power.RECORD, log)
    phase = kill(life, child)
    traced.end()
    disk.replay(log, life.cwd)
    if phase:
        disk.cut(life.chance)
    return phase


OUTAGE = {"on": "submit", "do": "answer", "status": 502, "text": "<html>502</html>", "times": 0}


def outage(life: Life, child: Child) -> str:
    """From some instant on the provider takes nothing, and answers everything else, until the run is killed."""
    _instant(life, child)
    if not child.alive:
        return ""
    life.shop.set_faults(OUTAGE)
    life.begins_outage()
    try:
        _sleep(child, life.chance.uniform(0.2, 1.5))
        return kill(life, child)
    finally:
        life.shop.set_faults()


GENTLE = {"TERM": (signal.SIGTERM, 143), "INT": (signal.SIGINT, 130), "HUP": (signal.SIGHUP, 143)}
SIGNALS = (*GENTLE, "INT INT", "PIPE", "STOP CONT")


def signals(life: Life, child: Child) -> str:
    """One of the signals that a person, a terminal or a supervisor sends."""
    name = life.case.detail or life.chance.choice(SIGNALS)
    seen = _instant(life, child)
    if not child.alive:
        return ""
    phase = phase_of(life, seen)
    if name == "STOP CONT":
        child.send(signal.SIGSTOP)
        time.sleep(0.2)
        child.send(signal.SIGCONT)
        _sleep(child, 0.1)
        child.kill()
    elif name == "PIPE":
        child.send(signal.SIGPIPE)  # nobody reads: a run goes on all the same
        _sleep(child, 0.1)
        child.kill()
    elif name == "INT INT":
        child.send(signal.SIGINT)
        time.sleep(life.chance.uniform(0, 0.02))
        child.send(signal.SIGINT)
        child.wait(60)
    else:
        child.send(GENTLE[name][0])
        child.wait(60)
        _well_ended(life, child, name)
    return f"{name}: {phase}"


def _well_ended(life: Life, child: Child, name: str) -> None:
    """A first signal lets what is under way be recorded."""
    from .checker import Violation

    number, code = GENTLE[name]
    if child.code in (code, -number, 0, 3, 11):
        states = [job["state"] for job in life.evidence().jobs]
        if child.code == code and "submitting" in states:
            text = f"{states.count('submitting')} submissions were left behind at {name}: {child.text[-200:]}"
            life.tally.violations.append(Violation("I7 a gentle end records what is under way", text))
    else:
        text = f"{name} ended with {child.code}: {child.text[-300:]}"
        life.tally.violations.append(Violation("I18 the exit code is the truth", text))
