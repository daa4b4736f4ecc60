"""`batchrunner retry`: buy failed or cancelled jobs again. It shows what that may cost, and asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from batchrunner import app, plan
from batchrunner.cli.advice import command as following
from batchrunner.cli.advice import run_again
from batchrunner.cli.consent import consent
from batchrunner.cli.params import database_option, jobs_argument
from batchrunner.cli.words import plural, say
from batchrunner.errors import ExitCode, UsageError
from batchrunner.model import Batch, Job, WantedJob
from batchrunner.report import summary
from batchrunner.report.summary import PAID_FAILURES
from batchrunner.states import JobState
from batchrunner.store.base import Store

ENDED = (JobState.FAILED, JobState.CANCELLED)


@click.command()
@jobs_argument()
@click.option("--failed", is_flag=True, help="Every failed job of the batch.")
@click.option("--yes", is_flag=True, help="Without asking.")
@click.option("--note", default="retried by hand", show_default=True, help="Your words, for the job's history.")
@database_option
def command(words: tuple[str, ...], failed: bool, yes: bool, note: str, database: Path | None) -> ExitCode:
    """Buy failed or cancelled JOBs (keys or globs) again, as new purchases: the next `run` sends them.

    What `batchrunner fetch` can collect without paying again should be fetched first.
    """
    with app.deciding(database, words, states=(JobState.FAILED,)) as (store, found):
        if not failed and not found.named:
            raise UsageError("retry needs jobs, or --failed; nothing was changed", fix="batchrunner retry --failed")
        jobs = [job for job in found.jobs if job.state in ((JobState.FAILED,) if failed else ENDED)]
        _explain_others(found.batch, found.jobs, jobs, database)
        if not jobs:
            say(f"{found.batch.name}: nothing to buy again")
            return ExitCode.DONE
        _show(store, found.batch, jobs, database)
        if not yes:
            clips = plural(len(jobs), "clip")
            consent(f"Buy {clips} again?", needs=f"buying {clips} again needs", refused="nothing was changed", fix="")
        with store.transaction():
            count = sum(store.record_retried(job.id, note=note, now=app.now()) for job in jobs)
    say(f"{found.batch.name}: {plural(count, 'job')} pending again; nothing is sent yet")
    say(f"next: {run_again(found.batch, database)}   (sends {'it' if count == 1 else 'them'})")
    return ExitCode.DONE


def _show(store: Store, batch: Batch, jobs: list[Job], database: Path | None) -> None:
    """What it comes to, and what need not be paid for."""
    for reason, count in Counter(job.reason or job.state.value for job in jobs).most_common():
        keys = [job.key for job in jobs if (job.reason or job.state.value) == reason]
        say(f"  {count} {reason}: {', '.join(keys[:5])}{' …' if count > 5 else ''}", err=True)
    seconds = plan.billed_seconds(plan.purchases(jobs))
    bill = " · ".join(f"{key} {total} s" for key, total in sorted(seconds.items()))
    say(f"  buys {bill} anew{price_of(store, batch, jobs)}", err=True)
    if any(job.reason in PAID_FAILURES for job in jobs):
        free = following("fetch", batch.name, "--failed", database=database)
        say(f"  free of charge, and worth trying first: {free}", err=True)


def price_of(store: Store, batch: Batch, jobs: Sequence[Job | WantedJob]) -> str:
    """By what the batch has paid for such clips; `run` asks again with the manifest's own prices."""
    paid = {_kind(job): job.price for job in store.jobs(batch.id, wanted_only=False) if job.price is not None}
    prices = [paid.get(_kind(job)) for job in jobs]
    known = [price for price in prices if price is not None]
    if not known:
        return ""
    rest = "" if len(known) == len(prices) else f", and {len(prices) - len(known)} without a known price"
    return f": {summary.amount(sum(known), batch.currency)}{rest}"


def _kind(job: Job | WantedJob) -> tuple[str, int]:
    return job.request.billing_key, job.request.duration


def _explain_others(batch: Batch, named: tuple[Job, ...], jobs: list[Job], database: Path | None) -> None:
    """Why a job that was named is not bought again."""
    taken = {job.id for job in jobs}
    for job in named:
        if job.id in taken:
            continue
        why = {
            JobState.PENDING: "waits to be sent already",
            JobState.DONE: "is done: it is not bought again",
            JobState.IN_DOUBT: f"may be bought already: {following('doubt', 'check', batch.name, database=database)}",
            JobState.CANCELLED: "was cancelled, and did not fail",
        }.get(job.state, "is at the provider, and paid for")
        say(f"  {job.key} {why}", err=True)
