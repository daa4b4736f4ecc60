"""The API page's rules for the body of one submission, written from the page and not from the product.

`checked` reads the raw bytes and names the first field that is wrong; a field that the page does not have is wrong too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_WEB = re.compile(r"https?://[^\s/]+/\S*\Z")
_OWN_ID = re.compile(r"[A-Za-z0-9_-]{1,96}\Z")


class Wrong(Exception):
    """The page does not allow this body."""


def checked(raw: bytes, *, dialect: str) -> dict[str, Any]:
    """The body, when the page allows it; `dialect` is how frames are written: `image_urls` or `image_with_roles`."""
    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except ValueError as error:
        raise Wrong(f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Wrong("not an object")
    rules = {**_FIELDS, dialect: _FRAMES[dialect]}
    for name in ("model", "prompt"):
        if name not in body:
            raise Wrong(f"{name} is missing")
    for name, value in body.items():
        if name not in rules:
            raise Wrong(f"unknown field {name}")
        if not rules[name](value):
            raise Wrong(f"{name} may not be {value!r}")
    if body.get("duration") == 15 and body.get(dialect):
        raise Wrong("15 s is for text to video only")
    return body


def frame_urls(body: dict[str, Any]) -> list[str]:
    """The frames of a body, first to last, in either dialect."""
    return body.get("image_urls") or [one["url"] for one in body.get("image_with_roles", [])]


def billing_key(body: dict[str, Any]) -> str:
    """What the page bills the body as."""
    return ("1080P" if body.get("mode") == "pro" else "720P") + ("+Sound" if body.get("audio") else "")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _text(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= 2500


def _url(value: Any) -> bool:
    return type(value) is str and _WEB.match(value) is not None


def _urls(value: Any) -> bool:
    return type(value) is list and len(value) in (1, 2) and all(map(_url, value))


def _roles(value: Any) -> bool:
    shaped = type(value) is list and all(type(one) is dict and set(one) == {"url", "role"} for one in value)
    return shaped and [one["role"] for one in value] in (["first_frame"], ["first_frame", "last_frame"])


def _metadata(value: Any) -> bool:
    rules = {"negative_prompt": _text, "watermark": _flag}
    return type(value) is dict and all(name in rules and rules[name](inner) for name, inner in value.items())


def _flag(value: Any) -> bool:
    return type(value) is bool


def _among(*allowed: str | int) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(one) and value == one for one in allowed)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "model": _among("kling-v3"),
    "prompt": lambda value: _text(value) and bool(value.strip()),
    "mode": _among("std", "pro"),
    "duration": _among(5, 10, 15),
    "aspect_ratio": _among("16:9", "9:16", "1:1"),
    "audio": _flag,
    "metadata": _metadata,
    "client_business_id": lambda value: type(value) is str and _OWN_ID.match(value) is not None,
}
_FRAMES = {"image_urls": _urls, "image_with_roles": _roles}
