"""A manifest whose jobs lie on the disk is the one whose jobs lie in memory: the same jobs, or the same mistakes."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.errors import ManifestError, StorageError
from batchrunner.manifest import parse_manifest
from batchrunner.manifest.shelf import MemoryShelf
from batchrunner.store import shelf as disk
from batchrunner.store.shelf import DiskShelf

PATH = Path("/films/b.yaml")
WORDS = st.sampled_from(["猫", "狗", "cat", "CAT", "a/b"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"prompt": WORDS},
        optional={
            "key": st.sampled_from(["S1", "s1", "S2", "S3", "猫"]),
            "priority": st.integers(0, 2),
            "tags": st.sampled_from([["x"], ["x", "夜"]]),
            "duration": st.sampled_from([5, 10]),
        },
    ),
    min_size=1,
    max_size=5,
)
FILENAMES = st.sampled_from(["{key}.mp4", "{prompt}.mp4", "x.mp4/{key}.mp4", "x.mp4", "{slug}/{take}.mp4"])


def entry(rows, filename, id, takes, variants):
    one = {"from": {"rows": rows}, "output": {"filename": filename}, "takes": takes}
    return one | ({"id": id} if id else {}) | ({"matrix": {"v": variants}} if variants else {})


ENTRIES = st.builds(
    entry,
    ROWS,
    FILENAMES,
    st.sampled_from([None, "a", "b", "cat-6ed1a3c2"]),
    st.integers(1, 2),
    st.none() | st.just(["1", "t1-2"]),
)


def outcome(manifest, shelf):
    try:
        loaded = parse_manifest(json.dumps({"version": 1} | manifest).encode(), PATH, shelf=shelf)
        return len(loaded.jobs), list(loaded.jobs), loaded.tags, loaded.kinds, loaded.warnings
    except ManifestError as error:
        return error.diagnostics


@pytest.fixture(params=["short", "long"], scope="module")
def digits(request):
    """With one digit, different requests share a short name."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "short":
            patch.setattr("batchrunner.manifest.identity.SHORT_HASH", 1)
        yield


@pytest.mark.parametrize("held", [1, 500])
@settings(max_examples=40, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=3))
def test_the_disk_and_the_memory_agree(digits, held, entries):
    with pytest.MonkeyPatch.context() as patch, closing(DiskShelf()) as shelf:
        patch.setattr(disk, "HELD", held)
        found = outcome({"jobs": entries}, shelf)
        assert found == outcome({"jobs": entries}, MemoryShelf())
        if not isinstance(found, tuple) or not isinstance(found[0], int):
            return
        rows = [dict(zip(disk.WANTED_COLUMNS, row, strict=True)) for row in shelf.columns()]
        assert rows == [disk.wanted_columns(job) for job in found[1]]


def test_a_disk_that_is_full_is_said():
    with closing(DiskShelf()) as shelf:
        shelf._connection.execute("PRAGMA max_page_count = 10")
        jobs = [{"prompt": f"p {number}" + "x" * 2000} for number in range(600)]
        with pytest.raises(StorageError, match="disk is full"):
            parse_manifest(json.dumps({"version": 1, "jobs": jobs}).encode(), PATH, shelf=shelf)


def test_equal_requests_are_numbered_in_one_go(monkeypatch):
    """A search for the next free number from the beginning would take as long as the square of how many there are."""
    text = "version: 1\njobs:\n" + "- prompt: a cat\n" * 1000
    claims = []
    with closing(DiskShelf()) as shelf:
        monkeypatch.setattr(shelf, "claim", lambda key, place: claims.append(key) or DiskShelf.claim(shelf, key, place))
        jobs = list(parse_manifest(text.encode(), PATH, shelf=shelf).jobs)
    assert len({job.key for job in jobs}) == 1000
    assert len(claims) < 2000
