"""Where a value came from, so that a rule that it breaks can point at it: the manifest, a cell, a line, the command."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from batchrunner.diagnostic import Diagnostic, Place, Severity
from batchrunner.manifest.reader import MAX_PROBLEMS
from batchrunner.manifest.source import Source, Span, veiled

if TYPE_CHECKING:
    from batchrunner.manifest.reader import Document
    from batchrunner.manifest.source import Loc


class Spot(Protocol):
    """One value's place."""

    def place(self) -> Place:
        """Where the caret goes."""
        ...

    def diagnostic(self, code: str, message: str, help: str, severity: Severity) -> Diagnostic:
        """A mistake here."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """A value in the manifest, or its key."""

    document: Document
    loc: Loc
    at_key: bool = False

    def place(self) -> Place:
        return self.document.source.place(self._span())

    def diagnostic(self, code: str, message: str, help: str, severity: Severity) -> Diagnostic:
        return self.document.source.diagnostic(code, message, self._span(), help=help, severity=severity)

    def _span(self) -> Span:
        return self.document.key_span(self.loc) if self.at_key else self.document.value_span(self.loc)


@dataclass(frozen=True, slots=True)
class Part:
    """Characters of a text that is one file by itself, or of the options of a command."""

    source: Source
    span: Span

    def place(self) -> Place:
        return self.source.place(self.span)

    def diagnostic(self, code: str, message: str, help: str, severity: Severity) -> Diagnostic:
        return self.source.diagnostic(code, message, self.span, help=help, severity=severity)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table, as a whole."""

    file: str
    line: int
    raw: str = ""

    def place(self) -> Place:
        return Place(file=self.file, line=self.line, column=1, length=max(1, len(_line_of(self.raw, 0))))

    def diagnostic(self, code: str, message: str, help: str, severity: Severity) -> Diagnostic:
        return _diagnostic(code, message, help, severity, self.place(), self.line, self.raw)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a CSV row. The row's text is searched for it only when there is something to say about it."""

    file: str
    line: int
    """Where the row begins."""
    raw: str
    """The whole row; quoted cells may hold line breaks."""
    delimiter: str
    index: int
    header: str

    def place(self) -> Place:
        return _place(self.file, self.line, self.raw, cell_span(self.raw, self.delimiter, self.index))

    def diagnostic(self, code: str, message: str, help: str, severity: Severity) -> Diagnostic:
        message = f"{message} (column {self.header})"
        return _diagnostic(code, message, help, severity, self.place(), self.line, self.raw)


@dataclass(frozen=True, slots=True)
class Member:
    """One value of a JSON object that fills a line."""

    file: str
    line: int
    raw: str
    name: str

    def place(self) -> Place:
        quoted = json.dumps(self.name, ensure_ascii=False)
        start = max(self.raw.find(quoted), 0)
        return _place(self.file, self.line, self.raw, Span(start, start + len(quoted)))

    def diagnostic(self, code: str, message: str, help: str, severity: Severity) -> Diagnostic:
        return _diagnostic(code, f"{message} (field {self.name})", help, severity, self.place(), self.line, self.raw)


@dataclass(slots=True)
class Problems:
    """What is wrong, each thing once however many jobs suffer from it, up to what anybody would read."""

    found: dict[Diagnostic, None] = field(default_factory=dict)
    errors: int = 0
    """Different ones."""
    reports: int = 0
    """Errors with those that had been found before: what has any is not to be used."""

    def error(self, spot: Spot, code: str, message: str, help: str) -> None:
        self._add(spot, code, message, help, Severity.ERROR)

    def warning(self, spot: Spot, code: str, message: str, help: str) -> None:
        self._add(spot, code, message, help, Severity.WARNING)

    @property
    def full(self) -> bool:
        """Whether it is time to stop looking."""
        return self.errors >= MAX_PROBLEMS

    def _add(self, spot: Spot, code: str, message: str, help: str, severity: Severity) -> None:
        is_error = severity is Severity.ERROR
        self.reports += is_error
        if self.full if is_error else len(self.found) - self.errors >= MAX_PROBLEMS:
            return
        one = spot.diagnostic(code, message, help, severity)
        if one not in self.found:
            self.found[one] = None
            self.errors += is_error


def cell_span(raw: str, delimiter: str, index: int) -> Span:
    """Where the cell of that number stands in the text of its row."""
    start, cell, quoted = 0, 0, False
    for at, character in enumerate(raw):
        if character == '"':
            quoted = not quoted
        elif character == delimiter and not quoted:
            if cell == index:
                return Span(start, at)
            cell, start = cell + 1, at + 1
    end = len(raw.rstrip("\r\n"))
    return Span(start, end) if cell == index else Span(0, end)


def _place(file: str, line: int, raw: str, span: Span) -> Place:
    before = raw[: span.start]
    text = _line_of(raw, before.count("\n"))
    column = span.start - (before.rfind("\n") + 1)
    length = max(1, min(span.end - span.start, len(text) - column))
    return Place(file=file, line=line + before.count("\n"), column=column + 1, length=length)


def _line_of(raw: str, number: int) -> str:
    lines = raw.split("\n")
    return lines[number].rstrip("\r") if number < len(lines) else ""


def _diagnostic(
    code: str, message: str, help: str, severity: Severity, place: Place, line: int, raw: str
) -> Diagnostic:
    return Diagnostic(
        code=code,
        message=veiled(message),
        place=place,
        help=veiled(help),
        severity=severity,
        source_line=veiled(_line_of(raw, place.line - line)),
    )
