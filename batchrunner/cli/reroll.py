"""`batchrunner reroll`: buy more takes of jobs. The old files stay; what the manifest says stays out of it."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner import app, request, takes
from batchrunner.cli.advice import command as following
from batchrunner.cli.advice import run_again
from batchrunner.cli.consent import consent
from batchrunner.cli.params import database_option, jobs_argument
from batchrunner.cli.retry import price_of
from batchrunner.cli.words import plural, say
from batchrunner.errors import ExitCode, UsageError
from batchrunner.model import Job, WantedJob
from batchrunner.plan import billed_seconds, purchases
from batchrunner.states import FINAL, JobState
from batchrunner.store.base import Store


@click.command()
@jobs_argument(required=True, metavar="[BATCH] JOB…")
@click.option("--takes", "count", type=click.IntRange(1, 100), default=1, show_default=True, help="How many of each.")
@click.option("--prompt", help="Ask for this instead of the job's prompt.")
@click.option("--note", default="rerolled by hand", show_default=True, help="Why, for the database.")
@click.option("--yes", is_flag=True, help="Without asking.")
@database_option
def command(
    words: tuple[str, ...], count: int, prompt: str | None, note: str, yes: bool, database: Path | None
) -> ExitCode:
    """Buy more takes of JOBs (keys or globs) that are done, as jobs KEY/t2, KEY/t3, …: the next `run` sends them.

    They belong to you and not to the manifest: `run` keeps them whatever it says, until you cancel them.
    """
    with app.deciding(database, words) as (store, found):
        if not found.named:
            raise UsageError("reroll needs jobs; nothing was changed", fix=f"batchrunner ls {found.batch.name}")
        if open_jobs := [job.key for job in found.jobs if job.state not in FINAL]:
            raise UsageError(
                f"{', '.join(open_jobs[:5])} has not ended yet: another take is for what was seen; nothing was changed",
                fix=run_again(found.batch, database),
            )
        if clipless := [job.key for job in found.jobs if job.state is not JobState.DONE]:
            raise UsageError(
                f"{', '.join(clipless[:5])} has no clip: another take is for what was seen; nothing was changed",
                fix=f"{following('retry', found.batch.name, clipless[0], database=database)} buys the same again; "
                "for another prompt, edit the manifest",
            )
        made = _takes(store, found.batch.id, found.jobs, count, prompt)
        wanted = [take for _, several in made for take in several]
        bill = " · ".join(f"{key} {total} s" for key, total in sorted(billed_seconds(purchases(wanted)).items()))
        say(
            f"  buys {bill}{price_of(store, found.batch, wanted)}: {', '.join(take.key for take in wanted[:5])}",
            err=True,
        )
        if not yes:
            clips = plural(len(wanted), "more take")
            consent(f"Buy {clips}?", needs=f"buying {clips} needs", refused="nothing was changed", fix="")
        with store.transaction():
            for job, several in made:
                store.add_takes(job.id, several, note=note, now=app.now())
    say(f"{found.batch.name}: {plural(len(wanted), 'job')} added; nothing is sent yet")
    say(f"next: {run_again(found.batch, database)}   (sends {'it' if len(wanted) == 1 else 'them'})")
    return ExitCode.DONE


def _takes(
    store: Store, batch_id: int, jobs: tuple[Job, ...], count: int, prompt: str | None
) -> list[tuple[Job, list[WantedJob]]]:
    places = {one.key: place for place, one in enumerate(store.jobs(batch_id, wanted_only=False))}
    made = []
    for job in jobs:
        several = takes.more(job, count, prompt=prompt, keys=places.keys(), position=places[job.key])
        places |= {take.key: take.position for take in several}
        if wrong := request.violations(several[0].request):
            raise UsageError(f"{wrong[0].message}; nothing was changed", fix=wrong[0].help)
        made.append((job, several))
    return made
