"""What only the database on disk has: a file, its rules, other processes, a disk that fills."""

import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from batchrunner.budget import Used
from batchrunner.errors import StorageError
from batchrunner.model import Answer, Clip, Intent, VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.states import IN_FLIGHT, JobEvent, JobState
from batchrunner.store import connect, schema
from batchrunner.store.base import Changes
from batchrunner.store.ledger import CHARGES, OPEN, Charge
from batchrunner.store.rows import to_text, wanted_columns
from batchrunner.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 22, 1, 0, 3, tzinfo=UTC)
YES = Answer(rule="S200", http_status=200)
CLIP = Clip(path="a.mp4", bytes=9, sha256="c" * 64, duration=5.0, width=16, height=9, sound=False)


def wanted(number):
    request = VideoRequest(prompt=f"a cat, number {number}")
    return WantedJob(
        key=f"k{number}", fingerprint=fingerprint(request), request=request, output=f"{number}.mp4", position=number
    )


def intent(number, price=100):
    return Intent(purchase_id=f"p{number}", body_sha256="d" * 64, price=price)


def filled(path, jobs=3):
    store = SqliteStore.open(path)
    batch = store.open_batch("b", endpoint="toapis.com", currency="USD", now=NOW)
    store.apply(batch.id, Changes(added=tuple(map(wanted, range(1, jobs + 1)))), now=NOW)
    return store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "work" / "batch.db"


@pytest.fixture
def store(path):
    store = filled(path)
    yield store
    store.close()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# the file


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_database_is_its_owners_alone(path, umask):
    before = os.umask(umask)
    try:
        store = filled(path)
    finally:
        os.umask(before)
    assert mode(path.parent) == 0o700
    assert {file.name: mode(file) for file in path.parent.iterdir()} == {
        "batch.db": 0o600,
        "batch.db-wal": 0o600,
        "batch.db-shm": 0o600,
    }
    store.close()


def test_the_connection_is_durable_and_strict(store):
    def pragma(name):
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2
    assert pragma("foreign_keys") == 1
    assert pragma("trusted_schema") == 0
    assert pragma("busy_timeout") == 10_000
    assert pragma("user_version") == schema.VERSION
    assert pragma("application_id") == schema.APPLICATION_ID


def test_opening_again_finds_everything(path):
    filled(path).close()
    store = SqliteStore.open(path)
    assert store.counts(1) == {JobState.PENDING: 3}
    assert store._connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()[0] == schema.VERSION
    store.close()


def test_a_database_that_needs_no_migration_opens_without_sqlite_utils(path):
    filled(path).close()
    script = """
import sys
from batchrunner.store.rows import to_text, wanted_columns
from batchrunner.store.sqlite import SqliteStore
SqliteStore.open(sys.argv[1]).close()
SqliteStore.read(sys.argv[1]).close()
assert "sqlite_utils" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, path], check=True)


@pytest.mark.parametrize("content", [b"name,prompt\n" * 100, b"x", b"SQLite format 2\0" + bytes(100)])
@pytest.mark.parametrize("way", [SqliteStore.open, SqliteStore.read])
def test_a_file_that_is_no_database_is_left_untouched(tmp_path, content, way):
    path = tmp_path / "prompts.csv"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is not a database") as caught:
        way(path)
    assert str(path) in str(caught.value)
    assert caught.value.fix
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_database_is_refused_and_left_as_it_is(path):
    filled(path, jobs=200).close()
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        SqliteStore.open(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(("column", "value"), [("request", "{"), ("submitted_at", "x" * 27), ("tags", "no list")])
def test_a_row_that_makes_no_sense_is_damage_and_no_bug(path, column, value):
    filled(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"UPDATE jobs SET {column} = ?", (value,))
    with closing(SqliteStore.read(path)) as store, pytest.raises(StorageError, match="damaged") as caught:
        list(store.jobs(store.batches()[0].id))
    assert "backup" in caught.value.fix


def test_a_database_of_another_program_is_refused(tmp_path):
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    for way in (SqliteStore.open, SqliteStore.read):
        with pytest.raises(StorageError, match="another program"):
            way(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path):
    store = filled(path)
    store._connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    store.close()
    before = path.read_bytes()
    for way in (SqliteStore.open, SqliteStore.read):
        with pytest.raises(StorageError, match="newer batchrunner"):
            way(path)
    assert path.read_bytes() == before


def test_an_older_schema_is_migrated_by_a_run_and_read_from_a_copy(path, monkeypatch):
    filled(path).close()
    before = path.read_bytes()
    steps = {**schema.STEPS, "99_later": ("ALTER TABLE runs ADD COLUMN note TEXT",)}
    monkeypatch.setattr(schema, "STEPS", steps)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    assert not connect.is_of_today(path)
    for way in (SqliteStore.read, SqliteStore.planning):
        reader = way(path)
        assert reader.counts(1) == {JobState.PENDING: 3}
        assert reader._connection.execute("SELECT note FROM runs").fetchall() == []
        reader.close()
        assert path.read_bytes() == before
    store = SqliteStore.open(path)
    assert connect.is_of_today(path)
    assert store.counts(1) == {JobState.PENDING: 3}
    assert store._connection.execute("SELECT note FROM runs").fetchall() == []
    store.close()


def old_database(path, steps, *jobs):
    """A batch with these jobs in a database that has only the first `steps` of the schema; the caller closes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "STEPS", dict(list(schema.STEPS.items())[:steps]))
        patch.setattr(schema, "VERSION", steps)
        old = SqliteStore.open(path)
    old._connection.execute("INSERT INTO batches (name, endpoint, created_at) VALUES ('b', 'e', ?)", (to_text(NOW),))
    for job in jobs:
        columns = wanted_columns(job) | {"batch_id": 1, "created_at": to_text(NOW), "updated_at": to_text(NOW)}
        columns.pop("tags")
        names = ", ".join(columns)
        old._connection.execute(f"INSERT INTO jobs ({names}) VALUES (:{', :'.join(columns)})", columns)
    return old


def test_every_older_version_can_be_planned_with(path):
    for steps in range(1, schema.VERSION):
        old = path.with_name(f"v{steps}.db")
        old_database(old, steps, *([wanted(1)] if steps == 1 else [])).close()
        reader = SqliteStore.planning(old)
        with reader.transaction():
            compared = reader.compare(1, [wanted(1), wanted(2)])
        assert (compared.to_send, compared.orphaned) == (2, 0)
        assert reader.batch("b") is not None
        reader.close()


def test_a_database_of_the_first_version_gets_tags(path):
    old_database(path, 1, wanted(1)).close()
    store = SqliteStore.open(path)
    (job,) = store.jobs(1)
    assert (job.key, job.tags) == ("k1", ())
    store.apply(1, Changes(kept=((job.id, replace(wanted(1), tags=("夜",))),)), now=NOW)
    assert [job.tags for job in store.sendable(1, now=NOW, limit=9, tags=["夜", "日"])] == [("夜",)]
    assert store.sendable(1, now=NOW, limit=9, tags=["日"]) == []
    store.close()


def test_what_was_bought_before_days_were_kept_counts_for_its_day(path):
    old = old_database(path, 2, wanted(1), wanted(2), wanted(3))
    sql = """
        INSERT INTO attempts (job_id, number, purchase_id, charge, price, billing_key, seconds, body_sha256, intended_at)
        VALUES (?, 1, ?, ?, ?, '720P', 5, 'd', ?)
    """
    for job_id, charge, price in ((1, "spent", 7), (2, "released", 5), (3, "committed", None)):
        old._connection.execute(sql, (job_id, f"p{job_id}", charge, price, to_text(NOW)))
    old.close()
    store = SqliteStore.open(path)
    assert store.used(1, day=NOW.astimezone().date()) == Used(max_cost=7, per_day=7, per_month=7)
    store.close()


def test_a_cap_is_looked_up_and_not_summed(path):
    """However much was bought: the rows of one month at the most are read, and they are found by the primary key."""
    store = filled(path)
    asked = []
    store._connection.set_trace_callback(asked.append)
    store.used(1, day=NOW.date())
    store._connection.set_trace_callback(None)
    plans = [row["detail"] for sql in asked for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert any("SEARCH daily_spending USING PRIMARY KEY (currency=? AND day>? AND day<?)" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith("SCAN")]
    store.close()


def test_a_migration_that_fails_leaves_the_old_schema(path, monkeypatch):
    filled(path).close()
    steps = {**schema.STEPS, "99_later": ("ALTER TABLE runs ADD COLUMN note TEXT", "SELECT nonsense")}
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", steps)
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StorageError, match="nonsense"):
            SqliteStore.open(path)
    store = SqliteStore.open(path)
    assert "note" not in [row["name"] for row in store._connection.execute("PRAGMA table_info(runs)")]
    store.close()


def test_an_empty_file_beside_a_journal_is_refused(path):
    store = filled(path)
    wal = path.with_name("batch.db-wal").read_bytes()
    store.close()
    path.write_bytes(b"")
    path.with_name("batch.db-wal").write_bytes(wal)
    with pytest.raises(StorageError, match="journal"):
        SqliteStore.open(path)
    assert path.with_name("batch.db-wal").read_bytes() == wal


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        SqliteStore.open(tmp_path / "file" / "batch.db")
    assert caught.value.fix
    with pytest.raises(StorageError):
        SqliteStore.open(tmp_path)


def test_a_closed_store_says_so(path):
    store = filled(path)
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.counts(1)


def test_another_program_that_writes_is_waited_for_and_then_named(path, store):
    store._connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another program held"):
        store.record_intent(1, intent(1), cap=None, now=NOW)
    with pytest.raises(StorageError, match="another program held"), store.transaction():
        pytest.fail("a transaction that may come to write waits at its start, not in the middle")
    other.execute("ROLLBACK")
    other.close()
    assert store.record_intent(1, intent(1), cap=None, now=NOW)


# the rules of the schema


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE jobs SET state = 'lost'",
        "UPDATE jobs SET state = 'submitting'",
        "UPDATE jobs SET state = 'in_doubt', reason = 'x'",
        "UPDATE jobs SET state = 'running', purchase_id = 'p9' WHERE id = 1",
        "UPDATE jobs SET state = 'done', task_id = 't9', purchase_id = 'p9' WHERE id = 1",
        "UPDATE jobs SET state = 'failed'",
        "UPDATE jobs SET task_id = 't9' WHERE id = 1",
        "UPDATE jobs SET purchase_id = 'p2' WHERE id = 1",
        "UPDATE jobs SET key = 'k2' WHERE id = 1",
        "UPDATE jobs SET attempts = 'many'",
        "UPDATE jobs SET attempts = -1",
        "UPDATE jobs SET wanted = 2",
        "UPDATE jobs SET not_before = '2026-11-22T01:00:03Z'",
        "UPDATE jobs SET batch_id = 99",
        "UPDATE attempts SET price = -1",
        "UPDATE attempts SET price = 1.5",
        "UPDATE attempts SET charge = 'free'",
        "UPDATE attempts SET outcome = 'lost'",
        """
        INSERT INTO attempts (job_id, number, purchase_id, billing_key, seconds, body_sha256, intended_at)
        SELECT job_id, number + 1, purchase_id, billing_key, seconds, body_sha256, intended_at FROM attempts
        """,
        "DELETE FROM jobs WHERE id = 2",
        "DELETE FROM attempts",
        "DELETE FROM events",
        "UPDATE events SET event = 'saved'",
        "INSERT INTO assets VALUES ('s', 'e', 'https://x/y?sig=1', '2026-11-22T01:00:03.000000Z')",
    ],
)
def test_the_database_refuses_what_must_not_be(store, sql):
    store.record_intent(2, intent(2), cap=None, now=NOW)
    with pytest.raises(sqlite3.IntegrityError):
        store._connection.execute(sql)


def test_every_table_is_strict(store):
    ours = [name for name, strict in tables(store) if not strict]
    assert ours == ["_sqlite_migrations"]


def tables(store):
    listed = store._connection.execute("PRAGMA main.table_list").fetchall()
    return [
        (row["name"], row["strict"])
        for row in listed
        if row["type"] == "table" and not row["name"].startswith("sqlite_")
    ]


def test_the_words_in_the_schema_are_the_words_in_the_code():
    jobs, attempts = (next(sql for sql in schema.TABLES if f"TABLE {name} " in sql) for name in ("jobs", "attempts"))

    def words(sql, column):
        listed = re.search(rf"CHECK \({column} IN\s+\(([^)]*)\)", sql).group(1)
        return set(re.findall(r"'(\w+)'", listed))

    assert words(jobs, "state") == set(JobState)
    assert words(attempts, "charge") == set(Charge)
    # an attempt whose task was another's is unanswered again
    assert words(attempts, "outcome") == {OPEN, *CHARGES} - {JobEvent.MISATTRIBUTED}


def test_history_replays_to_the_present(store):
    store.record_intent(1, intent(1), cap=None, now=NOW)
    store.record_returned(1, YES, reason="busy", not_before=None, now=NOW)
    store.record_intent(1, intent(1), cap=None, now=NOW)
    store.recover(1, now=NOW)
    rows = [tuple(row) for row in store._connection.execute("SELECT event, from_state, to_state, note FROM history")]
    assert rows == [
        (JobEvent.CLAIMED, "pending", "submitting", None),
        (JobEvent.RETURNED, "submitting", "pending", "busy"),
        (JobEvent.CLAIMED, "pending", "submitting", None),
        (JobEvent.UNANSWERED, "submitting", "in_doubt", "crash"),
    ]
    attempts = store._connection.execute("SELECT number, outcome, charge, rule FROM attempts ORDER BY number")
    assert [tuple(row) for row in attempts] == [
        (1, "returned", "released", "S200"),
        (2, "unanswered", "committed", "C3"),
    ]


def test_the_views_are_for_people(store):
    store.record_intent(1, intent(1, price=1_500_000), cap=None, now=NOW)
    store.record_rejected(2, reason="frame", message="too small", now=NOW)
    board = store._connection.execute("SELECT * FROM job_board").fetchall()
    assert [(row["batch"], row["key"], row["state"], row["price"], row["prompt"]) for row in board] == [
        ("b", "k1", "submitting", 1.5, "a cat, number 1"),
        ("b", "k2", "failed", None, "a cat, number 2"),
        ("b", "k3", "pending", None, "a cat, number 3"),
    ]
    failures = store._connection.execute("SELECT * FROM failures_by_reason").fetchall()
    assert [tuple(row) for row in failures] == [("b", "frame", 1, "too small")]


def test_a_transition_touches_only_its_own_rows(store):
    """Three statements a transition, none of which looks through a table; shared commits need no savepoints."""
    caps = {"cap": 10**9, "per_day": 10**9, "per_month": 10**9, "per_run": 10**9}
    verbs = (
        lambda: store.record_intent(1, intent(1), **caps, now=NOW),
        lambda: store.record_accepted(1, "t1", YES, now=NOW),
        lambda: store.record_progress(1, status="processing", progress=3, now=NOW),
        lambda: store.record_finished(1, expires_at=None, now=NOW),
        lambda: store.record_saved(1, CLIP, now=NOW),
        lambda: store.record_rejected(2, reason="frame", message="too small", now=NOW),
    )
    asked = []
    store._connection.set_trace_callback(asked.append)
    with store.transaction(), store.as_one():
        assert all(verb() for verb in verbs)
    store._connection.set_trace_callback(None)
    begin, *moves, commit, mark = dict.fromkeys(asked)  # what triggers do is told as the statement again
    assert (begin, commit) == ("BEGIN IMMEDIATE", "COMMIT")
    assert mark.startswith("SELECT max(id)")  # for the high-water mark, at the end of the index
    assert len(moves) <= 3 * len(verbs)
    plans = [row["detail"] for sql in moves for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN")]


def test_recovery_looks_at_no_finished_job(store):
    asked = []
    store._connection.set_trace_callback(asked.append)
    store.recover(1, now=NOW)
    store._connection.set_trace_callback(None)
    sent = [sql for sql in asked if sql.lstrip().startswith(("SELECT", "UPDATE"))]
    plans = [row["detail"] for sql in sent for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert plans
    assert all("(batch_id=? AND wanted=? AND state=?)" in plan or "not_before>?" in plan for plan in plans), plans


def test_a_batch_that_is_recalled_reads_no_finished_job(store):
    asked = []
    store._connection.set_trace_callback(asked.append)
    store.recall(1)
    store.purchases(limit=5)
    list(store.planned(to_send=True))
    list(store.outgoing())
    store._connection.set_trace_callback(None)
    plans = [
        " / ".join(row["detail"] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
        for sql in asked
        if "FROM jobs" in sql and "CREATE" not in sql
    ]
    assert len(plans) == 3
    assert all("jobs_by_state (batch_id=? AND wanted=? AND state=?" in plan for plan in plans), plans


def test_what_a_run_asks_often_reads_no_finished_job(store):
    def plan(ask):
        seen = []
        store._connection.set_trace_callback(seen.append)
        ask()
        store._connection.set_trace_callback(None)
        (sql,) = seen
        return " / ".join(row["detail"] for row in store._connection.execute(f"EXPLAIN QUERY PLAN {sql}"))

    sendable = plan(lambda: store.sendable(1, now=NOW, limit=5))
    assert "jobs_by_state (batch_id=? AND wanted=? AND state=?)" in sendable
    assert "TEMP B-TREE" not in sendable
    assert "waiting_jobs (batch_id=? AND not_before>?)" in plan(lambda: store.next_not_before(1, after=NOW))
    assert "job_counts USING PRIMARY KEY (batch_id=?" in plan(lambda: store.counts(1))
    assert "job_counts USING PRIMARY KEY (batch_id=?" in plan(lambda: store.in_flight(1))
    assert "spending USING PRIMARY KEY (batch_id=?" in plan(lambda: store.money(1))
    running = plan(lambda: list(store.jobs(1, states=[JobState.RUNNING])))
    assert "jobs_by_state (batch_id=? AND wanted=? AND state=? AND position>?)" in running
    assert "TEMP B-TREE" not in running


def test_long_lists_come_in_pages(path, monkeypatch):
    monkeypatch.setattr("batchrunner.store.queries.PAGE", 3)
    store = filled(path, jobs=10)
    store.record_intent(4, intent(4), cap=None, now=NOW)
    assert [job.key for job in store.jobs(1)] == [f"k{number}" for number in range(1, 11)]
    store.close()


# beside others


def test_a_reader_needs_a_database(tmp_path):
    with pytest.raises(StorageError, match="nothing has been run here yet") as caught:
        SqliteStore.read(tmp_path / "none.db")
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_reader_of_a_database_that_was_just_made_finds_nothing(tmp_path):
    (tmp_path / "new.db").touch()
    with pytest.raises(StorageError, match="nothing has been run here yet"):
        SqliteStore.read(tmp_path / "new.db")


def test_a_reader_of_a_database_whose_making_was_cut_short(path):
    path.parent.mkdir()
    draft = path.with_name("draft")
    with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 0")  # makes the first page
        connection.execute("PRAGMA cache_size = 1")  # pages are written before the commit, beside a journal
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE jobs(prompt)")
        connection.executemany("INSERT INTO jobs VALUES (?)", [("x" * 4000,)] * 20)
        for suffix in ("", "-journal"):
            path.with_name(path.name + suffix).write_bytes(draft.with_name(draft.name + suffix).read_bytes())
    with pytest.raises(StorageError) as error:
        SqliteStore.read(path)
    assert "nothing is recorded in it" in str(error.value)
    assert "run the manifest" in error.value.fix
    with closing(SqliteStore.open(path)) as store:
        assert store.batches() == []


def test_a_reader_never_blocks_the_writer_and_cannot_write(path, store):
    reader = SqliteStore.read(path)
    with reader.transaction():
        before = reader.counts(1)
        with store.transaction():
            store.record_intent(1, intent(1), cap=None, now=NOW)
            assert reader.counts(1) == before  # not yet committed
        assert store.counts(1)[JobState.SUBMITTING] == 1
        assert reader.counts(1) == before  # one snapshot
    assert reader.counts(1)[JobState.SUBMITTING] == 1
    with pytest.raises(StorageError):
        reader.record_intent(2, intent(2), cap=None, now=NOW)
    assert store.job(2).state == JobState.PENDING
    reader.close()


def test_a_reader_of_a_database_that_was_closed_cleanly(path):
    filled(path).close()
    before = path.read_bytes()
    reader = SqliteStore.read(path)
    assert [job.key for job in reader.jobs(1)] == ["k1", "k2", "k3"]
    assert [job.key for job in reader.stored_jobs(1)] == ["k1", "k2", "k3"]
    assert reader.batches()[0].name == "b"
    assert reader.money(1).spent == 0
    reader.close()
    assert path.read_bytes() == before
    filled_again = SqliteStore.open(path)
    assert filled_again.record_intent(1, intent(1), cap=None, now=NOW)
    filled_again.close()


AS_NOBODY = """
import os, sys
from batchrunner.errors import StorageError
from batchrunner.store.rows import to_text, wanted_columns
from batchrunner.store.sqlite import SqliteStore
if os.getuid() == 0:
    os.setuid(65534)
print(dict(SqliteStore.read(sys.argv[1]).counts(1)))
try:
    SqliteStore.open(sys.argv[1])
except StorageError as error:
    print(error, "| fix:", error.fix)
"""


def test_a_reader_in_a_folder_that_it_may_not_write_to():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        path = folder / "batch.db"
        filled(path).close()
        path.chmod(0o444)
        folder.chmod(0o555)
        result = subprocess.run([sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, check=False)
        folder.chmod(0o700)
    assert result.returncode == 0, result.stderr
    assert "'pending'>: 3" in result.stdout
    assert "cannot be opened or written" in result.stdout
    assert "make the folder writable" in result.stdout


def test_a_question_from_another_thread_waits_for_the_transaction(store):
    seen = []
    inside, asked = threading.Event(), threading.Event()

    def ask():
        inside.wait()
        asked.set()
        seen.append(store.counts(1))

    def claim_and_fail():
        with store.transaction():
            store.record_intent(1, intent(1), cap=None, now=NOW)
            inside.set()
            asked.wait()
            raise ZeroDivisionError

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(ZeroDivisionError):
        claim_and_fail()
    thread.join()
    assert seen == [{JobState.PENDING: 3}]


# crashes and full disks

KILLED = """
import os, signal, sys
from dataclasses import replace
from datetime import UTC, datetime
from batchrunner.model import Answer, Intent
from batchrunner.store.rows import to_text, wanted_columns
from batchrunner.store.sqlite import SqliteStore
now = datetime(2026, 11, 22, tzinfo=UTC)
store = SqliteStore.open(sys.argv[1])
for number in range(1, 21):
    store.record_intent(number, Intent(purchase_id=f"p{number}", body_sha256="d" * 64, price=1), cap=None, now=now)
    print(number, "submitting", flush=True)
    if number % 2:
        store.record_accepted(number, f"t{number}", Answer(rule="S200"), now=now)
        print(number, "running", flush=True)
    if number == int(sys.argv[2]):
        with store.transaction():
            store.record_rejected(20, reason="r", message="m", now=now)
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("last", [1, 2, 9, 16])
def test_what_was_reported_survives_kill_9(path, last):
    filled(path, jobs=20).close()
    result = subprocess.run(
        [sys.executable, "-c", KILLED, path, str(last)], capture_output=True, text=True, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    reported = dict(line.split() for line in result.stdout.splitlines())
    assert len(reported) == last

    reader = SqliteStore.read(path)
    assert {str(job.id): job.state for job in reader.jobs(1, states=IN_FLIGHT)} == reported
    reader.close()
    store = SqliteStore.open(path)
    assert {str(job.id): job.state for job in store.jobs(1, states=IN_FLIGHT)} == reported
    assert store.job(20).state == JobState.PENDING  # its transaction was never committed
    assert store.money(1).committed == last
    assert store._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert store.recover(1, now=NOW) == list(reported.values()).count("submitting")
    store.close()


def test_a_full_disk_is_told_and_what_was_recorded_stays(path):
    store = filled(path, jobs=400)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    recorded = 0

    def record_all():
        nonlocal recorded
        for number in range(1, 401):
            store.record_intent(number, intent(number), cap=None, now=NOW)
            recorded += 1

    with pytest.raises(StorageError, match="disk is full") as caught:
        record_all()
    assert "never bought a second time blindly" in str(caught.value)
    assert "free some space" in caught.value.fix
    assert 0 < recorded < 400
    assert store.counts(1) == {JobState.PENDING: 400 - recorded, JobState.SUBMITTING: recorded}
    store.close()
    again = SqliteStore.open(path)
    assert again.counts(1)[JobState.SUBMITTING] == recorded
    assert again.money(1).committed == recorded * 100
    again.close()


def test_a_full_disk_in_a_shared_transaction_undoes_all_of_it(path):
    store = filled(path, jobs=400)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 3}")

    def swallow_errors():
        with store.transaction():
            for number in range(1, 401):
                try:
                    store.record_intent(number, intent(number), cap=None, now=NOW)
                except StorageError as error:
                    failures.append(error)

    failures = []
    try:
        swallow_errors()
        recorded = 400 - len(failures)
    except StorageError:
        recorded = 0
    assert failures
    assert store.counts(1).get(JobState.SUBMITTING, 0) == recorded
    assert store._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    store.close()


def test_nothing_is_committed_alone_after_sqlite_undid_the_transaction(store):
    def claim_two():
        with store.transaction():
            store.record_intent(1, intent(1), cap=None, now=NOW)
            store._connection.execute("ROLLBACK")  # as SQLite does by itself on some errors
            with pytest.raises(StorageError, match="nothing of it is recorded"):
                store.record_intent(2, intent(2), cap=None, now=NOW)

    with pytest.raises(StorageError):
        claim_two()
    assert store.counts(1) == {JobState.PENDING: 3}
    assert store.record_intent(3, intent(3), cap=None, now=NOW)


TOO_BIG = """
import resource, signal, sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from batchrunner.errors import StorageError
from batchrunner.model import Intent
from batchrunner.store.rows import to_text, wanted_columns
from batchrunner.store.sqlite import SqliteStore
path = Path(sys.argv[1])
store = SqliteStore.open(path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = path.with_name(path.name + "-wal").stat().st_size + 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    for number in range(1, 401):
        intent = Intent(purchase_id=f"p{number}", body_sha256="d" * 64, price=1)
        store.record_intent(number, intent, cap=None, now=datetime(2026, 11, 22, tzinfo=UTC))
        print(number, flush=True)
except StorageError as error:
    print(error, file=sys.stderr)
    sys.exit(12)
"""


def test_a_write_that_the_file_system_refuses(path):
    filled(path, jobs=400).close()
    result = subprocess.run([sys.executable, "-c", TOO_BIG, path], capture_output=True, text=True, check=False)
    assert result.returncode == 12, result.stderr
    assert "Traceback" not in result.stderr
    store = SqliteStore.open(path)
    assert store.counts(1)[JobState.SUBMITTING] == len(result.stdout.splitlines()) > 0
    store.close()


def test_the_check_at_start_takes_no_longer_than_it_may(path, monkeypatch):
    """A big database is checked in part; what is damaged there SQLite says when it gets there."""
    filled(path).close()
    ticks = count()
    monkeypatch.setattr(connect.time, "monotonic", lambda: next(ticks))  # every look at the clock is a second later
    monkeypatch.setattr(connect, "_STEPS", 1)
    SqliteStore.open(path).close()
    assert next(ticks) <= 3


def test_a_copy_is_kept_of_what_is_migrated(path):
    old_database(path, 1, wanted(1)).close()
    SqliteStore.open(path).close()
    copy = path.with_name("batch.db.bak-v1")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
        assert old.execute("SELECT key FROM jobs").fetchall() == [("k1",)]
    assert not path.with_name("batch.db.bak-v1.part").exists()


def test_a_trigger_that_is_not_ours_is_not_let_in(path):
    filled(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER again AFTER UPDATE ON jobs BEGIN UPDATE jobs SET state = 'pending'; END")
        connection.execute("CREATE VIEW mine AS SELECT key FROM jobs")  # views do nothing by themselves
        connection.commit()
    with pytest.raises(StorageError, match="trigger that is not batchrunner's"):
        SqliteStore.open(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER again")
        connection.commit()
    SqliteStore.open(path).close()


def test_no_secret_has_a_place_in_the_database(path, store):
    columns = {
        row["name"]
        for table, _ in tables(store)
        for row in store._connection.execute(f"PRAGMA table_info({table})").fetchall()
    }
    assert {name for name in columns if re.search("url|token|secret|header|body|api_key|password", name)} == {
        "url",  # of assets, which refuses a query
        "base_url",  # of the proof that ids are replayed: the API's, which holds no user and no query
        "body_sha256",
        "body_started",
    }


def test_times_need_a_zone(store):
    with pytest.raises(ValueError, match="no time zone"):
        store.record_rejected(1, reason="r", message="m", now=datetime(2026, 1, 1))  # noqa: DTZ001
    assert store.job(1).state == JobState.PENDING


def test_only_the_store_speaks_sql():
    root = Path(connect.__file__).parent.parent
    speakers = {path.parent.name for path in root.rglob("*.py") if "import sqlite3" in path.read_text(encoding="utf-8")}
    assert speakers == {"store"}
