"""How a run ended: its exit code, and what a person is told. Pure: it knows rows and stops, no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchrunner.errors import SEVERITY, ExitCode
from batchrunner.eta import Eta
from batchrunner.model import Job, Money
from batchrunner.runner.board import Stop
from batchrunner.runner.loop import Outcome
from batchrunner.states import IN_FLIGHT, JobState

_CODES = {
    Stop.STORAGE: ExitCode.STORAGE,
    Stop.ACCOUNT: ExitCode.ACCOUNT,
    Stop.PROVIDER: ExitCode.PROVIDER,
    Stop.FAILURES: ExitCode.PROVIDER,
    Stop.CANARY: ExitCode.PROVIDER,
    Stop.REFUSING: ExitCode.PROVIDER,
    Stop.BUDGET: ExitCode.BUDGET,
    Stop.DEADLINE: ExitCode.DEADLINE,
    Stop.WINDOW: ExitCode.DEADLINE,
}

REMEDIES = {
    "content_policy": "edit the prompt, then run the same command: nothing was charged",
    "invalid_request": "edit the job, then run the same command: nothing was charged",
    "bad_image": "replace the frame, then run the same command",
    "capacity": "the provider was full; nothing was charged",
    "task_failed": "the provider gave up and returns the money",
    "result_missing": "it was paid for: `batchrunner fetch` asks once more; the provider's support knows it by the task id",
    "vanished": "it was paid for: `batchrunner fetch` asks once more; the provider's support knows it by the task id",
    "expired": "it was paid for: `batchrunner fetch` asks once more, `batchrunner retry` buys it again",
    "bad_file": "it was paid for: what was sent is kept beside the clips; `batchrunner fetch` asks for it once more",
    "abandoned": "it was given up by hand and counts as spent; `batchrunner retry` buys it again",
}
"""What helps against each reason that a job can fail for."""

PAID_FAILURES = frozenset({"vanished", "result_missing", "expired", "bad_file"})
"""Reasons of jobs whose task was paid for: `fetch` asks for them again, which costs nothing."""

REFUSALS = frozenset({"content_policy", "invalid_request", "bad_image"})
"""Reasons that the same request meets again: it has to be edited."""


def exit_code(outcome: Outcome) -> ExitCode:
    """The worst of what is true at the end; a signal tells more than the work it left undone."""
    codes = {_CODES[stop] for stop in outcome.stops if stop in _CODES}
    if ExitCode.STORAGE not in codes:
        if Stop.SIGINT in outcome.stops:
            return ExitCode.SIGINT
        if Stop.SIGTERM in outcome.stops:
            return ExitCode.SIGTERM
    in_doubt = outcome.doubts or outcome.counts.get(JobState.IN_DOUBT) or outcome.counts.get(JobState.SUBMITTING)
    if in_doubt:
        codes.add(ExitCode.IN_DOUBT)
    if outcome.blocked or outcome.left:
        codes.add(ExitCode.PROVIDER)
    if outcome.counts.get(JobState.PENDING) and not (codes or outcome.limited):
        codes.add(ExitCode.PROVIDER)  # work is left and nothing said so: never 0
    if outcome.counts.get(JobState.FAILED):
        codes.add(ExitCode.SOME_FAILED)
    return next((code for code in SEVERITY if code in codes), ExitCode.DONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failed jobs of one reason."""

    reason: str
    keys: tuple[str, ...]
    message: str
    remedy: str


def failures(jobs: Iterable[Job]) -> list[Failures]:
    """Failed jobs by reason, the most frequent first."""
    by_reason: dict[str, list[Job]] = {}
    for job in jobs:
        by_reason.setdefault(job.reason or "failed", []).append(job)
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return [
        Failures(
            reason=reason,
            keys=tuple(job.key for job in found),
            message=found[0].message or "",
            remedy=REMEDIES.get(reason, "look at it: batchrunner ls --state failed"),
        )
        for reason, found in ordered
    ]


def amount(micro: int, currency: str | None) -> str:
    """Micro-units as people write them."""
    text = f"{micro / 1_000_000:.2f}" if micro % 10_000 == 0 else f"{micro / 1_000_000:.4f}"
    return f"{text} {currency or ''}".strip()


def bought(money: Money, currency: str | None) -> str:
    """What a batch has cost so far, in money where there are prices, and in billing seconds always."""
    seconds = " · ".join(f"{key} {total} s" for key, total in sorted(money.seconds.items())) or "nothing bought"
    if currency is None or (money.unpriced and not money.spent + money.committed):
        return seconds
    parts = [f"{amount(money.spent, currency)} spent"]
    if money.committed:
        parts.append(f"{amount(money.committed, currency)} committed")
    if money.unpriced:
        parts.append(f"{money.unpriced} without a price")
    return f"{', '.join(parts)} ({seconds})"


_ORDER = (
    JobState.DONE,
    JobState.FETCHING,
    JobState.RUNNING,
    JobState.SUBMITTING,
    JobState.PENDING,
    JobState.IN_DOUBT,
    JobState.FAILED,
    JobState.CANCELLED,
)


def finish(eta: Eta, at: datetime) -> str:
    """When a batch will be finished, by the clock on the wall: `about 14:32, by 14:50 nine times out of ten`."""
    here = at.astimezone()
    median, likely = (here + timedelta(seconds=seconds) for seconds in (eta.median, eta.likely))
    shape = "%H:%M" if likely.date() == here.date() else "%Y-%m-%d %H:%M"
    return f"about {median.strftime(shape)}, by {likely.strftime(shape)} nine times out of ten"


def finish_as_json(eta: Eta | None, at: datetime) -> dict[str, str] | None:
    """The same for programs, as ISO 8601 in UTC."""
    if eta is None:
        return None
    times = {"median": eta.median, "p90": eta.likely}
    return {name: (at + timedelta(seconds=round(seconds))).isoformat() for name, seconds in times.items()}


def standing(counts: Mapping[JobState, int]) -> str:
    """The states that have jobs, nearest to the goal first: `940 done, 4 running, 2 failed`."""
    found = Counter(counts)
    return ", ".join(f"{found[state]} {state.value.replace('_', ' ')}" for state in _ORDER if found[state]) or "no jobs"


def at_provider(counts: Mapping[JobState, int]) -> int:
    """Clips that are being made, and paid for, while nobody looks."""
    return sum(counts.get(state, 0) for state in (*IN_FLIGHT, JobState.FETCHING)) - counts.get(JobState.IN_DOUBT, 0)
