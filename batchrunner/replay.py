"""Proving replay: that a submission repeated under the same purchase id makes no second task and no second charge.

It is documented once and seen by nobody (API facts §4), so it is assumed nowhere. One clip is bought: its request is sent
once, once more, and twice at the same instant. The proof is stored for this address, this model and this key alone; what a
run makes of it is in `reconcile`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import anyio

from batchrunner import answers, classify
from batchrunner.errors import AccountError, BatchrunnerError, ProviderError
from batchrunner.matrix import Verdict
from batchrunner.model import Balance, Intent, Job, VideoRequest, WantedJob
from batchrunner.providers.base import Provider
from batchrunner.purchase import RANDOM_BITS, purchase_id
from batchrunner.request import fingerprint
from batchrunner.store.base import Changes, Store

BATCH = "replay-proof"
"""Where the clip is booked, so that it is collected like any other."""
REQUEST = VideoRequest(prompt="A white cube on a grey table, seen from the front, nothing moves.")
"""The cheapest there is: std, 5 s, no sound."""
CHARGE_WITHIN = 60.0
FINAL_WITHIN = 1200.0
"""Seconds: until the charge must have appeared, and until the clip must be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of it."""

    holds: bool
    why: str
    task_id: str


def book(store: Store, batch_id: int, now: datetime) -> Job:
    """Write the job of a trial; every trial has its own. Nothing is sent yet."""
    key, position = f"proof-{now:%Y%m%dT%H%M%S}", sum(store.counts(batch_id).values())
    job = WantedJob(key=key, fingerprint=fingerprint(REQUEST), request=REQUEST, output=f"{key}.mp4", position=position)
    store.apply(batch_id, Changes(added=(job,)), now=now)
    return next(one for one in store.jobs(batch_id) if one.key == key)


class Trials:
    """One trial on one provider."""

    def __init__(self, provider: Provider, store: Store, *, clock: Callable[[], datetime], floor: float) -> None:
        self._provider = provider
        self._store = store
        self._clock = clock
        self._floor = floor

    async def run(self, job: Job) -> Trial:
        """Buy the clip, repeat its request, and compare tasks and charges."""
        before = await self._used()
        purchase = purchase_id(self._clock(), secrets.randbits(RANDOM_BITS))
        body = self._provider.prepare(job.request, image_urls=(), purchase_id=purchase)
        task_id = await self._buy(job, body, purchase)
        price = await self._charge(before)
        if price <= 0:
            return Trial(holds=False, why=f"no charge appeared within {CHARGE_WITHIN:.0f} s", task_id=task_id)
        tasks = [await self._repeat(body)]
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(self._collect, body, tasks)
        others = sorted({one for one in tasks if one != task_id})
        if others:
            why = f"repeated, it came back as {', '.join(others)}: those were paid for, too; look at the console"
            return Trial(holds=False, why=why, task_id=task_id)
        made = await self._final(job, task_id)
        charged = await self._used() - before
        if not made:
            return Trial(holds=False, why="the clip was not made, so the charges prove nothing", task_id=task_id)
        if charged != price:
            why = f"{price:g} credits were charged at first and {charged:g} in the end: is the key used elsewhere?"
            return Trial(holds=False, why=why, task_id=task_id)
        why = f"sent four times, twice at once: one task, and one charge of {price:g} credits"
        return Trial(holds=True, why=why, task_id=task_id)

    async def _buy(self, job: Job, body: bytes, purchase: str) -> str:
        """The one purchase: its intent is durable before it leaves, and its answer recorded whatever happens."""
        store, digest = self._store, hashlib.sha256(body).hexdigest()
        with anyio.CancelScope(shield=True):
            intent = Intent(purchase_id=purchase, body_sha256=digest, price=None, account=self._provider.account)
            store.record_intent(job.id, intent, cap=None, now=self._clock())
            answer = classify.submission(await self._provider.submit(body), now=self._clock())
            said, reason, now = answer.answer, answer.reason, self._clock()
            match answer.verdict:
                case Verdict.ACCEPTED if answer.task_id:
                    if store.record_accepted(job.id, answer.task_id, said, now=now):
                        return answer.task_id
                    store.record_unanswered(job.id, said, reason="task_of_another_job", now=now)
                case Verdict.ACCEPTED | Verdict.IN_DOUBT:
                    store.record_unanswered(job.id, said, reason=reason, now=now)
                case Verdict.REFUSED:
                    store.record_refused(job.id, said, reason=reason, now=now)
                    raise self._refusal(said.message or reason)
                case _:
                    store.record_returned(job.id, said, reason=reason, not_before=None, now=now)
                    store.record_cancelled(job.id, note="the trial was refused", now=now)
                    raise self._refusal(said.message or reason)
        raise ProviderError(
            "the answer to the paid request was lost, so nothing is proven; it was not sent again",
            fix=f"batchrunner doubt check {BATCH}",
        )

    def _refusal(self, message: str) -> BatchrunnerError:
        return ProviderError(f"the provider refused the clip ({message}); nothing was paid, and nothing is proven")

    async def _repeat(self, body: bytes) -> str:
        """The task that the same request comes back as, or how it was answered instead."""
        answer = classify.submission(await self._provider.submit(body), now=self._clock())
        return answer.task_id or f"{answer.verdict.value} ({answer.reason})"

    async def _collect(self, body: bytes, tasks: list[str]) -> None:
        tasks.append(await self._repeat(body))

    async def _used(self) -> float:
        outcome = answers.balance(await self._provider.balance(), now=self._clock())
        match outcome:
            case Balance(used=used):
                return used
            case answers.AccountStop(_, message):
                raise AccountError(f"the provider refuses this key: {message}", fix="check TOAPIS_API_KEY")
        raise ProviderError("the provider tells no balance, so no charge can be seen", fix="try again later")

    async def _charge(self, before: float) -> float:
        """What appeared on the key's account, as soon as something did."""
        deadline = anyio.current_time() + CHARGE_WITHIN
        while True:
            charged = await self._used() - before
            if charged > 0 or anyio.current_time() >= deadline:
                return charged
            await anyio.sleep(self._floor)

    async def _final(self, job: Job, task_id: str) -> bool:
        """Whether the clip is made; until it is final a charge may still change."""
        deadline = anyio.current_time() + FINAL_WITHIN
        while anyio.current_time() < deadline:
            await anyio.sleep(self._floor)
            exchange = await self._provider.poll(task_id)
            outcome = answers.poll(exchange, task_id=task_id, purchase_id=None, others=(), now=self._clock())
            match outcome:
                case answers.Finished(_, expires_at):
                    self._store.record_finished(job.id, expires_at=expires_at, now=self._clock())
                    return True
                case answers.TaskFailed(reason, message):
                    self._store.record_task_failed(job.id, reason=reason, message=message, now=self._clock())
                    return False
        return False
