"""What the README says is so: its state table, its exit codes, its commands and its manifest."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchrunner.cli.main import COMMANDS, cli
from batchrunner.errors import ExitCode
from batchrunner.manifest import Options, load_manifest, parse_manifest
from batchrunner.media.frames import FrameFacts
from batchrunner.states import TRANSITIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_state_table_is_the_transition_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", README, re.MULTILINE))
    told = {
        state: dict(re.findall(r"(\w+) → `(\w+)`", moves))
        for state, moves in rows.items()
        if state in {known.value for known in TRANSITIONS}
    }

    expected = {state.value: {e.value: t.value for e, t in moves.items()} for state, moves in TRANSITIONS.items()}
    assert told == expected


def test_the_exit_code_table_has_every_code():
    told = {int(code) for cells in re.findall(r"^\| ([\d, ]+) \| ", README, re.MULTILINE) for code in cells.split(",")}

    assert told == set(map(int, ExitCode))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(name):
    answer = CliRunner().invoke(cli, [name, "--help"])

    assert answer.exit_code == 0
    assert f"| `{name}" in README


def test_every_flag_of_run_stands_in_the_readme():
    answer = CliRunner().invoke(cli, ["run", "--help"])

    flags = set(re.findall(r"--[a-z][a-z-]+", answer.output)) - {"--help", "--no-report"}
    assert flags <= set(re.findall(r"--[a-z][a-z-]+", README))


def test_the_first_two_shell_blocks_are_one_line_each():
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)

    assert [len(block.splitlines()) for block in blocks] == [1, 1]


def test_the_manifest_of_the_readme_is_right():
    text = next(
        block for block in re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE) if "version: 1" in block
    )

    def any_frame(path, *, roots):
        return FrameFacts(sha256="0" * 64, width=1280, height=720, mime="image/jpeg", bytes=1)

    loaded = parse_manifest(text.encode(), ROOT / "readme.yaml", probe=any_frame)

    assert len(loaded.jobs) == 2
    assert not loaded.warnings


@pytest.mark.parametrize("path", sorted((ROOT / "manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_every_manifest_that_we_ship_is_right_without_a_warning(path):
    loaded = load_manifest(path, options=Options(today=date(2026, 11, 22)))

    assert loaded.jobs
    assert not loaded.warnings
