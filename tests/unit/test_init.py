"""`batchrunner init`: what it writes runs at once, and what was there before stays as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchrunner.cli.main import cli
from batchrunner.errors import StorageError, UsageError
from batchrunner.manifest import load_manifest
from batchrunner.manifest.export import MODELINES, schema_text

ROOT = Path(__file__).parents[2]
MANIFEST = "manifests/first.yaml"
WRITTEN = {
    ".gitignore",
    MANIFEST,
    "manifests/.schema/manifest-v1.json",
    "manifests/frames/hill_first.jpg",
    "manifests/frames/hill_last.jpg",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*args: str) -> str:
    answer = CliRunner().invoke(cli, ["init", *args], standalone_mode=False, catch_exceptions=False)
    assert answer.return_value == 0
    return answer.output


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_a_manifest_and_all_that_it_needs(here):
    said = init()

    assert files(here).keys() == WRITTEN
    assert said.count("wrote ") == len(WRITTEN)
    assert (here / MANIFEST).read_text("utf-8").splitlines()[:2] == list(MODELINES)
    assert (here / "manifests/.schema/manifest-v1.json").read_text("utf-8") == schema_text()
    loaded = load_manifest(here / MANIFEST)
    assert [job.key for job in loaded.jobs] == ["cat", "street/16:9", "street/9:16", "pairs/hill"]
    assert not loaded.warnings


def test_the_command_that_it_prints_makes_clips(here):
    (line,) = (line for line in init("a new folder").splitlines() if line.startswith("next:"))
    command = re.split(r"\s{2,}", line.removeprefix("next: "))[0]
    start, _, command = command.partition(" && batchrunner ")
    assert start == "cd 'a new folder'"

    ended = subprocess.run(
        [sys.executable, "-m", "batchrunner", *command.split()],
        cwd="a new folder",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(list((here / "a new folder/rehearsal/out/first").rglob("*.mp4"))) == 4


def test_again_it_changes_nothing(here):
    init()
    (here / MANIFEST).write_text("version: 1\n")
    before = files(here)

    said = init()

    assert files(here) == before
    assert said.count("kept ") == len(WRITTEN)
    assert "wrote" not in said


def test_what_was_there_is_kept_and_what_it_lacks_is_said(here):
    (here / ".gitignore").write_text("out\n*.pyc\n")
    (here / "manifests/.schema").mkdir(parents=True)
    (here / "manifests/.schema/manifest-v1.json").write_text("{}")

    said = init()

    assert (here / ".gitignore").read_text() == "out\n*.pyc\n"
    assert "does not name /.batchrunner/ /rehearsal/:" in said
    assert "batchrunner schema > manifests/.schema/manifest-v1.json" in said
    assert files(here).keys() == WRITTEN


def test_a_file_is_no_folder(here):
    (here / "a").write_text("")

    with pytest.raises(UsageError, match="not a folder"):
        init("a")


@pytest.mark.parametrize("place", ["manifests", MANIFEST])
def test_what_stands_in_the_way_is_named(here, place):
    (here / place).parent.mkdir(parents=True, exist_ok=True)
    (here / place).symlink_to("nowhere")

    with pytest.raises(StorageError, match="manifests"):
        init()
    assert not (here / "nowhere").exists()
