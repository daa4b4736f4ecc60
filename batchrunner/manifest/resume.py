"""All syntax errors of a file that can honestly be told, although YAML's parser stops at the first.

Where a value alone was at fault, it is blanked, character for character so that all places stay, and the parser goes on.
What it meets then is told only when it is a mistake of the same kind: anything else may follow from the first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from batchrunner.manifest import traps
from batchrunner.manifest.scalars import CoreLoader
from batchrunner.manifest.source import Source

if TYPE_CHECKING:
    from batchrunner.diagnostic import Diagnostic

MAX_SHOWN = 20
MORE = "other mistakes may come to light after it"


def all_errors(error: yaml.YAMLError, source: Source) -> list[Diagnostic]:
    """The parser's error and those behind it, in our words."""
    found = [traps.explain(error, source)]
    text = source.text
    while len(found) < MAX_SHOWN and len(text) <= traps.MAX_LOOKED_AT:
        blanked = _blanked(text, source, found[-1])
        if blanked is None:
            break
        text = blanked
        try:
            for _ in yaml.parse(text, Loader=CoreLoader):
                pass
        except yaml.YAMLError as following:
            later = traps.explain(following, Source(source.file, text))
            if later.place.line <= found[-1].place.line or not traps.is_of_one_value(later):
                break
            found.append(later)
        else:
            return found
    last = found[-1]
    return [*found[:-1], replace(last, help=f"{last.help}; {MORE}" if last.help else MORE)]


def _blanked(text: str, source: Source, wrong: Diagnostic) -> str | None:
    """The text without the value that is wrong; None when more than a value is."""
    if not traps.is_of_one_value(wrong):
        return None
    line = source.line(wrong.place.line)
    span = traps.value_of(line)
    if span is None:
        return None
    start = source.offset(wrong.place.line, span[0] + 1)
    length = span[1] - span[0]
    return text[:start] + "x" * length + text[start + length :]
