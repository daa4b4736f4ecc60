"""Good manifests, broken in one place by every operator of `mutations`: each is refused quickly and at the right line.

All of them with `-m slow`; everyday runs take the same small sample of each operator.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import mutations_of_lines  # noqa: F401  its operators register themselves
import mutations_of_values  # noqa: F401
import pytest
from mutations import OPERATORS, Good, Mutant, apply
from mutations_of_files import HELLO, LINES, SHIPPED

from batchrunner.diagnostic import Diagnostic, Severity
from batchrunner.errors import ExitCode, ManifestError
from batchrunner.manifest import Options, parse_manifest

ROOT = Path(__file__).parents[2]
TODAY = Options(today=date(2026, 11, 22))
GOOD = [Good(path.name, path.read_text("utf-8")) for path in sorted(SHIPPED.glob("*.yaml"))]
GOOD.append(Good("hello.yaml", HELLO))
SECONDS, MEGABYTES = 2.0, 300
SAMPLE = 5
"""Mutants of one operator in an everyday run."""
SPREADING = {"truncated", "broken_matrix"}
"""Operators that make other lines wrong as well."""
HEAVY = ("laughs", "merge_bomb", "deep_nesting", "huge_number", "control_character", "bad_frame", "bad_table")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what we ship, with the files of the worked example."""
    folder = tmp_path_factory.mktemp("mutants") / "manifests"
    shutil.copytree(SHIPPED, folder)
    (folder / "rows.jsonl").write_text("\n".join(LINES), "utf-8")
    (folder / "hello.yaml").write_text(HELLO, "utf-8")
    return folder


def mutants(name: str) -> list[tuple[Good, Mutant]]:
    return [(good, mutant) for good in GOOD for mutant in OPERATORS[name](good)]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(folder.parent.rglob("*"))}


def wrong(folder: Path, good: Good, mutant: Mutant) -> str | None:
    """What the reader does wrong with a mutant."""
    undo = apply(folder, mutant.changes)
    try:
        before, path = snapshot(folder), folder / good.name
        start = time.process_time()
        try:
            parse_manifest(mutant.data, path, options=TODAY)
        except ManifestError as error:
            found = [one for one in error.diagnostics if one.severity is Severity.ERROR]
        else:
            return "accepted"
        if (took := time.process_time() - start) > SECONDS:
            return f"took {took:.1f} s"
        if snapshot(folder) != before:
            return "wrote a file"
    finally:
        undo()
    return misplaced(mutant, mutant.file or good.name, found) or off_the_node(mutant, found)


def off_the_node(mutant: Mutant, found: list[Diagnostic]) -> str | None:
    """What is said beside the node that was broken."""
    if mutant.columns is None:
        return None
    first, last = mutant.columns
    here = [one for one in found if one.place.line in mutant.lines]
    if any(first <= one.place.column <= last for one in here):
        return None
    return "; ".join(f"column {one.place.column}, not {first} to {last}: {one.message}" for one in here[:3])


def misplaced(mutant: Mutant, name: str, found: list[Diagnostic]) -> str | None:
    """What is said about other places than the one that was broken; a help may name it too."""
    elsewhere = [
        one for one in found if (Path(one.place.file).name, one.place.line) not in {(name, n) for n in mutant.lines}
    ]
    helped = any(f"{name}:{line}:" in one.help for one in found for line in mutant.lines)
    if not elsewhere or helped or (mutant.operator in SPREADING and len(elsewhere) < len(found)):
        return None
    return "; ".join(f"line {one.place.line}: {one.message}" for one in elsewhere[:3])


def check(folder: Path, chosen: list[tuple[Good, Mutant]]) -> None:
    failures = [f"{good.name}: {mutant}: {what}" for good, mutant in chosen if (what := wrong(folder, good, mutant))]
    assert not failures, f"{len(failures)} of {len(chosen)}\n" + "\n".join(failures[:40])


@pytest.mark.parametrize("good", GOOD, ids=lambda good: good.name)
def test_they_are_right_before_they_are_broken(folder, good):
    assert parse_manifest(good.text.encode(), folder / good.name, options=TODAY).jobs


@pytest.mark.parametrize("name", OPERATORS)
def test_a_sample_of_each_operator_is_refused_where_it_is_wrong(folder, name):
    chosen = mutants(name)
    random.Random(name).shuffle(chosen)

    assert chosen, f"{name} finds nothing to break"
    check(folder, chosen[:SAMPLE])


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_every_mutant_is_refused_where_it_is_wrong(folder, name):
    check(folder, mutants(name))


def test_there_are_many_of_them():
    counted = Counter({name: len(mutants(name)) for name in OPERATORS})

    assert len(counted) >= 50
    assert counted.total() >= 1_000


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small process in between: the peak of a child counts the memory of the process that it was forked from."""


def command(folder: Path, good: Good, mutant: Mutant) -> str | None:
    """What the command does wrong with a mutant."""
    undo = apply(folder, {**mutant.changes, good.name: mutant.data})
    arguments = [sys.executable, "-m", "batchrunner", "run", f"{folder.name}/{good.name}", "--emulator", "--yes"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        before = snapshot(folder)
        with tempfile.TemporaryFile() as output:
            measured = [sys.executable, "-c", MEASURED, *arguments]
            process = subprocess.run(
                measured, cwd=folder.parent, env=environment, stdout=subprocess.PIPE, stderr=output, check=False
            )
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        written = snapshot(folder) != before
    finally:
        undo()
    memory = int(process.stdout) / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    if process.returncode != ExitCode.MANIFEST or "Traceback" in text or ": error[" not in text:
        return f"exit {process.returncode}: {text[:300]}"
    if written:
        return "wrote a file"
    return f"took {memory:.0f} MB" if memory > MEGABYTES else None


def test_the_command_refuses_the_heavy_ones_without_a_trace(folder):
    chosen = [mutants(name)[0] for name in HEAVY]

    assert not [f"{mutant}: {what}" for good, mutant in chosen if (what := command(folder, good, mutant))]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_the_command_refuses_all_kinds(folder, name):
    chosen = mutants(name)
    random.Random(name).shuffle(chosen)

    assert not [f"{mutant}: {what}" for good, mutant in chosen[:2] if (what := command(folder, good, mutant))]
