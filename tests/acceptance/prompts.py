"""Prompts as people write them, made by rule: Chinese, emoji, quotes, line breaks, the longest, and the same twice."""

from __future__ import annotations

from typing import Any

_SHAPES = (
    "一只金色的猫咪在阳光下的草地上奔跑，第{n}号镜头",
    "A stop sign, frozen in time; take {n}",
    "猫 🐈 meets 👩‍👩‍👧‍👦 and 🇨🇳, scene {n}",
    "he said \"go\", she said 'no': # not a comment {n}",
    "first line {n}\nsecond line\n\tindented",
    "{{braces}} {{key}} %s $HOME `ls` ../../etc/passwd {n}",
    "- yes: no, null, ~, 16:9, 0o17, 1e3, {n}",
    "العربية עברית ไทย Ωμέγα {n} \u202e\u200b",
)
_LONGEST = 2500


def jobs(count: int) -> list[dict[str, Any]]:
    """So many jobs without ids. One in ten repeats the prompt of another, one is as long as prompts may be."""
    prompts = [_SHAPES[number % len(_SHAPES)].format(n=number) for number in range(count)]
    prompts[1] = ("极" * _LONGEST)[: _LONGEST - 1] + "🎬"
    for number in range(9, count, 10):
        prompts[number] = prompts[number - 7]
    return [{"prompt": prompt} for prompt in prompts]
