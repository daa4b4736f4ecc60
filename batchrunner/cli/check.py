"""`batchrunner check`: every mistake of a manifest at once, for people, editors and CI."""

from __future__ import annotations

import os
from pathlib import Path

import click

from batchrunner import app, demands
from batchrunner.cli.params import allow_option, only_option, set_option, tag_option
from batchrunner.cli.words import put
from batchrunner.diagnostic import Diagnostic
from batchrunner.errors import ExitCode, ManifestError
from batchrunner.manifest import Loaded
from batchrunner.manifest.diagnostics import render_github, render_json, render_text
from batchrunner.run_request import RunRequest

_RENDER = {"text": render_text, "json": render_json, "github": render_github}


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(_RENDER)), default="text", show_default=True)
@click.option("--strict", is_flag=True, help="Warnings are mistakes as well.")
@set_option
@only_option
@tag_option
@click.option("--limit", type=click.IntRange(min=0), help="Count at most this many jobs.")
@allow_option
def command(
    manifests: tuple[Path, ...],
    form: str,
    strict: bool,
    sets: tuple[str, ...],
    only: str | None,
    tags: tuple[str, ...],
    limit: int | None,
    allowed: tuple[Path, ...],
) -> ExitCode:
    """Read, check and expand each of MANIFESTS without sending anything. Exit 4 when one of them is wrong."""
    found: list[Diagnostic] = []
    wrong = False
    for path in manifests:
        try:
            with app.load(path, os.environ, sets=sets, allowed=allowed) as loaded:
                demands.check_tags(loaded, tags)
                counted = _counted(loaded, only, tags, limit)
        except ManifestError as error:
            wrong = True
            found += error.diagnostics
        else:
            found += loaded.warnings
            wrong = wrong or (strict and bool(loaded.warnings))
            if form == "text" and not (strict and loaded.warnings):
                warned = len(loaded.warnings)
                verdict = f"{warned} warning{'s' if warned > 1 else ''}" if warned else "nothing wrong"
                put(f"{path}: {counted}, {verdict}\n")
    text = _RENDER[form](found)
    if text:
        put(text if text.endswith("\n") else text + "\n")
    return ExitCode.MANIFEST if wrong else ExitCode.DONE


def _counted(loaded: Loaded, only: str | None, tags: tuple[str, ...], limit: int | None) -> str:
    """How many jobs there are, and how many of them a run with the same options would be about."""
    jobs = len(loaded.jobs)
    counted = f"{jobs} {'job' if jobs == 1 else 'jobs'}"
    if only is None and not tags and limit is None:
        return counted
    selects = RunRequest(manifest=None, only=only, tags=tags).selects
    chosen = sum(map(selects, loaded.jobs))
    return f"{counted}, {chosen if limit is None else min(chosen, limit)} selected"
