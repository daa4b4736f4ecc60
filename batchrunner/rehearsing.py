"""A rehearsal: a run whose provider is the emulator, in this process, over the same HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

from batchrunner.manifest import Prices
from batchrunner.model import FrameDialect
from batchrunner.providers.base import Provider
from batchrunner.providers.http import HttpClient
from batchrunner.providers.toapis import ToApis
from batchrunner.report.rehearsal import Rehearsal
from batchrunner.run_request import RunRequest

EMULATOR = "emulator"
"""Whose tasks a rehearsal makes."""
EMULATOR_KEY = "sk-emulator-needs-no-key"

Connect = Callable[[AsyncExitStack], Awaitable[Provider]]


def rehearsal_of(
    request: RunRequest, *, now: Callable[[], datetime]
) -> tuple[Rehearsal, Callable[[Path, FrameDialect], Connect]]:
    """A rehearsal's own account, and how to reach its provider: the emulator in this process, over the same HTTP.

    `UsageError` for a scenario that there is not.
    """
    from batchrunner.emulator import scenarios  # it loads a web server, which only a rehearsal needs
    from batchrunner.emulator.server import Books, Emulator

    config = scenarios.scenario_of(request.scenario).with_seed(request.seed)
    rehearsal = Rehearsal(scenario=request.scenario, speed=request.speed)

    def close(emulator: Emulator, before: Books, begun: datetime) -> None:
        books = emulator.books().since(before)
        # What this machine did after the last task had ended, at its own speed, is no part of what it stands for.
        busy = emulator.busy_until() - begun.timestamp()
        rehearsal.seconds = busy if busy > 0 else (now() - begun).total_seconds()
        rehearsal.accepted, rehearsal.met = books.accepted, books.met
        rehearsal.billed_usd, rehearsal.refunded_usd = books.billed_usd, books.refunded_usd

    async def connect(database: Path, dialect: FrameDialect, stack: AsyncExitStack) -> Provider:
        state = database.with_name(database.name + ".emulator")
        emulator = stack.enter_context(
            Emulator.start(state_dir=state, speed=request.speed, full_clips=request.full_clips, config=config)
        )
        stack.callback(close, emulator, emulator.books(), now())
        http = await stack.enter_async_context(HttpClient(emulator.base_url, EMULATOR_KEY))
        return ToApis(http, dialect=dialect, endpoint=EMULATOR)

    return rehearsal, lambda database, dialect: partial(connect, database, dialect)


def emulator_prices() -> Prices:
    """What a rehearsal counts with when nobody gave prices."""
    from batchrunner.emulator.prices import MILLI_USD_PER_SECOND  # as above

    amounts = {key: 1000 * price for key, price in MILLI_USD_PER_SECOND.items()}
    return Prices(currency="USD", amounts=amounts, per_second=True)
