"""A manifest to wanted jobs: precedence, the rules of each clip, identity and output paths. Pure: files are `probe`d.

Precedence, low to high: built-in, `defaults`, job. Metadata is merged key by key, frames are replaced as a whole: half of
another job's frame pair is never what was meant.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchrunner.diagnostic import Diagnostic, Severity
from batchrunner.errors import ManifestError
from batchrunner.manifest import names, pictures
from batchrunner.manifest.manifest import FILENAME, Manifest
from batchrunner.manifest.schema import BatchOutput, FramePaths, JobEntry, JobOutput, Metadata, Parameters
from batchrunner.media.frames import FrameFacts, FrameProblem
from batchrunner.model import Frame, VideoRequest, WantedJob
from batchrunner.request import fingerprint, violations

if TYPE_CHECKING:
    from batchrunner.manifest.reader import Loc

Probe = Callable[[Path], FrameFacts | FrameProblem]

PLACEHOLDERS = ("name", "key", "id", "mode", "duration", "aspect_ratio")
SHORT_HASH, LONG_HASH = 8, 16
"""Hex digits in a key made from content; the long one where two requests share the short one."""

_DEFAULT_TEMPLATE = names.parse_template(FILENAME, PLACEHOLDERS)
_PLACES = {
    "negative_prompt": ("metadata", "negative_prompt"),
    "frames": ("frames",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The jobs of a manifest without mistakes."""

    jobs: tuple[WantedJob, ...]
    warnings: tuple[Diagnostic, ...]
    private_urls: Mapping[str, str]
    """By the frame's sha256, whole URLs of frames whose query may be a signature: never stored, never shown."""


def expand(manifest: Manifest, *, probe: Probe) -> Expansion:
    """Every job that the manifest asks for; `ManifestError` with all mistakes when there are any."""
    expander = _Expander(manifest, probe)
    drafts = [expander.draft(index, entry) for index, entry in zip(manifest.entries, manifest.file.jobs, strict=True)]
    jobs = expander.jobs(drafts)
    problems = tuple(dict.fromkeys(expander.problems))
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise ManifestError(problems)
    return Expansion(jobs=jobs, warnings=problems, private_urls=expander.private_urls)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A job that has no key yet."""

    index: int
    id: str | None
    request: VideoRequest
    fingerprint: str
    template: names.Template
    template_loc: Loc


@dataclass(slots=True)
class _Expander:
    """Collects the problems of one expansion."""

    manifest: Manifest
    probe: Probe
    problems: list[Diagnostic] = field(default_factory=list)
    private_urls: dict[str, str] = field(default_factory=dict)
    _seen: dict[Path, FrameFacts | FrameProblem] = field(default_factory=dict)
    _templates: dict[str, names.Template] = field(default_factory=dict)

    def report(self, code: str, message: str, loc: Loc, help: str, *, warning: bool = False) -> None:
        document = self.manifest.document
        severity = Severity.WARNING if warning else Severity.ERROR
        span = document.value_span(loc)
        self.problems.append(document.source.diagnostic(code, message, span, help=help, severity=severity))

    def origin(self, index: int, *path: str) -> Loc:
        """Where the value of a parameter was written: in the job, in the defaults, or nowhere (then the job)."""
        job: Loc = ("jobs", index)
        for loc in ((*job, *path), ("defaults", *path)):
            if self.manifest.document.has(loc):
                return loc
        return job

    def draft(self, index: int, entry: JobEntry) -> _Draft:
        """One entry with its defaults, checked by the rules of the API page."""
        given = _merged(self.manifest.file.defaults, entry)
        frames = self.frames(index, entry)
        prompt = given.pop("prompt", None)
        if prompt is None:
            self.report("MAN201", "this job has no prompt", ("jobs", index), "add `prompt: …`, here or in `defaults`")
        request = VideoRequest(prompt="-" if prompt is None else prompt, frames=frames, **given)
        for broken in violations(request):
            path = _PLACES.get(broken.field, (broken.field,))
            self.report("MAN202", broken.message, self.origin(index, *path), broken.help)
        self.check_price(index, request)
        self.check_ratio(index, request)
        template, template_loc = self.template(index, entry)
        return _Draft(
            index=index,
            id=self.id(index, entry),
            request=request,
            fingerprint=fingerprint(request),
            template=template,
            template_loc=template_loc,
        )

    def id(self, index: int, entry: JobEntry) -> str | None:
        if entry.id is None:
            return None
        if problem := names.name_problem(names.normal(entry.id), what="the id", folders=True):
            self.report("MAN203", problem[0], ("jobs", index, "id"), problem[1])
        return names.normal(entry.id)

    def frames(self, index: int, entry: JobEntry) -> tuple[Frame, ...]:
        defaults = self.manifest.file.defaults
        given = entry.frames if entry.frames is not None else (defaults.frames if defaults else None)
        loc = self.origin(index, "frames")
        if given is None or given == FramePaths():
            return ()
        if given.first is None:
            self.report("MAN206", "a last frame needs a first one", (*loc, "last"), "add `first:`")
        sides = [("first", given.first), ("last", given.last)]
        found = [self.frame(value, (*loc, side)) for side, value in sides if value is not None]
        if len(found) == 2 and (message := pictures.pair_warning(*found)):
            self.report("FRM321", message, (*loc, "last"), "crop both to the same shape", warning=True)
        return tuple(found)

    def frame(self, value: str, loc: Loc) -> Frame:
        """One frame; when something is wrong with it, a stand-in, so that the other rules can still be checked."""
        if pictures.is_url(value):
            if problem := pictures.url_problem(value):
                self.report(problem.code, problem.message, loc, problem.help)
            elif pictures.is_private_host(value):
                help = "the provider reads the URL itself: use a public one, or a local file, which is uploaded"
                self.report("FRM323", "this URL can only be reached from here", loc, help, warning=True)
            frame, private = pictures.url_frame(value)
            if private:
                self.private_urls[frame.sha256] = value
            return frame
        facts: FrameFacts | FrameProblem
        if problem := pictures.path_problem(value):
            facts = problem
        else:
            path = self.manifest.folder / value
            if path not in self._seen:
                self._seen[path] = self.probe(path)
            facts = self._seen[path]
        if isinstance(facts, FrameProblem):
            self.report(facts.code, facts.message, loc, facts.help)
            return Frame(source=value, sha256="", local=True)
        return Frame(source=str(path), sha256=facts.sha256, local=True, size=(facts.width, facts.height))

    def check_ratio(self, index: int, request: VideoRequest) -> None:
        for side, frame in zip(("first", "last"), request.frames, strict=False):
            if message := pictures.ratio_warning(side, frame, request.aspect_ratio):
                help = "crop the frame or change aspect_ratio; the provider may follow either"
                self.report("FRM322", message, self.origin(index, "frames", side), help, warning=True)
                break  # the other frame is of the same shape, or `frames` has said so

    def check_price(self, index: int, request: VideoRequest) -> None:
        prices = self.manifest.prices
        if prices is None or prices.of(request.billing_key, request.duration) is not None:
            return
        capped = self.manifest.max_cost is not None
        reason = "and max_cost needs one for every job" if capped else "so its cost is not counted"
        loc: Loc = ("prices", "per_second" if prices.per_second else "per_request")
        message = f"{request.billing_key} has no price, {reason}"
        self.report("MAN208", message, loc, f'add `"{request.billing_key}": …`', warning=not capped)

    def template(self, index: int, entry: JobEntry) -> tuple[names.Template, Loc]:
        """The job's template of its clip's path, and where it was written."""
        file = self.manifest.file
        job: Loc = ("jobs", index)
        layers: tuple[tuple[JobOutput | BatchOutput | None, Loc], ...] = (
            (entry.output, job),
            (file.defaults.output if file.defaults else None, ("defaults",)),
            (file.output, ()),
        )
        given = [(layer.filename, loc) for layer, loc in layers if layer and layer.filename is not None]
        if not given:
            return _DEFAULT_TEMPLATE, job
        text, loc = given[0][0], (*given[0][1], "output", "filename")
        try:
            if text not in self._templates:
                names.check_filename(text)
                self._templates[text] = names.parse_template(text, PLACEHOLDERS)
            return self._templates[text], loc
        except names.TemplateError as error:
            self.report("MAN205", str(error), loc, error.help)
            return _DEFAULT_TEMPLATE, loc

    def jobs(self, drafts: list[_Draft]) -> tuple[WantedJob, ...]:
        """Give every draft its key and its path; both must be unique."""
        source = self.manifest.document.source
        keys = self.keys(drafts)
        jobs = tuple(
            WantedJob(
                key=key,
                fingerprint=draft.fingerprint,
                request=draft.request,
                output=self.output(draft, key),
                position=draft.index,
                place=source.place(self.manifest.document.value_span(("jobs", draft.index))),
            )
            for draft, key in zip(drafts, keys, strict=True)
        )
        self.check_outputs(drafts, jobs)
        return jobs

    def keys(self, drafts: list[_Draft]) -> list[str]:
        """Ids, or names made from content; never from a position, so that inserting a job renames no other."""
        first: dict[str, int] = {}
        for draft in drafts:
            if draft.id is not None and first.setdefault(draft.id, draft.index) != draft.index:
                loc = ("jobs", first[draft.id], "id")
                before = self.manifest.document.source.place(self.manifest.document.value_span(loc))
                help = f"first used at {before}; ids must be unique"
                self.report("MAN204", f"duplicate id `{draft.id}`", ("jobs", draft.index, "id"), help)
        contents = defaultdict(set)
        for draft in drafts:
            contents[_content_key(draft, SHORT_HASH)].add(draft.fingerprint)
        taken, occurrences = set(first), Counter[str]()
        keys = []
        for draft in drafts:
            if draft.id is not None:
                keys.append(draft.id)
                continue
            base = _content_key(draft, SHORT_HASH)
            if len(contents[base]) > 1:
                base = _content_key(draft, LONG_HASH)
            key = base
            while not occurrences[base] or key in taken:
                occurrences[base] += 1
                key = base if occurrences[base] == 1 else f"{base}-{occurrences[base]}"
            taken.add(key)
            keys.append(key)
        return keys

    def output(self, draft: _Draft, key: str) -> str:
        request = draft.request
        values = {
            "name": self.manifest.name,
            "key": key,
            "id": draft.id or key,
            "mode": request.mode.value,
            "duration": request.duration,
            "aspect_ratio": request.aspect_ratio.value.replace(":", "x"),
        }
        return names.safe_path(draft.template.fill(values), file=True)

    def check_outputs(self, drafts: list[_Draft], jobs: tuple[WantedJob, ...]) -> None:
        writers: dict[str, WantedJob] = {}
        for draft, job in zip(drafts, jobs, strict=True):
            other = writers.setdefault(names.same_file(job.output), job)
            if other is not job and other.key != job.key:
                message = f"jobs `{other.key}` and `{job.key}` would both write {job.output}"
                self.report("MAN209", message, draft.template_loc, "put {key} into the filename, or change an id")
        for draft, job in zip(drafts, jobs, strict=True):
            parts = names.same_file(job.output).split("/")
            for depth in range(1, len(parts)):
                if (owner := writers.get("/".join(parts[:depth]))) is not None:
                    message = f"job `{owner.key}` would write a file where job `{job.key}` needs a folder"
                    self.report("MAN209", message, draft.template_loc, "change an id or the filename")


def _merged(defaults: Parameters | None, entry: JobEntry) -> dict[str, Any]:
    """The request's fields that were given, but for its frames."""
    layers: list[Parameters] = [entry] if defaults is None else [defaults, entry]
    given: dict[str, Any] = {}
    for layer in layers:
        metadata = layer.metadata or Metadata()
        values = {name: getattr(layer, name) for name in ("prompt", "mode", "duration", "aspect_ratio", "audio")}
        values |= {name: getattr(metadata, name) for name in ("negative_prompt", "watermark")}
        given |= {name: value for name, value in values.items() if value is not None}
    return given


def _content_key(draft: _Draft, digits: int) -> str:
    return f"{names.slug(draft.request.prompt) or 'clip'}-{draft.fingerprint[:digits]}"
