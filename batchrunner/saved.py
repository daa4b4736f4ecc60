"""Saved plans: a file that says which jobs a run may send, and the check that this is still what a run would do.

A plan is written and read line by line, a job a line, however many there are. It holds keys, fingerprints, outputs and
prices; what would need a secret, such as a signed URL in `--set`, is not saved.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any

from batchrunner.durable import remove, storage_error, sync_folder
from batchrunner.errors import UsageError
from batchrunner.run_request import RunRequest
from batchrunner.session import Session
from batchrunner.store.base import SAMPLE

SCHEMA = "batchrunner/saved-plan@1"
_BEGINNING = json.dumps({"schema": SCHEMA})[:-1].encode()
SEND, LATER = "send", "later"
"""What a line says of a job that is sent, and of one that would be without `--limit`; others have their verdict."""
_PATHS = ("manifest", "allowed", "database", "out")

Row = tuple[str, str, str, str]
"""What happens to a job, its key, its fingerprint and its output."""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value  # which no path may hold


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_date(value: Any) -> bool:
    try:
        return bool(date.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _or_null(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


_KEPT: Mapping[str, Callable[[Any], bool]] = {
    "manifest": _or_null(_is_text),
    "prompts": _texts,
    "sets": _texts,
    "allowed": _texts,
    "database": _is_text,
    "out": _is_text,
    "emulator": lambda value: isinstance(value, bool),
    "date": _or_null(_is_date),
    "only": _or_null(_is_text),
    "tags": _texts,
    "limit": _or_null(_is_whole),
    "redo": lambda value: _texts(value) and {*value} <= {"changed", "failed"},
}
"""Of a request, what decides what is bought, and what the file must hold of it."""
_MEANING: Mapping[str, Callable[[Any], bool]] = {
    "batch": _is_text,
    "endpoint": _is_text,
    "frames": _is_text,
    "currency": _or_null(_is_text),
    "prices": _or_null(lambda value: isinstance(value, dict)),  # it is only ever compared
    "max_cost": _or_null(_is_whole),
}
"""What must be the same beside the jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A saved plan, without its jobs."""

    path: Path
    digest: str
    """SHA-256 of the whole file: what its runs are known by."""
    request: RunRequest
    meaning: dict[str, Any]
    """What must be the same beside the jobs, by name."""

    def rows(self) -> Iterator[Row]:
        """Its jobs, in order."""
        with self.path.open("rb") as file:
            yield from (_row(self.path, line) for line in file if line.startswith(b"["))


def is_saved(path: Path) -> bool:
    """Whether a file is a saved plan and no manifest."""
    try:
        with path.open("rb") as file:
            return file.read(len(_BEGINNING)) == _BEGINNING
    except OSError:
        return False


def save(session: Session, path: Path) -> Path:
    """Write the plan of this session, whole or not at all; only a saved plan is replaced."""
    if any("://" in one and "?" in one for one in session.request.sets):
        raise UsageError(
            "a URL with a query may be signed and is not written to a plan; nothing was saved",
            fix="put it into the manifest instead of --set",
        )
    if path.exists() and not is_saved(path):
        raise UsageError(f"{path} is no saved plan and is not overwritten", fix="choose another name")
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_lines(session))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise storage_error(error, path, then="plan again") from None
    finally:
        remove(part)
    return path


def load(path: Path) -> SavedPlan:
    """The plan; `UsageError` when it is not whole, or not as `save` writes it."""
    digest, count, told = hashlib.sha256(), 0, None
    head: dict[str, Any] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file):
            digest.update(line)
            if number == 0:
                head = _parsed(
                    path, line.rstrip().rstrip(b"[").rstrip().removesuffix(b'"jobs":').rstrip().rstrip(b",") + b"}"
                )
            elif line.startswith(b"["):
                _row(path, line)
                count += 1
            elif line.startswith(b"]"):
                told = _parsed(path, b"{" + line.lstrip(b"],").strip()).get("count")
    is_plan = head.get("schema") == SCHEMA and _has(head.get("request"), _KEPT) and _has(head.get("meaning"), _MEANING)
    if told != count or not is_plan or bool(head["request"]["prompts"]) is bool(head["request"]["manifest"]):
        raise _not_whole(path)
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in head["request"].items()
    }
    for name in _PATHS:
        value = kept[name]
        kept[name] = tuple(map(Path, value)) if isinstance(value, tuple) else Path(value) if value else None
    kept["date"] = kept["date"] and date.fromisoformat(kept["date"])
    return SavedPlan(path=path, digest=digest.hexdigest(), request=RunRequest(**kept), meaning=head["meaning"])


def _has(given: Any, rules: Mapping[str, Callable[[Any], bool]]) -> bool:
    """Whether it has these fields and no others, each as its rule says."""
    return isinstance(given, dict) and given.keys() == rules.keys() and all(rules[one](given[one]) for one in rules)


def asked(plan: SavedPlan, given: RunRequest) -> RunRequest:
    """The plan's request with what may still be chosen; `UsageError` when something else is said of what is bought."""
    default = RunRequest(manifest=given.manifest)
    said = [
        name
        for name in _KEPT
        if name not in ("manifest", "out", "emulator") and getattr(given, name) != getattr(default, name)
    ]
    if said:
        words = ", ".join(
            "--" + {"sets": "set", "tags": "tag", "allowed": "allow-dir", "database": "db"}.get(one, one)
            for one in said
        )
        raise UsageError(
            f"{plan.path} says what is bought, {words} cannot change it", fix="leave it out, or plan again"
        )
    if given.emulator and not plan.request.emulator:
        raise UsageError(
            f"{plan.path} is for {plan.meaning['endpoint']}, not for a rehearsal", fix="leave --emulator out"
        )
    kept = {name: getattr(plan.request, name) for name in _KEPT}
    kept["out"] = given.out or kept["out"]
    caps = [cap for cap in (given.max_cost, plan.meaning["max_cost"]) if cap is not None]
    return replace(given, **kept, max_cost=min(caps, default=None), saved=plan.digest)


def check(plan: SavedPlan, session: Session, *, begun: bool) -> int:
    """How many of the plan's jobs are still to be sent; `UsageError` that says what has moved on.

    Once a run of the plan has begun, its own jobs may have gone on; nothing else may be sent, and nothing else has changed.
    """
    now = _meaning(session)
    wrong = [f"{name} was {plan.meaning[name]}, and is {now[name]}" for name in now if plan.meaning[name] != now[name]]
    left = 0
    for saved, current in zip_longest(plan.rows(), rows(session)):
        if saved is None or current is None or not _agree(saved, current, begun=begun):
            wrong += _differences(plan.rows(), rows(session), begun=begun)
            break
        left += current[0] in (SEND, LATER) and saved[0] == SEND
    if wrong:
        told = "; ".join(wrong[:SAMPLE]) + (f"; and {len(wrong) - SAMPLE} more" if len(wrong) > SAMPLE else "")
        raise UsageError(
            f"{plan.path} is no longer what a run would do: {told}; nothing was sent", fix="plan again, with --out"
        )
    return left


def rows(session: Session) -> Iterator[Row]:
    """What this session's run would do with each job that the manifest has."""
    request, sent = session.request, 0
    for one in session.store.planned():
        if one.request is not None:
            does = one.verdict.value
            if one.verdict.is_sent:
                selected = request.selects(one) and (request.limit is None or sent < request.limit)
                sent += selected
                does = SEND if selected else LATER
            yield does, one.key, one.fingerprint, one.output


def _agree(saved: Row, current: Row, *, begun: bool) -> bool:
    if saved[1:] != current[1:]:
        return False
    if not begun:
        return saved[0] == current[0]
    return saved[0] in (SEND, LATER) or current[0] not in (SEND, LATER)


def _differences(saved: Iterable[Row], current: Iterable[Row], *, begun: bool) -> list[str]:
    known = {row[1]: row for row in saved}
    told = []
    for row in current:
        old = known.pop(row[1], None)
        if old is None:
            told.append(f"{row[1]} is new")
        elif old[2] != row[2]:
            told.append(f"{row[1]} asks for something else: its text, its parameters or a frame")
        elif old[3] != row[3]:
            told.append(f"{row[1]} would lie at {row[3]}")
        elif not _agree(old, row, begun=begun):
            told.append(f"{row[1]} was to be {_said(old[0])}, and is to be {_said(row[0])}")
    told += [f"{key} is gone" for key in known]
    return told or ["the order of the jobs"]


def _said(does: str) -> str:
    return {SEND: "sent", LATER: "sent later"}.get(does, f"left alone ({does.replace('_', ' ')})")


def _meaning(session: Session) -> dict[str, Any]:
    prices = session.manifest.prices
    return {
        "batch": session.batch.name,
        "endpoint": session.batch.endpoint,
        "frames": session.manifest.frames.value,
        "currency": session.batch.currency,
        "prices": {"per_second": prices.per_second, **prices.amounts} if prices else None,
    }


def _lines(session: Session) -> Iterator[str]:
    request = {name: _plain(getattr(session.request, name)) for name in _KEPT}
    request |= {"database": str(session.database.absolute()), "out": str(session.folder.root)}
    request["date"] = session.manifest.date and session.manifest.date.isoformat()  # this night's, whenever it is run
    meaning = {**_meaning(session), "max_cost": session.request.max_cost}
    head = {"schema": SCHEMA, "made_at": session.clock().isoformat(), "request": request, "meaning": meaning}
    yield json.dumps(head, ensure_ascii=False)[:-1] + ', "jobs": ['
    count = 0
    for row in rows(session):
        yield ("," if count else "") + "\n" + json.dumps(row, ensure_ascii=False)
        count += 1
    yield f'\n], "count": {count}}}\n'


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _row(path: Path, line: bytes) -> Row:
    try:
        row = json.loads(line.rstrip().rstrip(b","))
    except (ValueError, RecursionError):
        raise _not_whole(path) from None
    if not _texts(row) or len(row) != 4:
        raise _not_whole(path)
    does, key, fingerprint, output = row
    return does, key, fingerprint, output


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise _not_whole(path) from None
    return found if isinstance(found, dict) else {}


def _not_whole(path: Path) -> UsageError:
    return UsageError(f"{path} is not a whole plan; nothing was sent", fix="plan again, with --out")
