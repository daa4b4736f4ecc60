"""`batchrunner plan`: what a run would do, buy and send. It only reads, and never waits for a run."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from batchrunner import app, saved
from batchrunner.cli import screen
from batchrunner.cli.buying import buying_options
from batchrunner.cli.words import put, say
from batchrunner.errors import ExitCode, UsageError
from batchrunner.manifest import Loaded
from batchrunner.manifest.diagnostics import render_text
from batchrunner.model import WantedJob
from batchrunner.preview import Preview
from batchrunner.request import canonical
from batchrunner.run_request import RunRequest
from batchrunner.session import Session

EMULATED = "Compare with the rehearsals' database, and count with the emulator's prices where there are none."


@click.command()
@buying_options
@click.option("--emulator", is_flag=True, help=EMULATED)
@click.option("--list", "listed", is_flag=True, help="Each job with its mark, and each file that leaves this machine.")
@click.option("--resolved", is_flag=True, help="Each job as it would be asked for, as YAML (with --json: JSON lines).")
@click.option("--out", type=click.Path(path_type=Path), help="Save it: `run` then buys exactly this, or nothing.")
@click.option("--json", "as_json", is_flag=True, help="One object; with --list it holds the jobs as well.")
@click.option("--exit-code", "tells", is_flag=True, help="End with 10 when there is work to do.")
def command(
    request: RunRequest,
    *,
    emulator: bool,
    listed: bool,
    resolved: bool,
    out: Path | None,
    as_json: bool,
    tells: bool,
) -> ExitCode:
    """Show what `run MANIFEST` would do: what is new, done, changed; what it buys, costs, sends, and how long it takes.

    Nothing is sent or written, no key is needed, and a run may be at work.
    """
    manifest = request.manifest
    if manifest is not None and saved.is_saved(manifest):
        raise UsageError(
            f"{manifest} is a saved plan, and no manifest", fix=f"batchrunner run {manifest} carries it out"
        )
    request = replace(request, emulator=emulator)
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
