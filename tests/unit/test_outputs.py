"""The only writer of clips: nothing half-written has a final name, nothing that is not ours is replaced."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from batchrunner.durable import COLLECT_AGAIN, MARK, SEND_AGAIN, storage_error, write_whole
from batchrunner.errors import ExitCode, StorageError
from batchrunner.outputs import FOLDERS, OutputFolder
from batchrunner.report import page
from batchrunner.store.memory import MemoryStore

CLIP = b"\0\0\0\x20ftypisom" + bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(tmp_path / "out")


def written(folder, output="a.mp4", content=CLIP, owner="task_1"):
    part = folder.part(output, owner=owner)
    for start in range(0, len(content), 4096):
        part.write(content[start : start + 4096])
    part.sync()
    return part


def published(folder, part, owner="task_1"):
    """Give it its name, and record it as a run does."""
    path = part.publish()
    folder.recorded(str(part.final.relative_to(folder.root)), owner=owner)
    return path


def files(folder):
    return sorted(str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if not path.is_dir())


def child(code, *, cwd):
    """Run code that ends its own process at the worst moment."""
    script = (
        "import os, resource, sys\nfrom pathlib import Path\n"
        "from batchrunner.errors import StorageError\nfrom batchrunner.outputs import OutputFolder\n"
        f"folder = OutputFolder(Path('out'))\n{code}"
    )
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


# the way of a clip


def test_a_clip_gets_its_name_when_it_is_whole(folder):
    with written(folder) as part:
        assert files(folder) == [part.path.name]
        assert published(folder, part) == folder.root / "a.mp4"
    assert files(folder) == ["a.mp4"]
    assert (folder.root / "a.mp4").read_bytes() == CLIP
    assert part.size == len(CLIP)
    assert part.sha256 == hashlib.sha256(CLIP).hexdigest()


def test_folders_of_an_output_are_made(folder):
    with written(folder, "day 1/猫/a.mp4") as part:
        assert published(folder, part) == folder.root / "day 1" / "猫" / "a.mp4"


def test_a_folder_for_each_clip_is_nothing_to_remember(folder, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)

    def use(numbers):
        for number in numbers:
            with folder.part(f"{number}/a.mp4", owner="task"):
                pass
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = use(range(FOLDERS))
        assert use(range(FOLDERS, 4 * FOLDERS)) - before < 100 * FOLDERS  # bytes: a third of what their names take
    finally:
        tracemalloc.stop()


def test_what_is_not_published_leaves_nothing(folder):
    with written(folder):
        pass
    assert files(folder) == []


def test_an_error_leaves_nothing(folder):
    with pytest.raises(ZeroDivisionError), written(folder):
        raise ZeroDivisionError
    assert files(folder) == []


def test_what_is_set_aside_is_kept_under_a_name_that_no_one_takes_for_a_clip(folder):
    with written(folder) as part:
        assert part.set_aside(whole=True) == folder.root / "a.mp4.bad"
    assert files(folder) == ["a.mp4.bad"]


def test_the_part_of_a_run_that_died_is_begun_anew(folder):
    first = written(folder, content=b"half of it")
    first.close()  # its process is gone, its file is not
    with written(folder) as part:
        assert part.path == first.path
        published(folder, part)
    assert (folder.root / "a.mp4").read_bytes() == CLIP


def test_two_tasks_for_one_name_do_not_write_into_each_other(folder):
    with written(folder, owner="task_1") as one, written(folder, owner="task_2", content=b"other") as other:
        assert one.path != other.path
        assert published(folder, one) != published(folder, other, "task_2")
    assert files(folder) == ["a (2).mp4", "a.mp4"]


# foreign files


def test_a_foreign_file_is_never_replaced(folder):
    folder.root.mkdir()
    (folder.root / "a.mp4").write_bytes(b"mine")
    with written(folder) as part:
        assert published(folder, part) == folder.root / "a (2).mp4"
    assert (folder.root / "a.mp4").read_bytes() == b"mine"
    assert (folder.root / "a (2).mp4").read_bytes() == CLIP


def test_the_next_free_number(folder):
    folder.root.mkdir()
    for name in ("a.mp4", "a (2).mp4", "a (3).mp4", "a (5).mp4"):
        (folder.root / name).write_bytes(name.encode())
    with written(folder) as part:
        assert published(folder, part) == folder.root / "a (4).mp4"
    assert (folder.root / "a (5).mp4").read_bytes() == b"a (5).mp4"


def test_this_very_clip_is_the_answer(folder):
    """The run died between the name and its record: the next one finds what it has fetched already."""
    with written(folder) as part:
        published(folder, part)
    before = (folder.root / "a.mp4").stat()
    with written(folder) as part:
        assert published(folder, part) == folder.root / "a.mp4"
    assert files(folder) == ["a.mp4"]
    assert (folder.root / "a.mp4").stat().st_ino == before.st_ino


def test_this_very_clip_under_a_number_is_the_answer_too(folder):
    folder.root.mkdir()
    (folder.root / "a.mp4").write_bytes(b"mine")
    for _ in range(2):
        with written(folder) as part:
            assert published(folder, part) == folder.root / "a (2).mp4"
    assert files(folder) == ["a (2).mp4", "a.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights there")
def test_a_link_in_the_place_of_the_part_is_not_followed(folder, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    with written(folder) as part:
        path = part.path
    path.symlink_to(target)
    with folder.part("a.mp4", owner="task_1") as part:
        part.write(b"clip")
        assert not part.path.is_symlink()
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "occupy",
    [
        pytest.param(lambda path: path.mkdir(), id="a folder"),
        pytest.param(lambda path: path.symlink_to("nowhere"), id="a dangling link"),
    ],
)
def test_whatever_has_the_name_a_clip_gets_the_next_one(folder, occupy):
    folder.root.mkdir()
    occupy(folder.root / "a.mp4")
    with written(folder) as part:
        assert published(folder, part) == folder.root / "a (2).mp4"


def test_without_hard_links_a_foreign_file_is_not_replaced_either(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder.root.mkdir()
    (folder.root / "a.mp4").write_bytes(b"mine")
    with written(folder) as part:
        assert published(folder, part) == folder.root / "a (2).mp4"
    assert files(folder) == ["a (2).mp4", "a.mp4"]
    assert (folder.root / "a.mp4").read_bytes() == b"mine"


# crashes

WRITE = "part = folder.part('a.mp4', owner='task_1')\npart.write(b'x' * 100_000)\n"


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("os._exit(7)", id="while writing"),
        pytest.param("part.sync(); os._exit(7)", id="after the sync"),
    ],
)
def test_a_crash_before_the_name_leaves_only_a_part(tmp_path, last):
    assert child(WRITE + last, cwd=tmp_path).returncode == 7
    (left,) = files(OutputFolder(tmp_path / "out"))
    assert left.endswith(".part")


CRASH_AFTER_NAME = WRITE + "part.sync(); part.publish(); os._exit(7)"


def test_a_crash_after_the_name_leaves_the_whole_clip(tmp_path):
    assert child(CRASH_AFTER_NAME, cwd=tmp_path).returncode == 7
    assert (tmp_path / "out/a.mp4").read_bytes() == b"x" * 100_000


def test_the_next_run_knows_the_clip_that_was_not_recorded(tmp_path):
    """C11: the clip is durable and `done` is not. Its second name tells it from every file of the user's."""
    out = OutputFolder(tmp_path / "out")
    out.root.mkdir()
    (out.root / "a.mp4").write_bytes(b"mine")
    assert child(CRASH_AFTER_NAME, cwd=tmp_path).returncode == 7
    assert out.published("a.mp4", owner="task_1") == out.root / "a (2).mp4"
    assert out.published("a.mp4", owner="task_2") is None
    out.recorded("a.mp4", owner="task_1")
    assert out.published("a.mp4", owner="task_1") is None
    assert files(out) == ["a (2).mp4", "a.mp4"]


@pytest.mark.parametrize("name", [None, "a.mp4"])
def test_a_part_without_a_name_is_no_clip(tmp_path, name):
    assert child(WRITE + "part.sync(); os._exit(7)", cwd=tmp_path).returncode == 7
    out = OutputFolder(tmp_path / "out")
    if name:
        (out.root / name).write_bytes(b"x" * 100_000)
    assert out.published("a.mp4", owner="task_1") is None


def test_the_next_run_does_not_empty_a_clip_that_has_its_name(tmp_path):
    """Nothing half-written ever has a final name: not either when a run died between the name and its record."""
    assert child(CRASH_AFTER_NAME, cwd=tmp_path).returncode == 7
    with OutputFolder(tmp_path / "out").part("a.mp4", owner="task_1"):
        assert (tmp_path / "out/a.mp4").read_bytes() == b"x" * 100_000


# no room, no rights


@pytest.mark.parametrize(
    ("free", "total", "size", "fits"),
    [
        (600 << 20, 1 << 40, 5 << 20, True),
        (600 << 20, 1 << 40, 100 << 20, False),
        (500 << 20, 1 << 40, 0, False),
        (900, 1000, 800, True),  # of a small disk a twentieth is kept
        (900, 1000, 851, False),
    ],
)
def test_what_would_fill_the_disk_is_not_fetched(folder, monkeypatch, free, total, size, fits):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free, total=total))
    if fits:
        folder.make_room(size)
        return
    with pytest.raises(StorageError, match="nearly full") as caught:
        folder.make_room(size)
    assert "no paid clip is lost" in str(caught.value)
    assert COLLECT_AGAIN in caught.value.fix


def test_the_disk_is_asked_again_in_time_and_when_it_may_not_be_enough(folder, monkeypatch):
    free, clock = [700 << 20], [0.0]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free[0], total=1 << 40))
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    for _ in range(3):
        folder.make_room(50 << 20)
    free[0] = 550 << 20  # they were written
    with pytest.raises(StorageError, match="nearly full"):
        folder.make_room(50 << 20)
    folder.make_room(1 << 20)
    free[0] = 400 << 20  # by others
    clock[0] += 1.0
    with pytest.raises(StorageError, match="nearly full"):
        folder.make_room(1 << 20)


@pytest.mark.parametrize("output", ["a.mp4", "day/night/a.mp4"])
def test_a_folder_that_was_removed_during_the_run_is_made_again(folder, output):
    with written(folder, output) as part:
        published(folder, part)
    shutil.rmtree(folder.root)
    with written(folder, output) as part:
        assert published(folder, part).read_bytes() == CLIP


def test_a_folder_inside_that_leads_elsewhere_is_refused(folder, tmp_path):
    folder.root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder.root / "day").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="leads out of"):
        folder.part("day/a.mp4", owner="task_1")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_is_no_clip_is_kept_in_part(folder):
    with written(folder, content=b"<" * (3 << 20)) as part:
        assert part.set_aside(whole=False).stat().st_size == 1 << 20


def test_a_part_that_is_begun_again_is_another_file(folder):
    with written(folder, content=b"the old one, longer") as part:
        part.restart()
        part.write(b"new")
        part.sync()
        published(folder, part)
    assert (folder.root / "a.mp4").read_bytes() == b"new"
    assert (part.size, part.sha256) == (3, hashlib.sha256(b"new").hexdigest())


FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
SAY = "except StorageError as error:\n    print(error, error.fix, sep='|')\n"


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("folder.check()", id="check"),
        pytest.param("part = folder.part('a.mp4', owner='t')\n    part.write(b'x' * 100_000)", id="write"),
        pytest.param("part = folder.part('a.mp4', owner='t')\n    part.write(b'x' * 3000)\n    part.sync()", id="sync"),
    ],
)
def test_a_full_disk_is_said_in_words(tmp_path, code):
    done = child(f"{FULL}try:\n    {code}\n{SAY}", cwd=tmp_path)
    message, _, fix = done.stdout.strip().partition("|")
    assert "is full; no paid clip is lost" in message, done.stderr
    assert fix == f"free some space, then {_what_then(code)}"


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
def test_a_full_disk_leaves_no_part(tmp_path):
    code = "with folder.part('a.mp4', owner='t') as part:\n        part.write(b'x' * 3000)\n        part.sync()"
    done = child(f"{FULL}try:\n    {code}\n{SAY}", cwd=tmp_path)
    assert "is full" in done.stdout, done.stderr
    assert files(OutputFolder(tmp_path / "out")) == []


@pytest.mark.skipif(os.name == "nt", reason="rights work differently there")
@pytest.mark.parametrize("code", ["folder.check()", "folder.part('a.mp4', owner='t')"])
def test_a_read_only_folder_is_said_in_words(tmp_path, code):
    (tmp_path / "out").mkdir(mode=0o555)
    humble = "if os.geteuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"  # root may write anywhere
    done = child(f"{humble}try:\n    {code}\n{SAY}", cwd=tmp_path)
    message, _, fix = done.stdout.strip().partition("|")
    assert message == "out cannot be written (Permission denied)", done.stderr
    assert "--out DIR" in fix
    assert fix.endswith(_what_then(code))


def _what_then(code):
    """Before anything is under way, the same command again collects nothing."""
    return SEND_AGAIN if "check()" in code else COLLECT_AGAIN


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        OutputFolder(tmp_path / "out").check()


def test_check_leaves_nothing(folder):
    folder.check()
    folder.check()
    assert list(folder.root.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk of out is full; no paid clip is lost"),
        (errno.EDQUOT, "the disk of out is full; no paid clip is lost"),
        (errno.EFBIG, "the disk of out is full; no paid clip is lost"),
        (errno.EROFS, "out cannot be written (Read-only file system)"),
        (errno.EACCES, "out cannot be written (Permission denied)"),
        (errno.EPERM, "out cannot be written (Operation not permitted)"),
        (errno.EIO, "out cannot be written: Input/output error"),
        (errno.ENAMETOOLONG, "out cannot be written: File name too long"),
    ],
)
def test_what_a_refusal_means(number, words):
    said = storage_error(OSError(number, os.strerror(number)), Path("out"))
    assert str(said) == words
    assert said.fix.endswith(COLLECT_AGAIN)
    assert said.exit_code is ExitCode.STORAGE


def test_a_refusal_without_a_number():
    assert str(storage_error(OSError(), Path("out"))) == "out cannot be written: OSError"


# files of the user's that have our names


def test_what_is_set_aside_replaces_nothing(folder):
    folder.root.mkdir()
    (folder.root / "a.mp4.bad").write_bytes(b"mine")
    for _ in range(2):  # the same file again needs no other name
        with written(folder) as part:
            assert part.set_aside(whole=True) == folder.root / "a.mp4 (2).bad"
    assert files(folder) == ["a.mp4 (2).bad", "a.mp4.bad"]
    assert (folder.root / "a.mp4.bad").read_bytes() == b"mine"


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights there")
@pytest.mark.parametrize("target", ["precious", "nowhere"])
def test_a_link_in_the_place_of_the_probe_is_not_followed(folder, target):
    folder.root.mkdir()
    (folder.root / "precious").write_bytes(b"precious")
    (folder.root / ".batchrunner.probe").symlink_to(target)
    folder.check()
    assert sorted(path.name for path in folder.root.iterdir()) == [".batchrunner.probe", "precious"]
    assert (folder.root / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("content", [b"mine", b"\0" * 5000])
def test_a_foreign_probe_is_kept(folder, content):
    folder.root.mkdir()
    (folder.root / ".batchrunner.probe").write_bytes(content)
    folder.check()
    assert files(folder) == [".batchrunner.probe"]
    assert (folder.root / ".batchrunner.probe").read_bytes() == content


@pytest.mark.parametrize("size", [0, 17, 4096])
def test_a_probe_that_was_left_behind_is_cleared(folder, size):
    folder.root.mkdir()
    (folder.root / ".batchrunner.probe").write_bytes(b"\0" * size)
    folder.check()
    assert files(folder) == []


REPORT = b"<!doctype html>\n" + MARK + b"\n<html>"


def test_a_report_replaces_a_report(tmp_path):
    path = tmp_path / "report.html"
    assert write_whole(path, REPORT + b"old") == path
    assert write_whole(path, REPORT + b"new") == path
    assert path.read_bytes() == REPORT + b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_report_replaces_nothing_else(tmp_path):
    path = tmp_path / "report.html"
    path.write_bytes(b"my own thesis")
    for _ in range(2):
        assert write_whole(path, REPORT) == tmp_path / "report (2).html"
    assert path.read_bytes() == b"my own thesis"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["report (2).html", "report.html"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights there")
@pytest.mark.parametrize("name", ["report.html", "report.html.part"])
def test_a_report_does_not_follow_links(tmp_path, name):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / name).symlink_to("precious")
    written = write_whole(tmp_path / "report.html", REPORT)
    assert written.read_bytes() == REPORT
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / name).is_symlink()


@pytest.mark.parametrize(("left", "kept"), [(REPORT[:60], False), (b"mine", True)])
def test_the_part_of_a_report_that_was_left_behind(tmp_path, left, kept):
    part = tmp_path / "report.html.part"
    part.write_bytes(left)
    write_whole(tmp_path / "report.html", REPORT)
    assert part.exists() is kept


def test_the_page_carries_the_mark(tmp_path):
    store, at = MemoryStore(), datetime(2026, 11, 22, tzinfo=UTC)
    batch = store.open_batch("b", endpoint="e", currency="USD", now=at)
    html = page.render(batch, [], counts={}, money=store.money(batch.id), folder=tmp_path, at=at)
    path = tmp_path / "report.html"
    assert html.startswith("<!doctype html>")
    assert write_whole(path, html.encode()) == write_whole(path, html.encode()) == path


def test_what_runs_that_died_left_is_told_from_files_of_the_user(folder):
    kept = written(folder, "day/a.mp4")
    kept.publish()
    kept.close()
    for name in ("mine.part", "a.mp4.xyz.part", "a.mp4.part"):
        (folder.root / name).touch()
    left = folder.left_over()
    assert left == {kept.path}
    assert folder.outputs_of(left) == {"day/a.mp4"}
    assert folder.is_part_of("day/a.mp4", owner="task_1", among=left)
    assert not folder.is_part_of("day/a.mp4", owner="task_2", among=left)
    folder.tidy(lambda outputs: [(output, "task_2") for output in outputs])
    assert folder.left_over() == {kept.path}
    folder.tidy(lambda outputs: [(output, "task_1") for output in outputs])
    assert folder.left_over() == set()
    assert (folder.root / "day/a.mp4").read_bytes() == CLIP
