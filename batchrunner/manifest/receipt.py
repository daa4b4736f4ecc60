"""A receipt of an expansion: what it was made of, so that a later start need not make it again to know what it would be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from batchrunner.diagnostic import Diagnostic, Place, Severity
from batchrunner.manifest import witness
from batchrunner.manifest.money import Prices
from batchrunner.store.comparison import Receipt, SourceFile

MOST_WARNINGS = 200
"""That are kept with a receipt; a manifest with more is expanded each time."""


def of(
    path: Path,
    data: bytes,
    *,
    sets: Sequence[str],
    allowed: Sequence[Path],
    day: date | None,
    prices: Prices | None,
    tags: Iterable[str] = (),
    kinds: Iterable[tuple[str, int]] = (),
    warnings: Sequence[Diagnostic] = (),
) -> Receipt:
    """The receipt of the manifest `data` at `path` with these options, and of what its expansion said.

    `day` is what `{date}` stands for, `prices` are its own or the user's.
    """
    summary = {"tags": sorted(tags), "kinds": sorted(kinds), "warnings": [asdict(one) for one in warnings]}
    made_of = [
        *witness.program(),
        str(path),
        hashlib.sha256(data).hexdigest(),
        [*sets],
        [str(one) for one in allowed],
        str(day),
        None if prices is None else [prices.currency, prices.per_second, sorted(prices.amounts.items())],
    ]
    return Receipt(
        manifest=str(path.absolute()),
        made_of=hashlib.sha256(json.dumps(made_of).encode()).hexdigest(),
        summary=json.dumps(summary, ensure_ascii=False),
    )


def covers(receipt: Receipt, now: Receipt, sources: Iterable[SourceFile], roots: Sequence[Path]) -> bool:
    """Whether the same would come of it `now`."""
    if (receipt.manifest, receipt.made_of) != (now.manifest, now.made_of):
        return False
    return all(witness.is_same(one, roots) for one in sources)


def told(receipt: Receipt) -> tuple[frozenset[str], frozenset[tuple[str, int]], tuple[Diagnostic, ...]]:
    """The tags, the kinds and the warnings of the expansion."""
    summary: Mapping[str, Any] = json.loads(receipt.summary)
    kinds = frozenset((billing_key, seconds) for billing_key, seconds in summary["kinds"])
    return frozenset(summary["tags"]), kinds, tuple(_diagnostics(summary["warnings"]))


def _diagnostics(kept: Iterable[Mapping[str, Any]]) -> Iterator[Diagnostic]:
    for one in kept:
        place, severity = Place(**one["place"]), Severity(one["severity"])
        yield Diagnostic(**{**one, "place": place, "severity": severity})
