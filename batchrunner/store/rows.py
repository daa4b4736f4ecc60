"""Between the model's values and the columns that hold them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from batchrunner import request as requests
from batchrunner.model import Answer, Asset, Attempt, Batch, Clip, Job, Moment, ReplayProof, WantedJob
from batchrunner.states import JobState
from batchrunner.store.base import StoredJob

_CHARGED = "FROM attempts WHERE job_id = jobs.id AND charge <> 'released'"
BATCH_COLUMNS = "id, name, endpoint, paused_reason, paused_message, currency, manifest, folder"
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


def to_text(at: datetime | None) -> str | None:
    """UTC with a fixed width, so that times sort as text."""
    if at is None:
        return None
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_time(text: str | None) -> datetime | None:
    """What `to_text` wrote."""
    return None if text is None else datetime.fromisoformat(text)


def to_list(words: Sequence[str]) -> str:
    """Words as a JSON list."""
    return json.dumps(list(words), ensure_ascii=False) if words else "[]"


def to_words(text: str) -> tuple[str, ...]:
    """What `to_list` wrote."""
    return tuple(json.loads(text))


def to_batch(row: sqlite3.Row) -> Batch:
    return Batch(
        id=row["id"],
        name=row["name"],
        endpoint=row["endpoint"],
        paused=row["paused_reason"],
        paused_message=row["paused_message"],
        currency=row["currency"],
        manifest=row["manifest"],
        folder=row["folder"],
    )


def to_attempt(row: sqlite3.Row) -> Attempt:
    answer = Answer(
        rule=row["rule"] or "",
        body_started=row["body_started"] != 0,
        http_status=row["http_status"],
        code=row["code"],
        message=row["message"],
        request_id=row["request_id"],
        candidate=row["candidate"],
    )
    return Attempt(
        number=row["number"],
        purchase_id=row["purchase_id"],
        outcome=row["outcome"],
        charge=row["charge"],
        price=row["price"],
        body_sha256=row["body_sha256"],
        intended_at=datetime.fromisoformat(row["intended_at"]),
        answered_at=to_time(row["answered_at"]),
        answer=answer if row["rule"] else None,
        task_id=row["task_id"],
    )


def to_proof(row: sqlite3.Row) -> ReplayProof:
    return ReplayProof(
        base_url=row["base_url"],
        model=row["model"],
        key=row["key"],
        proved_at=datetime.fromisoformat(row["proved_at"]),
        holds=bool(row["holds"]),
        note=row["note"],
    )


def to_moment(row: sqlite3.Row) -> Moment:
    return Moment(
        at=datetime.fromisoformat(row["at"]),
        event=row["event"],
        source=row["from_state"],
        target=row["to_state"],
        note=row["note"],
    )


def to_job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        key=row["key"],
        fingerprint=row["fingerprint"],
        state=JobState(row["state"]),
        request=requests.from_json(row["request"]),
        output=row["output"],
        reason=row["reason"],
        message=row["message"],
        attempts=row["attempts"],
        not_before=to_time(row["not_before"]),
        purchase_id=row["purchase_id"],
        task_id=row["task_id"],
        provider_status=row["provider_status"],
        progress=row["progress"],
        submitted_at=to_time(row["submitted_at"]),
        expires_at=to_time(row["expires_at"]),
        clip=_to_clip(row),
        price=row["price"],
        wanted=bool(row["wanted"]),
        tags=to_words(row["tags"]),
    )


def to_wanted(row: sqlite3.Row) -> WantedJob:
    return WantedJob(
        key=row["key"],
        fingerprint=row["fingerprint"],
        request=requests.from_json(row["request"]),
        output=row["output"],
        position=row["position"],
        tags=to_words(row["tags"]),
    )


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


def to_stored_job(row: sqlite3.Row) -> StoredJob:
    return StoredJob(
        id=row["id"],
        key=row["key"],
        fingerprint=row["fingerprint"],
        state=JobState(row["state"]),
        attempts=row["attempts"],
        output=row["output"],
        wanted=bool(row["wanted"]),
        paid=bool(row["paid"]),
    )


def to_asset(row: sqlite3.Row) -> Asset:
    uploaded_at = datetime.fromisoformat(row["uploaded_at"])
    return Asset(sha256=row["sha256"], endpoint=row["endpoint"], url=row["url"], uploaded_at=uploaded_at)
