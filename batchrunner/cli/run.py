"""`batchrunner run`: show the plan, ask, work, and say how it ended and what comes next."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import date, time, timedelta
from pathlib import Path
from typing import Literal

import click

from batchrunner import app, settings
from batchrunner.cli import closing, progress
from batchrunner.cli.consent import consent
from batchrunner.cli.params import (
    Amount,
    Day,
    Duration,
    Hours,
    Seconds,
    TimeOfDay,
    allow_option,
    database_option,
    only_option,
    set_option,
    tag_option,
)
from batchrunner.cli.words import say, shown
from batchrunner.errors import ExitCode, UsageError
from batchrunner.manifest.diagnostics import render_text
from batchrunner.moments import Window
from batchrunner.session import EMULATOR_SPEED, RunRequest, Session

SETTLE_HELP = "How long submissions in doubt are looked for before a verdict, such as 5m [15m]; 0: hold them at once."

REHEARSE = "Rehearse on the embedded emulator: no key, no money. Scenarios: batchrunner emulator --list, or a file."


class RunCommand(click.Command):
    """Lets `--emulator` stand alone: what follows it is never taken for a scenario, only `--emulator=NAME` is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--emulator=happy" if word == "--emulator" else word for word in args])


@click.command(cls=RunCommand)
@click.argument("manifest", required=False, type=click.Path(path_type=Path))
@click.option("-p", "--prompt", "prompts", multiple=True, metavar="TEXT", help="A clip of this prompt; no manifest.")
@set_option
@database_option
@click.option("--out", type=click.Path(path_type=Path), help="Where clips go [output.dir of the manifest].")
@click.option("--yes", is_flag=True, help="Buy without asking.")
@click.option("--emulator", metavar="[=SCENARIO]", help=REHEARSE)
@click.option("--speed", type=click.FloatRange(min=0.1, max=100_000), help="How fast the emulator's time runs [100].")
@click.option("--seed", type=int, help="What the emulator does wrong, and when [0]: the same seed, the same night.")
@click.option("--clips", type=click.Choice(["tiny", "full"]), help="How large the emulator's clips are [tiny].")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Tasks at the provider at once, at most.")
@click.option("--max-cost", type=Amount(), help="What the batch may cost in all; needs `prices` in the manifest.")
@click.option("--deadline", type=TimeOfDay(), help="End at this time of day; begin nothing that would come later.")
@click.option("--max-duration", type=Duration(), help="The same for a length of time (90s, 30m, 6h).")
@click.option(
    "--window", type=Hours(), help="Buy in these hours alone; `none`: at any time, whatever the manifest says."
)
@click.option("--date", "day", type=Day(), help="What {date} stands for, to go on with the batch of another night.")
@click.option("--limit", type=click.IntRange(min=0), help="Buy at most this many clips in this run.")
@only_option
@tag_option
@allow_option
@click.option("--settle", type=Seconds(), default=settings.SETTLE, metavar="SECONDS", help=SETTLE_HELP)
@click.option(
    "--canary/--no-canary", default=True, help="Wait for the first clip of a new kind [as the manifest says]."
)
@click.option("--report/--no-report", default=False, help="Write a page with every clip beside them.")
@click.option("--progress", "mode", type=click.Choice(progress.MODES), default="auto", show_default=True)
def command(
    manifest: Path | None,
    prompts: tuple[str, ...],
    sets: tuple[str, ...],
    database: Path | None,
    out: Path | None,
    yes: bool,
    emulator: str | None,
    speed: float | None,
    clips: str | None,
    seed: int | None,
    max_in_flight: int | None,
    max_cost: int | None,
    deadline: time | None,
    max_duration: timedelta | None,
    window: Window | Literal["none"] | None,
    day: date | None,
    limit: int | None,
    only: str | None,
    tags: tuple[str, ...],
    allowed: tuple[Path, ...],
    settle: float,
    canary: bool,
    report: bool,
    mode: str,
) -> ExitCode:
    """Turn MANIFEST into clips on disk. The same command again continues, adds what is new, and buys nothing twice.

    MANIFEST is a YAML file, or a table (.csv, .tsv, .jsonl) with a column `prompt`: a clip for each row.
    """
    if (manifest is None) is not bool(prompts):
        raise UsageError("run needs a manifest, or prompts with -p", fix='batchrunner run batch.yaml, or run -p "…"')
    if speed is not None and emulator is None:
        raise UsageError("--speed is the emulator's: a real provider takes its time", fix="add --emulator")
    if seed is not None and emulator is None:
        raise UsageError("--seed is the emulator's: a real provider's luck is its own", fix="add --emulator")
    if clips is not None and emulator is None:
        raise UsageError("--clips is the emulator's: a real provider's come as they are billed", fix="add --emulator")
    request = RunRequest(
        manifest=manifest,
        prompts=prompts,
        sets=sets,
        allowed=allowed,
        database=database,
        out=out,
        emulator=emulator is not None,
        scenario=emulator or "happy",
        speed=speed or EMULATOR_SPEED,
        seed=seed,
        full_clips=clips == "full",
        max_in_flight=max_in_flight,
        max_cost=max_cost,
        deadline=deadline,
        max_duration=max_duration,
        window=None if window == "none" else window,
        at_any_time=window == "none",
        date=day,
        limit=limit,
        only=only,
        tags=tags,
        settle=settle,
        canary=canary,
    )
    with app.open_run(request, os.environ) as session:
        code = _run(session, yes=yes, mode=progress.resolve(mode, sys.stderr))
        if report:
            say(f"report: {shown(session.write_report())}", err=mode == "json")
        return code


def _run(session: Session, *, yes: bool, mode: str) -> ExitCode:
    talk = mode != "json"
    if talk and session.warnings:
        say(render_text(session.warnings).rstrip("\n"), err=True)
    if talk:
        for line in closing.plan_lines(session):
            say(line, err=True)
    to_send = session.purchases.clips
    if session.needs_provider:
        session.check_account()
    if to_send and session.opens_at is None and not session.request.emulator and not yes:
        _ask(to_send)
    if not session.waits_for_night:
        session.adopt_plan()
    again = shlex.join(["batchrunner", *sys.argv[1:]])
    if not session.needs_provider:
        report = session.idle_report()
    else:
        with progress.view(mode, session.batch.name, sum(session.counts().values())) as listener:
            report = session.execute(listener)
    if mode == "json":
        say(closing.as_json(session, report))
    else:
        for line in closing.lines(session, report, again=again):
            say(line)
    return report.exit_code


def _ask(count: int) -> None:
    """A yes from the person at the terminal, or `UsageError`."""
    clips = f"{count} paid {'clip' if count == 1 else 'clips'}"
    consent(
        f"Buy {clips}?",
        needs=f"{clips} {'needs' if count == 1 else 'need'}",
        refused="nothing was sent",
        fix="rehearse free of charge with --emulator, or buy fewer with --limit N",
    )
