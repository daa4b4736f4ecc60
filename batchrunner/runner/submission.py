"""Buying one clip: frames at the provider, intent durable, one request, its answer recorded (DESIGN §5, steps 1 to 3)."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePath

import anyio
import anyio.to_thread

from batchrunner import answers, classify
from batchrunner.budget import Used, near, sentence, warning
from batchrunner.classify import Submission
from batchrunner.matrix import TAKEN_ID, Verdict
from batchrunner.model import Answer, Asset, Frame, Intent, Job
from batchrunner.polling import backoff, next_look
from batchrunner.providers.base import Exchange
from batchrunner.purchase import RANDOM_BITS, purchase_id
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.runner.outage import Outage
from batchrunner.settings import ASSET_LIFETIME, SUBMIT_DEADLINE, SUBMIT_GRACE
from batchrunner.states import JobEvent

UPLOAD_TRIES = 6
"""Answers, none of them helpful, after which a frame is left for the next run."""
RATE_BACKOFF, RATE_BACKOFF_CAP = 5.0, 120.0
"""Seconds to wait after a 429 that does not say how long (reliability notes R31)."""


class CannotSend(Exception):
    """This job cannot be sent in this run; nothing was bought."""


class Rejected(Exception):
    """This job can never be sent as it is; nothing was bought."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Submitter:
    """The submitting half of a run."""

    def __init__(self, context: Context, outage: Outage) -> None:
        self._context = context
        self._outage = outage
        self._uploading: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._uploaded: dict[str, str] = {}
        """URLs of this run's uploads, also of those that may not be stored because they are signed."""
        self._uploads = anyio.CapacityLimiter(context.limits.uploads)
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
            urls = tuple([await self._frame_url(frame) for frame in job.request.frames])
        except Rejected as rejected:
            await self._reject(job, rejected)
            return
        except CannotSend as reason:
            board.blocked[job.id] = str(reason)
            context.held("upload", f"{job.key}: {reason}")
            return
        if board.paused:
            return
        if not board.take_turn(job):
            board.ready.appendleft(job)  # its frames took long, and others were quicker, or the breaker has opened
            return
        now = context.now()
        purchase = job.purchase_id or purchase_id(now, context.chance.getrandbits(RANDOM_BITS))
        body = context.provider.prepare(job.request, image_urls=urls, purchase_id=purchase)
        intent = Intent(
            purchase_id=purchase,
            body_sha256=hashlib.sha256(body).hexdigest(),
            price=context.options.price(job),
            day=now.astimezone().date(),
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
                now=now,
            )
            if attempt is None:
                await self._not_claimed(job, intent)
                return
            board.preparing.discard(job.id)
            board.purchases += 1
            job = replace(context.moved(job, JobEvent.CLAIMED), purchase_id=purchase, submitted_at=now)
            exchange = await self._send(body)
            verdict = classify.submission(exchange, now=context.now())
            board.heard(exchange.status is not None)
            await self._record(job, verdict)
            await self._outage.learn(verdict)
        await self._warn_of_caps()

    async def _send(self, body: bytes) -> Exchange:
        allowed = SUBMIT_GRACE if self._context.board.stopping else SUBMIT_DEADLINE
        scope = anyio.CancelScope(deadline=anyio.current_time() + allowed, shield=True)
        self._scopes.add(scope)
        try:
            with scope:
                return await self._context.provider.submit(body)
        finally:
            self._scopes.discard(scope)
        return Exchange(complete=False, body_started=True, error="no answer in time")

    async def _record(self, job: Job, verdict: Submission) -> None:
        match verdict.verdict:
            case Verdict.ACCEPTED:
                await self._accepted(job, verdict)
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

    async def _accepted(self, job: Job, verdict: Submission) -> None:
        context = self._context
        assert verdict.task_id is not None
        now = context.now()
        if not await context.writer.run(
            context.store.record_accepted, job.id, verdict.task_id, verdict.answer, now=now
        ):
            # Two jobs may never share a task: somebody's answer went astray.
            await self._unanswered(job, replace(verdict.answer, rule=TAKEN_ID.id), TAKEN_ID.reason)
            return
        job = context.moved(job, JobEvent.ACCEPTED, task_id=verdict.task_id)
        look = next_look(0.0, floor=context.limits.poll_floor, chance=context.chance.random())
        accepted_at = anyio.current_time()
        context.board.fly(Flight(job=job, accepted_at=accepted_at), accepted_at + look)

    async def _unanswered(self, job: Job, answer: Answer, reason: str) -> None:
        context = self._context
        await context.writer.run(context.store.record_unanswered, job.id, answer, reason=reason, now=context.now())
        job = context.moved(job, JobEvent.UNANSWERED, reason=reason, message=answer.message)
        if context.options.settle:
            now = anyio.current_time()
            context.board.asking.add(Flight(job=job, accepted_at=now), now)

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
            await context.pause(Stop.ACCOUNT, verdict.reason, verdict.answer.message or verdict.reason)
        elif verdict.verdict is Verdict.REFUSED_FOR_NOW:
            await self._outage.refused(verdict.reason)

    def _slow_down(self, verdict: Submission) -> float:
        """A refusal for now slows the whole lane, not just this job; returns the job's own wait."""
        context, board, limits = self._context, self._context.board, self._context.limits
        now = anyio.current_time()
        board.refusals += 1
        pause = backoff(board.refusals, first=RATE_BACKOFF, cap=RATE_BACKOFF_CAP, chance=context.chance.random())
        wait = verdict.retry_after or limits.lasting(pause)
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
        if current.state is job.state:
            context.board.ready.appendleft(job)
            used, today = await self._used(), context.now().astimezone().date()
            caps, currency = context.options.caps, context.batch.currency
            why = sentence(caps, used, intent.price, today=today, currency=currency)
            if why and Stop.BUDGET not in context.board.stops:  # unless something came back in the meantime
                context.board.over_budget = why
                context.board.pause(Stop.BUDGET)
                context.held("budget", why)

    async def _used(self) -> Used:
        context = self._context
        today = context.now().astimezone().date()
        return await context.writer.run(context.store.used, context.batch.id, day=today)

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

    async def _frame_url(self, frame: Frame) -> str:
        """Where the provider can read a frame; a local one is uploaded once per content."""
        context = self._context
        if not frame.local:
            url = context.private_urls.get(frame.sha256, frame.source)
            if hashlib.sha256(url.encode()).hexdigest() != frame.sha256:
                raise CannotSend("the frame's URL is in a manifest that this run does not have")
            return url
        async with self._uploading[frame.sha256]:
            if (known := self._uploaded.get(frame.sha256)) is not None:
                return known
            asset = await context.writer.run(context.store.asset, frame.sha256, endpoint=context.provider.endpoint)
            if asset is not None and context.now() - asset.uploaded_at < timedelta(seconds=ASSET_LIFETIME):
                return asset.url
            async with self._uploads:
                return await self._upload(frame)

    async def _upload(self, frame: Frame) -> str:
        context = self._context
        image = await anyio.to_thread.run_sync(_read, frame)
        mime, suffix = ("image/png", ".png") if image.startswith(b"\x89PNG") else ("image/jpeg", ".jpg")
        name = f"{frame.sha256[:16]}{suffix}"  # the provider need not learn how the user names files
        answered = tries = 0
        while answered < UPLOAD_TRIES:
            exchange = await context.provider.upload(image, name=name, mime=mime)
            context.board.heard(exchange.status is not None)
            tries += 1
            answered += exchange.status is not None  # an outage ends the run when it lasts, not this job
            match answers.upload(exchange, now=context.now()):
                case answers.Uploaded(url):
                    await self._keep(frame, url)
                    return url
                case answers.UploadRefused(message):
                    raise Rejected("bad_image", f"the provider refuses {PurePath(frame.source).name}: {message}")
                case answers.AccountStop(reason, message):
                    await context.pause(Stop.ACCOUNT, reason, message)
                    raise CannotSend(f"uploads are refused: {message}")
                case answers.Later(reason, wait):
                    if answered < UPLOAD_TRIES:
                        await anyio.sleep(wait or backoff(tries, chance=context.chance.random()))
        raise CannotSend(f"{PurePath(frame.source).name} could not be uploaded ({reason})")

    async def _keep(self, frame: Frame, url: str) -> None:
        """Remember where a frame is, for other jobs and other runs."""
        context = self._context
        endpoint, now = context.provider.endpoint, context.now()
        asset = Asset(sha256=frame.sha256, endpoint=endpoint, url=url, uploaded_at=now)
        await context.writer.run(context.store.record_asset, asset)
        self._uploaded[frame.sha256] = url


def _read(frame: Frame) -> bytes:
    """The frame's content, which must still be what the manifest was checked with."""
    try:
        image = Path(frame.source).read_bytes()
    except OSError as error:
        raise CannotSend(f"{frame.source} cannot be read: {error.strerror}") from None
    if hashlib.sha256(image).hexdigest() != frame.sha256:
        raise CannotSend(f"{frame.source} has changed since the manifest was read; run the same command again")
    return image
