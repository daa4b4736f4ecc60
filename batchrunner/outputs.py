"""The only writer of clips: stream -> `.part` -> fsync -> verified -> final name -> fsync of the folder.

Nothing half-written ever has a final name, and no file that is not ours is replaced. The `.part` stays as a second name of
the clip until its job is recorded as done: a run that dies in between is told by it which file was its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from batchrunner.durable import (
    COLLECT_AGAIN,
    SEND_AGAIN,
    begin_sync,
    claim,
    created,
    make_folder,
    names,
    opened_new,
    remove,
    storage_error,
    sync_folder,
    write_all,
    write_durably,
)
from batchrunner.errors import StorageError

_PART = re.compile(r"\.[0-9a-f]{8}\.part\Z")
_PROBE = b"\0" * 4096
RESERVE = 512 << 20
"""Bytes of the disk that no clip is stored in; of a small disk a twentieth (reliability notes §1.4)."""
BAD_BYTES = 1 << 20
"""Of a file that is no clip at all, as much as support could want to see."""
LOOK = 1.0
"""Seconds for which what a disk had to spare is believed, less what was given away since; the reserve is far larger than
what others write meanwhile."""

FOLDERS = 256
"""Of those that clips went to last, that are known to be there; a batch may have one for each clip."""


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class OutputFolder:
    """The folder that a batch's clips go to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._spare, self._looked_at = 0, float("-inf")
        self._checked: set[Path] = set()

    def check(self) -> None:
        """Prove, with a real file, that clips can be kept here; `StorageError` before anything is paid for."""
        try:
            make_folder(self.root)
            probe, file = created(self.root / ".batchrunner.probe", _PROBE.startswith)
            try:
                with file:
                    write_durably(file, _PROBE)
            finally:
                remove(probe)
        except OSError as error:
            raise storage_error(error, self.root, then=SEND_AGAIN) from None
        self.make_room(0, then=SEND_AGAIN)

    def make_room(self, size: int, *, then: str = COLLECT_AGAIN) -> None:
        """`StorageError` when a file of `size` bytes would use up the disk's reserve: what cannot be kept is not fetched."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK or size > self._spare:
            try:
                make_folder(self.root)
                disk = shutil.disk_usage(self.root)
            except OSError as error:
                raise storage_error(error, self.root, then=then) from None
            self._spare, self._looked_at = disk.free - min(RESERVE, disk.total // 20), now
            if size > self._spare:
                raise StorageError(
                    f"the disk of {self.root} is nearly full ({disk.free >> 20} MiB are free); no paid clip is lost",
                    fix=f"free some space, then {then}",
                )
        self._spare -= size

    def part(self, output: str, *, owner: str) -> Part:
        """A new, empty `.part` for the clip `output`; `owner` (a task id) keeps two databases apart."""
        final, path = self._names_of(output, owner)
        try:
            if path.parent not in self._checked:
                self._make(path.parent)
            try:
                descriptor = opened_new(path)
            except FileExistsError:
                # A run that died between link and unlink left one file with two names: emptying it would empty the clip.
                path.unlink(missing_ok=True)
                descriptor = opened_new(path)
            except FileNotFoundError:  # somebody has removed the folder
                self._make(path.parent)
                descriptor = opened_new(path)
        except OSError as error:
            raise storage_error(error, path.parent) from None
        return Part(path=path, final=final, descriptor=descriptor)

    def _make(self, folder: Path) -> None:
        """The folder is there, and inside ours; looked at now and then, as each clip would ask for many names."""
        make_folder(folder)
        if folder != self.root:
            self._refuse_detour(folder)
        if len(self._checked) >= FOLDERS:
            self._checked.clear()
        self._checked.add(folder)

    def published(self, output: str, *, owner: str) -> Path | None:
        """The clip that an earlier run named and did not live to record; None when there is none that is surely its own."""
        final, part = self._names_of(output, owner)
        try:
            if part.is_symlink() or not part.is_file() or part.stat().st_nlink < 2:
                return None
            for candidate in names(final):
                if not candidate.exists():
                    return None
                if not candidate.is_symlink() and candidate.samefile(part):
                    sync_folder(candidate.parent)
                    return candidate
        except OSError:
            return None
        raise AssertionError("there is always a next number")

    def recorded(self, output: str, *, owner: str) -> None:
        """The clip's job is done: it needs no second name any more."""
        remove(self.second_name(output, owner=owner))

    def second_name(self, output: str, *, owner: str) -> Path:
        """The name that a clip has beside its own until its job is recorded as done."""
        return self._names_of(output, owner)[1]

    def left_over(self) -> set[Path]:
        """The parts that runs which died left here; a look at names alone."""
        return set(_parts_in(self.root))

    def tidy(self, saved_as: Callable[[set[str]], Iterable[tuple[str, str]]]) -> None:
        """Remove the second names of clips that were recorded just before a run died.

        `saved_as` tells, of some outputs, those whose clips are recorded, with their owners.
        """
        if left := self.left_over():
            for output, owner in saved_as(self.outputs_of(left)):
                if self.is_part_of(output, owner=owner, among=left):
                    self.recorded(output, owner=owner)

    def outputs_of(self, parts: Collection[Path]) -> set[str]:
        """The clips that these are parts of, as `part` was told them."""
        return {_PART.sub("", path.relative_to(self.root).as_posix()) for path in parts}

    def is_part_of(self, output: str, *, owner: str, among: Collection[Path]) -> bool:
        """Whether the part of this clip is among these."""
        return self._names_of(output, owner)[1] in among

    def _names_of(self, output: str, owner: str) -> tuple[Path, Path]:
        """The clip's final name, and that of its `.part`."""
        final = self.root.joinpath(*output.split("/"))
        tag = hashlib.sha256(owner.encode()).hexdigest()[:8]
        return final, final.with_name(f"{final.name}.{tag}.part")

    def _refuse_detour(self, folder: Path) -> None:
        """The folder itself may be a link of the user's; one inside it could lead a clip anywhere."""
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise StorageError(
                f"{folder} leads out of {self.root} by a symbolic link; nothing was written there",
                fix=f"make it a real folder, or choose another with --out DIR, then {COLLECT_AGAIN}",
            )


def _parts_in(folder: Path) -> Iterator[Path]:
    """Name by name: a folder may hold a million clips."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _parts_in(Path(entry.path))
            elif _PART.search(entry.name):
                yield Path(entry.path)


@dataclass(slots=True, kw_only=True)
class Part:
    """A clip that is being written. As a context manager it leaves nothing behind but what was published or set aside.

    A published clip keeps the `.part` as its second name until `OutputFolder.recorded`.
    """

    path: Path
    final: Path
    descriptor: int | None
    """Of the file; None when it is closed."""
    size: int = 0
    """Bytes written so far."""
    content: bytes | None = None
    """All of them, while they came in one piece."""
    is_published: bool = False
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if not self.is_published:
            remove(self.path)

    def close(self) -> None:
        """Let go of the file; what it holds and is called stays."""
        if self.descriptor is not None:
            with suppress(OSError):  # what matters was synced
                os.close(self.descriptor)
            self.descriptor = None

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append; `StorageError` when the disk is full."""
        with self._refusals() as descriptor:
            write_all(descriptor, chunk)
        self._digest.update(chunk)
        self.content = None if self.size else chunk
        self.size += len(chunk)

    def restart(self) -> None:
        """Forget what was written: the file is another one now."""
        with self._refusals() as descriptor:
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.ftruncate(descriptor, 0)
        self.size, self.content, self._digest = 0, None, hashlib.sha256()

    def begin_sync(self) -> None:
        """Let the disk begin with it, where others are to be synced before."""
        if self.descriptor is not None:
            begin_sync(self.descriptor)

    def sync(self) -> None:
        """Make what was written durable."""
        with self._refusals() as descriptor:
            os.fsync(descriptor)

    def publish(self) -> Path:
        """Give the clip its final name, which is durable once its folder is synced, and return it.

        A file that has the name already is kept: if it is this very clip (the run died between rename and record) it is
        the answer, otherwise the clip gets the next free number.
        """
        name = self._named(self.final)
        self.is_published = True
        self.close()
        return name

    def _named(self, name: Path) -> Path:
        try:
            for candidate in names(name):
                if claim(self.path, candidate) or self._is(candidate):
                    return candidate
        except OSError as error:
            raise storage_error(error, name) from None
        raise AssertionError("there is always a next number")

    def _is(self, other: Path) -> bool:
        """Whether a file is this very clip."""
        if other.is_symlink() or not other.is_file() or other.stat().st_size != self.size:
            return False
        with other.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def set_aside(self, *, whole: bool) -> Path:
        """Keep what the provider sent, durably, under a name that no one takes for a clip; nothing else loses its name for it.

        Of what cannot be played only the beginning is kept, unless `whole`.
        """
        with self._refusals() as descriptor:
            if not whole and self.size > BAD_BYTES:
                os.ftruncate(descriptor, BAD_BYTES)
            aside = self._named(self.final.with_name(self.final.name + ".bad"))
            sync_folder(aside.parent)
        return aside

    @contextmanager
    def _refusals(self) -> Iterator[int]:
        """The open file; what the operating system refuses is said in words."""
        assert self.descriptor is not None
        try:
            yield self.descriptor
        except OSError as error:
            raise storage_error(error, self.path.parent) from None
