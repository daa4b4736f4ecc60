"""Damaged databases: page after page of a batch that is bought already, and what the next run makes of it.

All clips are sold when the damage is done, some of them not yet fetched: whatever is left of the file, a run that submits
anything buys something twice. It may refuse, or it may go on where the damage does not matter. SQLite keeps no checksums
of its pages: a bit that turns one word of the history into another is seen by nobody, so of single bits no more is asked.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from batchrunner.settings import MISSING_GRACE
from tests.acceptance import prompts

from . import checker, launch, providers
from .checker import Violation
from .launch import Hang
from .lives import Case, Life, Tally, until

PAGE = 4096
FRAMES = 40
"""Of the journal, as many as are struck."""
FLIPS = 2
"""Bits that are turned on each page, one at a time."""
PATIENCE = launch.PATIENCE + MISSING_GRACE
"""Seconds: a bit of a task's id is noticed by a 404, which means nothing for so long; then its purchase tells the task."""
KINDS = ("zeros", "noise", "bits", "cut", "journal", "files")
Change = tuple[str, Callable[[Path], None]]
"""What is done to the database whose path is given, and in words."""


def damaged(case: Case) -> Tally:
    """One batch, and each damage of a kind done to a copy of its own."""
    began, chance = time.monotonic(), random.Random(case.seed)
    launch.preload()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        clips = Path(tempfile.gettempdir()) / "batchrunner-chaos-clips"
        clips.mkdir(exist_ok=True)
        shop = stack.enter_context(providers.independent(folder / "provider", clips, seed=case.seed, speed=60))
        life = Life(case, folder, shop, jobs=prompts.jobs(case.jobs))
        kept = folder / "kept"
        if not _bought(life, kept):
            return life.tally
        if case.detail not in ("journal", "files"):  # there the newest pages are the journal's
            with closing(sqlite3.connect(kept / life.database.relative_to(life.cwd))) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for words, change in changes(case.detail, kept / life.database.relative_to(life.cwd), chance):
            shutil.rmtree(life.cwd)
            shutil.copytree(kept, life.cwd)
            change(life.database)
            life.tally.strikes += 1
            life.tally.violations += [Violation(one.invariant, f"{words}: {one.text}") for one in _run(life)]
        life.tally.seconds = time.monotonic() - began
        return life.tally


def _bought(life: Life, kept: Path) -> bool:
    """A run that is killed when all is bought and a part of it fetched."""
    child = life.start()
    for _ in until(lambda: _done(life) > len(life.jobs) // 3 or not child.alive, 60):
        pass
    ended = not child.alive
    child.kill()
    if ended or len(shop_sales := life.shop.sales()) < len(life.jobs):
        sold = 0 if ended else len(shop_sales)
        life.tally.violations.append(Violation("harness", f"{sold} sold before the kill: {child.text[-300:]}"))
        return False
    shutil.copytree(life.cwd, kept)
    return True


def _done(life: Life) -> int:
    return sum(job["state"] == "done" for job in life.evidence().jobs)


def _run(life: Life) -> Iterator[Violation]:
    """The same command again."""
    before = len(life.shop.sales()), sum(line["kind"] == "submit" for line in life.shop.requests())
    life.said.clear()
    try:
        life.said.append(life.start().wait(PATIENCE))
    except Hang as hang:
        yield Violation("I16 the same command comes to an end, and then buys nothing", str(hang))
    after = len(life.shop.sales()), sum(line["kind"] == "submit" for line in life.shop.requests())
    if after != before:
        yield Violation("I2 nothing is bought twice", f"{after[1] - before[1]} submissions: {life.said[-1:]}")
    yield from checker.check_words(life.evidence())
    if life.said and life.said[-1].code == 0 and life.case.detail != "bits":
        yield from checker.check_ended(life.evidence())


def changes(kind: str, database: Path, chance: random.Random) -> Iterator[Change]:
    """Every damage of a kind."""
    pages = database.stat().st_size // PAGE
    if kind == "journal":
        yield from _of_the_journal(database, chance)
    elif kind == "files":
        yield from _of_files(database)
    else:
        for page in range(pages):
            for number in range(FLIPS if kind == "bits" else 1):
                yield f"{kind} on page {page + 1} ({number})", _on_page(kind, page, chance.randrange(1 << 30))


def _on_page(kind: str, page: int, seed: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        chance, content, start = random.Random(seed), bytearray(path.read_bytes()), page * PAGE
        if kind == "cut":
            del content[start:]
        elif kind == "zeros":
            content[start : start + PAGE] = bytes(PAGE)
        elif kind == "noise":
            content[start : start + PAGE] = chance.randbytes(PAGE)
        else:
            content[start + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
        path.write_bytes(content)

    return change


def _of_the_journal(database: Path, chance: random.Random) -> Iterator[Change]:
    """The WAL cut at any frame, and a bit of any frame."""

    def wal(path: Path) -> Path:
        return path.with_name(path.name + "-wal")

    size = wal(database).stat().st_size
    frame = 24 + PAGE
    for end in [0, 16, *range(32, size, frame * max(size // frame // FRAMES, 1))]:
        yield f"journal cut at {end}", lambda path, end=end: wal(path).write_bytes(wal(path).read_bytes()[:end])
        at, bit = min(end + chance.randrange(frame), size - 1), 1 << chance.randrange(8)

        def turned(path: Path, at: int = at, bit: int = bit) -> None:
            content = bytearray(wal(path).read_bytes())
            content[at] ^= bit
            wal(path).write_bytes(content)

        yield f"bit {bit} of byte {at} of the journal", turned


def _of_files(database: Path) -> Iterator[Change]:
    """Whole files that are gone, or others."""
    for suffix in ("", "-wal", "-shm", ".lock"):
        if database.with_name(database.name + suffix).exists():
            yield f"no {suffix or 'database'}", lambda path, suffix=suffix: path.with_name(path.name + suffix).unlink()
    yield "an empty database", lambda path: path.write_bytes(b"")
    yield (
        "no database, an empty journal",
        lambda path: (path.unlink(), path.with_name(path.name + "-wal").write_bytes(b"")),
    )  # type: ignore[func-returns-value]
    yield "a picture", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9000))
    yield "another program's", _another_s


def _another_s(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE holidays(day)")
