"""A mistake and its place: what a person is shown of a file that they wrote."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A spot in a file that a person wrote; line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int
    length: int = 1
    """How many characters the caret underlines."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Severity(StrEnum):
    """Errors stop the command before anything is sent; warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One mistake in a manifest: what, where, and what to do about it."""

    code: str
    message: str
    place: Place
    help: str = ""
    severity: Severity = Severity.ERROR
    source_line: str = ""
    """The line of the file, for the caret."""

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}[{self.code}]: {self.message}"
