"""One run at a time, whatever became of the last one."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchrunner.errors import LockedError, StorageError
from batchrunner.store import lock
from batchrunner.store import mounts as mounts_module
from batchrunner.store.lock import DatabaseLock

NOW = datetime(2026, 11, 22, 1, 0, 3, tzinfo=UTC)
HOLDER = """
import sys
from datetime import UTC, datetime
from batchrunner.store.lock import DatabaseLock
with DatabaseLock(sys.argv[1], now=datetime(2026, 11, 22, 1, 0, 3, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work" / "batch.db"


@pytest.fixture
def holder(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_told_who_holds_the_database(path, holder):
    with pytest.raises(LockedError) as caught:
        DatabaseLock(path, now=NOW).acquire()
    message = str(caught.value)
    assert f"pid {holder.pid}" in message
    assert "2026-11-22T01:00:03" in message
    assert str(path) in message
    assert os.uname().nodename in message
    assert "batchrunner status" in caught.value.fix


@pytest.mark.parametrize("link", ["link.db", "folder"])
def test_a_link_to_the_database_is_the_same_database(path, holder, link):
    if link == "folder":
        path.parent.with_name(link).symlink_to(path.parent)
        linked = path.parent.with_name(link) / path.name
    else:
        linked = path.with_name(link)
        linked.symlink_to(path.name)
    with pytest.raises(LockedError, match=f"pid {holder.pid} .* works on {linked}"):
        DatabaseLock(linked, now=NOW).acquire()


def test_links_that_lead_nowhere_are_told_as_such(tmp_path):
    (tmp_path / "a.db").symlink_to("b.db")
    (tmp_path / "b.db").symlink_to("a.db")
    with pytest.raises(StorageError, match="symbolic links"):
        DatabaseLock(tmp_path / "a.db", now=NOW).acquire()


@pytest.mark.skipif(sys.platform != "linux", reason="the database itself is locked there only")
def test_removing_the_file_beside_it_frees_nothing(path, holder):
    path.with_name("batch.db.lock").unlink()
    with pytest.raises(LockedError):
        DatabaseLock(path, now=NOW).acquire()


def test_a_holder_that_was_stopped_still_holds(path, holder):
    holder.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LockedError, match=f"pid {holder.pid}"):
            DatabaseLock(path, now=NOW).acquire()
    finally:
        holder.send_signal(signal.SIGCONT)


MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:40 / /mnt/team\\040share rw shared:5 - {kind} server:/x rw
23 21 0:41 / /mnt/team\\040share/local rw - xfs /dev/sdb rw
24 21 0:42 / /over rw - nfs4 server:/y rw
25 24 8:1 / /over rw - ext4 /dev/sdc rw
nonsense
"""


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "glusterfs"])
@pytest.mark.parametrize(
    ("folder", "refused"),
    [
        ("/mnt/team share", True),
        ("/mnt/team share/a/b", True),
        ("/mnt/team share/local/a", False),
        ("/mnt/team shares", False),
        ("/home", False),
        ("/over/a", False),
    ],
)
def test_network_file_systems_are_refused(tmp_path, kind, folder, refused):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    if not refused:
        mounts_module.refuse_network(Path(folder), mounts=mounts)
        return
    with pytest.raises(StorageError, match=re.escape(kind)) as caught:
        mounts_module.refuse_network(Path(folder), mounts=mounts)
    assert "--db PATH" in caught.value.fix
    assert mounts_module.ALLOW in caught.value.fix


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "fuseblk", "9p", "btrfs", "virtiofs"])
def test_local_ones_are_not(tmp_path, kind):
    (tmp_path / "mountinfo").write_text(MOUNTS.format(kind=kind))
    mounts_module.refuse_network(Path("/mnt/team share"), mounts=tmp_path / "mountinfo")
    mounts_module.refuse_network(Path("/"), mounts=tmp_path / "absent")


def test_the_user_may_answer_for_a_network(path, monkeypatch):
    def refuse(folder):
        raise StorageError("it is on a network")

    monkeypatch.setattr(lock, "refuse_network", refuse)
    with pytest.raises(StorageError):
        DatabaseLock(path, now=NOW).acquire()
    with DatabaseLock(path, now=NOW, networked=True):
        pass


def test_a_holder_that_was_killed_frees_it(path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with DatabaseLock(path, now=NOW) as lock:
        assert json.loads(lock.path.read_text())["pid"] == os.getpid()


def test_a_holder_that_ends_frees_it(path, holder):
    holder.stdin.close()
    holder.wait()
    DatabaseLock(path, now=NOW).acquire()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 1, "host": "elsewhere"}', "x" * 10_000])
def test_what_a_stale_file_says_never_blocks(path, content):
    path.parent.mkdir()
    path.with_name("batch.db.lock").write_text(content)
    with DatabaseLock(path, now=NOW) as lock:
        assert json.loads(lock.path.read_text())["since"] == "2026-11-22T01:00:03.000000Z"


def test_a_holder_that_has_not_said_its_name_yet_still_holds(path):
    with DatabaseLock(path, now=NOW) as lock:
        lock.path.write_text("")
        with pytest.raises(LockedError, match="another run works on"):
            DatabaseLock(path, now=NOW).acquire()


def test_the_file_stays_and_the_lock_goes(path):
    lock = DatabaseLock(path, now=NOW)
    with lock, pytest.raises(LockedError):
        DatabaseLock(path, now=NOW).acquire()
    assert lock.path.exists()
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
    lock.release()
    with lock:
        pass


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        DatabaseLock(tmp_path / "file" / "batch.db", now=NOW).acquire()
