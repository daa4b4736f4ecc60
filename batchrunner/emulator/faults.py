"""What the emulator can do wrong: one table, each fault by a name. How often and when is a scenario's business.

Every row says where it strikes. A request can be refused (`Reply`), served and then answered wrongly (`Reply` with
`served`, `Rewrite`), broken off on its socket (`Break`), or kept waiting (`Delay`). A task can be given a fate when it is
accepted (`Fate`): that one is a part of its entry in the ledger, and `lifecycle` and `fates` say what it does. Sources are
the API facts §3-§5, §7-§8 and the reliability notes §1. Durations are seconds of the emulator's time, `--speed` divides them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Value = float | int | str | bool


class Stage(StrEnum):
    """Where in the life of a purchase a fault strikes."""

    SUBMIT = "submit"
    TASK = "task"
    """Drawn once for each task, when it is accepted."""
    POLL = "poll"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    ACCOUNT = "account"
    """Balance and models."""


REQUESTS = (Stage.SUBMIT, Stage.POLL, Stage.UPLOAD, Stage.DOWNLOAD, Stage.ACCOUNT)
KEYED = (Stage.SUBMIT, Stage.POLL, Stage.UPLOAD, Stage.ACCOUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Another answer than the right one; `served`: the request was carried out all the same."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    served: bool = False


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The right answer, changed on its way; `change` is told the id of another task as well."""

    change: Callable[[dict[str, Any], str], bytes]
    needs_another: bool = False
    """Whether it can only be done when there is another task."""


class How(StrEnum):
    """How a connection breaks."""

    DIE = "die"
    """Closed without a byte."""
    CUT = "cut"
    """Closed in the middle of the body."""
    STALL = "stall"
    """Half of the body, then silence for `seconds`, then closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The connection breaks; `served`: the request was carried out before."""

    how: How
    served: bool = True


class Delay:
    """The right answer, late."""


@dataclass(frozen=True, slots=True)
class Spoil:
    """Another file than the one that was paid for."""

    how: str


class Aspect(StrEnum):
    """What of a task a fate is about; a task has one fate of each."""

    END = "end"
    WORDS = "words"
    RESULT = "result"
    FINDING = "finding"
    PACE = "pace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What will become of a task, or what will be said of it; `message` is a failed task's error."""

    aspect: Aspect
    message: str | None = None


Effect = Reply | Rewrite | Break | Delay | Spoil | Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row of the table."""

    name: str
    does: str
    stages: tuple[Stage, ...]
    """Where it can strike; a scenario chooses with `stage`."""
    effect: Effect
    everywhere: bool = False
    """Whether it strikes on all its stages unless `stage` says otherwise; else only on the first."""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """What can be set, with the defaults."""


def _error(status: int, code: int | str, message: str, kind: str | None = None, **more: Any) -> Reply:
    body: dict[str, Any] = {"error": {"code": code, "message": message}}
    if kind is not None:
        body["error"]["type"] = kind
    return Reply(status=status, body=json.dumps(body, ensure_ascii=False).encode(), **more)


def _page(status: int, title: str, *, served: bool = False) -> Reply:
    body = f"<html>\n<head><title>{status} {title}</title></head>\n<body><center><h1>{status} {title}</h1></center>"
    cloudflare = (("server", "cloudflare"), ("cf-ray", "8f2d1c0b9a7e6543-SIN"))
    return Reply(
        status=status,
        body=f"{body}<hr><center>{'cloudflare' if status >= 520 else 'nginx'}</center></body></html>\n".encode(),
        media_type="text/html",
        headers=cloudflare if status >= 520 else (("server", "openresty"),),
        served=served,
    )


GATEWAY = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    520: "Web server is returning an unknown error",
    521: "Web server is down",
    522: "Connection timed out",
    523: "Origin is unreachable",
    524: "A timeout occurred",
}
TOO_FAST = ("rate_limit_exceeded", "Async task request rate exceeded")
PARALLEL = "1303: parallel task over resource pack limit"


def _without_id(body: dict[str, Any], _other: str) -> bytes:
    return json.dumps({name: value for name, value in body.items() if name != "id"}).encode()


def _with_foreign_id(body: dict[str, Any], other: str) -> bytes:
    return json.dumps(body | {"id": other}).encode()


def _with_error_behind(body: dict[str, Any], _other: str) -> bytes:
    return (
        json.dumps(body).encode() + b'{"code":"insert_task_failed","message":"record could not be stored","data":null}'
    )


def _garbage(_body: dict[str, Any], _other: str) -> bytes:
    return b"\x00\xff{]<upstream connect error or disconnect/reset before headers>"


def _failure(name: str, does: str, message: str, *, share: float = 0.1) -> Fault:
    effect = Fate(aspect=Aspect.END, message=message)
    return Fault(name=name, does=does, stages=(Stage.TASK,), effect=effect, parameters={"share": share})


def _fate(name: str, aspect: Aspect, does: str, **parameters: Value) -> Fault:
    return Fault(name=name, does=does, stages=(Stage.TASK,), effect=Fate(aspect=aspect), parameters=parameters)


def _spoil(name: str, how: str, does: str) -> Fault:
    return Fault(name=name, does=does, stages=(Stage.DOWNLOAD,), effect=Spoil(how))


def _on(
    stages: tuple[Stage, ...], name: str, does: str, effect: Effect, *, everywhere: bool = False, **parameters: Value
) -> Fault:
    return Fault(name=name, does=does, stages=stages, effect=effect, everywhere=everywhere, parameters=parameters)


_SUBMIT = (Stage.SUBMIT,)
_ASKED = (Stage.SUBMIT, Stage.POLL, Stage.UPLOAD, Stage.ACCOUNT)
_QUOTA = "user quota is not enough, remaining quota: ＄0.000000"

_TABLE: tuple[Fault, ...] = (
    # refused: nothing is bought
    _on(_ASKED, "too_many_requests", "429 with Retry-After", _error(429, *TOO_FAST), retry_after=5),
    _on(_ASKED, "too_many_requests_unsaid", "429 without Retry-After", _error(429, *TOO_FAST)),
    _on(
        _ASKED,
        "too_many_requests_absurd",
        "429 with a Retry-After that cannot be meant",
        _error(429, *TOO_FAST),
        retry_after="99999999999",
    ),
    _on(_ASKED, "too_many_requests_empty", "429 without a body", Reply(status=429, body=b"", media_type="text/plain")),
    _on(
        _SUBMIT,
        "limiter_down",
        "503 rate_limit_unavailable",
        _error(503, "rate_limit_unavailable", "The async task submit limiter is temporarily unavailable"),
    ),
    _on(
        _SUBMIT,
        "no_channel",
        "503 model_not_found",
        _error(503, "model_not_found", "No available channel for model kling-v3 under group default", "new_api_error"),
    ),
    _on(
        _ASKED,
        "http_500",
        "500, nothing was done",
        _error(500, 500, "internal error", "internal_error"),
    ),
    *(
        _on(
            (*_ASKED, Stage.DOWNLOAD),
            f"http_{status}",
            f"{status} as an HTML page, nothing was done",
            _page(status, text),
        )
        for status, text in GATEWAY.items()
        if status != 500
    ),
    _on(
        (*_ASKED, Stage.DOWNLOAD),
        "dies",
        "the connection dies, nothing was done",
        Break(how=How.DIE, served=False),
        reset=False,
    ),
    _on(
        _ASKED,
        "error_text",
        "500 whose error is a text, nothing was done",
        Reply(status=500, body=b'{"error":"do_request_failed"}'),
    ),
    _on(
        _ASKED,
        "error_nested",
        "500 whose error lies within an error, nothing was done",
        Reply(status=500, body=b'{"error":{"error":{"code":"do_request_failed","message":"upstream error"}}}'),
    ),
    _on(
        _SUBMIT,
        "kling_1303",
        "429: too many tasks run at once upstream",
        _error(429, "fail_to_fetch_task", PARALLEL),
    ),
    _on(
        _SUBMIT,
        "kling_1302",
        "429: too fast for upstream",
        _error(429, "fail_to_fetch_task", "1302: request over the rate limit"),
    ),
    _on(
        _SUBMIT,
        "content_policy",
        "422: the prompt breaks the content policy",
        _error(422, 422, "The prompt violates the content policy", "content_policy_violation"),
    ),
    _on(
        _SUBMIT,
        "kling_1301",
        "400: upstream's content safety",
        Reply(
            status=400,
            body=b'{"code":"task_failed","message":"1301: content safety check not passed","data":null}',
        ),
    ),
    # the account: nothing is bought, and nothing can be
    _on(
        KEYED,
        "unauthorized",
        "401: the key is not known any more",
        _error(401, "", "Invalid token", "new_api_error"),
        everywhere=True,
    ),
    _on(
        KEYED,
        "key_drained",
        "401: the key's quota is used up",
        _error(401, "", "该令牌额度已用尽 (token quota exhausted)", "new_api_error"),
        everywhere=True,
    ),
    _on(
        _SUBMIT, "quota_402", "402: the account is empty", _error(402, 402, "Insufficient credits", "payment_required")
    ),
    _on(
        _SUBMIT,
        "quota_403",
        "403: the account is empty, as stock relays say it",
        _error(403, "insufficient_user_quota", _QUOTA, "new_api_error"),
    ),
    _on(
        _SUBMIT,
        "kling_arrears",
        "429: the relay's own account upstream is in arrears",
        _error(429, "fail_to_fetch_task", "1101: account in arrears"),
    ),
    # bought, and the client hears something else
    _on(
        _SUBMIT,
        "accepted_then_dies",
        "bought, then the connection dies; `reset`: with RST",
        Break(how=How.DIE),
        reset=False,
    ),
    _on(_SUBMIT, "accepted_then_cut", "bought, and the answer ends in its middle, behind the id", Break(how=How.CUT)),
    _on(
        _SUBMIT,
        "accepted_then_500",
        "bought, then 500",
        _error(500, 500, "internal error", "internal_error", served=True),
    ),
    *(
        _on(
            _SUBMIT,
            f"accepted_then_{status}",
            f"bought, then {status} as an HTML page",
            _page(status, text, served=True),
        )
        for status, text in GATEWAY.items()
        if status != 500
    ),
    _on((*_ASKED,), "garbage", "200 with bytes that are no JSON; what was asked for was done", Rewrite(_garbage)),
    _on(_SUBMIT, "without_id", "bought, and the answer has no id", Rewrite(_without_id)),
    _on(
        _SUBMIT,
        "foreign_id",
        "bought, and the answer has the id of another task",
        Rewrite(_with_foreign_id, needs_another=True),
    ),
    _on(
        _SUBMIT, "error_behind_success", "bought, and an error follows in the same answer", Rewrite(_with_error_behind)
    ),
    _on(
        (Stage.SUBMIT, Stage.UPLOAD, Stage.ACCOUNT),
        "success_false",
        "200 with success: false; nothing was done",
        Reply(status=200, body=b'{"success":false,"message":"system busy"}'),
    ),
    _on(REQUESTS, "slow", "the right answer, late", Delay(), seconds=120),
    # an outage of everything
    _on(REQUESTS, "outage", "502 to everything; give it `from` and `to`", _page(502, GATEWAY[502]), everywhere=True),
    _on(REQUESTS, "silence", "every connection dies", Break(how=How.DIE, served=False), everywhere=True),
    # what becomes of a task
    _fate("task_slow", Aspect.PACE, "takes several times as long", factor=5.0),
    _fate("task_stuck", Aspect.END, "stays in progress for ever"),
    _failure("task_failed", "fails", "upstream returned status 422"),
    _fate("task_failed_silently", Aspect.END, "fails, and nobody says why", share=0.02),
    _failure("task_1303", "fails for want of a free place upstream", PARALLEL),
    _failure(
        "task_content_policy",
        "fails on the content policy",
        "The generated content violates the content policy",
        share=0.9,
    ),
    # what is said of it
    _fate("status_unknown", Aspect.WORDS, "unknown status words while it works"),
    _fate("status_uppercase", Aspect.WORDS, "status in capitals"),
    _fate("status_backwards", Aspect.WORDS, "status and progress go back, even from completed"),
    _fate("no_url", Aspect.RESULT, "completed without a URL for a while", seconds=120),
    _fate("no_url_ever", Aspect.RESULT, "completed, and never a URL"),
    _fate("expired_url", Aspect.RESULT, "completed with a URL that has expired"),
    _fate("url_dead_at_first", Aspect.RESULT, "a URL soon after completion is dead, a later one good", seconds=60),
    # whether it can be found
    _fate("task_404", Aspect.FINDING, "not found for a while after it was bought", seconds=60),
    _fate("never_stored", Aspect.FINDING, "bought, and never found by anybody"),
    _fate("client_id_ignored", Aspect.FINDING, "client_business_id is not kept: no look-up, no replay"),
    _fate("client_id_late", Aspect.FINDING, "found by client_business_id only after a while", seconds=120),
    # the file
    _spoil("file_truncated", "truncated", "half of the file, with a Content-Length that fits the half"),
    _spoil("file_wrong_length", "wrong_length", "a Content-Length that promises more than comes"),
    _spoil("file_html", "html", "200 with an HTML page"),
    _spoil("file_wrong_clip", "wrong_clip", "another clip: wrong shape and length"),
    _spoil("last_frame_ignored", "last_frame_ignored", "of a pair, a clip of the first frame alone"),
    _on((Stage.DOWNLOAD,), "file_cut", "the connection dies in the middle of the file", Break(how=How.CUT)),
    _on((Stage.DOWNLOAD,), "file_stalls", "half of the file, then silence", Break(how=How.STALL), seconds=300),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _TABLE}
