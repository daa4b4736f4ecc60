"""The nouns of batchrunner: frozen values that know nothing of files, databases or the network.

Money is in integer micro-units of the batch's currency; times are aware UTC datetimes; seconds are float seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cache, lru_cache

from batchrunner.diagnostic import Place
from batchrunner.states import JobState

MODEL = "kling-v3"


class Mode(StrEnum):
    """How a clip is made; it decides the resolution that is billed (API page: std = 720P, pro = 1080P)."""

    STD = "std"
    PRO = "pro"


class AspectRatio(StrEnum):
    """Width to height, the three values of the API page."""

    LANDSCAPE = "16:9"
    PORTRAIT = "9:16"
    SQUARE = "1:1"

    @property
    def value_of(self) -> float:
        """Width divided by height."""
        width, _, height = self.value.partition(":")
        return int(width) / int(height)


class FrameDialect(StrEnum):
    """How frames are named in a request: the API page's `image_urls`, or `image_with_roles` of its newer generations."""

    URLS = "urls"
    ROLES = "roles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One input image: a local file, uploaded once per content, or a URL that the provider reads itself.

    `source` is what may be stored and shown: the path as it can be opened, or the URL without its query (which may hold
    a signature). `sha256` identifies it: of the file's content, or of the whole URL.
    """

    source: str
    sha256: str
    local: bool
    size: tuple[int, int] | None = None
    """Width and height in pixels, where known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """The whole request of the API page, before frames are uploaded. Its rules are `request.violations`."""

    prompt: str
    mode: Mode = Mode.STD
    duration: int = 5
    """Seconds."""
    aspect_ratio: AspectRatio = AspectRatio.LANDSCAPE
    frames: tuple[Frame, ...] = ()
    """None, the first frame, or the first and the last."""
    audio: bool = False
    negative_prompt: str | None = None
    watermark: bool | None = None
    model: str = MODEL

    @property
    def billing_key(self) -> str:
        """What the API page bills: 720P, 1080P, 720P+Sound or 1080P+Sound."""
        return _billing_key(self.mode, self.audio)

    @property
    def kind(self) -> str:
        """What requests have in common that are made and billed alike: billing key, seconds, number of frames."""
        return _kind(self.mode, self.audio, self.duration, len(self.frames))


@cache
def _billing_key(mode: Mode, audio: bool) -> str:
    resolution = {Mode.STD: "720P", Mode.PRO: "1080P"}[mode]
    return f"{resolution}+Sound" if audio else resolution


@lru_cache(maxsize=1024)
def _kind(mode: Mode, audio: bool, duration: int, frames: int) -> str:
    """Asked for many times a job."""
    return f"{_billing_key(mode, audio)} {duration} {frames}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedJob:
    """One clip that the manifest asks for."""

    key: str
    fingerprint: str
    """SHA-256 of the resolved request with content hashes for frames."""
    request: VideoRequest
    output: str
    """The clip's path below the output folder, with forward slashes."""
    position: int
    """Its place in the manifest, from 0; it decides the order of submission and nothing else."""
    place: Place | None = None
    tags: tuple[str, ...] = ()
    """Words that a run can select it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A verified clip on disk."""

    path: str
    bytes: int
    sha256: str
    duration: float
    width: int
    height: int
    sound: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A wanted job as the database knows it."""

    id: int
    key: str
    fingerprint: str
    state: JobState
    request: VideoRequest
    output: str
    reason: str | None = None
    """Why it failed, waits or is in doubt: a word that programs can match."""
    message: str | None = None
    """The same for people."""
    attempts: int = 0
    """Submissions that were not simply sent back: a 429, say, is no attempt."""
    not_before: datetime | None = None
    purchase_id: str | None = None
    task_id: str | None = None
    provider_status: str | None = None
    progress: int | None = None
    submitted_at: datetime | None = None
    expires_at: datetime | None = None
    clip: Clip | None = None
    price: int | None = None
    """Estimated price of its purchase in micro-units; None before it is bought and without prices."""
    wanted: bool = True
    """Whether the manifest still asks for it."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is made durable before a paid request leaves: the purchase, its exact body and its price."""

    purchase_id: str
    body_sha256: str
    price: int | None
    """Estimated price in micro-units; None without prices."""
    day: date | None = None
    """The user's calendar day that its price counts for; the day in UTC when nobody says."""
    run_id: int | None = None
    """The run that buys, for what a run may spend."""
    account: str | None = None
    """Which key sends it (`Collector.account`): another key's account may know nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the provider's answer to a submission was, for the record; never a body and never a URL."""

    rule: str
    """The row of `classify` that decided."""
    body_started: bool = True
    http_status: int | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    """The provider's id of the request, which support asks for."""
    candidate: str | None = None
    """The task id that a spoilt success may have named; it proves nothing by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One submission of a job, and what came of it and of its price."""

    number: int
    purchase_id: str
    outcome: str
    """The last of its events that said something about the money; `open` while it is being sent."""
    charge: str
    """committed, spent or released."""
    price: int | None
    body_sha256: str
    intended_at: datetime
    answered_at: datetime | None = None
    answer: Answer | None = None
    task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an account had used, in credits, at a moment when no submission was under way."""

    at: datetime
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A submission that was, or may have been, charged: what has to explain how the balance moved."""

    kind: tuple[str, int]
    """Billing key and seconds: what its price depends on."""
    intended_at: datetime
    outcome: str
    prompt: bool
    """Whether it was accepted by the answer to its own request; others may have arrived later than they were sent."""
    failed_at: datetime | None = None
    """When its task failed, and the provider gave the money back."""
    answered_at: datetime | None = None
    """When its request was answered; a balance that was read before that may not have it yet."""
    purchase_id: str = ""
    account: str | None = None
    """Which key sent it; None when that was not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """What a purchase did to the balance, and when that became known."""

    price: int | None
    """As it was estimated when it was bought."""
    currency: str | None
    charge: str
    outcome: str
    """As in `Attempt`."""
    intended_at: datetime
    answered_at: datetime | None
    settled_at: datetime | None
    """When it was learned what became of it; None while that is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry(Posting):
    """One purchase of any batch, with as much of its job as accounts need."""

    batch: str
    key: str
    number: int
    """The how-manieth submission of its job."""
    purchase_id: str
    task_id: str | None
    billing_key: str
    seconds: int
    day: date
    """The user's calendar day."""
    tags: tuple[str, ...]
    """As its job had them then."""
    state: JobState
    """Of its job, now."""
    reason: str | None
    wanted: bool
    is_last: bool
    """Whether the job was not bought again since."""
    is_rerolled: bool = False
    """Whether a person asked for another take of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a job's history."""

    at: datetime
    event: str
    source: str
    target: str
    note: str | None = None
    """The reason, the evidence, or a person's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An input image and the URL that the provider gave it."""

    sha256: str
    endpoint: str
    url: str
    uploaded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a manifest names; it lives in the database across runs."""

    id: int
    name: str
    endpoint: str
    """Whose tasks it holds: the provider's host, or `emulator`."""
    paused: str | None = None
    """Why nothing is submitted, as a word that programs can match, or None."""
    paused_message: str | None = None
    """The same for people."""
    currency: str | None = None
    manifest: str | None = None
    """The file it was last run from, as an absolute path; None when it was made of prompts."""
    folder: str | None = None
    """Where its clips go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a batch has cost, in micro-units, and the billing seconds behind it."""

    spent: int = 0
    """Tasks that were accepted and did not fail."""
    committed: int = 0
    """In flight and in doubt: bought, or perhaps bought, and not final."""
    seconds: dict[str, int] = field(default_factory=dict)
    """Billing seconds of both, per billing key."""
    unpriced: int = 0
    """Purchases among them that have no price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayProof:
    """Whether a repeated purchase id was seen to buy nothing twice; it says nothing of another address, model or key."""

    base_url: str
    model: str
    key: str
    """The key's fingerprint (`purchase.key_fingerprint`)."""
    proved_at: datetime
    holds: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An account's or a key's credits (200 credits = 1 USD, API facts §3)."""

    remaining: float | None
    """None when the key has no limit."""
    used: float
