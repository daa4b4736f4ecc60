"""What people write that YAML reads as something else, and the sentence that helps.

`explain` turns the parser's errors into ours; `cut_text` finds text that a `#` silently cut short.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml

from batchrunner.diagnostic import Diagnostic, Severity
from batchrunner.manifest.scalars import CoreLoader
from batchrunner.manifest.source import Source, Span

FREE_TEXT = frozenset({"prompt", "negative_prompt"})
"""Where any `#` after the text is suspicious: people write hashtags."""
NAMES = frozenset({"id", "name", "first", "last", "dir", "filename"})
"""Where only a `#word` is: `# word` after them is an ordinary comment."""

QUOTE = "quote the whole text"
ONE_PAIR = "put the whole text in one pair of quotes; double a ' inside '…', write \\\" inside \"…\""

MAX_LOOKED_AT = 1 << 20
"""Characters of a file that is read again to explain its mistake better; larger ones are not worth the time."""

_HIDDEN = re.compile(r"[{\[][^}\]\"']*[ \t](#.*)$")
_INDENT = re.compile(r"[ \t]*(?:- +)*")
_COMMENT = re.compile(r"[ \t]+(#[^\r\n]*)")
_ENTRY = re.compile(r"(?P<head>[ \t]*(?:- +)*(?:[^\s:#'\"{\[][^:#]*?[ \t]*:[ \t]+|(?<=- )))(?P<value>[^\s#].*?)[ \t]*$")
_GLUED = re.compile(r"[ \t]*(?:- +)*(?P<key>[A-Za-z_]+|提示词|时长|模式)(?P<colon>:|：[ \t]*)(?=[^\s:/\\])")
_BEGINNINGS = {
    "@": "text may not begin with `@`",
    "`": "text may not begin with a backtick",
    "%": "text may not begin with `%`",
    "*": "text that begins with `*` is read as an alias",
    "&": "text that begins with `&` is read as an anchor",
    "!": "text that begins with `!` is read as a tag",
    ">": "text that begins with `>` is read as the head of a folded block",
    "|": "text that begins with `|` is read as the head of a block",
    ",": "text may not begin with `,`",
    "]": "text may not begin with `]`",
    "}": "text may not begin with `}`",
}


class _Trap(NamedTuple):
    column: int
    length: int
    message: str
    help: str


def cut_text(source: Source, key: str, node: yaml.Node) -> list[Diagnostic]:
    """A warning when a comment follows a text that was probably meant to go on."""
    if not isinstance(node, yaml.ScalarNode) or node.style or not node.value or key not in FREE_TEXT | NAMES:
        return []
    comment = comment_after(source, Span(node.start_mark.index, node.end_mark.index))
    if comment is None:
        return []
    text = source.text[comment.start : comment.end]
    if key in NAMES and (len(text) < 2 or text[1].isspace()):
        return []
    return [
        source.diagnostic(
            "YAML007",
            f"`{_short(text)}` after the text is a comment and is NOT part of it",
            comment,
            help=f"{QUOTE} if you meant it",
            severity=Severity.WARNING,
        )
    ]


def comment_after(source: Source, span: Span) -> Span | None:
    """The comment that follows `span` on its line."""
    found = _COMMENT.match(source.text, span.end)
    return Span(found.start(1), found.start(1) + len(found.group(1).rstrip())) if found else None


def glued_key(text: str) -> str | None:
    """The key of a text such as `prompt:猫` or `prompt：猫`, which YAML reads as one text."""
    found = _GLUED.match(text)
    return found.group("key") if found else None


def is_of_one_value(one: Diagnostic) -> bool:
    """Whether the mistake is in one value of one line, and the lines below it may be right."""
    return one.help == ONE_PAIR or one.help.startswith(QUOTE)


def value_of(line: str) -> tuple[int, int] | None:
    """Where the value of a line `key: value` or `- value` begins and ends."""
    entry = _ENTRY.match(line)
    return entry.span("value") if entry else None


def explain(error: yaml.YAMLError, source: Source) -> Diagnostic:
    """The parser's error in words that help; the parser's own words where no trap is known."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return source.diagnostic("YAML001", f"this file is not YAML: {error}", None)
    marks = [mark for mark in (error.context_mark, error.problem_mark) if mark is not None]
    at = source.position(min(marks[-1].index, len(source.text))) if marks else (1, 1)
    context = source.position(min(marks[0].index, len(source.text))) if marks else (1, 1)
    problem = error.problem or "it cannot be read"
    known = _known_problem(error, source, at, context)
    if known is not None:
        return known
    for line in dict.fromkeys((at[0], context[0], _line_before(source, at[0]), _line_before(source, context[0]))):
        near = line in (at[0], context[0])
        above = line < at[0] and _goes_on(source, line)
        trap = _line_trap(source.line(line), flow="flow" in (error.context or ""), near=near, above=above)
        if trap is not None:
            start = source.offset(line, trap.column + 1)
            return source.diagnostic("YAML001", trap.message, Span(start, start + trap.length), help=trap.help)
    start = source.offset(*at)
    if (number := _without_colon(source, problem, at[0], context[0])) is not None:
        words = source.line(number)
        begin = source.offset(number, len(words) - len(words.lstrip()) + 1)
        span, block = Span(begin, begin + len(words.strip())), re.search(r":\s*[|>][-+]?\s*$", source.line(number - 1))
        help = f"indent the text below `{block[0].strip(': ')}`" if block else "add a colon, or quote the text"
        return source.diagnostic("YAML001", "this line is no `key: value`", span, help=help)
    if (known_words := _INDENTATION.get(problem)) is not None:
        return source.diagnostic("YAML001", known_words[0], Span(start, start + 1), help=known_words[1])
    doing = f" {error.context}" if error.context else ""
    help = _general_help(problem)
    return source.diagnostic("YAML001", f"this is not YAML:{doing} {problem}", Span(start, start + 1), help=help)


_INDENTATION = {
    "did not find expected '-' indicator": (
        "this line is no item of the list above it",
        "indent all keys of one item by the same number of spaces, or begin it with `- `",
    ),
    "did not find expected key": (
        "this line is indented like none of the lines above it",
        "indent all keys of one mapping, and all `-` of one list, by the same number of spaces",
    ),
}
"""What the parser says of a line that stands at the wrong column, in words."""


def _without_colon(source: Source, problem: str, at: int, context: int) -> int | None:
    """The line that should have been `key: value`, when that is what the parser stumbled over."""
    if "expected ':'" in problem:
        return context
    above = source.line(_line_before(source, at))
    if "mapping values are not allowed" in problem and re.fullmatch(r"\s*(?:- +)?[A-Za-z_]+ +[^:#]+", above):
        here = source.line(at)
        if len(here) - len(here.lstrip()) <= len(above) - len(above.lstrip()):
            return _line_before(source, at)
    return None


def _known_problem(
    error: yaml.MarkedYAMLError, source: Source, at: tuple[int, int], context: tuple[int, int]
) -> Diagnostic | None:
    problem = error.problem or ""
    start, opened = source.offset(*at), source.offset(*context)
    here = Span(start, start + 1)
    if "undefined alias" in problem:
        help = f"{QUOTE} if the `*` belongs to it"
        return source.diagnostic("YAML001", "this alias names no anchor above it", here, help=help)
    if "duplicate anchor" in (error.context or ""):
        help = f"the first is at {source.place(Span(opened, opened + 1))}; give each anchor its own name"
        return source.diagnostic("YAML001", "this anchor's name is taken", here, help=help)
    if "another document" in problem:
        help = "keep one document; a line of `---` begins another"
        return source.diagnostic("YAML009", "this file holds several documents", here, help=help)
    if "quoted scalar" in (error.context or "") and "end of stream" in problem:
        return source.diagnostic("YAML001", "this quote is never closed", Span(opened, opened + 1), help="close it")
    if "escape" in problem or "hexdecimal" in problem:
        help = "use '…' instead of \"…\", or write / in paths"
        return source.diagnostic("YAML001", "a backslash in double quotes begins an escape", here, help=help)
    return _badly_ended(error, source, at, context)


def _badly_ended(
    error: yaml.MarkedYAMLError, source: Source, at: tuple[int, int], context: tuple[int, int]
) -> Diagnostic | None:
    """Something that began above and was not ended where people thought."""
    start, opened, above = source.offset(*at), source.offset(*context), _line_before(source, at[0])
    here, before = Span(start, start + 1), source.line(above)
    if (quote := _quote_above(source, start)) is not None:
        message = f"this quote is closed in line {at[0]} only, and text goes on there"
        return source.diagnostic("YAML001", message, quote, help="close it where its text ends")
    if "parsing a flow" in (error.context or ""):
        if (hidden := _HIDDEN.search(before)) is not None:
            begin = source.offset(above, hidden.start(1) + 1)
            span, help = Span(begin, begin + len(hidden.group(1))), "close the bracket before it, or quote the text"
            return source.diagnostic("YAML001", "this comment hides the rest of its line", span, help=help)
        message = f"this is not YAML: {error.context} {error.problem}"
        help = f"close the bracket of {source.place(Span(opened, opened + 1))}, and quote text that holds , : [ ] {{ }}"
        return source.diagnostic("YAML001", message, here, help=help)
    if "document start" in (error.problem or "") and before.startswith("%"):
        begin = source.offset(above, 1)
        return source.diagnostic("YAML001", _BEGINNINGS["%"], Span(begin, begin + len(before)), help=QUOTE)
    line = source.line(at[0])
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return source.diagnostic("YAML001", "a tab indents this line", here, help="indent with spaces")
    return None


def _quote_above(source: Source, at: int) -> Span | None:
    """The quoted text that began lines above and ends in the line of `at`, where the parser stopped."""
    if len(source.text) > MAX_LOOKED_AT:
        return None
    last = Span(0, 0)
    try:
        for event in yaml.parse(source.text, Loader=CoreLoader):
            if (
                isinstance(event, yaml.ScalarEvent)
                and event.style in ("'", '"')
                and event.start_mark
                and event.end_mark
            ):
                last = Span(event.start_mark.index, event.end_mark.index)
    except yaml.YAMLError:
        pass
    begin, end, here = (source.position(offset)[0] for offset in (*last, at))
    return last if begin < end == here else None


def _goes_on(source: Source, number: int) -> bool:
    """Whether the next line that holds anything is indented as if it went on with the text of this one."""
    column = _INDENT.match(source.line(number)).end()  # type: ignore[union-attr]  # it matches nothing as well
    following = (source.line(below) for below in range(number + 1, number + 100))
    return next((len(line) - len(line.lstrip()) > column for line in following if line.strip()), False)


def _line_trap(line: str, *, flow: bool, near: bool, above: bool) -> _Trap | None:
    """The trap that `line` fell into; where the parser did not stop `near` it, only what affects the lines below."""
    if (glued := _GLUED.match(line)) is not None:
        column, colon = glued.start("key"), glued.group("colon")
        if colon.startswith("："):
            message, help = "the colon after the key is a full-width one (：)", "write `:` and a space"
        else:
            message, help = "there is no space after the colon", f"write `{glued.group('key')}: …`"
        return _Trap(column, glued.end() - column, message, help)
    entry = _ENTRY.match(line)
    if entry is None:
        return None
    column, value = entry.start("value"), entry.group("value")
    plain = value[0] not in "\"'{["
    if plain and (cut := _COMMENT.search(value)) is not None and above:
        message = "a `#` ends the text here, and the next line goes on"
        return _Trap(column + cut.start(1), len(cut.group(1)), message, QUOTE)
    return _value_trap(column, value, flow=flow) if near else None


def _value_trap(column: int, value: str, *, flow: bool) -> _Trap | None:
    length = len(value)
    if value[0] in "{[":
        return None if flow or value[-1] in "}]" else _opening(column, value)
    if value[0] in "\"'":
        closing = re.search(rf"{value[0]}\s+[^\s#]|{value[0]}[^\s#,\]}}]", value[1:])
        message = "text goes on after the closing quote"
        return _Trap(column, length, message, ONE_PAIR) if closing else None
    if value[0] in _BEGINNINGS:
        return _Trap(column, length, _BEGINNINGS[value[0]], QUOTE)
    if value[:2] in ("- ", "? "):
        return _Trap(column, length, f"text may not begin with `{value[:2]}`", QUOTE)
    inner = re.search(r":(?=\s|$)", value)
    if inner is not None and not flow:
        message = "`: ` inside a text makes YAML read a key"
        return _Trap(column + inner.start(), 1, message, f"{QUOTE}, or use a full-width ：")
    return None


def _opening(column: int, value: str) -> _Trap | None:
    if not any(closing in value for closing in "}]"):
        return None
    return _Trap(column, len(value), f"text may not begin with `{value[0]}`", QUOTE)


def _general_help(problem: str) -> str:
    if "'-' indicator" in problem or "expected key" in problem or "not allowed in this context" in problem:
        return "indent all keys of one mapping, and all `-` of one list, by the same number of spaces"
    return "quote text that holds special characters"


def _line_before(source: Source, number: int) -> int:
    """The nearest line above that holds anything; 0 when there is none."""
    number -= 1
    while number > 0 and not source.line(number).strip():
        number -= 1
    return number


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
