"""Starts the command by forking this process, which has imported it already: a run begins in milliseconds, not in a second.

The child is a process of its own like any other; only the imports, which buy nothing, are not repeated. Processes that
fork must have no other thread, so the workers of `python -m tests.chaos` do it, and never a test runner.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from .evidence import Said

PATIENCE = 60.0
"""Seconds after which a run hangs."""


class Hang(Exception):
    """A run did not end."""


@dataclass(slots=True)
class Child:
    """A command that may still be running."""

    pid: int
    out: Path
    code: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it still runs; a child that has ended is buried by asking."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.alive:
            self.send(signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)

    def wait(self, timeout: float = PATIENCE) -> Said:
        """What it said in all; `Hang` when it does not end."""
        end = time.monotonic() + timeout
        while self.alive:
            if time.monotonic() > end:
                self.send(signal.SIGUSR1)  # where its threads are
                time.sleep(0.5)
                self.kill()
                raise Hang(f"no end after {timeout:.0f} s; it said {self.text[-3000:]!r}")
            time.sleep(0.003)
        return Said(self.text, self.code)

    @property
    def text(self) -> str:
        if not self.out.exists():  # killed before it could say anything
            return ""
        return self.out.read_text("utf-8", errors="replace")


def preload() -> None:
    """Import what a run needs, and read the certificates once: that takes longer than all the rest.

    The breaker's waits are shortened as the servers' tasks are, some hundred times, and the wait for a database that
    somebody else holds, which nobody does here; nothing else of the product is changed.
    """
    import anyio._backends._asyncio
    import av
    import httpcore
    import httpx
    import sqlite_utils
    from httpx._transports import default

    import batchrunner.__main__
    import batchrunner.app
    import batchrunner.cli.main
    import batchrunner.cli.run
    import batchrunner.media.clips
    from batchrunner import breaker
    from batchrunner.store import connect

    connect.BUSY_SECONDS = 2
    breaker.PROBES = (breaker.PROBES[0] / 400,)
    context = httpx.create_ssl_context()
    httpx.create_ssl_context = default.create_ssl_context = lambda *given, **named: context  # type: ignore[attr-defined]
    assert all((anyio._backends._asyncio, av, batchrunner, httpcore, sqlite_utils))


def start(
    words: list[str], *, cwd: Path, env: Mapping[str, str], out: Path, before: Sequence[Callable[[], None]] = ()
) -> Child:
    """Run `batchrunner WORDS` in a child, which does something else `before`."""
    pid = os.fork()
    if pid == 0:
        _be_the_command(words, cwd, env, out, before)
    return Child(pid, out)


def _be_the_command(
    words: list[str], cwd: Path, env: Mapping[str, str], out: Path, before: Sequence[Callable[[], None]]
) -> NoReturn:
    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        nothing = os.open(os.devnull, os.O_RDONLY)
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, descriptor in enumerate((nothing, file, file)):
            os.dup2(descriptor, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        for number in (signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.register(signal.SIGUSR1, file=2)
        sys.argv = ["batchrunner", *words]
        for step in before:
            step()
        from batchrunner.__main__ import main

        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 - told in words; nothing may return into the parent's code
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
