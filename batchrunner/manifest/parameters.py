"""What a clip is made of, as rows, matrices and `--set` name it, and the values that each of them takes.

Values come typed, from YAML and JSON, or as text, from cells and the command line; both end as the same value.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from batchrunner.manifest import names
from batchrunner.model import AspectRatio, Mode

TEXTS = ("prompt", "first", "last", "negative_prompt")
"""Their values are templates."""
CHOICES = ("mode", "duration", "aspect_ratio", "audio", "watermark")
REQUEST = (*TEXTS, *CHOICES)
"""What makes the request; anything else that a row or a matrix names is a variable."""
OF_A_ROW = ("key", "priority", "tags")
"""What a row can set beside them."""
BUILT_IN = ("name", "id", "key", "row", "prompt_key", "take", "index", "slug", "date")
"""Placeholders that batchrunner fills in; no variable may hide them."""
PRIORITIES = range(-1000, 1001)
MAX_TAGS = 50

TRUE = ("true", "yes", "on", "y", "1", "是", "有")
FALSE = ("false", "no", "off", "n", "0", "否", "无")
_MEANT = {"720p": "std", "1080p": "pro", "standard": "std", "professional": "pro", "标准": "std", "专业": "pro"}


class Mistake(ValueError):
    """A value that a parameter does not take; the text is the message, `help` the fix."""

    def __init__(self, message: str, help: str, code: str = "MAN104") -> None:
        super().__init__(message)
        self.help = help
        self.code = code


def typed(name: str, value: object) -> Any:
    """The value of a parameter that was written in YAML or JSON; `Mistake` when it does not fit."""
    if name in TEXTS or name == "key":
        if isinstance(value, str):
            return value
        raise Mistake(f"`{name}` must be a text, here it is {shown(value)}", f'quote it: "{text(value)}"')
    if name == "tags":
        return _tags(value)
    if name in ("mode", "aspect_ratio"):
        return _choice(name, value)
    if name in ("audio", "watermark"):
        if isinstance(value, bool):
            return value
        raise Mistake(f"`{name}` must be true or false, here it is {shown(value)}", _boolean_help(value))
    if isinstance(value, bool) or not isinstance(value, int):
        raise Mistake(f"`{name}` must be a whole number, here it is {shown(value)}", _number_help(value))
    return _bounded(name, value)


def from_text(name: str, given: str) -> Any:
    """The value of a parameter that came as text, from a cell or the command line."""
    if name == "prompt":
        return given
    return _few_from_text(name, given) if len(given) < 20 else _from_text(name, given)


def _from_text(name: str, given: str) -> Any:
    plain = given.strip()
    if name in ("audio", "watermark"):
        folded = plain.casefold()
        if folded in TRUE or folded in FALSE:
            return folded in TRUE
        raise Mistake(f"`{name}` must be true or false, here it is `{_short(plain)}`", "write true or false")
    if name in ("duration", "priority"):
        if re.fullmatch(r"[-+]?[0-9]{1,9}(?:\.0+)?", plain):
            return _bounded(name, int(plain.partition(".")[0]))
        raise Mistake(f"`{name}` must be a whole number, here it is `{_short(plain)}`", _number_help(plain))
    if name == "tags":
        return _tags([part for part in re.split(r"[,;，；、\s]+", plain) if part])
    return typed(name, plain)


_few_from_text = lru_cache(maxsize=1024)(_from_text)
"""A column of modes or lengths says the same few things a hundred thousand times."""


def text(value: object) -> str:
    """A scalar as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def shown(value: object) -> str:
    """A value in a message."""
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None:
        return "nothing"
    written = text(value)
    if len(written) > 40:
        return f"a text of {len(written)} characters"
    return f"the text `{written}`" if isinstance(value, str) else f"`{written}`"


def _choice(name: str, value: object) -> Mode | AspectRatio:
    known: dict[str, Mode | AspectRatio] = {one.value: one for one in (Mode if name == "mode" else AspectRatio)}
    if isinstance(value, str) and value in known:
        return known[value]
    choices = list(known)
    guess = text(value).strip().casefold().replace("：", ":").replace("x", ":").replace("*", ":")
    guess = re.sub(r"^0?(\d+):0?(\d+)(?::00)?$", r"\1:\2", guess)  # what spreadsheets make of 16:9
    close = get_close_matches(_MEANT.get(text(value).strip().casefold(), guess), choices, n=1)
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    help = f"did you mean `{close[0]}`?" if close else ""
    raise Mistake(f"`{name}` must be {listed}, here it is {shown(value)}", help)


def _bounded(name: str, value: int) -> int:
    if name == "priority" and value not in PRIORITIES:
        bounds = f"{PRIORITIES[0]} to {PRIORITIES[-1]}"
        raise Mistake(f"`priority` must be {bounds}, here it is `{value}`", "higher is sent first", "MAN105")
    return value


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Mistake(f"`tags` must be a list of texts, here it is {shown(value)}", "write [one, other]")
    if len(value) > MAX_TAGS:
        raise Mistake(f"{len(value)} tags are given, {MAX_TAGS} are allowed", "use fewer", "MAN105")
    for one in value:
        if problem := names.name_problem(names.normal(one), what="the tag", folders=False):
            raise Mistake(*problem, "MAN203")
    return tuple(dict.fromkeys(map(names.normal, value)))


def _boolean_help(value: object) -> str:
    folded = text(value).strip().casefold()
    if folded in TRUE:
        return "write `true`, without quotes"
    return "write `false`, without quotes" if folded in FALSE else "write `true` or `false`, without quotes"


def _number_help(value: object) -> str:
    number = re.match(r"\s*([-+]?[0-9]+)(?:\.0+)?", text(value))
    if number is None or isinstance(value, bool):
        return "write digits"
    rest = text(value).strip()[len(number.group().strip()) :]
    return (
        f"write {number[1]}, without {'the unit' if rest else 'quotes'}"
        if isinstance(value, str)
        else f"write {number[1]}"
    )


def _short(given: str) -> str:
    return given if len(given) <= 40 else given[:39] + "…"
