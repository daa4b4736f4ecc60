"""What the answers to the free requests mean: polls, uploads, balance, result files.

They can be asked again at no cost, so nothing here is ever in doubt, and no answer of theirs can undo an acceptance
(reliability notes §1.2 to §1.4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from batchrunner.classify import is_task_id
from batchrunner.envelope import Envelope, error_of, parse, retry_after, shown
from batchrunner.matrix import CAPACITY, CONTENT, QUOTA
from batchrunner.model import Balance
from batchrunner.providers.base import Exchange
from batchrunner.purchase import is_purchase_id

COMPLETED = frozenset({"completed", "succeeded", "succeed", "success"})
FAILED = frozenset({"failed", "failure"})
"""The documented words and the relay's own for the same (API facts §1, §4); every other word means "still running"."""
QUEUED = frozenset({"queued", "pending", "submitted", "not_start", "unknown"})
WORKING = QUEUED | {"in_progress", "processing", "running"}
"""The words for a task that is not final; the relay's first answer may be `unknown`."""
_BAD_IMAGE = re.compile(r"image|picture|图片|frame", re.IGNORECASE)
_REFUSED_IMAGE = re.compile(
    r"unsupported|not supported|not allowed|allowed:|too (large|big|small)|too_large|maximum|exceed|invalid|corrupt|damaged|decode"
    r"|dimension|resolution|pixel|policy|不支持|格式|过大|太大|超过|超出|尺寸|损坏|违规|审核",
    re.IGNORECASE,
)
_BUSY = re.compile(r"busy|later|again|time(d )?.?out|temporar|internal|overload|繁忙|稍后|重试|超时", re.IGNORECASE)
"""What is refused for no reason that lies in the image costs nothing to try again."""
_MISSING_CODE = re.compile(r"task_not_exist|task_not_found|not_found", re.IGNORECASE)
_WRONG_ADDRESS = re.compile(r"invalid url", re.IGNORECASE)
"""The relay's 404 for a path that it does not have; it says nothing about a task (API facts §4)."""


@dataclass(frozen=True, slots=True)
class Working:
    """Not final; `status` is the provider's own word."""

    status: str
    progress: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The clip can be downloaded; the URL may hold a signature and is never stored. One without a host is at the API's."""

    url: str
    expires_at: datetime | None
    took: float | None = None
    """Seconds from its creation to its completion, by the provider's own clock."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """The provider gave up the task."""

    reason: str
    message: str
    took: float | None = None
    """As above."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The provider does not know the task, or not yet."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """The task is another purchase's, by the provider's own word."""

    purchase_id: str


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing was learned: ask again."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class AccountStop:
    """Refused for a reason that every job shares."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """The provider knows our purchase by this task."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The image is at the provider."""

    url: str


@dataclass(frozen=True, slots=True)
class UploadRefused:
    """The provider will not take this image."""

    message: str


PollOutcome = Working | Finished | TaskFailed | Missing | Foreign | Later | AccountStop

_ACCOUNT_STOPS = {401: "key", 402: "quota", 403: "forbidden"}


def poll(
    exchange: Exchange, *, task_id: str, purchase_id: str | None, others: Container[str], now: datetime
) -> PollOutcome:
    """What an answer about one task says. `others` holds ids of other tasks of ours.

    The id from the submission stays the one that is kept: an answer may name the task differently, but an answer about
    another of our purchases is no answer. One that names the very id we asked for is about that task: when it echoes a
    purchase id of our form that is not ours, the task was never ours; any other echo says nothing.
    """
    if (refusal := _refusal(exchange, now)) is not None:
        return refusal
    task = _task_in(exchange)
    if task is None or not isinstance(status := task.get("status"), str):
        return Later("answer_unreadable")
    echoed = task.get("client_business_id")
    strange = bool(purchase_id) and isinstance(echoed, str) and echoed not in ("", purchase_id)
    if (named := named_task(exchange)) != task_id:
        if strange or (named is not None and named in others):
            return Later("answer_of_another_task")
    elif strange and is_purchase_id(echoed):
        return Foreign(echoed)
    return _task(task, status.strip().lower())


def named_task(exchange: Exchange) -> str | None:
    """The id by which an answer names its task; None when it names none."""
    task = _task_in(exchange)
    found = (task.get("id") or task.get("task_id")) if task else None
    return found if isinstance(found, str) and is_task_id(found) else None


def described_task(exchange: Exchange) -> dict[str, Any] | None:
    """What a whole answer says of a task, field by field; None when it says nothing of any."""
    if exchange.status != 200 or not exchange.complete:
        return None
    return _task_in(exchange)


def _task_in(exchange: Exchange) -> dict[str, Any] | None:
    """The task of an answer, bare as ToAPIs sends it or wrapped in `data` as the stock relay does (API facts §4)."""
    value = parse(exchange.body)
    if not isinstance(value, dict):
        return None
    inner = value.get("data")
    return inner if "status" not in value and isinstance(inner, dict) else value


def lookup(exchange: Exchange, *, purchase_id: str, now: datetime) -> Found | Missing | Later | AccountStop:
    """What an answer to a look-up by purchase id proves.

    Only an answer that echoes the purchase id is proof (reliability notes §2.4). The id is random, so the echo is enough:
    what the answer says of times is measured on somebody else's clock. And only a refusal that says so means that it is not
    known: an answer about anything else, an empty one too, is none.
    """
    if (refusal := _refusal(exchange, now)) is not None:
        return refusal
    task, task_id = _task_in(exchange), named_task(exchange)
    if task is None or task.get("client_business_id") != purchase_id or task_id in (None, purchase_id):
        return Later("answer_unreadable")
    return Found(task_id)


def furthest(before: tuple[str | None, int | None], now: tuple[str, int | None]) -> tuple[str, int | None]:
    """Status and progress of a running task after news of them: an answer out of an old copy moves nothing back."""
    status = before[0] if before[0] and before[0] not in QUEUED and now[0] in QUEUED else now[0]
    known = [progress for progress in (before[1], now[1]) if progress is not None]
    return status, max(known, default=None)


def _task(task: dict[str, Any], status: str) -> Working | Finished | TaskFailed | Later:
    if status in COMPLETED:
        url = _result_url(task)
        if url is None:
            return Later("result_missing")
        return Finished(url, _time(task.get("expires_at")), _took(task))
    if status in FAILED:
        error = error_of(task)
        if error is None or not (error.code or error.message):
            error = error_of({"error": task.get("fail_reason")})
        words = f"{error.code} {error.message}" if error else ""
        reason = "task_failed"
        for pattern, name in ((CAPACITY, "capacity"), (CONTENT, "content_policy"), (_BAD_IMAGE, "bad_image")):
            if pattern.search(words):
                reason = name
                break
        message = (error.message or error.code) if error else ""
        return TaskFailed(reason, message or "the provider gave no reason", _took(task))
    return Working(shown(status)[:40] or "unknown", _progress(task.get("progress")))


def _result_url(task: dict[str, Any]) -> str | None:
    result = task.get("result")
    data = result.get("data") if isinstance(result, dict) else None
    first = data[0] if isinstance(data, list) and data else None
    url = first.get("url") if isinstance(first, dict) else None
    return url if isinstance(url, str) and (_is_address(url) or url.startswith("/")) else None


def _is_address(url: str) -> bool:
    return url.lower().startswith(("https://", "http://"))


def _time(value: object) -> datetime | None:
    number = _number(value)
    if number is None:
        return None
    try:
        return datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _took(task: dict[str, Any]) -> float | None:
    begun, ended = _number(task.get("created_at")), _number(task.get("completed_at"))
    return None if begun is None or ended is None or ended <= begun else ended - begun


def _number(value: object) -> float | None:
    """A finite number that JSON gave us, whatever its length; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _progress(value: object) -> int | None:
    if isinstance(value, str) and value.rstrip("%").isdecimal():
        value = int(value.rstrip("%")[:4])
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 0), 100)
    number = _number(value)
    return None if number is None else int(min(max(number, 0), 100))


def upload(exchange: Exchange, *, now: datetime) -> Uploaded | UploadRefused | Later | AccountStop:
    """What became of an uploaded frame."""
    value = parse(exchange.body)
    error = error_of(value)
    if exchange.status in (400, 413, 415, 422) or (exchange.status == 200 and error is not None):
        return _refused_upload(exchange.status, error)
    if exchange.status == 404:
        return AccountStop("config", "the provider has no upload at this address (404)")
    refusal = _refusal(exchange, now)
    if isinstance(refusal, Missing):  # only a task can be missing
        return Later("answer_unreadable")
    if refusal is not None:
        return refusal
    data = value.get("data") if isinstance(value, dict) else None
    url = data.get("url") if isinstance(data, dict) else None
    if isinstance(url, str) and _is_address(url):
        return Uploaded(url)
    return Later("answer_unreadable")


def _refused_upload(status: int, error: Envelope | None) -> UploadRefused | Later | AccountStop:
    """Whether it is the image's fault, the account's, or a bad moment's."""
    said, words = "", ""
    if error is not None:
        said, words = error.message or error.code, f"{error.code} {error.message}"
    if QUOTA.search(words):
        return AccountStop("quota", said)
    of_the_image = error is not None if status == 400 else _REFUSED_IMAGE.search(words)  # 400 is the documented one
    if status in (413, 415, 422) or (of_the_image and not _BUSY.search(words)):
        return UploadRefused(said or f"HTTP {status}")
    return Later(said or f"http_{status}")


def balance(exchange: Exchange, *, now: datetime) -> Balance | Later | AccountStop:
    """What the account or the key has left."""
    refusal = _refusal(exchange, now)
    if isinstance(refusal, AccountStop | Later):
        return refusal
    value = parse(exchange.body)
    if refusal is not None or not isinstance(value, dict) or error_of(value) is not None:
        return Later("answer_unreadable")
    remaining, used = _number(value.get("remain_credits")), _number(value.get("used_credits"))
    if used is None:
        return Later("answer_unreadable")
    return Balance(remaining=None if value.get("unlimited_quota") else remaining, used=used)


def _refusal(exchange: Exchange, now: datetime) -> Missing | Later | AccountStop | None:
    """What every free request may be told instead of an answer; None when it is a whole 200."""
    if exchange.status is None:
        return Later(exchange.error or "unreachable")
    error = error_of(parse(exchange.body))
    if exchange.status in _ACCOUNT_STOPS:
        words = f"{error.code} {error.message}" if error else ""
        reason = "quota" if QUOTA.search(words) else _ACCOUNT_STOPS[exchange.status]
        return AccountStop(reason, (error.message if error else "") or f"HTTP {exchange.status}")
    if exchange.status in (400, 404) and error is not None and _says_missing(exchange.status, error):
        return Missing()
    if exchange.status != 200 or not exchange.complete:
        return Later(f"http_{exchange.status}", retry_after(exchange.headers, now))
    return None


def _says_missing(status: int, error: Envelope) -> bool:
    if status == 404:
        return not _WRONG_ADDRESS.search(error.message)
    return bool(_MISSING_CODE.search(error.code))
