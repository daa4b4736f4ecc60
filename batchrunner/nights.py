"""Batches of a manifest whose name holds `{date}`: each night its own, and what the nights before have left open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from batchrunner.model import Batch
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.base import Store

_DATE = r"\d{4}-\d\d-\d\d"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A night with jobs that are not final."""

    batch: Batch
    counts: Mapping[JobState, int]

    @property
    def collectable(self) -> bool:
        """Whether there are clips that are paid for and can be had."""
        return bool(self.counts.get(JobState.RUNNING) or self.counts.get(JobState.FETCHING))


def unfinished(store: Store, tonight: Batch, *, day: date, manifest: Path) -> Iterator[Unfinished]:
    """The nights with clips that are paid for, or may be, and not here; and the last one if anything of it is unsent."""
    before, _, after = tonight.name.partition(day.isoformat())
    name = re.compile(re.escape(before) + _DATE + re.escape(after))
    others = [one for one in store.batches() if one.id != tonight.id and one.manifest == str(manifest)]
    nights = sorted((one for one in others if name.fullmatch(one.name)), key=lambda one: one.name, reverse=True)
    for number, night in enumerate(nights):
        counts = store.counts(night.id)
        open_states = (*IN_FLIGHT, JobState.FETCHING, *([JobState.PENDING] if number == 0 else []))
        if any(counts.get(state) for state in open_states):
            yield Unfinished(night, counts)


def date_option(name: str) -> list[str]:
    """What makes a command about the batch of this name, when it holds a date: by itself it would be about tonight's."""
    found = re.search(_DATE, name)
    return ["--date", found[0]] if found else []
