"""`batchrunner check`: every mistake of a manifest at once, for people, editors and CI."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner import app
from batchrunner.cli.words import put
from batchrunner.diagnostic import Diagnostic
from batchrunner.errors import ExitCode, ManifestError
from batchrunner.manifest.diagnostics import render_github, render_json, render_text

_RENDER = {"text": render_text, "json": render_json, "github": render_github}


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(_RENDER)), default="text", show_default=True)
def command(manifests: tuple[Path, ...], form: str) -> ExitCode:
    """Read, check and expand each of MANIFESTS without sending anything. Exit 4 when one of them is wrong."""
    found: list[Diagnostic] = []
    wrong = False
    for path in manifests:
        try:
            loaded = app.load(path)
        except ManifestError as error:
            wrong = True
            found += error.diagnostics
        else:
            found += loaded.warnings
            if form == "text":
                jobs = len(loaded.jobs)
                put(f"{path}: {jobs} {'job' if jobs == 1 else 'jobs'}, nothing wrong\n", err=bool(found))
    text = _RENDER[form](found)
    if text:
        put(text if text.endswith("\n") else text + "\n")
    return ExitCode.MANIFEST if wrong else ExitCode.DONE
