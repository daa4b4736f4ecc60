"""`python -m tests.chaos --kills 1000`: every fault at once, one table, and a non-zero exit when a promise was broken."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from functools import partial

from .broken import RUNNERS
from .groups import LIVED, STRIKES, Case, Tally, at, cases, caught, live
from .tracing import Point, missing

LOST = ("I1", "I3", "I5")
DOUBLE = ("I2", "I4", "I6", "I23")


def name_of(case: Case) -> str:
    """What a case is replayed by."""
    return ":".join([case.name, str(case.seed), *([case.detail] if case.detail else [])])


def main() -> int:
    """Run, print the table, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="on a clean provider and on a bad day each [100]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help=f"groups that begin so: {', '.join(LIVED)}")
    parser.add_argument("--replay", default="", help="one life again, as a failure names it")
    parser.add_argument(
        "--broken", default="", help="a deliberately broken runner that must be caught, or `all` of them"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.replay:
        wanted = [_replayed(options.replay)]
    elif options.broken:
        return _broken(list(RUNNERS) if options.broken == "all" else [options.broken], options.seed, options.workers)
    else:
        wanted = cases(options.kills, options.seed, options.only)
        if why := missing():
            print(f"without faults at system calls: {why}")
    for number in (signal.SIGINT, signal.SIGTERM):  # the table of what was lived is shown all the same
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    tallies = []
    with suppress(KeyboardInterrupt), multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for tally in pool.imap_unordered(live, wanted):
            tallies.append(tally)
            for violation in tally.violations[:3]:
                print(f"BROKEN {name_of(tally.case)}\n  {violation}", flush=True)
            for why in tally.left[:3] if tally.case.purchases == "kept" else ():
                print(f"IN DOUBT {name_of(tally.case)}\n  {why}", flush=True)
            if tally.violations or (tally.left and tally.case.purchases == "kept"):
                print(f"  replay: python -m tests.chaos --replay {name_of(tally.case)!r}", flush=True)
    print(table(tallies))
    print(
        f"{len(tallies)} of {len(wanted)} lives, {time.monotonic() - began:.0f} s, {options.workers} workers, seed {options.seed}"
    )
    return 1 if any(tally.violations for tally in tallies) else 0


def _broken(names: list[str], seed: int, workers: int) -> int:
    """One line for each broken runner; 0 when all of them were caught, each by an invariant that it breaks."""
    unknown = [name for name in names if name not in RUNNERS]
    if unknown:
        sys.exit(f"there is no broken runner {unknown[0]!r}; there are: {', '.join(RUNNERS)}")
    missed = 0
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for name, tally in zip(names, pool.imap(partial(caught, seed=seed), names), strict=True):
            found = [one for one in tally.violations if one.invariant.split()[0] in RUNNERS[name].caught_by]
            missed += not found
            said = f"caught by {found[0]}" if found else f"NOT CAUGHT; seen: {[*map(str, tally.violations)]}"
            print(f"{name}: {said}", flush=True)
    print(f"{len(names) - missed} of {len(names)} broken runners were caught")
    return 1 if missed else 0


def _replayed(name: str) -> Case:
    """The case of a name, whose group is asked for with as many kills as it takes."""
    group, seed, *detail = name.split(":")
    if group.endswith("at calls"):
        return at(Point.of(detail[0]), int(seed))
    known = {case.name: case for case in cases(1, int(seed), group)}
    if group not in known:
        sys.exit(f"there is no group {group!r}; the groups are {', '.join(LIVED)}")
    case = known[group]
    strikes = STRIKES if group.startswith("kills") else case.strikes
    return replace(case, seed=int(seed), detail=":".join(detail), strikes=strikes)


def table(tallies: list[Tally]) -> str:
    """One line for each group."""
    groups: dict[str, list[Tally]] = defaultdict(list)
    for tally in tallies:
        groups[tally.case.name].append(tally)
    head = ("group", "runs", "strikes", "jobs", "lost", "double", "in doubt left", "worst", "broken")
    lines = [head]
    for name in sorted(groups, key=list(LIVED).index):
        lives = groups[name]
        sums = [sum(getattr(one, field) for one in lives) for field in ("runs", "strikes", "jobs")]
        losses = [sum(one.count(*kind) for one in lives) for kind in (LOST, DOUBLE)]
        left = sum(len(one.left) for one in lives)
        worst = max(one.worst for one in lives)
        lines.append((name, *map(str, (*sums, *losses, left, worst, sum(bool(one.violations) for one in lives)))))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(cell.rjust(w) if n else cell.ljust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    phases = sum((one.phases for one in tallies), Counter[str]())
    struck = ", ".join(f"{phase} {count}" for phase, count in phases.most_common())
    return "\n".join([*text, f"struck while: {struck}"])


if __name__ == "__main__":
    sys.exit(main())
