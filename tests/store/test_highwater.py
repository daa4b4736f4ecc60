"""An old copy of the database is found out before it buys again what was bought since."""

import os
import shutil
import stat
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from batchrunner.errors import StorageError
from batchrunner.model import Intent, VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.store.base import Changes
from batchrunner.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 22, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batch.db"


@pytest.fixture
def seq(path):
    return path.with_name("batch.db.seq")


def buying_in(store, number):
    asked = VideoRequest(prompt=f"clip {number}")
    job = WantedJob(
        key=f"k{number}", fingerprint=fingerprint(asked), request=asked, output=f"{number}.mp4", position=number
    )
    store.apply(1, Changes(added=(job,)), now=NOW)
    (found,) = [one for one in store.jobs(1) if one.key == job.key]
    assert store.record_intent(
        found.id, Intent(purchase_id=f"br_{number}", body_sha256="0" * 64, price=None), cap=None, now=NOW
    )


def buying(path, *numbers):
    """Make, or go on with, a database that has one purchase under way for each number."""
    store = SqliteStore.open(path)
    batch = store.open_batch("b", endpoint="e", currency=None, now=NOW)
    assert batch.id == 1
    for number in numbers:
        buying_in(store, number)
    return store


def test_the_mark_follows_every_intent(path, seq):
    store = SqliteStore.open(path)
    assert not seq.exists()
    store.close()
    buying(path, 1, 2, 3).close()
    assert int(seq.read_text()) == 3
    assert stat.S_IMODE(seq.stat().st_mode) == 0o600
    buying(path, 4).close()
    assert int(seq.read_text()) == 4


def test_the_mark_is_raised_once_for_intents_that_share_a_commit_and_never_for_one_that_is_undone(
    path, seq, monkeypatch
):
    store = buying(path, 1)
    syncs = []
    monkeypatch.setattr("os.fsync", syncs.append)
    with store.transaction():
        buying_in(store, 2)
        buying_in(store, 3)
        assert int(seq.read_text()) == 1
    assert int(seq.read_text()) == 3
    assert len(syncs) == 1
    with suppress(ZeroDivisionError), store.transaction():
        buying_in(store, 4)
        raise ZeroDivisionError
    assert int(seq.read_text()) == 3
    store.counts(1)
    store.close()


@pytest.mark.parametrize("what", ["an old copy", "an empty file", "nothing"])
def test_a_database_that_is_older_than_its_journal_is_refused(path, seq, what):
    buying(path, 1).close()
    shutil.copy(path, path.with_name("old"))
    buying(path, 2, 3).close()
    path.unlink()
    if what == "an old copy":
        path.with_name("old").rename(path)
    elif what == "an empty file":
        path.touch()
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(StorageError, match=f"{1 if what == 'an old copy' else 0} submissions < 3") as caught:
        SqliteStore.open(path)
    assert str(seq) in caught.value.fix
    assert (path.read_bytes() if path.exists() else None) == before
    seq.unlink()  # the way out
    SqliteStore.open(path).close()


def test_a_database_that_is_ahead_of_its_mark_is_good(path, seq):
    """The run died between the commit and the mark."""
    buying(path, 1, 2).close()
    seq.write_text("1\n")
    buying(path, 3).close()
    assert int(seq.read_text()) == 3


@pytest.mark.parametrize(("content", "good"), [("", True), ("garbage", False), ("-1", False)])
def test_what_a_mark_may_say(path, seq, content, good):
    buying(path, 1).close()
    seq.write_text(content)
    if good:
        SqliteStore.open(path).close()
        return
    with pytest.raises(StorageError, match="damaged"):
        SqliteStore.open(path)


def test_a_mark_that_cannot_be_written_ends_the_work_before_the_request_leaves(path, seq, monkeypatch):
    store = SqliteStore.open(path)
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, os.strerror(5))))
    store.open_batch("b", endpoint="e", currency=None, now=NOW)
    with pytest.raises(StorageError, match="the disk failed"):
        buying_in(store, 1)
    store.close()


def test_a_reader_needs_no_mark(path, seq):
    buying(path, 1).close()
    seq.write_text("99")
    SqliteStore.read(path).close()
