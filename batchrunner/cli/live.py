"""The live view of a run at a terminal: one bar, what is in flight, and what happened last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchrunner.cli.words import printable
from batchrunner.events import Beat, Held, JobMoved, JobProgress, RunEvent
from batchrunner.report.summary import finish, standing
from batchrunner.states import JobState

ROWS = 10
REFRESHES = 8
"""A second, at most."""
_STAGES = {
    JobState.SUBMITTING: "submitting",
    JobState.RUNNING: "accepted",
    JobState.FETCHING: "downloading",
}


@dataclass(slots=True)
class _Row:
    stage: str
    since: datetime
    progress: int | None = None


class LiveView:
    """Draws on stderr while it is open; errors and doubts scroll above it."""

    def __init__(self, name: str, *, total: int) -> None:
        self._name, self._total = name, max(total, 1)
        self._console = Console(stderr=True, emoji=False, highlight=False, markup=False)
        self._rows: dict[str, _Row] = {}
        self._counts: Mapping[JobState, int] = Counter()
        self._last, self._hold, self._ends = "", "", ""
        self._started: datetime | None = None
        self._now: datetime | None = None
        self._live = Live(
            console=self._console, refresh_per_second=REFRESHES, get_renderable=self._draw, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, event: RunEvent) -> None:
        """Take note of an event; the next refresh draws it."""
        self._now = event.at
        self._started = self._started or event.at
        match event:
            case JobMoved():
                self._moved(event)
            case JobProgress():
                if (row := self._rows.get(event.key)) is not None:
                    row.stage, row.progress = event.status, event.progress
                else:
                    self._rows[event.key] = _Row(event.status, event.at, event.progress)
            case Held():
                self._hold = f"{event.reason}: {event.message}"
                self._console.print(Text(printable(f"hold    {self._hold}"), style="yellow"))
            case Beat():
                self._counts = dict(event.counts)
                self._ends = finish(event.eta, event.at) if event.eta else ""

    def _moved(self, event: JobMoved) -> None:
        if (stage := _STAGES.get(event.state)) is not None:
            row = self._rows.setdefault(event.key, _Row(stage, event.at))
            row.stage, row.progress = stage, None
            return
        self._rows.pop(event.key, None)
        if event.state is JobState.DONE and event.clip is not None:
            self._last = f"✓ {event.key}  {event.clip.duration:.1f} s  {event.clip.bytes / 1e6:.2f} MB"
        elif event.state in (JobState.FAILED, JobState.IN_DOUBT):
            word = "failed" if event.state is JobState.FAILED else "in doubt"
            why = " ".join(filter(None, (event.reason, event.message)))
            self._console.print(Text(printable(f"{word}  {event.key}  {why}"), style="red"))

    def _draw(self) -> Group:
        elapsed = (self._now - self._started).total_seconds() if self._now and self._started else 0.0
        final = sum(self._counts.get(state, 0) for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED))
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        bar = ProgressBar(total=self._total, completed=final)
        head.add_row(Text(printable(self._name), style="bold"), bar, Text(f"{final}/{self._total}  {_clock(elapsed)}"))
        parts: list[Table | Text] = [
            head,
            Text(standing(self._counts) + (f"; ends {self._ends}" if self._ends else ""), style="dim"),
            self._table(),
        ]
        if len(self._rows) > ROWS:
            parts.append(Text(f"… and {len(self._rows) - ROWS} more in flight", style="dim"))
        if self._last:
            parts.append(Text(printable(self._last), style="green", no_wrap=True, overflow="ellipsis"))
        parts.append(Text("Ctrl-C once: stop buying and leave in good order; twice: leave at once", style="dim"))
        return Group(*parts)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, width=16)
        table.add_column(no_wrap=True, justify="right", width=8)
        for key, row in list(self._rows.items())[:ROWS]:
            stage = row.stage if row.progress is None else f"{row.stage} {row.progress}%"
            waited = (self._now - row.since).total_seconds() if self._now else 0.0
            table.add_row(Text(printable(key)), Text(_fit(printable(stage), 16)), Text(_clock(waited)))
        return table


def _fit(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
