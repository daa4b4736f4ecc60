"""What a provider's answer says: JSON of any shape, error bodies in every documented dress, texts fit to be shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

DEPTH = 64
"""Objects and lists inside each other that an answer may hold."""
SHOWN = 300
"""Characters of a provider's message that are kept."""
_READ = 4096
"""Characters of it that are looked at: more than are kept, since what is left out was there too."""
_QUERY = re.compile(r"""(https?://[^\s?"'<>]+)\?[^\s"'<>]+""", re.IGNORECASE)
_BARE_QUERY = re.compile(r"""(?<=[^\s?"'<>])\?[^\s?="'<>]+=[^\s"'<>]*""")
"""Of an address without its scheme."""
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\u061c\u180e\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An error as the provider put it; both parts may be empty."""

    code: str
    message: str


@lru_cache(maxsize=4)
def parse(body: bytes) -> Any:
    """The body's JSON value, to be looked at only; None where it is not JSON, is nested too deep to be an answer, or has two values for one name.

    `NaN` is let through, as what reads numbers leaves it out: a clip is not lost for a progress that is no number. Several
    readers look at one answer, one after the other: it is parsed once.
    """
    try:
        value = _READER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    surely_shallow = body.count(b"{") + body.count(b"[") <= DEPTH
    return value if surely_shallow or _is_shallow(value) else None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs) and any(value[name] != one for name, one in pairs):
        raise ValueError("two values for one name")
    return value


_READER = json.JSONDecoder(object_pairs_hook=_unambiguous)  # made once: `json.loads` makes one for each answer


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH):
        insides = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [inner for inside in insides for inner in inside if isinstance(inner, dict | list)]
        if not level:
            return True
    return False


def shown(text: object) -> str:
    """A provider's text as it may be stored and printed: one line, bounded, no control characters, no URL queries."""
    line = _CONTROL.sub(" ", str(text)[:_READ]).strip()
    line = _BARE_QUERY.sub("?…", _QUERY.sub(r"\1?…", line))
    line = line.encode("utf-8", "replace").decode("utf-8")
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def error_of(value: Any) -> Envelope | None:
    """The error in an answer, in any of the shapes of API facts §3; None when it holds none."""
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if isinstance(error, dict):
        code = error.get("code") or error.get("type") or ""
        return Envelope(shown(code), shown(error.get("message") or ""))
    if isinstance(error, str) and error:
        return Envelope("", shown(error))
    if value.get("success") is False:
        return Envelope(shown(value.get("code") or ""), shown(value.get("message") or ""))
    if "detail" in value:
        return Envelope("", shown(value["detail"]))
    code = value.get("code")
    if isinstance(code, str | int) and code not in ("success", 0, 200) and "message" in value:
        return Envelope(shown(code), shown(value["message"] or ""))
    return None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """`Retry-After` in seconds, from seconds or an HTTP date, within 1 s and 1 h; None when absent or absurd.

    Who asks for more than a day says nothing that can be believed: an hour of waiting for it would be an hour lost.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    if not -1e12 < seconds <= 86400.0:
        return None
    return min(max(seconds, 1.0), 3600.0)


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of this request, which support asks for (API facts §3)."""
    for name in ("x-request-id", "x-oneapi-request-id", "cf-ray"):
        if value := headers.get(name):
            return shown(value)[:128]
    return None
