"""The providers that batches are bought from: the independent server and the product's own emulator, each a process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.acceptance.server import SIGNATURE
from tests.acceptance.world import KEY, PATIENCE, ROOT, Server, serving

from .evidence import Sale

SECRETS = (KEY, SIGNATURE)


class Shop(Protocol):
    """What a life needs of a provider."""

    url: str
    clip_of: Callable[[str], bytes] | None

    def sales(self) -> list[Sale]: ...

    def requests(self) -> list[dict[str, Any]]:
        """Every request in order, with `kind` and `body_sha256`; empty when nobody writes them down."""

    def traffic(self) -> int:
        """A number that grows with every request."""

    def most_submitting(self) -> int: ...

    def set_faults(self, *faults: dict[str, Any]) -> None: ...

    def top_up(self, credits: int) -> None:
        """The account may use so many in all."""


@dataclass
class Independent:
    """`tests.acceptance.server`."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def clip_of(self) -> Callable[[str], bytes]:
        return self.server.clip_of

    def sales(self) -> list[Sale]:
        return [
            Sale(line["id"], line["body"].get("client_business_id", ""), line["body"]["prompt"], line["body_sha256"])
            for line in self.server.ledger
        ]

    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.server.access if line["kind"] != "refused"]

    def traffic(self) -> int:
        path = self.server.folder / "access.jsonl"
        return path.stat().st_size if path.exists() else 0

    def most_submitting(self) -> int:
        return int(json.loads(self.server._call("GET", "/__state"))["most_submitting"])

    def set_faults(self, *faults: dict[str, Any]) -> None:
        self.server.set_faults(*faults)

    def top_up(self, credits: int) -> None:
        self.server.top_up(credits)


@dataclass
class Emulated:
    """`batchrunner emulator`."""

    url: str
    clip_of: None = None

    def _ledger(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/__ledger", timeout=PATIENCE) as answer:
            return list(json.loads(answer.read())["submissions"])

    def sales(self) -> list[Sale]:
        return [Sale(line["id"], line["client_business_id"], line["prompt"], "") for line in self._ledger()]

    def requests(self) -> list[dict[str, Any]]:
        return []

    def traffic(self) -> int:
        return 0

    def most_submitting(self) -> int:
        return 0

    def set_faults(self, *faults: dict[str, Any]) -> None:
        raise NotImplementedError

    def top_up(self, credits: int) -> None:
        raise NotImplementedError


@contextmanager
def independent(
    folder: Path, clips: Path, *, faults: tuple[dict[str, Any], ...] = (), **options: Any
) -> Iterator[Shop]:
    """The independent server, with its books in `folder`."""
    with serving(folder, clips, faults=faults, **options) as server:
        yield Independent(server)


@contextmanager
def emulated(folder: Path, *, speed: float = 400) -> Iterator[Shop]:
    """The emulator as a command."""
    folder.mkdir()
    words = [sys.executable, "-m", "batchrunner", "emulator", "--port", "0", "--state", str(folder)]
    words += ["--speed", str(speed)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield Emulated(process.stdout.readline().strip().partition("=")[2])
        finally:
            process.terminate()
