"""What the words of a command are about: a batch, by name or the one last worked on, and jobs of it, by key or glob."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from batchrunner.errors import UsageError
from batchrunner.model import Batch, Job
from batchrunner.states import JobState
from batchrunner.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A batch, and the jobs of it that a command is about."""

    batch: Batch
    jobs: tuple[Job, ...]
    named: bool
    """Whether words named the jobs: then each of them deserves an answer, also when there is nothing to do for it."""


def select(store: Store, words: Sequence[str], *, states: Iterable[JobState] = ()) -> Selection:
    """`[BATCH] [JOB…]`: a first word that names a batch is one, all others are keys or globs over keys.

    Without keys it is about every job in one of `states`, wanted or not. `UsageError` for a word that is about nothing.
    """
    batch, keys = _batch(store, words)
    if not keys:
        return Selection(batch=batch, jobs=tuple(store.jobs(batch.id, states=states, wanted_only=False)), named=False)
    jobs = list(store.jobs(batch.id, wanted_only=False))
    found: dict[int, Job] = {}
    for key in keys:
        matching = _matching(jobs, key)
        if not matching:
            raise UsageError(
                f"batch {batch.name} has no job {key!r}; nothing was changed",
                fix=f"see its jobs: batchrunner ls {batch.name}",
            )
        found |= {job.id: job for job in matching}
    return Selection(batch=batch, jobs=tuple(found.values()), named=True)


def select_one(store: Store, words: Sequence[str]) -> tuple[Batch, Job]:
    """`[BATCH] JOB`, exactly one."""
    found = select(store, words)
    if not found.named or len(found.jobs) != 1:
        listed = ", ".join(job.key for job in found.jobs[:5]) if found.named else "none is named"
        raise UsageError(
            f"this is about one job: {listed}; nothing was changed", fix=f"batchrunner ls {found.batch.name}"
        )
    return found.batch, found.jobs[0]


def _batch(store: Store, words: Sequence[str]) -> tuple[Batch, Sequence[str]]:
    batches = store.batches()
    if not batches:
        raise UsageError("there is no batch in this database", fix="name its database with --db PATH")
    named = store.batch(words[0]) if words else None
    if named is None:
        return batches[0], words
    if len(words) == 1 and any(job.key == named.name for job in store.jobs(batches[0].id)):
        raise UsageError(
            f"{named.name!r} is a batch, and a job of {batches[0].name}; nothing was changed",
            fix=f"name both: {batches[0].name} {named.name}, or {named.name} '*' for the whole batch",
        )
    return named, words[1:]


def _matching(jobs: Iterable[Job], key: str) -> list[Job]:
    """The job of that key, or those that the glob matches; what the manifest dropped only where nothing else has it."""
    exact = [job for job in jobs if job.key == key] or [job for job in jobs if fnmatchcase(job.key, key)]
    return [job for job in exact if job.wanted] or exact
