"""What the fates of a task do: pure functions of its entry and the moment, as its life itself is."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchrunner.emulator.faults import FAULTS, Fate
from batchrunner.emulator.ledger import Entry

UNKNOWN_WORDS = ("unknown", "not_start", "rendering_v2")
"""The first two are stock relays' own (facts §4)."""
SET_BACK = (0.4, 0.6)
"""Shares of its service time between which a task that goes back is queued again."""


def fated(entry: Entry) -> Entry:
    """A new entry with what its fate decides from the start: its pace, and when and why it fails."""
    for name, parameters in entry.fate.items():
        if name == "task_slow":
            entry = replace(entry, service=entry.service * float(parameters["factor"]))
    for name, parameters in entry.fate.items():
        effect = FAULTS[name].effect
        if isinstance(effect, Fate) and "share" in parameters:
            failed_at = entry.accepted_at + entry.service * float(parameters["share"])
            entry = replace(entry, failed_at=failed_at, failure=effect.message)
    return entry


def is_stuck(entry: Entry) -> bool:
    """Whether it stays in progress for ever."""
    return "task_stuck" in entry.fate


def is_found(entry: Entry, any_id: str, now: float) -> bool:
    """Whether a look-up by this id, the task's or the client's, finds it by now."""
    age = now - entry.accepted_at
    hidden = _seconds(entry, "task_404")
    if any_id != entry.id:
        if "client_id_ignored" in entry.fate:
            return False
        hidden = max(hidden, _seconds(entry, "client_id_late"))
    return "never_stored" not in entry.fate and age >= hidden


def has_dead_link(entry: Entry, now: float) -> bool:
    """Whether the link that is handed out now does not work."""
    return "expired_url" in entry.fate or _since_completion(entry, now) < _seconds(entry, "url_dead_at_first")


def reworded(entry: Entry, body: dict[str, Any], now: float) -> dict[str, Any]:
    """What a poll says of the task, as its fate has it."""
    body = _result(entry, dict(body), now)
    if "client_id_ignored" in entry.fate:
        body.pop("client_business_id", None)
    if body["status"] == "failed" and entry.failure is None:
        body.pop("error", None)
    if "status_backwards" in entry.fate:
        body = _set_back(entry, body, now)
    elif "status_unknown" in entry.fate and body["status"] in ("queued", "in_progress"):
        body["status"] = random.Random(entry.draw).choice(UNKNOWN_WORDS)
    elif "status_uppercase" in entry.fate:
        body["status"] = str(body["status"]).upper()
    return body


def _result(entry: Entry, body: dict[str, Any], now: float) -> dict[str, Any]:
    if body["status"] != "completed":
        return body
    if "no_url_ever" in entry.fate:
        del body["result"]
    elif _since_completion(entry, now) < _seconds(entry, "no_url"):
        body["result"] = {"type": "video", "data": []}
    if "expired_url" in entry.fate:
        body["expires_at"] = body["completed_at"]
    return body


def _set_back(entry: Entry, body: dict[str, Any], now: float) -> dict[str, Any]:
    """Queued again in the middle of its life, and in progress again for as long right after it was completed."""
    share = (now - entry.accepted_at) / entry.service
    low, high = SET_BACK
    if body["status"] == "in_progress" and low <= share < high:
        return body | {"status": "queued", "progress": 5}
    if body["status"] == "completed" and 1 + low <= share < 1 + high:
        kept = {name: value for name, value in body.items() if name not in ("result", "completed_at", "expires_at")}
        return kept | {"status": "in_progress", "progress": 60}
    return body


def _since_completion(entry: Entry, now: float) -> float:
    return now - entry.accepted_at - entry.service


def _seconds(entry: Entry, name: str) -> float:
    parameters: Mapping[str, Any] = entry.fate.get(name, {})
    return float(parameters.get("seconds", 0.0))
