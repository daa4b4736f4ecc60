"""`batchrunner emulator`: the emulated API alone, for rehearsals and for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from batchrunner.cli.words import put, say
from batchrunner.errors import ExitCode, UsageError

GROUPS = ("default", "vip", "svip")

CLIPS = "A few hundred pixels wide, or the sizes that are billed: 720P and 1080P."


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8021, show_default=True, help="0 takes a free one.")
@click.option("--speed", type=click.FloatRange(min=0.1, max=100_000), default=1.0, show_default=True)
@click.option("--seed", type=int, help="Decides the service times and the faults [0].")
@click.option("--state", "state_dir", type=click.Path(path_type=Path, file_okay=False), help="Keep its ledger here.")
@click.option("--clips", type=click.Choice(["tiny", "full"]), default="tiny", show_default=True, help=CLIPS)
@click.option("--scenario", metavar="NAME", help="What goes wrong [happy: nothing]; --list shows them.")
@click.option("--faults", "file", type=click.Path(path_type=Path), help="A YAML or JSON file of single faults instead.")
@click.option("--list", "listed", is_flag=True, help="Show the scenarios and the faults, and serve nothing.")
@click.option("--group", type=click.Choice(GROUPS), help="Whose rate limits hold [default].")
@click.option("--rate-limits/--no-rate-limits", default=None, help="Whether any hold [they do].")
@click.option("--parallel", type=click.IntRange(min=0), help="Tasks that may run at once; more get Kling's 1303.")
@click.option("--credits", metavar="N|unlimited", help="What the account holds; 200 are a dollar [1000000].")
@click.option("--clock", type=click.Choice(["real", "manual"]), default="real", help="manual: POST /__clock moves it.")
@click.option("--openapi", is_flag=True, help="Print the API as an OpenAPI document, and serve nothing.")
def command(
    port: int,
    speed: float,
    seed: int | None,
    state_dir: Path | None,
    clips: str,
    scenario: str | None,
    file: Path | None,
    listed: bool,
    group: str | None,
    rate_limits: bool | None,
    parallel: int | None,
    credits: str | None,
    clock: str,
    openapi: bool,
) -> ExitCode:
    """Serve the emulated API on this machine until Ctrl-C. It takes any key and no money."""
    if openapi:
        from batchrunner.emulator.openapi import document

        put(json.dumps(document(), indent=2) + "\n")
        return ExitCode.DONE
    if listed:
        for line in _table():
            say(line)
        return ExitCode.DONE
    from batchrunner.emulator import scenarios
    from batchrunner.emulator.server import serve

    if scenario is not None and file is not None:
        raise UsageError("--scenario and --faults exclude each other", fix="write `scenario: NAME` into the file")
    config = scenarios.load(file) if file is not None else scenarios.named(scenario or "happy")
    given = {"group": group, "rate_limits": rate_limits, "parallel": parallel}
    limits: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if credits is not None:
        limits["credits"] = _credits(credits)
    serve(
        port=port,
        speed=speed,
        state_dir=state_dir,
        full_clips=clips == "full",
        config=config.with_limits(limits).with_seed(seed),
        manual_clock=clock == "manual",
        on_ready=_greet,
    )
    return ExitCode.DONE


def _credits(text: str) -> int | None:
    if text == "unlimited":
        return None
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(
            f"--credits takes a whole number or `unlimited`, not {text!r}", fix="for example --credits 2000"
        )
    return int(text)


def _table() -> Iterator[str]:
    from batchrunner.emulator.faults import FAULTS
    from batchrunner.emulator.scenarios import SCENARIOS

    yield f"scenarios: {', '.join(SCENARIOS)}"
    yield ""
    yield "faults, for a file: {seed: 7, faults: [{name: accepted_then_dies, probability: 0.1}, {name: http_503, first: 20}]}"
    yield "each takes name, probability, stage, after, first, from, to, match, and what stands behind it"
    width = max(map(len, FAULTS))
    for fault in FAULTS.values():
        takes = "".join(f" {name}={json.dumps(value)}" for name, value in fault.parameters.items())
        yield f"  {fault.name:<{width}}  {'|'.join(fault.stages)}: {fault.does}{takes and ';' + takes}"


def _greet(base_url: str) -> None:
    say(f"export TOAPIS_BASE_URL={base_url}")
    say("export TOAPIS_API_KEY=sk-emulator")
    say(f"serving; ledger: {base_url}/__ledger; Ctrl-C ends it", err=True)
