"""The command that comes next, whole, so that it can be copied; where two would do, the free one first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from batchrunner import app
from batchrunner.cli.words import shown
from batchrunner.model import Batch, Job
from batchrunner.nights import date_option
from batchrunner.rehearsing import EMULATOR
from batchrunner.report.summary import PAID_FAILURES, REFUSALS
from batchrunner.states import JobState

EDITED = "once what was refused is edited: sends it as it is then"


def command(*words: str, database: Path | None = None) -> str:
    """`batchrunner WORDS`, with `--db` where it is not the usual one."""
    elsewhere = [] if database is None or is_same(database, app.DATABASE) else ["--db", str(database)]
    return shlex.join(["batchrunner", *words, *elsewhere])


def is_same(database: Path, other: Path) -> bool:
    """Whether two words are about one file, seen from the folder that the commands are given in."""
    return database.absolute() == other.absolute()


def run_again(batch: Batch, database: Path | None) -> str:
    """The command that continues a batch."""
    if batch.manifest is None:
        return "the `batchrunner run …` command that began it"
    emulated = ["--emulator"] if batch.endpoint == EMULATOR else []
    usual = app.REHEARSAL_DATABASE if emulated else app.DATABASE
    elsewhere = None if database is None or is_same(database, usual) else database
    return command("run", shown(Path(batch.manifest)), *emulated, *date_option(batch.name), database=elsewhere)


def after_failures(
    batch: str, reasons: Iterable[str], database: Path | None, *, again: str
) -> Iterator[tuple[str, str]]:
    """Commands that help with failed jobs of these reasons, and what each does; `again` continues the batch."""
    found = set(reasons)
    if PAID_FAILURES & found:
        free = "asks the provider once more for what was paid for: free of charge"
        yield command("fetch", batch, "--failed", database=database), free
    if not found or found - REFUSALS:
        again = "buys them again: shows the price and asks"
        yield command("retry", batch, "--failed", database=database), again
    if REFUSALS & found:
        yield again, EDITED


def after_doubts(batch: str, database: Path | None) -> Iterator[tuple[str, str]]:
    """The command that helps with doubts first of all."""
    yield command("doubt", "check", batch, database=database), "looks them up at the provider: free of charge"


def ways(helping: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The lines of the commands that help: the first is what comes next, the others would do as well."""
    for number, (words, does) in enumerate(helping):
        yield f"{'next:' if not number else '  or:'} {words}"
        yield f"      ({does})"


def for_job(batch: Batch, job: Job, database: Path | None) -> Iterator[tuple[str, str]]:
    """Commands that help with one job, and what each does."""
    gone = job.state is JobState.DONE and job.clip is not None and not Path(job.clip.path).exists()
    if gone or (job.state is JobState.FAILED and job.reason in PAID_FAILURES):
        yield command("fetch", batch.name, job.key, database=database), "collects it again: free of charge"
    if job.state is JobState.FAILED and job.reason in REFUSALS:
        yield run_again(batch, database), EDITED
    elif job.state in (JobState.FAILED, JobState.CANCELLED):
        yield command("retry", batch.name, job.key, database=database), "buys it again: shows the price and asks"
    elif job.state is JobState.IN_DOUBT:
        yield command("doubt", "check", batch.name, database=database), "looks it up at the provider: free of charge"
    elif job.state is JobState.PENDING:
        yield run_again(batch, database), "sends it"
    elif job.state is not JobState.DONE:
        yield run_again(batch, database), "collects it"
