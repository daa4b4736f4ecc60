"""The user's machine: an empty folder, a clean environment, the `batchrunner` command, and the server it talks to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from .faults import Fault

ROOT = Path(__file__).resolve().parents[2]
BATCHRUNNER = [str(Path(sys.executable).with_name("batchrunner"))]
KEY = "sk-canary-3b9f27c1d4e8a605f7"
DATABASE = ".batchrunner/batchrunner.db"
PATIENCE = 30.0
"""Seconds after which something that should happen is not going to."""
FAST = {"submit_rate": 1000, "submit_burst": 1000, "query_rate": 1000, "query_burst": 1000, "poll_floor": 0.05}
"""Limits for a provider that has been told to hurry."""


def until(happened: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """Wait for a condition and return what it is; fail when it does not come true."""
    end = time.monotonic() + patience
    while not (value := happened()):
        assert time.monotonic() < end, f"waited {patience:.0f} s in vain for {what}"
        time.sleep(0.005)
    return value


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass(slots=True)
class Running:
    """A command that may still be running; its output goes to files outside the user's folder."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def wait(self, timeout: float = 60.0) -> Ended:
        code = self.process.wait(timeout)
        texts = [path.read_text("utf-8") if path.exists() else "" for path in (self.out, self.err)]
        return Ended(code, *texts)


@dataclass(slots=True)
class Server:
    """The server process and its books."""

    process: subprocess.Popen[str]
    url: str
    folder: Path

    @property
    def ledger(self) -> list[dict[str, Any]]:
        """Every accepted submission, in order."""
        return _lines(self.folder / "ledger.jsonl")

    @property
    def access(self) -> list[dict[str, Any]]:
        """Every request, and every refusal of the server's own."""
        return _lines(self.folder / "access.jsonl")

    def seen(self, kind: str) -> list[dict[str, Any]]:
        """The requests of a kind."""
        return [line for line in self.access if line["kind"] == kind]

    @property
    def peak(self) -> int:
        """The most tasks that the client had to count as in flight at once."""
        return int(json.loads(self._call("GET", "/__state"))["peak"])

    def set_faults(self, *faults: Fault) -> None:
        """Do these things wrong from now on, and no others."""
        self._call("PUT", "/__faults", json.dumps(faults).encode())

    def tell_client(self, pid: int) -> None:
        """Whom signals are for."""
        self._call("PUT", "/__client", str(pid).encode())

    def top_up(self, credits: int) -> None:
        """The account may use so much in all."""
        self._call("PUT", "/__credits", str(credits).encode())

    def use_elsewhere(self, credits: int) -> None:
        """Somebody else uses the key too."""
        self._call("PUT", "/__elsewhere", str(credits).encode())

    @property
    def used(self) -> int:
        """Credits that the account has used, less what was given back."""
        return int(json.loads(self._call("GET", "/__state"))["used"])

    def open(self) -> None:
        """Let the requests that wait go on."""
        self._call("PUT", "/__open")

    def clip_of(self, task_id: str) -> bytes:
        """The bytes that are sold as this task."""
        return self._call("GET", f"/__clip?task={task_id}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return bytes(answer.read())


@contextmanager
def serving(folder: Path, clips: Path, *, faults: tuple[Fault, ...] = (), **options: Any) -> Iterator[Server]:
    """A server with its books in `folder`."""
    folder.mkdir()
    words = [sys.executable, "-m", "tests.acceptance.server", "--key", KEY, "--clips", str(clips)]
    words += ["--ledger", str(folder / "ledger.jsonl"), "--access", str(folder / "access.jsonl")]
    words += ["--faults", json.dumps(faults)]
    for name, value in {"speed": 400, **options}.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            yield Server(process, url, folder)
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


@dataclass(slots=True)
class World:
    """The folder that a user works in, and how commands are run there."""

    cwd: Path
    elsewhere: Path
    """For what is not the user's: output of commands, temporary files, the home folder."""
    env: dict[str, str]
    started: list[Running] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path) -> Self:
        """A new world: an empty folder to work in, an empty home, and nothing of this process's environment."""
        cwd, elsewhere = folder / "work", folder / "elsewhere"
        for path in (cwd, elsewhere, elsewhere / "home", elsewhere / "tmp"):
            path.mkdir()
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(elsewhere / "home"),
            "TMPDIR": str(elsewhere / "tmp"),
            "LANG": "C.UTF-8",
            "TOAPIS_API_KEY": KEY,
        }
        return cls(cwd, elsewhere, env)

    def manifest(self, jobs: list[dict[str, Any]], *, path: str = "batch.yaml", **top: Any) -> str:
        """Write a manifest and return its path from the user's folder; limits are fast unless they are given.

        Prompts are sent as they are given here: braces are doubled, so that none is a placeholder.
        """
        limits = {**FAST, **top.pop("limits", {})}
        document = {"version": 1, **top, "limits": limits, "jobs": list(map(_literal, jobs))}
        target = self.cwd / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), "utf-8")
        return path

    def start(self, *words: str, env: dict[str, str | None] | None = None, command: list[str] | None = None) -> Running:
        """Start a command without waiting; `env` changes or (None) removes variables."""
        changed = {**self.env, **(env or {})}
        number = len(self.started)
        if words[:1] == ("run",) and "--settle" not in words:
            words = (*words, "--settle", "0")  # a verdict takes a quarter of an hour; those who want one say how long
        out, err = self.elsewhere / f"out-{number}", self.elsewhere / f"err-{number}"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [*(command or BATCHRUNNER), *words],
                cwd=self.cwd,
                env={name: value for name, value in changed.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
            )
        running = Running(process, out, err)
        self.started.append(running)
        return running

    def batchrunner(self, *words: str, env: dict[str, str | None] | None = None, timeout: float = 60.0) -> Ended:
        """Run a command to its end."""
        return self.start(*words, env=env).wait(timeout)

    def run(self, *words: str, timeout: float = 60.0) -> Ended:
        """`batchrunner run … --yes` on the usual manifest."""
        return self.batchrunner("run", "batch.yaml", "--yes", *words, timeout=timeout)

    def jobs(self, *words: str) -> list[dict[str, Any]]:
        """What `ls --format jsonl` says."""
        ended = self.batchrunner("ls", "--format", "jsonl", *words)
        assert ended.code == 0, ended.text
        return [json.loads(line) for line in ended.out.splitlines()]

    def rows(self, database: str = DATABASE) -> list[dict[str, Any]]:
        """The same straight from the database, which is quicker; none while there is no database."""
        path = self.cwd / database
        if not path.exists():
            return []
        columns = "key, state, reason, task_id, purchase_id, prompt, attempts, clip_path AS output"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(f"SELECT {columns} FROM jobs ORDER BY position")]
        except sqlite3.OperationalError:  # its tables are being made
            return []

    def states(self, database: str = DATABASE) -> Counter[str]:
        """Jobs by state."""
        return Counter(row["state"] for row in self.rows(database))

    def clips(self) -> list[Path]:
        """Every file under a final name."""
        return sorted(self.cwd.rglob("out/**/*.mp4"))

    def close(self) -> None:
        """End what still runs."""
        for running in self.started:
            if running.alive:
                running.kill()


def picture(path: Path, colour: str, size: tuple[int, int] = (640, 360)) -> Path:
    """Draw a frame."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def can_mount() -> bool:
    """Whether this user may make a file system of their own."""
    if shutil.which("unshare") is None or sys.platform != "linux":
        return False
    test = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    return subprocess.run(test, capture_output=True, check=False).returncode == 0


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")  # the last line may be half there
    return [json.loads(line) for line in whole.splitlines()]


SIGINT, SIGTERM, SIGKILL = int(signal.SIGINT), int(signal.SIGTERM), int(signal.SIGKILL)
SIGHUP = int(signal.SIGHUP)


def _literal(job: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.replace("{", "{{").replace("}", "}}") if name == "prompt" and isinstance(value, str) else value
        for name, value in job.items()
    }
