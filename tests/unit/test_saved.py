"""A saved plan is other people's words once it lies on a disk: whatever it says, it is a plan or is refused with its name."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from batchrunner import saved
from batchrunner.errors import UsageError

HEAD = {
    "schema": saved.SCHEMA,
    "made_at": "2026-11-22T19:35:37+00:00",
    "request": {
        "manifest": "/w/h.yaml",
        "prompts": [],
        "sets": [],
        "allowed": ["/frames"],
        "database": "/w/b.db",
        "out": "/w/out",
        "emulator": False,
        "date": "2026-11-22",
        "only": None,
        "tags": ["night"],
        "limit": None,
        "redo": ["changed"],
    },
    "meaning": {
        "batch": "h",
        "endpoint": "localhost",
        "frames": "urls",
        "currency": "USD",
        "prices": {"per_second": True, "720P": 84000},
        "max_cost": None,
    },
}
ROWS = [["send", "j0", "52c1", "j0.mp4"], ["done", "j1", "b644", "j1.mp4"]]
STRANGE = (5, -1, "x", "", None, True, [], {}, [5], [["send"]], {"a": 1}, "a\0b")


def _written(folder: Path, head: Any, rows: list[Any], *, count: Any = None) -> Path:
    text = json.dumps(head)[:-1] + ', "jobs": [\n' + ",\n".join(map(json.dumps, rows))
    path = folder / "plan.json"
    path.write_text(f'{text}\n], "count": {json.dumps(len(rows) if count is None else count)}}}\n', "utf-8")
    return path


def test_what_was_saved_is_read(tmp_path):
    plan = saved.load(_written(tmp_path, HEAD, ROWS))
    assert (plan.request.manifest, plan.request.allowed) == (Path("/w/h.yaml"), (Path("/frames"),))
    assert str(plan.request.date) == "2026-11-22"
    assert [list(row) for row in plan.rows()] == ROWS


@pytest.mark.parametrize("part", ["request", "meaning"])
def test_no_field_is_believed(tmp_path, part):
    for name in HEAD[part]:
        for value in STRANGE:
            head = {**HEAD, part: {**HEAD[part], name: value}}
            with suppress(UsageError):  # and nothing else: some of them are what the field may hold
                saved.load(_written(tmp_path, head, ROWS))
        left_out = {one: value for one, value in HEAD[part].items() if one != name}
        for changed in (left_out, {**HEAD[part], "more": 1}, 5, None, []):
            with pytest.raises(UsageError, match="is not a whole plan"):
                saved.load(_written(tmp_path, {**HEAD, part: changed}, ROWS))


@pytest.mark.parametrize("row", [[5, "j", "f", "o"], ["send", ["j"], "f", "o"], ["send"], [[]], [None] * 4])
def test_no_row_is_believed(tmp_path, row):
    with pytest.raises(UsageError, match="is not a whole plan"):
        saved.load(_written(tmp_path, HEAD, [*ROWS, row]))


@pytest.mark.parametrize("count", [1, 3, "2", None, []])
def test_the_count_must_be_right(tmp_path, count):
    path = _written(tmp_path, HEAD, ROWS, count=count if count is not None else 0)
    with pytest.raises(UsageError, match="is not a whole plan"):
        saved.load(path)


@pytest.mark.parametrize("cut", [30, 200, -5, -40])
def test_a_file_that_was_cut_off_is_no_plan(tmp_path, cut):
    path = _written(tmp_path, HEAD, ROWS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UsageError, match="is not a whole plan"):
        saved.load(path)
