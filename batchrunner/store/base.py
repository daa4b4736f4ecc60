"""The store's port: verbs of the domain, each one legal move of `states.TRANSITIONS` or one question.

Every verb is synchronous and either happens wholly or not at all; `Writer` gives the runner a durable, awaitable form of
them. A transition says whether it applied: `False` means that the row was not in the state it must leave, and nothing
changed. Times are aware UTC datetimes, `now` is always an argument. A `note` names the evidence or holds the person's
words; where it is a `str` an empty one is refused with `StorageError`.
"""

from __future__ import annotations

from typing import Protocol

from batchrunner.store.batches import Batches
from batchrunner.store.books import Books
from batchrunner.store.comparison import (
    NOTHING_AGAIN,
    SAMPLE,
    Changes,
    Comparison,
    Planned,
    Purchases,
    Receipt,
    Redo,
    SourceFile,
    StoredJob,
    Verdict,
)
from batchrunner.store.evidence import Evidence
from batchrunner.store.planning import Planning
from batchrunner.store.questions import NOTHING, Questions, Without
from batchrunner.store.transitions import NO_TAGS, Transitions

__all__ = [
    "NOTHING",
    "NOTHING_AGAIN",
    "NO_TAGS",
    "SAMPLE",
    "Changes",
    "Comparison",
    "Planned",
    "Purchases",
    "Receipt",
    "Redo",
    "SourceFile",
    "Store",
    "StoredJob",
    "Verdict",
    "Without",
]


class Store(Batches, Planning, Questions, Books, Evidence, Transitions, Protocol):
    """Jobs, their purchases and their history."""
