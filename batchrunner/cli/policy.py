"""`batchrunner policy`: what each outcome of a paid request means, row by row, as the code has it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from batchrunner.cli.words import put
from batchrunner.errors import ExitCode
from batchrunner.matrix import POLICY, VERSION, Row


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def command(as_json: bool) -> ExitCode:
    """What the outcome of a paid request means. The first row that fits decides, and is stored with the attempt."""
    if as_json:
        put(json.dumps([_record(row) for row in POLICY], ensure_ascii=False) + "\n")
        return ExitCode.DONE
    for line in _lines():
        if not put(line + "\n"):
            break
    return ExitCode.DONE


def _record(row: Row) -> dict[str, object]:
    return {
        "row": row.id,
        "when": row.when,
        "verdict": row.verdict.value,
        "leads_to": row.verdict.leads_to.value,
        "reason": row.reason,
        "meaning": row.meaning,
    }


def _lines() -> Iterator[str]:
    yield f"failure matrix, version {VERSION}: what each outcome of a paid request means"
    width = max(len(row.when) for row in POLICY)
    for row in POLICY:
        yield f"{row.id:<5} {row.when:<{width}}  {row.verdict.value:<15} → {row.verdict.leads_to.value:<10}  {row.meaning}"
    yield "anything else is in doubt: it may have been bought, and is never sent again blindly"
