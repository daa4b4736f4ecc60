"""The sample of the chaos that every test run takes; `python -m tests.chaos --kills 1000` is the whole of it."""

import os
import random
import subprocess
import sys

import pytest

from tests.acceptance.world import ROOT
from tests.chaos import power, tracing
from tests.chaos.broken import RUNNERS


def run(*words, timeout=240):
    """`python -m tests.chaos WORDS`: forking is for processes without threads, which a test runner's is not."""
    command = [sys.executable, "-m", "tests.chaos", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--replay", "signals:1:TERM"), id="SIGTERM"),
        pytest.param(("--only", "kills, bad day", "--kills", "3"), id="kills on a bad day", marks=pytest.mark.slow),
        pytest.param(
            ("--only", "kills, stored late", "--kills", "10"),
            id="kills, purchases are stored late",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_sample_breaks_no_promise(words):
    ended = run(*words, "--workers", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(bool(tracing.missing()), reason=tracing.missing() or "strace")
@pytest.mark.parametrize("point", ["fdatasync KILL 3", "pwrite64 ENOSPC 9"])
def test_a_sample_of_system_calls_breaks_no_promise(point):
    group = "kills at calls" if "KILL" in point else "errors at calls"
    ended = run("--replay", f"{group}:1:{point}")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(bool(tracing.missing()), reason=tracing.missing() or "strace")
def test_what_is_promised_is_durable_first():
    ended = run("--only", "order of writes", "--kills", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(bool(tracing.missing()), reason=tracing.missing() or "strace")
def test_a_power_cut_takes_nothing_that_was_promised():
    ended = run("--only", "power cuts", "--kills", "5", "--workers", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _hex(text):
    """As strace writes it."""
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(text))


def test_a_number_is_free_while_its_file_is_still_being_closed(tmp_path):
    """Another thread's file may have it before strace sees the end of the call."""
    root, log = tmp_path / "out", tmp_path / "log"
    root.mkdir()
    folder, old, new, content = map(_hex, (root, root / "old", root / "new", "xyz"))
    log.write_text(
        f'1 openat(AT_FDCWD, "{old}", O_WRONLY|O_CREAT|O_EXCL, 0644) = 3<{old}>\n'
        f"1 close(3<{old}> <unfinished ...>\n"
        f'2 openat(AT_FDCWD, "{new}", O_WRONLY|O_CREAT|O_EXCL, 0644) = 3<{new}>\n'
        "1 <... close resumed>) = 0\n"
        f'2 write(3<{new}>, "{content}", 3) = 3\n'
        f"2 fsync(3<{new}>) = 0\n"
        f'2 openat(AT_FDCWD, "{folder}", O_RDONLY) = 4<{folder}>\n'
        f"2 fsync(4<{folder}>) = 0\n"
    )
    disk = power.Disk(root)
    disk.replay(log, tmp_path)
    disk.cut(random.Random(0))
    assert (root / "new").read_bytes() == b"xyz"


QUICK = ("has a transport that repeats", "keeps the key", "releases its slot before the record")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNNERS]
)
def test_a_broken_runner_is_caught(name):
    ended = run("--broken", name, "--workers", "1")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{name}: caught by" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("only", ["kills", "signals", "kills at calls", "errors at calls", "spoilt", "damaged"])
def test_much_of_it_breaks_no_promise(only):
    ended = run("--only", only, "--kills", "100", timeout=3000)
    assert ended.returncode == 0, ended.stdout + ended.stderr
