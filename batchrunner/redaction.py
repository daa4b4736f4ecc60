"""What must never be kept or shown, taken out of a text: the key, signatures in addresses, passwords of proxies."""

from __future__ import annotations

import html
import re

MASK = "***"
_BEARER = re.compile(r"\b(Bearer)\s+[^\s'\",;)]+", re.IGNORECASE)
_USERINFO = re.compile(r"(\w://)[^\s/@'\"]+@")
_QUERY = re.compile(r"""(\w://[^\s?"'<>]+)\?[^\s"'<>]+""")


def echoes(key: str) -> re.Pattern[bytes]:
    """The key in any dress that an echo may come in: as it is, or escaped for JSON (twice too), an address or HTML."""
    return re.compile("".join(map(_spellings, key)).encode())


def _spellings(sign: str) -> str:
    """No two of them begin alike, or an echo of the half of a key would be tried in every combination.

    Each begins with a sign that is written out, in both cases: `re` then passes over all others, five times as fast.
    """
    code, entity = ord(sign), html.escape(sign)
    plain = "|".join(map(re.escape, dict.fromkeys((sign.lower(), sign.upper()))))
    entities = rf"#(?:0{{0,6}}{code}|x0{{0,6}}{code:x});" + ("" if entity == sign else f"|{entity[1:]}")
    escapes = rf"\\\\{{0,7}}(?i:{re.escape(sign)}|u00{code:02x})"
    return rf"(?:{escapes}|{plain}|%(?i:(?:25){{0,3}}{code:02x})|&(?i:{entities}))"


def redacted(text: str, key: str = "") -> str:
    """A text for a file or a screen, such as a traceback: without the key, userinfo and queries of addresses."""
    if key.isascii() and key:
        text = echoes(key).sub(MASK.encode(), text.encode("utf-8", "replace")).decode("utf-8", "replace")
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _QUERY.sub(r"\1?…", _USERINFO.sub(rf"\1{MASK}@", text))
