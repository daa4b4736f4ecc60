"""A provider in trouble: the circuit breaker of a run, and how long refusals for now are waited for."""

from __future__ import annotations

import anyio

from batchrunner import answers
from batchrunner.breaker import Circuit
from batchrunner.classify import Submission
from batchrunner.matrix import Verdict
from batchrunner.model import Balance
from batchrunner.runner.board import Stop
from batchrunner.runner.context import Context

UNSTABLE = "provider_unstable"
REFUSED_FOR = 1800.0
"""Seconds of nothing but "too fast" or "too many" after which a run buys nothing more (reliability notes R31)."""
NO_CHANNEL_FOR = 600.0
"""The same for "no channel for this model", which waiting seldom cures (R36b)."""


class Outage:
    """What answers, lost and given, mean for all the submissions to come."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._trouble = UNSTABLE
        """What the breaker opened for last."""

    async def learn(self, verdict: Submission) -> None:
        """One submission is recorded: the breaker opens, closes, or stays as it is."""
        board, now = self._context.board, anyio.current_time()
        before = board.breaker
        match verdict.verdict:
            case Verdict.IN_DOUBT:
                board.breaker = before.doubted(now)
            case Verdict.UNSENT:
                board.breaker = before.unsent(now)
            case _:
                board.breaker = before.answered()
        if board.breaker.circuit is before.circuit:
            return
        board.wake()
        if board.breaker.circuit is Circuit.CLOSED:
            await self._pause(None, "submissions are answered again: buying goes on")
        elif board.breaker.circuit is Circuit.OPEN:
            self._trouble, why = _opened(verdict, again=before.circuit is Circuit.HALF_OPEN)
            await self._pause(self._trouble, f"{why}: nothing is submitted; {self._next_probe(now)}")

    def _next_probe(self, now: float) -> str:
        at = self._context.board.breaker.probe_at
        return f"asking for the balance, which is free, in {max((at or now) - now, 0):.0f} s; polls and downloads go on"

    async def _pause(self, reason: str | None, message: str) -> None:
        """Say so to those who look on, and to those who ask the database."""
        context = self._context
        if reason is not None:
            await context.writer.run(context.store.pause, context.batch.id, reason, message, now=context.now())
        elif not context.board.stops:
            await context.writer.run(context.store.unpause, context.batch.id, now=context.now())
        context.held(self._trouble, message)

    async def probe(self) -> None:
        """Ask for the balance: when it is told, one submission may try."""
        context, board = self._context, self._context.board
        exchange = await context.provider.balance()
        board.heard(exchange.status is not None)
        outcome = answers.balance(exchange, now=context.now())
        now = anyio.current_time()
        if isinstance(outcome, answers.AccountStop):
            await context.pause(Stop.ACCOUNT, outcome.reason, outcome.message)
            return
        board.breaker = board.breaker.probed(now, answered=isinstance(outcome, Balance))
        if board.breaker.circuit is Circuit.HALF_OPEN:
            context.held(self._trouble, "the provider answers again: one submission is tried")
        else:
            context.held(self._trouble, f"the provider does not tell the balance; {self._next_probe(now)}")

    def give_up(self) -> None:
        """When answers have been lost for an hour, whatever was tried, the rest is left for another run."""
        context, board = self._context, self._context.board
        if Stop.PROVIDER not in board.stops and board.breaker.gives_up(anyio.current_time()):
            board.pause(Stop.PROVIDER)
            context.held(UNSTABLE, "no submission was answered for an hour: nothing more is bought in this run")

    async def refused(self, reason: str) -> None:
        """A submission was refused for now; after long enough of that nothing more is tried."""
        context, board, now = self._context, self._context.board, anyio.current_time()
        board.refused_since = now if board.refused_since is None else board.refused_since
        patience = context.limits.lasting(NO_CHANNEL_FOR if reason == "no_channel" else REFUSED_FOR)
        if now - board.refused_since < patience:
            return
        why, text = _GIVEN_UP.get(reason, _GIVEN_UP["rate_limited"])
        await context.pause(Stop.REFUSING, why, text)


def _opened(verdict: Submission, *, again: bool) -> tuple[str, str]:
    """Why the breaker opened, in a word and in a sentence."""
    if verdict.verdict is Verdict.UNSENT:
        said = verdict.answer.message or "no connection"
        if verdict.reason == "proxy":
            return "proxy", f"the proxy refuses the way ({said}), and nothing was sent; `batchrunner doctor` names it"
        return (
            "network",
            f"the provider cannot be reached ({said}), and nothing was sent; look at the network, DNS and VPN",
        )
    return UNSTABLE, "this one was not answered either" if again else "answers were lost"


_GIVEN_UP = {
    "rate_limited": ("rate", "every submission was refused as too fast for half an hour; nothing more is bought now"),
    "capacity": ("capacity", "the provider had no place for half an hour; nothing more is bought now"),
    "no_channel": (
        "model",
        "the provider has had no channel for this model for ten minutes; nothing more is bought now",
    ),
}
