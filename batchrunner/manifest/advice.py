"""What to write instead of a value of the wrong kind: the last line of its diagnostic."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchrunner.manifest import words
from batchrunner.manifest.traps import glued_key

if TYPE_CHECKING:
    from batchrunner.manifest.reader import Document
    from batchrunner.manifest.source import Loc

_TRUE = ("yes", "on", "y", "true", "1", "是", "有", "开", "打开", "开启", "有声")
_FALSE = ("no", "off", "n", "false", "0", "否", "无", "没有", "关", "关闭", "静音", "无声")
_OF_KIND = {
    "time_of_day": 'write "06:30"',
    "length_of_time": "write 90s, 30m or 6h",
    "window": 'write "22:00-06:30"',
    "prompts_type": "for one prompt, write `prompt:`",
    "scalar_type": "one value belongs here, without lists and mappings inside",
}
_SECTIONS = {
    "from": "write `from: {csv: shots.csv}`",
    "matrix": "write `matrix: {mode: [std, pro]}`",
    "pairs": 'write `pairs: {first: "{shot}_first.png", last: "{shot}_last.png"}`',
    "chain": 'write `chain: {glob: "keyframes/*.png"}`',
    "frames": "write `frames: {first: path.png}`, or with `last:` as well",
}
"""What a mapping looks like that is written in another way."""
_FIRST_KEYS = {
    "from": "csv",
    "output": "dir",
    "budget": "max_cost",
    "limits": "max_in_flight",
    "provider": "frames",
    "per_second": "720P",
    "per_request": "720P",
}
"""The key that was probably meant when one value stands in the place of a mapping."""


def for_type(document: Document, loc: Loc, kind: str, given: object) -> str:
    """The help for a value that is not of the type `kind` (pydantic's name of the mistake)."""
    text = document.text(loc).strip()
    if isinstance(given, list) and kind not in ("model_type", "dict_type", "list_type"):
        bracket = kind == "string_type" and document.source.text[document.value_span(loc).start] == "["
        several = for_several(loc, given)
        return (
            f"a text that begins with [ must be quoted; {several}" if bracket else f"one value belongs here; {several}"
        )
    match kind:
        case "string_type":
            return _text(document, loc, given, text)
        case "bool_type":
            return _boolean(given, text)
        case "int_type" | "float_type":
            return _number(document, loc, kind, text)
        case "list_type":
            return _list(loc, given, text)
    return _OF_KIND.get(kind) or _mapping(loc, given)


def for_several(loc: Loc, given: list[object]) -> str:
    """How to say what a list in the place of one value was meant to say."""
    key = str(loc[-1]) if isinstance(loc[-1], str) else ""
    if key == "prompt":
        return "for several prompts, write `prompts:`"
    if len(loc) > 2 and loc[-3] in ("exclude", "include"):
        return f"for several, write one item of `{loc[-3]}` for each"
    if loc[0] == "defaults" or loc[0] == "vars":
        return f"for several, write `matrix: {{{key or '…'}: […]}}` in a job"
    if loc[-1] == "priority" or loc[-1] in ("id", "takes", "key"):
        return "for several, write one job for each"
    written = ", ".join(str(value) for value in given[:3])
    dimension = {"frames": "first", "metadata": "negative_prompt"}.get(key, key or "…")
    return f"for several, write `matrix: {{{dimension}: [{written if len(written) < 40 else '…'}]}}`"


def _text(document: Document, loc: Loc, given: object, text: str) -> str:
    if not isinstance(given, dict):
        return f'quote it: "{text}"'
    braced = document.source.text[document.value_span(loc).start] == "{"
    return "a text that begins with { must be quoted" if braced else "quote it if it is a text"


def _boolean(given: object, text: str) -> str:
    lowered = str(given).strip().casefold() if not isinstance(given, bool) else text
    if lowered in _TRUE:
        return "write `true`"
    return "write `false`" if lowered in _FALSE else "write `true` or `false`, without quotes"


def _number(document: Document, loc: Loc, kind: str, text: str) -> str:
    found = re.match(r"[-+]?[0-9]+(?:\.[0-9]+)?", text)
    if found is None:
        return _no_number(loc, text)
    number, is_whole = found.group().removesuffix(".0"), "." not in found.group().removesuffix(".0")
    if kind == "int_type" and not is_whole:
        return "write 5, 10 or 15 (seconds)" if loc[-1] == "duration" else "write a whole number"
    if document.quoted(loc) and found.group() == text:
        return f"remove the quotes: {text}"
    if loc[-1] == "warn_at" and text.endswith("%"):
        return f"write {float(number) / 100:g}"
    return f"write {number}" + (", without the unit" if found.group() != text else "")


def _no_number(loc: Loc, text: str) -> str:
    if loc[-1] == "duration":
        seconds = words.SECONDS.get(text.removesuffix("钟").removesuffix("秒"))
        return f"write {seconds}" if seconds else "write 5, 10 or 15 (seconds), in digits"
    if amount := re.fullmatch(r"[$¥￥€] ?([0-9.]+)", text):
        return f"write {amount[1]}; the currency belongs in `prices`"
    return "write digits, without quotes"


def _list(loc: Loc, given: object, text: str) -> str:
    if loc == ("jobs",):
        if isinstance(given, dict) and (key := next((key for key in given if re.match(r"-\w", key)), None)):
            return f"add a space after the dash: `- {key[1:]}: …`"
        return "write `- prompt: …` on lines of its own"
    if "matrix" in loc[:-1]:
        return f"write `[{text}]`" if text else "write `[one, other]`, also for a single value"
    return f"write `{loc[-1]}: [{text}]`" if text else "begin each item with `- `"


def _mapping(loc: Loc, given: object) -> str:
    if isinstance(given, str) and (key := glued_key(given)) is not None:
        return f"add a space after the colon: `{key}: …`"
    if not loc:
        return "begin with `version: 1` and a list of `jobs:`"
    if len(loc) == 2 and loc[0] == "jobs":
        return "write `- prompt: …`"
    name = str(loc[-1])
    if isinstance(given, list):
        if name == "frames" and all(isinstance(one, str) for one in given) and 0 < len(given) < 3:
            named = ", ".join(f"{key}: {one}" for key, one in zip(("first", "last"), given, strict=False))
            return f"write `frames: {{{named}}}`"
        return _SECTIONS.get(name, "remove the dashes: these are keys, not items")
    if name in _FIRST_KEYS and isinstance(given, (str, int, float)):
        return f"write `{name}: {{{_FIRST_KEYS[name]}: {given}}}`"
    return _SECTIONS.get(name, "write `key: value` below it")
