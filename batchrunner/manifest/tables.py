"""CSV and JSON Lines files, row by row: never held as a whole, every mistake with its row and column.

A table that reads only in part is not read at all: a row that was cut short could be a clip that nobody asked for.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from io import TextIOBase
from pathlib import Path
from typing import Any

from batchrunner.manifest import files
from batchrunner.manifest.parameters import BUILT_IN, OF_A_ROW, REQUEST
from batchrunner.manifest.rows import Row, build
from batchrunner.manifest.spots import Cell, Line, Member, Problems, Spot
from batchrunner.manifest.words import WRONG_WORDS

MAX_LINE = 1 << 20
"""Characters of a line; prompts have 2,500."""
MAX_COLUMNS = 1_000
WORKBOOKS = frozenset({".xlsx", ".xls", ".xlsm", ".ods", ".numbers"})


@dataclass(slots=True, kw_only=True)
class Table:
    """A file of rows, and how the manifest wants it read."""

    path: Path
    shown: str
    """Its path as people would write it from where they are."""
    roots: Sequence[Path]
    spot: Spot
    """Where the manifest names it."""
    encoding: str | None
    columns: Mapping[str, str]
    """New names of columns."""
    columns_spot: Spot
    used: frozenset[str]
    """Names that some placeholder of the entry mentions."""
    problems: Problems
    names: set[str] = field(default_factory=set)
    """Of the columns, once they are read."""
    read: int = 0
    """Rows so far."""

    def csv_rows(self) -> Iterator[Row]:
        """The rows of a table with a header."""
        for stream in self._open():
            reader = _Csv(self, stream, "\t" if self.path.suffix.lower() in (".tsv", ".tab") else ",")
            yield from reader.rows()

    def json_rows(self) -> Iterator[Row]:
        """The rows of a file with one JSON object a line."""
        number = 0
        for stream in self._open():
            try:
                for number, raw in enumerate(_lines(stream), start=1):
                    if raw.strip():
                        self.read += 1
                        if (row := self._json_row(number, raw.rstrip("\r\n"))) is not None:
                            yield row
                    if self.problems.full:
                        return
            except files.Refused as refused:
                self.problems.error(Line(self.shown, number + 1), refused.code, str(refused), refused.help)

    def _open(self) -> Iterator[TextIOBase]:
        """The file's text, once; nothing when it cannot be read."""
        before = self.problems.reports
        if self.path.suffix.lower() in WORKBOOKS:
            message = f"{self.path.name} is a workbook, not a table of text"
            self.problems.error(self.spot, "SRC406", message, "save the sheet as CSV UTF-8, and name that file here")
            return
        try:
            text = files.open_text(self.path, self.roots, self.encoding)
        except files.Refused as refused:
            spot = self.spot if refused.line is None else Line(self.shown, refused.line)
            self.problems.error(spot, refused.code, str(refused), refused.help)
            return
        with text.stream() as stream:
            if text.guessed:
                message = f"{self.path.name} is not UTF-8 and was read as GB18030, which Excel and 记事本 call ANSI"
                help = "save it as UTF-8 (Excel: CSV UTF-8), or write `encoding: gb18030`"
                self.problems.warning(Line(self.shown, 1), "SRC404", message, help)
            yield stream
        if not self.read and self.problems.reports == before:
            self.problems.error(Line(self.shown, 1), "SRC407", f"{self.path.name} has no rows", "add one")

    def renamed(self, headers: Sequence[str]) -> list[str]:
        """The headers under the manifest's names."""
        for old in self.columns:
            if old not in headers:
                close = get_close_matches(old, headers, n=1)
                help = f"did you mean `{close[0]}`?" if close else f"its columns are {', '.join(headers[:40])}"
                self.problems.error(self.columns_spot, "SRC405", f"{self.path.name} has no column `{old}`", help)
        return [self.columns.get(header, header) for header in headers]

    def check_name(self, name: str, spot: Spot) -> None:
        """Say so when a column means nothing, although it looks as if it did."""
        if name in self.names:
            return
        self.names.add(name)
        if name in REQUEST or name in OF_A_ROW:
            return
        if name in BUILT_IN:
            meant = "key" if name == "id" else f"{name}_"
            help = f"rename it: `columns: {{{name}: {meant}}}`"
            self.problems.warning(spot, "SRC408", f"this column is hidden: {{{name}}} is batchrunner's own", help)
        elif name not in self.used and (meant := _meant(name)):
            help = f"rename it: `columns: {{{name}: {meant}}}`"
            self.problems.warning(spot, "SRC408", f"this column sets a variable, not `{meant}`", help)

    def _json_row(self, number: int, raw: str) -> Row | None:
        line = Line(self.shown, number, raw)
        try:
            value = json.loads(raw, object_pairs_hook=_unique, parse_int=_short_int, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            self.problems.error(line, "SRC406", f"this line is not JSON: {reason}", "write one {…} a line")
            return None
        if not isinstance(value, dict):
            self.problems.error(line, "SRC406", "this line is not an object", 'write {"prompt": "…"}')
            return None
        spots = {self.columns.get(name, name): name for name in value}
        if len(spots) < len(value):
            self.problems.error(line, "SRC405", "two fields of this line have the same name", "rename one of them")
            return None

        def spot(name: str | None) -> Spot:
            return line if name is None else Member(self.shown, number, raw, spots.get(name, name))

        for name in spots:
            if name not in self.names:
                self.check_name(name, spot(name))
        cells = ((name, value[old]) for name, old in spots.items())
        return build(cells, spot=spot, problems=self.problems, as_text=True)


class _Csv:
    """One CSV file; remembers the lines of the row that is being read."""

    def __init__(self, table: Table, stream: TextIOBase, delimiter: str) -> None:
        self.table = table
        self.delimiter = delimiter
        self.headers: list[str] = []
        self._lines = _lines(stream)
        self._number = 0
        self._record: list[str] = []

    def _feed(self) -> Iterator[str]:
        for line in self._lines:
            self._number += 1
            self._record.append(line)
            yield line

    def rows(self) -> Iterator[Row]:
        """Its rows, checked; nothing more after a row that shows that the table is broken."""
        table = self.table
        names: list[str] | None = None
        for line, raw, cells in self._records():
            if not any(cell.strip() for cell in cells):
                continue  # spreadsheets leave empty rows behind
            if names is None:
                names = self._header(line, raw, cells)
                if names is None:
                    return
                continue
            table.read += 1
            if self._fits(line, raw, cells):
                given = zip(names, cells, strict=False)
                spot = partial(self._spot, line, raw, names)
                row = build(((n, c) for n, c in given if n), spot=spot, problems=table.problems, as_text=True)
                if row is not None:
                    yield row
            if table.problems.full:
                return

    def _records(self) -> Iterator[tuple[int, str, list[str]]]:
        """Each record with the line it begins on and its text."""
        reader = csv.reader(self._feed(), delimiter=self.delimiter, strict=True)
        while True:
            start = self._number + 1
            self._record = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, files.Refused) as error:
                self._broken(start, error)
                return
            yield start, "".join(self._record), cells

    def _broken(self, start: int, error: Exception) -> None:
        raw = "".join(self._record)
        if isinstance(error, files.Refused):
            spot, help = Line(self.table.shown, self._number + 1), error.help
        else:
            spot, help = Line(self.table.shown, start, raw), 'double every " inside quotes, and close the quotes'
        self.table.problems.error(spot, "SRC406", f"this row cannot be read: {error}", help)

    def _header(self, line: int, raw: str, cells: list[str]) -> list[str] | None:
        """The names of the columns; None when the header is wrong."""
        table, before = self.table, self.table.problems.reports
        headers = [cell.strip() for cell in cells]
        self.headers = headers
        whole = Line(table.shown, line, raw)
        other = next((mark for mark in ";\t," if mark != self.delimiter and mark in raw), None)
        if len(headers) == 1 and other and self.delimiter not in raw:
            kind = {";": "semicolons", "\t": "tabs", ",": "commas"}[other]
            help = "save it with commas" if self.delimiter == "," else "name it .csv, or save it with tabs"
            help = "name it .tsv, or save it with commas" if other == "\t" else help
            table.problems.error(whole, "SRC405", f"the columns are separated by {kind}", help)
            return None
        if len(headers) > MAX_COLUMNS:
            table.problems.error(whole, "SRC405", f"more than {MAX_COLUMNS:,} columns", "leave some out")
            return None
        names = table.renamed(headers)
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            spot = Cell(table.shown, line, raw, self.delimiter, index, headers[index] or f"{index + 1}")
            if name and name in seen:
                help = f"the first is column {seen[name] + 1}; rename one of them"
                table.problems.error(spot, "SRC405", f"two columns are called `{name}`", help)
            elif name:
                seen[name] = index
                table.check_name(name, spot)
        return names if table.problems.reports == before else None

    def _fits(self, line: int, raw: str, cells: list[str]) -> bool:
        """Whether the row has a cell for each column and for no other."""
        width = len(self.headers)
        stray = next((n for n, cell in enumerate(cells) if cell.strip() and (n >= width or not self.headers[n])), None)
        if stray is not None and stray < width:
            spot: Spot = Cell(self.table.shown, line, raw, self.delimiter, stray, f"{stray + 1}")
            self.table.problems.error(spot, "SRC406", "this cell stands in a column without a name", "name the column")
            return False
        if stray is None and len(cells) >= width:
            return True
        spot = Line(self.table.shown, line, raw)
        help = 'quote text that holds commas: "…, …"' if len(cells) > width else "write the missing commas"
        message = f"this row has {len(cells)} cells, the header has {width}"
        self.table.problems.error(spot, "SRC406", message, help)
        return False

    def _spot(self, line: int, raw: str, names: list[str], name: str | None) -> Spot:
        if name is None or name not in names:
            return Line(self.table.shown, line, raw)
        index = names.index(name)
        return Cell(self.table.shown, line, raw, self.delimiter, index, self.headers[index])


def _lines(stream: TextIOBase) -> Iterator[str]:
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise files.Refused("SRC406", f"a line has more than {MAX_LINE:,} characters", "split it")
        yield line


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{twice}` stands there twice")
    return found


def _short_int(text: str) -> int:
    if len(text) > 40:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return int(text)


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no value of JSON")


def _meant(name: str) -> str:
    """The parameter that a column's name probably stands for."""
    folded = re.sub(r"[\s-]+", "_", name.strip().casefold())
    target = WRONG_WORDS.get(folded, "").rpartition(".")[2]
    target = "key" if target == "id" else target
    if target in REQUEST or target in OF_A_ROW:
        return target
    if name.isascii():
        close = get_close_matches(folded, REQUEST, n=1, cutoff=0.8)
        return close[0] if close else ""
    return ""
