"""The failure matrix of a paid submission, as data: which outcome means what, and why (reliability notes §1.1).

`classify` applies it; `batchrunner policy` prints it; the id of the row that decided is stored with the attempt. Whatever
no row is about is *in doubt*. A row may leave "in doubt" only on evidence: a documented refusal, or proof that no byte of
the body left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from batchrunner.states import JobState

VERSION = 3
"""Grows with every change of a verdict, so that what is stored can be read with the table that decided."""


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

    @property
    def leads_to(self) -> JobState:
        """Where the job goes."""
        return _LEADS_TO[self]


_LEADS_TO = {
    Verdict.UNSENT: JobState.PENDING,
    Verdict.REFUSED_FOR_NOW: JobState.PENDING,
    Verdict.REFUSED: JobState.FAILED,
    Verdict.ACCOUNT_STOP: JobState.PENDING,
    Verdict.ACCEPTED: JobState.RUNNING,
    Verdict.IN_DOUBT: JobState.IN_DOUBT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row, as people read it."""

    id: str
    when: str
    verdict: Verdict
    reason: str
    """The word that is stored with the job."""
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Row):
    """A row about an answer: the statuses it is about and, where given, what the error's code or message must say."""

    statuses: frozenset[int]
    says: re.Pattern[str] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Names and the values they must have; an empty value means any."""
    wordless: bool = False
    """Whether it is only about answers without an error of the API: those come from what stands before it."""


QUOTA = re.compile(
    r"insufficient|quota|arrears|\b110[012]\b|depleted|payment_required|balance(?!r)|余额|欠费|额度|resource pack",
    re.IGNORECASE,
)
QUOTA_CODE = re.compile(
    r"^(insufficient_\w*quota|quota_not_enough|payment_required|pre_consume_token_quota_failed|110[012])\b",
    re.IGNORECASE,
)
"""The same where a message may speak of anything: only the code, which comes first, is believed."""
CONTENT = re.compile(
    r"content[_ -]?policy|policy_violation|moderation|sensitive|risk control|\b130[01]\b|safety|审核|违规|敏感|风控",
    re.IGNORECASE,
)
CAPACITY = re.compile(r"\b1303\b|parallel task|concurren|over resource pack", re.IGNORECASE)
NO_CHANNEL = re.compile(r"model_not_found|no available channel|渠道", re.IGNORECASE)
LIMITER_DOWN = re.compile(r"rate_limit_unavailable", re.IGNORECASE)

_V = Verdict


def _row(id: str, when: str, verdict: Verdict, reason: str, meaning: str) -> Row:
    return Row(id=id, when=when, verdict=verdict, reason=reason, meaning=meaning)


UNREACHABLE = _row(
    "T1", "no connection: DNS, TCP, TLS, or cancelled before the body", _V.UNSENT, "unreachable", "no byte left"
)
PROXY = _row("T5", "the proxy refuses the way", _V.UNSENT, "proxy", "no byte left; see HTTPS_PROXY")
NO_PLACE = _row("T6", "no connection of our own was free", _V.UNSENT, "unreachable", "no byte left")
LOCAL = _row(
    "T7", "a certificate that is not trusted, or a key or address that cannot be sent", _V.ACCOUNT_STOP, "config",
    "no byte left, and no job of this run can do better",
)  # fmt: skip
SILENT = _row(
    "T11", "the body was begun, and no answer came", _V.IN_DOUBT, "no_answer", "the request may have been taken"
)
CUT = _row(
    "T13",
    "2xx, and the answer is cut or too long",
    _V.IN_DOUBT,
    "answer_cut",
    "bought, very likely: its id is looked for",
)
UNPACKED = _row("T14", "2xx, and the answer cannot be unpacked", _V.IN_DOUBT, "answer_cut", "as T13")
TRANSPORT = (UNREACHABLE, PROXY, NO_PLACE, LOCAL, SILENT, CUT, UNPACKED)
"""Outcomes of the way there and back. What was begun, the transport's own trace says, never an exception's name."""

ACCEPTED = _row("R1", "2xx with a task id", _V.ACCEPTED, "accepted", "bought; polls say the rest, whatever the status")
ACCEPTED_WITH_ERROR = _row("R2", "2xx with a task id and an error", _V.ACCEPTED, "accepted", "an id outranks an error")
TAKEN_ID = _row(
    "R3", "2xx with the task id of another job", _V.IN_DOUBT, "task_of_another_job", "two jobs never share a task"
)
NO_ID = _row("R4", "2xx with an id that is none", _V.IN_DOUBT, "answer_unreadable", "bought, perhaps")
UNKNOWN_ERROR = _row(
    "R5", "2xx with an error that is not documented", _V.IN_DOUBT, "answer_unreadable",
    "a documented one counts as its own status",
)  # fmt: skip
NOT_JSON = _row(
    "R6", "2xx that is no JSON object", _V.IN_DOUBT, "answer_unreadable", "a portal's page, or a cut answer"
)
TWO_OBJECTS = _row(
    "R6b", "2xx with a task and then an error", _V.IN_DOUBT, "answer_unreadable",
    "the relay could not store a task that it had bought",
)  # fmt: skip
NO_CONTENT = _row("R7", "204, 205, 206", _V.IN_DOUBT, "answer_unreadable", "no whole answer")
SUCCESSES = (
    ACCEPTED, ACCEPTED_WITH_ERROR, TAKEN_ID, NO_ID, UNKNOWN_ERROR, NOT_JSON, TWO_OBJECTS, NO_CONTENT,
)  # fmt: skip
"""What a 2xx can come to."""

UNKNOWN = _row("R39", "any other status", _V.IN_DOUBT, "answer_unreadable", "nobody documents it")


def _rule(
    id: str,
    statuses: str,
    verdict: Verdict,
    reason: str,
    meaning: str,
    *,
    says: re.Pattern[str] | None = None,
    when: str = "",
    headers: tuple[tuple[str, str], ...] = (),
    wordless: bool = False,
) -> Rule:
    return Rule(
        id=id,
        when=f"{statuses.replace(' ', ', ')} {when}".strip(),
        statuses=frozenset(int(status) for status in statuses.split()),
        says=says,
        headers=headers,
        wordless=wordless,
        verdict=verdict,
        reason=reason,
        meaning=meaning,
    )


_CLOUDFLARE = (("server", "cloudflare"), ("cf-ray", ""))
_REFUSING = "411 412 413 414 417 428 431 451"
_SHARED = "refused, as every job would be: "
RULES: tuple[Rule, ...] = (
    _rule("R8", "301 302 307 308", _V.ACCOUNT_STOP, "config", "never followed with a body or a key: see TOAPIS_BASE_URL"),
    _rule("R9", "303", _V.IN_DOUBT, "redirected", "may follow a request that was taken"),
    _rule(
        "R20w", f"400 422 {_REFUSING}", _V.ACCOUNT_STOP, "config",
        "what stands before the API refuses, as it would every job", when="without an error of the API", wordless=True,
    ),
    _rule("R20q", "400", _V.ACCOUNT_STOP, "quota", f"{_SHARED}the balance is too low", says=QUOTA_CODE,
          when="quota, by its code"),
    _rule("R20c", "400", _V.REFUSED, "content_policy", "refused for its content", says=CONTENT, when="content policy"),
    _rule("R20", "400", _V.REFUSED, "invalid_request", "refused for what it asks"),
    _rule("R21q", "401", _V.ACCOUNT_STOP, "quota", f"{_SHARED}the key is drained", says=QUOTA, when="quota"),
    _rule("R21", "401", _V.ACCOUNT_STOP, "key", f"{_SHARED}the key is not known"),
    _rule("R22", "402", _V.ACCOUNT_STOP, "quota", f"{_SHARED}the balance is too low"),
    _rule("R23c", "403", _V.REFUSED, "content_policy", "refused for its content", says=CONTENT, when="content policy"),
    _rule("R23q", "403", _V.ACCOUNT_STOP, "quota", f"{_SHARED}the balance is too low", says=QUOTA, when="quota"),
    _rule("R23", "403", _V.ACCOUNT_STOP, "forbidden", f"{_SHARED}the key may not"),
    _rule("R24", "404", _V.ACCOUNT_STOP, "config", f"{_SHARED}no such address or model"),
    _rule("R25", "405 406 415 501 505", _V.ACCOUNT_STOP, "config", f"{_SHARED}the API does not speak so"),
    _rule("R26", "408", _V.IN_DOUBT, "timeout", "what timed out may have been done"),
    _rule("R27", "409", _V.IN_DOUBT, "conflict", "may mean that it exists already"),
    _rule("R28", "410 421 426", _V.ACCOUNT_STOP, "config", f"{_SHARED}the address is retired"),
    _rule("R29c", "422", _V.REFUSED, "content_policy", "refused for its content"),
    _rule("R29", _REFUSING, _V.REFUSED, "invalid_request", "refused for its form"),
    _rule("R30", "425", _V.REFUSED_FOR_NOW, "too_early", "by definition not processed"),
    _rule("R36c", "429", _V.REFUSED_FOR_NOW, "capacity", "too many tasks at once: fewer from now on", says=CAPACITY,
          when="capacity (Kling 1303)"),
    _rule("R32", "429", _V.ACCOUNT_STOP, "quota", f"{_SHARED}the account is in arrears", says=QUOTA,
          when="quota (Kling 1100-1102)"),
    _rule("R31", "429", _V.REFUSED_FOR_NOW, "rate_limited", "too fast: half the rate, after Retry-After"),
    _rule("R33", "499", _V.IN_DOUBT, "no_answer", "a proxy says that we left"),
    _rule("R34", "500", _V.IN_DOUBT, "server_error", "can come from any step, the last one too"),
    _rule("R36", "503", _V.REFUSED_FOR_NOW, "rate_limited", "the limiter is down: nothing was begun", says=LIMITER_DOWN,
          when="rate_limit_unavailable"),
    _rule("R36b", "503", _V.REFUSED_FOR_NOW, "no_channel", "refused before it was sent on", says=NO_CHANNEL,
          when="no channel for the model"),
    _rule("R37", "503", _V.IN_DOUBT, "server_error", "proxies say so after a reset, too"),
    _rule("R38", "521 523 525 526 530", _V.REFUSED_FOR_NOW, "origin_unreachable",
          "the edge could not reach the provider", when="from Cloudflare", headers=_CLOUDFLARE),
    _rule("R35", "502 504 520 521 522 523 524 525 526 527 530", _V.IN_DOUBT, "server_error", "lost behind the gateway"),
)  # fmt: skip
"""In this order; the first row that fits decides."""

POLICY: tuple[Row, ...] = (*TRANSPORT, *SUCCESSES, *RULES, UNKNOWN)
"""Every row there is."""

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
