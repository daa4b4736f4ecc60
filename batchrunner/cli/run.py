"""`batchrunner run`: show the plan, ask, work, and say how it ended and what comes next."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click

from batchrunner import app, saved, settings
from batchrunner.cli import closing, progress, screen
from batchrunner.cli.buying import buying_options
from batchrunner.cli.consent import choice
from batchrunner.cli.params import Seconds, no_proxy_option
from batchrunner.cli.words import say, shown
from batchrunner.errors import ExitCode, UsageError
from batchrunner.manifest.diagnostics import render_text
from batchrunner.run_request import EMULATOR_SPEED, RunRequest
from batchrunner.session import Report, Session

SETTLE_HELP = "How long submissions in doubt are looked for before a verdict, such as 5m [15m]; 0: hold them at once."

REHEARSE = "Rehearse on the embedded emulator: no key, no money. Scenarios: batchrunner emulator --list, or a file."
YES, ONE_FIRST, LIST = "y", "1", "l"
"""What a person may answer to a plan; everything else is no, or asked once more."""


class RunCommand(click.Command):
    """Lets `--emulator` stand alone: what follows it is never taken for a scenario, only `--emulator=NAME` is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--emulator=happy" if word == "--emulator" else word for word in args])


@click.command(cls=RunCommand)
@buying_options
@no_proxy_option
@click.option("--out", type=click.Path(path_type=Path), help="Where clips go [output.dir of the manifest].")
@click.option("--yes", is_flag=True, help="Buy without asking.")
@click.option("--emulator", metavar="[=SCENARIO]", help=REHEARSE)
@click.option("--speed", type=click.FloatRange(min=0.1, max=100_000), help="How fast the emulator's time runs [100].")
@click.option("--seed", type=int, help="What the emulator does wrong, and when [0]: the same seed, the same night.")
@click.option("--clips", type=click.Choice(["tiny", "full"]), help="How large the emulator's clips are [tiny].")
@click.option("--settle", type=Seconds(), default=settings.SETTLE, metavar="SECONDS", help=SETTLE_HELP)
@click.option("--report/--no-report", default=False, help="Write a page with every clip beside them.")
@click.option("--progress", "mode", type=click.Choice(progress.MODES), default="auto", show_default=True)
def command(
    request: RunRequest,
    *,
    out: Path | None,
    yes: bool,
    emulator: str | None,
    speed: float | None,
    seed: int | None,
    clips: str | None,
    settle: float,
    report: bool,
    mode: str,
) -> ExitCode:
    """Turn MANIFEST into clips on disk. The same command again continues, adds what is new, and buys nothing twice.

    MANIFEST is a YAML file, or a table (.csv, .tsv, .jsonl) with a column `prompt`: a clip for each row. Or it is what
    `plan --out` saved: then exactly that is bought, without asking, or nothing.
    """
    if speed is not None and emulator is None:
        raise UsageError("--speed is the emulator's: a real provider takes its time", fix="add --emulator")
    if seed is not None and emulator is None:
        raise UsageError("--seed is the emulator's: a real provider's luck is its own", fix="add --emulator")
    if clips is not None and emulator is None:
        raise UsageError("--clips is the emulator's: a real provider's come as they are billed", fix="add --emulator")
    request = replace(
        request,
        out=out,
        emulator=emulator is not None,
        scenario=emulator or "happy",
        speed=speed or EMULATOR_SPEED,
        seed=seed,
        full_clips=clips == "full",
        settle=settle,
    )
    manifest = request.manifest
    plan = saved.load(manifest) if manifest is not None and saved.is_saved(manifest) else None
    if plan is not None:
        request = saved.asked(plan, request)
        return _carry_out_saved(plan, request, mode=progress.resolve(mode, sys.stderr), report=report)
    return _carry_out(request, yes=yes, mode=progress.resolve(mode, sys.stderr), report=report)


def _carry_out(request: RunRequest, *, yes: bool, mode: str, report: bool) -> ExitCode:
    """Plan, ask and run; with one clip first, as often as the person wants, all three begin anew."""
    while True:
        with app.open_run(request, os.environ) as session:
            if _agreed(session, yes=yes, mode=mode) != ONE_FIRST:
                code = _run(session, mode=mode)
                if report:
                    say(f"report: {shown(session.write_report())}", err=mode == "json")
                return code
        with app.open_run(replace(request, limit=1), os.environ) as session:  # what is paid for again is this one alone
            code = _try_one(session, mode=mode)
        if code not in (ExitCode.DONE, ExitCode.SOME_FAILED):
            return code
        request = replace(request, limit=None if request.limit is None else request.limit - 1)


def _carry_out_saved(plan: saved.SavedPlan, request: RunRequest, *, mode: str, report: bool) -> ExitCode:
    """Send what the plan says and nothing else, or refuse: it was looked at when it was saved, and is the yes."""
    begun = app.has_begun(request, plan.meaning["batch"])
    if begun:  # what was paid for again is pending since, or done; whatever failed later is another matter
        request = replace(request, redo=(), limit=None)
    with app.open_run(request, os.environ) as session:
        left = saved.check(plan, session, begun=begun)
        if plan.request.limit is not None:
            session.narrow(left)
        _agreed(session, yes=True, mode=mode)
        code = _run(session, mode=mode)
        if report:
            say(f"report: {shown(session.write_report())}", err=mode == "json")
        return code


def _agreed(session: Session, *, yes: bool, mode: str) -> str:
    """Show the plan, and ask where it costs something; the answer is yes or `ONE_FIRST`."""
    if mode != "json":
        if session.warnings:
            say(render_text(session.warnings).rstrip("\n"), err=True)
        for line in screen.lines(session, session.preview()):
            say(line, err=True)
    if session.needs_provider:
        session.check_account()
    if not session.purchases.clips or session.hours.opens_at is not None or session.request.emulator or yes:
        return YES
    while (answer := _ask(session)) == LIST:
        for line in screen.listing(session):
            say(line, err=True)
    return answer


def _try_one(session: Session, *, mode: str) -> ExitCode:
    """Buy the first clip alone and show what became of it; a run that was stopped tells how it ended."""
    first = next(session.sent(), None)
    if first is None:  # another command was quicker
        return ExitCode.DONE
    session.adopt_plan()
    with progress.view(mode, session.batch.name, sum(session.counts().values())) as listener:
        report = session.execute(listener)
    if report.exit_code not in (ExitCode.DONE, ExitCode.SOME_FAILED):
        _conclude(session, report, mode=mode)
        return report.exit_code
    job = next(job for job in session.store.jobs(session.batch.id) if job.key == first.key)
    why = ": ".join(filter(None, (job.reason, job.message)))
    say(f"  {job.key}  {job.state.value}{f', {why}' if why else ''}", err=True)
    if (clip := job.clip) is not None:
        facts = f"{clip.duration:.1f} s {clip.width}x{clip.height} {clip.bytes / 1e6:.2f} MB"
        say(f"  look at it: {shown(Path(clip.path))}  {facts}", err=True)
    return report.exit_code


def _run(session: Session, *, mode: str) -> ExitCode:
    if not session.waits_for_night:
        session.adopt_plan()
    if not session.needs_provider:
        report = session.idle_report()
    else:
        with progress.view(mode, session.batch.name, sum(session.counts().values())) as listener:
            report = session.execute(listener)
    _conclude(session, report, mode=mode)
    return report.exit_code


def _conclude(session: Session, report: Report, *, mode: str) -> None:
    if mode == "json":
        say(closing.as_json(session, report))
        return
    again = shlex.join(["batchrunner", *_without_redo_failed(sys.argv[1:])])
    for line in closing.lines(session, report, again=again):
        say(line)


def _without_redo_failed(words: list[str]) -> list[str]:
    """The command that continues: what failed meanwhile is not paid for a third time because a line was copied."""
    text = "\0".join(words).replace("--redo\0failed", "--redo=failed")
    return [word for word in text.split("\0") if word != "--redo=failed"]


def _ask(session: Session) -> str:
    """What the person at the terminal says, or `UsageError` for a no."""
    count, again = session.purchases.clips, sum(session.purchases.again.values())
    clips = f"{count} paid {'clip' if count == 1 else 'clips'}" + (f", {again} of them once more" if again else "")
    others = {ONE_FIRST: "try one first"} if count > 1 else {}
    return choice(
        f"Buy {clips}?",
        others | {LIST: "list"},
        needs=f"{clips} {'needs' if count == 1 else 'need'}",
        refused="nothing was sent",
        fix="rehearse free of charge with --emulator, or buy fewer with --limit N",
    )
