"""Between the model's values and the columns that hold them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, TypeVar

from batchrunner import request as requests
from batchrunner.model import Answer, Attempt, Clip, Job, WantedJob
from batchrunner.states import JobState
from batchrunner.store.faults import damaged

_CHARGED = "FROM attempts WHERE job_id = jobs.id AND charge <> 'released'"
BATCH_COLUMNS = "id, name, endpoint, paused_reason AS paused, paused_message, currency, manifest, folder"
JOB_COLUMNS = f"""
    id, key, fingerprint, state, request, output, reason, message, attempts, not_before, purchase_id, task_id,
    provider_status, progress, submitted_at, expires_at, wanted, position, tags,
    clip_path, clip_bytes, clip_sha256, clip_seconds, clip_width, clip_height, clip_sound,
    (SELECT price {_CHARGED} ORDER BY number DESC LIMIT 1) AS price
"""
STORED_JOB_COLUMNS = f"""
    id, key, fingerprint, state, attempts, output, wanted, position,
    attempts > 0 AND EXISTS (SELECT 1 {_CHARGED}) AS paid
"""
WANTED_COLUMNS = (
    "key",
    "fingerprint",
    "prompt",
    "request",
    "billing_key",
    "seconds",
    "output",
    "position",
    "place",
    "tags",
)
"""What the manifest decides of a job: the names of `wanted_columns`."""


_WIDTH = len("2026-11-22T00:00:00.000000")
_last: tuple[datetime | None, str] = None, ""
"""One verb writes its `now` into several columns: the last moment and its text."""


def to_text(at: datetime | None) -> str | None:
    """UTC with a fixed width, so that times sort as text."""
    global _last
    if at is None:
        return None
    moment, text = _last
    if at is moment:
        return text
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    text = at.astimezone(UTC).isoformat(timespec="microseconds")[:_WIDTH] + "Z"
    _last = at, text
    return text


def to_time(text: str | None) -> datetime | None:
    """What `to_text` wrote."""
    return None if text is None else datetime.fromisoformat(text)


def to_list(words: Sequence[str]) -> str:
    """Words as a JSON list."""
    return json.dumps(list(words), ensure_ascii=False) if words else "[]"


def to_words(text: str) -> tuple[str, ...]:
    """What `to_list` wrote."""
    return tuple(json.loads(text))


T = TypeVar("T")

_READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("not_before", "submitted_at", "expires_at", "uploaded_at"), to_time),
    **dict.fromkeys(("at", "intended_at", "answered_at", "settled_at", "proved_at"), to_time),
    **dict.fromkeys(("wanted", "paid", "holds", "sound", "prompt", "is_last", "is_rerolled"), bool),
    "day": date.fromisoformat,
    "state": JobState,
    "request": requests.from_json,
    "tags": to_words,
}
"""How a column becomes the field of its name, where it is not the same already."""


@cache
def _readers(kind: Any) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    return tuple((field.name, _READ.get(field.name)) for field in fields(kind))


def read(kind: type[T], row: sqlite3.Row, /, **known: Any) -> T:
    """A value of the model: for each of its fields that is not `known` the row has a column of that name."""
    hashable: Any = kind
    try:
        for name, convert in _readers(hashable):
            if name not in known:
                known[name] = row[name] if convert is None else convert(row[name])
    except (ValueError, TypeError, KeyError) as error:
        raise damaged("the database", f"a row's {name} is none: {error}") from error
    return kind(**known)


def to_attempt(row: sqlite3.Row) -> Attempt:
    answer = None
    if row["rule"]:
        answer = read(Answer, row, body_started=row["body_started"] != 0)
    return read(Attempt, row, answer=answer)


def to_job(row: sqlite3.Row) -> Job:
    return read(Job, row, clip=_to_clip(row))


def to_wanted(row: sqlite3.Row) -> WantedJob:
    return read(WantedJob, row, place=None)


def _to_clip(row: sqlite3.Row) -> Clip | None:
    if row["clip_path"] is None:
        return None
    return Clip(
        path=row["clip_path"],
        bytes=row["clip_bytes"],
        sha256=row["clip_sha256"],
        duration=row["clip_seconds"],
        width=row["clip_width"],
        height=row["clip_height"],
        sound=bool(row["clip_sound"]),
    )


def clip_columns(clip: Clip) -> dict[str, Any]:
    return {
        "clip_path": clip.path,
        "clip_bytes": clip.bytes,
        "clip_sha256": clip.sha256,
        "clip_seconds": clip.duration,
        "clip_width": clip.width,
        "clip_height": clip.height,
        "clip_sound": int(clip.sound),
    }


def wanted_columns(wanted: WantedJob) -> dict[str, Any]:
    """What the manifest decides of a job."""
    return {
        "key": wanted.key,
        "fingerprint": wanted.fingerprint,
        "prompt": wanted.request.prompt,  # again by itself: for people, who read the table
        "request": requests.to_json(wanted.request),
        "billing_key": wanted.request.billing_key,
        "seconds": wanted.request.duration,
        "output": wanted.output,
        "position": wanted.position,
        "place": None if wanted.place is None else str(wanted.place),
        "tags": to_list(wanted.tags),
    }


def answer_columns(answer: Answer) -> dict[str, Any]:
    return {
        "rule": answer.rule,
        "body_started": int(answer.body_started),
        "http_status": answer.http_status,
        "code": answer.code,
        "message": answer.message,
        "request_id": answer.request_id,
        "candidate": answer.candidate,
    }
