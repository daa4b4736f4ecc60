"""A loop that stands still is ended; a process that was away is not."""

import resource
import subprocess
import sys

import pytest

from batchrunner import process
from batchrunner.errors import UsageError
from batchrunner.process import PATIENCE, Watchdog


class Looks:
    """Each look of the watchdog is one step of a script; after the last the run is over."""

    def __init__(self, steps):
        self.steps, self.taken = iter(steps), 0

    def wait(self, timeout):
        for step in self.steps:
            self.taken += 1
            step()
            return False
        return True

    def set(self):
        pass


def ended_after(tmp_path, script):
    """At which look the watchdog ended the run; None when it did not."""
    ends = []
    looks = Looks([])
    dog = Watchdog(tmp_path, end=lambda dump: ends.append(looks.taken), ended=looks)
    looks.steps = iter(script(dog))
    dog.watch()
    return ends[0] if ends else None


def silent():
    """Nothing happens between two looks."""


def excused_for(dog, looks):
    """A terminal is held for so many looks, then the loop goes on."""
    held = dog.excused()
    return [held.__enter__, *[silent] * looks, lambda: held.__exit__(None, None, None)]


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        pytest.param(lambda dog: [silent] * (PATIENCE - 1), None, id="short of it"),
        pytest.param(lambda dog: [silent] * (PATIENCE + 5), PATIENCE, id="a hang"),
        pytest.param(lambda dog: [*[silent] * 59, dog.beat] * 3, None, id="slow but alive"),
        pytest.param(lambda dog: [dog.beat, *[silent] * PATIENCE], PATIENCE + 1, id="after a beat"),
        pytest.param(lambda dog: excused_for(dog, 500), None, id="a terminal that is held"),
        pytest.param(lambda dog: [*excused_for(dog, 9), *[silent] * 99], 9 + 2 + PATIENCE, id="a hang after that"),
    ],
)
def test_only_a_loop_that_stands_still_is_ended(tmp_path, script, ended):
    assert ended_after(tmp_path, script) == ended


HANG = """
import sys, time
from pathlib import Path
from batchrunner import process
process.TICK, process.PATIENCE = 0.02, 5
secret = "sk-canary-secret"
with process.Watchdog(Path(sys.argv[1])):
    time.sleep(30)
"""


def test_a_hang_says_where_it_stood_and_leaves(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HANG, str(tmp_path / "db")], capture_output=True, text=True, timeout=25, check=False
    )
    (dump,) = (tmp_path / "db").iterdir()
    assert done.returncode == 1
    assert str(dump) in done.stderr
    assert "run the same command" in done.stderr
    assert "Traceback" not in done.stderr
    said = dump.read_text()
    assert 'File "<string>"' in said
    assert "sk-canary" not in said
    assert dump.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("soft", "hard", "given"),
    [
        pytest.param(1024, 4096, None, id="enough"),
        pytest.param(64, 4096, 116, id="raised"),
        pytest.param(64, resource.RLIM_INFINITY, 116, id="raised without an end"),
        pytest.param(resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, id="no limit"),
        pytest.param(64, 100, "refused", id="not enough"),
    ],
)
def test_the_files_that_may_be_open(monkeypatch, soft, hard, given):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits[0]))
    if given == "refused":
        with pytest.raises(UsageError, match="may open 100 files at once and the run needs 116"):
            process.ensure_files(10)
        return
    process.ensure_files(10)
    assert asked == ([] if given is None else [given])
