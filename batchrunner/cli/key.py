"""`batchrunner key`: a key with a cap that the provider holds, written to a file and shown nowhere."""

from __future__ import annotations

import os
import shlex
from datetime import timedelta
from pathlib import Path

import click

from batchrunner import app, operations, spendkey
from batchrunner.cli.params import Amount, Duration, no_proxy_option
from batchrunner.cli.words import say, shown
from batchrunner.errors import ExitCode, UsageError
from batchrunner.report.summary import amount


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--max-cost", "cap", type=Amount(), required=True, help="What it may ever spend, in USD.")
@click.option("--name", help="What the provider's console calls it [the file's name].")
@click.option("--expires", type=Duration(), metavar="30d", help="After how long it is of no use any more [never].")
@no_proxy_option
def command(file: Path, cap: int, name: str | None, expires: timedelta | None) -> ExitCode:
    """Have the provider make a key that can spend so much and no more, on kling-v3 alone, and write it into FILE.

    FILE is new, for its owner only, and as `schedule --env-file` takes it. The key is shown nowhere. It costs nothing.
    """
    name = name or file.stem[: spendkey.MAX_NAME]
    if not 0 < len(name) <= spendkey.MAX_NAME:
        raise UsageError(f"--name has 1 to {spendkey.MAX_NAME} characters; nothing was sent", fix="--name night")
    credits = spendkey.credits_of(cap)
    if credits < 1:
        raise UsageError("a key that may spend nothing is of no use; nothing was sent", fix="--max-cost 25")
    until = None if expires is None else app.now() + expires
    holds = operations.capped_key(file, os.environ, name=name, credits=credits, expires=until)
    end = "" if until is None else f", until {until.astimezone():%Y-%m-%d %H:%M}"
    say(f"key {name!r}: {amount(cap, 'USD')} in all ({credits} credits){end}; written to {shown(file)}")
    if not holds:
        say("  the provider does not show that limit in the key's balance: look into its console before you rely on it")
    place = shlex.quote(str(file.absolute()))
    say(f"next: set -a; . {place}; set +a   (this shell buys with it from then on)")
    say("      its balance is its own, and so is the audit of what it buys")
    return ExitCode.DONE
