"""What batchrunner costs: `python -m tests.bench [--full] [--json FILE] [--svg FILE] [PART …]`.

Parts: `jobs` (whole runs against scripts that keep nothing, on one server: CPU a job, makespan against the ideal),
`sizes` (memory and CPU by size of the batch and by number in flight),
`slices` (the same for a part of a large batch), `resume` (seconds to the first request of a batch
that is nearly done), `store` (transitions a second against raw SQLite),
`svip` (the largest account group's limits kept up by one process, and what of a core that takes),
`polling` (noticing against fixed steps and the bound, simulated). Read ratios of one run, not seconds. Quick by default: some minutes;
`--full` has the sizes of the published table. Expansion and the emulator have benches of their own: `tests.bench.expand`,
`tests.bench.emulator`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import jobs, polling, resume, slices, store, sustained

QUICK = {
    "jobs": 1000,
    "sizes": [300, 1000, 3000],
    "limits": [10, 100],
    "slices": [1000, 10_000],
    "resume": [1000, 10_000],
    "moves": 2000,
    "svip": 1000,
    "tasks": 2000,
}
FULL = {
    "jobs": 5000,
    "sizes": [1000, 10_000, 100_000],
    "limits": [100, 1000, 10_000],
    "slices": [1000, 10_000, 100_000, 1_000_000],
    "resume": [1000, 10_000, 100_000, 1_000_000],
    "moves": 20_000,
    "svip": 4000,
    "tasks": 20_000,
}
HEAD = f"{'runner':12} {'jobs':>7} {'limit':>6} {'task s':>6} {'CPU ms/job':>10} {'seconds':>8} {'/ ideal':>7} {'peak MB':>8}"


def row(one: jobs.Run) -> str:
    ideal = "" if one.against_ideal is None else f"{one.against_ideal:.2f}"
    numbers = f"{one.jobs:7,} {one.limit:6,} {one.service:6.1f} {one.cpu_ms_a_job:10.2f} {one.makespan:8.1f}"
    return f"{one.runner:12} {numbers} {ideal:>7} {one.peak_mb:8.0f}"


def whole_runs(sizes: dict[str, Any]) -> list[dict[str, object]]:
    found = jobs.paired(sizes["jobs"], 0.0) + jobs.paired(sizes["jobs"], 1.0)
    print(HEAD, *map(row, found), sep="\n", flush=True)
    ours, *others = (one for one in found if not one.service)
    for other in others:
        print(f"  CPU against {other.runner}: {ours.cpu_ms_a_job / other.cpu_ms_a_job:.2f}")
    return jobs.as_json(found)


def by_size(sizes: dict[str, Any]) -> list[dict[str, object]]:
    found = jobs.by_size(sizes["sizes"], sizes["limits"])
    print(HEAD, *map(row, found), sep="\n", flush=True)
    return jobs.as_json(found)


def by_batch(sizes: dict[str, Any]) -> list[dict[str, object]]:
    found = []
    print(f"{'jobs':>10} {'first run':>10} {'MB':>5} {'later starts':>13} {'CPU ms/job':>10} {'peak MB':>8}")
    for count in sizes["slices"]:
        one = slices.measure(count)
        first, start = f"{one.first_run_s:8.1f} s {one.first_run_mb:5.0f}", f"{one.start_cpu_s:7.1f} s CPU"
        print(f"{count:10,} {first} {start} {one.cpu_ms_a_job:10.2f} {one.peak_mb:8.0f}", flush=True)
        found.append(asdict(one))
    return found


def going_on(sizes: dict[str, Any]) -> dict[int, dict[str, float]]:
    found = {}
    print(f"{'jobs, 99 % done':>16} {'first request after':>20} {'manifest edited':>16}")
    for count in sizes["resume"]:
        found[count] = resume.measure(count)
        print(f"{count:16,} {found[count]['same']:18.1f} s {found[count]['edited']:14.1f} s", flush=True)
    return found


def transitions(sizes: dict[str, Any]) -> dict[str, dict[str, float]]:
    found = store.measure(sizes["moves"])
    print(f"{'transitions':26} {'per second':>10} {'CPU µs':>7}")
    for name, one in found.items():
        print(f"{name:26} {one['per_second']:10,.0f} {one['cpu_us']:7.0f}", flush=True)
    return found


def largest_group(sizes: dict[str, Any]) -> dict[str, object]:
    one = sustained.measure(sizes["svip"])
    print(f"{'jobs':>7} {'submits/s':>9} {'questions/s':>11} {'files/s':>8} {'cores':>6} {'seconds':>8}")
    print(
        f"{one.jobs:7,} {one.submits:9.1f} {one.questions:11.1f} {one.files:8.1f} {one.cores:6.2f} {one.seconds:8.1f}"
    )
    return asdict(one)


def noticing(sizes: dict[str, Any]) -> list[dict[str, object]]:
    found = [asdict(one) for one in polling.rows("measured", polling.measured, sizes["tasks"])]
    print(f"{'policy':31} {'questions':>9} {'delay s':>8} {'fixed 10 s':>10} {'bound':>6}")
    for one in found:
        numbers = f"{one['questions']:9.1f} {one['delay']:8.2f} {one['against_fixed_10']:8.1f} x"
        print(f"{one['policy']:31} {numbers} {one['against_bound']:6.2f}", flush=True)
    return found


PARTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "jobs": whole_runs,
    "sizes": by_size,
    "slices": by_batch,
    "resume": going_on,
    "store": transitions,
    "svip": largest_group,
    "polling": noticing,
}


def plot(runs: list[dict[str, Any]]) -> str:
    """CPU a job and peak memory against the number of jobs, as an SVG with a logarithmic axis of sizes."""
    drawn = [one for one in runs if not one["service"]]
    low, high = (math.log10(pick(one["jobs"] for one in drawn)) for pick in (min, max))
    lines = []
    for name, unit, colour in (("cpu_ms_a_job", "CPU ms a job", "#1565c0"), ("peak_mb", "peak MB", "#c62828")):
        most = max(float(one[name]) for one in drawn)
        points = [
            (60 + 480 * (math.log10(one["jobs"]) - low) / max(high - low, 1e-9), 260 - 220 * one[name] / most, one)
            for one in drawn
        ]
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y, _ in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, one in points:
            lines.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>')
            lines.append(f'<text x="{x:.0f}" y="{y - 8:.0f}" fill="{colour}">{one[name]:.3g} {unit}</text>')
            lines.append(f'<text x="{x:.0f}" y="280" fill="#555">{one["jobs"]:,} jobs</text>')
    body = "\n".join(lines)
    style = 'font-family="sans-serif" font-size="11" text-anchor="middle"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="600" height="300" {style}>\n{body}\n</svg>\n'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[[], *PARTS], help=", ".join(PARTS))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="plot cost against size (of the part `sizes`)")
    options = parser.parse_args()
    found = {name: PARTS[name](FULL if options.full else QUICK) for name in options.parts or PARTS}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    if options.svg and "sizes" in found:
        options.svg.write_text(plot(found["sizes"]), "utf-8")


if __name__ == "__main__":
    main()
