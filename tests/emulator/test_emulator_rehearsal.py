"""Rehearsals: the product on the emulator's bad days. Each ends honestly, and the ledger has nothing twice."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from batchrunner.cli.main import run
from batchrunner.emulator.scenarios import SCENARIOS
from batchrunner.errors import UsageError

DATABASE = ".batchrunner/rehearsal.db"
JOBS = 12
HONEST = {
    "flaky": {0},
    "slow": {0},
    "policy": {3},
    "capacity": {0, 3},
    "quota": {7},
    "expired": {0, 3},
    "outage": {9, 11},
    "chaos": {3, 9, 11},
}
"""What a scenario may end with: everything done, some failed, the account, the provider, doubts."""
SLOW = {"outage", "slow", "flaky"}


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    jobs = [{"prompt": f"clip {number}", "id": f"clip-{number}"} for number in range(JOBS)]
    path = tmp_path / "batch.json"
    path.with_suffix(".yaml").write_text(json.dumps({"version": 1, "jobs": jobs}))
    return path.with_suffix(".yaml")


def rehearse(batch: Path, scenario: str, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = run(["run", str(batch), f"--emulator={scenario}", "--speed", "1000", "--progress", "json", *words])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    return code, json.loads(last)


def sales(folder: Path) -> Counter[str]:
    """What was sold by the emulator's ledger and not refunded, by prompt."""
    text = (folder / f"{DATABASE}.emulator" / "ledger.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    refunded = {line["id"] for line in lines if line["kind"] == "failed"}
    sold = [line for line in lines if line["kind"] == "accepted"]
    return Counter(
        line["submission"]["prompt"] for line in sold if line["failed_at"] is None and line["id"] not in refunded
    )


def check_sales(folder: Path, states: dict[str, str]) -> None:
    """Nothing is bought twice, everything that is done was bought, and nothing that was bought is forgotten."""
    sold = sales(folder)
    assert set(sold.values()) <= {1}
    assert {f"clip {key.removeprefix('clip-')}" for key, state in states.items() if state == "done"} <= set(sold)
    forgotten = {f"clip {key.removeprefix('clip-')}" for key, state in states.items() if state == "pending"}
    assert not forgotten & set(sold)


def states_of(folder: Path) -> dict[str, str]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        return dict(connection.execute("select key, state from jobs"))


def test_what_a_rehearsal_would_cost_is_told_before_too(batch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(batch), "--emulator"]) == 0
    assert f"cost {JOBS * 0.42:.2f} USD by the emulator's own prices" in capsys.readouterr().out


@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SCENARIOS if name != "happy"]
)
def test_a_bad_day_ends_honestly(
    scenario: str, batch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, summary = rehearse(batch, scenario, capsys)
    assert code == summary["exit_code"]
    assert code in HONEST[scenario]
    said = summary["rehearsal"]
    assert (said["scenario"], said["speed"]) == (scenario, 1000)
    assert said["met"]
    states = states_of(tmp_path)
    assert len(states) == JOBS
    check_sales(tmp_path, states)
    doubts = sum(state in ("in_doubt", "submitting") for state in states.values())
    assert (doubts > 0) == (code == 11)


def test_after_the_account_is_filled_the_same_command_finishes(
    batch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [rehearse(batch, "quota", capsys)[0]]
    while codes[-1] == 7 and len(codes) < 5:
        codes.append(rehearse(batch, "quota", capsys)[0])
    assert codes[-1] == 0
    assert sales(tmp_path).total() == JOBS


def test_the_summary_says_what_it_stands_for(batch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = batch.with_name("faults.yaml")
    faults.write_text("faults: [{name: task_failed, first: 2}, {name: http_503, stage: poll, first: 1}]")
    assert run(["run", str(batch), f"--emulator={faults}", "--speed", "1000", "--limit", "4"]) == 3
    said = capsys.readouterr().out
    assert "task_failed twice, http_503 once" in said
    assert "0.84 USD at the emulator's prices, 0.84 USD refunded" in said
    assert "would   take about " in said


def test_one_seed_is_one_night_though_four_slots_overtake_each_other(
    batch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nights = []
    for number, seed in enumerate("889"):
        folder = tmp_path / f"night-{number}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        rehearse(batch, "policy", capsys, "--seed", seed)
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            failed = dict(connection.execute("select key, reason from jobs where state = 'failed'"))
        text = (folder / f"{DATABASE}.emulator" / "ledger.jsonl").read_text(encoding="utf-8")
        sold = [line for line in map(json.loads, text.splitlines()) if line["kind"] == "accepted"]
        nights.append((failed, {line["submission"]["prompt"]: (line["fate"], line["service"]) for line in sold}))
    assert nights[0] == nights[1] != nights[2]
    assert nights[0][0]


def test_a_scenario_that_there_is_not(batch: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scenario 'sunny'") as caught:
        run(["run", str(batch), "--emulator=sunny"])
    assert "happy, flaky, slow" in caught.value.fix
    assert not (tmp_path / DATABASE).exists()
