"""The record of every accepted submission: the truth that clients are measured against.

One JSON line per fact, appended in one write before the answer leaves, so that it survives SIGKILL of the process that it
lives in (it is not fsynced: a power cut may take the last lines). A fact is never changed, only added to: a task's images
are found, the task has failed, a fault has fired.
"""

from __future__ import annotations

import heapq
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from batchrunner.emulator.tokens import Token
from batchrunner.emulator.validation import Submission
from batchrunner.errors import LockedError, StorageError
from batchrunner.locking import BUSY, lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted submission and what is known of its task."""

    sequence: int
    """Its place in the order of acceptance, from 0."""
    id: str
    accepted_at: float
    """Unix seconds, as every time here."""
    service: float
    """Seconds from acceptance to completion, the emulator's speed already applied."""
    price_credits: int
    body_sha256: str
    submission: Submission
    inputs: tuple[str, ...] | None
    """The stored images it is rendered from; None while they are being fetched."""
    failed_at: float | None = None
    failure: str | None = None
    """None for a task that fails without a word."""
    fate: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The faults that it was given when it was accepted, with their parameters; durations in real seconds."""
    key: str = ""
    """The digest of the key that bought it."""
    draw: str = ""
    """What chance looks at instead of its place: the submission's likeness, and the how-manieth of its kind it is, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault that fired on a request."""

    name: str
    stage: str
    place: int
    """The request's number among those of its stage, from 0."""
    task: str | None
    nth: int
    """The how-manieth request of this stage about that task, or of that likeness, from 0."""
    at: float
    likeness: str = ""
    """Of a submission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """From when on and behind how many requests some rules have been in force."""

    rules: str
    """A digest."""
    at: float
    offset: Mapping[str, int]
    """Requests of each stage that came before."""


class Ledger:
    """All entries, in order of acceptance, found by task id or by the client's own id. Safe to use from threads."""

    def __init__(self, path: Path) -> None:
        self._entries: dict[str, Entry] = {}
        self._by_client_id: dict[str, list[str]] = {}
        self._struck: list[Struck] = []
        self._struck_on: dict[str, list[str]] = {}
        self.tokens: dict[str, Token] = {}
        """By the digest of their key."""
        self.campaign: Campaign | None = None
        """The last one that began."""
        self._charged = self._refunded = 0
        self._refunds: list[tuple[float, int]] = []
        """A heap of the refunds to come: when, and how much."""
        self._lock = threading.Lock()
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._own(path)
        self._load(path)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    @property
    def charged_credits(self) -> int:
        """Of all accepted submissions: a task is charged on acceptance (facts §4)."""
        return self._charged

    def refunded_credits(self, now: float) -> int:
        """Of all tasks that have failed by now: each is refunded in full, once, when it fails."""
        with self._lock:
            while self._refunds and self._refunds[0][0] <= now:
                self._refunded += heapq.heappop(self._refunds)[1]
            return self._refunded

    def billed_credits(self, now: float) -> int:
        """What was charged and not refunded."""
        return self._charged - self.refunded_credits(now)

    def billed_to(self, key: str, now: float, *, since: float = 0.0) -> int:
        """What one key was charged from then on and not refunded; of an old ledger's entries nobody knows the key."""
        return sum(
            entry.price_credits
            for entry in self.entries()
            if entry.key in (key, "")
            and entry.accepted_at >= since
            and (entry.failed_at is None or entry.failed_at > now)
        )

    def entries(self) -> list[Entry]:
        with self._lock:
            return list(self._entries.values())

    def get(self, task_id: str) -> Entry | None:
        with self._lock:
            return self._entries.get(task_id)

    def named(self, client_id: str) -> list[Entry]:
        """All tasks with this `client_business_id`, in order of acceptance."""
        with self._lock:
            return [self._entries[task_id] for task_id in self._by_client_id.get(client_id, ())]

    def struck(self) -> list[Struck]:
        """The faults that fired on requests, in order."""
        with self._lock:
            return list(self._struck)

    def struck_on(self, task_id: str) -> list[str]:
        """The names of the faults that fired on requests about a task."""
        with self._lock:
            return list(self._struck_on.get(task_id, ()))

    def fault_counts(self) -> Counter[str]:
        """How often each fault has fired; a task's fate counts from its acceptance."""
        with self._lock:
            return Counter(
                [one.name for one in self._struck] + [name for e in self._entries.values() for name in e.fate]
            )

    def accept(self, make: Callable[[int], Entry]) -> Entry:
        """Record the entry that `make` builds for the next sequence number. `OSError`: nothing was accepted."""
        with self._lock:
            entry = make(len(self._entries))
            self._append({"kind": "accepted", **asdict(entry)})
            self._add(entry)
            return entry

    def record_inputs(self, task_id: str, inputs: tuple[str, ...]) -> Entry:
        """The task's images were found; the first outcome stands."""
        return self._settle({"kind": "inputs", "id": task_id, "inputs": inputs})

    def record_failure(self, task_id: str, *, at: float, message: str) -> Entry:
        """The task fails at `at`, and is refunded; the first outcome stands."""
        return self._settle({"kind": "failed", "id": task_id, "at": at, "message": message})

    def record_fault(self, struck: Struck) -> None:
        """A fault fires now. Without room for the record it fires all the same: a fault needs no books to be one."""
        with self._lock:
            self._strike(struck)
            with suppress(OSError):
                self._append({"kind": "fault", **asdict(struck)})

    def record_token(self, token: Token) -> None:
        """A key was made. `OSError`: it was not."""
        with self._lock:
            self._append({"kind": "token", **asdict(token)})
            self.tokens[token.key] = token

    def record_campaign(self, campaign: Campaign) -> None:
        """Other rules begin now. Without room for the record they begin all the same."""
        with self._lock:
            self.campaign = campaign
            with suppress(OSError):
                self._append({"kind": "campaign", **asdict(campaign)})

    def _settle(self, fact: dict[str, Any]) -> Entry:
        with self._lock:
            entry = self._entries[fact["id"]]
            if entry.inputs is None and entry.failed_at is None:
                self._append(fact)
                self._apply(fact)
            return self._entries[entry.id]

    def _add(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._charged += entry.price_credits
        if (client_id := entry.submission.client_business_id) is not None:
            self._by_client_id.setdefault(client_id, []).append(entry.id)
        if entry.failed_at is not None:
            heapq.heappush(self._refunds, (entry.failed_at, entry.price_credits))

    def _strike(self, struck: Struck) -> None:
        self._struck.append(struck)
        if struck.task is not None:
            self._struck_on.setdefault(struck.task, []).append(struck.name)

    def _apply(self, fact: dict[str, Any]) -> None:
        match fact:
            case {"kind": "accepted"}:
                self._add(_entry(fact))
            case {"kind": "inputs", "id": task_id, "inputs": inputs}:
                self._entries[task_id] = replace(self._entries[task_id], inputs=tuple(inputs))
            case {"kind": "failed", "id": task_id, "at": at, "message": message}:
                self._entries[task_id] = replace(self._entries[task_id], failed_at=at, failure=message)
                heapq.heappush(self._refunds, (at, self._entries[task_id].price_credits))
            case {"kind": "fault", **fields}:
                self._strike(Struck(**fields))
            case {"kind": "token", "models": models, **fields}:
                token = Token(models=None if models is None else tuple(models), **fields)
                self.tokens[token.key] = token
            case {"kind": "campaign", **fields}:
                self.campaign = Campaign(**fields)
            case _:
                raise ValueError(f"unknown kind of line: {fact.get('kind')}")

    def _append(self, fact: dict[str, Any]) -> None:
        if self._file is None:
            raise OSError("the ledger is closed")
        line = json.dumps(fact, separators=(",", ":")).encode() + b"\n"
        end = os.fstat(self._file).st_size
        if os.write(self._file, line) != len(line):
            os.ftruncate(self._file, end)  # a full disk wrote half a line: take it back, or the next one is spoilt too
            raise OSError(f"no room for {len(line)} bytes in the ledger")

    def _own(self, path: Path) -> None:
        """Two emulators on one ledger would each sell what the other does not know."""
        assert self._file is not None
        try:
            lock(self._file)
        except BUSY:
            self.close()
            raise LockedError(
                f"another emulator works on {path.parent}; this one sold nothing",
                fix="stop it, or give this one a folder of its own with --state DIR",
            ) from None

    def _load(self, path: Path) -> None:
        content = path.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        if torn:  # its writer died in the middle, before anything was answered
            os.truncate(path, len(whole) + len(newline))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                self.close()
                raise StorageError(
                    f"{path}:{number}: the emulator's ledger is damaged ({error})",
                    fix=f"move {path.parent} away; the emulator then starts with an empty ledger",
                ) from error


def _entry(fact: dict[str, Any]) -> Entry:
    fields = {name: value for name, value in fact.items() if name != "kind"}
    submission = fields.pop("submission")
    inputs = fields.pop("inputs")
    return Entry(
        submission=Submission(**{**submission, "images": tuple(submission["images"])}),
        inputs=None if inputs is None else tuple(inputs),
        **fields,
    )
