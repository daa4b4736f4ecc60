"""The port: what a manifest wants against what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from batchrunner.model import Frame, WantedJob
from batchrunner.store.comparison import (
    NOTHING_AGAIN,
    Changes,
    Comparison,
    Planned,
    Purchases,
    Receipt,
    Redo,
    SourceFile,
    StoredJob,
)


class Planning(Protocol):
    """Compare first, show it, and only then adopt it."""

    def stored_jobs(self, batch_id: int) -> Iterator[StoredJob]: ...

    def apply(self, batch_id: int, changes: Changes, *, now: datetime) -> None: ...

    def compare(self, batch_id: int, jobs: Iterable[WantedJob], *, redo: Redo = NOTHING_AGAIN) -> Comparison:
        """What a manifest of these jobs, in their order, would change by the rules of `plan`; nothing changes yet.

        The comparison stays with the store until it is adopted or another one is made.
        """

    def recall(self, batch_id: int) -> Comparison:
        """`compare` with the manifest that was adopted last, from what is stored: whoever has its receipt knows that it holds.

        Nothing is changed by adopting it.
        """

    def planned(self, *, to_send: bool = False) -> Iterator[Planned]:
        """Each job that was compared, in the manifest's order, and then what the manifest no longer has.

        With `to_send` only those that would be sent.
        """

    def purchases(self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None) -> Purchases:
        """What would be sent of the jobs that were compared: the first `limit` that the glob and the tags select."""

    def outgoing(
        self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Frame]:
        """The local frames of those jobs, each content once, in the order of its SHA-256."""

    def adopt(self, batch_id: int, *, now: datetime) -> None:
        """`apply` what the comparison found, once."""

    def record_receipt(self, batch_id: int, receipt: Receipt, sources: Iterable[SourceFile]) -> None:
        """What was just adopted; forgotten as soon as anything that is wanted changes."""

    def receipts(self, manifest: str) -> list[tuple[int, Receipt]]:
        """Of the batches that this manifest was adopted for, their ids and receipts."""

    def receipt_sources(self, batch_id: int) -> Iterator[SourceFile]:
        """What goes with the batch's receipt."""

    def add_takes(self, job_id: int, takes: Sequence[WantedJob], *, note: str, now: datetime) -> None:
        """More takes of a job, pending, in its batch, because a person asks for them: whatever the manifest says.

        `StorageError` without a note, and when a wanted job has the key of one of them.
        """

    def asked(self, batch_id: int) -> list[WantedJob]:
        """The wanted jobs that a person asked for."""
