"""`batchrunner cost`: what was bought, what it came to, and what came back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from batchrunner import app, costs
from batchrunner.cli import calibration, tables
from batchrunner.cli.params import Duration, batch_argument, database_option
from batchrunner.cli.words import put
from batchrunner.costs import By, Sum
from batchrunner.errors import ExitCode
from batchrunner.model import LedgerEntry
from batchrunner.report import summary

SUMS = ("spent", "committed", "in_doubt", "released", "discarded")
HEADS = dict(zip(SUMS, ("spent", "running", "in doubt", "returned", "discarded"), strict=True))
BILLED = ("720P", "720P+Sound", "1080P", "1080P+Sound")
"""Billing keys that have a column in every CSV, whatever was bought: what reads it may count on them."""
ENTRY = (
    "batch",
    "key",
    "attempt",
    "at",
    "billing",
    "seconds",
    "estimated",
    "settled",
    "charge",
    "reason",
    "discarded",
    "currency",
    "task_id",
    "purchase_id",
)


@click.command()
@batch_argument
@database_option
@click.option("--since", type=Duration(), metavar="7d", help="Only what was bought since then: 12h, 7d.")
@click.option("--by", type=click.Choice([one.value for one in By]), default=By.BATCH.value, show_default=True)
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option("--calibrate", is_flag=True, help="Work out prices from how the balance moved; changes nothing.")
def command(
    batch: str | None, database: Path | None, since: timedelta | None, by: str, form: str, calibrate: bool
) -> ExitCode:
    """What BATCH cost, or everything in the database. It only reads, and never waits for a run."""
    start = None if since is None else app.now() - since
    if calibrate:
        with app.looking(database) as store:
            for line in calibration.lines(store, since=start):
                put(line + "\n")
        return ExitCode.DONE
    with ExitStack() as stack:
        if batch is None:
            store, batch_id = stack.enter_context(app.looking(database)), None
        else:
            store, found = stack.enter_context(app.reading(database, batch))
            batch_id = found.id
        entries = store.ledger(batch_id, since=start)
        lines = _attempts(entries, form) if by == By.ATTEMPT else _sums(*costs.sums(entries, By(by)), By(by), form)
        for text in lines:
            if not put(text):
                break
    return ExitCode.DONE


def _sums(rows: list[Sum], totals: list[Sum], by: By, form: str) -> Iterator[str]:
    if form == "json":
        document: dict[str, Any] = {"schema": "batchrunner/cost@1", "by": by.value, "rows": [], "total": []}
        document |= {"rows": [_record(row) for row in rows], "total": [_record(row) for row in totals]}
        yield json.dumps(document, ensure_ascii=False) + "\n"
        return
    if form == "csv":
        keys = [*BILLED, *sorted({key for row in rows for key in row.seconds} - {*BILLED})]
        yield tables.csv_line([by.value, "currency", "attempts", *SUMS, "unpriced", *(f"{key} s" for key in keys)])
        for row in rows:
            record = _record(row)
            seconds = [row.seconds.get(key, 0) for key in keys]
            yield tables.csv_line(
                [row.name, *(record[name] for name in ("currency", "attempts", *SUMS, "unpriced")), *seconds]
            )
        return
    if not rows:
        yield "nothing was bought\n"
        return
    several = totals if len(rows) > 1 or len(totals) > 1 else []
    told = [name for name in SUMS if name == "spent" or any(getattr(row, name) for row in totals)]
    head = (by.value, "clips", *(HEADS[name] for name in told), "billed")
    yield tables.table(head, [_cells(row, told) for row in [*rows, *several]], firm=head[:-1])
    if by is By.TAG and sum(row.attempts for row in rows) > sum(row.attempts for row in totals):
        yield "a clip with several tags is in the row of each, and once in all\n"
    if any(row.unpriced for row in totals):
        yield "billed without a price: write `prices` into the manifest, or see: batchrunner cost --calibrate\n"


def _record(row: Sum) -> dict[str, Any]:
    amounts = {name: getattr(row, name) / 1_000_000 for name in SUMS}
    head = {"name": row.name, "currency": row.currency, "attempts": row.attempts}
    return head | amounts | {"unpriced": row.unpriced, "seconds": row.seconds}


def _cells(row: Sum, told: Sequence[str]) -> list[str]:
    amounts = [getattr(row, name) for name in told]
    priced = any(getattr(row, name) for name in SUMS) or not row.unpriced
    shown = [summary.amount(one, row.currency) if one else "-" for one in amounts] if priced else ["?"] * len(told)
    billed = " · ".join(f"{key} {total} s" for key, total in sorted(row.seconds.items()))
    return [row.name, str(row.attempts), *shown, billed or "-"]


def _attempts(entries: Iterable[LedgerEntry], form: str) -> Iterator[str]:
    if form == "json":
        for entry in entries:
            yield json.dumps(_entry(entry), ensure_ascii=False) + "\n"
    elif form == "csv":
        yield tables.csv_line(ENTRY)
        for entry in entries:
            record = _entry(entry)
            yield tables.csv_line([record[name] for name in ENTRY])
    else:
        head = ("batch", "job", "at", "billed", "estimated", "settled", "what became of it")
        yield tables.table(head, [_entry_cells(entry) for entry in entries])


def _entry(entry: LedgerEntry) -> dict[str, Any]:
    came_to = costs.settled(entry)
    return {
        "batch": entry.batch,
        "key": entry.key,
        "attempt": entry.number,
        "at": entry.intended_at.isoformat(),
        "billing": entry.billing_key,
        "seconds": entry.seconds,
        "estimated": None if entry.price is None else entry.price / 1_000_000,
        "settled": None if came_to is None else came_to / 1_000_000,
        "charge": entry.charge,
        "reason": costs.reason(entry),
        "discarded": costs.is_discarded(entry),
        "currency": entry.currency,
        "task_id": entry.task_id,
        "purchase_id": entry.purchase_id,
        "tags": list(entry.tags),
    }


def _entry_cells(entry: LedgerEntry) -> list[str]:
    came_to = costs.settled(entry)
    became = costs.reason(entry) + (", discarded" if costs.is_discarded(entry) else "")
    return [
        entry.batch,
        f"{entry.key} #{entry.number}",
        f"{entry.intended_at:%Y-%m-%d %H:%M}Z",
        f"{entry.billing_key} {entry.seconds} s",
        "?" if entry.price is None else summary.amount(entry.price, entry.currency),
        "open" if came_to is None else summary.amount(came_to, entry.currency),
        became,
    ]
