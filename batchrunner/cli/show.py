"""`batchrunner show`: everything about one job: its request, its history, its money, its file, and what helps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from batchrunner import app
from batchrunner.cli import advice
from batchrunner.cli.params import database_option, jobs_argument
from batchrunner.cli.words import printable, put, shown
from batchrunner.errors import ExitCode
from batchrunner.model import Attempt, Batch, Job, Moment
from batchrunner.report import summary
from batchrunner.selection import select_one
from batchrunner.store.base import Store


@click.command()
@jobs_argument(required=True, metavar="[BATCH] JOB")
@database_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(words: tuple[str, ...], database: Path | None, as_json: bool) -> ExitCode:
    """Everything about one JOB (its key, or a glob that fits it alone). It only reads, and never waits for a run."""
    with app.looking(database) as store:
        batch, job = select_one(store, words)
        if as_json:
            put(json.dumps(_document(store, batch, job), ensure_ascii=False) + "\n")
            return ExitCode.DONE
        for line in _lines(store, batch, job, database):
            put(printable(line) + "\n")
    return ExitCode.DONE


def _lines(store: Store, batch: Batch, job: Job, database: Path | None) -> Iterator[str]:
    request = job.request
    why = " ".join(filter(None, (job.reason, job.message)))
    yield f"{job.key}  {job.state.value}{f': {why}' if why else ''}  ({batch.name} at {batch.endpoint})"
    sound = ", sound" if request.audio else ""
    yield f"  asks    {request.model} {request.mode.value} {request.duration} s {request.aspect_ratio.value}{sound}"
    yield f"  prompt  {request.prompt}"
    if request.negative_prompt:
        yield f"  without {request.negative_prompt}"
    for name, frame in zip(("first", "last"), request.frames, strict=False):
        yield f"  {name:<7} {frame.source}"
    if job.clip is not None:
        clip, there = job.clip, Path(job.clip.path).exists()
        facts = f"{clip.duration:.1f} s {clip.width}x{clip.height} {clip.bytes / 1e6:.2f} MB"
        yield f"  file    {shown(Path(clip.path))}  {facts}{'' if there else '  (no longer there)'}"
    if job.task_id or job.purchase_id:
        yield f"  ids     task {job.task_id or 'unknown'}, purchase {job.purchase_id or 'none yet'}"
    yield from _money(store.attempts(job.id), batch)
    yield "  history"
    for moment in store.history(job.id):
        yield f"    {_clock(moment.at)}  {_moved(moment)}"
    if not job.wanted:
        yield "  the manifest no longer asks for it"
    yield from advice.ways(advice.for_job(batch, job, database))


def _money(attempts: list[Attempt], batch: Batch) -> Iterator[str]:
    for one in attempts:
        price = "no price" if one.price is None else summary.amount(one.price, batch.currency)
        answer = one.answer
        said = ""
        if answer is not None:
            parts = (
                f"row {answer.rule}",
                f"HTTP {answer.http_status}" if answer.http_status else "",
                answer.code or "",
            )
            said = f"  ({', '.join(part for part in parts if part)})"
        request_id = f"  request {answer.request_id}" if answer and answer.request_id else ""
        yield f"  bought  #{one.number} {_clock(one.intended_at)}  {one.outcome}, {price} {one.charge}{said}{request_id}"


def _moved(moment: Moment) -> str:
    return f"{moment.source} → {moment.target}  {moment.event}{f': {moment.note}' if moment.note else ''}"


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _document(store: Store, batch: Batch, job: Job) -> dict[str, Any]:
    return {
        "schema": "batchrunner/job@1",
        "batch": batch.name,
        "key": job.key,
        "state": job.state.value,
        "reason": job.reason,
        "message": job.message,
        "wanted": job.wanted,
        "task_id": job.task_id,
        "purchase_id": job.purchase_id,
        "prompt": job.request.prompt,
        "mode": job.request.mode.value,
        "duration": job.request.duration,
        "aspect_ratio": job.request.aspect_ratio.value,
        "audio": job.request.audio,
        "frames": [frame.source for frame in job.request.frames],
        "output": job.clip.path if job.clip else None,
        "attempts": [_attempt(one) for one in store.attempts(job.id)],
        "history": [
            {"at": one.at.isoformat(), "event": one.event, "from": one.source, "to": one.target, "note": one.note}
            for one in store.history(job.id)
        ],
    }


def _attempt(one: Attempt) -> dict[str, Any]:
    answer = one.answer
    return {
        "number": one.number,
        "at": one.intended_at.isoformat(),
        "purchase_id": one.purchase_id,
        "task_id": one.task_id,
        "outcome": one.outcome,
        "charge": one.charge,
        "price": None if one.price is None else one.price / 1_000_000,
        "rule": answer.rule if answer else None,
        "http_status": answer.http_status if answer else None,
        "request_id": answer.request_id if answer else None,
    }
