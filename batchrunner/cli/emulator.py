"""`batchrunner emulator`: the emulated API alone, for rehearsals and for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from batchrunner.cli.words import say
from batchrunner.errors import ExitCode


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8021, show_default=True, help="0 takes a free one.")
@click.option("--speed", type=click.FloatRange(min=0.1, max=100_000), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the service times.")
@click.option("--state", "state_dir", type=click.Path(path_type=Path, file_okay=False), help="Keep its ledger here.")
def command(port: int, speed: float, seed: int, state_dir: Path | None) -> ExitCode:
    """Serve the emulated API on this machine until Ctrl-C. It takes any key and no money."""
    from batchrunner.emulator.server import serve

    serve(port=port, speed=speed, state_dir=state_dir, seed=seed, on_ready=_greet)
    return ExitCode.DONE


def _greet(base_url: str) -> None:
    say(f"export TOAPIS_BASE_URL={base_url}")
    say("export TOAPIS_API_KEY=sk-emulator")
    say(f"serving; ledger: {base_url}/__ledger; Ctrl-C ends it", err=True)
