"""The frames of jobs: each file is looked at once, however many jobs begin or end with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batchrunner.manifest import pictures
from batchrunner.manifest.spots import Problems, Spot
from batchrunner.media.frames import FrameFacts, FrameProblem
from batchrunner.model import AspectRatio, Frame

Probe = Callable[[Path], FrameFacts | FrameProblem]


@dataclass(slots=True, kw_only=True)
class Preflight:
    """Turns what is written as a frame into a frame, and says what is wrong with it."""

    folder: Path
    """What relative paths start from."""
    probe: Probe
    problems: Problems
    private_urls: dict[str, str] = field(default_factory=dict)
    """By the frame's sha256, whole URLs that may not be stored or shown."""
    _seen: dict[str, Frame | FrameProblem] = field(default_factory=dict)

    def frame(self, value: str, spot: Spot) -> Frame:
        """One frame; when something is wrong with it, a stand-in, so that the other rules can still be checked."""
        if pictures.is_url(value):
            return self._url(value, spot)
        if value not in self._seen:
            self._seen[value] = self._local(value)
        found = self._seen[value]
        if isinstance(found, FrameProblem):
            self.problems.error(spot, found.code, found.message, found.help)
            return Frame(source=value, sha256="", local=True)
        return found

    def check_pair(self, frames: tuple[Frame, ...], asked: AspectRatio, first: Spot, last: Spot) -> None:
        """Warn about frames that would be cropped or stretched."""
        if len(frames) == 2 and (message := pictures.pair_warning(*frames)):
            self.problems.warning(last, "FRM321", message, "crop both to the same shape")
        for side, frame, spot in zip(("first", "last"), frames, (first, last), strict=False):
            if message := pictures.ratio_warning(side, frame, asked):
                help = "crop the frame or change aspect_ratio; the provider may follow either"
                self.problems.warning(spot, "FRM322", message, help)
                return  # the other frame is of the same shape, or the pair's warning has said so

    def _url(self, value: str, spot: Spot) -> Frame:
        if problem := pictures.url_problem(value):
            self.problems.error(spot, problem.code, problem.message, problem.help)
        elif pictures.is_private_host(value):
            help = "the provider reads the URL itself: use a public one, or a local file, which is uploaded"
            self.problems.warning(spot, "FRM323", "this URL can only be reached from here", help)
        frame, private = pictures.url_frame(value)
        if private:
            self.private_urls[frame.sha256] = value
        return frame

    def _local(self, value: str) -> Frame | FrameProblem:
        if problem := pictures.path_problem(value):
            return problem
        path = self.folder / value
        facts = self.probe(path)
        if isinstance(facts, FrameProblem):
            return facts
        return Frame(source=str(path), sha256=facts.sha256, local=True, size=(facts.width, facts.height))
