"""Manifests: a YAML file to the clips that it asks for, or every mistake in it with its place.

`load_manifest` is the way in; it opens the manifest and looks at its frames, and sends nothing.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from batchrunner import moments
from batchrunner.diagnostic import Diagnostic, Place, Severity
from batchrunner.errors import ManifestError
from batchrunner.manifest import files, lookalikes, names
from batchrunner.manifest import receipt as receipts
from batchrunner.manifest.diagnostics import ordered, render_github, render_json, render_text
from batchrunner.manifest.expand import Expansion, Probe
from batchrunner.manifest.expand import expand as _expand  # the name `expand` stays the module's
from batchrunner.manifest.manifest import Manifest, parse
from batchrunner.manifest.money import Prices
from batchrunner.manifest.shelf import Jobs, MemoryShelf, Shelf
from batchrunner.manifest.source import MAX_BYTES, decode
from batchrunner.manifest.witness import Kind, Witness
from batchrunner.media.frames import FrameFacts, FrameProblem, inspect
from batchrunner.moments import Window
from batchrunner.store.comparison import Receipt, SourceFile

__all__ = [
    "Expansion",
    "Inspect",
    "Loaded",
    "Manifest",
    "Options",
    "Prices",
    "Probe",
    "load_manifest",
    "parse_manifest",
    "prompts_manifest",
    "recall_manifest",
    "render_github",
    "render_json",
    "render_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line adds to a manifest."""

    sets: tuple[str, ...] = ()
    """`key=value`, above everything that the manifest says."""
    allowed: tuple[Path, ...] = ()
    """Folders beside the manifest's that frames and rows may lie in."""
    now: datetime | None = None
    """What decides what `{date}` stands for, together with the manifest's window."""
    today: date | None = None
    """What it stands for whatever the clock says."""
    window: Window | None = None
    """The command's, for a manifest without one."""
    prices: Prices | None = None
    """The user's own, for a manifest without prices."""

    def dated(self, window: Window | None) -> date | None:
        """What `{date}` stands for in a manifest with this window; None when nobody knows what time it is."""
        if self.today is not None or self.now is None:
            return self.today
        return moments.date_of(self.now, window or self.window)


_NO_OPTIONS = Options()
TABLES = (".csv", ".tsv", ".tab", ".jsonl")
"""Endings of files that are a manifest by themselves."""


class Inspect(Protocol):
    """Looks at one local frame, which must lie under one of `roots`; `media.frames.inspect` and its stand-ins."""

    def __call__(self, path: Path, *, roots: Sequence[Path]) -> FrameFacts | FrameProblem:
        """What the frame is, or why it cannot be sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A manifest without mistakes."""

    manifest: Manifest
    jobs: Jobs
    tags: frozenset[str]
    """All words that some job has."""
    kinds: frozenset[tuple[str, int]]
    """What is billed: each billing key with each length in seconds."""
    warnings: tuple[Diagnostic, ...]
    private_urls: Mapping[str, str]
    """By the frame's sha256, whole URLs that may not be stored or shown."""
    receipt: Receipt | None = None
    """How a later start can tell that it would be the same; None where it could not."""
    sources: Sequence[SourceFile] = ()
    """What goes with the receipt."""
    is_recalled: bool = False
    """Whether only the receipt was looked at: the jobs are those that are stored, and `jobs` is empty."""


def load_manifest(
    path: Path, *, probe: Inspect = inspect, options: Options = _NO_OPTIONS, shelf: Shelf | None = None
) -> Loaded:
    """Read, check and expand a manifest; `ManifestError` with every mistake and warning when there is any mistake.

    A table (.csv, .tsv, .jsonl) is a manifest by itself: one entry, a job for each row. `probe` looks at one local frame;
    the jobs lie on `shelf`, in memory by default.
    """
    data = _text(path)
    loaded, seen = _witnessed(data, path, probe=probe, options=options, shelf=shelf)
    sources = seen.sources((loaded.manifest.folder, *options.allowed)) if seen and not loaded.private_urls else None
    if sources is None or len(loaded.warnings) > receipts.MOST_WARNINGS:
        return loaded
    return replace(loaded, receipt=_receipt(data, path, loaded, options), sources=sources)


def recall_manifest(
    path: Path, receipt: Receipt, sources: Iterable[SourceFile], *, options: Options = _NO_OPTIONS
) -> Loaded | None:
    """What `load_manifest` would make of the file, without its jobs; None when that may not be what the receipt is of."""
    data = _text(path)
    manifest, _ = parse(decode(data, str(path)), path.absolute(), prices=options.prices, dated=options.dated)
    if manifest is None:
        return None
    tags, kinds, warnings = receipts.told(receipt)
    loaded = Loaded(
        manifest=manifest,
        jobs=(),
        tags=tags,
        kinds=kinds,
        warnings=warnings,
        private_urls={},
        receipt=receipt,
        is_recalled=True,
    )
    now = _receipt(data, path, loaded, options)
    return loaded if receipts.covers(receipt, now, sources, (manifest.folder, *options.allowed)) else None


def _receipt(data: bytes, path: Path, loaded: Loaded, options: Options) -> Receipt:
    return receipts.of(
        path,
        data,
        sets=options.sets,
        allowed=options.allowed,
        day=loaded.manifest.date,
        prices=loaded.manifest.prices,
        tags=loaded.tags,
        kinds=loaded.kinds,
        warnings=loaded.warnings,
    )


def _witnessed(
    data: bytes, path: Path, *, probe: Inspect, options: Options, shelf: Shelf | None
) -> tuple[Loaded, Witness | None]:
    """`parse_manifest`, and all that it read; None when nobody knows what time it is."""
    if options.now is None:
        return parse_manifest(data, path, probe=probe, options=options, shelf=shelf), None
    witness = Witness(options.now)

    def looked(path: Path, *, roots: Sequence[Path]) -> FrameFacts | FrameProblem:
        witness.saw(Kind.FRAME, path)
        return probe(path, roots=roots)

    with files.telling(lambda kind, read: witness.saw(Kind(kind), read)):
        return parse_manifest(data, path, probe=looked, options=options, shelf=shelf), witness


def _text(path: Path) -> bytes:
    """The manifest's own text; of a table the manifest that has it as its only entry."""
    data = _content(path)
    if path.suffix.lower() in TABLES:
        kind = "jsonl" if path.suffix.lower() == ".jsonl" else "csv"
        data = f"version: 1\njobs: [from: {{{kind}: {json.dumps(path.name)}}}]\n".encode()
    return data


def prompts_manifest(prompts: Sequence[str], sets: Sequence[str] = ()) -> tuple[bytes, Path]:
    """The manifest of some prompts and nothing else, and its path here: the same words are the same batch tomorrow."""
    content = json.dumps([*prompts, *sorted(sets)], ensure_ascii=False).encode("utf-8", "surrogatepass")
    name = f"{names.slug(prompts[0]) or 'clip'}-{hashlib.sha256(content).hexdigest()[:6]}"
    listed = "".join(f"- prompt: {json.dumps(prompt, ensure_ascii=False)}\n" for prompt in prompts)
    text = f"version: 1\nname: {json.dumps(name, ensure_ascii=False)}\njobs:\n{listed}"
    return text.encode("utf-8", "surrogatepass"), Path("-p")


def parse_manifest(
    data: bytes,
    path: Path,
    *,
    probe: Inspect = inspect,
    options: Options = _NO_OPTIONS,
    shelf: Shelf | None = None,
) -> Loaded:
    """`load_manifest` for content that is already here; `path` gives it its name and its folder."""
    absolute = path.absolute()
    source = decode(data, str(path))
    manifest, problems = parse(source, absolute, prices=options.prices, dated=options.dated)
    expansion = None
    if manifest is not None:
        try:
            expansion = _expand(
                manifest,
                probe=partial(probe, roots=(manifest.folder, *options.allowed)),
                shelf=MemoryShelf() if shelf is None else shelf,
                sets=options.sets,
                roots=options.allowed,
            )
            problems.extend(expansion.warnings)
        except ManifestError as error:
            problems.extend(error.diagnostics)
    found = ordered(lookalikes.explained(problems))
    if manifest is None or expansion is None or any(one.severity is Severity.ERROR for one in found):
        raise ManifestError(found)
    return Loaded(
        manifest=manifest,
        jobs=expansion.jobs,
        tags=expansion.tags,
        kinds=expansion.kinds,
        warnings=tuple(found),
        private_urls=expansion.private_urls,
    )


def _content(path: Path) -> bytes:
    """The manifest's bytes. Pipes and devices are refused: opening one could wait forever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            reason = "it is a folder" if path.is_dir() else "it is not a regular file"
        else:
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    place = Place(file=str(path), line=1, column=1)
    message = f"the manifest cannot be opened: {reason}"
    raise ManifestError([Diagnostic(code="MAN100", message=message, place=place, help="check the path")])
