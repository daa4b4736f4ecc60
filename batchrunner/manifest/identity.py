"""What makes a job the same one tomorrow: keys from names and content, never from positions, and paths of its own.

A key is the entry's id, the row's key, the prompt's name, the values of the matrix and `tN`, as far as they exist. What
has no name is named after the content of the finished request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from batchrunner.diagnostic import Place
from batchrunner.manifest import names
from batchrunner.manifest.folders import below
from batchrunner.manifest.manifest import Manifest
from batchrunner.manifest.recipes import Placed
from batchrunner.manifest.resolve import SLUG, Candidate, Resolver, in_paths
from batchrunner.manifest.spots import Problems, Spot
from batchrunner.manifest.template import Field, Template, TemplateError
from batchrunner.model import VideoRequest, WantedJob
from batchrunner.request import fingerprint

SHORT_HASH, LONG_HASH = 8, 16
"""Hex digits in a key made from content; the long one where two requests share the short one."""
_KEY_ALONE = Template((Field("key"), names.EXTENSION))


class Parts(NamedTuple):
    """A key: what stands before and after the name that is made from content, if there is one."""

    before: str
    content: bool
    after: str

    def join(self, content: str) -> str:
        return self.before + content + self.after


@dataclass(slots=True, kw_only=True)
class Draft:
    """A job whose key is made from content: whether it is the only one of that name is known at the end."""

    parts: Parts
    slug: str
    fingerprint: str
    request: VideoRequest
    place: Place
    tags: tuple[str, ...]
    folder: str
    """The way to the clip's folder from the batch's."""
    path: Template
    """The clip's name, with all placeholders filled in but those of the key."""

    def key(self, digits: int) -> str:
        """The key with so many digits of the content's hash."""
        return self.parts.join(f"{self.slug}-{self.fingerprint[:digits]}")

    def finished(self, key: str, position: int) -> WantedJob:
        """The job under its final key."""
        plain = names.clock_free(key)
        file = self.path.fill({"key": plain, "id": plain, "slug": names.slug(plain, SLUG)})
        return WantedJob(
            key=key,
            fingerprint=self.fingerprint,
            request=self.request,
            output=self.folder + names.safe_path(file, file=True),
            position=position,
            place=self.place,
            tags=self.tags,
        )


@dataclass(slots=True)
class Registry:
    """All jobs of a manifest, each with a key and a path that no other has."""

    manifest: Manifest
    resolver: Resolver
    problems: Problems
    _jobs: list[WantedJob | Draft] = field(default_factory=list)
    _owners: dict[str, Place] = field(default_factory=dict)
    """The keys that were given by people, and whose they are."""
    _paths: list[Spot] = field(default_factory=list)
    """For each job, where its path was written."""
    _priorities: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, one: Candidate) -> None:
        """Give a candidate its name and its path; what is wrong with it is reported, and it is left out."""
        parts, before = self._parts(one), self.problems.reports
        key = self._given_key(one, parts)
        if key is not None:
            one.scope["key"] = key
        request = self.resolver.resolve(one)
        if request is None or one.recipe.twin or self.problems.reports > before:
            return
        print_ = fingerprint(request)
        content = "" if key is not None else f"{names.slug(request.prompt) or 'clip'}-{print_[:SHORT_HASH]}"
        if key is None:
            one.scope.setdefault("row", content)
            one.scope.setdefault("prompt_key", content)
        if key is None and one.recipe.key is not None:
            key, parts = self._late_key(one, one.recipe.key, content)
        if key is not None:
            one.scope["key"] = key
            self._claim(key, one)
        path, folder = self._path(one, one.recipe.filename), self._folder(one)
        if self.problems.reports > before:
            return
        if key is None:
            slug = content[: -SHORT_HASH - 1]
            job = Draft(
                parts=parts,
                slug=slug,
                fingerprint=print_,
                request=request,
                place=one.place,
                tags=_tags(one),
                folder=folder,
                path=path,
            )
            self._keep(one, job)
            return
        self._keep(one, self._job(key, one, request, print_, folder + names.safe_path(path.fill({}), file=True)))

    def jobs(self) -> tuple[WantedJob, ...]:
        """All jobs in the order of submission; what clashes is reported."""
        for index, key in self._content_keys():
            draft = self._jobs[index]
            assert isinstance(draft, Draft)
            self._jobs[index] = draft.finished(key, index)
        jobs = [job for job in self._jobs if isinstance(job, WantedJob)]
        self._check_paths(jobs)
        if any(self._priorities):
            order = sorted(range(len(jobs)), key=lambda index: -self._priorities[index])
            jobs = [replace(jobs[index], position=rank) for rank, index in enumerate(order)]
        return tuple(jobs)

    def _parts(self, one: Candidate) -> Parts:
        recipe, row, prompt = one.recipe, one.row, one.prompt
        before: list[str] = [] if recipe.id is None else [recipe.id]
        after: list[str] = []
        content = False
        for given, name in ((row, row.key if row else None), (prompt, prompt.name if prompt else None)):
            if given is not None and name is not None:
                (after if content else before).append(name)
            elif given is not None:
                content = True
        content = content or not before
        after += one.cell.labels
        if recipe.takes is not None and recipe.takes > 1:
            after.append(f"t{one.take}")
        if not content:
            return Parts("/".join([*before, *after]), False, "")
        return Parts("".join(f"{part}/" for part in before), True, "".join(f"/{part}" for part in after))

    def _given_key(self, one: Candidate, parts: Parts) -> str | None:
        """The key, when it does not depend on the request; None when it does, or cannot be made."""
        written = one.recipe.key
        if written is None:
            return None if parts.content else parts.before
        unnamed = {name for name in ("row", "prompt_key") if name not in one.scope}
        if parts.content and written.template.names & (unnamed | {"prompt", "first", "last", "negative_prompt"}):
            return None
        return self._filled_key(one, written)

    def _filled_key(self, one: Candidate, written: Placed) -> str | None:
        try:
            key = names.key(written.template.fill(one.scope))
        except TemplateError as error:
            self.resolver.report(one, written.spot, "MAN210", error)
            return None
        if not key:
            self.problems.error(written.spot, "MAN203", "this key holds no letter and no digit", "put a name into it")
        return key or None

    def _late_key(self, one: Candidate, written: Placed, content: str) -> tuple[str | None, Parts]:
        """The key of a template that names something by its content: whole, or in parts around the content."""
        key = self._filled_key(one, written) or ""
        before, found, after = key.partition(content)
        return (None if found else key), Parts(before, bool(found), after)

    def _claim(self, key: str, one: Candidate) -> None:
        """Report it when somebody else has the key, with both places."""
        row, written = one.row, one.recipe.key
        if (first := self._owners.get(key)) is None:
            self._owners[key] = one.place
            return
        spot = written.spot if written else row.spot("key") if row else one.recipe.spot
        advice = "change one of them, or give each entry an `id`"
        if written:
            advice = "put {row}, {prompt_key}, {take} or a dimension of the matrix into the template"
        self.problems.error(spot, "MAN204", f"two jobs have the key `{key}`", f"the first is at {first}; {advice}")

    def _job(self, key: str, one: Candidate, request: VideoRequest, print_: str, output: str) -> WantedJob:
        return WantedJob(
            key=key,
            fingerprint=print_,
            request=request,
            output=output,
            position=len(self._jobs),
            place=one.place,
            tags=_tags(one),
        )

    def _keep(self, one: Candidate, job: WantedJob | Draft) -> None:
        self._jobs.append(job)
        self._paths.append(one.recipe.filename.spot)
        row = one.row
        self._priorities.append(row.priority if row and row.priority is not None else one.recipe.priority)

    def _path(self, one: Candidate, written: Placed) -> Template:
        """The file's path with its placeholders filled in, but for a key that is not known yet."""
        if written.template == _KEY_ALONE:
            return (
                written.template.bind({"key": names.clock_free(one.scope["key"])}) if "key" in one.scope else _KEY_ALONE
            )
        try:
            values = in_paths(one.scope)
            if "key" in values:
                values.setdefault("id", values["key"])
                return written.template.bind(values)
            return written.template.bind(values, later=[name for name in ("key", "slug", "id") if name not in values])
        except TemplateError as error:
            self.resolver.report(one, written.spot, "MAN205", error)
            return written.template

    def _folder(self, one: Candidate) -> str:
        """The way from the batch's folder to this job's."""
        written = one.recipe.dir
        if written is None:
            return self.manifest.batch_dir
        try:
            folder = written.template.fill(in_paths(one.scope))
        except TemplateError as error:
            self.resolver.report(one, written.spot, "MAN205", error)
            return ""
        return below(self.manifest.output_dir, names.safe_path(folder, file=False))

    def _content_keys(self) -> Iterator[tuple[int, str]]:
        """The final keys of drafts. Equal requests are numbered; which of them is which makes no difference."""
        drafts = [(index, job) for index, job in enumerate(self._jobs) if isinstance(job, Draft)]
        contents: dict[str, str | None] = {}
        for _, draft in drafts:
            base = draft.key(SHORT_HASH)
            if contents.setdefault(base, draft.fingerprint) != draft.fingerprint:
                contents[base] = None
        taken, occurrences = set(self._owners), Counter[str]()
        for index, draft in drafts:
            base = draft.key(SHORT_HASH)
            if contents[base] is None:
                base = draft.key(LONG_HASH)
            key = base
            while not occurrences[base] or key in taken:
                occurrences[base] += 1
                key = base if occurrences[base] == 1 else f"{base}-{occurrences[base]}"
            taken.add(key)
            yield index, key

    def _check_paths(self, jobs: list[WantedJob]) -> None:
        """No two jobs write the same file on any file system, and none needs a folder where another has its file."""
        writers: dict[str, WantedJob] = {}
        for job, spot in zip(jobs, self._paths, strict=True):
            other = writers.setdefault(names.same_file(job.output), job)
            if other is not job and other.key != job.key:
                message = f"jobs `{other.key}` and `{job.key}` would both write {job.output}"
                same = names.same_file(other.key) == names.same_file(job.key)
                help = (
                    "choose ids that differ in more than case"
                    if same
                    else "put {key} into the filename, or change an id"
                )
                self.problems.error(spot, "MAN209", message, help)
        checked: set[str] = set()
        for job, spot in zip(jobs, self._paths, strict=True):
            folder = names.same_file(job.output).rpartition("/")[0]
            while folder and folder not in checked:
                checked.add(folder)
                if (owner := writers.get(folder)) is not None:
                    message = f"job `{owner.key}` would write a file where job `{job.key}` needs a folder"
                    self.problems.error(spot, "MAN209", message, "change an id or the filename")
                folder = folder.rpartition("/")[0]


def _tags(one: Candidate) -> tuple[str, ...]:
    own = one.row.tags if one.row else ()
    return tuple(dict.fromkeys((*one.recipe.tags, *own))) if own else one.recipe.tags
