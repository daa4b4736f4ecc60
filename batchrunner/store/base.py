"""The store's port: verbs of the domain, each one legal move of `states.TRANSITIONS` or one question.

Every verb is synchronous and either happens wholly or not at all; `Writer` gives the runner a durable, awaitable form of
them. A transition says whether it applied: `False` means that the row was not in the state it must leave, and nothing
changed. Times are aware UTC datetimes, `now` is always an argument. A `note` names the evidence or holds the person's
words; where it is a `str` an empty one is refused with `StorageError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from batchrunner.budget import Used
from batchrunner.model import (
    Answer,
    Asset,
    Attempt,
    Batch,
    Clip,
    Frame,
    Intent,
    Job,
    LedgerEntry,
    Moment,
    Money,
    Purchase,
    Reading,
    ReplayProof,
    VideoRequest,
    WantedJob,
)
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

    @property
    def clips(self) -> int:
        return sum(self.kinds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """Pending jobs that may not be sent for now: those with one of the tags, and those of one of the kinds."""

    tags: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    """As `VideoRequest.kind` has them."""


NOTHING = Without()
NO_TAGS: Mapping[str, int] = MappingProxyType({})


class Store(Protocol):
    """Jobs, their purchases and their history."""

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is durable together when the block ends, or undone when it raises.

        Blocks may nest: an inner one that raises is undone alone.
        """

    def close(self) -> None: ...

    # batches and runs

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

    # the plan

    def stored_jobs(self, batch_id: int) -> Iterator[StoredJob]: ...

    def apply(self, batch_id: int, changes: Changes, *, now: datetime) -> None: ...

    def compare(self, batch_id: int, jobs: Iterable[WantedJob], *, redo: Redo = NOTHING_AGAIN) -> Comparison:
        """What a manifest of these jobs, in their order, would change by the rules of `plan`; nothing changes yet.

        The comparison stays with the store until it is adopted or another one is made.
        """

    def planned(self) -> Iterator[Planned]:
        """Each job that was compared, in the manifest's order, and then what the manifest no longer has."""

    def purchases(self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None) -> Purchases:
        """What would be sent of the jobs that were compared: the first `limit` that the glob and the tags select."""

    def outgoing(
        self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Frame]:
        """The local frames of those jobs, each content once, in the order of its SHA-256."""

    def adopt(self, batch_id: int, *, now: datetime) -> None:
        """`apply` what the comparison found, once."""

    def add_takes(self, job_id: int, takes: Sequence[WantedJob], *, note: str, now: datetime) -> None:
        """More takes of a job, pending, in its batch, because a person asks for them: whatever the manifest says.

        `StorageError` without a note, and when a wanted job has the key of one of them.
        """

    def asked(self, batch_id: int) -> list[WantedJob]:
        """The wanted jobs that a person asked for."""

    # questions

    def job(self, job_id: int) -> Job: ...

    def jobs(self, batch_id: int, *, states: Iterable[JobState] = (), wanted_only: bool = True) -> Iterator[Job]:
        """In manifest order; all states when none is named."""

    def saved_files(self, batch_id: int) -> Iterator[tuple[str, str]]:
        """Key and path of each wanted job that is done, in manifest order: no more of a million rows than that."""

    def counts(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[JobState, int]:
        """Wanted jobs by state, of those whose key matches the glob `only` and that have one of `tags`, if there are any.

        States without jobs are left out.
        """

    def in_flight(self, batch_id: int) -> int:
        """How many jobs are submitting, in doubt or running, wanted or not."""

    def sendable(
        self,
        batch_id: int,
        *,
        now: datetime,
        limit: int,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> list[Job]:
        """Wanted pending jobs whose `not_before` has passed, in manifest order."""

    def next_not_before(
        self,
        batch_id: int,
        *,
        after: datetime,
        only: str | None = None,
        tags: Sequence[str] = (),
        without: Without = NOTHING,
    ) -> datetime | None:
        """The first moment after `after` at which a wanted pending job may be sent; None when none waits that long."""

    def attempts(self, job_id: int) -> list[Attempt]:
        """Every submission of a job, the first one first."""

    def history(self, job_id: int) -> list[Moment]:
        """Everything that happened to a job, the oldest first."""

    def past_durations(self, billing_key: str, seconds: int, *, endpoint: str, limit: int) -> list[float]:
        """Seconds from acceptance to the end of the last tasks of that kind that were finished, the newest first."""

    def task_owner(self, task_id: str) -> int | None:
        """The job that the provider's task was bought for, of any batch; None when it is none of ours."""

    def service_times(self, kind: str, *, endpoint: str, limit: int) -> list[float]:
        """How long the last tasks of this kind took at that provider, in its seconds, the last one first."""

    def kinds_ahead(
        self, batch_id: int, *, limit: int, only: str | None = None, tags: Sequence[str] = ()
    ) -> dict[str, int]:
        """The kinds of the first `limit` wanted pending jobs that are selected, and how many of each."""

    def money(self, batch_id: int) -> Money: ...

    # evidence

    def record_reading(self, endpoint: str, account: str, reading: Reading) -> None:
        """Keep what the account had used; `account` tells keys apart and is no key."""

    def readings(self, endpoint: str, account: str) -> list[Reading]:
        """The readings of one account, the oldest first."""

    def accounts(self) -> list[tuple[str, str]]:
        """Endpoint and account of all readings."""

    def charges(self, endpoint: str) -> list[Purchase]:
        """Every submission, of all batches there, that was or may have been charged, the oldest first."""

    def waiting_kinds(self, batch_id: int, *, only: str | None = None, tags: Sequence[str] = ()) -> dict[str, int]:
        """How many wanted pending jobs there are of each `VideoRequest.kind`."""

    def verdicts(self, endpoint: str) -> dict[str, str | None]:
        """What the first clips of each kind came to there: None where they were right, otherwise what was wrong."""

    def record_verdict(self, endpoint: str, kind: str, job_id: int, *, wrong: str | None, now: datetime) -> None:
        """What a clip says about its kind; a later one goes above an earlier one."""

    def known_purchase(self, endpoint: str) -> str | None:
        """The purchase id of the task that was accepted there last; None when there is none."""

    def record_held(self, job_id: int, *, message: str, now: datetime) -> bool:
        """Still in doubt: what is known of it, and what helps."""

    def ledger(
        self, batch_id: int | None = None, *, endpoint: str | None = None, since: datetime | None = None
    ) -> Iterator[LedgerEntry]:
        """Every purchase that was intended, of one batch, of all at an endpoint, or of all, in the order of intents."""

    def used(self, batch_id: int, *, day: date, run_id: int | None = None, tags: Iterable[str] = ()) -> Used:
        """What counts against the caps: of the batch, and of all batches in its currency on that day and in its month.

        Of the run and of each of the tags too; a purchase counts for the tags that its job had when it was made.
        """

    # transitions

    def recover(self, batch_id: int, *, now: datetime) -> int:
        """Start-up: every `submitting` becomes `in_doubt(crash)`, never `pending`. How many.

        No pending job waits longer than `settings.LONGEST_WAIT` from now.
        """

    def record_intent(
        self,
        job_id: int,
        intent: Intent,
        *,
        cap: int | None,
        per_day: int | None = None,
        per_month: int | None = None,
        per_run: int | None = None,
        tags: Mapping[str, int] = NO_TAGS,
        now: datetime,
    ) -> int | None:
        """pending -> submitting, with a new attempt, whose id is returned.

        None when the job is no longer pending or when spent + committed + this price would pass `cap` for the batch,
        `per_run` for the intent's run, `per_day` or `per_month` for all batches in its currency, or the cap of one of the
        job's tags (micro-units, `used` says what counts), or has no price at all while there is one of them.
        """

    def record_accepted(self, job_id: int, task_id: str, answer: Answer, *, now: datetime) -> bool:
        """submitting -> running. Also False when another purchase owns the task id."""

    def record_returned(
        self, job_id: int, answer: Answer, *, reason: str, not_before: datetime | None, now: datetime
    ) -> bool:
        """submitting -> pending: certainly not bought, so it was no attempt; the purchase id is kept for the next try."""

    def record_refused(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        """submitting -> failed: refused for good, nothing was bought."""

    def record_unanswered(self, job_id: int, answer: Answer, *, reason: str, now: datetime) -> bool:
        """submitting -> in_doubt."""

    def record_found(self, job_id: int, task_id: str, *, now: datetime, note: str | None = None) -> bool:
        """in_doubt -> running: the provider knows the purchase. Also False when another purchase owns the task id."""

    def record_absent(self, job_id: int, *, note: str, not_before: datetime | None, now: datetime) -> bool:
        """in_doubt -> pending with the same purchase id: not bought, says the evidence or the person of the note."""

    def record_abandoned(self, job_id: int, *, note: str, now: datetime) -> bool:
        """in_doubt -> failed(abandoned): a person gives it up; the money counts as spent."""

    def record_cancelled(self, job_id: int, *, note: str, now: datetime) -> bool:
        """pending -> cancelled: it is not sent."""

    def record_retried(self, job_id: int, *, note: str, now: datetime) -> bool:
        """failed or cancelled -> pending, as a new purchase; what the old one cost stays as it was booked."""

    def record_reopened(self, job_id: int, *, note: str, now: datetime) -> bool:
        """done or failed -> fetching: its clip is collected again from the task that was paid for.

        Also False when no money was spent on a task of it.
        """

    def record_rejected(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        """pending -> failed: it cannot be sent as it is (a frame was refused)."""

    def record_progress(self, job_id: int, *, status: str, progress: int | None, now: datetime) -> bool:
        """Still running; False (and nothing written) when that is not news."""

    def record_finished(
        self, job_id: int, *, expires_at: datetime | None, took: float | None = None, now: datetime
    ) -> bool:
        """running -> fetching. `took` is the task's service time in the provider's seconds, where it is known."""

    def record_task_failed(
        self, job_id: int, *, reason: str, message: str, took: float | None = None, now: datetime
    ) -> bool:
        """running -> failed: the provider says so, and gives the money back. `took` as above."""

    def record_vanished(self, job_id: int, *, message: str, reason: str = "vanished", now: datetime) -> bool:
        """running -> failed: the provider no longer knows the task, or offers no file; the money counts as spent."""

    def record_misattributed(self, job_id: int, *, reason: str, message: str, now: datetime) -> bool:
        """running -> in_doubt: its task is another purchase's and is nobody's from now on; the money stays committed."""

    def record_saved(self, job_id: int, clip: Clip, *, now: datetime) -> bool:
        """fetching -> done."""

    def record_expired(self, job_id: int, *, message: str, now: datetime) -> bool:
        """fetching -> failed."""

    def record_bad_file(self, job_id: int, *, message: str, now: datetime) -> bool:
        """fetching -> failed: the provider's clip is not what was asked for; what it sent is kept aside."""

    # replay

    def salt(self) -> bytes:
        """This database's own, for fingerprints of keys."""

    def record_proof(self, proof: ReplayProof) -> None: ...

    def replay_proof(self, *, base_url: str, model: str, key: str) -> ReplayProof | None:
        """The latest for this address, model and key (by its fingerprint); None when replay was never tried there."""

    # frames

    def asset(self, sha256: str, *, endpoint: str) -> Asset | None: ...

    def record_asset(self, asset: Asset) -> None: ...
