"""Texts with placeholders: `{name}`, `{number:03}`, and `{{` `}}` for the characters themselves.

Parsed by hand: `str.format` would let a manifest reach into attributes, and a template language has logic in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

MAX_WIDTH = 20
MAX_FILLED = 100_000
"""Characters of a filled text; a few long values repeated would fill the memory."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_FORMATTED = re.compile(r"(?P<name>[^:]+):0?(?P<width>[0-9]{1,2})")


class TemplateError(ValueError):
    """A template or a path that cannot be used; the text is the message, `help` the fix."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.help = help


class UnknownName(TemplateError):
    """A placeholder that no value belongs to."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown placeholder {{{name}}}", _suggestion(name, known))
        self.name = name


class Field(NamedTuple):
    """One placeholder."""

    name: str
    width: int = 0
    """Digits that a number is padded to with zeros."""

    def show(self, value: str) -> str:
        """The value as the placeholder asks for it."""
        if not self.width:
            return value
        if not re.fullmatch(r"-?[0-9]+", value):
            help = f"write {{{self.name}}}"
            raise TemplateError(f"only a number can be padded, {{{self.name}}} is `{value[:40]}`", help)
        return value.zfill(self.width)


@dataclass(frozen=True, slots=True)
class Template:
    """Texts and placeholders, in order."""

    parts: tuple[str | Field, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of all placeholders."""
        return frozenset(part.name for part in self.parts if isinstance(part, Field))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its placeholders replaced; `UnknownName` when `values` lacks one."""
        filled = []
        for part in self.parts:
            if isinstance(part, Field):
                try:
                    filled.append(part.show(values[part.name]))
                except KeyError:
                    raise UnknownName(part.name, values) from None
            else:
                filled.append(part)
        text = "".join(filled)
        if len(text) > MAX_FILLED:
            message = f"with its placeholders filled in, this text has {len(text):,} characters"
            raise TemplateError(message, f"{MAX_FILLED:,} are allowed")
        return text

    def bind(self, values: Mapping[str, str], *, later: Iterable[str] = ()) -> Template:
        """The template with all but the placeholders `later` replaced."""
        parts: list[str | Field] = []
        for part in self.parts:
            if isinstance(part, Field) and part.name not in later:
                parts.append(Template((part,)).fill(values))
            elif isinstance(part, Field) and part.width:
                raise TemplateError(f"only a number can be padded, not {{{part.name}}}", f"write {{{part.name}}}")
            else:
                parts.append(part)
        return Template(tuple(parts))


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Read a template; `TemplateError` for a brace that is neither doubled nor part of a placeholder."""
    parts: list[str | Field] = []
    literal, at = "", 0
    for found in _TOKEN.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        token, name = found.group(), found.group(1)
        if token in ("{{", "}}"):
            literal += token[0]
        elif name is None:
            raise TemplateError(
                f"a single `{token}` in `{_short(text)}`", f"write {token * 2} for the character itself"
            )
        else:
            parts += [literal, _field(name)]
            literal = ""
    parts.append(literal + text[at:])
    return Template(tuple(part for part in parts if part != ""))


def is_plain(text: str) -> bool:
    """Whether the text has no placeholders and no braces."""
    return "{" not in text and "}" not in text


def literal(text: str) -> str:
    """The template that gives `text` back."""
    return text.replace("{", "{{").replace("}", "}}")


def check_names(template: Template, known: Iterable[str]) -> None:
    """`UnknownName` when a placeholder is none of `known`."""
    known = list(known)
    for part in template.parts:
        if isinstance(part, Field) and part.name not in known:
            raise UnknownName(part.name, known)


def _field(text: str) -> Field:
    if (found := _FORMATTED.fullmatch(text)) is not None:
        width = int(found["width"])
        if width > MAX_WIDTH:
            raise TemplateError(f"{{{text}}} asks for {width} digits", f"at most {MAX_WIDTH} are allowed")
        return Field(found["name"], width)
    return Field(text)


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = list(dict.fromkeys(known))
    if close := get_close_matches(name.strip().casefold(), names, n=1, cutoff=0.5):
        return f"did you mean {{{close[0]}}}?"
    listed = " ".join(f"{{{one}}}" for one in names[:40])
    return f"known are {listed}; write {{{{ and }}}} for braces themselves"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
