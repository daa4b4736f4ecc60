"""`check` and `run` with the options that go above a manifest, and with tables and prompts instead of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from batchrunner.cli.main import cli
from batchrunner.errors import ExitCode

ROOT = Path(__file__).parents[2]
MANIFEST = """\
version: 1
vars: {style: x}
jobs:
  - {id: a, prompt: "猫 {style}", matrix: {mode: [std, pro]}, tags: [nightly]}
  - {id: b, prompt: 狗, key: "b{index}", priority: 5}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST, "utf-8")
    return tmp_path


def check(*words: str) -> Result:
    return CliRunner().invoke(cli, ["check", "m.yaml", *words], standalone_mode=False)


def test_warnings_fail_a_strict_check_only():
    assert check().return_value == ExitCode.DONE
    strict = check("--strict")
    assert strict.return_value == ExitCode.MANIFEST
    assert "m.yaml:5:29: warning[MAN216]" in strict.output
    assert "nothing wrong" not in strict.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "m.yaml: 3 jobs, 1 warning"),
        (("--set", "mode=pro"), "m.yaml: 2 jobs, 1 warning"),
        (("--set", "style=y", "--only", "a/*"), "3 jobs, 2 selected"),
        (("--tag", "nightly", "--limit", "1"), "3 jobs, 1 selected"),
    ],
)
def test_check_counts_what_a_run_would_be_about(words, says):
    assert says in check(*words).output


def test_an_option_that_is_wrong_is_a_mistake_of_its_own():
    found = check("--set", "style=y", "--set", "moed=pro", "--format", "json")
    assert found.return_value == ExitCode.MANIFEST
    (error,) = [one for one in json.loads(found.output) if one["severity"] == "error"]
    assert (error["file"], error["line"], error["column"], error["code"]) == ("--set", 2, 6, "MAN215")
    assert "did you mean `mode`?" in error["help"]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command, environ = [sys.executable, "-m", "batchrunner", *words], os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return call("run", *words, "--emulator", "--yes", "--speed", "100000")


def listed() -> list[dict[str, object]]:
    answer = call("ls", "--db", ".batchrunner/rehearsal.db", "--format", "jsonl")
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_a_run_is_about_a_tag():
    assert run("m.yaml", "--tag", "nightly").returncode == 0
    assert {str(job["key"]): job["state"] for job in listed()} == {"b3": "pending", "a/std": "done", "a/pro": "done"}
    wrong = run("m.yaml", "--tag", "nightyl")
    assert (wrong.returncode, "the tags are nightly" in wrong.stderr) == (2, True)


def test_a_table_and_prompts_run_without_a_manifest():
    Path("夜.csv").write_text("key,prompt,mode\nS1,猫,pro\n", "utf-8")
    assert run("夜.csv").returncode == 0
    (job,) = listed()
    assert (job["key"], job["mode"], job["state"]) == ("S1", "pro", "done")
    assert Path(str(job["output"])).parts[-3:] == ("out", "夜", "S1.mp4")

    assert run("-p", "一只猫", "--set", "mode=pro").returncode == 0
    again = run("-p", "一只猫", "--set", "mode=pro")
    assert (again.returncode, "+ 0 to send   = 1 done" in again.stderr) == (0, True)
    (job,) = listed()
    assert (job["prompt"], job["mode"]) == ("一只猫", "pro")

    assert run().returncode == run("m.yaml", "-p", "x").returncode == 2
