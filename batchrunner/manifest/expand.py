"""A manifest to wanted jobs: entries are read one after the other, rows stream to the shelf, nothing is looked at twice.

Pure but for the shelf, the frames, which are `probe`d, and the rows' files, which lie below the allowed folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchrunner.diagnostic import Diagnostic
from batchrunner.errors import ManifestError
from batchrunner.manifest import overrides as options
from batchrunner.manifest.identity import Registry
from batchrunner.manifest.manifest import Manifest
from batchrunner.manifest.overrides import Overrides
from batchrunner.manifest.preflight import Preflight, Probe
from batchrunner.manifest.recipes import Compiler, Recipe
from batchrunner.manifest.resolve import Resolver
from batchrunner.manifest.shelf import Jobs, Shelf
from batchrunner.manifest.spots import Problems, Written

MAX_JOBS = 100_000
"""Of a manifest that does not say how many it may ask for."""

__all__ = ["Expansion", "Probe", "expand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The jobs of a manifest without mistakes."""

    jobs: Jobs
    tags: frozenset[str]
    """All words that some job has."""
    kinds: frozenset[tuple[str, int]]
    """What is billed: each billing key with each length in seconds."""
    warnings: tuple[Diagnostic, ...]
    private_urls: Mapping[str, str]
    """By the frame's sha256, whole URLs of frames whose query may be a signature: never stored, never shown."""


def expand(
    manifest: Manifest,
    *,
    probe: Probe,
    shelf: Shelf,
    sets: Sequence[str] = (),
    roots: Sequence[Path] = (),
) -> Expansion:
    """Every job that the manifest asks for; `ManifestError` with all mistakes when there are any.

    `sets` are `key=value` texts that go above the manifest; files of rows lie below its folder or one of `roots`.
    """
    problems = Problems()
    overrides = options.read(sets, problems)
    preflight = Preflight(folder=manifest.folder, probe=probe, problems=problems)
    resolver = Resolver(manifest, overrides, preflight, problems)
    registry = Registry(manifest, resolver, problems, shelf)
    compiler = Compiler(manifest, overrides, problems, [manifest.folder, *roots])
    recipes = [
        recipe
        for index, entry in zip(manifest.entries, manifest.file.jobs, strict=True)
        if (recipe := compiler.recipe(index, entry)) is not None
    ]
    _register(manifest, recipes, resolver, registry, problems)
    _check_options(overrides, compiler, recipes, problems)
    jobs = registry.jobs()
    if not len(jobs) and not problems.errors:
        spot = Written(manifest.document, ("jobs",), at_key=True)
        problems.warning(spot, "MAN218", "the manifest asks for no jobs", "enable an entry, or check its rows")
    if problems.errors:
        raise ManifestError(tuple(problems.found))
    return Expansion(
        jobs=jobs,
        tags=frozenset(registry.tags),
        kinds=frozenset(registry.kinds),
        warnings=tuple(problems.found),
        private_urls=preflight.private_urls,
    )


def _register(
    manifest: Manifest, recipes: Sequence[Recipe], resolver: Resolver, registry: Registry, problems: Problems
) -> None:
    """All jobs of all entries, up to the number that is allowed."""
    limits = manifest.file.limits
    most = limits.max_jobs if limits and limits.max_jobs else MAX_JOBS
    index = 0
    for recipe in recipes:
        for row, prompt, cell in recipe.parts():
            for take in range(1, (recipe.takes or 1) + 1):
                index += 1
                if index > most:
                    help = f"ask for fewer, or allow them: `limits: {{max_jobs: {2 * most}}}`"
                    problems.error(recipe.spot, "MAN212", f"the manifest asks for more than {most:,} jobs", help)
                    return
                registry.add(resolver.candidate(recipe, row, prompt, cell, take=take, index=index))
            if problems.full:
                return


def _check_options(overrides: Overrides, compiler: Compiler, recipes: Sequence[Recipe], problems: Problems) -> None:
    columns = (recipe.source.names for recipe in recipes if recipe.source)
    overrides.check_used(compiler.known.union(*columns), problems)
