"""The emulator without a socket: a clock that the test sets, and an httpx client straight into the ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from batchrunner.emulator.app import create_app
from batchrunner.emulator.relay import Relay

BASE_URL = "http://127.0.0.1:4242"


class FakeClock:
    """Unix seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # as uvicorn runs it


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_relay(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Relay]]:
    """Opens relays on one state folder; each is closed at the end."""
    opened: list[Relay] = []

    def open_one(**options: object) -> Relay:
        relay = Relay(clock=clock, **{"state_dir": tmp_path / "state", **options})  # type: ignore[arg-type]
        opened.append(relay)
        return relay

    yield open_one
    for relay in opened:
        relay.close()


@pytest.fixture
def relay(open_relay: Callable[..., Relay]) -> Relay:
    return open_relay()


def client_of(relay: Relay, base_url: str = BASE_URL) -> httpx.AsyncClient:
    headers = {"Authorization": "Bearer sk-test"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_app(relay)), base_url=base_url, headers=headers)


@pytest.fixture
async def client(relay: Relay) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(relay) as opened:
        yield opened


@pytest.fixture
def connect() -> Callable[..., httpx.AsyncClient]:
    """A client of a relay that the test has opened."""
    return client_of


@pytest.fixture
def png() -> Callable[[str], bytes]:
    """A small picture of one colour with a white corner, as PNG."""

    def draw(colour: str) -> bytes:
        image = Image.new("RGB", (400, 300), colour)
        image.paste("white", (0, 0, 100, 75))
        buffer = BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    return draw
