"""The scalars of YAML 1.2's core schema: `16:9`, `no`, `22:30` and `2026-11-22` are text, as people mean them.

PyYAML implements YAML 1.1, where `16:9` is 969 and `no` is false.
"""

from __future__ import annotations

import re

import yaml

STR = "tag:yaml.org,2002:str"
MERGE = "<<"
MAX_DIGITS = 1000
"""More digits are a mistake; Python itself refuses to read more than 4,300."""

_PREFIX = "tag:yaml.org,2002:"
ALLOWED_TAGS = frozenset(_PREFIX + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))

_PATTERNS = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        list("-+.0123456789"),
    ),
)


class CoreLoader(yaml.CSafeLoader):
    """PyYAML's C loader with the scalars of YAML 1.2; used to parse and compose, never to construct."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own shape)


for _name, _pattern, _starts in _PATTERNS:
    CoreLoader.add_implicit_resolver(_PREFIX + _name, _pattern, _starts)


def construct(tag: str, text: str) -> object:
    """The value of a scalar; `ValueError` with a sentence when the text does not fit its tag."""
    name = tag.removeprefix(_PREFIX)
    if name not in ("null", "bool", "int", "float"):
        return text
    pattern = next(pattern for known, pattern, _ in _PATTERNS if known == name)
    if not pattern.match(text):
        raise ValueError(f"this is not a value of the type {name}")
    if name == "null":
        return None
    if name == "bool":
        return text.lower() == "true"
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too long")
    if name == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)
