"""A key of its own for a batch, with a cap that the provider holds: what is asked for, and what the answer says. Pure.

The strongest budget is one that this program cannot pass even with a bug: `POST /v1/tokens` (API facts §3) makes a key that
may spend so many credits and no more, on one model, until some day. The answer shows the key once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from batchrunner.audit import CREDITS_PER_USD
from batchrunner.envelope import error_of, parse
from batchrunner.model import MODEL
from batchrunner.providers.base import Exchange

MAX_NAME = 50
"""Characters (API facts §3)."""
PREFIX = "sk-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No key, or nobody knows whether there is one."""

    message: str
    perhaps: bool
    """Whether the provider may have made one all the same; it can spend no more than its cap, and nobody has it."""
    unsent: bool
    """Whether nothing reached the provider."""


def credits_of(micro_usd: int) -> int:
    """Whole credits that so many micro-dollars pay for."""
    return micro_usd * CREDITS_PER_USD // 1_000_000


def body(*, name: str, credits: int, expires: datetime | None) -> bytes:
    """What is asked for: capped in all, for the one model, for ever unless it is to expire."""
    asked = {
        "name": name,
        "remain_credits": credits,
        "unlimited_quota": False,
        "expired_time": -1 if expires is None else int(expires.timestamp()),
        "model_limits_enabled": True,
        "model_limits": MODEL,
    }
    return json.dumps(asked).encode()


def made(exchange: Exchange) -> str | Refused:
    """The key, or why there is none."""
    answer = parse(exchange.body) if exchange.body else None
    data = answer.get("data") if isinstance(answer, dict) and answer.get("success") is True else None
    key = data.get("key") if isinstance(data, dict) else None
    if exchange.status == 200 and exchange.complete and isinstance(key, str) and key.isascii() and key.isprintable():
        return key if key.startswith(PREFIX) else PREFIX + key
    error = error_of(answer)
    said = error.message if error else exchange.error or f"HTTP {exchange.status}, without a key"
    refused = error is not None and exchange.status in (200, 400, 401, 403, 404, 405, 422)
    unsent = exchange.status is None and not exchange.body_started
    return Refused(message=said, perhaps=not (refused or unsent), unsent=unsent)
