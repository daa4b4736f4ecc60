"""What the outcome of a paid submission means: `matrix` applied. The default is *in doubt*.

**Salvage** (reliability notes §1.1.1): a success that was cut, cannot be unpacked, or goes on with an error still says,
somewhere in its bytes, which task it made. That id is a *candidate*: stored with the attempt, and believed only when the
provider knows a task of that id, of our model and of that time (`candidate_fits`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from batchrunner import matrix
from batchrunner.envelope import Envelope, error_of, parse, request_id, retry_after, shown
from batchrunner.matrix import CODES, RULES, Row, Rule, Verdict
from batchrunner.model import Answer
from batchrunner.providers.base import Exchange
from batchrunner.purchase import ulid_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The verdict on one submission, and what it rests on."""

    verdict: Verdict
    reason: str
    answer: Answer
    task_id: str | None = None
    retry_after: float | None = None
    """Seconds the provider asked us to wait."""


_TASK_ID = re.compile(r"^(?!\.{1,2}\Z)[\x21-\x7e]{1,256}\Z")
"""Ids are opaque, and quoted whole in paths: only `.` and `..`, which quoting leaves alone, could change one."""
_SALVAGE = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
"""An id whose closing quote arrived: a shorter one would be another task's."""
_LOCAL_MISTAKES = {"LocalProtocolError", "InvalidURL", "UnsupportedProtocol", "UnicodeEncodeError", "certificate"}
_GZIP = b"\x1f\x8b"
SKEW = timedelta(seconds=60)
"""How much earlier than our intent a provider's clock may say that it made our task."""


def is_task_id(text: str) -> bool:
    """Whether a text can be a provider's task id."""
    return _TASK_ID.match(text) is not None


def submission(exchange: Exchange, *, now: datetime) -> Submission:
    """What became of one paid request."""
    if exchange.status is None:
        return _decided(exchange, _transport(exchange), None)
    if 200 <= exchange.status < 300:
        return _success(exchange, now)
    return _by_status(exchange, exchange.status, error_of(parse(exchange.body)), now)


def _transport(exchange: Exchange) -> Row:
    if exchange.body_started:
        return matrix.SILENT
    if exchange.error in _LOCAL_MISTAKES:
        return matrix.LOCAL
    return {"ProxyError": matrix.PROXY, "PoolTimeout": matrix.NO_PLACE}.get(exchange.error or "", matrix.UNREACHABLE)


def _success(exchange: Exchange, now: datetime) -> Submission:
    value = parse(exchange.body)
    error = error_of(value)
    if not isinstance(value, dict) or not exchange.complete or exchange.status in (204, 205, 206):
        return _decided(exchange, _spoilt(exchange), error, candidate=candidate(exchange.body))
    task_id = value.get("id") or value.get("task_id")
    if isinstance(task_id, str) and is_task_id(task_id):
        row = matrix.ACCEPTED_WITH_ERROR if error else matrix.ACCEPTED
        return _decided(exchange, row, error, task_id=task_id)
    if task_id is not None or error is None:
        return _decided(exchange, matrix.NO_ID, error)
    status = CODES.get(error.code)
    if status is None and error.code.isascii() and error.code.isdecimal() and len(error.code) == 3:
        status = int(error.code)
    if status is not None and not 200 <= status < 300:
        return _by_status(exchange, status, error, now)
    return _decided(exchange, matrix.UNKNOWN_ERROR, error)


def _spoilt(exchange: Exchange) -> Row:
    """The row of a success that cannot be read as one JSON object."""
    if exchange.body.startswith(_GZIP):
        return matrix.UNPACKED
    if not exchange.complete:
        return matrix.CUT
    if exchange.status in (204, 205, 206):
        return matrix.NO_CONTENT
    return matrix.TWO_OBJECTS if _first_object(exchange.body) is not None else matrix.NOT_JSON


def _first_object(body: bytes) -> dict[str, Any] | None:
    """The object that a body begins with, when something follows it."""
    try:
        value, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "replace").lstrip())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def candidate(body: bytes) -> str | None:
    """The task id that a spoilt success may hold; None when it holds none, or several that differ."""
    first = _first_object(body)
    if first is not None:
        task_id = first.get("id")
        return task_id if isinstance(task_id, str) and is_task_id(task_id) else None
    found = {match.decode() for match in _SALVAGE.findall(body)}
    return found.pop() if len(found) == 1 else None


def candidate_fits(task: dict[str, Any], *, task_id: str, model: str, since: datetime, window: float) -> bool:
    """Whether what the provider says of a candidate is ours: the same id and model, made in the intent's window.

    The time is the task's `created_at`, or that of the ULID in its id; without either nothing is proven.
    """
    if task.get("id") != task_id or task.get("model") != model:
        return False
    made = _made_at(task)
    return made is not None and since - SKEW <= made <= since + timedelta(seconds=window)


def _made_at(task: dict[str, Any]) -> datetime | None:
    created = task.get("created_at")
    if isinstance(created, int | float) and not isinstance(created, bool):
        try:
            return datetime.fromtimestamp(created, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    return ulid_time(str(task.get("id")).rpartition("_")[2])


def _by_status(exchange: Exchange, status: int, error: Envelope | None, now: datetime) -> Submission:
    words = f"{error.code} {error.message}" if error else ""
    found = next((rule for rule in RULES if _fits(rule, exchange, status, words, error)), matrix.UNKNOWN)
    return _decided(exchange, found, error, wait=retry_after(exchange.headers, now))


def _fits(rule: Rule, exchange: Exchange, status: int, words: str, error: Envelope | None) -> bool:
    return (
        status in rule.statuses
        and not (rule.wordless and error is not None)
        and (rule.says is None or rule.says.search(words) is not None)
        and all(_has_header(exchange, name, value) for name, value in rule.headers)
    )


def _has_header(exchange: Exchange, name: str, value: str) -> bool:
    found = exchange.headers.get(name, "").lower()
    return found == value if value else bool(found)


def _decided(
    exchange: Exchange,
    row: Row,
    error: Envelope | None,
    *,
    wait: float | None = None,
    task_id: str | None = None,
    candidate: str | None = None,
) -> Submission:
    message = error.message or error.code if error else ""
    if not message and row.verdict is Verdict.ACCOUNT_STOP and exchange.status is not None:
        message = f"HTTP {exchange.status}{_location(exchange)}"
    answer = Answer(
        rule=row.id,
        body_started=exchange.body_started,
        http_status=exchange.status,
        code=error.code if error else exchange.error,
        message=message or (shown(exchange.error) if exchange.error else None),
        request_id=request_id(exchange.headers),
        candidate=candidate,
    )
    return Submission(verdict=row.verdict, reason=row.reason, answer=answer, task_id=task_id, retry_after=wait)


def _location(exchange: Exchange) -> str:
    """Where a redirect leads: the host alone, which cannot hold a signature."""
    try:
        host = urlsplit(exchange.headers.get("location", "")).hostname
    except ValueError:
        host = None
    return f" to {shown(host)}" if host else ""
