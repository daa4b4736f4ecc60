"""What a run needs of its own process: a loop that goes on, and files that may be opened."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import anyio

from batchrunner.errors import ExitCode, UsageError

PATIENCE = 60
"""Ticks without a beat before a run is ended (reliability notes §4.3: one lost wake-up can hang a loop for ever)."""
TICK = 1.0
"""Seconds between two beats, and between two looks at them."""
FILES = 96
"""Open files that the database, the standard streams, a pool of connections and the emulator come to."""


YOUNG = 10_000
"""Objects that are made between two looks for garbage; Python's own 700 are a look every few requests."""


def keep_what_is_loaded() -> None:
    """What has been loaded stays for the whole run: the garbage collector need not look through it again and again."""
    gc.freeze()
    gc.set_threshold(YOUNG)


class Ended(Protocol):
    """What the watching thread waits on: an event that is set at the end."""

    def wait(self, timeout: float) -> bool: ...

    def set(self) -> None: ...


class Watchdog:
    """Ends the process when its loop stands still. Use as a context manager, with `keep` as a task of the loop.

    Silence is counted in looks of its own and not read from a clock: while a process is stopped or a laptop sleeps, the
    watchdog sleeps too, and nobody is ended for having been away.
    """

    def __init__(self, folder: Path, *, end: Callable[[Path], None] | None = None, ended: Ended | None = None) -> None:
        self._dump = folder / f"hang-{os.getpid()}.txt"
        self._end = end or _end
        self._ended = ended or threading.Event()
        self._thread = threading.Thread(target=self.watch, name="watchdog", daemon=True)
        self._beats = 0
        self._excused = False

    async def keep(self) -> None:
        """Beat for as long as the loop goes on; it also turns a lost wake-up into a short delay."""
        while True:
            self.beat()
            await anyio.sleep(TICK)

    def beat(self) -> None:
        """The loop is alive."""
        self._beats += 1

    @contextmanager
    def excused(self) -> Iterator[None]:
        """While a terminal is held by its reader, standing still is no fault."""
        self._excused = True
        try:
            yield
        finally:
            self._excused = False
            self.beat()

    def watch(self) -> None:
        """The thread: look once a tick."""
        seen, still = self._beats, 0
        while not self._ended.wait(TICK):
            if self._excused or self._beats != seen:
                seen, still = self._beats, 0
                continue
            still += 1
            if still >= PATIENCE:
                self._end(self._dump)
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()


def _end(dump: Path) -> None:
    """Save where every thread stands (places in the code, no values), say so, and leave."""
    where = "where it stood could not be saved"
    with suppress(OSError):
        dump.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(dump, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            faulthandler.dump_traceback(file, all_threads=True)
        where = f"where it stood is in {dump}"
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(
            f"error: this is a bug in batchrunner (nothing moved for {PATIENCE} s); {where}\n"
            "  what is recorded stays recorded and nothing is bought twice: run the same command to go on\n"
        )
        sys.stderr.flush()
    os._exit(ExitCode.BUG)


def ensure_files(busy: int) -> None:
    """Let this process open as many files as `busy` transfers at once need; `UsageError` where it may not."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = FILES + 2 * busy
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"this process may open {hard} files at once and the run needs {needed}; nothing was sent",
            fix="raise the limit (ulimit -Hn 1024, or LimitNOFILE of the service), or lower `limits:` in the manifest",
        )
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
