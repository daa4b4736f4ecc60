"""Whether this machine, this database and this key can do a night's work; the key and passwords are never shown."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

from batchrunner import answers
from batchrunner.errors import SEVERITY, BatchrunnerError, ExitCode, LockedError
from batchrunner.model import Balance
from batchrunner.providers.access import checked_base_url, checked_key
from batchrunner.providers.base import Exchange
from batchrunner.providers.proxies import proxies
from batchrunner.settings import API_BASE_URL
from batchrunner.store.connect import faults_in
from batchrunner.store.lock import DatabaseLock

LITTLE_SPACE = 1 << 30
FEW_FILES = 256
SKEW = 60.0
"""Seconds that this machine's clock may differ from the server's before it is worth a word."""
LIBRARIES = {"av": "av", "PIL": "pillow", "httpx": "httpx", "sqlite_utils": "sqlite-utils"}


class Level(StrEnum):
    """How good a finding is."""

    OK = "ok"
    NOTE = "note"
    """Works, and is worth knowing."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    text: str
    level: Level = Level.OK
    fix: str = ""
    exit_code: ExitCode = ExitCode.DONE
    """What it means for a run when it is wrong."""


def _wrong(name: str, error: BatchrunnerError) -> Finding:
    return Finding(name=name, text=str(error), level=Level.WRONG, fix=error.fix, exit_code=error.exit_code)


def here(database: Path, environ: Mapping[str, str], *, now: datetime) -> Iterator[Finding]:
    """What can be seen without the network."""
    yield _key(environ)
    yield _address(environ)
    yield from _proxies(environ)
    yield from _space(database)
    yield _database(database)
    yield _lock(database, now)
    yield from _libraries()
    yield _terminal(environ)
    yield from _open_files()


def _key(environ: Mapping[str, str]) -> Finding:
    try:
        checked_key(environ.get("TOAPIS_API_KEY"))
    except BatchrunnerError as error:
        return _wrong("key", error)
    return Finding(name="key", text="TOAPIS_API_KEY is set and well-formed")


def _address(environ: Mapping[str, str]) -> Finding:
    try:
        return Finding(name="address", text=checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL))
    except BatchrunnerError as error:
        return _wrong("address", error)


def _proxies(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, host in proxies(environ):
        yield Finding(name="proxy", text=f"{name} leads over {host}", level=Level.NOTE)


def _space(database: Path) -> Iterator[Finding]:
    places = {"here": Path.cwd(), "at the database": database.absolute().parent}
    seen: set[int] = set()
    for name, place in places.items():
        existing = next(path for path in (place, *place.parents) if path.exists())
        if (device := existing.stat().st_dev) in seen:
            continue
        seen.add(device)
        free = shutil.disk_usage(existing).free
        text = f"{free / 1e9:.1f} GB free {name}"
        if free < LITTLE_SPACE:
            yield Finding(name="disk", text=text, level=Level.NOTE, fix="free some space: a clip takes about 10 MB")
        else:
            yield Finding(name="disk", text=text)


def _database(path: Path) -> Finding:
    if not path.exists():
        return Finding(name="database", text=f"{path}: none yet; the first run makes it")
    try:
        faults = faults_in(path)
    except BatchrunnerError as error:
        return _wrong("database", error)
    if faults:
        text = f"{path} is damaged: {faults[0]}"
        fix = "put a backup in its place; do not start an empty one: it would buy every clip again"
        return Finding(name="database", text=text, level=Level.WRONG, fix=fix, exit_code=ExitCode.STORAGE)
    return Finding(name="database", text=f"{path} is whole")


def _lock(path: Path, now: datetime) -> Finding:
    if not path.exists():
        return Finding(name="lock", text="nobody works on it")
    try:
        with DatabaseLock(path, now=now):
            return Finding(name="lock", text="nobody works on it")
    except LockedError as error:
        return Finding(name="lock", text=str(error).partition(";")[0], level=Level.NOTE, fix=error.fix)
    except BatchrunnerError as error:
        return _wrong("lock", error)


def _libraries() -> Iterator[Finding]:
    found = [f"Python {platform.python_version()}"]
    for module, package in LIBRARIES.items():
        try:
            importlib.import_module(module)
            found.append(f"{package} {importlib.metadata.version(package)}")
        except (ImportError, OSError) as error:
            text = f"{package} cannot be imported ({type(error).__name__})"
            fix = "install batchrunner again in its own environment: pip install ."
            yield Finding(name="library", text=text, level=Level.WRONG, fix=fix, exit_code=ExitCode.BUG)
    yield Finding(name="library", text=", ".join(found))


def _terminal(environ: Mapping[str, str]) -> Finding:
    encoding = (getattr(sys.stdout, "encoding", None) or "none").lower()
    kind = environ.get("TERM", "no TERM") if sys.stdout and sys.stdout.isatty() else "no terminal: plain lines"
    text = f"{kind}, {encoding}"
    if encoding.replace("-", "") != "utf8":
        return Finding(
            name="terminal", text=text, level=Level.NOTE, fix="export PYTHONUTF8=1 to see every prompt as it is"
        )
    return Finding(name="terminal", text=text)


def _open_files() -> Iterator[Finding]:
    with suppress(ImportError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
            fix = f"ulimit -n {4 * FEW_FILES}"
            yield Finding(name="files", text=f"only {soft} files may be open at once", level=Level.NOTE, fix=fix)


def online(exchange: Exchange, endpoint: str, *, now: datetime) -> Iterator[Finding]:
    """What the answer to a question about the balance says of the way, the key and the clocks."""
    if exchange.status is None:
        text, fix = f"{endpoint} cannot be reached ({exchange.error})", "check the network, a proxy and TOAPIS_BASE_URL"
        yield Finding(name="reach", text=text, level=Level.WRONG, fix=fix, exit_code=ExitCode.PROVIDER)
        return
    yield Finding(name="reach", text=f"{endpoint} answers")
    outcome = answers.balance(exchange, now=now)
    match outcome:
        case Balance(remaining=remaining, used=used):
            left = "no limit" if remaining is None else f"{remaining:g} left"
            empty = remaining is not None and remaining <= 0
            level, code = (Level.WRONG, ExitCode.ACCOUNT) if empty else (Level.OK, ExitCode.DONE)
            fix = "top up at the ToAPIs console" if empty else ""
            yield Finding(name="balance", text=f"{used:g} credits used, {left}", level=level, fix=fix, exit_code=code)
        case answers.AccountStop(_, message):
            text, fix = f"the provider refuses this key: {message}", "copy the key from the ToAPIs console again"
            yield Finding(name="balance", text=text, level=Level.WRONG, fix=fix, exit_code=ExitCode.ACCOUNT)
        case answers.Later(reason):
            yield Finding(name="balance", text=f"no balance was told ({reason})", level=Level.NOTE)
    yield from _clock(exchange, now)


def _clock(exchange: Exchange, now: datetime) -> Iterator[Finding]:
    try:
        ahead = (now - parsedate_to_datetime(exchange.headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return
    if abs(ahead) > SKEW:
        text = f"this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the provider"
        yield Finding(name="clock", text=text, level=Level.NOTE, fix="set the clock: expiry times are compared with it")
    else:
        yield Finding(name="clock", text="agrees with the provider's")


def exit_code(findings: list[Finding]) -> ExitCode:
    """The worst of what is wrong, in the order of a run's."""
    codes = {one.exit_code for one in findings if one.level is Level.WRONG}
    return next((code for code in (*SEVERITY, *codes) if code in codes), ExitCode.DONE)
