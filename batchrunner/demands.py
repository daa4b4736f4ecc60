"""Whether a manifest can do what the command asks of it: jobs with its tags, a key that matches, prices for its caps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from batchrunner.errors import UsageError
from batchrunner.manifest import Loaded, configuration
from batchrunner.rehearsing import emulator_prices
from batchrunner.run_request import RunRequest


def check_tags(loaded: Loaded, tags: Sequence[str]) -> None:
    """`UsageError` when no job has one of the tags: a slip of the keyboard must not look like a finished batch."""
    known = sorted(loaded.tags)
    for tag in tags:
        if tag not in known:
            listed = f"the tags are {', '.join(known)}" if known else "give jobs `tags: [nightly]` in the manifest"
            raise UsageError(f"no job has the tag {tag!r}; nothing was sent", fix=listed)


def check_key(request: RunRequest, is_there: Callable[[], bool]) -> None:
    """The same for `--only`; `is_there` looks whether any job is selected."""
    if request.only is not None and not is_there():
        raise UsageError(
            f"no job has a key that matches {request.only!r}; nothing was sent",
            fix="see the keys: batchrunner ls, or leave --only out",
        )


def priced(loaded: Loaded, request: RunRequest, environ: Mapping[str, str]) -> tuple[Loaded, bool]:
    """The manifest with the prices that its caps need, and whether they are the emulator's own, which a rehearsal without prices has."""
    manifest = loaded.manifest
    if request.emulator and manifest.prices is None:
        return replace(loaded, manifest=replace(manifest, prices=emulator_prices())), True
    if request.max_cost is not None or manifest.caps.given:
        _check_prices(loaded, environ)
    return loaded, False


def _check_prices(loaded: Loaded, environ: Mapping[str, str]) -> None:
    """A cap holds only what has a price."""
    prices = loaded.manifest.prices
    lacking = {
        billing_key
        for billing_key, seconds in loaded.kinds
        if prices is None or prices.of(billing_key, seconds) is None
    }
    if lacking:
        configured = configuration.default_path(environ)
        raise UsageError(
            f"a budget or --max-cost needs prices, and there are none for {', '.join(sorted(lacking))}; nothing was sent",
            fix=f"add `prices: {{currency: USD, per_second: {{720P: …}}}}` to the manifest, or `[prices]` to {configured}",
        )
