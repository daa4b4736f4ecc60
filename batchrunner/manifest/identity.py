"""What makes a job the same one tomorrow: keys from names and content, never from positions, and paths of its own.

A key is the entry's id, the row's key, the prompt's name, the values of the matrix and `tN`, as far as they exist. What
has no name is named after the content of the finished request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from batchrunner.manifest import names
from batchrunner.manifest.folders import below
from batchrunner.manifest.manifest import Manifest
from batchrunner.manifest.recipes import Placed
from batchrunner.manifest.resolve import SLUG, Candidate, Resolver, in_paths
from batchrunner.manifest.shelf import Clash, Jobs, Shelf, Unnamed
from batchrunner.manifest.spots import Problems, Spot
from batchrunner.manifest.template import Field, Template, TemplateError
from batchrunner.model import VideoRequest, WantedJob
from batchrunner.request import fingerprint

SHORT_HASH, LONG_HASH = 8, 16
"""Hex digits in a key made from content; the long one where two requests share the short one."""
_KEY_ALONE = Template((Field("key"), names.EXTENSION))
_LIKE_A_FILE = f"{names.EXTENSION}/"


class Parts(NamedTuple):
    """A key: what stands before and after the name that is made from content, if there is one."""

    before: str
    content: bool
    after: str

    def join(self, content: str) -> str:
        return self.before + content + self.after


class Draft(NamedTuple):
    """What a key that is made from content is made of, and the path: whether the name is unique is known at the end."""

    parts: Parts
    slug: str
    folder: str
    """The way to the clip's folder from the batch's."""
    path: Template
    """The clip's name, with all placeholders filled in but those of the key."""

    def key(self, fingerprint: str, digits: int) -> str:
        """The key with so many digits of the content's hash."""
        return self.parts.join(f"{self.slug}-{fingerprint[:digits]}")

    def output(self, key: str) -> str:
        """The clip's path under its final key."""
        plain = names.clock_free(key)
        file = self.path.fill({"key": plain, "id": plain, "slug": names.slug(plain, SLUG)})
        return self.folder + names.safe_path(file, file=True)

    def dump(self) -> str:
        """The draft as text, for the shelf."""
        return json.dumps([self.parts, self.slug, self.folder, self.path.parts])

    @classmethod
    def load(cls, text: str) -> Draft:
        """What `dump` wrote."""
        parts, slug, folder, path = json.loads(text)
        fields = tuple(Field(*part) if isinstance(part, list) else part for part in path)
        return cls(Parts(*parts), slug, folder, Template(fields))


@dataclass(slots=True)
class Registry:
    """All jobs of a manifest, each with a key and a path that no other has."""

    manifest: Manifest
    resolver: Resolver
    problems: Problems
    shelf: Shelf
    tags: set[str] = field(default_factory=set)
    """All words that some job has."""
    kinds: set[tuple[str, int]] = field(default_factory=set)
    """What is billed: each billing key with each length in seconds."""
    _spots: list[Spot] = field(default_factory=list)
    """Where paths were written, one for each entry."""

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
            draft = Draft(parts, content[: -SHORT_HASH - 1], folder, path)
            self._put_unnamed(one, request, print_, draft)
        else:
            self._put(one, request, print_, key, folder + names.safe_path(path.fill({}), file=True))

    def jobs(self) -> Jobs:
        """All jobs in the order of submission; what clashes is reported."""
        for one in self.shelf.unnamed():
            self._name(one)
        self._check_paths()
        return self.shelf.jobs()

    def _put(self, one: Candidate, request: VideoRequest, print_: str, key: str, output: str) -> None:
        file = names.same_file(output)
        self._note_folders(file, len(self.shelf))
        job = self._job(one, request, print_, key, output)
        self.shelf.put(job, file, spot=self._spot(one), priority=_priority(one))

    def _put_unnamed(self, one: Candidate, request: VideoRequest, print_: str, draft: Draft) -> None:
        job, base = self._job(one, request, print_, "", ""), draft.key(print_, SHORT_HASH)
        self.shelf.put_unnamed(job, draft.dump(), base=base, spot=self._spot(one), priority=_priority(one))

    def _job(self, one: Candidate, request: VideoRequest, print_: str, key: str, output: str) -> WantedJob:
        tags = _tags(one)
        self.tags.update(tags)
        self.kinds.add((request.billing_key, request.duration))
        place, position = one.place, len(self.shelf)
        return WantedJob(
            key=key, fingerprint=print_, request=request, output=output, position=position, place=place, tags=tags
        )

    def _spot(self, one: Candidate) -> int:
        """The number of the place where the entry's path was written."""
        spot = one.recipe.filename.spot
        if not self._spots or self._spots[-1] is not spot:
            self._spots.append(spot)
        return len(self._spots) - 1

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
        if (first := self.shelf.claim(key, str(one.place))) is None:
            return
        spot = written.spot if written else row.spot("key") if row else one.recipe.spot
        advice = "change one of them, or give each entry an `id`"
        if written:
            advice = "put {row}, {prompt_key}, {take} or a dimension of the matrix into the template"
        self.problems.error(spot, "MAN204", f"two jobs have the key `{key}`", f"the first is at {first}; {advice}")

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

    def _name(self, one: Unnamed) -> None:
        """The final key of a draft. Equal requests are numbered; which of them is which makes no difference."""
        draft = Draft.load(one.draft)
        key = base = draft.key(one.fingerprint, LONG_HASH if one.shared else SHORT_HASH)
        while self.shelf.claim(key, "") is not None:
            key = f"{base}-{self.shelf.again(base)}"
        output = draft.output(key)
        file = names.same_file(output)
        self._note_folders(file, one.number)
        self.shelf.name(one.number, key, output, file)

    def _note_folders(self, file: str, number: int) -> None:
        """Only a folder that is called like a clip can be in a clip's way."""
        at = file.find(_LIKE_A_FILE)
        while at >= 0:
            self.shelf.need(file[: at + len(names.EXTENSION)], number)
            at = file.find(_LIKE_A_FILE, at + 1)

    def _check_paths(self) -> None:
        """No two jobs write the same file on any file system, and none needs a folder where another has its file."""
        for clash in self.shelf.same_files():
            message = f"jobs `{clash.owner}` and `{clash.key}` would both write {clash.output}"
            same = names.same_file(clash.owner) == names.same_file(clash.key)
            apart = "choose ids that differ in more than case"
            self._report(clash, message, apart if same else "put {key} into the filename, or change an id")
        for clash in self.shelf.files_in_the_way():
            message = f"job `{clash.owner}` would write a file where job `{clash.key}` needs a folder"
            self._report(clash, message, "change an id or the filename")

    def _report(self, clash: Clash, message: str, help: str) -> None:
        self.problems.error(self._spots[clash.spot], "MAN209", message, help)


def _tags(one: Candidate) -> tuple[str, ...]:
    own = one.row.tags if one.row else ()
    return tuple(dict.fromkeys((*one.recipe.tags, *own))) if own else one.recipe.tags


def _priority(one: Candidate) -> int:
    row = one.row
    return row.priority if row and row.priority is not None else one.recipe.priority
