"""Tables for people, and CSV that no spreadsheet runs as a program."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Collection, Iterable, Sequence

from batchrunner.cli.words import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0", "＝", "＋", "－", "＠")  # spreadsheets run what begins with one


def csv_line(cells: Iterable[object]) -> str:
    """One line of CSV; text that a spreadsheet would run is made plain."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\r\n")  # so that a cell with either sign is quoted
    rows.writerow([_inert(cell) for cell in cells])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _inert(value: object) -> object:
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, firm: Collection[str] = ()) -> str:
    """Aligned columns under their heads; where the terminal is narrow, those that are `firm` are broken last."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        made.add_column(name, overflow="fold", no_wrap=name in firm)
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=sys.stdout or io.StringIO(), emoji=False, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(made)
    return capture.get()
