"""What multiplies within one entry: prompts, and the matrix with what it excludes and includes.

The matrix is a product in written order. Its values enter keys in an order of their own, so that moving a dimension up
or down in the file renames no job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from batchrunner.manifest import names, parameters
from batchrunner.manifest.overrides import Overrides
from batchrunner.manifest.parameters import REQUEST, Mistake
from batchrunner.manifest.sources import name_problem
from batchrunner.manifest.spots import Problems, Spot, Written

if TYPE_CHECKING:
    from batchrunner.manifest.reader import Document
    from batchrunner.manifest.schema import JobEntry
    from batchrunner.manifest.source import Loc

HELD = 4_096
"""Combinations that are made once and kept for the next row."""
COUNTED = 2_000_000
"""Combinations that are looked at to know how many `exclude` leaves."""
RANK = {name: rank for rank, name in enumerate(REQUEST)}


class Prompt(NamedTuple):
    """One of an entry's prompts."""

    text: str
    name: str | None
    """None in a list."""
    spot: Spot


class Choice(NamedTuple):
    """One value of a dimension."""

    name: str
    value: Any
    """A parameter's value, or a variable's text."""
    label: str
    """Its part of a key."""
    spot: Spot


@dataclass(frozen=True, slots=True)
class Combination:
    """One cell of the matrix."""

    choices: tuple[Choice, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def spot(self, name: str) -> Spot:
        """The place of one of its values."""
        return next(choice.spot for choice in self.choices if choice.name == name)


@dataclass(slots=True)
class Matrix:
    """The combinations of one entry."""

    dimensions: list[tuple[Choice, ...]]
    excluded: list[list[tuple[int, Any]]]
    """Of each exclusion, the values that it asks of dimensions, by their number."""
    included: list[Combination]
    _held: list[Combination] | None = None

    @property
    def names(self) -> set[str]:
        """All parameters and variables that it sets."""
        one_of_each = [dimension[0].name for dimension in self.dimensions]
        return {*one_of_each, *(choice.name for one in self.included for choice in one.choices)}

    def holds(self, choices: Sequence[Choice]) -> bool:
        """Whether the product has this cell."""
        given = {choice.name: choice.value for choice in choices}
        if {dimension[0].name for dimension in self.dimensions} != given.keys():
            return False
        values = [given[dimension[0].name] for dimension in self.dimensions]
        among = all(
            value in [one.value for one in dimension] for value, dimension in zip(values, self.dimensions, strict=True)
        )
        return among and not any(all(values[at] == value for at, value in rule) for rule in self.excluded)

    def size(self) -> int:
        """How many combinations there are; of very many, the number before exclusions."""
        cells = prod(map(len, self.dimensions)) if self.dimensions else 0
        if self.excluded and cells <= COUNTED:
            cells = sum(1 for _ in self._cells())
        return max(cells + len(self.included), 0 if self.dimensions else 1)

    def combinations(self) -> Iterator[Combination]:
        """All of them: the product in written order without what is excluded, then what is included."""
        if self._held is None and prod(map(len, self.dimensions)) <= HELD:
            self._held = list(self._all())
        return iter(self._held) if self._held is not None else self._all()

    def _all(self) -> Iterator[Combination]:
        if not self.dimensions and not self.included:
            yield Combination()
        for choices in self._cells() if self.dimensions else ():
            yield combination(choices)
        yield from self.included

    def _cells(self) -> Iterator[tuple[Choice, ...]]:
        for choices in product(*self.dimensions):
            if not any(all(choices[at].value == value for at, value in rule) for rule in self.excluded):
                yield choices


def combination(choices: Sequence[Choice]) -> Combination:
    """The cell that these values make."""
    ordered = sorted(choices, key=lambda choice: (RANK.get(choice.name, -1), choice.name))
    return Combination(
        choices=tuple(choices),
        parameters={choice.name: choice.value for choice in choices if choice.name in RANK},
        variables={choice.name: choice.value for choice in choices if choice.name not in RANK},
        labels=tuple(choice.label for choice in ordered),
    )


def prompts(entry: JobEntry, document: Document, loc: Loc, problems: Problems) -> list[Prompt | None]:
    """The entry's prompts; one None where it has no list of them."""
    given = entry.prompts
    if given is None:
        return [None]
    if entry.prompt is not None:
        spot = Written(document, (*loc, "prompts"), True)
        problems.error(spot, "MAN214", "this job has both `prompt` and `prompts`", "write one of them")
    if isinstance(given, list):
        return [Prompt(text, None, Written(document, (*loc, "prompts", n))) for n, text in enumerate(given)]
    found: list[Prompt | None] = []
    for name, text in given.items():
        spot = Written(document, (*loc, "prompts", name))
        if problem := names.name_problem(names.normal(name), what="the prompt's name", folders=False):
            problems.error(Written(document, (*loc, "prompts", name), True), "MAN203", *problem)
        found.append(Prompt(text, names.normal(name), spot))
    return found


class Reader:
    """Reads one entry's matrix; collects what is wrong in it."""

    def __init__(self, entry: JobEntry, document: Document, loc: Loc, problems: Problems) -> None:
        self.entry = entry
        self.document = document
        self.loc = loc
        self.problems = problems

    def matrix(self, overrides: Overrides) -> Matrix | None:
        """The matrix, with the command's values in the place of its own; None when it is wrong."""
        before = self.problems.reports
        dimensions = [self._dimension(name, values) for name, values in (self.entry.matrix or {}).items()]
        rules = (self.entry.exclude or []) if self.entry.matrix else []
        excluded = [self._exclusion(n, rule, dimensions) for n, rule in enumerate(rules)]
        included = [self._inclusion(n, given) for n, given in enumerate(self.entry.include or [])]
        if self.entry.exclude and not self.entry.matrix:
            spot = Written(self.document, (*self.loc, "exclude"), True)
            self.problems.error(spot, "MAN211", "`exclude` needs a matrix", "write `matrix:`, or leave it out")
        if self.problems.reports > before:
            return None
        matrix = Matrix(dimensions, [rule for rule in excluded if rule], list(map(combination, included)))
        if (self.entry.matrix or self.entry.include) and matrix.size() == 0:
            spot = Written(self.document, (*self.loc, "exclude"), True)
            self.problems.error(spot, "MAN211", "nothing is left of the matrix", "exclude less")
            return None
        return _narrowed(matrix, overrides)

    def _dimension(self, name: str, values: list[object]) -> tuple[Choice, ...]:
        loc: Loc = (*self.loc, "matrix", name)
        if name not in REQUEST and (problem := self._name_problem(name)):
            self.problems.error(Written(self.document, loc, True), "MAN211", *problem)
        choices = [self._choice(name, value, (*loc, n)) for n, value in enumerate(values)]
        right = [choice for choice in choices if choice is not None]
        seen: dict[str, Choice] = {}
        for choice in right:
            if seen.setdefault(repr(choice.value), choice) is not choice:
                shown = parameters.text(choice.value)[:40]
                self.problems.error(choice.spot, "MAN211", f"`{shown}` stands twice in `{name}`", "write it once")
        return tuple(right)

    def _choice(self, name: str, value: object, loc: Loc) -> Choice | None:
        spot = Written(self.document, loc)
        if name not in REQUEST:
            text = self.document.text(loc)
            return Choice(name, text, names.label(text), spot)
        try:
            typed = parameters.typed(name, value)
        except Mistake as mistake:
            self.problems.error(spot, mistake.code, str(mistake), mistake.help)
            return None
        return Choice(name, typed, names.label(parameters.text(typed)), spot)

    def _name_problem(self, name: str) -> tuple[str, str] | None:
        if name in parameters.OF_A_ROW or name in ("frames", "metadata", "output", "prompts", "takes", "vars"):
            inner = {"frames": "first` and `last", "metadata": "negative_prompt` and `watermark", "prompts": "prompt"}
            help = f"a matrix knows `{inner[name]}`" if name in inner else f"write `{name}:` in the job"
            return f"`{name}` cannot be a dimension of a matrix", help
        return name_problem(name)

    def _exclusion(
        self, number: int, rule: dict[str, object], dimensions: Sequence[tuple[Choice, ...]]
    ) -> list[tuple[int, Any]]:
        by_name = {dimension[0].name: at for at, dimension in enumerate(dimensions) if dimension}
        asked = []
        for name, value in rule.items():
            loc: Loc = (*self.loc, "exclude", number, name)
            if name not in by_name:
                if name not in (self.entry.matrix or {}):
                    help = _near(name, list(by_name), "the matrix has")
                    spot = Written(self.document, loc, True)
                    self.problems.error(spot, "MAN211", f"the matrix has no dimension `{name}`", help)
                continue
            choices = dimensions[by_name[name]]
            choice = self._choice(name, value, loc)
            if choice is not None and choice.value not in [one.value for one in choices]:
                help = _near(parameters.text(choice.value), [parameters.text(one.value) for one in choices], "it has")
                self.problems.error(choice.spot, "MAN211", f"`{name}` never has this value", help)
            elif choice is not None:
                asked.append((by_name[name], choice.value))
        if not rule:
            spot = Written(self.document, (*self.loc, "exclude", number))
            self.problems.error(spot, "MAN211", "this excludes nothing by name", "write `- {mode: pro}`")
        return asked

    def _inclusion(self, number: int, given: dict[str, object]) -> list[Choice]:
        choices = []
        for name, value in given.items():
            loc: Loc = (*self.loc, "include", number, name)
            if name not in REQUEST and (problem := self._name_problem(name)):
                self.problems.error(Written(self.document, loc, True), "MAN211", *problem)
            elif (choice := self._choice(name, value, loc)) is not None:
                choices.append(choice)
        if not given:
            spot = Written(self.document, (*self.loc, "include", number))
            self.problems.error(spot, "MAN211", "this includes nothing", "write `- {mode: pro, duration: 5}`")
        return choices


def _narrowed(matrix: Matrix, overrides: Overrides) -> Matrix:
    """The matrix whose dimensions have the command's value alone: one clip must not be bought once for each other."""
    given = overrides.parameters | overrides.variables
    if not matrix.names & given.keys():
        return matrix

    def narrowed(choice: Choice) -> Choice:
        if choice.name not in given:
            return choice
        label = names.label(parameters.text(given[choice.name]))
        return Choice(choice.name, given[choice.name], label, overrides.spots[choice.name])

    dimensions = [
        (narrowed(dimension[0]),) if dimension[0].name in given else dimension for dimension in matrix.dimensions
    ]
    product_alone = Matrix(dimensions, matrix.excluded, [])
    included: dict[tuple[tuple[str, str], ...], Combination] = {}
    for one in matrix.included:
        choices = tuple(map(narrowed, one.choices))
        if not product_alone.holds(choices):
            identity = tuple(sorted((choice.name, repr(choice.value)) for choice in choices))
            included.setdefault(identity, combination(choices))
    return Matrix(dimensions, matrix.excluded, list(included.values()))


def _near(word: str, known: Sequence[str], here: str) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"{here} {', '.join(known[:20])}"
