"""The auditor: what the server sold against what the product says, job by job and file by file."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .world import DATABASE, Server, World

UNKNOWN = ("submitting", "in_doubt")
BOUGHT = ("running", "fetching", "done")


@dataclass(frozen=True, slots=True)
class Sale:
    """One accepted submission, by whichever server."""

    task_id: str
    own_id: str
    prompt: str
    body_sha256: str


def sales(server: Server) -> list[Sale]:
    """What the independent server sold."""
    return [
        Sale(line["id"], line["body"]["client_business_id"], line["body"]["prompt"], line["body_sha256"])
        for line in server.ledger
    ]


def audit(world: World, sold: list[Sale], *, database: str = DATABASE) -> Counter[str]:
    """Fail unless the books agree (reliability notes §3); returns the jobs by state."""
    jobs = world.rows(database)
    assert _attempts_agree(world.cwd / database, sold) == []
    by_own_id = {job["purchase_id"]: job for job in jobs if job["purchase_id"]}
    twice = [own for own, count in Counter(sale.own_id for sale in sold).items() if count > 1]
    assert twice == [], "bought twice"
    for sale in sold:
        job = by_own_id.get(sale.own_id)
        assert job is not None, f"nobody remembers {sale}"
        assert job["prompt"] == sale.prompt
        assert job["task_id"] == sale.task_id or job["state"] in UNKNOWN, f"{job} lost {sale}"
    known = {sale.task_id: sale for sale in sold}
    for job in jobs:
        assert job["state"] != "pending" or job["purchase_id"] not in {sale.own_id for sale in sold}, job
        if job["task_id"] is not None:
            assert known[job["task_id"]].prompt == job["prompt"]
        assert job["task_id"] is not None or job["state"] not in BOUGHT, job
    tasks = [job["task_id"] for job in jobs if job["task_id"]]
    assert len(tasks) == len(set(tasks)), "two jobs share a task"
    return Counter(job["state"] for job in jobs)


def audit_files(world: World, server: Server, *, folder: str = "out") -> None:
    """Every clip that is done is the one that was sold as its task, and nothing else has a clip's name or is half there."""
    done = {Path(job["output"]): job for job in world.rows() if job["state"] == "done"}
    found = {path for path in (world.cwd / folder).rglob("*") if path.is_file()}
    assert found == set(done)
    for path, job in done.items():
        assert path.read_bytes() == server.clip_of(job["task_id"]), f"{path} is not {job['task_id']}"


def _attempts_agree(database: Path, sold: list[Sale]) -> list[str]:
    """The database is whole, and every body that was sold was intended, byte by byte."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        intended = set(connection.execute("SELECT purchase_id, body_sha256 FROM attempts"))
    return [sale.own_id for sale in sold if (sale.own_id, sale.body_sha256) not in intended]


def leaks(folder: Path, secret: str, *, but: tuple[str, ...] = ()) -> list[str]:
    """The files under a folder that hold a secret, in any spelling that a careless writer would use."""
    spellings = {secret.encode(), secret.encode("utf-16-le"), secret.encode().hex().encode()}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in but]
    return [str(path) for path in files if any(spelling in path.read_bytes() for spelling in spellings)]


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
