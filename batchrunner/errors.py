"""Every exception of batchrunner, and the exit code each one ends a command with.

BatchrunnerError
├── UsageError            wrong usage, or a yes was needed without a terminal
├── ManifestError         the manifest or a file it names is wrong; nothing was sent
├── AccountError          the key is missing or refused, or the balance is empty
├── LockedError           another run holds this database
├── ProviderError         the provider cannot be reached
├── StorageError          disk full, folder read-only, database unreadable or corrupt
└── IllegalTransition     our bug: a state was asked to do what `states.TRANSITIONS` forbids

The class decides what happens; the text is for people. Each text says what happened and what it means for the money;
`fix` is the command or the deed that helps.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar

from batchrunner.diagnostic import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExitCode(IntEnum):
    """What a command ends with; automation relies on these, so none may change its meaning."""

    DONE = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    MANIFEST = 4
    BUDGET = 5
    DEADLINE = 6
    ACCOUNT = 7
    LOCKED = 8
    PROVIDER = 9
    WORK = 10
    IN_DOUBT = 11
    STORAGE = 12
    SIGINT = 130
    SIGTERM = 143


SEVERITY = (
    ExitCode.STORAGE,
    ExitCode.ACCOUNT,
    ExitCode.IN_DOUBT,
    ExitCode.PROVIDER,
    ExitCode.BUDGET,
    ExitCode.DEADLINE,
    ExitCode.SOME_FAILED,
)
"""Which code wins when several are true at the end of a run, worst first."""


class BatchrunnerError(Exception):
    """batchrunner could not do what was asked."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str = "", *, fix: str = "") -> None:
        super().__init__(message or self.__doc__)
        self.fix = fix


class UsageError(BatchrunnerError):
    """The command was used in a way that it does not understand."""

    exit_code = ExitCode.USAGE


class ManifestError(BatchrunnerError):
    """The manifest is wrong; nothing was sent."""

    exit_code = ExitCode.MANIFEST

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = tuple(diagnostics)


class AccountError(BatchrunnerError):
    """The provider would not take this key."""

    exit_code = ExitCode.ACCOUNT


class LockedError(BatchrunnerError):
    """Another run holds this database."""

    exit_code = ExitCode.LOCKED


class ProviderError(BatchrunnerError):
    """The provider cannot be reached."""

    exit_code = ExitCode.PROVIDER


class StorageError(BatchrunnerError):
    """The database or the output folder cannot be used."""

    exit_code = ExitCode.STORAGE


class IllegalTransition(BatchrunnerError):
    """A job was asked for a move that its state does not have."""
