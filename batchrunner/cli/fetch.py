"""`batchrunner fetch`: collect finished work again. It costs nothing and can never submit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from batchrunner import operations
from batchrunner.cli import progress
from batchrunner.cli.advice import command as following
from batchrunner.cli.advice import run_again
from batchrunner.cli.params import database_option, jobs_argument, no_proxy_option
from batchrunner.cli.words import plural, say, shown
from batchrunner.collection import Collection, Wanted, exit_code
from batchrunner.errors import ExitCode
from batchrunner.report import summary
from batchrunner.runner.loop import Outcome
from batchrunner.states import JobState

SHOWN = 5


@click.command()
@jobs_argument()
@click.option("--failed", is_flag=True, help="Also failed jobs whose task was paid for: expired, bad_file, vanished.")
@click.option("--out", type=click.Path(path_type=Path), help="Where clips go [where the batch's clips went].")
@click.option("--note", default="fetched by hand", show_default=True, help="Your words, for the jobs' history.")
@click.option("--progress", "mode", type=click.Choice(progress.MODES), default="auto", show_default=True)
@database_option
@no_proxy_option
def command(
    words: tuple[str, ...], failed: bool, out: Path | None, note: str, mode: str, database: Path | None
) -> ExitCode:
    """Download again what was paid for and is not here: deleted or damaged clips, and what is still at the provider.

    By name (JOB: keys or globs) also failed jobs, and done ones whose copy at the provider should have expired.
    """
    with operations.open_collection(database, words, failed=failed, out=out, environ=os.environ) as collection:
        _say_others(collection.wanted)
        if not collection.wanted.jobs:
            say(f"{collection.batch.name}: nothing to collect")
            return ExitCode.DONE
        say(
            f"{collection.batch.name}: collecting {plural(len(collection.wanted.jobs), 'clip')}, free of charge",
            err=True,
        )
        resolved = progress.resolve(mode, sys.stderr)
        with progress.view(resolved, collection.batch.name, len(collection.wanted.jobs)) as listener:
            outcome = collection.execute(listener, note=note)
        code = exit_code(outcome)
        _say_end(collection, outcome, code, database)
        return code


def _say_others(wanted: Wanted) -> None:
    for jobs, why in (
        (wanted.here, "here already"),
        (wanted.lost, "not where it was put, and expired at the provider; name it to ask all the same"),
        (wanted.unpaid, "nothing was paid for it"),
    ):
        if jobs:
            more = f" and {len(jobs) - SHOWN} more" if len(jobs) > SHOWN else ""
            say(f"  {', '.join(job.key for job in jobs[:SHOWN])}{more}: {why}", err=True)


def _say_end(collection: Collection, outcome: Outcome, code: ExitCode, database: Path | None) -> None:
    batch = collection.batch
    say(f"{batch.name}: {summary.standing(outcome.counts)}")
    if outcome.counts.get(JobState.DONE):
        say(f"  clips   {shown(collection.folder.root)}")
    if outcome.counts.get(JobState.FAILED):
        say(
            f"next: {following('retry', batch.name, '--failed', database=database)}   (buys again what cannot be had: asks)"
        )
    elif code is not ExitCode.DONE:
        say(f"next: {following('fetch', batch.name, database=database)}   (the same again: nothing is paid for)")
    else:
        say(f"next: {run_again(batch, database)}")
