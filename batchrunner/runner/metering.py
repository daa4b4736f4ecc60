"""Reading the balance so that doubts can be settled: what was used before them, and what one clip of each kind costs.

The first purchase of a kind that has no price yet is sent alone, between two readings (`reconcile.tariff`). When others are
under way, or a doubt may still arrive, it is kept back until it can be, while the others go ahead. Readings are free; a
balance that cannot be read, or does not move, only means that doubts are held for a person.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import anyio

from batchrunner import answers
from batchrunner.model import Balance, Job, Purchase, Reading
from batchrunner.reconcile import SPREAD, Kind, tariff
from batchrunner.runner.account import keep
from batchrunner.runner.context import Context

SETTLING_IN = (1.0, 2.0, 4.0)
"""Seconds to wait, one after the other, for the balance to show a purchase that was just accepted."""


class Turn(StrEnum):
    """Whether a job may be sent now."""

    GO = "go"
    ALONE = "alone"
    """Between two readings, with nothing else under way."""
    KEPT = "kept"
    WAIT = "wait"


def kind_of(job: Job) -> Kind:
    """What a job's price depends on."""
    return job.request.billing_key, job.request.duration


class Meter:
    """The readings of one run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._on = context.options.settle > 0 and context.options.on_doubt == "hold"
        self._lock = anyio.Lock()
        self._last: Reading | None = None
        self._priced: set[Kind] = set()
        self._hopeless: set[Kind] = set()

    async def start(self) -> None:
        """The first reading of the run, before anything is sent: what the next doubts will be counted from."""
        if not self._on or self._last is not None:
            return
        async with self._lock:
            if self._last is None and await self.read() is None:
                self._on = False
            self._priced = set(await self._tariff())

    async def read(self) -> Reading | None:
        """Ask what was used, and keep it; None when that is not told in whole credits."""
        context = self._context
        exchange = await context.provider.balance()
        context.board.heard(exchange.status is not None)
        balance = answers.balance(exchange, now=context.now())
        reading = await keep(context, balance) if isinstance(balance, Balance) else None
        self._last = reading or self._last
        return reading

    async def books(self) -> tuple[list[Reading], list[Purchase]]:
        """All readings of this account, and all purchases that have to explain them."""
        provider, store, run = self._context.provider, self._context.store, self._context.writer.run
        readings = await run(store.readings, provider.endpoint, provider.account)
        return readings, await run(store.charges, provider.endpoint)

    async def _tariff(self) -> dict[Kind, int]:
        return tariff(*await self.books(), timedelta(seconds=self._context.options.settle))

    def turn(self, job: Job) -> Turn:
        """Whether a job may be sent now, alone, or has to wait."""
        board, kind = self._context.board, kind_of(job)
        if board.measuring or board.judging:
            return Turn.WAIT
        if not self._on or kind in self._priced or kind in self._hopeless:
            return Turn.GO
        if self.is_quiet():
            return Turn.ALONE
        kept = board.kept.setdefault(kind, job)
        return Turn.KEPT if kept.id == job.id else Turn.GO

    def is_quiet(self) -> bool:
        """Whether nothing is under way, nothing unanswered can still arrive, and no refund can still come."""
        board, window = self._context.board, self._context.options.settle
        now = anyio.current_time()
        late = board.unanswered_at is not None and now < board.unanswered_at + window
        late = late or (board.refunded_at is not None and now < board.refunded_at + window * SPREAD)
        return not (board.sending or board.measuring or board.judging or late)

    def release(self) -> None:
        """Jobs that were kept back come first when they can be measured now."""
        board = self._context.board
        if board.kept and self.is_quiet():
            board.ready.extendleft(board.kept.values())
            board.kept.clear()

    async def before(self, job: Job) -> bool:
        """A reading right before a purchase; whether it can be measured."""
        if await self.read() is None:
            self._hopeless.add(kind_of(job))
            return False
        return True

    async def after(self, job: Job) -> None:
        """A reading right after it was accepted, when the balance shows it."""
        before, limits = self._last, self._context.limits
        for wait in (*SETTLING_IN, None):
            after = await self.read_unkept()
            if wait is None or after is None or (before is not None and after != before.used):
                break
            await anyio.sleep(limits.lasting(wait))
        await self.read()
        self._priced = set(await self._tariff())
        if kind_of(job) not in self._priced:
            self._hopeless.add(kind_of(job))

    async def read_unkept(self) -> int | None:
        """What was used, without a word in the books."""
        exchange = await self._context.provider.balance()
        balance = answers.balance(exchange, now=self._context.now())
        return int(balance.used) if isinstance(balance, Balance) else None
