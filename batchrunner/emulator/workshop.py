"""The emulator's work in the background: fetching the images of accepted tasks and rendering clips into a cache on disk.

Nothing waits for it but a download: tasks that need images stay in progress until these are there, and a clip is rendered
when it is downloaded, if the background has not come to it. One clip is rendered at a time.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from batchrunner.emulator.clips import ClipSpec, open_image, render, variant_of
from batchrunner.emulator.images import ImageStore, ImageUnavailable
from batchrunner.emulator.ledger import Entry, Ledger
from batchrunner.emulator.lifecycle import earliest_failure

FETCHERS = 4
"""Threads that fetch images, so that one slow host does not hold up every task."""
STOP_TIMEOUT = 1.0
"""Seconds that the threads get to finish; one that hangs in a download is left to die with the process."""

logger = logging.getLogger(__name__)


class Crew:
    """Daemon threads that work on entries in the order of arrival; they start with the first one."""

    def __init__(self, name: str, size: int, work: Callable[[Entry], None]) -> None:
        self._name, self._size, self._work = name, size, work
        self._entries: queue.Queue[Entry | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def take(self, entry: Entry) -> None:
        if self._closed:
            return
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._run, name=f"emulator-{self._name}-{number}", daemon=True)
                for number in range(self._size)
            ]
            for thread in self._threads:
                thread.start()
        self._entries.put(entry)

    def wait(self) -> None:
        """Return when everything taken so far is done."""
        self._entries.join()

    def close(self) -> None:
        """Let the threads finish what they have begun and leave the rest."""
        self._closed = True
        for _ in self._threads:
            self._entries.put(None)

    def join(self, deadline: float) -> None:
        """Wait for the threads until `deadline`, on the monotonic clock."""
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _run(self) -> None:
        while (entry := self._entries.get()) is not None:
            try:
                if not self._closed:
                    self._work(entry)
            except Exception:  # the thread's boundary: the next entry may fare better, and a download shows the trouble
                logger.exception("emulator: background work failed", extra={"task_id": entry.id})
            finally:
                self._entries.task_done()
        self._entries.task_done()


class Workshop:
    """Fetches and renders for a ledger's entries."""

    def __init__(
        self, *, ledger: Ledger, images: ImageStore, clips: Path, clock: Callable[[], float], full: bool = False
    ) -> None:
        self._ledger, self._images, self._clips, self._clock = ledger, images, clips, clock
        self._full = full
        clips.mkdir(parents=True, exist_ok=True)
        self._render_lock = threading.Lock()
        self._fetchers = Crew("fetch", FETCHERS, self._fetch)
        self._renderer = Crew("render", 1, self._prepare)

    def take(self, entry: Entry) -> None:
        """Get an accepted task's images, and its clip ready for the download."""
        if entry.inputs is None:
            self._fetchers.take(entry)
        elif self.ready(entry) is None:
            self._renderer.take(entry)

    def wait(self) -> None:
        """Return when everything taken so far is done."""
        self._fetchers.wait()  # what it finishes is taken on by the renderer
        self._renderer.wait()

    def close(self) -> None:
        """Stop within seconds; what was not begun is taken up after the next start."""
        crews = (self._fetchers, self._renderer)
        for crew in crews:
            crew.close()
        deadline = time.monotonic() + STOP_TIMEOUT
        for crew in crews:
            crew.join(deadline)

    def ready(self, entry: Entry) -> Path | None:
        """The file of a task's clip if it is in the cache: in no time, so that nothing waits in a thread for it."""
        path = self._path(self._spec(entry))
        return path if path.exists() else None

    def clip(self, entry: Entry) -> Path:
        """The file of a task whose images are known, rendered now unless it is in the cache."""
        return self._file(self._spec(entry))

    def wrong_clip(self, entry: Entry) -> Path:
        """A clip that somebody else asked for: of another length and shape, and without the given frames."""
        submission = entry.submission
        return self._file(
            ClipSpec(
                mode=submission.mode,
                duration=10 if submission.duration == 5 else 5,
                aspect_ratio="9:16" if submission.aspect_ratio == "16:9" else "16:9",
                audio=submission.audio,
                full=self._full,
            )
        )

    def without_last_frame(self, entry: Entry) -> Path:
        """The clip of a task as if it had been given no more than a first frame."""
        spec = self._spec(entry)
        return self._file(replace(spec, images=spec.images[:1]))

    def _file(self, spec: ClipSpec) -> Path:
        path = self._path(spec)
        if path.exists():
            return path
        with self._render_lock:
            if not path.exists():
                part = self._clips / f".{spec.key}.{secrets.token_hex(4)}.part"  # others may share the folder
                render(spec, [open_image(self._images.folder / name) for name in spec.images], part)
                part.replace(path)
        return path

    def _spec(self, entry: Entry) -> ClipSpec:
        spec = _spec(entry)
        return replace(spec, full=True, variant=0) if self._full else spec  # full ones take seconds: prompts share one

    def _path(self, spec: ClipSpec) -> Path:
        return self._clips / f"{spec.key}.clip"  # not .mp4: what people look for among their files are their clips

    def _fetch(self, entry: Entry) -> None:
        try:
            inputs = tuple(self._images.resolve(url) for url in entry.submission.images)
        except ImageUnavailable as error:
            at = max(self._clock(), earliest_failure(entry))
            self._ledger.record_failure(entry.id, at=at, message=str(error))
        else:
            self._renderer.take(self._ledger.record_inputs(entry.id, inputs))

    def _prepare(self, entry: Entry) -> None:
        self.clip(entry)


def _spec(entry: Entry) -> ClipSpec:
    submission = entry.submission
    return ClipSpec(
        mode=submission.mode,
        duration=submission.duration,
        aspect_ratio=submission.aspect_ratio,
        audio=submission.audio,
        variant=0 if entry.inputs else variant_of(submission.prompt),
        images=entry.inputs or (),
    )
