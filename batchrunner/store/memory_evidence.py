"""What settles doubts, in memory: readings of the balance, and the purchases that have to explain them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from batchrunner.model import Purchase, Reading
from batchrunner.states import JobEvent, JobState
from batchrunner.store.tables import Booked, Tables

_NOTHING_BOUGHT = (JobEvent.RETURNED, JobEvent.REFUSED, JobEvent.ABSENT)


class Evidence(Tables):
    """The verbs and questions of the port that settling needs."""

    def __init__(self) -> None:
        super().__init__()
        self._verdicts: dict[tuple[str, str], str | None] = {}
        self._readings: dict[int, tuple[str, str, Reading]] = {}

    def record_reading(self, endpoint: str, account: str, reading: Reading) -> None:
        with self.transaction():
            self._put(self._readings, len(self._readings) + 1, (endpoint, account, reading))

    def readings(self, endpoint: str, account: str) -> list[Reading]:
        return [reading for place, whose, reading in self._readings.values() if (place, whose) == (endpoint, account)]

    def accounts(self) -> list[tuple[str, str]]:
        return sorted({(endpoint, account) for endpoint, account, _ in self._readings.values()})

    def charges(self, endpoint: str) -> list[Purchase]:
        owners = {attempt_id: row for row in self._rows.values() for attempt_id in row.attempts}
        return [
            Purchase(
                kind=(one.billing_key, one.seconds),
                intended_at=one.intended_at,
                outcome=one.outcome,
                prompt=_is_prompt(one),
                failed_at=max(m.at for m in owners[attempt_id].history if m.event == JobEvent.TASK_FAILED)
                if one.outcome == JobEvent.TASK_FAILED
                else None,
                answered_at=one.answered_at,
            )
            for attempt_id, one in self._attempts.items()
            if self._batches[one.batch_id].endpoint == endpoint and one.outcome not in _NOTHING_BOUGHT
        ]

    def waiting_kinds(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[str, int]:
        return dict(Counter(job.request.kind for job in self._matching(batch_id, JobState.PENDING, only, tags)))

    def verdicts(self, endpoint: str) -> dict[str, str | None]:
        return {kind: wrong for (place, kind), wrong in self._verdicts.items() if place == endpoint}

    def record_verdict(self, endpoint: str, kind: str, job_id: int, *, wrong: str | None, now: datetime) -> None:
        with self.transaction():
            self._put(self._verdicts, (endpoint, kind), wrong)

    def known_purchase(self, endpoint: str) -> str | None:
        known = [
            one.purchase_id
            for one in self._attempts.values()
            if self._batches[one.batch_id].endpoint == endpoint
            and one.task_id is not None
            and one.outcome != JobEvent.VANISHED
            and _is_prompt(one)
        ]
        return known[-1] if known else None

    def record_held(self, job_id: int, *, message: str, now: datetime) -> bool:
        row = self._rows.get(job_id)
        if row is None or row.job.state is not JobState.IN_DOUBT:
            return False
        with self.transaction():
            self._place(replace(row, job=replace(row.job, message=message)))
        return True


def _is_prompt(one: Booked) -> bool:
    return one.answer is not None and one.answer.rule in ("R1", "R2")
