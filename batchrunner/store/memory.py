"""The store in memory: the verified fake, held to the same contract suite as SQLite's.

Rows are frozen values in dictionaries. Every change leaves behind how to undo it, so that a transaction that raises
changes nothing. Each part of the port has a module of its name: `memory_batches`, `memory_planning`, `memory_questions`,
`memory_books`, `memory_evidence`, `memory_transitions`.
"""

from __future__ import annotations

from batchrunner.store.memory_batches import Batches
from batchrunner.store.memory_evidence import Evidence
from batchrunner.store.memory_planning import Planning


class MemoryStore(Planning, Batches, Evidence):
    """Jobs and their purchases, for as long as the process lives."""
