"""More takes of a job because a person asks for them: their keys, their files and their requests. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from batchrunner.model import Job, VideoRequest, WantedJob
from batchrunner.request import fingerprint

_TAKE = re.compile(r"(?:^|[/_-])t(\d+)$")


def more(job: Job, count: int, *, prompt: str | None, keys: Collection[str], position: int) -> list[WantedJob]:
    """So many new takes, named `KEY/t2`, `KEY/t3`, … as a manifest's `takes` would name them, after those that there are."""
    base = re.sub(r"/t\d+$", "", job.key)
    taken = [int(found[1]) for key in keys if (found := re.fullmatch(re.escape(base) + r"/t(\d+)", key))]
    first = max(taken, default=1) + 1
    request: VideoRequest = job.request if prompt is None else replace(job.request, prompt=prompt)
    return [
        WantedJob(
            key=f"{base}/t{number}",
            fingerprint=fingerprint(request),
            request=request,
            output=_beside(job.output, number),
            position=position,
            tags=job.tags,
        )
        for number in range(first, first + count)
    ]


def _beside(output: str, number: int) -> str:
    """The file of another take: `a.mp4` becomes `a-t2.mp4`, `a/t1.mp4` becomes `a/t2.mp4`."""
    path = PurePosixPath(output)
    found = _TAKE.search(path.stem)
    stem = f"{path.stem[: found.start(1)]}{number}" if found else f"{path.stem}-t{number}"
    return str(path.with_name(stem + path.suffix))


def with_asked(jobs: Iterable[WantedJob], asked: Collection[WantedJob]) -> Iterator[WantedJob]:
    """All that is wanted: what the manifest asks for, and what a person asked for and the manifest does not name."""
    names, named = {one.key for one in asked}, set()
    for job in jobs:
        if job.key in names:
            named.add(job.key)
        yield job
    yield from (one for one in asked if one.key not in named)
