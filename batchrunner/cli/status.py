"""`batchrunner status`: where a batch stands. It only reads, and never waits for a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from batchrunner import app
from batchrunner.cli.advice import after_doubts, after_failures, run_again, ways
from batchrunner.cli.params import batch_argument, database_option
from batchrunner.cli.words import put
from batchrunner.errors import ExitCode
from batchrunner.report import summary
from batchrunner.standing import NOT_FINAL, Standing
from batchrunner.states import JobState


@click.command()
@batch_argument
@database_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(batch: str | None, database: Path | None, as_json: bool) -> ExitCode:
    """Where BATCH stands; by default the one last worked on."""
    standing = app.standing(database, batch)
    found, money = standing.batch, standing.money
    if as_json:
        document = {
            "schema": "batchrunner/status@1",
            "batch": found.name,
            "endpoint": found.endpoint,
            "counts": {state.value: count for state, count in standing.counts.items()},
            "dropped": {state.value: count for state, count in standing.dropped.items()},
            "paused": found.paused,
            "spent": money.spent / 1_000_000,
            "committed": money.committed / 1_000_000,
            "currency": found.currency,
            "seconds": money.seconds,
            "unpriced": money.unpriced,
            "expected_finish": summary.finish_as_json(standing.eta, standing.at),
        }
        put(json.dumps(document, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    put(f"{found.name}: {summary.standing(standing.counts)}" + "\n")
    if standing.dropped:
        put(f"  dropped from the manifest, still open: {summary.standing(standing.dropped)}\n")
    put(f"  bought  {summary.bought(money, found.currency)}" + "\n")
    put(f"  from    {found.endpoint}" + "\n")
    if standing.eta is not None:
        put(f"  ends    {summary.finish(standing.eta, standing.at)}, while a run works on it\n")
    if found.paused:
        put(f"  paused  {found.paused}: run the same command again when it is mended" + "\n")
    for line in ways(_helping(standing, database)):
        put(line + "\n")
    return ExitCode.DONE


def _helping(standing: Standing, database: Path | None) -> Iterator[tuple[str, str]]:
    """What comes next: what is free of charge before what is paid for."""
    batch, counts = standing.batch, Counter(standing.counts) + Counter(standing.dropped)
    if counts[JobState.IN_DOUBT]:
        yield from after_doubts(batch.name, database)
    if sum(counts[state] for state in (*NOT_FINAL, JobState.PENDING)) - counts[JobState.IN_DOUBT]:
        yield run_again(batch, database), "continues it"
    if counts[JobState.FAILED]:
        yield from after_failures(batch.name, standing.failed, database, again=run_again(batch, database))
