"""The JSON that ToAPIs answers with, in the documented shapes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from batchrunner.emulator import fates, lifecycle
from batchrunner.emulator.ledger import Entry, Ledger
from batchrunner.emulator.lifecycle import Status
from batchrunner.emulator.prices import CREDITS_PER_USD
from batchrunner.emulator.relay import Relay
from batchrunner.emulator.scenarios import Rule
from batchrunner.emulator.tokens import Token
from batchrunner.emulator.validation import MODEL

OBJECT = "generation.task"
MODEL_SINCE = 1_767_225_600
"""2026-01-01; any date would do."""


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer, in ASCII: what a client sent comes back even where it is no valid Unicode."""
    return Response(json.dumps(content), status_code=status, media_type="application/json")


def error(status: int, message: str, kind: str, *, code: int | str | None = None) -> Response:
    """The status page's shape, where `code` is the HTTP status; other pages have a word there (facts §3)."""
    return answer({"error": {"code": status if code is None else code, "message": message, "type": kind}}, status)


def unsuccessful(message: str, status: int) -> Response:
    """The shape of uploads and balance (facts §2, §3)."""
    return answer({"success": False, "message": message}, status)


def submission(entry: Entry, now: float) -> dict[str, Any]:
    """Of an accepted submission (API page; `progress`, `metadata` and the client's id by facts §0)."""
    state = lifecycle.state_of(entry, now)
    return fates.reworded(entry, _head(entry, state), now) | {"metadata": {}}


def task(entry: Entry, now: float, result_url: str) -> dict[str, Any]:
    """Of a poll that tells of the moment `now` (facts §1). `result_url` is said only when there is a result."""
    state = lifecycle.state_of(entry, now)
    body = _head(entry, state)
    if state.status is Status.COMPLETED:
        body |= {"completed_at": state.completed_at, "expires_at": state.expires_at}
        body["result"] = {"type": "video", "data": [{"url": result_url, "format": "mp4"}]}
    elif state.status is Status.FAILED:
        body["error"] = {"code": "generation_failed", "message": entry.failure}
    return fates.reworded(entry, body, now)


def _head(entry: Entry, state: lifecycle.TaskState) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": entry.id,
        "object": OBJECT,
        "model": entry.submission.model,
        "status": state.status,
        "progress": state.progress,
        "created_at": int(entry.accepted_at),
    }
    if entry.submission.client_business_id is not None:
        head["client_business_id"] = entry.submission.client_business_id
    return head


def upload(name: str, url: str, mime: str, size: int) -> dict[str, Any]:
    """Of a stored image (facts §2)."""
    data = {"id": f"file_{name[:24]}", "url": url, "mime_type": mime, "size": size}
    return {"success": True, "message": "", "data": data}


def balance(relay: Relay, key: str | None = None) -> dict[str, Any]:
    """Of a key, or of the account (facts §3). A key without a cap has left what the account has; -1 is without a limit."""
    now, books = relay.clock(), relay.ledger
    used = account = books.billed_credits(now)
    remaining = None if relay.credits is None else relay.credits - account
    if key is not None:
        used = books.billed_to(key, now)
        if (made := books.tokens.get(key)) is not None and made.credits is not None:
            remaining = max(made.credits - used, 0)
    return {
        "success": True,
        "message": "",
        "remain_balance": -1 if remaining is None else remaining / CREDITS_PER_USD,
        "used_balance": used / CREDITS_PER_USD,
        "remain_credits": -1 if remaining is None else remaining,
        "used_credits": used,
        "credits_per_usd": CREDITS_PER_USD,
        "unlimited_quota": remaining is None,
    }


def token(made: Token, secret: str) -> dict[str, Any]:
    """Of a new key, which is shown this once (facts §3)."""
    shown = {name: value for name, value in asdict(made).items() if name not in ("key", "credits", "models")}
    data = {
        **shown,
        "key": secret,
        "created_at": int(made.created_at),
        "remain_credits": -1 if made.credits is None else made.credits,
        "unlimited_quota": made.credits is None,
        "model_limits_enabled": made.models is not None,
        "model_limits": ",".join(made.models or ()),
    }
    return {"success": True, "message": "", "data": data}


def models(kind: str) -> dict[str, Any]:
    """Text models, of which there are none here, unless `type` asks for more (facts §3)."""
    video = {
        "id": MODEL,
        "object": "model",
        "created": MODEL_SINCE,
        "owned_by": "kling",
        "supported_endpoint_types": ["video"],
    }
    return {"success": True, "object": "list", "data": [video] if kind in ("video", "all") else []}


def ledger(relay: Relay) -> dict[str, Any]:
    """The emulator's own endpoint: what was accepted, whatever the client heard of it."""
    now = relay.clock()
    books, entries = relay.ledger, relay.ledger.entries()
    return {
        "accepted": len(entries),
        "in_flight": lifecycle.in_flight(entries, now),
        "peak_in_flight": lifecycle.peak_in_flight(entries),
        "charged_credits": books.charged_credits,
        "refunded_credits": books.refunded_credits(now),
        "billed_credits": books.billed_credits(now),
        "faults": dict(sorted(books.fault_counts().items())),
        "refusals": dict(sorted(relay.refusals.items())),
        "submissions": [_record(entry, now, relay.ledger) for entry in entries],
    }


def config(relay: Relay) -> dict[str, Any]:
    """What is in force, in the shape that sets it."""
    return {
        "scenario": relay.scenario,
        "seed": relay.chances.seed,
        "speed": relay.speed,
        "parallel": relay.parallel,
        "credits": relay.credits,
        "group": relay.group,
        "rate_limits": relay.rate_limits is not None,
        "faults": [_rule(rule) for rule in relay.chances.rules],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    said: dict[str, Any] = {"name": rule.fault.name, "probability": rule.probability, "stage": [*rule.on]}
    optional = {
        "after": (rule.after, 0),
        "first": (rule.first, None),
        "from": (rule.begin, 0),
        "match": (rule.match, ""),
    }
    said |= {name: value for name, (value, default) in optional.items() if value != default}
    if rule.end < math.inf:
        said["to"] = rule.end
    return said | dict(rule.parameters)


def _record(entry: Entry, now: float, books: Ledger) -> dict[str, Any]:
    wanted, status = entry.submission, lifecycle.state_of(entry, now).status
    return {
        "id": entry.id,
        "client_business_id": wanted.client_business_id,
        "accepted_at": entry.accepted_at,
        "status": status,
        "outcome": "lost" if "never_stored" in entry.fate else "stuck" if fates.is_stuck(entry) else status,
        "faults": [*entry.fate, *books.struck_on(entry.id)],
        "model": wanted.model,
        "prompt": wanted.prompt,
        "mode": wanted.mode,
        "duration": wanted.duration,
        "aspect_ratio": wanted.aspect_ratio,
        "audio": wanted.audio,
        "images": wanted.images,
        "negative_prompt": wanted.negative_prompt,
        "watermark": wanted.watermark,
        "price_credits": entry.price_credits,
        "refunded": status is Status.FAILED,
        "body_sha256": entry.body_sha256,
    }
