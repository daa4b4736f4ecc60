"""Names for people and for file systems: slugs, keys, the check of ids, and safe paths."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from batchrunner.manifest.template import TemplateError

EXTENSION = ".mp4"
MAX_NAME = 100
"""Characters of an id or a batch's name."""
MAX_COMPONENT = 180
"""UTF-8 bytes of a file's or folder's name; most file systems allow 255, `.part` and the like come on top."""
SLUG_LENGTH = 16

MAX_LABEL = 40
MAX_KEY = 200

_LABEL = re.compile(r"\w[\w.:+-]*")
_KEY = re.compile(r"\w[\w.:+-]*(?:/\w[\w.:+-]*)*")
_ID = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*")
_NAME = re.compile(r"\w[\w.-]*")
_UNSAFE = re.compile(r'[<>:"|?*\\/]+')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\s*\.|\s*$)", re.IGNORECASE)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


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


def label(text: str) -> str:
    """A value as one part of a key: itself where it can be, otherwise its beginning and a hash of the whole."""
    plain = normal(text.strip())
    if len(plain) <= MAX_LABEL and _LABEL.fullmatch(plain):
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug(plain) or 'x'}-{digest[:6]}"


def key(text: str) -> str:
    """What a person called a row or a job, fit for commands: parts between `/`; empty when nothing is left of it."""
    plain = normal(text)
    if len(plain) > MAX_KEY or _KEY.fullmatch(plain) is None:
        parts = (re.sub(r"[^\w.:+-]+", "-", part).strip("-.:") for part in plain.split("/"))
        plain = "/".join(part for part in parts if part)
    if len(plain) > MAX_KEY:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        plain = f"{plain[: MAX_KEY - 9].rstrip('-./')}-{digest[:8]}"
    return plain


def clock_free(text: str) -> str:
    """`16:9` as `16x9`, since no file system takes the colon."""
    return re.sub(r"(?<=\d):(?=\d)", "x", text) if ":" in text else text


def _clean(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


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
    if path.isascii():
        return path.lower()
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())
    return unicodedata.normalize("NFC", folded)


def _component(text: str, limit: int = MAX_COMPONENT) -> str:
    """One file or folder name."""
    visible = unicodedata.normalize("NFC", text)
    if not visible.isprintable():
        visible = "".join(c for c in visible if unicodedata.category(c) not in _INVISIBLE)
    name = unicodedata.normalize("NFC", _UNSAFE.sub("-", visible)).lstrip("-. \u3000").rstrip(". ")
    if not name:
        name = "_"
    if _RESERVED.match(name):
        name = "_" + name
    if len(name.encode()) > limit:
        ending = "~" + hashlib.sha256(name.encode()).hexdigest()[:8]
        name = name.encode()[: limit - len(ending)].decode("utf-8", "ignore") + ending
    return name
