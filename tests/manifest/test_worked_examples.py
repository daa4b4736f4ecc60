"""The four worked examples of the language's design (ux notes §3.3), word for word, beside files as they need them."""

from __future__ import annotations

from collections import Counter
from datetime import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from worked_examples import ADS, CLIENT, HELLO, PAIRS, SHOTS

from batchrunner.budget import Caps
from batchrunner.cli.main import cli
from batchrunner.errors import ExitCode
from batchrunner.manifest import Loaded, load_manifest


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Reads one of the examples, beside its frames and its table."""
    monkeypatch.chdir(tmp_path)
    for name in ("frames", "keyframes"):
        Path(name).mkdir()
    for shot in (1, 2, 3, 10):
        for end in ("first", "last"):
            Image.new("RGB", (360, 640), (shot, 9, 9)).save(f"frames/shot{shot}_{end}.png")
    for name in ("k1", "k2", "k3", "k10"):
        Image.new("RGB", (360, 640)).save(f"keyframes/{name}.png")
    Path("shots.csv").write_bytes(b"\xef\xbb\xbf" + SHOTS.encode())

    def read(text: str) -> Loaded:
        Path("hello.yaml").write_text(text, "utf-8")
        return load_manifest(Path("hello.yaml"))

    return read


def seconds(loaded: Loaded) -> Counter[str]:
    billed: Counter[str] = Counter()
    for job in loaded.jobs:
        billed[job.request.billing_key] += job.request.duration
    return billed


def paths(loaded: Loaded) -> list[str]:
    return [f"{loaded.manifest.output_dir}/{job.output}" for job in loaded.jobs]


def test_hello(load):
    loaded = load(HELLO)
    assert len(loaded.jobs) == 3
    assert sum(seconds(loaded).values()) == 20
    cat, rain, day = loaded.jobs
    assert (day.key, len(day.request.frames)) == ("day-to-night", 2)
    assert [one.key.rpartition("-")[0] for one in (cat, rain)] == [
        "一只金色的猫咪在阳光下的草地上奔",
        "雨夜东京街头-霓虹灯倒映在湿润地",
    ]
    assert (rain.request.mode, rain.request.duration) == ("pro", 10)
    assert paths(loaded)[2] == "out/hello/day-to-night.mp4"


def test_frame_pairs_and_a_storyboard(load):
    loaded = load(PAIRS)
    assert len(loaded.jobs) == 20
    assert seconds(loaded) == {"720P": 60, "1080P": 40}
    assert [job.key for job in loaded.jobs] == [
        f"pairs/shot{shot}/{mode}/t{take}" for shot in (1, 2, 3, 10) for mode in ("std", "pro") for take in (1, 2)
    ] + ["board/k1-k2", "board/k2-k3", "board/k3-k10", "board/k10-k1"]
    assert loaded.jobs[0].fingerprint == loaded.jobs[1].fingerprint != loaded.jobs[2].fingerprint
    assert [Path(frame.source).name for frame in loaded.jobs[-1].request.frames] == ["k10.png", "k1.png"]
    assert paths(loaded)[0] == "out/lantern-festival/shot1_std_t1.mp4"
    boards = [path.rpartition("/")[2] for path in paths(loaded)[16:]]
    assert boards == ["board_k1-k2.mp4", "board_k2-k3.mp4", "board_k3-k10.mp4", "board_k10-k1.mp4"]
    assert loaded.jobs[0].request.prompt == "镜头从首帧平滑过渡到尾帧，电影质感，柔和光线，shot1"
    assert loaded.manifest.caps == Caps(max_cost=120_000_000)
    assert [one.code for one in loaded.warnings] == ["MAN207"]  # there are no prices, and `run` will say so as well


def test_a_client_s_table(load):
    loaded = load(CLIENT)
    assert [job.key for job in loaded.jobs] == ["reel/S01", "reel/S02", "reel/S03"]
    assert paths(loaded) == ["out/ACME/S01.mp4", "out/ACME/S02.mp4", "out/Globex/S03.mp4"]
    assert seconds(loaded) == {"720P": 10, "1080P": 10}
    assert [len(job.request.frames) for job in loaded.jobs] == [2, 0, 1]
    assert loaded.jobs[0].request.prompt == "晨雾中的山谷，缓慢推进, 电影质感"


def test_an_advertisement_in_every_shape(load):
    loaded = load(ADS)
    assert len(loaded.jobs) == 50
    assert seconds(loaded) == {"720P": 450}
    assert loaded.jobs[0].request.prompt == "无线耳机悬浮在极简白色空间中，镜头缓慢环绕"
    assert loaded.jobs[0].key == "hero/极简白色空间/镜头缓慢环绕/16:9-5s"
    assert paths(loaded)[0] == "out/ad-test/hero-极简白色空间-镜头缓慢环绕-16x9-5s.mp4"
    assert len(set(paths(loaded))) == 50
    manifest = loaded.manifest
    assert (manifest.limits.max_in_flight, manifest.limits.stop_after_failures) == (6, 10)
    assert manifest.deadline == time(6, 30)
    assert manifest.caps == Caps(max_cost=300_000_000, per_day=500_000_000)
    assert {job.tags for job in loaded.jobs} == {("nightly", "ab-test")}


def test_a_budget_without_prices_is_refused_before_anything_is_sent(load, monkeypatch):
    load(ADS)
    monkeypatch.setenv("TOAPIS_API_KEY", "sk-none")
    done = CliRunner().invoke(cli, ["run", "hello.yaml", "--yes"], standalone_mode=False)
    assert done.exception.exit_code == ExitCode.USAGE
    assert "prices" in str(done.exception)
    assert "[prices]" in done.exception.fix
    assert not Path(".batchrunner").exists()
