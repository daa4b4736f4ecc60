"""`from`: where the rows of an entry come from, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.manifest import names, parameters
from batchrunner.manifest.pairs import Finder
from batchrunner.manifest.rows import Row, build
from batchrunner.manifest.spots import Problems, Spot, Written
from batchrunner.manifest.tables import Table

if TYPE_CHECKING:
    from batchrunner.manifest.reader import Document
    from batchrunner.manifest.schema import From
    from batchrunner.manifest.source import Loc

KINDS = ("csv", "jsonl", "rows", "pairs", "chain")
OF_TABLES = ("columns", "encoding")


@dataclass(slots=True, kw_only=True)
class Source:
    """The rows of one entry."""

    section: From
    document: Document
    loc: Loc
    """Of the `from` section."""
    folder: Path
    """The manifest's."""
    shown: Path
    """The same folder as people would write it from where they are."""
    roots: Sequence[Path]
    used: frozenset[str]
    """Names that some placeholder of the entry mentions."""
    problems: Problems
    names: set[str] = field(default_factory=set)
    """The columns that were seen."""
    _left_out: int = field(default=0, init=False)

    def rows(self) -> Iterator[Row]:
        """The rows that count, in order; what is wrong is reported on the way."""
        if not self._is_one_kind():
            return
        wanted = self._wanted()
        any_left = False
        for row in self._all():
            if wanted and not self._counts(row, wanted):
                self._left_out += 1
                continue
            any_left = True
            yield row
        if not any_left and self._left_out:
            message = f"none of {self._left_out:,} rows is left"
            self.problems.warning(self.spot("where"), "SRC407", message, "check the values of `where`")

    def spot(self, *keys: str | int) -> Spot:
        """The place of a key below `from`."""
        return Written(self.document, (*self.loc, *keys))

    def _is_one_kind(self) -> bool:
        section, given = self.section, [kind for kind in KINDS if getattr(self.section, kind) is not None]
        if len(given) != 1:
            amount = f"both {' and '.join(given)}" if given else "none of csv, jsonl, rows, pairs and chain"
            self.problems.error(Written(self.document, self.loc, True), "MAN213", f"`from` has {amount}", "write one")
            return False
        before = self.problems.reports
        for key in OF_TABLES:
            if getattr(section, key) is not None and (given[0] not in ("csv", "jsonl")):
                spot = Written(self.document, (*self.loc, key), True)
                self.problems.error(spot, "MAN213", f"`{key}` belongs to csv and jsonl", "leave it out")
        return self.problems.reports == before

    def _all(self) -> Iterator[Row]:
        section = self.section
        if section.csv is not None:
            yield from self._table(section.csv, "csv")
        elif section.jsonl is not None:
            yield from self._table(section.jsonl, "jsonl")
        elif section.rows is not None:
            yield from self._inline(section.rows)
        else:
            finder = Finder(folder=self.folder, roots=self.roots, problems=self.problems, spot=self.spot)
            found = finder.pairs(section.pairs) if section.pairs else finder.chain(section.chain)  # type: ignore[arg-type]
            for row in found:
                self.names.update(row.variables)
                yield row

    def _table(self, path: str, kind: str) -> Iterator[Row]:
        columns = self._columns()
        if columns is None:
            return
        table = Table(
            path=self.folder / path,
            shown=str(self.shown / path),
            roots=self.roots,
            spot=self.spot(kind),
            encoding=self.section.encoding,
            columns=columns,
            columns_spot=self.spot("columns"),
            used=self.used | (self.section.where or {}).keys(),
            problems=self.problems,
            names=self.names,
        )
        yield from table.csv_rows() if kind == "csv" else table.json_rows()

    def _columns(self) -> dict[str, str] | None:
        """The new names of columns, by their old ones; None when one of them cannot be used."""
        columns, before = self.section.columns or {}, self.problems.reports
        for old, new in columns.items():
            if problem := name_problem(new):
                self.problems.error(self.spot("columns", old), "MAN203", *problem)
        return columns if self.problems.reports == before else None

    def _inline(self, given: Sequence[dict[str, object]]) -> Iterator[Row]:
        for index, cells in enumerate(given):
            before = self.problems.reports
            for name in cells.keys() - self.names:
                if name in parameters.REQUEST or name in parameters.OF_A_ROW:
                    continue
                if problem := name_problem(name):
                    spot = Written(self.document, (*self.loc, "rows", index, name), True)
                    self.problems.error(spot, "MAN203", *problem)
            self.names.update(cells)
            row = build(
                cells.items(),
                spot=partial(self._inline_spot, index),
                problems=self.problems,
                as_text=False,
                written={name: self.document.text((*self.loc, "rows", index, name)) for name in cells},
            )
            if row is not None and self.problems.reports == before:
                yield row

    def _inline_spot(self, index: int, name: str | None) -> Spot:
        return self.spot("rows", index) if name is None else self.spot("rows", index, name)

    def _wanted(self) -> dict[str, list[str]]:
        """What `where` asks of each column, as it was written."""
        found = {}
        for name, value in (self.section.where or {}).items():
            loc: Loc = (*self.loc, "where", name)
            locs = [(*loc, n) for n in range(len(value))] if isinstance(value, list) else [loc]
            found[name] = [self.document.text(one) for one in locs]
        return found

    def _counts(self, row: Row, wanted: dict[str, list[str]]) -> bool:
        for name, values in wanted.items():
            given = _cell(row, name)
            if given is None and name not in self.names:
                known = sorted(self.names | set(parameters.OF_A_ROW))
                close = get_close_matches(name, known, n=1)
                help = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known[:40])}"
                spot = Written(self.document, (*self.loc, "where", name), True)
                self.problems.error(spot, "SRC405", f"the rows have no column `{name}`", help)
            if (given or "") not in values:
                return False
        return True


def _cell(row: Row, name: str) -> str | None:
    """The value of a column as text."""
    if name == "key":
        return row.name
    if name == "tags":
        return ",".join(row.tags)
    if name == "priority":
        return None if row.priority is None else str(row.priority)
    if name in row.variables:
        return row.variables[name].strip()
    value = row.parameters.get(name)
    return None if value is None else parameters.text(value)


def name_problem(name: str) -> tuple[str, str] | None:
    """Why a variable cannot have this name, and what to do about it."""
    if name in parameters.BUILT_IN and name != "key":
        return f"`{name}` cannot be a variable: {{{name}}} is batchrunner's own", f"write {name}_ or another word"
    if any(mark in name for mark in "{}:") or not name.strip() or len(name) > names.MAX_NAME:
        return f"`{name[:40]}` cannot be the name of a variable", "write a word without {, } and :"
    return None


def variables(given: dict[str, object], document: Document, loc: Loc, problems: Problems) -> dict[str, str]:
    """The variables of a `vars` section, as they were written."""
    found = {}
    for name in given:
        place: Loc = (*loc, name)
        if name in parameters.REQUEST or name in parameters.OF_A_ROW:
            help = f"write `{name}:` in a job" + (", or in `defaults`" if name in parameters.REQUEST else "")
            problems.error(Written(document, place, True), "MAN203", f"`{name}` is a parameter, not a variable", help)
        elif problem := name_problem(name):
            problems.error(Written(document, place, True), "MAN203", *problem)
        else:
            found[name] = document.text(place)
    return found
