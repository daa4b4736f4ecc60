"""A provider that ignores the last frame is found out by one clip, not by a hundred."""

from __future__ import annotations

import json

from PIL import Image

from .world import World

PRICES = {"currency": "USD", "per_second": {"720P": 0.084}}
FAULTS = '{"faults": [{"name": "last_frame_ignored"}]}'


def test_a_last_frame_that_is_ignored_costs_one_clip(world: World) -> None:
    ramp = Image.linear_gradient("L").resize((640, 360))
    for name, turned in (("first", 0), ("last", 180)):
        ramp.rotate(turned).convert("RGB").save(world.cwd / f"{name}.png")
    frames = {"first": "first.png", "last": "last.png"}
    world.manifest([{"id": f"pair{n}", "prompt": f"p{n}", "frames": frames} for n in range(5)], prices=PRICES)
    (world.cwd / "ignores.json").write_text(FAULTS, "utf-8")
    words = ("run", "batch.yaml", "--yes", "--emulator=ignores.json", "--speed", "400", "--progress", "quiet")
    database = ".batchrunner/rehearsal.db"

    ended = world.batchrunner(*words)

    assert ended.code == 9, ended.text
    assert world.states(database) == {"done": 1, "pending": 4}
    assert "stopped by its canary: the first clip of its kind, pair0, is not what was asked for" in ended.out
    assert "last frame" in ended.out
    assert "--no-canary" in ended.out
    plan = json.loads(world.batchrunner("plan", "batch.yaml", "--emulator", "--json").out)
    assert [one["kind"] for one in plan["canary_wrong"]] == ["720P 5 s from first to last frame"]

    assert world.batchrunner(*words).code == 9, "and it is remembered"
    assert world.states(database)["done"] == 1
    assert world.batchrunner(*words, "--no-canary").code == 0
    assert world.states(database) == {"done": 5}
