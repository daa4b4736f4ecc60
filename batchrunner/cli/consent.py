"""A yes from the person at the terminal, before what cannot be taken back."""

from __future__ import annotations

import sys

import click

from batchrunner.errors import UsageError


def consent(question: str, *, needs: str, refused: str, fix: str) -> None:
    """Return when the answer is yes; `UsageError` when it is no, or when there is no terminal to ask (`needs` a yes)."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise UsageError(f"{needs} a yes and there is no terminal to ask; {refused}", fix="add --yes")
    try:
        yes = click.confirm(question, default=False, err=True)
    except click.Abort:
        yes = False
    if not yes:
        raise UsageError(refused, fix=fix)
