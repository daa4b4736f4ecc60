"""Which request and which task meets which fault: seeded draws that never look at the wall clock.

A draw depends on the seed, the fault and what is asked: of a submission its likeness (what is bought, without its ids) and
the how-manieth time it is sent, of a task the same among those accepted, of a poll or a download the task and how often it
was asked for, of an upload or an account question its number. So two runs with one seed have the same history, in whatever
order their requests arrive and their tasks end. `after` and `first` count requests, as they arrive.
Counts go on after a restart, as far as the ledger remembers them, and so do the windows of the rules that were in force:
the same rules go on, others begin anew.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchrunner.emulator.faults import Aspect, Delay, Fate, Stage, Value
from batchrunner.emulator.ledger import Campaign, Entry, Ledger, Struck
from batchrunner.emulator.scenarios import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault that meets a request. It has fired when the ledger knows it."""

    rule: Rule
    stage: Stage
    place: int
    task: str | None
    nth: int
    likeness: str = ""

    @property
    def parameters(self) -> Mapping[str, Value]:
        return self.rule.parameters

    def seconds(self, speed: float) -> float:
        """Its duration in real seconds."""
        return float(self.parameters.get("seconds", 0.0)) / speed

    def struck(self, at: float, task: str | None = None) -> Struck:
        """The ledger's line."""
        return Struck(
            name=self.rule.fault.name,
            stage=self.stage,
            place=self.place,
            task=self.task or task,
            nth=self.nth,
            at=at,
            likeness=self.likeness,
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
        self._remember(ledger)

    def _remember(self, ledger: Ledger) -> None:
        for entry in ledger.entries():
            likeness = entry.draw.partition(":")[0]
            self._asked[Stage.TASK, likeness] += 1
            self._asked[Stage.SUBMIT, likeness] += 1
        for one in ledger.struck():
            stage = Stage(one.stage)
            self._counts[stage] = max(self._counts[stage], one.place + 1)
            if about := one.likeness or one.task:
                self._asked[stage, about] = max(self._asked[stage, about], one.nth + 1)
        self._counts[Stage.SUBMIT] = max(self._counts[Stage.SUBMIT], len(ledger.entries()))

    def apply(self, rules: tuple[Rule, ...], *, goes_on: bool = False) -> None:
        """From now on these. `after` and `first` count from here, `from` and `to` from the next request on; with `goes_on`
        all of them from where the same rules began in the process before.
        """
        self.rules, self._since = rules, None
        self._offset = Counter(self._counts)
        self._offset[Stage.TASK] = len(self._ledger.entries())
        begun = self._ledger.campaign
        if goes_on and begun is not None and begun.rules == _digest(rules):
            self._since = begun.at
            self._offset = Counter({Stage(stage): count for stage, count in begun.offset.items()})

    def strikes(
        self, stage: Stage, *, now: float, prompt: str = "", likeness: str = "", entry: Entry | None = None
    ) -> list[Strike]:
        """What the next request of this kind meets: every delay, and at most one fault of another kind."""
        self._begin(now)
        place = self._counts[stage]
        self._counts[stage] += 1
        nth, key = 0, str(place)
        if about := entry.id if entry is not None else likeness:
            nth = self._asked[stage, about]
            self._asked[stage, about] += 1
            key = f"{entry.draw if entry is not None else likeness}:{nth}"
        found: list[Strike] = []
        exclusive = False
        for rule in self.rules:
            is_delay = isinstance(rule.fault.effect, Delay)
            if stage not in rule.on or (exclusive and not is_delay):
                continue
            if self._hits(rule, self._position(rule), f"{stage}:{key}", prompt, now):
                task = entry.id if entry is not None else None
                found.append(Strike(rule=rule, stage=stage, place=place, task=task, nth=nth, likeness=likeness))
                exclusive = exclusive or not is_delay
        return found

    def draw(self, likeness: str) -> str:
        """What decides over the next task of this likeness."""
        nth = self._asked[Stage.TASK, likeness]
        self._asked[Stage.TASK, likeness] += 1
        return f"{likeness}:{nth}"

    def fates(self, draw: str, prompt: str, *, now: float) -> dict[str, dict[str, Value]]:
        """The fates of the next task, at most one of each aspect; durations in real seconds."""
        drawn: dict[str, dict[str, Value]] = {}
        aspects: set[Aspect] = set()
        position = len(self._ledger.entries()) - self._offset[Stage.TASK]
        for rule in self.rules:
            effect = rule.fault.effect
            if not isinstance(effect, Fate) or effect.aspect in aspects:
                continue
            if self._hits(rule, position, f"{Stage.TASK}:{draw}", prompt, now):
                aspects.add(effect.aspect)
                drawn[rule.fault.name] = dict(self._scaled(rule.parameters))
        return drawn

    def _begin(self, now: float) -> None:
        if self._since is None:
            self._since = now
            self._ledger.record_campaign(
                Campaign(
                    rules=_digest(self.rules),
                    at=now,
                    offset={stage.value: count for stage, count in self._offset.items()},
                )
            )

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


def _digest(rules: tuple[Rule, ...]) -> str:
    """The same for the same rules, in this process and another."""
    said: list[object] = []
    for rule in rules:
        said += [
            rule.fault.name,
            rule.probability,
            [*rule.on],
            rule.after,
            rule.first,
            rule.begin,
            rule.end,
            rule.match,
        ]
        said += sorted(rule.parameters.items())
    return hashlib.sha256(repr(said).encode(errors="surrogatepass")).hexdigest()[:20]
