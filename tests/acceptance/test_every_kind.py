"""Every kind of clip that the API page sells, from a manifest to a verified file, body by body and field by field."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from batchrunner.media import clips

from . import books
from .world import SIGTERM, Server, World, picture, until

BATCHRUNNER_PYTHON = sys.executable

TEXT_15S = "雨夜东京街头，霓虹灯倒映在湿润地面上 🌧 \"quoted\" 'single' \\ back\ttab"


def body(prompt: str, **given: Any) -> dict[str, Any]:
    """A submission with the page's defaults written out."""
    defaults = {"mode": "std", "duration": 5, "aspect_ratio": "16:9", "audio": False}
    return {"model": "kling-v3", "prompt": prompt, **defaults, **given}


@pytest.fixture
def frames(world: World) -> None:
    """Pictures beside the manifest; two of them have the same content."""
    folder = world.cwd / "batches" / "frames"
    picture(folder / "day.png", "orange")
    picture(folder / "night.jpg", "navy")
    shutil.copy(folder / "day.png", folder / "day again.png")


JOBS: list[dict[str, Any]] = [
    {"id": "text", "prompt": "一只金色的猫咪"},
    {"id": "first", "prompt": "turn", "frames": {"first": "frames/day.png"}},
    {"id": "pair", "prompt": "dusk", "frames": {"first": "frames/day again.png", "last": "frames/night.jpg"}},
    {"id": "url", "prompt": "portrait", "frames": {"first": "https://example.com/portrait.jpg"}},
    {
        "id": "signed",
        "prompt": "p",
        "frames": {"first": "https://example.com/a.jpg?token=x%20y&z=1", "last": "http://example.com/b.png"},
    },
    {"id": "sound", "prompt": "singer", "audio": True, "aspect_ratio": "1:1"},
    {"id": "pro", "prompt": "neon", "mode": "pro", "duration": 10, "aspect_ratio": "9:16"},
    {"id": "loud", "prompt": "loud", "mode": "pro", "audio": True},
    {"id": "meta", "prompt": "meta", "metadata": {"negative_prompt": "模糊, blur", "watermark": False}},
    {"id": "long", "prompt": TEXT_15S, "duration": 15},
    {"id": "deep/er", "prompt": "folder"},
]


def test_bodies_files_and_a_second_run(world: World, server: Server, frames: None) -> None:
    manifest = world.manifest(JOBS, path="batches/kinds.yaml", name="kinds")

    ended = world.batchrunner("run", manifest, "--yes")

    assert ended.code == 0, ended.text
    sent = {line["body"]["prompt"]: dict(line["body"]) for line in server.ledger}
    own_ids = {prompt: one.pop("client_business_id") for prompt, one in sent.items()}
    uploads = {url.rsplit("/", 1)[1] for one in sent.values() for url in one.get("image_urls", []) if server.url in url}
    day, night = sent["dusk"]["image_urls"]
    assert sent == {
        "一只金色的猫咪": body("一只金色的猫咪"),
        "turn": body("turn", image_urls=[day]),
        "dusk": body("dusk", image_urls=[day, night]),
        "portrait": body("portrait", image_urls=["https://example.com/portrait.jpg"]),
        "p": body("p", image_urls=["https://example.com/a.jpg?token=x%20y&z=1", "http://example.com/b.png"]),
        "singer": body("singer", audio=True, aspect_ratio="1:1"),
        "neon": body("neon", mode="pro", duration=10, aspect_ratio="9:16"),
        "loud": body("loud", mode="pro", audio=True),
        "meta": body("meta", metadata={"negative_prompt": "模糊, blur", "watermark": False}),
        TEXT_15S: body(TEXT_15S, duration=15),
        "folder": body("folder"),
    }
    assert len(server.ledger) == len(JOBS)
    assert len(set(own_ids.values())) == len(JOBS)
    assert len(server.seen("upload")) == len(uploads) == 2, "once per content, however often and under whatever name"
    assert server.seen("refused") == []
    assert server.seen("unknown") == []
    assert {line["auth"] for line in server.access if line["kind"] != "download"} == {"exact"}
    assert {line["auth"] for line in server.seen("download")} == {"none"}
    books.audit(world, books.sales(server))
    books.audit_files(world, server)
    for job in world.jobs():
        wanted = next(one for one in JOBS if one["id"] == job["key"])
        path = world.cwd / "out" / "kinds" / f"{job['key']}.mp4"
        facts = clips.read(path)
        assert job["output"] == str(path)
        assert facts.duration == pytest.approx(wanted.get("duration", 5), abs=0.1)
        width, height = map(int, wanted.get("aspect_ratio", "16:9").split(":"))
        assert facts.width / facts.height == pytest.approx(width / height, rel=0.02)
        assert facts.sound is wanted.get("audio", False)
    before = {path: (books.sha256(path), path.stat().st_mtime_ns) for path in world.clips()}

    again = world.batchrunner("run", manifest, "--yes")

    assert again.code == 0
    assert len(server.ledger) == len(JOBS)
    assert len(server.seen("submit")) == len(JOBS)
    assert {path: (books.sha256(path), path.stat().st_mtime_ns) for path in world.clips()} == before


def test_a_job_that_is_added_is_all_that_is_bought(world: World, server: Server, frames: None) -> None:
    world.manifest(JOBS[:3], path="batches/kinds.yaml")
    assert world.batchrunner("run", "batches/kinds.yaml", "--yes").code == 0
    added = {"id": "new", "prompt": "new", "frames": {"first": "frames/night.jpg"}}
    world.manifest([added, *JOBS[:3]], path="batches/kinds.yaml")

    assert world.batchrunner("run", "batches/kinds.yaml", "--yes").code == 0

    assert [line["body"]["prompt"] for line in server.ledger[3:]] == ["new"]
    assert len(server.seen("upload")) == 2, "what was uploaded is remembered across runs"
    books.audit_files(world, server)


def test_frames_in_the_newer_dialect(world: World, serve: Callable[..., Server], frames: None) -> None:
    server = serve(frames="image_with_roles")
    world.manifest(JOBS[:3], path="batches/roles.yaml", provider={"frames": "roles"})

    ended = world.batchrunner("run", "batches/roles.yaml", "--yes")

    assert ended.code == 0, ended.text
    roles = {line["body"]["prompt"]: line["body"].get("image_with_roles") for line in server.ledger}
    assert [one["role"] for one in roles["dusk"]] == ["first_frame", "last_frame"]
    assert [one["role"] for one in roles["turn"]] == ["first_frame"]
    assert roles["一只金色的猫咪"] is None


def test_a_url_with_v1_at_its_end_and_another_way_to_start(world: World, server: Server) -> None:
    world.manifest(JOBS[:1])
    world.env["TOAPIS_BASE_URL"] += "/v1/"

    ended = world.start("run", "batch.yaml", "--yes", command=[BATCHRUNNER_PYTHON, "-m", "batchrunner"]).wait()

    assert ended.code == 0, ended.text
    assert len(server.ledger) == 1


def test_the_emulator_command_serves_the_same(world: World) -> None:
    emulator = world.start("emulator", "--port", "0", "--speed", "500")
    url = until(lambda: "=http" in emulator.out.read_text() and emulator.out.read_text(), "the emulator's URL")
    world.env["TOAPIS_BASE_URL"] = url.split("TOAPIS_BASE_URL=")[1].split()[0]
    world.manifest(JOBS[5:8])

    ended = world.run()

    assert ended.code == 0, ended.text
    assert len(world.clips()) == 3
    emulator.send(SIGTERM)
    assert emulator.wait().code in (0, 143)
