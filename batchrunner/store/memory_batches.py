"""Batches and their runs in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from batchrunner.model import Batch
from batchrunner.store.tables import Tables


class Batches(Tables):
    """The port's part of the same name."""

    def batch(self, name: str) -> Batch | None:
        return next((batch for batch in self._batches.values() if batch.name == name), None)

    def batches(self) -> list[Batch]:
        return sorted(self._batches.values(), key=lambda batch: (self._worked_on[batch.id], batch.id), reverse=True)

    def has_run(self, batch_id: int, plan: str) -> bool:
        return (batch_id, plan) in self._plans

    def open_batch(self, name: str, *, endpoint: str, currency: str | None, now: datetime) -> Batch:
        batch = self.batch(name)
        with self.transaction():
            if batch is None:
                batch = Batch(id=len(self._batches) + 1, name=name, endpoint=endpoint, currency=currency)
                self._put(self._worked_on, batch.id, now)
            elif any(attempt.batch_id == batch.id for attempt in self._attempts.values()):
                batch = replace(batch, currency=currency or batch.currency)
            else:
                batch = replace(batch, currency=currency or batch.currency, endpoint=endpoint)
            self._put(self._batches, batch.id, batch)
        return batch

    def record_places(self, batch_id: int, *, manifest: str | None, folder: str) -> None:
        if batch_id in self._batches:
            with self.transaction():
                self._put(self._batches, batch_id, replace(self._batches[batch_id], manifest=manifest, folder=folder))

    def start_run(self, batch_id: int, *, pid: int, host: str, plan: str | None = None, now: datetime) -> int:
        self._known(batch_id)
        with self.transaction():
            run_id = len(self._runs) + 1
            earlier = now if batch_id not in self._runs.values() else self._worked_on[batch_id]
            self._put(self._runs, run_id, batch_id)
            if plan is not None:
                self._put(self._plans, (batch_id, plan), run_id)
            self._put(self._worked_on, batch_id, max(now, earlier))
        return run_id

    def finish_run(self, run_id: int, *, exit_code: int, now: datetime) -> None:
        """Nothing asks for it."""

    def pause(self, batch_id: int, reason: str, message: str, *, now: datetime) -> None:
        self._set_paused(batch_id, reason, message)

    def unpause(self, batch_id: int, *, now: datetime) -> None:
        self._set_paused(batch_id, None, None)

    def _set_paused(self, batch_id: int, reason: str | None, message: str | None) -> None:
        if batch_id in self._batches:
            with self.transaction():
                batch = replace(self._batches[batch_id], paused=reason, paused_message=message)
                self._put(self._batches, batch_id, batch)
