"""strace, attached to a run before its first step: kills and errors at a chosen system call, and the order of writes.

strace counts calls per thread, so a point is the N-th call of a kind in whichever thread makes so many first.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .launch import Child

_OURS = Path(__file__).resolve().parents[2]
KILLS = (
    *("pwrite64", "fdatasync", "fsync", "sendto", "recvfrom", "link", "linkat", "rename", "renameat"),
    *("write", "ftruncate", "unlink", "unlinkat", "connect", "openat", "fcntl", "flock"),
)
ERRORS = (
    *(("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fdatasync", "EIO"), ("fdatasync", "ENOSPC"), ("fsync", "EIO")),
    *(("write", "ENOSPC"), ("write", "EIO"), ("sendto", "EPIPE"), ("sendto", "ECONNRESET"), ("recvfrom", "ECONNRESET")),
    *(("connect", "ECONNREFUSED"), ("connect", "EACCES"), ("link", "EIO"), ("linkat", "ENOSPC"), ("rename", "EACCES")),
    *(("renameat", "EIO"), ("ftruncate", "EIO"), ("unlink", "EACCES"), ("openat", "EACCES"), ("openat", "ENOSPC")),
    *(("fcntl", "EACCES"), ("fcntl", "ENOLCK"), ("flock", "ENOLCK")),
)


@dataclass(frozen=True, slots=True)
class Point:
    """The N-th call of a kind, and what is done there: "KILL" or the name of an error."""

    call: str
    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.what} {self.number}"

    @classmethod
    def of(cls, text: str) -> Point:
        call, what, number = text.split()
        return cls(call, what, int(number))

    @property
    def words(self) -> list[str]:
        effect = "signal=SIGKILL" if self.what == "KILL" else f"error={self.what}"
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:{effect}:when={self.number}"]

    def can_be(self, log: Path) -> bool:
        """Whether the call that was struck could have failed like this: strace does not ask.

        Only fcntl that locks can want for locks, and only a file that is made for room; Python's own files can be read.
        """
        lines = log.read_text("utf-8", "replace").splitlines()
        struck = [line for line in lines if line.endswith("(INJECTED)")]
        if self.call == "fcntl" and self.what != "KILL":
            return all("LK" in line for line in struck)
        if self.call == "openat" and self.what == "ENOSPC":
            return all("O_CREAT" in line for line in struck)
        if self.call == "openat" and self.what != "KILL":
            return not any(f'"{path}' in line for line in struck for path in (sys.prefix, sys.base_prefix, _OURS))
        return True


@cache
def missing() -> str:
    """Why strace cannot be used here, or ""."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt install strace)"
    tried = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.decode()[:100]}"


class Traced:
    """A child that waits until strace has taken hold of it, and then goes on."""

    def __init__(self, child: Child, words: list[str], log: Path | str = os.devnull) -> None:
        self.child = child
        os.waitpid(child.pid, os.WUNTRACED)  # it has stopped itself
        command = ["strace", "-f", "-qq", "-p", str(child.pid), "-o", str(log), *words]
        self.strace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not _is_traced(child.pid) and time.monotonic() < end:
            time.sleep(0.002)
        child.send(signal.SIGCONT)

    def end(self) -> None:
        """Wait for strace, which ends with its child."""
        with suppress(subprocess.TimeoutExpired):
            self.strace.wait(10)
        self.strace.kill()
        self.strace.wait()


def _is_traced(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return "TracerPid:\t0\n" not in status


def stop_here() -> None:
    """In the child: wait for strace."""
    os.kill(os.getpid(), signal.SIGSTOP)


_CALL = re.compile(r"^(\d+)\s+(\w+)\(")


def census(log: Path) -> dict[str, int]:
    """How many calls of each kind the busiest thread made."""
    seen: Counter[tuple[str, str]] = Counter()
    for line in log.read_text("utf-8", "replace").splitlines():
        if match := _CALL.match(line):
            seen[match[2], match[1]] += 1
    most: dict[str, int] = {}
    for (call, _), count in seen.items():
        most[call] = max(most.get(call, 0), count)
    return most


ORDER = ["-y", "-s", "9000", "-e", "trace=pwrite64,fdatasync,fsync,sendto,link,linkat,rename,renameat"]
_PURCHASE = re.compile(r"br_[0-9A-Z]{26}")
_PATH = re.compile(r"\(\d+<([^>]*)>")


def order_violations(log: Path) -> list[str]:
    """Bodies that left before their intent was on the disk, and clips that got their name before their content was."""
    dirty: set[str] = set()
    durable: set[str] = set()
    synced: set[str] = set()
    wrong = []
    for line in _whole_calls(log):
        call = _CALL.match(line)
        path = match[1] if (match := _PATH.search(line)) else ""
        if call is None:
            continue
        if call[2] == "pwrite64" and path.endswith("-wal"):
            dirty |= set(_PURCHASE.findall(line))
        elif call[2] in ("fdatasync", "fsync"):
            synced.add(path)
            if path.endswith("-wal"):
                durable |= dirty
        elif call[2] == "sendto" and "client_business_id" in line:
            wrong += [f"{one} left before its intent was durable" for one in set(_PURCHASE.findall(line)) - durable]
        elif call[2] in ("link", "linkat", "rename", "renameat") and ".mp4" in line:
            source = re.findall(r'"([^"]*)"', line)[0]
            if not any(one.endswith(Path(source).name) for one in synced):
                wrong.append(f"{Path(source).name} got its name before its content was durable")
    return wrong


def _whole_calls(log: Path) -> list[str]:
    """The lines of a log, with calls that another thread interrupted put together at their end."""
    begun: dict[str, str] = {}
    whole = []
    for line in log.read_text("utf-8", "replace").splitlines():
        pid, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>")
        elif "resumed>" in rest and pid in begun:
            whole.append(begun.pop(pid) + rest.partition("resumed>")[2])
        else:
            whole.append(line)
    return whole
