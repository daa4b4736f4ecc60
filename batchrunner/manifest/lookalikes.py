"""Full-width punctuation where YAML needs the ordinary characters: a Chinese input method left on.

In prompts it is text like any other. A mistake that it makes elsewhere has many faces (an unknown key, a missing value, a
text in the place of a list), so it is recognised afterwards: a diagnostic whose words have such a character where only
structure belongs becomes one that names the character and its ordinary form.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

import yaml

from batchrunner.diagnostic import Diagnostic, Severity
from batchrunner.manifest import schema, words
from batchrunner.manifest.source import Source, Span, veiled

_ORDINARY = {
    "：": (": ", "colon"),
    "，": (", ", "comma"),
    "、": (", ", "comma"),
    "；": (";", "semicolon"),
    "“": ('"', "quote"),
    "”": ('"', "quote"),
    "‘": ("'", "quote"),
    "’": ("'", "quote"),
    "【": ("[", "bracket"),
    "】": ("]", "bracket"),
    "［": ("[", "bracket"),
    "］": ("]", "bracket"),
    "｛": ("{", "brace"),
    "｝": ("}", "brace"),
    "－": ("- ", "dash"),
    "–": ("- ", "dash"),
    "—": ("- ", "dash"),
    "\u3000": (" ", "space"),
}
_DIGITS_AND_LETTERS = "".join(
    map(chr, (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), 0xFF3F))
)
_ANY = re.compile(f"[{''.join(_ORDINARY)}{_DIGITS_AND_LETTERS}]")
_STRUCTURE = re.compile(
    r"^[ \t]*(?P<indent>\u3000[ \t\u3000]*)"
    r"|^[ \t]*(?P<dash>[–—－])(?=[ \u3000]*\S)"
    r"|(?:^|[{,，｛]|- )[ \u3000]*[\"“]?[A-Za-z_]+[\"”]?[ \u3000]*(?P<colon>：)"
    r"|[:：][ \u3000]*(?P<opening>[｛【［“‘])"
    r"|^(?:[ \t]*-[ \u3000]+)?(?P<first>[｛【［“])"
)
_WITH_KEY = re.compile(r"(?:^[ \t\u3000]*(?:- +)?|[{,，｛][ \u3000]*)(?P<key>[A-Za-z_]+)[ \u3000]*(?P<colon>：)")
_KEYS = frozenset({"MAN101", "MAN103", "YAML002"})
_VALUES = frozenset({"MAN104", "MAN105"})
_SYNTAX = "YAML001"
CODE = "YAML016"
_TEXT = ("must be a mapping", "must be a list", "must be a text")
"""Values that were meant as structure or as text: only what looks like structure is a mistake in them."""
_FOLLOWS = frozenset({"MAN102", "MAN103"})
"""What is missing or empty only because the line below it was not understood."""
_PLACEHOLDER = re.compile(r"｛\s*(\w+)\s*｝")
_KEY = re.compile(r"[A-Za-z_]+ *[:：]")
LOOK_BACK = 6
"""Lines above a syntax error that are looked at: the parser stops some lines after an indent that it did not understand."""
MAX_SHOWN = 60
MAX_LINES = 50


def explained(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The same problems, with those that such characters made replaced by ones that say so."""
    kept: list[Diagnostic] = []
    found: dict[tuple[str, int], int] = {}
    for one in problems:
        named = _named(one) if one.severity is Severity.ERROR else None
        kept.append(named or one)
        if named is not None:
            found[one.place.file, one.place.line] = one.place.line
    if not found:
        return kept
    return [one for one in kept if not (one.code in _FOLLOWS and _stands_above(one, found))]


def _of_syntax(one: Diagnostic, source: Source) -> Diagnostic:
    """The parser's error, or the character that made it: in its line, or as the indent or dash of a line just above."""
    if (named := _named(one)) is not None:
        return named
    for number in range(one.place.line - 1, max(one.place.line - LOOK_BACK, 1) - 1, -1):
        line = source.line(number)
        found = _STRUCTURE.search(line)
        if found and found.lastgroup in ("indent", "dash") and _KEY.search(line):
            moved = replace(one, place=replace(one.place, line=number), source_line=veiled(line))
            return _at(moved, found.span(found.lastgroup), 0, line) or one
    return one


def of_file(found: Iterable[Diagnostic], source: Source) -> list[Diagnostic]:
    """The mistakes of a file that YAML cannot read; where one such character made them, also where the same hand went on."""
    named = [_of_syntax(one, source) for one in found]
    if any(one.code == CODE for one in named):
        named.extend(islice(_of_keys(source, {one.place.line for one in named}), MAX_LINES))
    return named


def _of_keys(source: Source, told: Container[int]) -> Iterator[Diagnostic]:
    """Every key of the language that a line, other than those `told`, writes with a full-width colon."""
    for number in range(1, source.text.count("\n") + 2):
        line = source.line(number)
        if number in told or "：" not in line:
            continue
        found = next((one for one in _WITH_KEY.finditer(line) if one["key"] in _known()), None)
        if found is not None:
            start = source.offset(number, found.start("colon") + 1)
            one = source.diagnostic(_SYNTAX, "", Span(start, start + 1))
            one = _at(one, found.span("colon"), 0, line) or one
            within = found[0][0] in "{,，｛"  # where the next comma would be structure too
            yield replace(one, help=f"write `{_shown(ordinary(line))}`") if within else one


@cache
def _known() -> frozenset[str]:
    """Every key that the language has."""
    sections = (part for part in vars(schema).values() if isinstance(part, type) and issubclass(part, schema.Section))
    return frozenset(name for section in sections for name in words.fields(section))


def _stands_above(one: Diagnostic, found: dict[tuple[str, int], int]) -> bool:
    """Whether the line below is one that was not understood."""
    return (one.place.file, one.place.line + 1) in found


def _named(one: Diagnostic) -> Diagnostic | None:
    """The diagnostic that names the character; None when the mistake is another one."""
    line, start = one.source_line, one.place.column - 1
    if one.code == _SYNTAX:
        return _at(one, _structural(line), 0, line)
    text = line[start : start + one.place.length]
    if one.code in _KEYS or one.message.startswith("the tag "):
        return _at(one, _any(text), start, text)
    if one.code in _VALUES:
        free = any(words in one.message for words in _TEXT)
        return _at(one, _structural(text) if free else _any(text), start, text)
    return None


def _any(text: str) -> tuple[int, int] | None:
    found = _STRUCTURE.match(text) or _ANY.search(text)
    if found is None:
        return None
    return found.span(found.lastgroup) if found.lastgroup else found.span()


def _structural(text: str) -> tuple[int, int] | None:
    found = _STRUCTURE.search(text)
    return found.span(found.lastgroup) if found and found.lastgroup else None


def _at(one: Diagnostic, span: tuple[int, int] | None, start: int, text: str) -> Diagnostic | None:
    if span is None:
        return None
    character = text[span[0]]
    place = replace(one.place, column=start + span[0] + 1, length=span[1] - span[0])
    if character == "\u3000":
        message, help = "a full-width space (U+3000) indents this line", "indent with ordinary spaces"
        return replace(one, code=CODE, message=message, help=help, place=place)
    kind = _kind(character)
    what = f"a long dash ({character})" if character in "–—" else f"a full-width {kind}"
    message = f"`{character}` is {what}; only the ordinary one means something here"
    written = ordinary(text)
    if one.code == _SYNTAX or (character in "：–—－" and any(words in one.message for words in _TEXT)):
        written = _head(text, span[1])
    if one.code in _VALUES and written[:1] == written[-1:] == '"':
        written = written[1:-1]
    return replace(one, code=CODE, message=message, help=f"write `{_shown(written)}`", place=place)


def placeholders(source: Source, node: yaml.Node) -> list[Diagnostic]:
    """A warning for each `｛name｝` in a text, which looks like a placeholder and is none."""
    if not isinstance(node, yaml.ScalarNode) or "｛" not in node.value:
        return []
    text = source.text[node.start_mark.index : node.end_mark.index]
    return [
        source.diagnostic(
            CODE,
            f"`{found[0]}` has full-width braces, so it is text and no placeholder",
            Span(node.start_mark.index + found.start(), node.start_mark.index + found.end()),
            help=f"write `{{{found[1]}}}` if you meant the placeholder",
            severity=Severity.WARNING,
        )
        for found in _PLACEHOLDER.finditer(text)
    ]


def _kind(character: str) -> str:
    if character in _ORDINARY:
        return _ORDINARY[character][1]
    return "digit" if character in _DIGITS_AND_LETTERS[:10] else "letter"


def ordinary(text: str) -> str:
    """The text in ordinary characters."""
    text = re.sub(r"(?<=[0-9０-９])：(?=[0-9０-９])", ":", text.strip().strip("\u3000"))
    return re.sub(r"(?<=[:,-]) {2,}", " ", "".join(_translated(text))).strip()


def _head(text: str, end: int) -> str:
    """The line in ordinary characters up to `end`; what follows is a text, where they are welcome, or a bracket."""
    rest = text[end:].strip().strip("\u3000")
    if text[end - 1] in "｛【［“‘" or rest[:1] in tuple("{[｛【［“‘"):
        return ordinary(text)
    return f"{ordinary(text[:end])} {rest}".strip()


def _translated(text: str) -> Iterator[str]:
    for index, character in enumerate(text):
        if character in "–—－" and index:
            yield "-"
        elif character in _ORDINARY:
            yield _ORDINARY[character][0]
        elif character in _DIGITS_AND_LETTERS:
            yield chr(ord(character) - 0xFEE0)
        else:
            yield character


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
