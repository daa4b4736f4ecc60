"""`--set key=value`: what the command line says above everything that the manifest says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from batchrunner.manifest import parameters
from batchrunner.manifest.parameters import REQUEST, Mistake
from batchrunner.manifest.source import Source, Span
from batchrunner.manifest.sources import name_problem
from batchrunner.manifest.spots import Part, Problems, Spot


@dataclass(slots=True)
class Overrides:
    """The values of `--set`."""

    parameters: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    spots: dict[str, Spot] = field(default_factory=dict)

    def check_used(self, known: set[str], problems: Problems) -> None:
        """Every variable must be one that the manifest has or mentions; anything else is a slip of the keyboard."""
        known = known - {*parameters.BUILT_IN}
        for name in self.variables:
            if name not in known:
                close = get_close_matches(name, [*REQUEST, *known], n=1)
                listed = ", ".join([*REQUEST, *sorted(known)][:40])
                help = f"did you mean `{close[0]}`?" if close else f"known are {listed}"
                problems.error(self.spots[name], "MAN215", f"the manifest has no `{name}`", help)


def read(given: Sequence[str], problems: Problems) -> Overrides:
    """The options as they were written, one `key=value` each."""
    found = Overrides()
    source = Source("--set", "\n".join(text.replace("\n", " ").replace("\r", " ") for text in given))
    start = 0
    for text in given:
        name, sign, value = text.partition("=")
        at = start + len(name) + len(sign)
        key_spot = Part(source, Span(start, start + len(name)))
        value_spot = Part(source, Span(at, at + max(len(value), 1)))
        start += len(text) + 1
        name = name.strip()
        if not sign or not name:
            problems.error(key_spot, "MAN215", f"`{text[:40]}` is not key=value", "write --set mode=pro")
        elif name in found.spots:
            problems.error(key_spot, "MAN215", f"`{name}` is set twice", "set it once")
        elif name in REQUEST:
            found.spots[name] = value_spot
            try:
                found.parameters[name] = parameters.from_text(name, value)
            except Mistake as mistake:
                problems.error(value_spot, mistake.code, str(mistake), mistake.help)
        elif problem := name_problem(name) or _elsewhere(name):
            problems.error(key_spot, "MAN215", *problem)
        else:
            found.spots[name] = value_spot
            found.variables[name] = value
    return found


def _elsewhere(name: str) -> tuple[str, str] | None:
    if name in parameters.OF_A_ROW or "." in name:
        help = f"parameters are {', '.join(REQUEST)}; everything else is a variable"
        return f"`{name}` cannot be set from the command line", help
    return None
