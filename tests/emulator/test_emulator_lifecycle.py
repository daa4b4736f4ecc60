"""A task's life as a function of its entry and the time, and the ledger that keeps the entries."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from batchrunner.emulator.ledger import Entry, Ledger
from batchrunner.emulator.lifecycle import Status, in_flight, peak_in_flight, service_seconds, state_of
from batchrunner.emulator.prices import price_credits
from batchrunner.emulator.validation import Submission
from batchrunner.errors import StorageError

TEXT = Submission(model="kling-v3", prompt="a cat")
START = 1_000.0


def entry(sequence: int = 0, *, at: float = START, service: float = 100.0, **fields: object) -> Entry:
    values: dict[str, object] = {
        "sequence": sequence,
        "id": f"task_{sequence}",
        "accepted_at": at,
        "service": service,
        "price_credits": 84,
        "body_sha256": "00",
        "submission": TEXT,
        "inputs": (),
    }
    return Entry(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "status", "progress"),
    [
        (-5, Status.QUEUED, 0),  # a clock that was set back
        (0, Status.QUEUED, 0),
        (9.9, Status.QUEUED, 0),
        (10, Status.IN_PROGRESS, 10),
        (55.5, Status.IN_PROGRESS, 55),
        (99.9, Status.IN_PROGRESS, 99),
        (100, Status.COMPLETED, 100),
        (1e9, Status.COMPLETED, 100),
    ],
)
def test_the_life_of_a_task(after: float, status: Status, progress: int) -> None:
    state = state_of(entry(), START + after)
    assert (state.status, state.progress) == (status, progress)
    assert (state.completed_at is not None) == (status is Status.COMPLETED)


def test_a_result_lives_for_a_day() -> None:
    state = state_of(entry(), START + 500)
    assert (state.completed_at, state.expires_at) == (1_100, 1_100 + 86_400)


def test_a_task_waits_for_its_images() -> None:
    state = state_of(entry(inputs=None), START + 1_000)
    assert (state.status, state.progress) == (Status.IN_PROGRESS, 99)
    assert in_flight([entry(inputs=None)], START + 1_000) == 1


def test_a_task_whose_images_cannot_be_had_fails() -> None:
    failed = entry(inputs=None, failed_at=START + 12, failure="no image")
    assert state_of(failed, START + 11).status is Status.IN_PROGRESS
    assert (state_of(failed, START + 12).status, state_of(failed, START + 500).progress) == (Status.FAILED, 0)


def test_service_times_are_as_measured_and_repeatable() -> None:
    times = [service_seconds(TEXT, seed=1, draw=number, speed=1) for number in range(2_000)]
    assert times == [service_seconds(TEXT, seed=1, draw=number, speed=1) for number in range(2_000)]
    assert times[:5] != [service_seconds(TEXT, seed=2, draw=number, speed=1) for number in range(5)]
    assert min(times) >= 83
    assert max(times) <= 253
    assert statistics.median(times) == pytest.approx(105, abs=2)


def test_dearer_and_longer_clips_take_longer_and_speed_shortens_all() -> None:
    def seconds(speed: float = 1, **fields: object) -> float:
        return service_seconds(replace(TEXT, **fields), seed=0, draw=3, speed=speed)  # type: ignore[arg-type]

    assert seconds() < seconds(mode="pro") < seconds(duration=10) < seconds(duration=15)
    assert seconds(speed=100) == pytest.approx(seconds() / 100)


def test_the_peak_counts_overlaps_and_not_hand_overs() -> None:
    assert peak_in_flight([]) == 0
    chain = [entry(number, at=START + 100 * number) for number in range(5)]
    assert peak_in_flight(chain) == 1
    assert peak_in_flight([*chain, entry(9, at=START + 50)]) == 2
    assert peak_in_flight([entry(1, inputs=None), entry(2, at=START + 1e6)]) == 2
    assert in_flight(chain, START + 150) == 1
    assert in_flight(chain, START + 500) == 0


@pytest.mark.parametrize(
    ("fields", "credits"),
    [
        ({}, 84),
        ({"mode": "pro"}, 112),
        ({"audio": True}, 126),
        ({"mode": "pro", "audio": True}, 168),
        ({"duration": 10}, 168),
        ({"mode": "pro", "audio": True, "duration": 15}, 504),
    ],
)
def test_prices(fields: dict[str, object], credits: int) -> None:
    assert price_credits(replace(TEXT, **fields)) == credits  # type: ignore[arg-type]


class TestLedger:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "ledger.jsonl"

    def fill(self, path: Path) -> list[Entry]:
        ledger = Ledger(path)
        images = Submission(model="kling-v3", prompt="b\ud800", images=("http://a/1",), client_business_id="mine")
        for submission in (TEXT, images, replace(images, client_business_id="other")):
            inputs = None if submission.images else ()
            ledger.accept(lambda number, s=submission, i=inputs: entry(number, submission=s, inputs=i))  # type: ignore[misc]
        ledger.record_inputs("task_1", ("x.png",))
        ledger.record_failure("task_2", at=START + 3, message="no")
        ledger.record_inputs("task_2", ("too late.png",))
        entries = ledger.entries()
        ledger.close()
        return entries

    def test_everything_survives(self, path: Path) -> None:
        written = self.fill(path)
        ledger = Ledger(path)
        try:
            assert ledger.entries() == written
            assert ledger.named("mine") == [ledger.get("task_1")] == [written[1]]
            assert written[1].inputs == ("x.png",)
            assert (written[2].inputs, written[2].failure) == (None, "no")
            before, after = ledger.refunded_credits(START + 2.9), ledger.refunded_credits(START + 3)
            assert (ledger.charged_credits, before, after, ledger.billed_credits(START + 3)) == (252, 0, 84, 168)
        finally:
            ledger.close()

    @pytest.mark.parametrize("cut", [1, 10, 60])
    def test_a_torn_last_line_is_taken_back(self, path: Path, cut: int) -> None:
        written = self.fill(path)
        whole = path.read_bytes()
        path.write_bytes(whole + json.dumps({"kind": "accepted", "id": "x" * 100}).encode()[:cut])
        ledger = Ledger(path)
        assert path.read_bytes() == whole
        ledger.accept(lambda number: entry(number))
        ledger.close()
        again = Ledger(path)
        assert again.entries() == [*written, entry(3)]
        again.close()

    @pytest.mark.parametrize(
        "line", ["{}", "nonsense", '{"kind":"accepted"}', '{"kind":"inputs","id":"?","inputs":[]}']
    )
    def test_a_damaged_line_is_named(self, path: Path, line: str) -> None:
        self.fill(path)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], line, *lines[1:], ""]))
        with pytest.raises(StorageError, match=r"ledger\.jsonl:2: "):
            Ledger(path)

    def test_a_ledger_that_cannot_be_written_accepts_nothing(self, path: Path) -> None:
        ledger = Ledger(path)
        ledger.close()
        with pytest.raises(OSError, match="closed"):
            ledger.accept(entry)
        assert ledger.entries() == []
        assert ledger.charged_credits == 0
