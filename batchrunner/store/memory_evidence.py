"""What is known of a provider, in memory: readings of the balance and what explains them, verdicts, proofs, uploads."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from batchrunner.model import Asset, Purchase, Reading, ReplayProof
from batchrunner.states import JobEvent, JobState
from batchrunner.store.tables import Booked, Tables

_NOTHING_BOUGHT = (JobEvent.RETURNED, JobEvent.REFUSED, JobEvent.ABSENT)


class Evidence(Tables):
    """The port's part of the same name."""

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
                purchase_id=one.purchase_id,
                account=one.account,
            )
            for attempt_id, one in self._attempts.items()
            if self._batches[one.batch_id].endpoint == endpoint and one.outcome not in _NOTHING_BOUGHT
        ]

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

    def salt(self) -> bytes:
        return b"the salt in memory"

    def replay_proof(self, *, base_url: str, model: str, key: str) -> ReplayProof | None:
        return self._proofs.get((base_url, model, key))

    def record_proof(self, proof: ReplayProof) -> None:
        with self.transaction():
            self._put(self._proofs, (proof.base_url, proof.model, proof.key), proof)

    def asset(self, sha256: str, *, endpoint: str) -> Asset | None:
        return self._assets.get((sha256, endpoint))

    def record_asset(self, asset: Asset) -> None:
        if "?" not in asset.url:
            with self.transaction():
                self._put(self._assets, (asset.sha256, asset.endpoint), asset)


def _is_prompt(one: Booked) -> bool:
    return one.answer is not None and one.answer.rule in ("R1", "R2")
