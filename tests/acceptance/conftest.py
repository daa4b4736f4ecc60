"""A new world for each test, and servers for it to talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .faults import Fault
from .world import Server, World, serving


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers of all tests keep the clips that they have rendered."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The user's machine."""
    made = World.at(tmp_path)
    yield made
    made.close()


@pytest.fixture
def serve(world: World, tmp_path: Path, clip_folder: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server with options and faults of its own, and points the world to it."""
    with ExitStack() as stack:

        def start(*faults: Fault, **options: Any) -> Server:
            server = stack.enter_context(serving(tmp_path / "server", clip_folder, faults=faults, **options))
            world.env["TOAPIS_BASE_URL"] = server.url
            return server

        yield start


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server that does everything right."""
    return serve()
