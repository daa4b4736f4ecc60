"""The account of a run: what it has left, whether the next clip can be paid, and, at the end, what explains what it used.

Asking is free. A balance that is not told stops nothing: the provider itself refuses what cannot be paid, and then every
job keeps its place.
"""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import anyio

from batchrunner import answers, audit
from batchrunner.model import Balance, Job, Reading
from batchrunner.reconcile import reading
from batchrunner.runner.board import Stop
from batchrunner.runner.context import Context
from batchrunner.states import JobState

QUOTA = "quota"
"""Why a batch is paused whose account cannot pay, here as in the provider's own refusals."""
LONG_AGO = timedelta(days=8)
"""What was bought before then has ended: relays end every task within a day (API facts §4)."""
PATIENCE = 10.0
"""Seconds for the last question of a run."""


async def ask(context: Context) -> tuple[Balance | None, Reading | None]:
    """What the account has, and what it has used by now: that is kept when nothing was being sent meanwhile."""
    board, before = context.board, context.board.purchases
    calm = not board.sending
    exchange = await context.provider.balance()
    board.heard(exchange.status is not None)
    balance = answers.balance(exchange, now=context.now())
    if not isinstance(balance, Balance):
        return None, None
    calm = calm and not board.sending and board.purchases == before
    return balance, await keep(context, balance) if calm else None


async def keep(context: Context, balance: Balance) -> Reading | None:
    """Record what was used, when it is told in whole credits."""
    found = reading(balance, context.now())
    if found is not None:
        provider = context.provider
        await context.writer.run(context.store.record_reading, provider.endpoint, provider.account, found)
    return found


class Account:
    """Whether the next clip can be paid."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._left: Fraction | None = None
        """Credits, less what this run has taken for clips since it asked; None where there is no limit, or it is not told."""
        self._began: Reading | None = None
        self._asking = anyio.Lock()

    async def begin(self, balance: Balance) -> None:
        """The balance before the first submission."""
        self._note(balance)
        self._began = await keep(self._context, balance)

    def _note(self, balance: Balance) -> None:
        self._left = None if balance.remaining is None else Fraction(balance.remaining)

    def _price(self, job: Job) -> Fraction | None:
        return audit.credits(self._context.options.price(job), self._context.batch.currency)

    async def covers(self, job: Job) -> bool:
        """Whether the account can pay for this clip; if not, the batch is paused and the job keeps its place.

        True also where that cannot be known: without prices in credits, without a limit, without an answer.
        """
        price = self._price(job)
        if price is None or self._take(price):
            return True
        async with self._asking:
            balance, _ = await ask(self._context)
            if balance is None:
                return True
            self._note(balance)
            if self._take(price):
                return True
        await self._context.pause(Stop.ACCOUNT, QUOTA, await self._standing(job))
        return False

    def _take(self, price: Fraction) -> bool:
        if self._left is None:
            return True
        if self._left < price:
            return False
        self._left -= price
        return True

    async def after_refusal(self, job: Job, said: str) -> str:
        """The provider's refusal, and what the balance is."""
        balance, _ = await ask(self._context)
        if balance is None or balance.remaining is None:
            return said
        self._note(balance)
        return f"{said}; {await self._standing(job)}"

    async def _standing(self, job: Job) -> str:
        """What is left, and how many clips such as the next one it pays for."""
        context = self._context
        counts = await context.writer.run(
            context.store.counts, context.batch.id, only=context.options.only, tags=context.options.tags
        )
        waiting, price, left = counts.get(JobState.PENDING, 0), self._price(job), self._left or Fraction(0)
        text = f"the account has {audit.amount(left)} credits left"
        if not price:
            return f"{text} and {waiting} clips wait"
        pays = max(min(int(left / price), waiting), 0)
        return f"{text}: they pay for {pays} of the {waiting} clips that wait, {audit.amount(price)} credits each"

    async def close(self) -> str | None:
        """The audit line of the run; None when the balance was never asked for."""
        if self._began is None:
            return None
        context = self._context
        with anyio.move_on_after(PATIENCE, shield=True):
            _, ended = await ask(context)
            if ended is not None:
                return await context.writer.run(self._audited, self._began, ended)
        return "not auditable: the balance was not told at the end"

    def _audited(self, began: Reading, ended: Reading) -> str:
        store, provider = self._context.store, self._context.provider
        readings = store.readings(provider.endpoint, provider.account)
        before = store.postings(provider.endpoint, since=began.at - LONG_AGO, until=began.at)
        first = audit.start(readings, before, began=began.at)
        if first is None:
            return "not auditable: tasks of earlier runs ended in this one, and no balance was kept from before them"
        found = audit.audit(first, ended, store.postings(provider.endpoint, since=first.at - audit.LATE))
        return audit.sentence(found, exclusive=self._context.options.exclusive_key)
