"""Names for people and for file systems: slugs, the check of ids, safe paths and their templates.

A template is parsed here, by hand: `str.format` would let a manifest reach into attributes.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EXTENSION = ".mp4"
MAX_NAME = 100
"""Characters of an id or a batch's name."""
MAX_COMPONENT = 180
"""UTF-8 bytes of a file's or folder's name; most file systems allow 255, `.part` and the like come on top."""
SLUG_LENGTH = 16

_ID = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*")
_NAME = re.compile(r"\w[\w.-]*")
_UNSAFE = re.compile(r'[<>:"|?*\\/]+')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\s*\.|\s*$)", re.IGNORECASE)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class TemplateError(ValueError):
    """A template or a path that cannot be used; the text is the message, `help` the fix."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.help = help


def slug(text: str, length: int = SLUG_LENGTH) -> str:
    """The first words of `text` as a name: letters and digits of any script, the rest as single hyphens."""
    plain = unicodedata.normalize("NFC", text[: 8 * length]).lower()
    return re.sub(r"[\W_]+", "-", plain).strip("-")[:length].strip("-")


def name_problem(name: str, *, what: str, folders: bool) -> tuple[str, str] | None:
    """Why `name` cannot be an id (which may have `folders`) or a batch's name, and what could be written instead."""
    rule = "letters, digits, `-`, `_` and `.`" + (", with `/` between parts" if folders else "")
    pattern = _ID if folders else _NAME
    clean = "/".join(filter(None, (_clean(part) for part in name.split("/")))) if folders else _clean(name)
    example = f"; for example {clean[:MAX_NAME]}" if clean else ""
    if len(name) > MAX_NAME:
        return f"{what} has {len(name)} characters, {MAX_NAME} are allowed", "shorten it"
    if pattern.fullmatch(name) is None:
        return f"{what} `{name}` cannot be used in commands and file names", f"use {rule}{example}"
    return None


def stem_name(stem: str) -> str:
    """A batch's name from its file's name, whatever that is."""
    return _clean(unicodedata.normalize("NFC", stem))[:MAX_NAME] or "batch"


def normal(name: str) -> str:
    """One spelling for names that look the same."""
    return unicodedata.normalize("NFC", name)


def _clean(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


@dataclass(frozen=True, slots=True)
class Template:
    """A path with placeholders: texts and names in turn, beginning and ending with a text."""

    parts: tuple[str, ...]

    def fill(self, values: Mapping[str, object]) -> str:
        """The path with its placeholders replaced."""
        return "".join(str(values[part]) if index % 2 else part for index, part in enumerate(self.parts))


def parse_template(text: str, known: Iterable[str]) -> Template:
    """Read `{name}` placeholders, `{{` and `}}`; `TemplateError` for anything else in braces."""
    parts, at = [""], 0
    for found in re.finditer(r"\{\{|\}\}|\{([^{}]*)\}|[{}]", text):
        parts[-1] += text[at : found.start()]
        at = found.end()
        token, name = found.group(), found.group(1)
        if token in ("{{", "}}"):
            parts[-1] += token[0]
        elif name is None:
            raise TemplateError(f"a single `{token}` in `{text}`", f"write {token * 2} for the character itself")
        else:
            parts += [_placeholder(name, list(known)), ""]
    parts[-1] += text[at:]
    return Template(tuple(parts))


def _placeholder(name: str, known: list[str]) -> str:
    if name in known:
        return name
    if close := get_close_matches(name.strip().casefold(), known, n=1, cutoff=0.5):
        help = f"did you mean {{{close[0]}}}?"
    else:
        help = f"known are {' '.join(f'{{{one}}}' for one in known)}"
    raise TemplateError(f"unknown placeholder {{{name}}}", help)


def check_relative(text: str) -> None:
    """Refuse what leaves the output folder; `TemplateError` says how."""
    if "\\" in text:
        raise TemplateError("a backslash in a path", "write / between folders, on every system")
    if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:/", text):
        raise TemplateError(f"`{text}` is not a relative path", "write a path without / or a drive at its beginning")
    if any(part.strip() == ".." for part in text.split("/")):
        raise TemplateError(f"`{text}` leaves its folder", "leave `..` out")
    if not text.strip():
        raise TemplateError("the path is empty", "write a name")


def check_filename(text: str) -> None:
    """As `check_relative`, and the file is to be an mp4."""
    check_relative(text)
    if not text.lower().endswith(EXTENSION):
        raise TemplateError(f"`{text}` does not end with {EXTENSION}", f"clips are mp4 files: write {{key}}{EXTENSION}")


def safe_path(path: str, *, file: bool) -> str:
    """`path` made fit for every file system, folder by folder; a `file` keeps its extension."""
    parts = [part for part in path.split("/") if part.strip() not in ("", ".")]
    if not file:
        return "/".join(map(_component, parts)) or "."
    *folders, last = parts or ["_"]
    stem = last[: -len(EXTENSION)] if last.lower().endswith(EXTENSION) else last
    return "/".join([*map(_component, folders), _component(stem, MAX_COMPONENT - len(EXTENSION)) + EXTENSION])


def same_file(path: str) -> str:
    """Equal for two paths that some file system takes for the same one."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())
    return unicodedata.normalize("NFC", folded)


def _component(text: str, limit: int = MAX_COMPONENT) -> str:
    """One file or folder name."""
    visible = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) not in _INVISIBLE)
    name = unicodedata.normalize("NFC", _UNSAFE.sub("-", visible)).lstrip("-. \u3000").rstrip(". ")
    if not name:
        name = "_"
    if _RESERVED.match(name):
        name = "_" + name
    if len(name.encode()) > limit:
        ending = "~" + hashlib.sha256(name.encode()).hexdigest()[:8]
        name = name.encode()[: limit - len(ending)].decode("utf-8", "ignore") + ending
    return name
