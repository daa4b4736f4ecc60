"""Option values: times of day, lengths of time, amounts of money; and the options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

import click

from batchrunner import moments
from batchrunner.providers.proxies import forget


class Duration(click.ParamType[timedelta]):
    """`90s`, `30m`, `6h` or `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if (length := moments.length_of_time(value)) is None:
            self.fail(f"{value!r} is not a length of time: write 90s, 30m or 6h", param, ctx)
        return length


class Seconds(click.ParamType[float]):
    """`900`, `900s`, `15m` or `1h30m`."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        length = moments.length_of_time(value)
        try:
            seconds = float(value) if length is None else length.total_seconds()
        except ValueError:
            seconds = -1.0
        if not 0.0 <= seconds <= 86_400.0:
            self.fail(f"{value!r} is not a time of at most a day: write 900, 90s or 15m", param, ctx)
        return seconds


class TimeOfDay(click.ParamType[time]):
    """`06:30`, by this machine's clock."""

    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> time:
        if (at := moments.time_of_day(value)) is None:
            self.fail(f"{value!r} is not a time of day: write 06:30", param, ctx)
        return at


class Hours(click.ParamType[moments.Window | Literal["none"]]):
    """`22:00-06:30`, by this machine's clock; `none` is no window at all."""

    name = "HH:MM-HH:MM"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> moments.Window | Literal["none"]:
        if value == "none":
            return "none"
        if (hours := moments.window(value)) is None:
            self.fail(f"{value!r} is not the hours of a night: write 22:00-06:30, or none", param, ctx)
        return hours


class Day(click.ParamType[date]):
    """`2026-11-22`."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date: write 2026-11-22", param, ctx)


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


database_option = click.option(
    "--db",
    "database",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The database [.batchrunner/batchrunner.db].",
)


def _without_proxies(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        forget(os.environ)


no_proxy_option = click.option(
    "--no-proxy-env",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_without_proxies,
    help="Go without the proxies that the environment names.",
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
redo_option = click.option(
    "--redo",
    multiple=True,
    type=click.Choice(["changed", "failed"]),
    help="Pay again: for jobs that changed after they were bought, or that failed.",
)
batch_argument = click.argument("batch", required=False)


def jobs_argument(
    *, required: bool = False, metavar: str = "[BATCH] [JOB…]"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Words that name a batch, by default the one last worked on, and jobs of it by key or glob."""
    return click.argument("words", nargs=-1, required=required, metavar=metavar)
