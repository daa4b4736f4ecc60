"""A manifest that is as it was is not expanded again, and whatever may have changed it is noticed."""

import os
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from batchrunner import app
from batchrunner.errors import ManifestError, UsageError
from batchrunner.manifest import witness
from batchrunner.model import Intent, WantedJob
from batchrunner.run_request import RunRequest
from batchrunner.states import JobState
from batchrunner.store.sqlite import SqliteStore

MANIFEST = """
version: 1
name: night
jobs:
  - from: {csv: rows.csv}
    tags: [table]
  - from: {jsonl: more.jsonl}
  - from: {pairs: {dir: frames, first: "{shot}_first.png", last: "{shot}_last.png"}}
    prompt: "on {date}: {shot}"
  - {id: dog, prompt: a dog, frames: {first: still.png}, aspect_ratio: "9:16"}
"""
DAY = date(2026, 11, 22)
LONG_AGO = 1_700_000_000
ROWS = "prompt\na cat\na hen\n"


def picture(path, colour):
    Image.new("RGB", (640, 360), colour).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # the clock of the file system is coarse, and these files are new: what that means has a test of its own
    monkeypatch.setattr(witness, "FINE", -1.0)
    monkeypatch.setattr(witness, "COARSE", -1.0)
    Path("m.yaml").write_text(MANIFEST)
    Path("rows.csv").write_text(ROWS)
    Path("more.jsonl").write_text('{"prompt": "a cow"}\n')
    Path("config.toml").write_text("[prices.per_second]\n720P = 0.1\n")
    Path("frames").mkdir()
    for name in ("s1_first", "s1_last", "s2_first", "s2_last"):
        picture(Path("frames", f"{name}.png"), "red")
    picture(Path("still.png"), "red")
    return tmp_path


def opened(**asked):
    environ = {"BATCHRUNNER_CONFIG": "config.toml"}
    return app.open_run(RunRequest(**{"manifest": Path("m.yaml"), "emulator": True, "date": DAY} | asked), environ)


def adopted(**asked):
    """Whether the run knew its jobs without making them; then it is the one that was adopted last."""
    with opened(**asked) as session:
        session.adopt_plan()
        return session.is_recalled


def test_a_manifest_that_did_not_change_is_not_expanded_again(folder):
    assert [adopted() for _ in range(3)] == [False, True, True]


def told(session):
    plan = session.plan, session.purchases, session.warnings, session.counts(), [*session.sent()]
    return (*plan, [frame for frame, _ in session.leaving()], list(session.store.planned()))


@pytest.mark.parametrize("asked", [{}, {"limit": 2}, {"only": "*cat*"}, {"tags": ("table",), "limit": 1}], ids=str)
def test_what_is_recalled_is_what_would_be_found(folder, monkeypatch, asked):
    adopted()
    with opened() as session:
        first, second, third, *_ = session.store.jobs(session.batch.id)
        now = session.clock()
        session.store.record_intent(first.id, Intent(purchase_id="p", body_sha256="0", price=1), cap=None, now=now)
        session.store.record_cancelled(second.id, note="no", now=now)
        session.store.record_rejected(third.id, reason="frame", message="no", now=now)
    with opened(**asked) as session:
        assert session.is_recalled
        recalled = told(session)
    assert recalled[2], "the warning about the still frame"
    monkeypatch.setattr(witness, "program", lambda: iter(["another"]))
    with opened(**asked) as session:
        assert not session.is_recalled
        assert told(session) == recalled


def rewrite(name, text):
    stat = Path(name).stat()
    Path(name).write_text(text)
    os.utime(name, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def another_picture_of_that_size():
    path = Path("frames/s1_last.png")
    size = path.stat().st_size
    other = path.with_name("other")
    Image.new("RGB", (640, 360), "blue").save(other, "PNG")
    content = other.read_bytes()
    other.write_bytes(content + bytes(size - len(content)) if len(content) < size else content[:size])
    os.utime(other, (LONG_AGO, LONG_AGO))
    other.replace(path)


CHANGES = {
    "a row more": lambda: Path("rows.csv").write_text(ROWS + "a fox\n"),
    "a row of the same length": lambda: rewrite("rows.csv", ROWS.replace("cat", "rat")),
    "a line of the list": lambda: rewrite("more.jsonl", '{"prompt": "a sow"}\n'),
    "a word of the manifest": lambda: rewrite("m.yaml", MANIFEST.replace("a dog", "a god")),
    "a pair more": lambda: [picture(Path("frames", f"s3_{end}.png"), "red") for end in ("first", "last")],
    "a pair less": lambda: [Path("frames", f"s2_{end}.png").unlink() for end in ("first", "last")],
    "another picture": another_picture_of_that_size,
    "a price": lambda: Path("config.toml").write_text("[prices.per_second]\n720P = 0.2\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_on_the_disk_is_noticed(folder, change):
    adopted()
    assert adopted()
    CHANGES[change]()
    assert not adopted()
    assert adopted()


@pytest.mark.parametrize(
    "asked",
    [
        {"sets": ("mode=pro",)},
        {"date": date(2026, 11, 23)},
        {"allowed": (Path("/nowhere"),)},
        {"manifest": Path("frames", "..", "m.yaml")},
        {"redo": ("failed",)},
        {"saved": "0" * 64},
    ],
    ids=str,
)
def test_another_request_is_noticed(folder, asked):
    adopted()
    assert adopted()
    with opened(**asked) as session:
        assert not session.is_recalled


def test_another_version_of_the_program_is_noticed(folder, monkeypatch):
    adopted()
    monkeypatch.setattr("batchrunner.__version__", "0.0.0")
    assert not adopted()


def a_take(store, job):
    take = WantedJob(key="t", fingerprint="f", request=job.request, output="t.mp4", position=9)
    store.add_takes(job.id, [take], note="again", now=app.now())


@pytest.mark.parametrize(
    "change",
    [
        a_take,
        lambda store, job: store._run("UPDATE jobs SET wanted = 0 WHERE id = ?", (job.id,)),
        lambda store, job: store._run("UPDATE jobs SET request = '{}' WHERE id = ?", (job.id,)),
        lambda store, job: store._run("DELETE FROM jobs WHERE id = ?", (job.id,)),
    ],
    ids=["take", "unwanted", "request", "gone"],
)
def test_a_change_of_what_is_stored_is_noticed(folder, change):
    adopted()
    with opened() as session:
        database = session.database
    store = SqliteStore.open(database)
    change(store, next(store.jobs(1)))
    store.close()
    with opened() as session:
        assert not session.is_recalled


def test_what_happens_to_the_jobs_changes_nothing(folder):
    adopted()
    with opened() as session:
        job = next(session.store.jobs(session.batch.id))
        session.store.record_cancelled(job.id, note="no", now=session.clock())
    with opened() as session:
        assert session.is_recalled
        assert session.plan.cancelled == 1


def test_what_was_bought_with_another_request_is_looked_at_each_time(folder):
    adopted()
    with opened() as session:
        store, now = session.store, session.clock()
        (job,) = [job for job in store.jobs(session.batch.id) if job.key == "dog"]
        store.record_intent(job.id, Intent(purchase_id="p", body_sha256="0", price=1), cap=None, now=now)
    rewrite("m.yaml", MANIFEST.replace("a dog", "a god"))
    assert [adopted() for _ in range(3)] == [False, False, False]


def test_a_mistake_is_told_as_always(folder):
    adopted()
    Path("still.png").unlink()
    with pytest.raises(ManifestError, match=r"still\.png"), opened():
        pass
    picture(Path("still.png"), "red")
    assert not adopted()
    with pytest.raises(UsageError, match="no job has the tag"), opened(tags=("x",)):
        pass
    with pytest.raises(UsageError, match="no job has a key"), opened(only="x*"):
        pass


def test_what_is_so_new_that_a_change_might_not_show_is_read_again(folder, monkeypatch):
    monkeypatch.setattr(witness, "FINE", 3600.0)
    assert [adopted() for _ in range(2)] == [False, False]


def test_a_private_url_is_not_stored(folder):
    rewrite("m.yaml", MANIFEST.replace("still.png", "'https://a.example/x.png?sig=CANARY'"))
    assert [adopted() for _ in range(2)] == [False, False]


def test_a_signal_that_the_jobs_were_never_adopted(folder):
    with opened():
        pass
    with opened() as session:
        assert not session.is_recalled
        assert not session.counts().get(JobState.PENDING)
