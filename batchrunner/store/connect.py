"""Opens the database file: for the one run that writes, or for any number of readers that do not.

Only one connection may write or checkpoint (SQLite before 3.51.3 can corrupt a WAL that two connections reset at once);
readers open the file with `mode=ro`, which can do neither.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path

from batchrunner.durable import make_folder, sync_folder
from batchrunner.errors import StorageError
from batchrunner.store import schema
from batchrunner.store.faults import BUSY_SECONDS, damaged, not_a_database, told_as_storage_error

MAGIC = b"SQLite format 3\0"
QUICK_CHECK_SECONDS = 0.5
"""What a look for damage may take at every start; 16 MB take about 0.1 s, 1 GB ten."""
_STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock."""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The read-write connection; a new file is made for its owner only, and what is not ours is refused untouched."""
    make_private_folder(path.parent)
    make_private_file(path)
    _refuse_strangers(path)
    connection = _connect(f"{path.resolve().as_uri()}?mode=rw")
    try:
        version = _version(connection, path)
        _quick_check(connection, path)
        _refuse_triggers(connection, path)
        _make_durable(connection, path)
        if version < schema.VERSION:
            if version:
                _back_up(connection, path, version)
            schema.migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, *, scratch: bool = False) -> sqlite3.Connection:
    """A connection that cannot write and that no writer has to wait for.

    With `scratch` it may have temporary tables of its own, which lie elsewhere: the file itself is opened for reading
    only either way. What an older version wrote is read as it is now, from a copy that is brought up to date.
    """
    if not path.exists():
        raise _nothing_here(path)
    _refuse_strangers(path)
    uri = path.resolve().as_uri()
    connection = _connect(f"{uri}?mode=ro")
    try:
        return _checked_for_reading(connection, path, scratch=scratch)
    except sqlite3.OperationalError:
        connection.close()
        # WAL needs its index file, which a folder that we may not write to lacks once the last run closed cleanly;
        # then nobody is writing and the file is complete by itself
        if _wal_size(path) or os.access(path.parent, os.W_OK):
            raise
        return _checked_for_reading(_connect(f"{uri}?immutable=1"), path, scratch=scratch)
    except BaseException:
        connection.close()
        raise


def is_of_today(path: Path) -> bool:
    """Whether the database has the schema of this version: an older one is read from a copy, which takes its time."""
    with told_as_storage_error(path), closing(_connect(f"{path.resolve().as_uri()}?mode=ro")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0]) == schema.VERSION


def faults_in(path: Path) -> list[str]:
    """What is wrong with a whole database, page by page and row by row; a second for each 100 MB or so."""
    with told_as_storage_error(path):
        connection = open_for_reading(path)
        try:
            told = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
            strays = connection.execute("PRAGMA foreign_key_check").fetchall()
        finally:
            connection.close()
    return [line for line in told if line != "ok"] + [f"a row of {row[0]} belongs to nothing" for row in strays]


def open_nothing() -> sqlite3.Connection:
    """A database without a file that holds nothing: what a plan is compared with where nothing was run yet."""
    connection = _connect("file:?mode=memory")
    for statements in schema.STEPS.values():
        for statement in statements:
            connection.execute(statement)
    return connection


def make_private_folder(folder: Path) -> None:
    """The folder, made for its owner only if it is new."""
    make_folder(folder, mode=0o700)


def make_private_file(path: Path) -> None:
    """The file, made empty and for its owner only if it is new, whatever the umask."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(descriptor)
    sync_folder(path.parent)


def _connect(uri: str) -> sqlite3.Connection:
    """Transactions are ours to begin; the writer's commits run in a worker thread."""
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA trusted_schema = OFF")
    # The plan shows what `--only` selects; the database must not have an opinion of its own, as its GLOB would.
    connection.create_function("key_matches", 2, fnmatchcase, deterministic=True)
    return connection


def _refuse_strangers(path: Path) -> None:
    """Look at the file before SQLite does: it would take an empty one for new and delete the WAL beside it."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head and head != MAGIC:
        raise not_a_database(path)
    if not head and _wal_size(path):
        raise damaged(path, "the file is empty, but the journal beside it is not")


def _wal_size(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the schema, 0 for a new file; another program's database and a newer schema are refused."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    is_new = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application != schema.APPLICATION_ID and not is_new:
        raise StorageError(
            f"{path} is the database of another program; it was left untouched and nothing was sent",
            fix="choose another file with --db PATH",
        )
    if version > schema.VERSION:
        raise StorageError(
            f"{path} was written by a newer batchrunner (schema {version}, this one knows {schema.VERSION}); "
            "it was left untouched and nothing was sent",
            fix="update batchrunner: pip install --upgrade batchrunner",
        )
    return 0 if is_new else version


def _quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """Look for damage for as long as that may take: what is found is refused, the rest SQLite finds when it gets there."""
    until = time.monotonic() + QUICK_CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if verdict != "ok":
        raise damaged(path, str(verdict).splitlines()[-1])  # the first may only name the database


def _refuse_triggers(connection: sqlite3.Connection, path: Path) -> None:
    """A trigger acts by itself, on every change of ours: one that we did not make is not let in."""
    known = {" ".join(statement.split()) for statements in schema.STEPS.values() for statement in statements}
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"):
        if " ".join(sql.split()) not in known:
            raise StorageError(
                f"{path} holds a trigger that is not batchrunner's ({name!r}); it was left untouched and nothing was sent",
                fix="remove the trigger, or put a backup of the file in its place",
            )


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """A copy of the database as it was before its schema changes, durable before anything does."""
    copy = path.with_name(f"{path.name}.bak-v{version}")
    part = copy.with_name(copy.name + ".part")
    part.unlink(missing_ok=True)
    make_private_file(part)
    with closing(sqlite3.connect(part)) as target:
        connection.backup(target)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(copy)
    sync_folder(copy.parent)


def _make_durable(connection: sqlite3.Connection, path: Path) -> None:
    """Every commit is on the disk before it is reported, and every rule of the schema is enforced."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StorageError(
            f"the file system of {path} cannot share memory between programs, which the database needs; nothing was sent",
            fix="choose a local disk with --db PATH",
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if sys.platform == "darwin":  # its fsync leaves the data in the drive's cache
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")


def _checked_for_reading(connection: sqlite3.Connection, path: Path, *, scratch: bool) -> sqlite3.Connection:
    version = _version(connection, path)
    if version == 0:
        raise _nothing_here(path)
    if version < schema.VERSION:
        connection = _brought_up_to_date(connection, path)
    if not scratch:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _brought_up_to_date(old: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """A copy of what an older version wrote, with the schema of today; the file itself is for the next run to migrate.

    It is a temporary file of SQLite's own, which has no name and is gone when it is closed.
    """
    copy = _connect("")
    try:
        with closing(old):
            old.backup(copy)
        _refuse_triggers(copy, path)
        schema.migrate(copy)
    except BaseException:
        copy.close()
        raise
    return copy


def _nothing_here(path: Path) -> StorageError:
    return StorageError(
        f"there is no database at {path}; nothing has been run here yet",
        fix="run a manifest first, or name its database with --db PATH",
    )
