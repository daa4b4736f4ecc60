"""What the outcome of a paid submission means: the failure matrix as data. The default is *in doubt*.

Rows are those of the reliability notes §1.1; the id of the row that decided is stored with the attempt. A row may leave
"in doubt" only on evidence: a documented refusal, or proof that no byte of the body left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from batchrunner.envelope import Envelope, error_of, parse, request_id, retry_after, shown
from batchrunner.model import Answer
from batchrunner.providers.base import Exchange


class Verdict(StrEnum):
    """What a submission came to."""

    UNSENT = "unsent"
    """Not one byte of the body left: send again."""
    REFUSED_FOR_NOW = "refused_for_now"
    """By contract no task was made: send again later."""
    REFUSED = "refused"
    """No task was made, and the same request would be refused again."""
    ACCOUNT_STOP = "account_stop"
    """Refused for a reason that every job shares: nothing more is sent, every job keeps its state."""
    ACCEPTED = "accepted"
    IN_DOUBT = "in_doubt"
    """It may have been bought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row: the statuses it is about and, where given, what the error's code or message must say."""

    id: str
    statuses: frozenset[int]
    says: re.Pattern[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Names and the values they must have; an empty value means any."""
    wordless: bool = False
    """Whether it is only about answers without an error of the API: those come from what stands before it."""
    verdict: Verdict
    reason: str
    """The word that is stored with the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The verdict on one submission, and what it rests on."""

    verdict: Verdict
    reason: str
    answer: Answer
    task_id: str | None = None
    retry_after: float | None = None
    """Seconds the provider asked us to wait."""


QUOTA = re.compile(
    r"insufficient|quota|arrears|\b110[012]\b|depleted|payment_required|balance|余额|欠费|额度|resource pack",
    re.IGNORECASE,
)
CONTENT = re.compile(
    r"content[_ -]?policy|policy_violation|moderation|sensitive|risk control|\b130[01]\b|safety|审核|违规|敏感|风控",
    re.IGNORECASE,
)
CAPACITY = re.compile(r"\b1303\b|parallel task|concurren|over resource pack", re.IGNORECASE)
NO_CHANNEL = re.compile(r"model_not_found|no available channel|渠道", re.IGNORECASE)
LIMITER_DOWN = re.compile(r"rate_limit_unavailable", re.IGNORECASE)


def _rule(
    id: str,
    statuses: str,
    verdict: Verdict,
    reason: str,
    says: re.Pattern[str] | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    *,
    wordless: bool = False,
) -> Rule:
    codes = frozenset(int(status) for status in statuses.split())
    return Rule(id=id, statuses=codes, says=says, headers=headers, wordless=wordless, verdict=verdict, reason=reason)


_V = Verdict
_CLOUDFLARE = (("server", "cloudflare"), ("cf-ray", ""))
RULES: tuple[Rule, ...] = (
    _rule("R8", "301 302 307 308", _V.ACCOUNT_STOP, "config"),
    _rule("R9", "303", _V.IN_DOUBT, "redirected"),
    _rule("R20w", "400 411 412 413 414 417 422 428 431", _V.ACCOUNT_STOP, "config", wordless=True),
    _rule("R20c", "400", _V.REFUSED, "content_policy", CONTENT),
    _rule("R20", "400", _V.REFUSED, "invalid_request"),
    _rule("R21q", "401", _V.ACCOUNT_STOP, "quota", QUOTA),
    _rule("R21", "401", _V.ACCOUNT_STOP, "key"),
    _rule("R22", "402", _V.ACCOUNT_STOP, "quota"),
    _rule("R23c", "403", _V.REFUSED, "content_policy", CONTENT),
    _rule("R23q", "403", _V.ACCOUNT_STOP, "quota", QUOTA),
    _rule("R23", "403", _V.ACCOUNT_STOP, "forbidden"),
    _rule("R24", "404", _V.ACCOUNT_STOP, "config"),
    _rule("R25", "405 406 415 501 505", _V.ACCOUNT_STOP, "config"),
    _rule("R26", "408", _V.IN_DOUBT, "timeout"),
    _rule("R27", "409", _V.IN_DOUBT, "conflict"),
    _rule("R28", "410 421 426", _V.ACCOUNT_STOP, "config"),
    _rule("R29c", "422", _V.REFUSED, "content_policy"),
    _rule("R29", "411 412 413 414 417 428 431 451", _V.REFUSED, "invalid_request"),
    _rule("R30", "425", _V.REFUSED_FOR_NOW, "too_early"),
    _rule("R36c", "429", _V.REFUSED_FOR_NOW, "capacity", CAPACITY),
    _rule("R32", "429", _V.ACCOUNT_STOP, "quota", QUOTA),
    _rule("R31", "429", _V.REFUSED_FOR_NOW, "rate_limited"),
    _rule("R33", "499", _V.IN_DOUBT, "no_answer"),
    _rule("R34", "500", _V.IN_DOUBT, "server_error"),
    _rule("R36", "503", _V.REFUSED_FOR_NOW, "rate_limited", LIMITER_DOWN),
    _rule("R36b", "503", _V.REFUSED_FOR_NOW, "no_channel", NO_CHANNEL),
    _rule("R38", "521 523 525 526 530", _V.REFUSED_FOR_NOW, "origin_unreachable", headers=_CLOUDFLARE),
    _rule("R35", "502 503 504 520 521 522 523 524 525 526 527 530", _V.IN_DOUBT, "server_error"),
)
"""In this order; the first row that fits decides."""

CODES = {
    "invalid_request": 400,
    "invalid_request_error": 400,
    "unauthorized": 401,
    "authentication_error": 401,
    "insufficient_quota": 402,
    "payment_required": 402,
    "quota_not_enough": 403,
    "insufficient_user_quota": 403,
    "pre_consume_token_quota_failed": 403,
    "content_policy_violation": 422,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "rate_limit_unavailable": 503,
    "model_not_found": 503,
}
"""Documented error codes and the status whose row they stand for, when one comes in a 2xx answer (row R5)."""

_TASK_ID = re.compile(r"^(?!\.{1,2}\Z)[\x21-\x7e]{1,256}\Z")
"""Ids are opaque, and quoted whole in paths: only `.` and `..`, which quoting leaves alone, could change one."""


def is_task_id(text: str) -> bool:
    """Whether a text can be a provider's task id."""
    return _TASK_ID.match(text) is not None


_LOCAL_MISTAKES = {"LocalProtocolError", "InvalidURL", "UnsupportedProtocol", "UnicodeEncodeError", "certificate"}


def submission(exchange: Exchange, *, now: datetime) -> Submission:
    """What became of one paid request."""
    value = parse(exchange.body)
    error = error_of(value)
    if exchange.status is None:
        return _transport(exchange)
    if 200 <= exchange.status < 300:
        return _success(exchange, value, error, now)
    return _by_status(exchange, exchange.status, error, now)


def _transport(exchange: Exchange) -> Submission:
    if exchange.body_started:
        return _verdict(exchange, "T11", Verdict.IN_DOUBT, "no_answer", None, None)
    if exchange.error in _LOCAL_MISTAKES:
        return _verdict(exchange, "T7", Verdict.ACCOUNT_STOP, "config", None, None)
    return _verdict(exchange, "T1", Verdict.UNSENT, "unreachable", None, None)


def _success(exchange: Exchange, value: object, error: Envelope | None, now: datetime) -> Submission:
    if not exchange.complete:
        return _verdict(exchange, "T13", Verdict.IN_DOUBT, "answer_cut", error, None)
    if not isinstance(value, dict):
        return _verdict(exchange, "R6", Verdict.IN_DOUBT, "answer_unreadable", error, None)
    task_id = value.get("id") or value.get("task_id")
    if exchange.status in (204, 205, 206):
        return _verdict(exchange, "R7", Verdict.IN_DOUBT, "answer_unreadable", error, None)
    if isinstance(task_id, str) and is_task_id(task_id):
        rule = "R2" if error else "R1"
        return _verdict(exchange, rule, Verdict.ACCEPTED, "accepted", error, None, task_id=task_id)
    if task_id is None and error is not None:
        status = CODES.get(error.code)
        if status is None and error.code.isascii() and error.code.isdecimal() and len(error.code) == 3:
            status = int(error.code)
        if status is not None and not 200 <= status < 300:
            return _by_status(exchange, status, error, now)
        return _verdict(exchange, "R5", Verdict.IN_DOUBT, "answer_unreadable", error, None)
    return _verdict(exchange, "R4", Verdict.IN_DOUBT, "answer_unreadable", error, None)


def _by_status(exchange: Exchange, status: int, error: Envelope | None, now: datetime) -> Submission:
    words = f"{error.code} {error.message}" if error else ""
    wait = retry_after(exchange.headers, now)
    for rule in RULES:
        if status not in rule.statuses:
            continue
        if rule.wordless and error is not None:
            continue
        if rule.says is not None and not rule.says.search(words):
            continue
        if not all(_has_header(exchange, name, value) for name, value in rule.headers):
            continue
        return _verdict(exchange, rule.id, rule.verdict, rule.reason, error, wait)
    return _verdict(exchange, "R39", Verdict.IN_DOUBT, "answer_unreadable", error, None)


def _has_header(exchange: Exchange, name: str, value: str) -> bool:
    found = exchange.headers.get(name, "").lower()
    return found == value if value else bool(found)


def _verdict(
    exchange: Exchange,
    rule: str,
    verdict: Verdict,
    reason: str,
    error: Envelope | None,
    wait: float | None,
    *,
    task_id: str | None = None,
) -> Submission:
    message = error.message or error.code if error else ""
    if not message and verdict is Verdict.ACCOUNT_STOP and exchange.status is not None:
        message = f"HTTP {exchange.status}"
    answer = Answer(
        rule=rule,
        body_started=exchange.body_started,
        http_status=exchange.status,
        code=error.code if error else exchange.error,
        message=message or (shown(exchange.error) if exchange.error else None),
        request_id=request_id(exchange.headers),
    )
    return Submission(verdict=verdict, reason=reason, answer=answer, task_id=task_id, retry_after=wait)
