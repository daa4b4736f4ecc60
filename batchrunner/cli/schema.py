"""`batchrunner schema`: the JSON Schema of manifests, for editors and other programs."""

from __future__ import annotations

import click

from batchrunner.cli.words import put
from batchrunner.errors import ExitCode
from batchrunner.manifest.export import schema_text


@click.command()
def command() -> ExitCode:
    """Print the JSON Schema (draft 07) of manifests. `init` writes it where editors look for it."""
    put(schema_text())
    return ExitCode.DONE
