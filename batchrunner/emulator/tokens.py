"""Keys of their own for a batch: capped, for some models, until some day (`POST /v1/tokens`, facts §3). Pure but for chance.

Any other key is good too, and spends from the account without a cap. What a capped key is told when it may not buy is stock
relays' (facts §3, §4): 401 once it is used up or has expired, 403 for what it cannot pay or may not ask for.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from batchrunner.emulator.limits import GROUPS

MAX_NAME = 50
KEY_LENGTH = 48
QUOTA_PER_CREDIT = 2_500
"""500 000 of the relay's internal quota are a dollar, and so are 200 credits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a key may do; the key itself is known by its digest alone."""

    key: str
    name: str
    created_at: float
    expired_time: int = -1
    """Unix seconds; -1 is never."""
    credits: int | None = None
    """What it may ever spend; None for no cap. So are the next two, by UTC day and month."""
    daily_credits: int | None = None
    monthly_credits: int | None = None
    models: tuple[str, ...] | None = None
    """None for all."""
    group: str = "default"


class BadToken(Exception):
    """The request for a key breaks a rule; the message says which."""


class KeyRefused(Exception):
    """The key may not do this; nothing was bought."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


def new_key() -> str:
    """A key, to be shown once."""
    letters = string.ascii_letters + string.digits
    return "sk-" + "".join(secrets.choice(letters) for _ in range(KEY_LENGTH))


def parse(body: bytes, *, key: str, now: float) -> Token:
    """The key that is asked for; `BadToken`."""
    try:
        wire = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise BadToken("the body is not valid JSON") from None
    if not isinstance(wire, dict):
        raise BadToken("the body must be a JSON object")
    for name, value in wire.items():
        if name not in FIELDS:
            raise BadToken(f"{name}: unknown field")
        rule, holds = FIELDS[name]
        if not holds(value):
            raise BadToken(f"{name}: must be {rule}")
    if "name" not in wire:
        raise BadToken("name: required")
    listed = tuple(model.strip() for model in wire.get("model_limits", "").split(",") if model.strip())
    return Token(
        key=key,
        name=wire["name"],
        created_at=now,
        expired_time=wire.get("expired_time", -1),
        credits=None if wire.get("unlimited_quota") else _credits(wire),
        daily_credits=wire.get("daily_credits"),
        monthly_credits=wire.get("monthly_credits"),
        models=listed if wire.get("model_limits_enabled") else None,
        group=wire.get("group", "default"),
    )


def _credits(wire: Mapping[str, Any]) -> int:
    return int(wire.get("remain_credits", wire.get("remain_quota", 0) // QUOTA_PER_CREDIT))


def check_usable(token: Token, *, now: float, spent: int) -> None:
    """`KeyRefused` for a key that has expired or is used up, whatever it asks for."""
    if 0 <= token.expired_time <= now:
        raise KeyRefused(401, "该令牌已过期 (token expired)")
    if token.credits is not None and spent >= token.credits:
        raise KeyRefused(401, "该令牌额度已用尽 (token quota exhausted)")


def check_may_buy(token: Token, *, now: float, model: str, price: int, spent_since: Callable[[float], int]) -> None:
    """`KeyRefused` for a model that it may not use, or a price above what it has left, ever, this day or this month."""
    if token.models is not None and model not in token.models:
        raise KeyRefused(403, f"该令牌无权访问模型 {model} (model not allowed for this token)")
    for cap, since in (
        (token.credits, 0.0),
        (token.daily_credits, day_began(now)),
        (token.monthly_credits, month_began(now)),
    ):
        if cap is not None and spent_since(since) + price > cap:
            raise KeyRefused(403, "token quota is not enough", "pre_consume_token_quota_failed")


def day_began(now: float) -> float:
    """The last midnight UTC."""
    return now - now % 86_400


def month_began(now: float) -> float:
    """The first midnight UTC of this month."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def _is_amount(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_AMOUNT = ("a whole number of 0 or more", _is_amount)
_BOOL = ("true or false", _is_bool)
FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": (f"a text of 1 to {MAX_NAME} characters", lambda it: isinstance(it, str) and 0 < len(it) <= MAX_NAME),
    "expired_time": ("unix seconds, or -1 for never", lambda it: _is_amount(it) or (type(it) is int and it == -1)),
    "remain_quota": _AMOUNT,
    "remain_credits": _AMOUNT,
    "daily_credits": _AMOUNT,
    "monthly_credits": _AMOUNT,
    "unlimited_quota": _BOOL,
    "model_limits_enabled": _BOOL,
    "model_limits": ("a text, models with commas between them", lambda it: isinstance(it, str)),
    "group": (f"one of {', '.join(GROUPS)}", lambda it: isinstance(it, str) and it in GROUPS),
}
"""Each field, what it must be in words, and whether it is."""
