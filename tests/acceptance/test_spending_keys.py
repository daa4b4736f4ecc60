"""A key with a cap of its own: the provider holds it, one file has it, and nothing shows it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

import pytest

from batchrunner.emulator.server import Emulator

from .world import Server, World

PRICES = {"currency": "USD", "per_second": {"720P": 0.084}}


@pytest.fixture
def emulator(world: World) -> Iterator[Emulator]:
    with Emulator.start(speed=400) as emulator:
        world.env["TOAPIS_BASE_URL"] = emulator.base_url
        yield emulator


def test_the_provider_holds_the_cap_and_only_the_file_has_the_key(world: World, emulator: Emulator) -> None:
    made = world.batchrunner("key", "night.env", "--max-cost", "1", "--expires", "1d")

    assert made.code == 0, made.text
    assert "key 'night': 1.00 USD in all (200 credits), until " in made.out
    assert "does not show" not in made.out
    path = world.cwd / "night.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    name, _, key = path.read_text("ascii").strip().partition("=")
    assert (name, key[:3], key in made.text) == ("TOAPIS_API_KEY", "sk-", False)

    world.manifest([{"id": f"j{n}", "prompt": f"p{n}"} for n in range(4)], prices=PRICES)
    ended = world.batchrunner("run", "batch.yaml", "--yes", env={"TOAPIS_API_KEY": key})

    assert ended.code == 7, ended.text
    assert world.states() == {"done": 2, "pending": 2}, "84 credits each, of 200"
    assert "the account has 32 credits left" in ended.out
    assert world.run().code == 0, "the account's own key goes on"

    holding = {one.name for one in world.cwd.rglob("*") if one.is_file() and key.encode() in one.read_bytes()}
    assert holding == {"night.env"}

    again = world.batchrunner("key", "night.env", "--max-cost", "2")
    assert again.code == 2
    assert "is there already" in again.err
    assert key in path.read_text("ascii")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--max-cost", "0"), "may spend nothing"),
        (("--max-cost", "1", "--name", "n" * 51), "1 to 50 characters"),
        (("--max-cost", "-1"), "is not an amount"),
    ],
)
def test_what_cannot_be_asked_for(world: World, words: tuple[str, ...], why: str) -> None:
    refused = world.batchrunner("key", "night.env", *words, env={"TOAPIS_BASE_URL": "http://127.0.0.1:9"})
    assert (refused.code, why in refused.err) == (2, True)
    assert not (world.cwd / "night.env").exists()


def test_a_provider_that_makes_none_leaves_no_file(world: World, serve: Callable[..., Server]) -> None:
    serve()  # which has no such page
    refused = world.batchrunner("key", "night.env", "--max-cost", "1")
    assert refused.code == 7, refused.text
    assert "makes no key" in refused.err
    assert list(world.cwd.iterdir()) == []
