"""`batchrunner doctor`: whether everything is ready for a run; `--prove-replay` is the one part that pays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from batchrunner import doctor, operations, replay
from batchrunner.cli.advice import command as following
from batchrunner.cli.consent import consent
from batchrunner.cli.params import database_option, no_proxy_option
from batchrunner.cli.words import printable, put, say
from batchrunner.errors import ExitCode
from batchrunner.settings import POLL_FLOOR

MARKS = {doctor.Level.OK: "✓", doctor.Level.NOTE: "!", doctor.Level.WRONG: "✗"}


@click.command()
@click.option("--online", is_flag=True, help="Also ask the provider for the balance, which costs nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--prove-replay", is_flag=True, help="Buy one clip, to see that a repeated purchase id buys nothing twice."
)
@click.option("--yes", is_flag=True, help="Buy it without asking.")
@click.option("--every", type=click.FloatRange(min=0.05), default=POLL_FLOOR, hidden=True)
@database_option
@no_proxy_option
def command(
    online: bool, as_json: bool, prove_replay: bool, yes: bool, every: float, database: Path | None
) -> ExitCode:
    """Look at the key, the address, the disk, the database, the libraries and the terminal; the key is never shown."""
    if prove_replay:
        return _prove_replay(database, yes=yes, every=every)
    findings = operations.diagnose(database, os.environ, online=online)
    if as_json:
        document = [{"name": one.name, "level": one.level.value, "text": one.text, "fix": one.fix} for one in findings]
        put(json.dumps({"schema": "batchrunner/doctor@1", "findings": document}, ensure_ascii=False) + "\n")
        return doctor.exit_code(findings)
    for one in findings:
        say(printable(f"{MARKS[one.level]} {one.name:<9} {one.text}"))
        if one.fix:
            say(printable(f"  {'':<9} fix: {one.fix}"))
    if not online:
        say("next: batchrunner doctor --online   (asks for the balance: free of charge)")
    return doctor.exit_code(findings)


def _prove_replay(database: Path | None, *, yes: bool, every: float) -> ExitCode:
    """The one part of `doctor` that pays."""
    request = replay.REQUEST
    say(
        f"  this buys one clip: {request.model} {request.mode.value} {request.duration} s, and sends its request four times",
        err=True,
    )
    say(
        "  if a repeated purchase id is not recognised it may buy four; let nothing else use the key meanwhile",
        err=True,
    )
    if not yes:
        consent(
            "Buy it?",
            needs="buying a clip needs",
            refused="nothing was sent",
            fix="look free of charge: batchrunner doctor --online",
        )
    trial = operations.prove_replay(database, os.environ, floor=every)
    mark, verdict = ("✓", "proven") if trial.holds else ("✗", "not proven")
    say(printable(f"{mark} replay    {verdict}: {trial.why}"))
    say(f"next: {following('fetch', replay.BATCH, database=database)}   (collects the clip, task {trial.task_id})")
    return ExitCode.DONE if trial.holds else ExitCode.SOME_FAILED
