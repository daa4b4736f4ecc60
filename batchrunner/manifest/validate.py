"""A document against the schema: pydantic's errors become diagnostics that name the place, the value and the fix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batchrunner.manifest import words
from batchrunner.manifest.reader import MAX_PROBLEMS
from batchrunner.manifest.schema import ManifestFile
from batchrunner.manifest.source import Span
from batchrunner.manifest.traps import QUOTE, comment_after, glued_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from batchrunner.diagnostic import Diagnostic
    from batchrunner.manifest.reader import Document, Loc

EXTENSION = "x-"
"""Top-level keys that begin so are homes for anchors and mean nothing."""
_TRUE, _FALSE = ("yes", "on", "y", "true", "1", "是"), ("no", "off", "n", "false", "0", "否")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the schema makes of a document."""

    file: ManifestFile | None
    """The parts that are right, when that is enough to check the rules of the jobs in them."""
    entries: tuple[int, ...]
    """For each job of `file`, its place in the document's list."""
    problems: tuple[Diagnostic, ...]


def check(document: Document) -> Checked:
    """Check a document against the schema, all mistakes at once."""
    value = document.value
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if not key.startswith(EXTENSION)}
    empty = dict.fromkeys(_empty(value))
    problems: dict[Loc, Diagnostic] = {}
    try:
        file = ManifestFile.model_validate(value)
    except ValidationError as error:
        file = None
        for details in islice(error.errors(include_url=False), MAX_PROBLEMS):
            if details["loc"] not in empty:
                problems.setdefault(details["loc"], _diagnostic(document, details))
    # `prompt: {style}` is one mistake, although it is also a key without a value
    alone = (loc for loc in empty if not any(loc[:depth] in problems for depth in range(1, len(loc) + 1)))
    problems |= {loc: _empty_diagnostic(document, loc) for loc in islice(alone, MAX_PROBLEMS)}
    if file is not None and not problems:
        return Checked(file=file, entries=tuple(range(len(file.jobs))), problems=())
    rest, entries = _without(value, problems.keys() | empty.keys())
    try:
        salvaged = ManifestFile.model_validate(rest) if rest and len(problems) < MAX_PROBLEMS else None
    except ValidationError:
        salvaged = None
    return Checked(file=salvaged, entries=entries, problems=tuple(problems.values()))


def _without(value: Any, wrong: set[Loc]) -> tuple[Any, tuple[int, ...]]:
    """The document without its wrong parameters, so that the rules of the rest can be checked in the same go.

    What is left out must not cause mistakes of its own: a job whose prompt may be the wrong key is left out whole.
    """
    if not isinstance(value, dict) or not isinstance(value.get("jobs"), list) or () in wrong:
        return None, ()
    bad = {loc[: 3 if loc[0] == "jobs" else 2 if loc[0] == "defaults" else 1] for loc in wrong}
    if ("defaults",) in bad or ("defaults", "prompt") in bad:
        return None, ()
    defaults = _pruned(value.get("defaults", {}), ("defaults",), bad)
    entries, jobs = [], []
    for index, job in enumerate(value["jobs"]):
        loc = ("jobs", index)
        if not isinstance(job, dict) or loc in bad:
            continue
        pruned = _pruned(job, loc, bad)
        if pruned == job or "prompt" in pruned or "prompt" in defaults:
            entries.append(index)
            jobs.append(pruned)
    rest = {key: part for key, part in value.items() if (key,) not in bad}
    return rest | {"version": 1, "jobs": jobs, "defaults": defaults}, tuple(entries)


def _pruned(part: dict[str, Any], loc: Loc, bad: set[Loc]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if (*loc, key) not in bad}


def _empty(value: object, loc: Loc = ()) -> Iterator[Loc]:
    """Where the document holds nothing at all; empty never means anything in this language."""
    if value is None:
        yield loc
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _empty(part, (*loc, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _empty(part, (*loc, index))


def _empty_diagnostic(document: Document, loc: Loc) -> Diagnostic:
    name, place = _name(loc), document.value_span(loc)
    after = document.trace(loc)[2].end_mark.index
    if not document.text(loc) and comment_after(document.source, Span(after, after)) is not None:
        message, help = f"{name} is empty: the # started a comment", QUOTE
    else:
        message = f"{name} is empty"
        help = "write a value, or leave the key out" if loc and isinstance(loc[-1], str) else "write a value"
    return document.source.diagnostic("MAN103", message, place, help=help)


def _diagnostic(document: Document, details: ErrorDetails) -> Diagnostic:
    loc, kind, source = details["loc"], details["type"], document.source
    if kind == "extra_forbidden":
        parent, key = loc[:-1], str(loc[-1])
        help = words.suggest(key, parent)
        return source.diagnostic(
            "MAN101", f"unknown key `{key}` in {words.section(parent)[0]}", document.key_span(loc), help=help
        )
    if kind == "missing":
        parent, key = loc[:-1], str(loc[-1])
        help = "write `version: 1`" if key == "version" else f"add `{key}:`"
        place = document.value_span(parent)
        return source.diagnostic("MAN102", f"{words.section(parent)[0]} has no `{key}`", place, help=help)
    message, help = _wrong_value(document, details)
    code = "MAN105" if kind in _BOUNDS else "MAN104"
    return source.diagnostic(code, message, document.value_span(loc), help=help)


_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "model_type": "a mapping (`key: value`)",
    "list_type": "a list (lines that begin with `- `)",
}


def _wrong_value(document: Document, details: ErrorDetails) -> tuple[str, str]:
    loc, kind, given, context = details["loc"], details["type"], details["input"], details.get("ctx", {})
    name, shown = _name(loc), _shown(document, loc, given)
    if loc == ("version",):
        return f"the version of the language is 1, here it is {shown}", "write `version: 1`, without quotes"
    if kind in _BOUNDS:
        words_, key = _BOUNDS[kind]
        return f"{name} must be {words_} {context[key]:,}, here it is {shown}", ""
    if kind in ("enum", "literal_error"):
        choices = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return _not_a_choice(name, shown, given, choices)
    if kind == "too_short":
        return f"{name} is empty", "write at least one job, such as `- prompt: …`"
    if kind == "string_pattern_mismatch":
        return f"{name} must be a currency such as USD, here it is {shown}", ""
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{name}: {details['msg']}", ""
    return f"{name} must be {expected}, here it is {shown}", _type_help(document, loc, kind, given)


def _not_a_choice(name: str, shown: str, given: object, choices: list[str]) -> tuple[str, str]:
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    if isinstance(given, list):
        return f"{name}: one value belongs here, not a list", f"write {listed}; for several, write one job for each"
    meant = {"720p": "std", "1080p": "pro", "standard": "std", "professional": "pro", "16x9": "16:9", "9x16": "9:16"}
    guess = str(given).strip().casefold()
    close = get_close_matches(meant.get(guess, guess), choices, n=1)
    help = f"did you mean `{close[0]}`?" if close else ""
    return f"{name} must be {listed}, here it is {shown}", help


def _type_help(document: Document, loc: Loc, kind: str, given: object) -> str:
    text = document.text(loc).strip()
    if isinstance(given, list) and kind != "model_type":
        if kind == "string_type" and document.source.text[document.value_span(loc).start] == "[":
            return "a text that begins with [ must be quoted; for several values, write one job for each"
        return "one value belongs here; for several, write one job for each (`matrix:` is to come)"
    if kind == "string_type":
        if isinstance(given, dict):
            return "a text that begins with { must be quoted" if _braced(document, loc) else "quote it if it is a text"
        return f'quote it: "{text}"'
    if kind == "bool_type":
        return _boolean_help(given, text)
    if kind == "int_type" or kind == "float_type":
        return _number_help(document, loc, text)
    return _mapping_help(loc, given)


def _braced(document: Document, loc: Loc) -> bool:
    return document.source.text[document.value_span(loc).start] == "{"


def _boolean_help(given: object, text: str) -> str:
    lowered = str(given).strip().casefold() if not isinstance(given, bool) else text
    if lowered in _TRUE:
        return "write `true`"
    return "write `false`" if lowered in _FALSE else "write `true` or `false`, without quotes"


def _number_help(document: Document, loc: Loc, text: str) -> str:
    number = re.match(r"[-+]?[0-9]+(?:\.[0-9]+)?", text)
    if document.quoted(loc) and number and number.group() == text:
        return f"remove the quotes: {text}"
    if number is None:
        return "write digits, without quotes"
    whole = number.group().removesuffix(".0")
    return f"write {whole}" + (", without the unit" if number.group() != text else "")


def _mapping_help(loc: Loc, given: object) -> str:
    if isinstance(given, str) and (key := glued_key(given)) is not None:
        return f"add a space after the colon: `{key}: …`"
    if loc and loc[-1] == "frames":
        return "write `frames: {first: path.png}`, or with `last:` as well"
    if len(loc) == 2 and loc[0] == "jobs":
        return "write `- prompt: …`"
    if not loc:
        return "begin with `version: 1` and a list of `jobs:`"
    return "write `- prompt: …` on lines of its own" if loc == ("jobs",) else ""


def _name(loc: Loc) -> str:
    """The value at `loc` in a sentence."""
    if not loc:
        return "the manifest"
    if isinstance(loc[-1], str):
        return f"`{loc[-1]}`"
    return "a job" if loc[0] == "jobs" and len(loc) == 2 else f"item {loc[-1] + 1}"


def _shown(document: Document, loc: Loc, given: object) -> str:
    """The value as it was written, or what it is."""
    if isinstance(given, list):
        return "a list"
    if isinstance(given, dict):
        return "a mapping"
    text, quote = document.text(loc), document.quoted(loc)
    if quote not in ("'", '"'):
        quote = ""
    if len(text) > 40:
        return f"a text of {len(text)} characters" if isinstance(given, str) else f"a number of {len(text)} digits"
    return f"the text {quote or chr(96)}{text}{quote or chr(96)}" if isinstance(given, str) else f"`{text}`"
