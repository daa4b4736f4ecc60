"""What `run` and `plan` are asked in the same words: the manifest, and how much of it may be bought and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time, timedelta
from functools import reduce, wraps
from pathlib import Path
from typing import Any, Literal

import click

from batchrunner.cli.params import (
    Amount,
    Day,
    Duration,
    Hours,
    TimeOfDay,
    allow_option,
    database_option,
    only_option,
    redo_option,
    set_option,
    tag_option,
)
from batchrunner.errors import ExitCode, UsageError
from batchrunner.moments import Window
from batchrunner.run_request import RunRequest

_OPTIONS = (
    click.argument("manifest", required=False, type=click.Path(path_type=Path)),
    click.option(
        "-p", "--prompt", "prompts", multiple=True, metavar="TEXT", help="A clip of this prompt; no manifest."
    ),
    set_option,
    database_option,
    click.option("--max-in-flight", type=click.IntRange(min=1), help="Tasks at the provider at once, at most."),
    click.option("--max-cost", type=Amount(), help="What the batch may cost in all; it needs prices."),
    click.option("--deadline", type=TimeOfDay(), help="End at this time of day; begin nothing that would come later."),
    click.option("--max-duration", type=Duration(), help="The same for a length of time (90s, 30m, 6h)."),
    click.option(
        "--window", type=Hours(), help="Buy in these hours alone; `none`: at any time, whatever the manifest says."
    ),
    click.option("--date", "day", type=Day(), help="What {date} stands for, to go on with the batch of another night."),
    click.option("--limit", type=click.IntRange(min=0), help="Buy at most this many clips in this run."),
    only_option,
    tag_option,
    allow_option,
    redo_option,
    click.option(
        "--canary/--no-canary", default=True, help="Wait for the first clip of a new kind [as the manifest says]."
    ),
)


def buying_options(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    """Gives a command the `RunRequest` that these options make, as its first argument."""

    @wraps(command)
    def asked(
        *,
        manifest: Path | None,
        prompts: tuple[str, ...],
        sets: tuple[str, ...],
        database: Path | None,
        max_in_flight: int | None,
        max_cost: int | None,
        deadline: time | None,
        max_duration: timedelta | None,
        window: Window | Literal["none"] | None,
        day: date | None,
        limit: int | None,
        only: str | None,
        tags: tuple[str, ...],
        allowed: tuple[Path, ...],
        redo: tuple[str, ...],
        canary: bool,
        **others: Any,
    ) -> ExitCode:
        if (manifest is None) is not bool(prompts):
            name = click.get_current_context().info_name
            raise UsageError(
                f"{name} needs a manifest, or prompts with -p",
                fix=f'batchrunner {name} batch.yaml, or batchrunner {name} -p "…"',
            )
        request = RunRequest(
            manifest=manifest,
            prompts=prompts,
            sets=sets,
            allowed=allowed,
            database=database,
            max_in_flight=max_in_flight,
            max_cost=max_cost,
            deadline=deadline,
            max_duration=max_duration,
            window=None if window == "none" else window,
            at_any_time=window == "none",
            date=day,
            limit=limit,
            only=only,
            tags=tags,
            redo=redo,
            canary=canary,
        )
        return command(request, **others)

    return reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), asked)
