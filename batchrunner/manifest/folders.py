"""Output folders: the one that all clips of a batch lie below, and where each entry's clips go within it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchrunner.manifest import names
from batchrunner.manifest.template import Template


def static(template: Template, values: Mapping[str, str]) -> str:
    """The folders at the beginning of a template that are the same for every job."""
    text = ""
    for part in template.parts:
        if not isinstance(part, str):
            if part.name not in values:
                return names.safe_path(text.rpartition("/")[0], file=False)
            part = part.show(values[part.name])
        text += part
    return names.safe_path(text, file=False)


def common(folders: Iterable[str]) -> str:
    """The deepest folder that all `folders` lie in; `.` when they have none in common."""
    shared: list[str] | None = None
    for folder in folders:
        parts = _parts(folder)
        if shared is None:
            shared = parts
        length = next((n for n, (one, other) in enumerate(zip(shared, parts, strict=False)) if one != other), None)
        shared = shared[: min(len(shared), len(parts)) if length is None else length]
    return "/".join(shared or []) or "."


def below(root: str, folder: str) -> str:
    """The way from `root` to `folder`, which lies in it: empty, or with a `/` at its end."""
    rest = _parts(folder)[len(_parts(root)) :]
    return "".join(f"{part}/" for part in rest)


def _parts(folder: str) -> list[str]:
    return [part for part in folder.split("/") if part not in ("", ".")]
