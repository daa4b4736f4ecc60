"""A yes from the person at the terminal, before what cannot be taken back."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import click

from batchrunner.errors import UsageError


def consent(question: str, *, needs: str, refused: str, fix: str) -> None:
    """Return when the answer is yes; `UsageError` when it is no, or when there is no terminal to ask (`needs` a yes)."""
    _needs_terminal(needs, refused)
    try:
        yes = click.confirm(question, default=False, err=True)
    except click.Abort:
        yes = False
    if not yes:
        raise UsageError(refused, fix=fix)


def choice(question: str, others: Mapping[str, str], *, needs: str, refused: str, fix: str) -> str:
    """`y`, or one of the `others` by its letter, each with what it does; like `consent` for everything else."""
    _needs_terminal(needs, refused)
    offered = "/".join(["y", "N", *(f"{letter} = {does}" for letter, does in others.items())])
    while True:
        try:
            said = click.prompt(f"{question} [{offered}]", default="n", show_default=False, err=True).strip().lower()
        except click.Abort:
            said = "n"
        if said in ("n", "no"):
            raise UsageError(refused, fix=fix)
        if said in ("y", "yes", *others):
            return said[0]


def _needs_terminal(needs: str, refused: str) -> None:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise UsageError(f"{needs} a yes and there is no terminal to ask; {refused}", fix="add --yes")
