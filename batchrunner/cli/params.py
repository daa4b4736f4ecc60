"""Option values: times of day, lengths of time, amounts of money; and the options that several commands share."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[timedelta]):
    """`90s`, `30m`, `6h` or `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if not re.fullmatch(r"(\d+[smhd])+", value):
            self.fail(f"{value!r} is not a length of time: write 90s, 30m or 6h", param, ctx)
        return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", value)))


class TimeOfDay(click.ParamType[time]):
    """`06:30`, by this machine's clock."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> time:
        match = re.fullmatch(r"(\d{1,2}):(\d{2})", value)
        try:
            return time(int(match[1]), int(match[2])) if match else self.fail("", param, ctx)
        except (ValueError, click.UsageError):
            self.fail(f"{value!r} is not a time of day: write 06:30", param, ctx)


class Amount(click.ParamType[int]):
    """An amount of money, as micro-units."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0 or amount > 10**9:
            self.fail(f"{value!r} is not an amount: write 12.50", param, ctx)
        return int(amount * 1_000_000)


def next_at(at: time, now: datetime) -> datetime:
    """The next moment that a local clock shows `at`; `now` is aware."""
    moment = now.astimezone().replace(hour=at.hour, minute=at.minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


database_option = click.option(
    "--db",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The database [.batchrunner/batchrunner.db].",
)
set_option = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a parameter or a variable, above the manifest."
)
tag_option = click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only the jobs that have this tag.")
only_option = click.option("--only", metavar="GLOB", help="Only the jobs whose key matches.")
allow_option = click.option(
    "--allow-dir",
    "allowed",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Frames and tables may lie in this folder too.",
)
batch_argument = click.argument("batch", required=False)
