"""Frames found by their names: pairs that a pattern binds, and chains of keyframes in natural order."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.manifest import files, names, template
from batchrunner.manifest.parameters import BUILT_IN, REQUEST
from batchrunner.manifest.rows import Row
from batchrunner.manifest.spots import Problems, Spot

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.manifest.schema import Chain, Pairs

Binding = tuple[str, ...]
"""What a file's name says for each placeholder of its pattern."""
MAX_OPEN = 4
"""Placeholders and stars in one file's or folder's name; with more, a long name takes a regular expression minutes."""
CHAIN_NAMES = ("from_stem", "to_stem", "from_name", "to_name")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path with placeholders that bind what stands in their place; none of them crosses a `/`."""

    text: str
    names: tuple[str, ...]
    parts: tuple[re.Pattern[str], ...]

    def binding(self, path: Sequence[str], order: Sequence[str]) -> Binding:
        """The values that the path's parts bind, in the `order` of names; empty when a name is bound to two values."""
        bound: dict[str, str] = {}
        for part, pattern in zip(path, self.parts, strict=True):
            found = pattern.fullmatch(part)
            assert found is not None  # that is how the path was found
            for index, value in found.groupdict().items():
                name = self.names[int(index[1:])]
                if bound.setdefault(name, value) != value:
                    return ()
        return tuple(bound[name] for name in order)

    def written(self, order: Sequence[str], binding: Binding) -> str:
        """The path that would have this binding."""
        return template.parse(self.text).fill(dict(zip(order, binding, strict=True)))


def parse(text: str) -> Pattern:
    """Read a pattern; `TemplateError` when it binds nothing, leaves its folder, or holds what a name cannot."""
    names.check_relative(text)
    fields = [part for part in template.parse(text).parts if isinstance(part, template.Field)]
    bound = tuple(field.name for field in fields)
    if not bound:
        raise template.TemplateError(f"`{text}` binds no name", "write {shot} where the names of the files differ")
    for field in fields:
        taken = field.name in BUILT_IN or field.name in REQUEST
        if field.width or taken or re.fullmatch(r"[^\W\d]\w*", field.name) is None:
            message = f"{{{field.name}}} cannot name a part of a file's name"
            raise template.TemplateError(message, "write a word such as {shot}")
    count, parts = 0, []
    for part in text.split("/"):
        pieces = template.parse(part).parts
        kinds = [isinstance(piece, template.Field) for piece in pieces]
        if sum(kinds) + part.count("*") > MAX_OPEN or any(one and other for one, other in pairwise(kinds)):
            message = f"`{part}` can be read in too many ways"
            raise template.TemplateError(message, "put a separator such as _ between a few names")
        pattern = ""
        for piece in pieces:
            if isinstance(piece, template.Field):
                pattern += f"(?P<g{count}>[^/]+?)"
                count += 1
            else:
                pattern += re.escape(piece).replace(r"\*", "[^/]*")
        parts.append(re.compile(pattern))
    return Pattern(text, bound, tuple(parts))


@dataclass(slots=True, kw_only=True)
class Finder:
    """Looks for the frames of one entry below the manifest's folder."""

    folder: Path
    roots: Sequence[Path]
    problems: Problems
    spot: Callable[..., Spot]
    """The place of a key below `from`."""

    def pairs(self, section: Pairs) -> Iterator[Row]:
        """A row for each pair, in natural order."""
        patterns = [self._pattern(getattr(section, side), side) for side in ("first", "last")]
        first, last = patterns
        if first is None or last is None:
            return
        order = tuple(dict.fromkeys(first.names))
        if set(order) != set(last.names):
            message = f"`first` binds {_listed(first.names)}, `last` binds {_listed(last.names)}"
            self.problems.error(self.spot("pairs", "last"), "SRC413", message, "bind the same names in both")
            return
        found = self._found(section.dir or ".", first, last, order)
        if found is None:
            return
        firsts, lasts = found
        for binding in sorted(firsts.keys() | lasts.keys(), key=lambda one: [files.natural(value) for value in one]):
            if binding in firsts and binding in lasts:
                yield self._row(order, binding, firsts[binding], lasts[binding])
            elif section.unpaired != "skip":
                if binding in firsts and section.unpaired == "first-only":
                    yield self._row(order, binding, firsts[binding], None)
                else:
                    self._unpaired(binding, firsts, lasts, first, last, order)

    def chain(self, section: Chain) -> Iterator[Row]:
        """A row for each step from a keyframe to the next, in natural order."""
        spot = self.spot("chain", "glob")
        try:
            names.check_relative(section.glob)
            if "**" in section.glob:
                raise template.TemplateError("`**` in a pattern", "write one * for each folder: keyframes/*/*.png")
        except template.TemplateError as error:
            self.problems.error(spot, "SRC413", str(error), error.help)
            return
        parts = [part for part in section.glob.split("/") if part not in ("", ".")]
        patterns = [re.compile(fnmatch.translate(part)) for part in parts]
        found = self._listed(spot, ".", patterns)
        if found is None:
            return
        paths = sorted(map("/".join, found), key=lambda path: [files.natural(part) for part in path.split("/")])
        if len(paths) < 2:
            count = "one file matches" if paths else "no file matches"
            help = "a chain needs two keyframes at least; check the folder and upper and lower case"
            self.problems.error(spot, "SRC412", f"{count} `{section.glob}`", help)
            return
        steps = list(pairwise(paths)) + ([(paths[-1], paths[0])] if section.loop else [])
        for start, end in steps:
            yield self._step(spot, start, end)

    def _step(self, spot: Spot, start: str, end: str) -> Row:
        stems = [Path(path).stem for path in (start, end)]
        named = [Path(path).name for path in (start, end)]
        variables = dict(zip(CHAIN_NAMES, (*stems, *named), strict=True))
        key = "-".join(names.label(stem) for stem in stems)
        return _row(spot, variables, "-".join(stems), key, start, end)

    def _row(self, order: Sequence[str], binding: Binding, first: str, last: str | None) -> Row:
        key = "/".join(names.label(value) for value in binding)
        variables = dict(zip(order, binding, strict=True))
        return _row(self.spot("pairs", "first"), variables, "/".join(binding), key, first, last)

    def _pattern(self, text: str, side: str) -> Pattern | None:
        try:
            return parse(text)
        except template.TemplateError as error:
            self.problems.error(self.spot("pairs", side), "SRC413", str(error), error.help)
            return None

    def _listed(self, spot: Spot, folder: str, patterns: Sequence[re.Pattern[str]]) -> list[tuple[str, ...]] | None:
        try:
            return list(files.matching(self.folder / folder, self.roots, patterns))
        except files.Refused as refused:
            self.problems.error(spot, refused.code, str(refused), refused.help)
            return None

    def _found(
        self, folder: str, first: Pattern, last: Pattern, order: Sequence[str]
    ) -> tuple[dict[Binding, str], dict[Binding, str]] | None:
        """The files of either pattern by what they bind; None when there are none or they are ambiguous."""
        sides: list[dict[Binding, str]] = []
        before = self.problems.reports
        for side, pattern in (("first", first), ("last", last)):
            found: dict[Binding, str] = {}
            listed = self._listed(self.spot("pairs", "dir"), folder, pattern.parts)
            if listed is None:
                return None
            for path in sorted(listed):
                binding, name = pattern.binding(path, order), "/".join(path)
                if binding and found.setdefault(binding, name) != name:
                    message = f"{found[binding]} and {name} are both a {side} frame of {' '.join(binding)}"
                    self.problems.error(self.spot("pairs", side), "SRC411", message, "keep one of them")
            prefix = "" if folder in ("", ".", "./") else folder.rstrip("/") + "/"
            sides.append({binding: prefix + name for binding, name in found.items()})
        if not sides[0] and not sides[1]:
            message = f"no file in {folder} matches `{first.text}`"
            help = "check the folder, the pattern, and upper and lower case"
            self.problems.error(self.spot("pairs", "first"), "SRC412", message, help)
        return (sides[0], sides[1]) if self.problems.reports == before else None

    def _unpaired(
        self,
        binding: Binding,
        firsts: dict[Binding, str],
        lasts: dict[Binding, str],
        first: Pattern,
        last: Pattern,
        order: Sequence[str],
    ) -> None:
        here, there = (firsts, lasts) if binding in firsts else (lasts, firsts)
        side, pattern = ("last", last) if binding in firsts else ("first", first)
        missing = pattern.written(order, binding)
        alone = [name for one, name in there.items() if one not in here]
        close = get_close_matches(missing, [name.rpartition("/")[2] for name in alone], n=1, cutoff=0.7)
        help = f"did you mean {close[0]}? " if close else ""
        help += f"add {missing}, or write `unpaired: skip`" + (" or `first-only`" if side == "last" else "")
        message = f"{here[binding]} has no {side} frame: there is no {missing}"
        self.problems.error(self.spot("pairs", side), "SRC411", message, help)


def _row(spot: Spot, variables: dict[str, str], name: str, key: str, first: str, last: str | None) -> Row:
    frames = {"first": template.literal(first)}
    if last is not None:
        frames["last"] = template.literal(last)
    return Row(lambda _: spot, parameters=frames, variables=variables, name=name, key=key)


def _listed(bound: Sequence[str]) -> str:
    return " ".join(f"{{{name}}}" for name in dict.fromkeys(bound))
