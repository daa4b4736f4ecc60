"""Operators that break a good manifest in one place, and know the line where the mistake must be reported.

An operator takes a good manifest and yields `Mutant`s. Targets are found with PyYAML alone, so that the reader under
test does not say where its own mistakes are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from batchrunner.manifest.scalars import CoreLoader

Change = bytes | Path | str | None
"""What becomes of a file: its content, a link to a path, a `loop`, a `pipe`, a `folder`, or nothing."""
OPERATORS: dict[str, Callable[[Good], Iterator[Mutant]]] = {}
FREE = {"vars", "columns", "where", "matrix", "prompts", "rows", "exclude", "include"}
"""Mappings whose keys are the author's own."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A manifest, or a file beside it, that is wrong in one place."""

    operator: str
    data: bytes
    lines: frozenset[int]
    """Where the mistake may be reported; any of them is right."""
    file: str = ""
    """The file that these lines are in; empty for the manifest itself."""
    changes: dict[str, Change] = field(default_factory=dict)
    columns: tuple[int, int] | None = None
    """First and last column of the broken node, where it is on one line; None where no node is to blame."""

    def __str__(self) -> str:
        return f"{self.operator} at {self.file or 'manifest'}:{sorted(self.lines)[:3]}"


@dataclass(frozen=True, slots=True)
class Target:
    """A value of the manifest."""

    path: tuple[str | int, ...]
    key: yaml.Node | None
    value: yaml.Node

    @property
    def name(self) -> str:
        return str(self.path[-1])

    @property
    def is_free(self) -> bool:
        """Whether its key is a word of the author's, or stands for nothing."""
        return any(part in FREE or str(part).startswith("x-") for part in self.path[:-1] if isinstance(part, str)) or (
            self.name.startswith("x-") or self.key is None
        )

    @property
    def line(self) -> int:
        return int(self.value.start_mark.line) + 1


class Good:
    """A manifest that is right, and its values."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.lines = text.split("\n")
        root = yaml.compose(text, Loader=CoreLoader)
        self.targets = list(_targets(root, ()))
        self.head = int(root.start_mark.line) + 1
        self.sleeping = {
            target.path[1] for target in self.targets if target.name == "enabled" and target.value.value == "false"
        }

    def scalars(self, *names: str) -> Iterator[Target]:
        """Values of these keys of the language that count, written on one line."""
        for target in self.targets:
            if target.name in names and not target.is_free and isinstance(target.value, yaml.ScalarNode):
                asleep = target.path[0] == "jobs" and target.path[1] in self.sleeping
                if not asleep and target.value.start_mark.line == target.value.end_mark.line:
                    yield target

    def replaced(self, target: Target, new: str, at_key: bool = False) -> bytes:
        node = target.key if at_key and target.key is not None else target.value
        return (self.text[: node.start_mark.index] + new + self.text[node.end_mark.index :]).encode(
            "utf-8", "surrogatepass"
        )

    def with_line(self, number: int, new: str | None) -> bytes:
        """The text with one line replaced, or left out."""
        lines = [*self.lines[: number - 1], *([] if new is None else [new]), *self.lines[number:]]
        return "\n".join(lines).encode()

    def appended(self, text: str) -> tuple[bytes, int]:
        """The text with lines at its end, and the number of the first of them."""
        body = self.text.rstrip("\n") + "\n"
        return (body + text).encode("utf-8", "surrogatepass"), body.count("\n") + 1

    def entries(self) -> Iterator[tuple[int, str]]:
        """Lines of a block mapping whose line above belongs to the same mapping, with their indents."""
        pattern = re.compile(r"( +)[a-z_]+: [^|>&{\[#]+")
        for number in range(2, len(self.lines) + 1):
            here, above = pattern.match(self.lines[number - 1]), pattern.match(self.lines[number - 2])
            if here and above and here[1] == above[1] and " #" not in self.lines[number - 2]:
                yield number, here[1]


def _targets(node: yaml.Node, path: tuple[str | int, ...]) -> Iterator[Target]:
    pairs: list[tuple[str | int, yaml.Node | None, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, key, value) for key, value in node.value if key.value != "<<"]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(index, None, value) for index, value in enumerate(node.value)]
    for step, key, value in pairs:
        yield Target((*path, step), key, value)
        yield from _targets(value, (*path, step))


def operator(function: Callable[[Good], Iterator[Mutant]]) -> Callable[[Good], Iterator[Mutant]]:
    OPERATORS[function.__name__] = function
    return function


def values(name: str, keys: str, *wrong: str) -> None:
    """An operator that writes wrong values for some keys."""

    def mutants(good: Good) -> Iterator[Mutant]:
        for target in good.scalars(*keys.split()):
            for value in wrong:
                is_empty = not value or value.startswith("#")  # then its key is all that is left of it
                node = target.key if is_empty and target.key is not None else target.value
                columns = (node.start_mark.column + 1, target.value.start_mark.column + max(len(value), 1))
                yield Mutant(name, good.replaced(target, value), frozenset({target.line}), columns=columns)

    OPERATORS[name] = mutants


def tail(name: str, *texts: str, span: int = 1) -> None:
    """An operator that appends lines; the mistake is in one of the first `span`."""

    def mutants(good: Good) -> Iterator[Mutant]:
        for text in texts:
            data, line = good.appended(text)
            yield Mutant(name, data, frozenset(range(line, line + span)))

    OPERATORS[name] = mutants


def apply(folder: Path, changes: dict[str, Change]) -> Callable[[], None]:
    """Change files in `folder`; the result takes it back."""
    undo: list[Callable[[], Any]] = []
    for name, change in changes.items():
        path = folder / name
        kept = path.read_bytes() if path.is_file() else None
        path.unlink(missing_ok=True)
        if isinstance(change, bytes):
            path.write_bytes(change)
        elif isinstance(change, Path):
            path.symlink_to(change)
        elif change == "loop":
            path.symlink_to(path.name)
        elif change == "folder":
            path.mkdir()
        elif change == "pipe":
            os.mkfifo(path)

        def restore(path: Path = path, kept: bytes | None = kept) -> None:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.unlink(missing_ok=True)
            if kept is not None:
                path.write_bytes(kept)

        undo.append(restore)
    return lambda: [one() for one in undo] and None
