"""`batchrunner ls`: the jobs of a batch, for people and for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from batchrunner import app
from batchrunner.cli.advice import after_doubts, after_failures, run_again, ways
from batchrunner.cli.params import batch_argument, database_option
from batchrunner.cli.tables import csv_line
from batchrunner.cli.words import printable, put, say, shown
from batchrunner.errors import ExitCode
from batchrunner.model import Job
from batchrunner.standing import NOT_FINAL
from batchrunner.states import JobState

FIELDS = ("key", "state", "reason", "task_id", "attempts", "output", "price", "prompt", "message")


@click.command()
@batch_argument
@database_option
@click.option("--state", type=click.Choice([state.value for state in JobState]), help="Only jobs in this state.")
@click.option("--format", "form", type=click.Choice(["table", "jsonl", "csv"]), default="table", show_default=True)
def command(batch: str | None, database: Path | None, state: str | None, form: str) -> ExitCode:
    """The jobs of BATCH in the manifest's order; by default of the batch last worked on."""
    states = (JobState(state),) if state else ()
    with app.reading(database, batch) as (store, found):
        # What is open is never hidden, not even when the manifest has dropped it.
        dropped_too = any(one in NOT_FINAL for one in states)
        jobs = store.jobs(found.id, states=states, wanted_only=not dropped_too)
        reasons: dict[JobState, set[str]] = {}
        if form == "table":
            jobs = _noting(jobs, reasons)
        lines = {"jsonl": _jsonl, "csv": _csv, "table": _table}[form](jobs)
        for text in lines:
            if not put(text):
                break
    helping = after_doubts(found.name, database) if JobState.IN_DOUBT in reasons else iter(())
    if JobState.FAILED in reasons:
        helping = chain(
            helping, after_failures(found.name, reasons[JobState.FAILED], database, again=run_again(found, database))
        )
    for line in ways(helping):
        say(line, err=True)
    return ExitCode.DONE


def _noting(jobs: Iterable[Job], reasons: dict[JobState, set[str]]) -> Iterator[Job]:
    """The jobs as they are, and in `reasons` the states that were among them."""
    for job in jobs:
        reasons.setdefault(job.state, set()).add(job.reason or "")
        yield job


def _record(job: Job) -> dict[str, Any]:
    return {
        "key": job.key,
        "state": job.state.value,
        "reason": job.reason,
        "task_id": job.task_id,
        "attempts": job.attempts,
        "output": job.clip.path if job.clip else None,
        "price": None if job.price is None else job.price / 1_000_000,
        "prompt": job.request.prompt,
        "message": job.message,
        "purchase_id": job.purchase_id,
        "mode": job.request.mode.value,
        "duration": job.request.duration,
        "aspect_ratio": job.request.aspect_ratio.value,
        "audio": job.request.audio,
        "billing": job.request.billing_key,
    }


def _jsonl(jobs: Iterable[Job]) -> Iterator[str]:
    for job in jobs:
        yield json.dumps(_record(job), ensure_ascii=False) + "\n"


def _csv(jobs: Iterable[Job]) -> Iterator[str]:
    yield csv_line(FIELDS)
    for job in jobs:
        record = _record(job)
        yield csv_line([record[field] for field in FIELDS])


def _table(jobs: Iterable[Job]) -> Iterator[str]:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    table.add_column("key", overflow="ellipsis", no_wrap=True, ratio=2)
    table.add_column("state", no_wrap=True, width=len("submitting"))
    table.add_column("why or where", overflow="ellipsis", no_wrap=True, ratio=3)
    table.add_column("prompt", overflow="ellipsis", no_wrap=True, ratio=2)
    for job in jobs:
        cells = (job.key, job.state.value, _why_or_where(job), job.request.prompt)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console = Console(file=sys.stdout or io.StringIO(), emoji=False, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    yield capture.get()


def _why_or_where(job: Job) -> str:
    if job.clip is not None:
        return shown(Path(job.clip.path))
    return " ".join(filter(None, (job.reason, job.message))) or job.task_id or ""
