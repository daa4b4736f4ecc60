"""Settling doubts: look a purchase up by its own id, take its task over, or weigh the evidence that there is none.

It takes over what it finds, at once; calls absent only what `reconcile.conclude` shows to be; holds the rest for a person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import anyio

from batchrunner import answers
from batchrunner.classify import candidate_fits
from batchrunner.envelope import parse
from batchrunner.matrix import TAKEN_ID
from batchrunner.model import Job
from batchrunner.polling import backoff
from batchrunner.providers.base import Exchange
from batchrunner.reconcile import JUDGEMENTS, LOOKUPS, SPREAD, Conclusion, conclude, gather, next_lookup
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.runner.metering import Meter
from batchrunner.runner.questions import further_question, question
from batchrunner.settings import UNREACHABLE_AFTER
from batchrunner.states import JobEvent

Ask = Callable[[Context, str], Awaitable[Exchange]]
Look = answers.Found | answers.Missing | answers.Later | answers.AccountStop
UNSEEN = Conclusion(absent=False, text="a look-up was not answered")


class Settler:
    """The settling part of a run."""

    def __init__(self, context: Context, meter: Meter) -> None:
        self._context = context
        self._meter = meter
        self._weighed = 0
        """Times that the evidence about the doubts at hand was not enough."""

    @property
    def _window(self) -> float:
        return self._context.options.settle

    async def look(self, flight: Flight) -> None:
        """Look for one purchase once; afterwards it is found, looked for again later, or waits for a verdict."""
        flight.looked_since = anyio.current_time() if flight.looked_since is None else flight.looked_since
        outcome = await self._find(flight)
        if isinstance(outcome, answers.Missing | answers.Later):  # a key that is refused would only be refused again
            await self._again(flight, outcome)

    async def _find(self, flight: Flight, ask: Ask = question) -> Look:
        """Ask for a purchase by its own id, and by the id that its spoilt answer held; one that is found is taken over."""
        context, job = self._context, flight.job
        assert job.purchase_id is not None
        exchange = await ask(context, job.purchase_id)
        flight.asked_at = anyio.current_time()
        outcome: Look = answers.lookup(exchange, purchase_id=job.purchase_id, now=context.now())
        if isinstance(outcome, answers.AccountStop):
            await context.pause(Stop.ACCOUNT, outcome.reason, outcome.message)
        elif isinstance(outcome, answers.Missing | answers.Later):
            salvaged = await self._salvaged(job)
            if salvaged is not None and await self._adopt(flight, salvaged.task_id):
                return salvaged
        if isinstance(outcome, answers.Found) and not await self._adopt(flight, outcome.task_id, proven=True):
            # It was bought, that is proof; the job that has the task will be told that it is not its own.
            context.board.strays[outcome.task_id] = job.purchase_id
            return answers.Later(TAKEN_ID.reason)
        return outcome

    async def _salvaged(self, job: Job) -> answers.Found | None:
        """The candidate of a spoilt answer, when the provider knows such a task of ours."""
        context = self._context
        attempts = await context.writer.run(context.store.attempts, job.id)
        candidate = attempts[-1].answer.candidate if attempts and attempts[-1].answer else None
        if candidate is None:
            return None
        exchange = await further_question(context, candidate)
        task: Any = parse(exchange.body) if exchange.status == 200 and exchange.complete else None
        if not isinstance(task, dict) or task.get("client_business_id") not in (None, job.purchase_id):
            return None
        window = max(self._window, 60.0)
        fits = candidate_fits(
            task, task_id=candidate, model=job.request.model, since=attempts[-1].intended_at, window=window
        )
        return answers.Found(candidate) if fits else None

    async def _adopt(self, flight: Flight, task_id: str, *, proven: bool = False) -> bool:
        """The provider knows the purchase by this task: from now on it is polled like any other."""
        context, board = self._context, self._context.board
        if not await context.writer.run(context.store.record_found, flight.job.id, task_id, now=context.now()):
            return False
        state = context.moved(flight.job, JobEvent.FOUND, task_id=task_id)
        flight.job = replace(flight.job, state=state, task_id=task_id)
        flight.misses = flight.failures = 0
        flight.proven = proven
        board.fly(flight, anyio.current_time() + context.next_look(flight.job, 0.0))
        return True

    async def _again(self, flight: Flight, outcome: answers.Missing | answers.Later) -> None:
        """Look once more, or leave it to the verdict; a question without an answer is no look."""
        context, board = self._context, self._context.board
        window, floor, now = self._window, context.limits.poll_floor, anyio.current_time()
        if isinstance(outcome, answers.Missing):
            flight.misses += 1
            wait = next_lookup(flight.misses, age=now - flight.accepted_at, window=window)
            if wait is None:
                board.unfound.append(flight)
                board.judge_at = now if board.judge_at is None else board.judge_at
                board.wake()
                return
        else:
            flight.failures += 1
            wait = context.limits.lasting(backoff(flight.failures, first=5.0, chance=context.chance.random()))
            if flight.looked_since is not None and now - flight.looked_since > max(2 * window, UNREACHABLE_AFTER):
                await self._leave(flight, outcome)
                return
        board.fly(flight, now + max(wait, floor))

    async def _leave(self, flight: Flight, outcome: answers.Missing | answers.Later) -> None:
        """No look-up says anything of use: the next run asks again, or a person does."""
        why = "every look-up by its purchase id was answered with an error, or not at all"
        if isinstance(outcome, answers.Later) and outcome.reason == TAKEN_ID.reason:
            why = "the provider knows it as a task that another job has"
        await self._hold_one(flight, f"{self._at_stake(flight.job)}; {why}")

    async def judge(self) -> None:
        """Weigh the evidence about every doubt that was not found, while nothing is sent and questions are let through."""
        context, board = self._context, self._context.board
        if anyio.current_time() < board.query_pace.held_until:
            board.judge_at = board.query_pace.held_until
            return
        board.measuring = True
        try:
            conclusion = await self._weigh()
        finally:
            board.measuring = False
        board.judge_at = None
        if not board.unfound:
            self._weighed = 0
        elif conclusion.absent:
            await self._send_again(conclusion.text)
        elif self._weighed + 1 < JUDGEMENTS and not board.paused:
            self._weighed += 1
            board.judge_at = anyio.current_time() + max(self._window * SPREAD, context.limits.poll_floor)
        else:
            await self._hold(conclusion.text)

    async def _weigh(self) -> Conclusion:
        """One last look at each, a look at a purchase that surely exists, and the balance, all within a moment."""
        context, board = self._context, self._context.board
        for flight in list(board.unfound):
            if anyio.current_time() - flight.asked_at < context.limits.poll_floor:
                continue  # it was looked for a moment ago
            outcome = await self._answered(partial(self._find, flight, further_question))
            if isinstance(outcome, answers.Found):
                board.unfound.remove(flight)
            elif not isinstance(outcome, answers.Missing):
                return UNSEEN
        resend = context.options.on_doubt == "resend"
        if resend:
            await self._hold_repeated()
        if not board.unfound:
            return UNSEEN
        books = await self._meter.books()
        control = await self._control(books.known)
        latest = await self._meter.read() if control is not None and not resend else None
        evidence = gather(
            [flight.job for flight in board.unfound],
            books,
            control=control,
            now=context.now(),
            latest=latest,
            window=timedelta(seconds=self._window),
            resend=resend,
        )
        return conclude(evidence)

    async def _answered(self, ask: Callable[[], Awaitable[Look]]) -> Look:
        """Ask until it is answered: with many doubts some question meets a bad moment in every judgement."""
        for _ in range(LOOKUPS - 1):
            outcome = await ask()
            if not isinstance(outcome, answers.Later):
                return outcome
            await anyio.sleep(self._context.limits.poll_floor)
        return await ask()

    async def _control(self, known: str | None) -> str | None:
        """A purchase that surely exists, when the provider finds it by its id as it should find the doubts."""
        context = self._context
        if known is None:
            return None

        async def ask() -> Look:
            return answers.lookup(await further_question(context, known), purchase_id=known, now=context.now())

        return known if isinstance(await self._answered(ask), answers.Found) else None

    async def _send_again(self, text: str) -> None:
        """They were not bought: pending again, with the same purchase ids."""
        context, board = self._context, self._context.board
        flights, board.unfound, self._weighed = board.unfound, [], 0
        for flight in flights:
            note = f"not found by {flight.misses + 1} look-ups in {self._window:.0f} s; {text}"
            if await context.writer.run(
                context.store.record_absent, flight.job.id, note=note, not_before=None, now=context.now()
            ):
                board.purchases -= not flight.resumed
                context.moved(flight.job, JobEvent.ABSENT, reason="absent", message="not bought: it is sent again")

    async def _hold_repeated(self) -> None:
        """Without a look at the balance nothing is sent a third time: a clip is paid twice at most, as the plan says."""
        context, board = self._context, self._context.board
        for flight in list(board.unfound):
            attempts = await context.writer.run(context.store.attempts, flight.job.id)
            own = [one for one in attempts if one.purchase_id == flight.job.purchase_id]
            if any(one.outcome == JobEvent.ABSENT for one in own):
                board.unfound.remove(flight)
                why = "it was sent again once, and `on_doubt: resend` does that once"
                await self._hold_one(flight, f"{self._at_stake(flight.job)}; {why}")

    async def _hold(self, why: str) -> None:
        """Nothing more can be learned in this run: what each may have cost, and what helps, goes with the job."""
        board = self._context.board
        flights, board.unfound, self._weighed = board.unfound, [], 0
        for flight in flights:
            message = (
                f"{self._at_stake(flight.job)}; not found by {max(flight.misses + 1, LOOKUPS)} look-ups, but {why}"
            )
            await self._hold_one(flight, message)

    async def _hold_one(self, flight: Flight, message: str) -> None:
        context = self._context
        message += f"; see: batchrunner doubt check {context.batch.name}"
        await context.writer.run(context.store.record_held, flight.job.id, message=message, now=context.now())
        context.held("in_doubt", f"{flight.job.key}: {message}")

    def _at_stake(self, job: Job) -> str:
        price = self._context.options.price(job)
        if price is None:
            return f"it may have cost {job.request.duration} s of {job.request.billing_key}"
        return f"it may have cost {price / 1_000_000:.2f} {self._context.batch.currency or ''}".rstrip()
