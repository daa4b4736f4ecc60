"""Which request and which task meets which fault: seeded draws that never look at the wall clock.

A draw depends on the seed, the fault and the place: of a submission, an upload or an account question its number, of a
task its number in the order of acceptance, of a poll or a download the task's number and how often it was asked for. So
two runs with one seed have the same history for the same requests, and tasks that overtake each other change nothing.
Places go on after a restart, as far as the ledger remembers them: a fault that struck does not strike there again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchrunner.emulator.faults import Aspect, Delay, Fate, Stage, Value
from batchrunner.emulator.ledger import Entry, Ledger, Struck
from batchrunner.emulator.scenarios import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault that meets a request. It has fired when the ledger knows it."""

    rule: Rule
    stage: Stage
    place: int
    task: str | None
    nth: int

    @property
    def parameters(self) -> Mapping[str, Value]:
        return self.rule.parameters

    def seconds(self, speed: float) -> float:
        """Its duration in real seconds."""
        return float(self.parameters.get("seconds", 0.0)) / speed

    def struck(self, at: float, task: str | None = None) -> Struck:
        """The ledger's line."""
        return Struck(
            name=self.rule.fault.name, stage=self.stage, place=self.place, task=self.task or task, nth=self.nth, at=at
        )


class Chances:
    """The rules in force and how many requests there were of each kind."""

    def __init__(self, ledger: Ledger, *, speed: float, seed: int = 0) -> None:
        self._ledger, self._speed = ledger, speed
        self._counts: Counter[Stage] = Counter()
        self._asked: Counter[tuple[Stage, str]] = Counter()
        self.rules: tuple[Rule, ...] = ()
        self.seed = seed
        self._since: float | None = None
        self._offset: Counter[Stage] = Counter()
        for one in ledger.struck():
            stage = Stage(one.stage)
            self._counts[stage] = max(self._counts[stage], one.place + 1)
            if one.task is not None:
                self._asked[stage, one.task] = max(self._asked[stage, one.task], one.nth + 1)
        accepted = len(ledger.entries())
        self._counts[Stage.SUBMIT] = max(self._counts[Stage.SUBMIT], accepted)

    def apply(self, rules: tuple[Rule, ...]) -> None:
        """From now on these. `after` and `first` count from here, unless nothing was in force before, `from` and `to` from
        the next request on.
        """
        self._offset = Counter(self._counts) if self.rules else Counter()
        if self.rules:
            self._offset[Stage.TASK] = len(self._ledger.entries())
        self.rules, self._since = rules, None

    def strikes(self, stage: Stage, *, now: float, prompt: str = "", entry: Entry | None = None) -> list[Strike]:
        """What the next request of this kind meets: every delay, and at most one fault of another kind."""
        self._since = now if self._since is None else self._since
        place = self._counts[stage]
        self._counts[stage] += 1
        nth, key = 0, str(place)
        if entry is not None:
            nth = self._asked[stage, entry.id]
            self._asked[stage, entry.id] += 1
            key = f"{entry.sequence}:{nth}"
        found: list[Strike] = []
        exclusive = False
        for rule in self.rules:
            is_delay = isinstance(rule.fault.effect, Delay)
            if stage not in rule.on or (exclusive and not is_delay):
                continue
            if self._hits(rule, self._position(rule), f"{stage}:{key}", prompt, now):
                task = entry.id if entry is not None else None
                found.append(Strike(rule=rule, stage=stage, place=place, task=task, nth=nth))
                exclusive = exclusive or not is_delay
        return found

    def fates(self, sequence: int, prompt: str, *, now: float) -> dict[str, dict[str, Value]]:
        """The fates of the task with this number, at most one of each aspect; durations in real seconds."""
        drawn: dict[str, dict[str, Value]] = {}
        aspects: set[Aspect] = set()
        for rule in self.rules:
            effect = rule.fault.effect
            if not isinstance(effect, Fate) or effect.aspect in aspects:
                continue
            if self._hits(rule, sequence - self._offset[Stage.TASK], f"{Stage.TASK}:{sequence}", prompt, now):
                aspects.add(effect.aspect)
                drawn[rule.fault.name] = dict(self._scaled(rule.parameters))
        return drawn

    def _scaled(self, parameters: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
        for name, value in parameters.items():
            yield name, float(value) / self._speed if name == "seconds" else value

    def _position(self, rule: Rule) -> int:
        """How many requests this rule had seen before the present one, which is counted already."""
        return sum(self._counts[stage] - self._offset[stage] for stage in rule.on) - 1

    def _hits(self, rule: Rule, position: int, key: str, prompt: str, now: float) -> bool:
        if not self._in_danger(rule, position, now) or rule.match not in prompt:
            return False
        return random.Random(f"{self.seed}:{rule.fault.name}:{rule.number}:{key}").random() < rule.probability

    def _in_danger(self, rule: Rule, position: int, now: float) -> bool:
        elapsed = (now - (now if self._since is None else self._since)) * self._speed
        if not rule.begin <= elapsed < rule.end or position < rule.after:
            return False
        return rule.first is None or position < rule.after + rule.first
