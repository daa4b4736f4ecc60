"""Where jobs wait until the whole manifest is known to be right, and the questions that need all of them at once.

A manifest may ask for a million jobs, so whoever expands it chooses the shelf: `MemoryShelf` is the plain one, and what
any other must agree with; `store.shelf` has one whose jobs lie on the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from batchrunner.model import WantedJob


class Jobs(Protocol):
    """All jobs of a manifest in the order of submission."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[WantedJob]: ...


class Unnamed(NamedTuple):
    """A job whose key is made from its content."""

    number: int
    """Its place on the shelf, from 0."""
    fingerprint: str
    draft: str
    """What its key and its path are made of, as whoever put it there wrote it down."""
    shared: bool
    """Whether another request has the same base."""


class Clash(NamedTuple):
    """Two jobs that cannot have their paths both."""

    owner: str
    """The key of the one that has it."""
    key: str
    """Of the other, as is all that follows."""
    output: str
    spot: int
    """What it was put there with."""


class Shelf(Protocol):
    """Keeps jobs in the order in which they come. `file` is what paths of the same file have in common."""

    def __len__(self) -> int: ...

    def claim(self, key: str, place: str) -> str | None:
        """Give the key to the job at `place`; when it has an owner, the place of that one."""

    def again(self, base: str) -> int:
        """How often a key was asked for in vain, from 2: the number that tells it from the others."""

    def put(self, job: WantedJob, file: str, *, spot: int, priority: int) -> None:
        """Keep a job that has its key and its path."""

    def put_unnamed(self, job: WantedJob, draft: str, *, base: str, spot: int, priority: int) -> None:
        """Keep a job whose key and path are made in the end; its `base` is the key it would like to have."""

    def need(self, folder: str, number: int) -> None:
        """The job of that number needs this folder, in the spelling of `file`."""

    def unnamed(self) -> Iterator[Unnamed]:
        """The jobs without a key, in order; each may be given its own meanwhile."""

    def name(self, number: int, key: str, output: str, file: str) -> None:
        """Give the job of that number its key and its path."""

    def same_files(self) -> Iterator[Clash]:
        """Each job whose path is another's before it."""

    def files_in_the_way(self) -> Iterator[Clash]:
        """For each file that stands where a folder is needed, the first job that needs it."""

    def jobs(self) -> Jobs:
        """All of them, those of the highest priority first; nothing is put there any more."""


@dataclass(slots=True)
class MemoryShelf:
    """Everything in lists: as much memory as there are jobs."""

    _jobs: list[WantedJob] = field(default_factory=list)
    _files: list[str] = field(default_factory=list)
    _spots: list[int] = field(default_factory=list)
    _priorities: list[int] = field(default_factory=list)
    _drafts: dict[int, tuple[str, str]] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)
    _asked: Counter[str] = field(default_factory=Counter)
    _folders: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._jobs)

    def claim(self, key: str, place: str) -> str | None:
        if key in self._owners:
            return self._owners[key]
        self._owners[key] = place
        return None

    def again(self, base: str) -> int:
        self._asked[base] += 1
        return self._asked[base] + 1

    def put(self, job: WantedJob, file: str, *, spot: int, priority: int) -> None:
        self._jobs.append(job)
        self._files.append(file)
        self._spots.append(spot)
        self._priorities.append(priority)

    def put_unnamed(self, job: WantedJob, draft: str, *, base: str, spot: int, priority: int) -> None:
        self._drafts[len(self._jobs)] = base, draft
        self.put(job, "", spot=spot, priority=priority)

    def need(self, folder: str, number: int) -> None:
        self._folders[folder] = min(number, self._folders.get(folder, number))

    def unnamed(self) -> Iterator[Unnamed]:
        contents: dict[str, set[str]] = {}
        for number, (base, _) in self._drafts.items():
            contents.setdefault(base, set()).add(self._jobs[number].fingerprint)
        for number, (base, draft) in self._drafts.items():
            yield Unnamed(number, self._jobs[number].fingerprint, draft, len(contents[base]) > 1)

    def name(self, number: int, key: str, output: str, file: str) -> None:
        self._jobs[number] = replace(self._jobs[number], key=key, output=output)
        self._files[number] = file

    def same_files(self) -> Iterator[Clash]:
        writers: dict[str, int] = {}
        for number, file in enumerate(self._files):
            if (first := writers.setdefault(file, number)) != number:
                yield self._clash(first, number)

    def files_in_the_way(self) -> Iterator[Clash]:
        writers = {file: number for number, file in reversed(list(enumerate(self._files)))}
        for folder, number in self._folders.items():
            if folder in writers:
                yield self._clash(writers[folder], number)

    def _clash(self, owner: int, number: int) -> Clash:
        return Clash(self._jobs[owner].key, self._jobs[number].key, self._jobs[number].output, self._spots[number])

    def jobs(self) -> tuple[WantedJob, ...]:
        order: Iterable[int] = range(len(self._jobs))
        if any(self._priorities):
            order = sorted(order, key=lambda number: -self._priorities[number])
        return tuple(replace(self._jobs[number], position=rank) for rank, number in enumerate(order))
