"""The command group. Commands are imported when they are called, so that `--help` costs nothing."""

from __future__ import annotations

import gc
import importlib
from contextlib import suppress
from typing import Any

import click

from batchrunner import __version__
from batchrunner.cli.words import say
from batchrunner.errors import ExitCode

COMMANDS = {
    "init": "Write a manifest that runs at once, to begin with.",
    "run": "Turn a manifest into clips; the same command again continues.",
    "plan": "Show what a run would buy, and what it costs; nothing is sent.",
    "check": "Show every mistake of a manifest; nothing is sent.",
    "status": "Where a batch stands.",
    "ls": "The jobs of a batch, one by one.",
    "cost": "What was bought and what it came to, by batch, day, tag, reason or kind.",
    "show": "Everything about one job: request, history, money, file.",
    "fetch": "Collect finished work again, free of charge.",
    "doubt": "Submissions whose answer was lost: look them up, decide.",
    "retry": "Buy failed jobs again: shows the price and asks.",
    "reroll": "Buy more takes of jobs, with another prompt if you like; old files stay.",
    "cancel": "Send nothing more; what is in flight is still collected.",
    "doctor": "Whether key, disk, database and network are ready.",
    "policy": "What each outcome of a paid request means, row by row.",
    "key": "Have the provider make a key that can spend so much and no more.",
    "schedule": "Print what starts a run every night: systemd units or a crontab line.",
    "schema": "Print the JSON Schema of manifests, for editors.",
    "emulator": "Serve the emulated API on this machine, for rehearsals.",
}
"""In the order people meet them; the command NAME is `command` in the module of that name."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and sentences without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what is loaded stays: looking for garbage in it takes a twentieth of the time
        try:
            command = importlib.import_module(f"batchrunner.cli.{cmd_name}").command
        finally:
            gc.freeze()
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="batchrunner")
def cli() -> None:
    """Turn YAML manifests of prompts and first/last frames into verified video clips, buying each one once.

    \b
    exit codes: 0 done · 2 usage · 3 some jobs failed · 4 manifest wrong, nothing sent · 5 budget · 6 deadline
                7 account · 8 another run · 9 provider unreachable · 10 plan: work to do · 11 in doubt · 12 storage · 130/143 stopped
    """


def run(args: list[str] | None = None) -> ExitCode:
    """Run the command line and return its exit code; errors of ours pass through."""
    try:
        result: Any = cli.main(args=args, prog_name="batchrunner", standalone_mode=False)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return ExitCode.USAGE
    except click.Abort:
        say("stopped; what is recorded stays recorded, run the same command to go on", err=True)
        return ExitCode.SIGINT
    except click.exceptions.Exit as left:
        return ExitCode(left.exit_code)
    if isinstance(result, ExitCode):
        return result
    return ExitCode(result) if isinstance(result, int) and result in list(ExitCode) else ExitCode.DONE
