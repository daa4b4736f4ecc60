"""`batchrunner plan`: what a run would do, buy and send. It only reads, and never waits for a run."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from datetime import date, time, timedelta
from pathlib import Path
from typing import Literal

import click

from batchrunner import app, saved
from batchrunner.cli import screen
from batchrunner.cli.params import (
    Amount,
    allow_option,
    canary_option,
    database_option,
    date_option,
    deadline_option,
    max_duration_option,
    only_option,
    redo_option,
    set_option,
    tag_option,
    window_option,
)
from batchrunner.cli.words import put, say
from batchrunner.errors import ExitCode, UsageError
from batchrunner.manifest import Loaded
from batchrunner.manifest.diagnostics import render_text
from batchrunner.model import WantedJob
from batchrunner.moments import Window
from batchrunner.preview import Preview
from batchrunner.request import canonical
from batchrunner.run_request import RunRequest
from batchrunner.session import Session

EMULATED = "Compare with the rehearsals' database, and count with the emulator's prices where there are none."


@click.command()
@click.argument("manifest", required=False, type=click.Path(path_type=Path))
@click.option("-p", "--prompt", "prompts", multiple=True, metavar="TEXT", help="A clip of this prompt; no manifest.")
@set_option
@database_option
@click.option("--emulator", is_flag=True, help=EMULATED)
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Tasks at the provider at once, at most.")
@click.option("--max-cost", type=Amount(), help="What the batch may cost in all.")
@deadline_option
@max_duration_option
@window_option
@date_option
@click.option("--limit", type=click.IntRange(min=0), help="Buy at most this many clips.")
@only_option
@tag_option
@allow_option
@redo_option
@canary_option
@click.option("--list", "listed", is_flag=True, help="Each job with its mark, and each file that leaves this machine.")
@click.option("--resolved", is_flag=True, help="Each job as it would be asked for, as YAML (with --json: JSON lines).")
@click.option("--out", type=click.Path(path_type=Path), help="Save it: `run` then buys exactly this, or nothing.")
@click.option("--json", "as_json", is_flag=True, help="One object; with --list it holds the jobs as well.")
@click.option("--exit-code", "tells", is_flag=True, help="End with 10 when there is work to do.")
def command(
    manifest: Path | None,
    prompts: tuple[str, ...],
    sets: tuple[str, ...],
    database: Path | None,
    emulator: bool,
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
    redo: tuple[str, ...],
    canary: bool,
    listed: bool,
    resolved: bool,
    out: Path | None,
    as_json: bool,
    tells: bool,
) -> ExitCode:
    """Show what `run MANIFEST` would do: what is new, done, changed; what it buys, costs, sends, and how long it takes.

    Nothing is sent or written, no key is needed, and a run may be at work.
    """
    if (manifest is None) is not bool(prompts):
        raise UsageError("plan needs a manifest, or prompts with -p", fix="batchrunner plan batch.yaml")
    if manifest is not None and saved.is_saved(manifest):
        raise UsageError(
            f"{manifest} is a saved plan, and no manifest", fix=f"batchrunner run {manifest} carries it out"
        )
    request = RunRequest(
        manifest=manifest,
        prompts=prompts,
        sets=sets,
        allowed=allowed,
        database=database,
        emulator=emulator,
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
        redo=redo,
        canary=canary,
    )
    with app.open_plan(request, os.environ) as (session, loaded):
        if session.warnings:
            say(render_text(session.warnings).rstrip("\n"), err=True)
        shown = session.preview()
        saved_to = None if out is None else saved.save(session, out)
        if resolved:
            _write(_resolved(loaded, session, as_json=as_json))
        elif as_json:
            _write(screen.json_lines(session, shown, jobs=len(loaded.jobs), listed=listed))
        else:
            _write(line + "\n" for line in _screen(session, shown, listed=listed, saved_to=saved_to))
        return ExitCode.WORK if tells and screen.has_work(shown) else ExitCode.DONE


def _screen(session: Session, shown: Preview, *, listed: bool, saved_to: Path | None) -> Iterator[str]:
    yield from screen.lines(session, shown)
    if listed:
        yield from screen.listing(session)
    if saved_to is not None:
        yield f"next: {shlex.join(['batchrunner', 'run', str(saved_to)])}   (buys exactly this without asking, or nothing)"
    elif shown.purchases.clips:
        yield f"next: {session.request.run_command}"
    elif shown.plan.collecting:
        yield f"next: {session.request.run_command}   (collects what is paid for)"


def _write(pieces: Iterator[str]) -> None:
    """To a reader that may leave before the end."""
    for piece in pieces:
        if not put(piece):
            return


def _resolved(loaded: Loaded, session: Session, *, as_json: bool) -> Iterator[str]:
    """Each selected job with everything that would be sent: a line of JSON, or an item of a YAML list."""
    for job in loaded.jobs:
        if session.request.selects(job):
            fields = _fields(job)
            if as_json:
                yield json.dumps(fields, ensure_ascii=False) + "\n"
            else:
                texts = [f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()]
                yield "- " + "  ".join(texts)


def _fields(job: WantedJob) -> dict[str, object]:
    asked = canonical(job.request)
    asked["frames"] = [frame.source for frame in job.request.frames]
    return {"key": job.key, **asked, "output": job.output, "tags": list(job.tags), "fingerprint": job.fingerprint}
