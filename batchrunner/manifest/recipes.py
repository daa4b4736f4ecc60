"""One entry, ready to be repeated: what all its jobs have in common, and what each of them brings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchrunner.diagnostic import Place
from batchrunner.manifest import names, product, sources, template
from batchrunner.manifest.manifest import FILENAME, Manifest
from batchrunner.manifest.overrides import Overrides
from batchrunner.manifest.parameters import TEXTS, Mistake, typed
from batchrunner.manifest.product import Combination, Matrix, Prompt
from batchrunner.manifest.rows import Row
from batchrunner.manifest.schema import JobEntry, Parameters
from batchrunner.manifest.spots import Problems, Spot, Written
from batchrunner.manifest.template import Template, TemplateError

if TYPE_CHECKING:
    from batchrunner.manifest.source import Loc

PRODUCT_LIMIT = 1_000
"""Jobs of one row, unless the manifest says how many it may ask for: more are rather a slip than a wish."""
PATHS = {
    "first": ("frames", "first"),
    "last": ("frames", "last"),
    "negative_prompt": ("metadata", "negative_prompt"),
    "watermark": ("metadata", "watermark"),
}
"""Where a parameter stands in an entry, if not under its own name."""
_DEFAULT_FILENAME = template.parse(FILENAME)


@dataclass(frozen=True, slots=True)
class Placed:
    """A template and where it was written."""

    template: Template
    spot: Spot


@dataclass(slots=True, kw_only=True)
class Recipe:
    """What one entry makes jobs of."""

    manifest: Manifest
    loc: Loc
    id: str | None
    twin: bool
    """Whether an entry above has the same id, which was said."""
    base: dict[str, Any]
    """Parameters from the entry and the defaults."""
    variables: dict[str, str]
    prompts: list[Prompt | None]
    matrix: Matrix
    takes: int | None
    source: sources.Source | None
    key: Placed | None
    dir: Placed | None
    """The entry's own folder, if it has one."""
    filename: Placed
    tags: tuple[str, ...]
    priority: int
    spot: Spot
    """The entry as a whole."""
    place: Place
    """The same."""

    def origin(self, name: str) -> Spot | None:
        """Where a parameter of `base` was written: in the entry or in the defaults."""
        path = PATHS.get(name, (name,))
        for loc in ((*self.loc, *path), ("defaults", *path)):
            if self.manifest.document.has(loc):
                return Written(self.manifest.document, loc)
        return None

    def product_size(self) -> int:
        """How many jobs each row becomes."""
        return len(self.prompts) * self.matrix.size() * (self.takes or 1)

    def parts(self) -> Iterator[tuple[Row | None, Prompt | None, Combination]]:
        """Everything but the takes: rows × prompts × matrix, rows outermost."""
        for row in self.source.rows() if self.source else [None]:
            for prompt in self.prompts:
                for cell in self.matrix.combinations():
                    yield row, prompt, cell


class Compiler:
    """Makes recipes; collects what is wrong in the entries themselves."""

    def __init__(self, manifest: Manifest, overrides: Overrides, problems: Problems, roots: Sequence[Path]) -> None:
        self.manifest = manifest
        self.overrides = overrides
        self.problems = problems
        self.roots = roots
        self.known: set[str] = set()
        """Every variable that the manifest has or mentions."""
        self._ids: dict[str, Loc] = {}
        self._variables = sources.variables(manifest.file.vars or {}, manifest.document, ("vars",), problems)

    def recipe(self, index: int, entry: JobEntry) -> Recipe | None:
        """The entry at `index` of the document; None when it is not enabled, or too wrong to go on."""
        if entry.enabled is False:
            return None
        loc: Loc = ("jobs", index)
        document, before = self.manifest.document, self.problems.reports
        matrix = product.Reader(entry, document, loc, self.problems).matrix(self.overrides)
        own = sources.variables(entry.vars or {}, document, (*loc, "vars"), self.problems)
        prompts = product.prompts(entry, document, loc, self.problems)
        if matrix is None or self.problems.reports > before:
            return None  # the entry's texts may name what is wrong here
        base = _merged(self.manifest.file.defaults, entry)
        key, folder = self._placed(entry.key, (*loc, "key"), "MAN210"), self._dir(loc, entry)
        filename = self._filename(loc, entry) or Placed(_DEFAULT_FILENAME, Written(document, loc))
        if key is not None and "index" in key.template.names:
            message = "keys with {index} come from positions: a job inserted above renames all below it"
            self.problems.warning(key.spot, "MAN216", message, "use {row}, {prompt_key} or a column")
        used = self._used(base, prompts, [key, folder, filename])
        self.known |= used | self._variables.keys() | own.keys() | matrix.names
        id = self._id(loc, entry)
        recipe = Recipe(
            manifest=self.manifest,
            loc=loc,
            id=id,
            twin=id is not None and self._ids[id] != loc,
            base=base,
            variables=self._variables | own,
            prompts=[None] if "prompt" in self.overrides.parameters else prompts,
            matrix=matrix,
            takes=entry.takes,
            source=self._source(loc, entry, used),
            key=key,
            dir=folder,
            filename=filename,
            tags=self._tags(loc, entry),
            priority=entry.priority or 0,
            spot=Written(document, loc),
            place=Written(document, loc).place(),
        )
        return recipe if self._is_sensible(recipe) else None

    def _source(self, loc: Loc, entry: JobEntry, used: frozenset[str]) -> sources.Source | None:
        if entry.from_ is None:
            return None
        return sources.Source(
            section=entry.from_,
            document=self.manifest.document,
            loc=(*loc, "from"),
            folder=self.manifest.folder,
            shown=Path(self.manifest.document.source.file).parent,
            roots=self.roots,
            used=used,
            problems=self.problems,
            names=set(),
        )

    def _id(self, loc: Loc, entry: JobEntry) -> str | None:
        if entry.id is None:
            return None
        spot, name = Written(self.manifest.document, (*loc, "id")), names.normal(entry.id)
        first = self._ids.setdefault(name, loc)
        if problem := names.name_problem(name, what="the id", folders=True):
            self.problems.error(spot, "MAN203", *problem)
        elif first != loc:
            before = Written(self.manifest.document, (*first, "id")).place()
            self.problems.error(spot, "MAN204", f"duplicate id `{name}`", f"first used at {before}; ids must be unique")
        return name

    def _tags(self, loc: Loc, entry: JobEntry) -> tuple[str, ...]:
        try:
            return tuple(typed("tags", entry.tags)) if entry.tags else ()
        except Mistake as mistake:
            self.problems.error(
                Written(self.manifest.document, (*loc, "tags")), mistake.code, str(mistake), mistake.help
            )
            return ()

    def _placed(self, text: str | None, loc: Loc, code: str) -> Placed | None:
        if text is None:
            return None
        spot = Written(self.manifest.document, loc)
        try:
            return Placed(template.parse(text), spot)
        except TemplateError as error:
            self.problems.error(spot, code, str(error), error.help)
            return None

    def _dir(self, loc: Loc, entry: JobEntry) -> Placed | None:
        """The entry's own folder, or the one of the defaults."""
        found = self.manifest.own_dir(entry)
        if found is None:
            return None
        text, where = found
        place: Loc = (*(loc if where == "job" else ("defaults",)), "output", "dir")
        try:
            names.check_relative(text)
        except TemplateError as error:
            self.problems.error(Written(self.manifest.document, place), "MAN205", str(error), error.help)
            return None
        return self._placed(text, place, "MAN205")

    def _filename(self, loc: Loc, entry: JobEntry) -> Placed | None:
        """The entry's template of its clips' names, or the nearest above it."""
        file = self.manifest.file
        layers = (
            (entry.output, loc),
            (file.defaults.output if file.defaults else None, ("defaults",)),
            (file.output, ()),
        )
        for layer, home in layers:
            if layer is not None and layer.filename is not None:
                place: Loc = (*home, "output", "filename")
                try:
                    names.check_filename(layer.filename)
                except TemplateError as error:
                    self.problems.error(Written(self.manifest.document, place), "MAN205", str(error), error.help)
                    return None
                return self._placed(layer.filename, place, "MAN205")
        return None

    def _used(
        self, base: dict[str, Any], prompts: Sequence[Prompt | None], placed: Sequence[Placed | None]
    ) -> frozenset[str]:
        """The names of all placeholders in the entry's own texts."""
        texts = [base[name] for name in TEXTS if name in base] + [prompt.text for prompt in prompts if prompt]
        texts += [value for name, value in self.overrides.parameters.items() if name in TEXTS]
        found: set[str] = set()
        for text in texts:
            try:
                found |= template.parse(text).names
            except TemplateError:
                continue  # said when it is filled in
        for one in placed:
            found |= one.template.names if one else set()
        return frozenset(found)

    def _is_sensible(self, recipe: Recipe) -> bool:
        """Whether the entry multiplies one row into no more jobs than anybody means."""
        limits = self.manifest.file.limits
        most = limits.max_jobs if limits and limits.max_jobs else PRODUCT_LIMIT
        size = recipe.product_size()
        if size <= most:
            return True
        each = "each row" if recipe.source else "this entry"
        message = f"{each} becomes {size:,} jobs, {most:,} are allowed"
        key = next(
            (key for key in ("matrix", "takes", "prompts") if self.manifest.document.has((*recipe.loc, key))), ""
        )
        spot = Written(self.manifest.document, (*recipe.loc, key) if key else recipe.loc, at_key=bool(key))
        self.problems.error(spot, "MAN212", message, f"exclude some, or allow them: `limits: {{max_jobs: {size}}}`")
        return False


def _merged(defaults: Parameters | None, entry: JobEntry) -> dict[str, Any]:
    """The request's parameters that were given. Metadata is merged, frames are replaced as a whole: half of another

    job's frame pair is never what was meant.
    """
    given: dict[str, Any] = {}
    for layer in (defaults, entry):
        if layer is None:
            continue
        if layer.frames is not None:
            given = {name: value for name, value in given.items() if name not in ("first", "last")}
            given |= {name: getattr(layer.frames, name) for name in ("first", "last")}
        given |= {
            name: value
            for name in ("prompt", "mode", "duration", "aspect_ratio", "audio")
            if (value := getattr(layer, name)) is not None
        }
        if layer.metadata is not None:
            written = {name: getattr(layer.metadata, name) for name in ("negative_prompt", "watermark")}
            given |= {name: value for name, value in written.items() if value is not None}
    return {name: value for name, value in given.items() if value is not None}
