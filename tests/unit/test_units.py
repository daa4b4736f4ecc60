"""Units and crontab lines: what is printed is read back by systemd and by a shell, whatever the paths hold."""

import shlex
import shutil
import subprocess
from dataclasses import replace
from datetime import time
from pathlib import Path

import pytest

from batchrunner import units
from batchrunner.errors import ExitCode, UsageError

ODD = Path('/srv/a b/100% 夜\'s "$HOME" \\x')
PLAIN = units.Nightly(
    name="batchrunner-nightly",
    command=("/opt/batchrunner", "run", "manifests/nightly.yaml", "--yes", "--deadline", "06:30"),
    folder=Path("/srv/clips"),
    environment=Path("/home/me/.config/batchrunner/env"),
    log=Path("/srv/clips/nightly.log"),
    at=time(22),
    days=(0, 1, 6),
)


def settings(text):
    """The values of a unit by their names."""
    lines = [line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in lines}


def test_every_exit_code_has_its_place_in_the_unit():
    service = settings(units.systemd(PLAIN)["batchrunner-nightly.service"])
    assert service["SuccessExitStatus"] == "3 5 6 8 130 143"
    assert service["RestartPreventExitStatus"] == "1 2 4 7 11 12"
    placed = {0, 9, *map(int, (service["SuccessExitStatus"] + " " + service["RestartPreventExitStatus"]).split())}
    assert placed == set(ExitCode) - {ExitCode.WORK}, "9 alone is started again, and no run ends with 10"
    assert service["Restart"] == "on-failure"
    assert service["ExecStart"] == "/opt/batchrunner run manifests/nightly.yaml --yes --deadline 06:30"


def test_the_timer():
    units_ = units.systemd(replace(PLAIN, catches_up=True, user="me", on_failure="tell@%n.service"))
    timer = settings(units_["batchrunner-nightly.timer"])
    assert (timer["OnCalendar"], timer["Persistent"]) == ("Mon,Tue,Sun *-*-* 22:00:00", "true")
    service = settings(units_["batchrunner-nightly.service"])
    assert (service["User"], service["OnFailure"]) == ("me", "tell@%n.service")
    assert settings(units.systemd(PLAIN)["batchrunner-nightly.timer"])["Persistent"] == "false"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("folder", [Path("/srv/clips"), ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("user", [None, "root"])
def test_systemd_takes_the_units(tmp_path, folder, user):
    one = replace(PLAIN, command=("/bin/true", f"{folder}/n.yaml"), folder=folder, log=folder / "log", user=user)
    files = [tmp_path / name for name in units.systemd(one)]
    for file in files:
        file.write_text(units.systemd(one)[file.name], "utf-8")
    ended = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert "batchrunner" not in ended.stderr, ended.stderr


def test_odd_paths_are_quoted_for_systemd():
    service = settings(
        units.systemd(replace(PLAIN, folder=ODD, command=("/a b/$x", f"{ODD}/n.yaml")))[PLAIN.name + ".service"]
    )
    assert service["WorkingDirectory"] == str(ODD).replace("%", "%%")
    program, word = shlex.split(service["ExecStart"].replace("$$", "DOLLAR").replace("%%", "%").replace("$", "DOLLAR"))
    assert program == "/a b/DOLLARx"
    assert word == f"{ODD}/n.yaml".replace("$", "DOLLAR")


@pytest.mark.parametrize("name", ["a\nb", "a ", "a\\", "\x1b[0m"])
def test_what_cannot_be_written_is_refused(name):
    with pytest.raises(UsageError):
        units.systemd(replace(PLAIN, folder=Path("/srv") / name))


def as_cron_runs_it(line):
    """What cron hands to the shell: everything behind the five fields, up to a bare `%`."""
    command = line.split(" ", 5)[5]
    return command.replace("\\%", "%")


@pytest.mark.parametrize(("code", "told"), [(0, False), (3, False), (6, False), (8, False), (7, True), (12, True)])
def test_cron_mails_what_a_person_must_see_and_logs_the_rest(tmp_path, code, told):
    folder = tmp_path / 'a b 100% 夜\'s "$HOME"'
    folder.mkdir()
    (folder / "env").write_text("TOAPIS_API_KEY=sk-secret\n")
    script = 'echo "$PWD $TOAPIS_API_KEY $1"; exit "$2"'
    one = replace(
        PLAIN,
        command=("/bin/sh", "-c", script, "sh", "50% off; $x", str(code)),
        folder=folder,
        environment=folder / "env",
        log=folder / "log",
    )
    line = units.cron(one)
    assert line.startswith("0 22 * * 1,2,0 cd ")
    ended = subprocess.run(["/bin/sh", "-c", as_cron_runs_it(line)], capture_output=True, text=True, check=False)
    assert (folder / "log").read_text() == f"{folder} sk-secret 50% off; $x\n"
    assert (str(code) in ended.stdout, ended.stderr) == (told, "")


def test_cron_says_that_the_key_is_not_there(tmp_path):
    line = units.cron(replace(PLAIN, folder=tmp_path, environment=tmp_path / "env", command=("/bin/touch", "ran")))
    ended = subprocess.run(["/bin/sh", "-c", as_cron_runs_it(line)], capture_output=True, text=True, check=False)
    assert "env" in ended.stderr
    assert not (tmp_path / "ran").exists()


def test_a_line_that_cron_would_cut_is_refused():
    with pytest.raises(UsageError, match="cron takes 990"):
        units.cron(replace(PLAIN, command=("/" + "a" * 990,)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("Sat,sun", (5, 6)),
        ("fri-mon", (0, 4, 5, 6)),
        ("tue", (1,)),
        ("noday", None),
        ("mon-", None),
        ("", None),
    ],
)
def test_days(text, found):
    assert units.days(text) == found


def test_units_have_names_of_their_own():
    names = [units.unit_name(stem) for stem in ("nightly", "夜间", "夜", "a b", "a-b", "night-{date}")]
    assert names[0] == "batchrunner-nightly"
    assert len(set(names)) == len(names)
    assert all(name.isascii() and "{" not in name and " " not in name for name in names)
