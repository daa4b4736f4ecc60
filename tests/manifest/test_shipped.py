"""The manifests that we ship are what people copy: each does what its comments say, on the emulator as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from batchrunner.manifest import Options, load_manifest
from batchrunner.media.frames import FrameFacts, inspect

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "manifests"
OPTIONS = Options(today=date(2026, 11, 22))
MANIFESTS = sorted(path.name for path in SHIPPED.glob("*.yaml"))
PICTURES = sorted(SHIPPED.rglob("*.jpg"))


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("ad-matrix.yaml", 50, "hero-极简白色空间-镜头缓慢环绕-16x9-5s.mp4", "macro-清晨森林-镜头缓慢环绕-1x1-5s.mp4"),
        ("client-reel.yaml", 3, "ACME/S01.mp4", "Globex/S03.mp4"),
        ("frame-pairs.yaml", 6, "shot1_std.mp4", "shot10_pro.mp4"),
        ("nightly.yaml", 8, "weather/beijing.mp4", "loops/steam/t2.mp4"),
        ("quickstart.yaml", 4, "cat.mp4", "singer.mp4"),
        ("storyboard.yaml", 4, "01_dawn-02_noon.mp4", "04_night-01_dawn.mp4"),
    ],
)
def test_each_asks_for_what_it_says(name, count, first, last):
    jobs = load_manifest(SHIPPED / name, options=OPTIONS).jobs

    assert len(jobs) == count
    assert jobs[0].output == first
    assert jobs[-1].output == last


def test_none_is_forgotten_here():
    assert len(MANIFESTS) == 6


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small_and_good_enough_for_the_api(path):
    facts = inspect(path, roots=[SHIPPED])

    assert isinstance(facts, FrameFacts)
    assert facts.bytes <= 40_000
    assert min(facts.width, facts.height) >= 300


def test_no_picture_lies_about_that_nothing_uses():
    used = {
        frame.source
        for name in MANIFESTS
        for job in load_manifest(SHIPPED / name, options=OPTIONS).jobs
        for frame in job.request.frames
    }

    assert {str(path) for path in PICTURES} == used


def rehearse(folder: Path, name: str, *options: str) -> int:
    """Run a copy of a manifest on the emulator; the number of clips."""
    shutil.copytree(SHIPPED, folder / "manifests")
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "batchrunner",
            "run",
            f"manifests/{name}",
            "--emulator",
            "--yes",
            "--speed=1000",
            *options,
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return len(list((folder / "rehearsal").rglob("*.mp4")))


@pytest.mark.parametrize("name", ["client-reel.yaml", "storyboard.yaml"])
def test_tables_and_chains_make_clips(tmp_path, name):
    assert rehearse(tmp_path, name) == len(load_manifest(SHIPPED / name, options=OPTIONS).jobs)


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_all_of_them_make_all_their_clips(tmp_path, name):
    assert rehearse(tmp_path, name) == len(load_manifest(SHIPPED / name, options=OPTIONS).jobs)
