"""The auditors are audited: the server refuses what the page refuses, and its clips are clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchrunner.media import clips as judge

from . import clips, rules

GOOD: dict[str, Any] = {"model": "kling-v3", "prompt": "x"}


@pytest.mark.parametrize(
    "change",
    [
        {"duration": 7},
        {"duration": "5"},
        {"duration": 5.0},
        {"duration": True},
        {"mode": "pro "},
        {"mode": None},
        {"audio": 1},
        {"aspect_ratio": 969},
        {"aspect_ratio": "4:3"},
        {"prompt": ""},
        {"prompt": "x" * 2501},
        {"model": "kling-v2"},
        {"image_urls": []},
        {"image_urls": ["https://a/1", "https://a/2", "https://a/3"]},
        {"image_urls": ["data:image/png;base64,AAAA"]},
        {"image_urls": ["https://a/1"], "duration": 15},
        {"image_with_roles": [{"url": "https://a/1", "role": "first_frame"}]},
        {"metadata": {"seed": 1}},
        {"metadata": {"watermark": "no"}},
        {"client_business_id": "with space"},
        {"seed": 1},
    ],
    ids=str,
)
def test_the_server_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(rules.Wrong):
        rules.checked(json.dumps({**GOOD, **change}).encode(), dialect="image_urls")


def test_the_server_takes_the_least_and_refuses_a_key_given_twice() -> None:
    assert rules.checked(json.dumps(GOOD).encode(), dialect="image_urls") == GOOD
    with pytest.raises(rules.Wrong):
        rules.checked(b'{"model":"kling-v3","prompt":"x","prompt":"y"}', dialect="image_urls")


def test_its_clips_are_clips(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clips.stamped(clips.plain(tmp_path, duration=10, ratio="9:16", audio=True), "task_1", pad=100))

    facts = judge.read(path)

    assert (facts.duration, facts.sound) == (10.0, True)
    assert facts.width / facts.height == 9 / 16
