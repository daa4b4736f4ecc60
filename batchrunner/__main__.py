"""`python -m batchrunner` and the `batchrunner` command: run it, and turn every error into words and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path

from batchrunner.errors import BatchrunnerError, ExitCode, ManifestError

_FILES = ("open files", "raise `ulimit -n`, or close other programs")
SCARCE = {
    errno.ENOMEM: ("memory", "close other programs, or ask for fewer clips at once (--max-in-flight)"),
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EAGAIN: ("threads", "raise `ulimit -u`, or close other programs"),
    errno.ENOSPC: ("space on its disk", "free some"),
    errno.EDQUOT: ("space in your quota", "free some"),
}
"""What a machine can run out of, and what helps."""


def main() -> None:
    """Run the command line; never returns, never shows a traceback."""
    try:
        from batchrunner.cli.main import run
        from batchrunner.cli.words import say
    except ImportError as missing:
        sys.stderr.write(
            f"error: {missing.name or 'a package'} is not installed\n"
            "  fix: python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/batchrunner --help\n"
        )
        sys.exit(ExitCode.USAGE)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show a character shows its code, not half a text
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run()
    except ManifestError as error:
        from batchrunner.manifest.diagnostics import render_text

        say(render_text(error.diagnostics).rstrip("\n"), err=True)
        code = error.exit_code
    except BatchrunnerError as error:
        code = error.exit_code
        if code is ExitCode.BUG:
            code = _bug(error)
        else:
            say(f"error: {error}" + (f"\n  fix: {error.fix}" if error.fix else ""), err=True)
    except KeyboardInterrupt:
        say("stopped; what is recorded stays recorded, run the same command to go on", err=True)
        code = ExitCode.SIGINT
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug must not lose what people need to know
        code = _exhausted(error) or _bug(error)
    gc.freeze()  # the interpreter looks through all that is left before it ends, which takes longer than many a command
    sys.exit(code)


def _exhausted(error: Exception) -> ExitCode | None:
    """This machine has no more of something, which is nobody's bug; None for any other error."""
    from batchrunner.cli.words import say

    lacking = SCARCE.get(error.errno or 0) if isinstance(error, OSError) else None
    if isinstance(error, MemoryError):
        lacking = SCARCE[errno.ENOMEM]
    elif isinstance(error, RuntimeError) and "start new thread" in str(error):
        lacking = SCARCE[errno.EAGAIN]
    if lacking is None:
        return None
    what, fix = lacking
    say(
        f"error: this machine has no {what} left; what is recorded stays recorded and nothing is bought twice\n"
        f"  fix: {fix}, then run the same command",
        err=True,
    )
    return ExitCode.STORAGE


def _bug(error: BaseException) -> ExitCode:
    """Save the traceback where it can be found, without the key, and say so in two lines."""
    from batchrunner.cli.words import say
    from batchrunner.redaction import redacted

    text = redacted("".join(traceback.format_exception(error)), os.environ.get("TOAPIS_API_KEY", "").strip())
    path = Path(f".batchrunner/crash-{os.getpid()}.txt")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8", errors="replace")
        where = f"its traceback is in {path}"
    except OSError:
        where = "its traceback could not be saved"
    say(
        f"error: this is a bug in batchrunner ({type(error).__name__}); {where}\n"
        "  what is recorded stays recorded and nothing is bought twice: run the same command to go on",
        err=True,
    )
    return ExitCode.BUG


if __name__ == "__main__":
    main()
