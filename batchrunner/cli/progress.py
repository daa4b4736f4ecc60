"""The views of a run: live on a terminal, plain lines in a log, JSON for programs, or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from batchrunner.cli.words import printable, say, shown
from batchrunner.events import Beat, Held, JobMoved, JobProgress, Listener, RunEvent
from batchrunner.report import summary
from batchrunner.states import JobState

MODES = ("auto", "tty", "plain", "json", "quiet")
BEAT_EVERY = 60.0
"""Seconds between two lines that say that a silent run is alive."""


def resolve(mode: str, stream: TextIO | None) -> str:
    """What `auto` means for this stream: live on a terminal that can, plain lines otherwise."""
    if mode != "auto":
        return mode
    capable = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
    return "tty" if capable else "plain"


@contextmanager
def view(mode: str, name: str, total: int) -> Iterator[Listener]:
    """The listener of a mode, and whatever it draws, for as long as the run lasts."""
    if mode == "tty":
        from batchrunner.cli.live import LiveView

        with LiveView(name, total=total) as live:
            yield live.tell
    elif mode == "plain":
        yield PlainView().tell
    elif mode == "json":
        yield _json
    else:
        yield lambda event: None


_WORDS = {
    JobState.SUBMITTING: "submit",
    JobState.RUNNING: "accept",
    JobState.FETCHING: "made",
    JobState.DONE: "done",
    JobState.FAILED: "FAILED",
    JobState.IN_DOUBT: "DOUBT",
    JobState.PENDING: "wait",
    JobState.CANCELLED: "cancel",
}


class PlainView:
    """One line a change, never a carriage return or an escape, and a sign of life each minute."""

    def __init__(self) -> None:
        self._beat: datetime | None = None

    def tell(self, event: RunEvent) -> None:
        """Write what is worth a line."""
        match event:
            case JobMoved(state=JobState.SUBMITTING | JobState.FETCHING):
                return
            case JobMoved():
                self._line(event.at, f"{_WORDS[event.state]:<7}{event.key}{_details(event)}")
            case Held():
                self._line(event.at, f"hold   {event.reason}: {event.message}")
            case Beat():
                if self._beat is None:
                    self._beat = event.at
                elif (event.at - self._beat).total_seconds() >= BEAT_EVERY:
                    self._beat = event.at
                    self._line(event.at, f"beat   {summary.standing(event.counts)}{_ends(event)}")
            case JobProgress():
                return

    def _line(self, at: datetime, text: str) -> None:
        say(f"{at.astimezone().isoformat(timespec='seconds')} {printable(text)}", err=True)


def _ends(event: Beat) -> str:
    return f"; ends {summary.finish(event.eta, event.at)}" if event.eta else ""


def _details(event: JobMoved) -> str:
    parts = []
    if event.clip is not None:
        clip = event.clip
        parts.append(
            f"{clip.duration:.1f}s {clip.width}x{clip.height} {clip.bytes / 1e6:.2f}MB {shown(Path(clip.path))}"
        )
    elif event.task_id:
        parts.append(event.task_id)
    parts += [part for part in (event.reason, event.message) if part]
    return "  " + " ".join(parts) if parts else ""


def _json(event: RunEvent) -> None:
    at = event.at.isoformat()
    match event:
        case JobMoved():
            record: dict[str, object] = {
                "type": f"job.{event.state.value}",
                "at": at,
                "key": event.key,
                "reason": event.reason,
                "message": event.message,
                "task_id": event.task_id,
                "output": event.clip.path if event.clip else None,
            }
        case JobProgress():
            record = {
                "type": "job.progress",
                "at": at,
                "key": event.key,
                "status": event.status,
                "progress": event.progress,
            }
        case Held():
            record = {"type": "run.held", "at": at, "reason": event.reason, "message": event.message}
        case Beat():
            record = {
                "type": "run.beat",
                "at": at,
                "counts": {s.value: n for s, n in event.counts.items() if n},
                "expected_finish": summary.finish_as_json(event.eta, event.at),
            }
    say(json.dumps(record, ensure_ascii=False))
