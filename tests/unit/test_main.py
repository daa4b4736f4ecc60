"""The last line of defence: every error ends in words and an exit code, and what is nobody's bug is not called one."""

import errno

import pytest

from batchrunner import __main__
from batchrunner.cli import main as commands
from batchrunner.errors import ExitCode, StorageError


def ended(monkeypatch, capsys, error):
    def run():
        raise error

    monkeypatch.setattr(commands, "run", run)
    with pytest.raises(SystemExit) as left:
        __main__.main()
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (OSError(errno.EMFILE, "Too many open files"), "open files"),
        (OSError(errno.ENOSPC, "No space left on device"), "space"),
        (RuntimeError("can't start new thread"), "threads"),
    ],
    ids=repr,
)
def test_a_machine_that_is_out_of_something_is_no_bug(monkeypatch, capsys, tmp_path, error, what):
    monkeypatch.chdir(tmp_path)
    code, said = ended(monkeypatch, capsys, error)
    assert (code, f"no {what}" in said, "bug" in said, "fix: " in said) == (ExitCode.STORAGE, True, False, True)
    assert "nothing is bought twice" in said
    assert not list(tmp_path.iterdir()), "no traceback is left behind"


@pytest.mark.parametrize("error", [RuntimeError("ours"), OSError(errno.EPERM, "no"), KeyError("x")], ids=repr)
def test_a_bug_is_called_one_and_its_traceback_is_kept(monkeypatch, capsys, tmp_path, error):
    monkeypatch.chdir(tmp_path)
    code, said = ended(monkeypatch, capsys, error)
    assert (code, "bug in batchrunner" in said, "Traceback" in said) == (ExitCode.BUG, True, False)
    (kept,) = (tmp_path / ".batchrunner").iterdir()
    assert "Traceback" in kept.read_text()


def test_an_error_that_we_know_is_told_with_what_helps(monkeypatch, capsys):
    code, said = ended(monkeypatch, capsys, StorageError("the disk is full", fix="free some"))
    assert (code, said) == (ExitCode.STORAGE, "error: the disk is full\n  fix: free some\n")
