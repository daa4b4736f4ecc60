"""Buying one clip: frames at the provider, intent durable, one request, its answer recorded (DESIGN §5, steps 1 to 3)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import anyio
import anyio.to_thread

from batchrunner import classify
from batchrunner.budget import Used, near, only_tags, passed, sentence, warning
from batchrunner.classify import Submission
from batchrunner.matrix import TAKEN_ID, Verdict
from batchrunner.model import Answer, Intent, Job
from batchrunner.polling import backoff
from batchrunner.providers.base import Buyer, Exchange
from batchrunner.purchase import RANDOM_BITS, purchase_id
from batchrunner.runner.account import QUOTA, Account
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.runner.metering import Meter, Turn
from batchrunner.runner.outage import Outage
from batchrunner.runner.uploading import CannotSend, Rejected, Uploader
from batchrunner.settings import LONGEST_WAIT, SUBMIT_DEADLINE, SUBMIT_GRACE
from batchrunner.states import JobEvent

RATE_BACKOFF, RATE_BACKOFF_CAP = 5.0, 120.0
"""Seconds to wait after a 429 that does not say how long (reliability notes R31)."""


class Submitter:
    """The submitting half of a run."""

    def __init__(self, context: Context, outage: Outage, meter: Meter, account: Account, buyer: Buyer) -> None:
        self._context = context
        self._buyer = buyer
        self._outage = outage
        self._meter = meter
        self._account = account
        self._uploader = Uploader(context, buyer)
        self._scopes: set[anyio.CancelScope] = set()

    def hurry(self, seconds: float) -> None:
        """Requests under way get this long to be answered; after that they are in doubt."""
        deadline = anyio.current_time() + seconds
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, deadline)

    async def run(self, job: Job) -> None:
        """Submit one pending job; every outcome is recorded before this returns."""
        try:
            await self._submit(job)
        finally:
            self._context.board.sending.pop(job.id, None)

    async def _submit(self, job: Job) -> None:
        context, board = self._context, self._context.board
        try:
            urls = tuple([await self._uploader.url_of(frame) for frame in job.request.frames])
        except Rejected as rejected:
            await self._reject(job, rejected)
            return
        except CannotSend as reason:
            board.blocked[job.id] = str(reason)
            board.left_out(job)
            context.held("upload", f"{job.key}: {reason}")
            return
        if board.paused or not await self._account.covers(job):
            return
        await self._meter.start()
        turn = self._meter.turn(job)
        if turn is Turn.KEPT or board.paused:
            return
        if turn is Turn.ALONE:
            await self._buy_alone(job, urls)
        elif turn is Turn.WAIT or not board.take_turn(job):
            board.ready.appendleft(job)  # its frames took long, and others were quicker, or the breaker has opened
        else:
            await self._buy(job, urls)

    async def _buy_alone(self, job: Job, urls: tuple[str, ...]) -> None:
        """The first of its kind, between two readings of the balance."""
        board = self._context.board
        board.measuring = True
        try:
            measurable = await self._meter.before(job)
            if board.paused:
                return
            if not board.take_turn(job):
                board.ready.appendleft(job)
                return
            verdict = await self._buy(job, urls)
            if measurable and verdict is Verdict.ACCEPTED:
                board.preparing.add(
                    job.id
                )  # its intent is closed: a run that is told to stop need not wait for the rest
                await self._meter.after(job)
        finally:
            board.measuring = False

    async def _buy(self, job: Job, urls: tuple[str, ...]) -> Verdict | None:
        """Intent, request, record; None when the intent was not made."""
        context, board = self._context, self._context.board
        now = context.now()
        purchase = job.purchase_id or purchase_id(now, context.chance.getrandbits(RANDOM_BITS))
        body = self._buyer.prepare(job.request, image_urls=urls, purchase_id=purchase)
        intent = Intent(
            purchase_id=purchase,
            body_sha256=hashlib.sha256(body).hexdigest(),
            price=context.options.price(job),
            day=now.astimezone().date(),
            run_id=context.options.run_id,
            account=context.provider.account,
        )
        # From the intent to the record nothing may be left half done: only a deadline ends it, and that is recorded too.
        with anyio.CancelScope(shield=True):
            caps = context.options.caps
            attempt = await context.writer.run(
                context.store.record_intent,
                job.id,
                intent,
                cap=caps.max_cost,
                per_day=caps.per_day,
                per_month=caps.per_month,
                per_run=caps.per_run,
                tags=caps.tags,
                now=now,
            )
            if attempt is None:
                await self._not_claimed(job, intent)
                return None
            board.preparing.discard(job.id)
            board.purchases += 1
            state = context.moved(job, JobEvent.CLAIMED)
            job = replace(job, state=state, purchase_id=purchase, submitted_at=now)
            exchange = await self._send(body)
            answered_at = anyio.current_time()
            verdict = classify.submission(exchange, now=context.now())
            board.heard(exchange.status is not None)
            await self._record(job, verdict, answered_at)
            await self._outage.learn(verdict)
        await self._warn_of_caps()
        return verdict.verdict

    async def _send(self, body: bytes) -> Exchange:
        allowed = SUBMIT_GRACE if self._context.board.stopping else SUBMIT_DEADLINE
        scope = anyio.CancelScope(deadline=anyio.current_time() + allowed, shield=True)
        self._scopes.add(scope)
        try:
            with scope:
                return await self._buyer.submit(body)
        finally:
            self._scopes.discard(scope)
        return Exchange(complete=False, body_started=True, error="no answer in time")

    async def _record(self, job: Job, verdict: Submission, answered_at: float) -> None:
        match verdict.verdict:
            case Verdict.ACCEPTED:
                await self._accepted(job, verdict, answered_at)
            case Verdict.IN_DOUBT:
                await self._unanswered(job, verdict.answer, verdict.reason)
            case Verdict.REFUSED:
                await self._refused(job, verdict)
            case Verdict.UNSENT | Verdict.REFUSED_FOR_NOW | Verdict.ACCOUNT_STOP:
                await self._returned(job, verdict)
        board = self._context.board
        if verdict.verdict is not Verdict.UNSENT:
            board.unsent = 0
        if verdict.verdict not in (Verdict.UNSENT, Verdict.REFUSED_FOR_NOW):
            board.refusals, board.refused_since = 0, None

    async def _accepted(self, job: Job, verdict: Submission, answered_at: float) -> None:
        """A task's age counts from its answer: how long the record took says nothing of the provider."""
        context = self._context
        assert verdict.task_id is not None
        now = context.now()
        if not await context.writer.run(
            context.store.record_accepted, job.id, verdict.task_id, verdict.answer, now=now
        ):
            # Two jobs may never share a task: somebody's answer went astray.
            await self._unanswered(job, replace(verdict.answer, rule=TAKEN_ID.id), TAKEN_ID.reason)
            return
        state = context.moved(job, JobEvent.ACCEPTED, task_id=verdict.task_id)
        job = replace(job, state=state, task_id=verdict.task_id)
        await context.lessons.look_up(job.request.kind)
        context.board.fly(
            Flight(job=job, accepted_at=answered_at, unfinished_at=answered_at),
            answered_at + context.next_look(job, 0.0),
        )

    async def _unanswered(self, job: Job, answer: Answer, reason: str) -> None:
        context = self._context
        await context.writer.run(context.store.record_unanswered, job.id, answer, reason=reason, now=context.now())
        state = context.moved(job, JobEvent.UNANSWERED, reason=reason, message=answer.message)
        now = anyio.current_time()
        sent_at = now - (context.now() - (job.submitted_at or context.now())).total_seconds()
        context.board.unanswered_at = sent_at
        if context.options.settle:
            context.board.asking.add(Flight(job=replace(job, state=state), accepted_at=sent_at), now)

    async def _refused(self, job: Job, verdict: Submission) -> None:
        context = self._context
        context.board.purchases -= 1
        await context.writer.run(
            context.store.record_refused, job.id, verdict.answer, reason=verdict.reason, now=context.now()
        )
        context.moved(job, JobEvent.REFUSED, reason=verdict.reason, message=verdict.answer.message)

    async def _returned(self, job: Job, verdict: Submission) -> None:
        """Certainly not bought: back to pending, and the lane learns why."""
        context, board = self._context, self._context.board
        board.purchases -= 1
        wait = 0.0
        if verdict.verdict is Verdict.UNSENT:
            board.unsent += 1
            wait = context.limits.lasting(backoff(board.unsent, chance=context.chance.random()))
            board.submit_pace = board.submit_pace.held(anyio.current_time() + wait)
        elif verdict.verdict is Verdict.REFUSED_FOR_NOW:
            wait = self._slow_down(verdict)
        not_before = context.now() + timedelta(seconds=wait) if wait else None
        await context.writer.run(
            context.store.record_returned,
            job.id,
            verdict.answer,
            reason=verdict.reason,
            not_before=not_before,
            now=context.now(),
        )
        context.moved(job, JobEvent.RETURNED, reason=verdict.reason, message=verdict.answer.message)
        if verdict.verdict is Verdict.ACCOUNT_STOP:
            said = verdict.answer.message or verdict.reason
            if verdict.reason == QUOTA and not board.paused:
                said = await self._account.after_refusal(job, said)
            await context.pause(Stop.ACCOUNT, verdict.reason, said)
        elif verdict.verdict is Verdict.REFUSED_FOR_NOW:
            await self._outage.refused(verdict.reason)

    def _slow_down(self, verdict: Submission) -> float:
        """A refusal for now slows the whole lane, not just this job; returns the job's own wait."""
        context, board, limits = self._context, self._context.board, self._context.limits
        now = anyio.current_time()
        board.refusals += 1
        pause = backoff(board.refusals, first=RATE_BACKOFF, cap=RATE_BACKOFF_CAP, chance=context.chance.random())
        longest = limits.lasting(LONGEST_WAIT.total_seconds())
        wait = min(verdict.retry_after, longest) if verdict.retry_after else limits.lasting(pause)
        if verdict.reason == "rate_limited":
            board.submit_pace = board.submit_pace.slowed(now, now + wait)
        else:
            board.submit_pace = board.submit_pace.held(now + wait)
        context.held(verdict.reason, f"the provider asks for patience: next submission in {wait:.0f} s")
        if verdict.reason == "capacity":
            context.crowded()
        return wait

    async def _not_claimed(self, job: Job, intent: Intent) -> None:
        """The intent was not made: the budget is used up, or somebody else moved the job."""
        context = self._context
        current = await context.writer.run(context.store.job, job.id)
        if current.state is not job.state:
            return
        board, caps = context.board, context.options.caps
        board.ready.appendleft(job)
        used, today = await self._used(), context.now().astimezone().date()
        currency, tags = context.batch.currency, current.tags
        why = sentence(caps, used, intent.price, today=today, currency=currency, tags=tags)
        if not why:
            return  # something came back in the meantime
        held = only_tags(passed(caps, used, intent.price, tags=tags))
        known = held <= board.capped if held else Stop.BUDGET in board.stops
        if held:
            board.hold_back(held)  # this one too, when another has met the cap before it
        elif not known:
            board.pause(Stop.BUDGET)
        if not known:
            board.over_budget = why
            context.held("budget", why)

    async def _used(self) -> Used:
        context = self._context
        today = context.now().astimezone().date()
        options = context.options
        ask, tags = context.store.used, tuple(options.caps.tags)
        return await context.writer.run(ask, context.batch.id, day=today, run_id=options.run_id, tags=tags)

    async def _warn_of_caps(self) -> None:
        """Say it once when a cap is nearly used."""
        context = self._context
        caps, warned = context.options.caps, context.board.warned
        if caps.warn_at is None or caps.given.keys() <= warned:
            return
        used = await self._used()
        for cap in near(caps, used):
            if cap not in warned:
                warned.add(cap)
                context.held("budget", warning(cap, caps, used, currency=context.batch.currency))

    async def _reject(self, job: Job, rejected: Rejected) -> None:
        context = self._context
        reason, message = rejected.reason, str(rejected)
        if await context.writer.run(
            context.store.record_rejected, job.id, reason=reason, message=message, now=context.now()
        ):
            context.moved(job, JobEvent.REJECTED, reason=reason, message=message)
