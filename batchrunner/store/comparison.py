"""What planning says: the stored jobs, what a manifest would change of them, and what that would buy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from batchrunner.model import VideoRequest, WantedJob
from batchrunner.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """As much of a job as planning needs."""

    id: int
    key: str
    fingerprint: str
    state: JobState
    attempts: int
    output: str
    wanted: bool
    paid: bool = True
    """Whether something was, or may have been, bought for it and not given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a plan does to the stored jobs of a batch; each of them, and each key, is named once."""

    added: tuple[WantedJob, ...] = ()
    replaced: tuple[tuple[int, WantedJob], ...] = ()
    """Jobs that nothing is bought for, by id: they take the manifest's new request, key, output and position.

    Those that had failed or were cancelled are pending again, as another purchase. Paid ones are left as they are.
    """
    kept: tuple[tuple[int, WantedJob], ...] = ()
    """Jobs of the same request, or sent already, by id: they take the manifest's key, position and tags.

    Those that are still pending take its request too: the frames' content is the same, but their folder may have moved.

    Until their clip is saved they take its output as well: paths are unique among what the manifest asks for now.
    """
    orphaned: tuple[int, ...] = ()
    """Jobs that the manifest no longer has; those in flight are still collected."""
    discarded: tuple[int, ...] = ()
    """Bought jobs whose place one of `added` takes, because a person pays again: kept with their clip and their price."""
    retried: tuple[int, ...] = ()
    """Failed jobs, of `kept`, that a person pays for again: pending, as another purchase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """What a person wants to pay for again, of the jobs that the glob and the tags select."""

    changed: bool = False
    """Jobs that were bought with another request than the manifest has now, once nothing of them is in flight."""
    failed: bool = False
    """Jobs that failed, with whatever request the manifest has now."""
    only: str | None = None
    tags: tuple[str, ...] = ()
    limit: int | None = None
    """Of all that would be sent, the first so many."""


NOTHING_AGAIN = Redo()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the manifest that was adopted last was made of: while that is the same, so is what it asks for."""

    manifest: str
    """The file, as an absolute path."""
    made_of: str
    """A digest of everything but `sources`: the program, the manifest's text, the options, the day."""
    summary: str
    """JSON of what else the expansion said: its tags, its kinds, its warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file or folder that the manifest's jobs come from, and what it was when it was read."""

    path: str
    kind: str
    identity: str


SAMPLE = 5
"""Keys of many that a person is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a manifest would change, as numbers of jobs; `plan.Plan` is the same with the jobs themselves."""

    to_send: int
    """New, changed before anything was bought, still pending, or paid for again."""
    again: int
    """Those of them that are paid for again."""
    done: int
    """With the request that the manifest has now, as with those that failed."""
    collecting: int
    """At the provider, or finished there and not yet fetched."""
    in_doubt: int
    failed: int
    cancelled: int
    changed: int
    """Bought with another request than the manifest has now: kept as they are."""
    changed_keys: tuple[str, ...]
    """The first of these, at most `SAMPLE`."""
    moved: int
    orphaned: int

    @property
    def needs_provider(self) -> bool:
        """Whether there is anything to send or to collect."""
        return bool(self.to_send or self.collecting)


class Verdict(StrEnum):
    """What a plan says of one job."""

    NEW = "new"
    """To be sent: new, changed before anything was bought, or still pending."""
    AGAIN = "again"
    """To be sent, and paid for before: a person wants it so."""
    DONE = "done"
    IN_FLIGHT = "in_flight"
    IN_DOUBT = "in_doubt"
    CHANGED = "changed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ORPHANED = "orphaned"

    @property
    def is_sent(self) -> bool:
        return self in (Verdict.NEW, Verdict.AGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One job of a plan."""

    verdict: Verdict
    key: str
    fingerprint: str
    output: str
    state: JobState | None = None
    """As stored; None when it is new."""
    moved_from: str | None = None
    """The key that it had, when the manifest has renamed it."""
    request: VideoRequest | None = None
    """What the manifest asks for now; None when it no longer does."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchases:
    """The clips that a run would buy."""

    kinds: Mapping[tuple[str, int], int]
    """How many of each billing key and length in seconds."""
    uploads: int
    """Different local frames that they need."""
    again: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """How many of `kinds` are paid for again."""
    forms: Mapping[str, int] = field(default_factory=dict)
    """How many of each kind as `VideoRequest.kind` has them, with the number of frames."""

    @property
    def clips(self) -> int:
        return sum(self.kinds.values())
