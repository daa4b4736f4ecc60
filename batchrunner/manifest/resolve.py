"""One job at a time: its layers, its texts with their placeholders filled in, its request, and the rules of the API page.

Precedence, low to high: built-in, `defaults`, entry, row, matrix, `--set`. A rule that is broken points at the value
that broke it, whichever layer it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from batchrunner import request as requests
from batchrunner.diagnostic import Place
from batchrunner.manifest import names, parameters, template
from batchrunner.manifest.manifest import Manifest
from batchrunner.manifest.overrides import Overrides
from batchrunner.manifest.parameters import BUILT_IN, CHOICES, TEXTS
from batchrunner.manifest.preflight import Preflight
from batchrunner.manifest.product import Combination, Prompt
from batchrunner.manifest.recipes import Recipe
from batchrunner.manifest.rows import Row
from batchrunner.manifest.spots import Problems, Spot, Written
from batchrunner.manifest.template import TemplateError, UnknownName
from batchrunner.model import VideoRequest

SLUG = 150
"""Characters of `{slug}`; a key's own limit is above it, and paths that would be too long end with a hash."""
_DEFAULTS: dict[str, Any] = {
    name: getattr(VideoRequest(prompt=""), name) for name in ("mode", "duration", "aspect_ratio", "audio")
}
_WHY = {
    "key": "this job's key is made from its content, which is not known yet: give the entry an `id`",
    "slug": "this job's key is made from its content, which is not known yet: give the entry an `id`",
    "row": "these rows have no names: add a column `key`, or rename one with `columns:`",
    "prompt_key": "these prompts have no names: write `prompts:` as a mapping of names to prompts",
    "date": "no date is known here",
}


class Scope(dict[str, str]):
    """What placeholders stand for. A slug is made when one of them asks for it."""

    def __missing__(self, name: str) -> str:
        if name != "slug" or "key" not in self:
            raise KeyError(name)
        self[name] = names.slug(names.clock_free(self["key"]), SLUG)
        return self[name]


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One combination of everything that an entry multiplies."""

    recipe: Recipe
    row: Row | None
    prompt: Prompt | None
    cell: Combination
    take: int
    index: int
    """Its number in the manifest, from 1."""
    given: dict[str, Any]
    """Parameters of all layers, the highest of each."""
    scope: Scope = field(default_factory=Scope)

    @property
    def spot(self) -> Spot:
        """The row, where there is one; otherwise the entry."""
        return self.row.spot(None) if self.row else self.recipe.spot

    @property
    def place(self) -> Place:
        return self.row.place if self.row else self.recipe.place


class Resolver:
    """Makes requests of candidates; collects what is wrong with them."""

    def __init__(self, manifest: Manifest, overrides: Overrides, preflight: Preflight, problems: Problems) -> None:
        self.overrides = overrides
        self.preflight = preflight
        self.problems = problems
        self.prices = manifest.prices
        self.capped = bool(manifest.caps.given)
        self.document = manifest.document
        self.built_in = {"name": manifest.name} | ({"date": manifest.date.isoformat()} if manifest.date else {})
        self._priced: set[tuple[str, int]] = set()

    def candidate(
        self, recipe: Recipe, row: Row | None, prompt: Prompt | None, cell: Combination, *, take: int, index: int
    ) -> Candidate:
        """The layers of one job, put together."""
        given = dict(recipe.base)
        if prompt is not None:
            given["prompt"] = prompt.text
        if row is not None:
            given |= row.parameters
        given |= cell.parameters
        given |= self.overrides.parameters
        one = Candidate(recipe=recipe, row=row, prompt=prompt, cell=cell, take=take, index=index, given=given)
        one.scope = self._scope(one)
        return one

    def resolve(self, one: Candidate) -> VideoRequest | None:
        """The request of a job; None when something is wrong with it, which is reported."""
        before = self.problems.reports
        self._check_prompts(one)
        texts = {name: text for name in TEXTS if name in one.given and (text := self._text(one, name)) is not None}
        if "prompt" not in one.given:
            self._no_prompt(one)
        if "last" in one.given and "first" not in one.given:
            self.problems.error(self.origin(one, "last"), "MAN206", "a last frame needs a first one", "add `first:`")
        frames = tuple(
            self.preflight.frame(texts[side], self.origin(one, side)) for side in ("first", "last") if side in texts
        )
        request = VideoRequest(
            prompt=texts.get("prompt", "-"),  # a stand-in, so that the other rules can still be checked
            frames=frames,
            negative_prompt=texts.get("negative_prompt"),
            **{name: one.given[name] for name in CHOICES if name in one.given},
        )
        self._check_rules(one, request)
        if frames:
            first, last = self.origin(one, "first"), self.origin(one, "last")
            self.preflight.check_pair(frames, request.aspect_ratio, first, last)
        if self.problems.reports > before:
            return None
        one.scope |= texts
        return request

    def _text(self, one: Candidate, name: str) -> str | None:
        """A text with its placeholders filled in; None when that is impossible."""
        written: str = one.given[name]
        if template.is_plain(written):
            return written
        try:
            return template.parse(written).fill(one.scope)
        except TemplateError as error:
            self.report(one, self.origin(one, name), "MAN210", error)
            return None

    def report(self, one: Candidate, spot: Spot, code: str, error: TemplateError) -> None:
        """A placeholder that cannot be filled in, in words that fit the reason."""
        message, help = str(error), error.help
        if isinstance(error, UnknownName):
            columns = one.recipe.source.names if one.recipe.source else set()
            if one.row is not None and (error.name in one.row.empty or error.name in columns):
                message = f"{{{error.name}}} has no value in the row at {one.row.place}"
                help = "fill the cell, or give it a default in `vars`"
            elif error.name in one.recipe.matrix.names:
                message = f"{{{error.name}}} has no value in every combination"
                help = "give it one in each item of `include`, or a default in `vars`"
            elif error.name in TEXTS:
                message, help = f"{{{error.name}}} cannot stand in this text", "use it in a filename or a key"
            else:
                help = _WHY.get(error.name) or UnknownName(error.name, [*one.scope, *BUILT_IN]).help
        self.problems.error(spot, code, message, help)

    def origin(self, one: Candidate, name: str) -> Spot:
        """Where the value of a parameter came from; the job, when it is built in."""
        if name in self.overrides.parameters:
            return self.overrides.spots[name]
        if name in one.cell.parameters:
            return one.cell.spot(name)
        if one.row is not None and name in one.row.parameters:
            return one.row.spot(name)
        if name == "prompt" and one.prompt is not None:
            return one.prompt.spot
        return (one.recipe.origin(name) if name in one.recipe.base else None) or one.spot

    def _scope(self, one: Candidate) -> Scope:
        """Everything that a placeholder can name before the texts are known; built-in names hide all others."""
        recipe, row = one.recipe, one.row
        scope = Scope(recipe.variables)
        if row is not None:
            scope |= row.variables
            if row.name is not None:
                scope["row"] = row.name
        scope |= one.cell.variables
        scope |= self.overrides.variables
        choices = {name: one.given.get(name, _DEFAULTS.get(name)) for name in CHOICES}
        scope |= {name: parameters.text(value) for name, value in choices.items() if value is not None}
        scope |= self.built_in
        scope["take"], scope["index"] = str(one.take), str(one.index)
        if recipe.id is not None:
            scope["id"] = recipe.id
        if one.prompt is not None and one.prompt.name is not None:
            scope["prompt_key"] = one.prompt.name
        return scope

    def _no_prompt(self, one: Candidate) -> None:
        help = "add `prompt: …`, here or in `defaults`"
        if one.row is not None:
            help = "add a column `prompt`, rename one with `columns: {…: prompt}`, or write `prompt:` in the entry"
        self.problems.error(one.spot, "MAN201", "this job has no prompt", help)

    def _check_prompts(self, one: Candidate) -> None:
        """One prompt must not silently win over another that was written for the same job."""
        if one.prompt is None:
            return
        spot = None
        if "prompt" in one.cell.parameters:
            spot = one.cell.spot("prompt")
        elif one.row is not None and "prompt" in one.row.parameters:
            spot = one.row.spot("prompt")
        if spot is not None:
            help = "leave `prompts` out, or call this one otherwise and write {…} in the prompts"
            self.problems.error(spot, "MAN214", "the entry has `prompts`, and here is another prompt", help)

    def _check_rules(self, one: Candidate, request: VideoRequest) -> None:
        for broken in requests.violations(request):
            name = "first" if broken.field == "frames" else broken.field
            self.problems.error(self.origin(one, name), "MAN202", broken.message, broken.help)
        self._check_price(request)

    def _check_price(self, request: VideoRequest) -> None:
        prices, kind = self.prices, (request.billing_key, request.duration)
        if prices is None or kind in self._priced:
            return
        self._priced.add(kind)
        if prices.of(*kind) is not None:
            return
        reason = "and the budget needs one for every job" if self.capped else "so its cost is not counted"
        spot = Written(self.document, ("prices", "per_second" if prices.per_second else "per_request"))
        message, help = f"{request.billing_key} has no price, {reason}", f'add `"{request.billing_key}": …`'
        (self.problems.error if self.capped else self.problems.warning)(spot, "MAN208", message, help)


def in_paths(scope: Scope) -> dict[str, str]:
    """The same values where they become parts of a path: only `{key}` and `{id}` may bring folders with them."""
    if "key" in scope:
        _ = scope["slug"]
    values = {name: value.replace("/", "-") if "/" in value else value for name, value in scope.items()}
    for name in ("key", "id"):
        if name in scope:
            values[name] = names.clock_free(scope[name])
    values["aspect_ratio"] = scope["aspect_ratio"].replace(":", "x")
    return values
