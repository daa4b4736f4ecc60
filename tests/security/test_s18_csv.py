"""S18: a table for a spreadsheet holds no formula, and reads back as what it was."""

import csv
import io

import pytest

from batchrunner.cli import ls
from batchrunner.model import VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.store.base import Changes
from batchrunner.store.memory import MemoryStore

from .test_s17_report import NOW

FORMULAS = [f"{sign}cmd|' /C calc'!A0" for sign in ("=", "+", "-", "@", "\t", "\r", "\0", "＝", "＋", "－", "＠")]
HARMLESS = ["a = b", "1+1", "it's", 'he said "go"', "a,b", "two\nlines", "a\rb", "\nbelow", "猫", "'=x"]


def listed(texts):
    """The prompts of `ls --format csv`."""
    store = MemoryStore()
    batch = store.open_batch("b", endpoint="e", currency=None, now=NOW)
    jobs = []
    for position, text in enumerate(texts):
        asked = VideoRequest(prompt=text)
        jobs.append(
            WantedJob(
                key=f"k{position}", fingerprint=fingerprint(asked), request=asked, output="a.mp4", position=position
            )
        )
    store.apply(batch.id, Changes(added=tuple(jobs)), now=NOW)
    text = "".join(ls._csv(store.jobs(batch.id)))
    return [row["prompt"] for row in csv.DictReader(io.StringIO(text, newline=""))]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    (cell,) = listed([text])
    assert cell == "'" + text


def test_the_rest_is_as_it_was():
    assert listed(HARMLESS) == HARMLESS
