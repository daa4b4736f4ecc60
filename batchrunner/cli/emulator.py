"""`batchrunner emulator`: the emulated API alone, for rehearsals and for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batchrunner.cli.words import put, say
from batchrunner.errors import ExitCode

CLIPS = "A few hundred pixels wide, or the sizes that are billed: 720P and 1080P."


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8021, show_default=True, help="0 takes a free one.")
@click.option("--speed", type=click.FloatRange(min=0.1, max=100_000), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the service times.")
@click.option("--state", "state_dir", type=click.Path(path_type=Path, file_okay=False), help="Keep its ledger here.")
@click.option("--clips", type=click.Choice(["tiny", "full"]), default="tiny", show_default=True, help=CLIPS)
@click.option("--openapi", is_flag=True, help="Print the API as an OpenAPI document, and serve nothing.")
def command(port: int, speed: float, seed: int, state_dir: Path | None, clips: str, openapi: bool) -> ExitCode:
    """Serve the emulated API on this machine until Ctrl-C. It takes any key and no money."""
    if openapi:
        from batchrunner.emulator.openapi import document

        put(json.dumps(document(), indent=2) + "\n")
        return ExitCode.DONE
    from batchrunner.emulator.server import serve

    serve(port=port, speed=speed, state_dir=state_dir, seed=seed, full_clips=clips == "full", on_ready=_greet)
    return ExitCode.DONE


def _greet(base_url: str) -> None:
    say(f"export TOAPIS_BASE_URL={base_url}")
    say("export TOAPIS_API_KEY=sk-emulator")
    say(f"serving; ledger: {base_url}/__ledger; Ctrl-C ends it", err=True)
