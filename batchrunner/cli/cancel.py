"""`batchrunner cancel`: jobs that are not sent yet are not sent; what is in flight is still collected."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner import app
from batchrunner.cli.advice import command as following
from batchrunner.cli.advice import run_again
from batchrunner.cli.params import database_option, jobs_argument
from batchrunner.cli.words import plural, say
from batchrunner.errors import ExitCode
from batchrunner.standing import NOT_FINAL
from batchrunner.states import JobState
from batchrunner.store.base import Changes

OPEN = (*NOT_FINAL, JobState.PENDING)


@click.command()
@jobs_argument(required=True)
@click.option("--note", default="cancelled by hand", show_default=True, help="Your words, for the job's history.")
@database_option
def command(words: tuple[str, ...], note: str, database: Path | None) -> ExitCode:
    """Send nothing more of a BATCH, or of some JOBs of it (keys or globs). What is in flight is paid for and still collected.

    A take of `reroll` that failed is dropped: no manifest asks for it, so nothing else would ever let its batch end well.
    """
    with app.deciding(database, words, states=OPEN) as (store, found):
        waiting = [job for job in found.jobs if job.state is JobState.PENDING]
        flying = [job for job in found.jobs if job.state in NOT_FINAL]
        asked = {one.key for one in store.asked(found.batch.id)}
        dropped = [job for job in found.jobs if found.named and job.state is JobState.FAILED and job.key in asked]
        with store.transaction():
            if dropped:
                store.apply(found.batch.id, Changes(orphaned=tuple(job.id for job in dropped)), now=app.now())
            cancelled = sum(store.record_cancelled(job.id, note=note, now=app.now()) for job in waiting)
    batch = found.batch
    say(
        f"{batch.name}: {plural(cancelled, 'job')} cancelled, nothing was paid for {'it' if cancelled == 1 else 'them'}"
    )
    if dropped:
        say(
            f"  {plural(len(dropped), 'failed take')} dropped: {'it counts' if len(dropped) == 1 else 'they count'} no more"
        )
    if flying:
        say(f"  {plural(len(flying), 'job')} sent already: paid for, and collected by {run_again(batch, database)}")
    if found.named and (final := len(found.jobs) - len(waiting) - len(flying) - len(dropped)):
        say(f"  {plural(final, 'job')} over already: left as they are")
    if cancelled:
        say(f"next: {following('retry', batch.name, 'KEY', database=database)}   (to send one after all)")
    return ExitCode.DONE
