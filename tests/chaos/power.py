"""Power cuts: what a run wrote, seen through strace, and the disk as it would be after the next start.

Only what was synced is sure to be there: of everything else any part may be, in sectors. A name (a new file or folder, a
link, a rename) is sure when its folder was synced; of the others those up to some moment are there, as on a file system
with a journal. What is lost is decided by chance, which the case's seed decides. It is a model: a disk that says that it
has written what it has not, or that spoils what it wrote before, is none of it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    *("openat", "close", "dup", "dup2", "dup3", "lseek", "write", "pwrite64", "ftruncate", "fsync", "fdatasync"),
    *("mkdir", "link", "rename", "unlink", "rmdir"),
)
REFUSED = ("writev", "pwritev", "linkat", "renameat", "renameat2", "unlinkat", "mkdirat", "sendfile", "copy_file_range")
"""Ways to change a file that the model does not know: it says so when one is used."""
RECORD = ["-y", "-xx", "-s", "9999999", "-e", f"trace={','.join((*CALLS, *REFUSED))}"]
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset, or with `data` None a new length."""

    offset: int
    data: bytes | None

    def to(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
            return
        end = self.offset + len(self.data)
        content.extend(bytes(max(end - len(content), 0)))
        content[self.offset : end] = self.data

    def sectors(self) -> Iterator[Write]:
        """What the disk writes at once."""
        if self.data is None:
            yield self
            return
        start = 0
        while start < len(self.data):
            length = SECTOR - (self.offset + start) % SECTOR
            yield Write(self.offset + start, self.data[start : start + length])
            start += length


@dataclass(slots=True, eq=False)
class File:
    """A file or a folder, whatever its names are."""

    sure: bytearray = field(default_factory=bytearray)
    """What the disk has."""
    unsure: list[Write] = field(default_factory=list)
    """What was written since."""
    names: dict[str, File] | None = None
    """Of a folder: what the disk has."""

    def synced(self, count: int) -> None:
        """The first `count` of the unsure writes are sure now."""
        for write in self.unsure[:count]:
            write.to(self.sure)
        del self.unsure[:count]

    def after_a_cut(self, chance: random.Random) -> bytes:
        """The content that the next start finds."""
        content, share = bytearray(self.sure), chance.choice([0.0, 0.5, 0.9])
        for write in self.unsure:
            for sector in write.sectors():
                if chance.random() < share:
                    sector.to(content)
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Naming:
    """A name in a folder that is given to a file, or taken away (None)."""

    folder: File
    name: str
    file: File | None


class Disk:
    """The folders of one run: what was there before it is sure; then every call changes it."""

    def __init__(self, *roots: Path) -> None:
        self._roots = roots
        self._top: dict[Path, File] = {}
        self._now: dict[Path, File] = {}
        """Files and folders by the path that they have at this moment."""
        self._namings: list[Naming] = []
        """In order, those that are not sure."""
        self._open: dict[int, tuple[File, bool]] = {}
        self._offsets: dict[int, int] = {}
        for root in roots:
            self._top[root] = self._taken_in(root)

    def _taken_in(self, path: Path) -> File:
        if path.is_dir():
            file = File(names={child.name: self._taken_in(child) for child in path.iterdir()})
        else:
            file = File(bytearray(path.read_bytes()))
        self._now[path] = file
        return file

    # what the calls do

    def replay(self, log: Path, cwd: Path) -> None:
        """Everything that a log tells, up to its end."""
        begun: dict[str, tuple[str, int, File | None]] = {}
        for line in log.read_text("ascii", "replace").splitlines():
            pid, _, rest = line.partition(" ")
            rest = rest.strip()
            if rest.endswith("<unfinished ...>"):
                text = rest.removesuffix("<unfinished ...>")
                if text.startswith("close("):  # its number is free at once, and may be another thread's before it ends
                    self._moved_data("close", text.partition("(")[2], 0)
                else:
                    begun[pid] = (text, *self._standing(text))
                continue
            standing: tuple[int, File | None] | None = None
            if rest.startswith("<...") and pid in begun:
                text, *known = begun.pop(pid)
                standing = (known[0], known[1])
                rest = text + rest.partition("resumed>")[2]
            if match := _CALL.match(rest):
                self._called(match[1], match[2], int(match[3]), cwd, standing)

    def _standing(self, text: str) -> tuple[int, File | None]:
        """How much of a file a sync that begins now can be about."""
        file = self._file_of(text.partition("(")[2]) if text.startswith(("fsync", "fdatasync")) else None
        return (len(file.unsure), file) if file is not None and file.names is None else (len(self._namings), file)

    def _file_of(self, given: str) -> File | None:
        number = re.match(r"\d+", given)
        return self._open.get(int(number[0]), (None, False))[0] if number else None

    def _called(self, call: str, given: str, result: int, cwd: Path, standing: tuple[int, File | None] | None) -> None:
        paths = [cwd / os.fsdecode(_bytes(text)) for text in _STRING.findall(_FD.sub("", given))]
        if result < 0 or (paths and not call.startswith("write") and call != "pwrite64" and not self._is_ours(paths)):
            return
        assert call not in REFUSED or not (paths or self._file_of(given)), f"the model does not know {call}"
        if call in ("fsync", "fdatasync"):
            self._synced(self._file_of(given), standing)
        elif call in ("write", "pwrite64", "ftruncate", "lseek", "close", "dup", "dup2", "dup3"):
            self._moved_data(call, given, result)
        else:
            getattr(self, f"_{call}")(given, result, *paths)

    def _is_ours(self, paths: list[Path]) -> bool:
        return all(any(path.is_relative_to(root) for root in self._roots) for path in paths)

    def _openat(self, given: str, result: int, path: Path) -> None:
        file = self._now.get(path)
        if file is None:
            file = File()
            self._name(path, file)
        if "O_TRUNC" in given:
            file.unsure.append(Write(0, None))
        self._open[result], self._offsets[result] = (file, "O_APPEND" in given), 0

    def _moved_data(self, call: str, given: str, result: int) -> None:
        number = int(re.match(r"\d+", given)[0])  # type: ignore[index]
        file, appends = self._open.get(number, (None, False))
        if call == "close":
            self._open.pop(number, None)
        if file is None or call == "close":
            return
        if call.startswith("dup"):
            self._open[result], self._offsets[result] = self._open[number], self._offsets[number]
        elif call == "lseek":
            self._offsets[number] = result
        elif call == "ftruncate":
            file.unsure.append(Write(int(given.rpartition(",")[2]), None))
        else:
            data = _bytes(_STRING.findall(_FD.sub("", given))[0])[:result]
            at = int(given.rpartition(",")[2]) if call == "pwrite64" else self._offsets[number]
            at = self._length(file) if appends else at
            file.unsure.append(Write(at, data))
            if call == "write":
                self._offsets[number] = at + result

    @staticmethod
    def _length(file: File) -> int:
        length = len(file.sure)
        for write in file.unsure:
            length = write.offset if write.data is None else max(length, write.offset + len(write.data))
        return length

    def _synced(self, file: File | None, standing: tuple[int, File | None] | None) -> None:
        if file is None:
            return
        if file.names is None:
            file.synced(standing[0] if standing else len(file.unsure))
            return
        known = self._namings[: standing[0]] if standing else list(self._namings)
        for naming in known:
            if naming.folder is file:
                _apply(naming)
                self._namings.remove(naming)

    def _name(self, path: Path, file: File | None) -> None:
        self._namings.append(Naming(self._now[path.parent], path.name, file))
        if file is None:
            self._now.pop(path, None)
        else:
            self._now[path] = file

    def _mkdir(self, given: str, result: int, path: Path) -> None:
        self._name(path, File(names={}))

    def _link(self, given: str, result: int, old: Path, new: Path) -> None:
        self._name(new, self._now[old])

    def _rename(self, given: str, result: int, old: Path, new: Path) -> None:
        self._name(new, self._now[old])
        self._name(old, None)

    def _unlink(self, given: str, result: int, path: Path) -> None:
        self._name(path, None)

    _rmdir = _unlink

    # what is there afterwards

    def cut(self, chance: random.Random) -> None:
        """Put the folders into the state that a power cut at this moment leaves."""
        for naming in self._namings[: chance.choice([0, chance.randint(0, len(self._namings)), len(self._namings)])]:
            _apply(naming)
        for root, file in self._top.items():
            for child in root.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            self._written(root, file, {}, chance)

    def _written(self, path: Path, file: File, made: dict[File, Path], chance: random.Random) -> None:
        if file.names is not None:
            path.mkdir(exist_ok=True, mode=0o700)
            for name, child in file.names.items():
                if not name.endswith("-shm"):  # memory that lies in a file
                    self._written(path / name, child, made, chance)
        elif file in made:
            path.hardlink_to(made[file])
        else:
            made[file] = path
            path.write_bytes(file.after_a_cut(chance))
            path.chmod(0o600)


def _apply(naming: Naming) -> None:
    names = naming.folder.names
    assert names is not None
    if naming.file is None:
        names.pop(naming.name, None)
    else:
        names[naming.name] = naming.file


_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_FD = re.compile(r"<(?:\\x[0-9a-f]{2})*>(?:\(deleted\))?")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
