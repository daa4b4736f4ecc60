"""Reading the balance so that doubts can be settled: what was used before them, and what one clip of each kind costs.

The first purchase of a kind that has no price yet is sent alone, between two readings (`reconcile.tariff`). When others are
under way, or a doubt may still arrive, it is kept back until it can be, while the others go ahead. Readings are free; a
balance that cannot be read, or does not move, only means that doubts are held for a person.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from enum import StrEnum

import anyio

from batchrunner import answers
from batchrunner.model import Balance, Job, Reading
from batchrunner.reconcile import SPREAD, Books, Kind, kind_of, reading, tariff
from batchrunner.runner.account import keep
from batchrunner.runner.context import Context

SETTLING_IN = (1.0, 2.0, 4.0)
"""Seconds to wait, one after the other, for the balance to show a purchase that was just accepted."""
ASKED_AGAIN = (1.0, 2.0)
"""Seconds to wait, one after the other, when the balance is not told."""
UNTOLD_FOR = 60.0
"""Seconds until a run that was not told the balance asks for it again; until then it buys without."""
MEASUREMENTS = 3
"""Purchases of one kind that are sent alone and show no price; after those it is given up."""


class Turn(StrEnum):
    """Whether a job may be sent now."""

    GO = "go"
    ALONE = "alone"
    """Between two readings, with nothing else under way."""
    KEPT = "kept"
    WAIT = "wait"


class Meter:
    """The readings of one run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._on = context.options.settle > 0 and context.options.on_doubt == "hold"
        self._lock = anyio.Lock()
        self._last: Reading | None = None
        self._again_at = float("-inf")
        """When the balance may be asked for again that was not told."""
        self._priced: set[Kind] = set()
        self._unseen: Counter[Kind] = Counter()
        """Purchases of a kind that were to be measured and were not."""

    async def start(self) -> None:
        """The first reading of the run, before anything is sent: what the next doubts will be counted from."""
        if not self._on or self._last is not None:
            return
        async with self._lock:
            if self._last is not None or anyio.current_time() < self._again_at:
                return
            if await self.read() is None:
                self._again_at = anyio.current_time() + self._context.limits.lasting(UNTOLD_FOR)
            self._priced = set(await self._tariff())

    async def read(self) -> Reading | None:
        """Ask what was used, and keep it; None when that is not told in whole credits."""
        balance: Balance | None = None
        for wait in (*ASKED_AGAIN, None):
            balance = await self._told()
            if balance is not None or wait is None:
                break
            await anyio.sleep(self._context.limits.lasting(wait))
        found = await keep(self._context, balance) if balance is not None else None
        self._on = self._on and (found is not None or balance is None)  # parts of a credit will not add up later either
        self._last = found or self._last
        return found

    async def _told(self) -> Balance | None:
        """The answer to one question for the balance, when it tells it."""
        context = self._context
        exchange = await context.provider.balance()
        context.board.heard(exchange.status is not None)
        balance = answers.balance(exchange, now=context.now())
        return balance if isinstance(balance, Balance) else None

    async def books(self) -> Books:
        """All readings of this account, and all purchases that have to explain them."""
        provider, store, run = self._context.provider, self._context.store, self._context.writer.run
        return Books(
            known=await run(store.known_purchase, provider.endpoint),
            account=provider.account,
            readings=await run(store.readings, provider.endpoint, provider.account),
            purchases=await run(store.charges, provider.endpoint),
            proof=self._context.options.proof,
        )

    async def _tariff(self) -> dict[Kind, int]:
        books, window = await self.books(), timedelta(seconds=self._context.options.settle)
        return tariff(books.readings, books.own, window)

    def turn(self, job: Job) -> Turn:
        """Whether a job may be sent now, alone, or has to wait."""
        board, kind = self._context.board, kind_of(job)
        if board.measuring or board.judging:
            return Turn.WAIT
        if not self._on or self._last is None or kind in self._priced or self._unseen[kind] >= MEASUREMENTS:
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
        found = await self.read()
        self._unseen[kind_of(job)] += found is None
        return found is not None

    async def after(self, job: Job) -> None:
        """A reading right after it was accepted, when the balance shows it."""
        before, limits = self._last, self._context.limits
        for wait in (*SETTLING_IN, None):
            told = await self._told()
            now = reading(told, self._context.now())
            moved = now is not None and before is not None and now.used != before.used
            if moved or wait is None:
                break
            await anyio.sleep(limits.lasting(wait))
        await self.read()
        self._priced = set(await self._tariff())
        self._unseen[kind_of(job)] += kind_of(job) not in self._priced
