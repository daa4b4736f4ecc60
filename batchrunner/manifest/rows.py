"""One row of a source: its parameters, its variables, its name, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchrunner.diagnostic import Place
from batchrunner.manifest import names, parameters
from batchrunner.manifest.parameters import Mistake
from batchrunner.manifest.spots import Problems, Spot


@dataclass(slots=True)
class Row:
    """What one row sets."""

    spot: Callable[[str | None], Spot]
    """The place of one of its values, or of the row as a whole."""
    parameters: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    empty: frozenset[str] | tuple[str, ...] = ()
    """Columns without a value here."""
    name: str | None = None
    """As it was written."""
    key: str | None = None
    """The same, fit for a key."""
    priority: int | None = None
    tags: tuple[str, ...] = ()
    _place: Place | None = None

    @property
    def place(self) -> Place:
        """Where the row begins."""
        if self._place is None:
            self._place = self.spot(None).place()
        return self._place


def build(
    cells: Iterable[tuple[str, object]],
    *,
    spot: Callable[[str | None], Spot],
    problems: Problems,
    as_text: bool,
    written: Mapping[str, str] | None = None,
) -> Row | None:
    """The row of these cells; None when one of them is wrong, which is reported.

    With `as_text`, texts stand for values of any kind, as in a CSV file; `written` holds variables as they were written.
    """
    row, right, empty = Row(spot), True, []
    for name, value in cells:
        if value is None or (as_text and isinstance(value, str) and not value.strip()):
            empty.append(name)
            continue
        try:
            _set(row, name, value, as_text=as_text, written=written)
        except Mistake as mistake:
            problems.error(spot(name), mistake.code, str(mistake), mistake.help)
            right = False
    if empty:
        row.empty = tuple(empty)
    return row if right else None


def _set(row: Row, name: str, value: object, *, as_text: bool, written: Mapping[str, str] | None) -> None:
    if name not in parameters.REQUEST and name not in parameters.OF_A_ROW:
        if isinstance(value, (list, dict)):
            help = "a row holds texts, numbers, true and false; for several values, write `matrix:`"
            raise Mistake(f"`{name}` must be one value, here it is {parameters.shown(value)}", help)
        row.variables[name] = written[name] if written and name in written else parameters.text(value)
        return
    if as_text and isinstance(value, str):
        given = parameters.from_text(name, value)
    elif name == "key" and isinstance(value, int) and not isinstance(value, bool) and as_text:
        given = str(value)
    else:
        given = parameters.typed(name, value)
    if name in parameters.REQUEST:
        row.parameters[name] = given
    elif name == "key":
        row.name, row.key = given, names.key(given)
        if not row.key:
            raise Mistake(f"the key `{given[:40]}` holds no letter and no digit", "write a name such as S01", "MAN203")
    elif name == "priority":
        row.priority = given
    else:
        row.tags = given
