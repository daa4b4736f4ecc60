"""Submissions in doubt, and what evidence that costs nothing says of them (reliability notes §2.4).

`examine` asks, `judge` decides (pure), `settle` applies what is proven. Nothing here can submit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import anyio

from batchrunner import answers
from batchrunner.classify import candidate_fits, is_task_id
from batchrunner.conduct import preflight
from batchrunner.errors import UsageError
from batchrunner.model import Attempt, Balance, Batch, Job, ReplayProof
from batchrunner.providers.base import Collector, Exchange
from batchrunner.reconcile import LOOKUPS, SPREAD, Books, conclude, gather, reading
from batchrunner.settings import SETTLE
from batchrunner.states import JobState
from batchrunner.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A submission whose answer was lost."""

    job: Job
    attempts: tuple[Attempt, ...]
    """All of its purchase, the last one last."""

    @property
    def intended_at(self) -> datetime:
        """When the last request was about to leave."""
        return self.attempts[-1].intended_at

    @property
    def candidate(self) -> str | None:
        """The task id that a spoilt answer may have named."""
        named = [one.answer.candidate for one in self.attempts if one.answer and one.answer.candidate]
        return named[-1] if named else None

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The provider's ids of the requests, which its support asks for."""
        return tuple(one.answer.request_id for one in self.attempts if one.answer and one.answer.request_id)

    def age(self, now: datetime) -> timedelta:
        """Since the intent."""
        return max(now - self.intended_at, timedelta(0))

    def settled(self, now: datetime, window: float = SETTLE) -> bool:
        """Whether a request that was still under way has surely arrived by now; `window` in seconds."""
        return self.age(now).total_seconds() >= window


def doubts(store: Store, jobs: Iterable[Job]) -> list[Doubt]:
    """Those of the jobs that are in doubt, or were being submitted when their run died."""
    found = [job for job in jobs if job.state in (JobState.IN_DOUBT, JobState.SUBMITTING)]
    return [
        Doubt(
            job=job,
            attempts=tuple(one for one in store.attempts(job.id) if one.purchase_id == job.purchase_id),
        )
        for job in found
    ]


class Verdict(StrEnum):
    """What the evidence says of one doubt."""

    FOUND = "found"
    """Proof that it was bought: the provider knows it."""
    ABSENT = "not bought"
    """Proof that it was not: not found where it would be found, and the balance explains every credit without it."""
    NOT_FOUND = "not found"
    """Looked for where it would be found. That is strong, and no proof: a person decides."""
    UNKNOWN = "unknown"
    """Nothing was learned, or it is too early to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was asked about one doubt, and what was answered."""

    by_purchase: answers.Found | answers.Missing | answers.Later | answers.AccountStop
    candidate_fits: bool = False
    settled: bool
    control: bool | None
    """Whether the same look-up finds a purchase that is known to exist; None when there is none to look for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one doubt, and the sentence that it rests on."""

    doubt: Doubt
    verdict: Verdict
    why: str
    task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything that was found out."""

    findings: tuple[Finding, ...]
    control: str
    balance: Balance | None
    is_first: bool = False
    """Whether nothing was ever bought here for certain, so that nothing could show that the look-up works."""
    sums: str | None = None
    """The arithmetic of the balance, where the doubts left depend on it."""


def judge(doubt: Doubt, evidence: Evidence, *, window: float = SETTLE) -> Finding:
    """What the evidence proves. Pure; only what the provider says it knows is proof."""
    looked = evidence.by_purchase
    if isinstance(looked, answers.Found):
        why = f"the provider knows purchase {doubt.job.purchase_id} as task {looked.task_id}"
        return Finding(doubt=doubt, verdict=Verdict.FOUND, why=why, task_id=looked.task_id)
    if evidence.candidate_fits:
        why = f"the provider has task {doubt.candidate}, which the cut answer named, of this model and this minute"
        return Finding(doubt=doubt, verdict=Verdict.FOUND, why=why, task_id=doubt.candidate)
    if isinstance(looked, answers.AccountStop):
        return Finding(doubt=doubt, verdict=Verdict.UNKNOWN, why=f"the provider refuses to say: {looked.message}")
    if isinstance(looked, answers.Later):
        return Finding(doubt=doubt, verdict=Verdict.UNKNOWN, why=f"the provider gave no answer ({looked.reason})")
    if not evidence.settled:
        why = (
            f"not found, but it is less than {window / 60:.2g} min old: a request may still arrive, and be stored, late"
        )
        return Finding(doubt=doubt, verdict=Verdict.UNKNOWN, why=why)
    if evidence.control is False:
        why = "not found, but a purchase that certainly exists is not found either: the look-up says nothing here"
        return Finding(doubt=doubt, verdict=Verdict.UNKNOWN, why=why)
    proof = "" if evidence.control else ", and there is no other purchase to prove the look-up by"
    return Finding(
        doubt=doubt, verdict=Verdict.NOT_FOUND, why=f"the provider does not know it{proof}; no proof: yours to decide"
    )


async def examine(
    provider: Collector,
    found: Sequence[Doubt],
    books: Books,
    *,
    clock: Callable[[], datetime],
    balance: Balance | None,
    window: float = SETTLE,
) -> Examination:
    """Look every purchase and candidate up, a purchase that surely exists as the control, and weigh the balance.

    It changes nothing. Where the evidence speaks for the doubts, they are looked for again, spread over a minute.
    """
    looks = 0
    while True:
        findings, control, told = await _look(provider, found, books.known, now=clock(), window=window)
        unfound = [one for one in findings if one.verdict is not Verdict.FOUND]
        sums, looks = None, looks + 1
        if control and unfound and all(one.verdict is Verdict.NOT_FOUND for one in unfound):
            now = clock()
            evidence = gather(
                [one.doubt.job for one in unfound],
                books,
                control=books.known,
                now=now,
                latest=reading(balance, now),
                window=timedelta(seconds=window),
            )
            sums = conclude(evidence)
        if sums is None or not sums.absent:
            return Examination(
                findings=findings,
                control=told,
                balance=balance,
                is_first=books.known is None,
                sums=sums.text if sums else None,
            )
        if looks == LOOKUPS:
            break
        await anyio.sleep(window * SPREAD / (LOOKUPS - 1))
    why = f"not found by {looks} look-ups; {sums.text}"
    proven = [
        one if one.verdict is Verdict.FOUND else replace(one, verdict=Verdict.ABSENT, why=why) for one in findings
    ]
    return Examination(findings=tuple(proven), control=told, balance=balance, sums=sums.text)


async def _look(
    provider: Collector, found: Sequence[Doubt], known: str | None, *, now: datetime, window: float
) -> tuple[tuple[Finding, ...], bool | None, str]:
    """One look at each doubt, and at the control."""
    control, told = await _control(provider, known, now)
    findings = []
    for doubt in found:
        purchase = doubt.job.purchase_id or ""
        looked = answers.lookup(await provider.poll(purchase), purchase_id=purchase, now=now)
        fits = False
        if doubt.candidate is not None and not isinstance(looked, answers.Found):
            fits = is_ours(doubt, await provider.poll(doubt.candidate), task_id=doubt.candidate)
        evidence = Evidence(
            by_purchase=looked, candidate_fits=fits, settled=doubt.settled(now, window), control=control
        )
        findings.append(judge(doubt, evidence, window=window))
    return tuple(findings), control, told


async def _control(provider: Collector, known: str | None, now: datetime) -> tuple[bool | None, str]:
    if known is None:
        return None, "no purchase is known for certain, so nothing proves that the look-up works"
    looked = answers.lookup(await provider.poll(known), purchase_id=known, now=now)
    if isinstance(looked, answers.Found):
        return True, f"purchase {known}, which certainly exists, is found by its id: the look-up works"
    if isinstance(looked, answers.Missing):
        return False, f"purchase {known}, which certainly exists, is not found by its id: the look-up says nothing"
    return None, f"the look-up of purchase {known}, which certainly exists, was not answered"


def is_ours(doubt: Doubt, exchange: Exchange, *, task_id: str) -> bool:
    """Whether what the provider says of a task fits this purchase: its model, and a time in the intent's window."""
    task = answers.described_task(exchange)
    if task is None:
        return False
    echoed = task.get("client_business_id")
    if isinstance(echoed, str) and echoed and echoed != doubt.job.purchase_id:
        return False
    model, since = doubt.job.request.model, doubt.attempts[0].intended_at
    window = (doubt.intended_at - since).total_seconds() + SETTLE
    return candidate_fits(task, task_id=task_id, model=model, since=since, window=window)


def settle(store: Store, examination: Examination, *, now: datetime) -> list[Finding]:
    """Apply what is proven, and nothing else; those that were applied."""
    with store.transaction():
        return [one for one in examination.findings if _apply(store, one, now)]


def _apply(store: Store, finding: Finding, now: datetime) -> bool:
    job_id = finding.doubt.job.id
    if finding.verdict is Verdict.FOUND and finding.task_id is not None:
        return store.record_found(job_id, finding.task_id, now=now, note=finding.why)
    if finding.verdict is Verdict.ABSENT:
        return store.record_absent(job_id, note=finding.why, not_before=None, now=now)
    return False


@dataclass(slots=True, kw_only=True)
class Desk:
    """A person's look at the doubts of a batch: the database is ours, and the provider cannot submit."""

    batch: Batch
    store: Store
    jobs: tuple[Job, ...]
    doubts: list[Doubt]
    connect: Callable[[AsyncExitStack], Awaitable[Collector]]
    clock: Callable[[], datetime]
    proof: ReplayProof | None = None
    """What was seen of a repeated purchase id here."""
    window: float = SETTLE
    """Seconds from an intent to a verdict."""

    def one(self) -> Job:
        """The one job that the command is about."""
        if len(self.jobs) != 1:
            raise UsageError(
                f"this is about one job, not {len(self.jobs)}; nothing was changed", fix="batchrunner doubt list"
            )
        return self.jobs[0]

    def examine(self) -> Examination:
        """Ask for everything that may be known; it costs nothing and changes nothing."""
        endpoint = self.batch.endpoint

        async def ask() -> Examination:
            async with AsyncExitStack() as stack:
                provider = await self.connect(stack)
                balance = await preflight(provider, self.clock)
                books = Books(
                    known=self.store.known_purchase(endpoint),
                    account=provider.account,
                    readings=self.store.readings(endpoint, provider.account),
                    purchases=self.store.charges(endpoint),
                    proof=self.proof,
                )
                return await examine(
                    provider, self.doubts, books, clock=self.clock, balance=balance, window=self.window
                )

        return anyio.run(ask)

    def settle(self, examination: Examination) -> list[Finding]:
        """Apply what is proven."""
        self.store.recover(self.batch.id, now=self.clock())
        return settle(self.store, examination, now=self.clock())

    def attach(self, task_id: str) -> None:
        """Take a task over that a person names; `UsageError` unless the provider has it, and it fits this purchase."""
        job = self.one()
        if not self.doubts:
            raise UsageError(
                f"{job.key} is {job.state.value}, not in doubt; nothing was changed", fix="batchrunner doubt list"
            )
        owner = self.store.task_owner(task_id)
        if owner is not None:
            raise UsageError(
                f"task {task_id} is {self.store.job(owner).key}'s already; nothing was changed",
                fix="batchrunner doubt list",
            )
        doubt = self.doubts[0]

        async def ask() -> bool:
            async with AsyncExitStack() as stack:
                provider = await self.connect(stack)
                await preflight(provider, self.clock)
                return is_ours(doubt, await provider.poll(task_id), task_id=task_id)

        if not is_task_id(task_id) or not anyio.run(ask):
            at = f"{doubt.intended_at:%Y-%m-%d %H:%M:%S}"
            raise UsageError(
                f"the provider has no task {task_id} of {job.request.model}, made within {SETTLE / 60:.0f} min of {at} UTC; "
                "nothing was changed",
                fix="look in its console for a task of that second",
            )
        note = f"a person named task {task_id}; the provider has it, of this model and this time"
        self.store.recover(self.batch.id, now=self.clock())
        self.store.record_found(job.id, task_id, now=self.clock(), note=note)
