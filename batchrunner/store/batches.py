"""The port: transactions, batches and their runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from batchrunner.model import Batch


class Batches(Protocol):
    """What a batch is called, where it belongs, and who works on it."""

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is durable together when the block ends, or undone when it raises.

        Blocks may nest: an inner one that raises is undone alone.
        """

    def as_one(self) -> AbstractContextManager[None]:
        """Inside a transaction: the blocks in this one are no longer undone alone, which costs less.

        Whoever hears of an error in it undoes the whole transaction, by raising out of it.
        """

    def close(self) -> None: ...

    def open_batch(self, name: str, *, endpoint: str, currency: str | None, now: datetime) -> Batch:
        """The batch of that name, made if it is new. A batch without any attempt takes the given endpoint."""

    def batch(self, name: str) -> Batch | None: ...

    def batches(self) -> list[Batch]:
        """All of them, the one last worked on first."""

    def record_places(self, batch_id: int, *, manifest: str | None, folder: str) -> None:
        """Where the batch comes from and where its clips go, for commands that do not read the manifest."""

    def start_run(self, batch_id: int, *, pid: int, host: str, plan: str | None = None, now: datetime) -> int:
        """A new run of the batch, its id; `plan` is the digest of the saved plan that it carries out."""

    def has_run(self, batch_id: int, plan: str) -> bool:
        """Whether a run of the batch carries out, or carried out, that saved plan."""

    def finish_run(self, run_id: int, *, exit_code: int, now: datetime) -> None: ...

    def pause(self, batch_id: int, reason: str, message: str, *, now: datetime) -> None: ...

    def unpause(self, batch_id: int, *, now: datetime) -> None: ...
