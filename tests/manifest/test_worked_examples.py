"""The four worked examples of the language's design (ux notes §3.3), word for word, beside files as they need them."""

from __future__ import annotations

from collections import Counter
from datetime import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from batchrunner.budget import Caps
from batchrunner.cli.main import cli
from batchrunner.errors import ExitCode
from batchrunner.manifest import Loaded, load_manifest

HELLO = """\
version: 1
jobs:
  - prompt: 一只金色的猫咪在阳光下的草地上奔跑，慢动作，电影质感
  - prompt: 雨夜东京街头，霓虹灯倒映在湿润地面上，电影镜头
    mode: pro
    duration: 10
  - id: day-to-night
    prompt: 城市从白天自然过渡到夜晚
    frames: {first: frames/shot1_first.png, last: frames/shot1_last.png}
"""

PAIRS = """\
version: 1
name: lantern-festival
vars: {style: "电影质感，柔和光线"}
defaults: {mode: std, duration: 5, aspect_ratio: 9:16}
output: {dir: "out/{name}", filename: "{shot}_{mode}_t{take}.mp4"}
budget: {max_cost: 120}
jobs:
  - id: pairs
    from:
      pairs: {dir: frames, first: "{shot}_first.png", last: "{shot}_last.png"}
    prompt: 镜头从首帧平滑过渡到尾帧，{style}，{shot}
    matrix: {mode: [std, pro]}
    takes: 2
  - id: board
    from:
      chain: {glob: "keyframes/*.png", loop: true}
    prompt: 从 {from_stem} 到 {to_stem} 的转场，{style}
    output: {filename: "board_{from_stem}-{to_stem}.mp4"}
"""

CLIENT = """\
version: 1
name: client-reel
defaults: {mode: std, aspect_ratio: 16:9}
jobs:
  - id: reel
    from:
      csv: shots.csv
      columns: {镜号: key, 提示词: prompt, 首帧: first, 尾帧: last, 时长: duration, 模式: mode, 客户: client}
    output: {dir: "out/{client}", filename: "{row}.mp4"}
    metadata: {project: reel-2026}
"""

ADS = """\
version: 1
name: ad-test
vars: {product: 无线耳机}
limits: {concurrency: 6, max_jobs: 200, stop_after_failures: 10, deadline: "06:30"}
budget: {max_cost: 300, per_day: 500}
jobs:
  - id: ad
    prompts:
      hero: "{product}悬浮在{scene}中，{move}"
      macro: "{product}微距特写，{scene}，{move}"
    matrix:
      scene: [极简白色空间, 雨夜霓虹街头, 清晨森林]
      move: [镜头缓慢环绕, 镜头快速推进]
      aspect_ratio: [16:9, 9:16, 1:1]
      duration: [5, 15]
    exclude:
      - {aspect_ratio: 1:1, duration: 15}
      - {scene: 清晨森林, move: 镜头快速推进}
    key: "{prompt_key}/{scene}/{move}/{aspect_ratio}-{duration}s"
    output: {filename: "{slug}.mp4"}
    tags: [nightly, ab-test]
"""

SHOTS = """\
镜号,提示词,首帧,尾帧,时长,模式,客户
S01,"晨雾中的山谷，缓慢推进, 电影质感",frames/shot1_first.png,frames/shot1_last.png,5,,ACME
S02,雨夜的街道,,,10,pro,ACME
S03,灯笼升起,frames/shot2_first.png,,,,Globex
"""
"""As Excel saves it: with a mark at its beginning, a quoted comma and empty cells."""


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
    assert cat.key.startswith("一只金色的猫咪")
    assert (rain.request.mode, rain.request.duration) == ("pro", 10)
    assert paths(loaded)[2] == "out/hello/day-to-night.mp4"


def test_frame_pairs_and_a_storyboard(load):
    loaded = load(PAIRS)
    assert len(loaded.jobs) == 20
    assert seconds(loaded) == {"720P": 60, "1080P": 40}
    keys = [job.key for job in loaded.jobs]
    assert keys[:5] == [
        "pairs/shot1/std/t1",
        "pairs/shot1/std/t2",
        "pairs/shot1/pro/t1",
        "pairs/shot1/pro/t2",
        "pairs/shot2/std/t1",
    ]
    assert [key.split("/")[1] for key in keys[:16:4]] == ["shot1", "shot2", "shot3", "shot10"]
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
