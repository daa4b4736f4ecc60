"""`batchrunner schedule`: a nightly run as systemd units or as a crontab line, ready to be installed."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from datetime import time
from pathlib import Path

import click

from batchrunner import app, units
from batchrunner.cli import run
from batchrunner.cli.params import TimeOfDay
from batchrunner.cli.words import put
from batchrunner.durable import write_whole
from batchrunner.errors import ExitCode, UsageError
from batchrunner.manifest import Manifest
from batchrunner.moments import Window

ENVIRONMENT = Path(".config/batchrunner/env")
"""Below the home folder."""


class Days(click.ParamType[tuple[int, ...]]):
    """`mon-fri` or `sat,sun`."""

    name = "days"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if (found := units.days(str(value))) is None:
            self.fail(f"{value!r} are no days: write mon-fri, or sat,sun", param, ctx)
        return found


@click.command()
@click.argument("kind", type=click.Choice(["systemd", "cron"]), metavar="systemd|cron")
@click.argument("manifest", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("words", nargs=-1, metavar="[-- OPTIONS OF RUN…]")
@click.option("--at", type=TimeOfDay(), required=True, help="When the run is started.")
@click.option("--until", type=TimeOfDay(), help="When the night ends; the manifest's window or deadline otherwise.")
@click.option("--max-duration", metavar="6h", help="How long the run lasts at most.")
@click.option("--days", type=Days(), default=(), metavar="mon-fri", help="Only on these days.")
@click.option("--user", "own", is_flag=True, help="systemd: units of your own, not the system's.")
@click.option("--env-file", type=click.Path(path_type=Path), help=f"Where the key is [~/{ENVIRONMENT}].")
@click.option("--on-failure", metavar="UNIT", help="systemd: the unit that tells you when a person is needed.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="systemd: write the units into this folder."
)
def command(
    kind: str,
    manifest: Path,
    words: tuple[str, ...],
    at: time,
    until: time | None,
    max_duration: str | None,
    days: tuple[int, ...],
    own: bool,
    env_file: Path | None,
    on_failure: str | None,
    out: Path | None,
) -> ExitCode:
    """Print what starts `run MANIFEST` every night: systemd units, or a crontab line.

    Nothing is installed or changed. Options of `run` follow after `--`, such as `-- --max-cost 20`.
    """
    if any("://" in word and "?" in word for word in words):
        raise UsageError(
            "a URL with a query may be signed and is not written to a unit or a crontab",
            fix="put it into the manifest instead of --set",
        )
    with app.load(manifest, os.environ) as loaded:
        ends = _ends(loaded.manifest, at, until, max_duration)
    arguments = [str(manifest.absolute()), "--yes", "--progress", "plain", *ends, *words]
    run.command.make_context("run", list(arguments))  # what is wrong with them is said now, not tonight
    folder = Path.cwd()
    name = units.unit_name(manifest.stem)
    environment = (env_file or Path.home() / ENVIRONMENT).absolute()
    nightly = units.Nightly(
        name=name,
        command=(*_program(), "run", *arguments),
        folder=folder,
        environment=environment,
        log=folder / f"{name}.log",
        at=at,
        days=days,
        catches_up="--window" in ends or loaded.manifest.window is not None,
        user=None if own else getpass.getuser(),
        on_failure=on_failure,
    )
    key = "" if environment.exists() else _key_help(environment)
    if kind == "cron":
        put(f"{key}# install it: crontab -e\n{units.cron(nightly)}\n")
        return ExitCode.DONE
    files = units.systemd(nightly)
    home = Path.home() / ".config/systemd/user" if own else Path("/etc/systemd/system")
    for file, text in files.items():
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            write_whole(out / file, text.encode())
        put(f"# wrote {out / file}\n" if out is not None else f"# {home / file}\n{text}\n")
    systemctl = "systemctl --user" if own else "sudo systemctl"
    put(f"{key}# start it: {systemctl} daemon-reload && {systemctl} enable --now {name}.timer\n")
    if own:
        put("# and to let it run while you are not logged in: loginctl enable-linger\n")
    return ExitCode.DONE


def _ends(manifest: Manifest, at: time, until: time | None, max_duration: str | None) -> list[str]:
    """The options that end the night; by what the manifest says if the command says nothing."""
    ends = [] if max_duration is None else ["--max-duration", max_duration]
    if until is not None:
        if until == at:
            raise UsageError("--at and --until are the same time", fix="leave --until out, or use --max-duration")
        # A window and not a deadline alone: a start that comes late, by day, must not buy until the next morning.
        return [*ends, "--window", str(Window(at, until)), "--deadline", f"{until:%H:%M}"]
    if manifest.window is not None and not manifest.window.includes(at):
        raise UsageError(
            f"at {at:%H:%M} the manifest's window {manifest.window} is closed: nothing would ever be bought",
            fix="choose another --at, or give another window with --until",
        )
    if not ends and manifest.window is None and manifest.deadline is None and manifest.max_duration is None:
        raise UsageError("nothing would end the night", fix="add --until 06:30 or --max-duration 6h")
    return ends


def _program() -> list[str]:
    """How this program is started from anywhere."""
    script = Path(sys.argv[0])
    if script.name.startswith("batchrunner") and script.exists() and os.access(script, os.X_OK):
        return [str(script.absolute())]
    return [sys.executable, "-m", "batchrunner"]


def _key_help(environment: Path) -> str:
    quoted = shlex.quote(str(environment))
    return (
        f"# the key is read from a file that is not there yet; it holds the line TOAPIS_API_KEY=…\n"
        f"#   mkdir -p {shlex.quote(str(environment.parent))} && install -m 600 /dev/null {quoted} && ${{EDITOR:-vi}} {quoted}\n"
    )
