"""Manifests: a YAML file to the clips that it asks for, or every mistake in it with its place.

`load_manifest` is the way in; it opens the manifest and looks at its frames, and sends nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from batchrunner.diagnostic import Diagnostic, Place, Severity
from batchrunner.errors import ManifestError
from batchrunner.manifest.diagnostics import ordered, render_github, render_json, render_text
from batchrunner.manifest.expand import Expansion, Probe
from batchrunner.manifest.expand import expand as _expand  # the name `expand` stays the module's
from batchrunner.manifest.manifest import Manifest, Prices, parse
from batchrunner.manifest.source import MAX_BYTES, decode
from batchrunner.media.frames import FrameFacts, FrameProblem, inspect
from batchrunner.model import WantedJob

__all__ = [
    "Expansion",
    "Inspect",
    "Loaded",
    "Manifest",
    "Prices",
    "Probe",
    "load_manifest",
    "parse_manifest",
    "render_github",
    "render_json",
    "render_text",
]


class Inspect(Protocol):
    """Looks at one local frame, which must lie under one of `roots`; `media.frames.inspect` and its stand-ins."""

    def __call__(self, path: Path, *, roots: Sequence[Path]) -> FrameFacts | FrameProblem:
        """What the frame is, or why it cannot be sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A manifest without mistakes."""

    manifest: Manifest
    jobs: tuple[WantedJob, ...]
    warnings: tuple[Diagnostic, ...]
    private_urls: Mapping[str, str]
    """By the frame's sha256, whole URLs that may not be stored or shown."""


def load_manifest(path: Path, *, probe: Inspect = inspect) -> Loaded:
    """Read, check and expand a manifest; `ManifestError` with every mistake and warning when there is any mistake.

    `probe` looks at one local frame, which must lie below the manifest's folder.
    """
    return parse_manifest(_content(path), path, probe=probe)


def parse_manifest(data: bytes, path: Path, *, probe: Inspect = inspect) -> Loaded:
    """`load_manifest` for content that is already here; `path` gives it its name and its folder."""
    absolute = path.absolute()
    source = decode(data, str(path))
    manifest, problems = parse(source, absolute)
    expansion = None
    if manifest is not None:
        try:
            expansion = _expand(manifest, probe=partial(probe, roots=(manifest.folder,)))
            problems.extend(expansion.warnings)
        except ManifestError as error:
            problems.extend(error.diagnostics)
    found = ordered(problems)
    if manifest is None or expansion is None or any(one.severity is Severity.ERROR for one in found):
        raise ManifestError(found)
    return Loaded(manifest=manifest, jobs=expansion.jobs, warnings=tuple(found), private_urls=expansion.private_urls)


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
