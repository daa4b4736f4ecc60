"""When to ask: delay in noticing and questions a task, learned against fixed steps and against the bound, simulated.

    python -m tests.bench.polling [--tasks 20000] [--json]

Each policy sees the same service times; the learned one starts with nothing and learns from what it notices, as a run does.
The bound is A²/2 with A = ∫√(f·S) of the true distribution (performance notes §6).
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice

from batchrunner.forecast import WINDOW, forecast
from batchrunner.polling import next_look

Times = Callable[[random.Random], Iterator[float]]
RELEARN = 16
"""Tasks between two forecasts."""
FAST_FLOOR, TEN_SECONDS = 0.5, 1 / 10
"""Without the documented floor, but with the questions that one every ten seconds makes."""


@dataclass(frozen=True, slots=True)
class Row:
    times: str
    policy: str
    questions: float
    delay: float
    p95: float
    against_fixed_10: float
    against_bound: float


def measured(rng: random.Random) -> Iterator[float]:
    """Median 105 s, from 83 to 253 (API facts §6)."""
    while True:
        yield min(max(80 + rng.lognormvariate(math.log(25), 0.9), 83.0), 253.0)


def two_modes(rng: random.Random) -> Iterator[float]:
    for time in measured(rng):
        yield time * (1.0 if rng.random() < 0.6 else 2.2)


def drifting(rng: random.Random) -> Iterator[float]:
    for number, time in enumerate(measured(rng)):
        yield time * (1 + 0.5 * math.sin(number / 400))


def with_stuck_tasks(rng: random.Random) -> Iterator[float]:
    for time in measured(rng):
        yield 3_000.0 if rng.random() < 0.01 else time


def bound(times: list[float], width: float = 0.5) -> float:
    """A²/2 of the true distribution, from a histogram."""
    found, alive, area = Counter(int(time / width) for time in times), float(len(times)), 0.0
    for slot in range(max(found) + 1):
        area += math.sqrt(found[slot] / width * (alive - found[slot] / 2)) / len(times) * width
        alive -= found[slot]
    return area**2 / 2


def ask(
    times: list[float], pause: Callable[[float], float], noticed: Callable[[float], None]
) -> tuple[float, float, float]:
    """Questions a task, mean and 95th percentile of the delay."""
    asked, delays = 0, []
    for time in times:
        age = 0.0
        while age < time:
            age += pause(age)
            asked += 1
        delays.append(age - time)
        noticed(time)
    return asked / len(times), sum(delays) / len(delays), sorted(delays)[int(0.95 * len(delays))]


def learner(
    rng: random.Random, *, floor: float, share: float
) -> tuple[Callable[[float], float], Callable[[float], None]]:
    """The product's own policy, which learns the provider's own times, as its answers tell them."""
    seen: deque[float] = deque(maxlen=WINDOW)
    current = [forecast(seen)]
    count = [0]

    def pause(age: float) -> float:
        return next_look(age, floor=floor, chance=rng.random(), learned=current[0], share=share)

    def noticed(time: float) -> None:
        seen.append(time)
        count[0] += 1
        if count[0] % RELEARN == 0:
            current[0] = forecast(seen)

    return pause, noticed


def rows(name: str, make: Times, tasks: int) -> Iterator[Row]:
    times = list(islice(make(random.Random(3)), tasks))
    least = bound(times)
    rng = random.Random(7)
    policies: dict[str, tuple[Callable[[float], float], Callable[[float], None]]] = {
        "fixed 10 s": (lambda age: 10.0, lambda time: None),
        "fixed 5 s": (lambda age: 5.0, lambda time: None),
        "documented cadence": (lambda age: next_look(age, floor=5.0, chance=rng.random()), lambda time: None),
        "learned, floor 5 s": learner(rng, floor=5.0, share=math.inf),
        "learned, as many as fixed 10 s": learner(rng, floor=FAST_FLOOR, share=TEN_SECONDS),
    }
    reference = 0.0
    for policy, (pause, noticed) in policies.items():
        questions, delay, p95 = ask(times, pause, noticed)
        reference = reference or delay
        yield Row(name, policy, questions, delay, p95, reference / delay, questions * delay / least)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds: dict[str, Times] = {
        "measured": measured,
        "two modes": two_modes,
        "drifting": drifting,
        "1 % stuck": with_stuck_tasks,
    }
    found = [row for name, make in kinds.items() for row in rows(name, make, options.tasks)]
    if options.json:
        print(json.dumps([asdict(row) for row in found], indent=2))
        return
    print(
        f"{'service times':13} {'policy':31} {'questions':>9} {'delay s':>8} {'p95 s':>6} {'fixed 10 s':>10} {'bound':>6}"
    )
    for row in found:
        print(
            f"{row.times:13} {row.policy:31} {row.questions:9.1f} {row.delay:8.2f} {row.p95:6.1f}"
            f" {row.against_fixed_10:8.1f} x {row.against_bound:6.2f}"
        )


if __name__ == "__main__":
    main()
