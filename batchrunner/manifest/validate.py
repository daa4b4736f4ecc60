"""A document against the schema: pydantic's errors become diagnostics that name the place, the value and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batchrunner.manifest import advice, words
from batchrunner.manifest.reader import MAX_PROBLEMS
from batchrunner.manifest.schema import LIST, NAMES, JobEntry, ManifestFile, Parameters
from batchrunner.manifest.source import Span
from batchrunner.manifest.traps import QUOTE, comment_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from batchrunner.diagnostic import Diagnostic
    from batchrunner.manifest.reader import Document
    from batchrunner.manifest.source import Loc

EXTENSION = "x-"
"""Top-level keys that begin so are homes for anchors and mean nothing."""
_EXPANDING = frozenset({info.alias or name for name, info in JobEntry.model_fields.items()}) - (
    Parameters.model_fields.keys() | {"id", "tags", "priority", "enabled", "takes"}
)
"""What makes one entry many jobs, or names what its texts mention."""


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
        found = list(islice(error.errors(include_url=False), MAX_PROBLEMS))
        for details in found:
            details["loc"] = tuple(step for step in details["loc"] if step not in (LIST, NAMES))
            if details["loc"] not in empty and not _is_misspelt(details, found):
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
    if bad & {("defaults",), ("defaults", "prompt"), ("vars",)}:
        return None, ()
    defaults = _pruned(value.get("defaults", {}), ("defaults",), bad)
    entries, jobs = [], []
    known = {info.alias or name for name, info in ManifestFile.model_fields.items()}
    misspelt = any(len(loc) == 1 and loc[0] not in known for loc in wrong)  # it may have been `vars`
    for index, job in enumerate(value["jobs"]):
        loc = ("jobs", index)
        if not isinstance(job, dict) or loc in bad or (misspelt and _mentions_names(job)):
            continue
        pruned = _pruned(job, loc, bad)
        if pruned == job or ("prompt" in (pruned | defaults) and _stands_alone(job, pruned)):
            entries.append(index)
            jobs.append(pruned)
    rest = {key: part for key, part in value.items() if (key,) not in bad}
    return rest | {"version": 1, "jobs": jobs, "defaults": defaults}, tuple(entries)


def _stands_alone(job: dict[str, Any], pruned: dict[str, Any]) -> bool:
    """Whether the rest of a job means what it meant before: no variable and no row was lost with its wrong keys."""
    lost = [words.meant(str(key)) for key in job.keys() - pruned.keys()]
    if any(key in _EXPANDING for key in lost):
        return False
    return all(key in Parameters.model_fields for key in lost) or not (
        _mentions_names(pruned) or _EXPANDING & pruned.keys()
    )


def _mentions_names(part: object) -> bool:
    """Whether some text in there has a placeholder."""
    if isinstance(part, dict):
        return any(map(_mentions_names, part.values()))
    return any(map(_mentions_names, part)) if isinstance(part, list) else isinstance(part, str) and "{" in part


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
        if loc == ("jobs",):
            help = "write at least one job, such as `- prompt: …`"
    return document.source.diagnostic("MAN103", message, place, help=help)


def _is_misspelt(details: ErrorDetails, found: list[ErrorDetails]) -> bool:
    """Whether a key is missing only because it was written in another way, which is said where it stands."""
    *parent, key = details["loc"] or ("",)
    if details["type"] != "missing":
        return False
    unknown = (one["loc"] for one in found if one["type"] == "extra_forbidden" and list(one["loc"][:-1]) == parent)
    return any(words.suggest(str(loc[-1]), loc[:-1]) == f"did you mean `{key}`?" for loc in unknown)


def _diagnostic(document: Document, details: ErrorDetails) -> Diagnostic:
    loc, kind, source = details["loc"], details["type"], document.source
    if kind == "extra_forbidden":
        parent, key = loc[:-1], str(loc[-1])
        if (instead := words.later(key)) is not None:
            message = f"`{key}` is not in this version"
            return source.diagnostic("MAN101", message, document.key_span(loc), help=instead)
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
    "dict_type": "a mapping (`key: value`)",
    "scalar_type": "one value",
    "time_of_day": "a time of day",
    "length_of_time": "a length of time",
    "window": "the hours of a night",
    "prompts_type": "a list of prompts, or a mapping of names to prompts",
}


def _wrong_value(document: Document, details: ErrorDetails) -> tuple[str, str]:
    loc, kind, given, context = details["loc"], details["type"], details["input"], details.get("ctx", {})
    name, shown = _name(loc), _shown(document, loc, given)
    if loc == ("version",):
        return f"the version of the language is 1, here it is {shown}", "write `version: 1`, without quotes"
    if kind in _BOUNDS:
        words_, key = _BOUNDS[kind]
        help = "write 0.8 for four fifths" if loc[-1] == "warn_at" else ""
        return f"{name} must be {words_} {context[key]:,}, here it is {shown}", help
    if kind in ("enum", "literal_error"):
        choices = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
        return _not_a_choice(loc, shown, given, choices)
    if kind == "too_short":
        help = "write at least one job, such as `- prompt: …`" if loc == ("jobs",) else "write at least one value"
        return f"{name} is empty", help
    if kind == "string_pattern_mismatch":
        return f"{name} must be a currency such as USD, here it is {shown}", ""
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{name}: {details['msg']}", ""
    return f"{name} must be {expected}, here it is {shown}", advice.for_type(document, loc, kind, given)


def _not_a_choice(loc: Loc, shown: str, given: object, choices: list[str]) -> tuple[str, str]:
    name = _name(loc)
    listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    if isinstance(given, list):
        return f"{name}: one value belongs here, not a list", f"write {listed}; {advice.for_several(loc, given)}"
    guess = str(given).strip().casefold()
    close = get_close_matches(words.VALUES.get(guess, guess), choices, n=1)
    help = f"did you mean `{close[0]}`?" if close else ""
    return f"{name} must be {listed}, here it is {shown}", help


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
