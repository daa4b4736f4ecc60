"""The codes of all diagnostics, and the three ways to show them: text with carets, JSON, and GitHub's annotations.

The first line of the text form is always `file:line:column: error[CODE]: message`, for editors and for tests.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable

from rich.cells import cell_len

from batchrunner.diagnostic import Diagnostic, Severity

CODES = {
    "YAML001": "The file is not YAML, or holds nothing.",
    "YAML002": "A key stands twice in one mapping.",
    "YAML003": "An invisible character that YAML does not allow.",
    "YAML004": "The file is too large.",
    "YAML005": "The nesting is too deep.",
    "YAML006": "Aliases or merges repeat too much.",
    "YAML007": "A comment follows a text that it may have cut short.",
    "YAML008": "A tag that is not allowed.",
    "YAML009": "Several documents in one file.",
    "YAML010": "An anchor that nothing uses, and that may have been text.",
    "YAML011": "A key that is not text.",
    "YAML012": "A merge of something that is not a mapping.",
    "YAML013": "A scalar that does not fit its type, or a number that is too long.",
    "YAML014": "The file is not UTF-8.",
    "YAML015": "An alias inside the value that it names.",
    "YAML016": "A full-width character where YAML needs the ordinary one.",
    "MAN100": "The manifest cannot be opened.",
    "MAN101": "An unknown key.",
    "MAN102": "A required key is missing.",
    "MAN103": "A key without a value.",
    "MAN104": "A value of the wrong kind.",
    "MAN105": "A number outside its bounds.",
    "MAN201": "A job without a prompt.",
    "MAN202": "A clip that the API does not offer.",
    "MAN203": "A name that commands and file names cannot hold.",
    "MAN204": "Two jobs with the same id or key.",
    "MAN205": "An output path or its placeholders cannot be used.",
    "MAN206": "A last frame without a first one.",
    "MAN207": "Prices or a budget that do not fit together.",
    "MAN208": "A job whose price is not known.",
    "MAN209": "Two jobs that write the same file.",
    "MAN210": "A placeholder that nothing belongs to, or a single brace.",
    "MAN211": "A matrix, or what it excludes and includes, that does not fit together.",
    "MAN212": "More jobs than the manifest may ask for.",
    "MAN213": "A `from` that names no source, or several.",
    "MAN214": "Two prompts for the same job.",
    "MAN215": "A value of --set that the manifest has no use for.",
    "MAN216": "Keys that come from positions.",
    "MAN218": "A manifest that asks for no jobs.",
    "MAN219": "A name whose date changes in the middle of a night.",
    "SRC401": "A file or folder of rows is missing or cannot be read.",
    "SRC402": "A file or folder of rows is outside the manifest's folder.",
    "SRC403": "A file of rows in another encoding.",
    "SRC404": "A file of rows that was read as GB18030.",
    "SRC405": "The columns of a file of rows do not fit.",
    "SRC406": "A row that cannot be read.",
    "SRC407": "No rows.",
    "SRC408": "A column that may mean something else than it seems to.",
    "SRC411": "A frame without its partner, or with two.",
    "SRC412": "No frames where they were looked for.",
    "SRC413": "A pattern of frames that cannot be used.",
    "CFG501": "The configuration cannot be read.",
    "CFG502": "A mistake in the configuration.",
    "FRM301": "A frame's file is missing or cannot be read.",
    "FRM302": "A frame's file is outside the manifest's folder.",
    "FRM303": "A frame that is not a regular file.",
    "FRM304": "A frame's file is too large to upload.",
    "FRM305": "A frame that is neither JPEG nor PNG.",
    "FRM306": "A damaged image.",
    "FRM307": "An image of a size or ratio that Kling refuses.",
    "FRM311": "A frame's URL that the provider cannot read.",
    "FRM312": "A frame's URL with a user name or password.",
    "FRM321": "First and last frame of different shapes.",
    "FRM322": "A frame of another shape than the clip.",
    "FRM323": "A frame's URL on a private network.",
}
"""Stable: scripts match these."""

SHOWN_OF_A_KIND = 20
LINE_WIDTH = 100
"""Terminal cells of a source line that are shown around the caret."""
_BIDI = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\ufeff") | {
    chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def ordered(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """In the order of the file; what is reported twice, once."""
    unique = dict.fromkeys(diagnostics)
    return sorted(unique, key=lambda one: (one.place.file, one.place.line, one.place.column))


def render_text(diagnostics: Iterable[Diagnostic]) -> str:
    """All diagnostics for a person, with the source and a caret; many of one kind are counted, not shown."""
    found = ordered(diagnostics)
    seen: Counter[tuple[str, Severity]] = Counter()
    blocks = []
    for one in found:
        seen[one.code, one.severity] += 1
        if seen[one.code, one.severity] <= SHOWN_OF_A_KIND:
            blocks.append(_block(one))
    for (code, _), count in seen.items():
        if count > SHOWN_OF_A_KIND:
            blocks.append(f"and {count - SHOWN_OF_A_KIND:,} more of {code}: {CODES.get(code, '')}".rstrip(": "))
    if found:
        blocks.append(_total(found))
    return "\n\n".join(blocks) + ("\n" if blocks else "")


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """All diagnostics as one JSON list."""
    rows = [
        {
            "severity": one.severity.value,
            "code": one.code,
            "message": one.message,
            "file": one.place.file,
            "line": one.place.line,
            "column": one.place.column,
            "help": one.help,
        }
        for one in ordered(diagnostics)
    ]
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """All diagnostics as GitHub workflow commands, one a line."""
    lines = []
    for one in ordered(diagnostics):
        place = one.place
        properties = f"file={_property(place.file)},line={place.line},col={place.column},title={one.code}"
        text = escape(one.message) + (f" ({escape(one.help)})" if one.help else "")
        lines.append(f"::{one.severity.value} {properties}::{_github(text)}\n")
    return "".join(lines)


def escape(text: str) -> str:
    """`text` without what could move a terminal's cursor or turn its text around."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape_one(character) for character in text)


def _escape_one(character: str) -> str:
    if character == "\t":
        return " "
    if character in _BIDI or unicodedata.category(character) in ("Cc", "Cs"):
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def _block(one: Diagnostic) -> str:
    place = one.place
    where = f"{escape(place.file)}:{place.line}:{place.column}"
    lines = [f"{where}: {one.severity}[{one.code}]: {escape(one.message)}"]
    margin = " " * len(str(place.line))
    if one.source_line.strip():
        shown, indent, width = _window(one.source_line, place.column - 1, place.length)
        lines.append(f"{margin} |")
        lines.append(f"{place.line} | {shown}".rstrip())
        lines.append(f"{margin} | {' ' * indent}{'^' * width}")
    if one.help:
        lines.append(f"{margin} = help: {escape(one.help)}")
    return "\n".join(lines)


def _window(line: str, start: int, length: int) -> tuple[str, int, int]:
    """The part of a line around the caret, and the caret's indent and width in terminal cells."""
    # A few hundred characters are enough on either side: escapes and wide characters only make them longer.
    before, rest = line[max(0, start - LINE_WIDTH) : start], line[start : start + 2 * LINE_WIDTH]
    marked, after = escape(rest[:length]), escape(rest[length:])
    head = escape(before)
    cut_head = start > LINE_WIDTH
    room = max(LINE_WIDTH // 3, LINE_WIDTH - cell_len(marked) - LINE_WIDTH // 5)
    while cell_len(head) > room:
        head, cut_head = head[1:], True
    head = ("…" if cut_head else "") + head
    marked, cut_marked = _fit(marked, max(10, LINE_WIDTH - cell_len(head)))
    after, cut_after = ("", True) if cut_marked else _fit(after, max(0, LINE_WIDTH - cell_len(head + marked)))
    cut_after = cut_after or len(line) > start + 2 * LINE_WIDTH
    return head + marked + after + ("…" if cut_after else ""), cell_len(head), max(1, cell_len(marked))


def _fit(text: str, cells: int) -> tuple[str, bool]:
    """As much of `text` as fits, and whether something was cut."""
    used = 0
    for index, character in enumerate(text):
        used += cell_len(character)
        if used > cells:
            return text[:index], True
    return text, False


def _total(found: list[Diagnostic]) -> str:
    errors = sum(one.severity is Severity.ERROR for one in found)
    warnings = len(found) - errors
    counts = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return f"{', '.join(counts)} in {', '.join(dict.fromkeys(escape(one.place.file) for one in found))}"


def _github(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _github(escape(text)).replace(":", "%3A").replace(",", "%2C")
