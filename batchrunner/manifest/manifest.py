"""A manifest that has been read: its settings as the rest of batchrunner uses them, and its entries for `expand`.

Rules of the whole file are checked here; rules of a single clip in `expand`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batchrunner.budget import NO_CAPS, Cap, Caps
from batchrunner.diagnostic import Severity
from batchrunner.manifest import folders, names, template, validate
from batchrunner.manifest.money import CURRENCY, Prices, micro
from batchrunner.manifest.reader import Document, read
from batchrunner.manifest.schema import JobEntry, LimitsSection, ManifestFile, PriceTable, RetrySection
from batchrunner.manifest.source import Loc, Source
from batchrunner.model import FrameDialect
from batchrunner.moments import Window
from batchrunner.settings import GROUPS, Limits

if TYPE_CHECKING:
    from batchrunner.diagnostic import Diagnostic

OUTPUT_DIR = "out/{name}"
FILENAME = "{key}.mp4"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest's settings; its jobs are what `expand` makes of it."""

    path: Path
    name: str
    output_dir: str
    """What all clips lie below: relative and safe, with its placeholders filled in."""
    batch_dir: str
    """Where those clips go, in there, whose entry names no folder of its own; empty, or with a `/` at its end."""
    limits: Limits
    frames: FrameDialect
    exclusive_key: bool
    prices: Prices | None
    """Its own, or the user's."""
    caps: Caps
    """What may be spent, in the prices' currency."""
    on_doubt: str
    """`hold` or `resend`: what becomes of doubts that the provider does not find."""
    canary: int | None
    """None leaves it to `canary.needed`."""
    retries: Mapping[str, int]
    """How often a job is bought again by itself after its task failed for a reason."""
    deadline: time | None
    max_duration: timedelta | None
    """When a run ends, where the command does not say otherwise."""
    window: Window | None
    """The hours in which it buys, where the command does not say otherwise."""
    date: date | None
    """What `{date}` stands for."""
    document: Document
    file: ManifestFile
    entries: tuple[int, ...]
    """For each job of `file`, its place in the document; a manifest with mistakes has only its right jobs here."""

    @property
    def folder(self) -> Path:
        """What relative paths of frames start from."""
        return self.path.parent

    def own_dir(self, entry: JobEntry) -> tuple[str, str] | None:
        """The template of the entry's own folder, and whether the job or the defaults name it."""
        return _own_dir(self.file, entry)


def _own_dir(file: ManifestFile, entry: JobEntry) -> tuple[str, str] | None:
    if entry.output and entry.output.dir is not None:
        return entry.output.dir, "job"
    if file.defaults and file.defaults.output and file.defaults.output.dir is not None:
        return file.defaults.output.dir, "defaults"
    return None


def parse(
    source: Source,
    path: Path,
    *,
    prices: Prices | None = None,
    dated: Callable[[Window | None], date | None] = lambda window: None,
) -> tuple[Manifest | None, list[Diagnostic]]:
    """The manifest in `source` and what is wrong with it; `prices` are the user's, for a manifest without its own.

    `dated` tells what `{date}` stands for, given the manifest's window. With mistakes the manifest may still be there, without its wrong parts, so that the rules of the rest can be checked.
    """
    document = read(source)
    checked = validate.check(document)
    read_wrong = {problem.place for problem in document.problems}
    rules = _Rules(document, [*document.problems, *(one for one in checked.problems if one.place not in read_wrong)])
    if checked.file is None:
        return None, rules.problems
    file = checked.file
    section = file.limits or LimitsSection()
    day = dated(section.window)
    dates = {"date": day.isoformat()} if day else {}
    name = rules.name(file, path, dates)
    prices = rules.prices(file, prices)
    rules.limits(section)
    placeholders = {"name": name, **dates}
    batch_dir = rules.output_dir(file, placeholders)
    root = _root(file, name, batch_dir)
    manifest = Manifest(
        path=path,
        name=name,
        output_dir=root,
        batch_dir=folders.below(root, batch_dir),
        limits=limits(section),
        frames=(file.provider.frames if file.provider else None) or FrameDialect.URLS,
        exclusive_key=bool(file.provider and file.provider.exclusive_key),
        prices=prices,
        caps=rules.caps(file, prices),
        on_doubt=file.on_doubt or "hold",
        canary=file.canary,
        retries=retries(file.retry),
        deadline=section.deadline,
        max_duration=section.max_duration,
        window=section.window,
        date=day,
        document=document,
        file=file,
        entries=checked.entries,
    )
    return manifest, rules.problems


def _root(file: ManifestFile, name: str, batch_dir: str) -> str:
    """The folder that all clips lie below; it depends on what is written, not on the rows that are found."""
    found = []
    for entry in file.jobs:
        own = _own_dir(file, entry)
        if own is None:
            found.append(batch_dir)
            continue
        with suppress(template.TemplateError):  # `expand` says so
            names.check_relative(own[0])
            found.append(folders.static(template.parse(own[0]), {"name": name}))
    return folders.common(found) if found else batch_dir


def limits(section: LimitsSection) -> Limits:
    """The limits that a manifest asks for, on top of its account group's rates."""
    submit, query = GROUPS[section.group or "default"]
    built_in = Limits()
    return Limits(
        max_in_flight=_given(section.max_in_flight, _given(section.concurrency, built_in.max_in_flight)),
        submit_slots=_given(section.submit_slots, built_in.submit_slots),
        submit=replace(
            submit,
            per_second=_given(section.submit_rate, submit.per_second),
            burst=_given(section.submit_burst, submit.burst),
        ),
        query=replace(
            query,
            per_second=_given(section.query_rate, query.per_second),
            burst=_given(section.query_burst, query.burst),
        ),
        poll_floor=_given(section.poll_floor, built_in.poll_floor),
        downloads=_given(section.downloads, built_in.downloads),
        uploads=_given(section.uploads, built_in.uploads),
        stop_after_failures=section.stop_after_failures,
    )


def retries(section: RetrySection | None) -> dict[str, int]:
    """Tries by the reason of a failure; what is not named, above all a refused prompt, is never tried again."""
    if section is None:
        return {}
    given = {"capacity": section.capacity, "task_failed": section.generation}
    return {reason: times for reason, times in given.items() if times}


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


class _Rules:
    """The rules of the whole file; collects what breaks them."""

    def __init__(self, document: Document, problems: list[Diagnostic]) -> None:
        self.document = document
        self.problems = problems

    def _report(self, code: str, message: str, loc: Loc, help: str, *, at_key: bool = False) -> None:
        span = self.document.key_span(loc) if at_key else self.document.value_span(loc)
        self.problems.append(self.document.source.diagnostic(code, message, span, help=help))

    def _warn(self, code: str, message: str, loc: Loc, help: str, *, at_key: bool = False) -> None:
        span = self.document.key_span(loc) if at_key else self.document.value_span(loc)
        warning = self.document.source.diagnostic(code, message, span, help=help, severity=Severity.WARNING)
        self.problems.append(warning)

    def name(self, file: ManifestFile, path: Path, dates: Mapping[str, str]) -> str:
        if file.name is None:
            return names.stem_name(path.stem)
        name = names.normal(file.name)
        try:
            if "{" in name:
                name = template.parse(name).fill(dates)
        except template.TemplateError as error:
            help = "a name may hold {date}, and no other placeholder"
            self._report("MAN203", f"the name `{name}`: {error}", ("name",), help)
            return names.stem_name(file.name)
        if problem := names.name_problem(name, what="the name", folders=False):
            self._report("MAN203", problem[0], ("name",), problem[1])
            return names.stem_name(file.name)
        if name != names.normal(file.name) and not (file.limits and file.limits.window):
            message = "a run that goes on after midnight is another batch, and buys everything again"
            help = 'write `limits: {window: "22:00-06:30"}`, and a night keeps the date on which it began'
            self._warn("MAN219", message, ("name",), help)
        return name

    def output_dir(self, file: ManifestFile, placeholders: Mapping[str, str]) -> str:
        text = file.output.dir if file.output and file.output.dir is not None else OUTPUT_DIR
        try:
            names.check_relative(text)
            return names.safe_path(template.parse(text).fill(placeholders), file=False)
        except template.TemplateError as error:
            self._report("MAN205", str(error), ("output", "dir"), error.help)
            return placeholders["name"]

    def limits(self, section: LimitsSection) -> None:
        if section.concurrency is not None and section.max_in_flight is not None:
            message, help = "`concurrency` and `max_in_flight` are the same limit", "leave one of them out"
            self._report("MAN104", message, ("limits", "concurrency"), help, at_key=True)

    def prices(self, file: ManifestFile, configured: Prices | None) -> Prices | None:
        section = file.prices
        if section is None:
            return configured
        tables = [("per_second", section.per_second), ("per_request", section.per_request)]
        given = [(key, table) for key, table in tables if table is not None]
        if len(given) != 1:
            amount = "both per_second and per_request" if given else "neither per_second nor per_request"
            self._report("MAN207", f"`prices` has {amount}", ("prices",), "write one of them", at_key=True)
            return None
        key, table = given[0]
        return Prices(
            currency=section.currency or CURRENCY,
            amounts=self._amounts(table, ("prices", key)),
            per_second=key == "per_second",
        )

    def _amounts(self, table: PriceTable, loc: Loc) -> dict[str, int]:
        written = table.model_dump(by_alias=True, exclude_none=True)
        return {key: self._micro((*loc, key)) for key in written}

    def caps(self, file: ManifestFile, prices: Prices | None) -> Caps:
        budget = file.budget
        if budget is None:
            return NO_CAPS
        amounts = {key.value: self._micro(("budget", key)) for key in Cap if getattr(budget, key) is not None}
        tags = {tag: self._micro(("budget", "tags", tag)) for tag in budget.tags or ()}
        if not (amounts or tags):
            message, help = "this budget has no cap", "write `max_cost`, `per_run`, `per_day`, `per_month` or `tags`"
            self._report("MAN207", message, ("budget",), help, at_key=True)
        elif prices is None and not self.document.has(("prices",)):
            message = "a budget holds only what has a price, and there are no prices: `run` refuses to buy"
            help = "write prices, such as `prices: {per_second: {720P: 0.084, 1080P: 0.112}}`, here or in your configuration"
            self._warn("MAN207", message, ("budget",), help, at_key=True)
        return Caps(**amounts, tags=tags, warn_at=budget.warn_at)

    def _micro(self, loc: Loc) -> int:
        """An amount of money in micro-units, exactly as it was written: a float would round it."""
        text = self.document.text(loc)
        try:
            exact = micro(Decimal(int(text, 0) if text[:2] in ("0x", "0o") else text))
        except InvalidOperation:
            exact = None
        if exact is not None:
            return exact
        self._report("MAN207", f"the amount {text[:40]} has more than six decimals", loc, "round it")
        return 0
