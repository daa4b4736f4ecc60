"""A nightly run as systemd units or as a crontab line, with what our exit codes mean to each. Pure: texts in, text out.

Quoting follows systemd.service(5), systemd.syntax(7) and crontab(5): `%` begins a specifier in the one and ends the command
in the other, `$` a variable in `ExecStart=` alone, and paths of settings are taken as they stand, without quotes.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from pathlib import Path

from batchrunner.errors import ExitCode, UsageError

FINE = (ExitCode.SOME_FAILED, ExitCode.BUDGET, ExitCode.DEADLINE, ExitCode.LOCKED)
"""Endings, beside 0, that need nobody at night; 8 is a run that is still at it."""
LATER = ExitCode.PROVIDER
"""Worth another start after a while."""
PERSON = (
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.MANIFEST,
    ExitCode.ACCOUNT,
    ExitCode.IN_DOUBT,
    ExitCode.STORAGE,
)
"""Another start would end in the same way."""
PAUSE_MINUTES, STARTS = 15, 12
"""Between two starts when the provider cannot be reached, and how often in a night."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LONGEST_LINE = 990
"""Bytes that every cron takes as one command (Vixie's MAX_COMMAND is 1000)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nightly:
    """What is to be started, when, and where."""

    name: str
    """Of the unit and the log."""
    command: tuple[str, ...]
    """The program, by its absolute path, and its arguments."""
    folder: Path
    environment: Path
    """The file with `TOAPIS_API_KEY=…`."""
    log: Path
    at: time
    days: tuple[int, ...] = ()
    """0 is Monday; empty means every day."""
    catches_up: bool = False
    """Whether a start that was missed while the machine was off may come later: only a run with a window is safe by day."""
    user: str | None = None
    """Whose the run is, for the system's units; None for units of one's own."""
    on_failure: str | None = None
    """The unit that tells a person."""


def unit_name(stem: str) -> str:
    """A name that systemd, cron and every file system take; two manifests never get the same one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")
    if plain == stem:
        return f"batchrunner-{stem}"
    return "-".join(filter(None, ["batchrunner", plain, hashlib.sha256(stem.encode()).hexdigest()[:6]]))


def days(text: str) -> tuple[int, ...] | None:
    """`mon-fri`, `sat,sun` or `fri-mon`; None when the text is no such thing."""
    found: set[int] = set()
    for part in text.strip().lower().split(","):
        first, dash, last = (word.strip()[:3] for word in part.partition("-"))
        names = [day.lower() for day in DAYS]
        if first not in names or (dash and last not in names):
            return None
        begin, end = names.index(first), names.index(last or first)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return tuple(sorted(found))


def systemd(nightly: Nightly) -> dict[str, str]:
    """The units by their file names."""
    own = nightly.user is None
    service = [
        "[Unit]",
        f"Description=batchrunner, {_setting(nightly.name.removeprefix('batchrunner-'))}",
        *([] if own else ["Wants=network-online.target", "After=network-online.target"]),
        f"StartLimitIntervalSec={PAUSE_MINUTES * (STARTS + 4)}min",
        f"StartLimitBurst={STARTS}",
        f"OnFailure={nightly.on_failure}" if nightly.on_failure else "# OnFailure=the-unit-that-tells-you@%n.service",
        "",
        "[Service]",
        "Type=exec",
        *([] if own else [f"User={nightly.user}"]),
        f"WorkingDirectory={_setting(str(nightly.folder))}",
        f"EnvironmentFile={_setting(str(nightly.environment))}",
        f"ExecStart={_exec(nightly.command)}",
        f"StandardOutput=append:{_setting(str(nightly.log))}",
        f"StandardError=append:{_setting(str(nightly.log))}",
        "# 3 some jobs failed, 5 budget, 6 deadline or window, 8 another run is still at it: all of them fine",
        f"SuccessExitStatus={_codes(FINE)} {int(ExitCode.SIGINT)} {int(ExitCode.SIGTERM)}",
        f"# {int(LATER)} the provider cannot be reached: again later. What needs a person is not started again",
        "Restart=on-failure",
        f"RestartSec={PAUSE_MINUTES}min",
        f"RestartPreventExitStatus={_codes(PERSON)}",
        "# the first SIGTERM lets requests under way be answered, for 30 s at most",
        "TimeoutStopSec=90s",
        "UMask=0077",
        "",
    ]
    every = ",".join(DAYS[day] for day in nightly.days) + " " if nightly.days else ""
    timer = [
        "[Unit]",
        f"Description=batchrunner, {_setting(nightly.name.removeprefix('batchrunner-'))}, by night",
        "",
        "[Timer]",
        f"OnCalendar={every}*-*-* {nightly.at:%H:%M}:00",
        f"Persistent={'true' if nightly.catches_up else 'false'}",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    ]
    return {f"{nightly.name}.service": "\n".join(service), f"{nightly.name}.timer": "\n".join(timer)}


def cron(nightly: Nightly) -> str:
    """The crontab line. What a person has to see is the line's output, which cron mails; the rest goes to the log."""
    log = _word(nightly.log)
    fine = "|".join(str(int(code)) for code in (ExitCode.DONE, *FINE))
    counts = " ".join(str(number) for number in range(1, STARTS + 1))
    command = "; ".join(
        [
            f"cd {_word(nightly.folder)} && set -a && . {_word(nightly.environment)} && set +a || exit",
            f"for n in {counts}",
            f"do {shlex.join([_plain(word) for word in nightly.command])} >>{log} 2>&1",
            f"code=$?; [ $code = {int(LATER)} ] || break",
            f"sleep {PAUSE_MINUTES * 60}",
            "done",
            f'case $code in {fine}) ;; *) echo "batchrunner ended with $code, see "{log}',
            "esac",
        ]
    )
    command = command.replace("%", r"\%")
    days = ",".join(str((day + 1) % 7) for day in nightly.days) or "*"
    line = f"{nightly.at.minute} {nightly.at.hour} * * {days} {command}"
    if len(command.encode()) > LONGEST_LINE:
        raise UsageError(
            f"the crontab line would have {len(command.encode())} bytes, and cron takes {LONGEST_LINE}",
            fix="use shorter paths, or `batchrunner schedule systemd`",
        )
    return line


def _word(path: Path) -> str:
    return shlex.quote(_plain(str(path)))


def _codes(codes: Sequence[ExitCode]) -> str:
    return " ".join(str(int(code)) for code in codes)


def _plain(text: str) -> str:
    if any(not char.isprintable() for char in text):
        raise UsageError(f"{text!r} cannot stand in a unit or a crontab", fix="rename it without control characters")
    return text


def _setting(path: str) -> str:
    """A path as the whole value of a setting: blanks at its ends and a backslash at its end would be lost."""
    if _plain(path) != path.strip() or path.endswith("\\"):
        raise UsageError(f"{path!r} cannot stand in a unit", fix="rename it, without blanks at its ends")
    return path.replace("%", "%%")


def _exec(command: Sequence[str]) -> str:
    """The command line of `ExecStart=`; variables are not expanded in the program's path."""
    program, *words = (_plain(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") for word in command)
    quoted = [program, *(word.replace("$", "$$") for word in words)]
    return " ".join(word if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII) else f'"{word}"' for word in quoted)
