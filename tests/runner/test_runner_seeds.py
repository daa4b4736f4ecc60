"""A thousand jobs a seed, with every fault, deaths and an hour in which the provider is gone; hours pass in seconds.

    SEEDS=0:50 python -m pytest -m slow tests/runner/test_runner_seeds.py

A failure names its seed; the same test with that seed alone (`SEEDS=17:18`) lives the very same life.
"""

import os

import pytest
from provider import Reply, lost
from test_runner_chaos import check, live
from world import HOUR

from batchrunner.states import JobState

FIRST, LAST = map(int, os.environ.get("SEEDS", "0:5").split(":"))
GONE = [lost(sells=True), Reply(status=502, body=b"<html>502 Bad Gateway</html>"), lost(sells=False)]
"""What requests of the outage come to: charged and never answered, answered by a proxy, or never heard."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_a_thousand_jobs_through_every_fault(tmp_path, files, scheduling, seed):
    outage = (600.0, 600.0 + HOUR, GONE[seed % len(GONE)])
    story = live(tmp_path, files, scheduling, seed, 1000, settle=[900.0, 0.0][seed % 2], outages=[outage])
    check(story)
    assert story.deaths >= 10


def test_a_small_batch_through_an_outage(tmp_path, files, scheduling):
    story = live(tmp_path, files, scheduling, 5, 60, settle=300.0, outages=[(60.0, 60.0 + HOUR, lost(sells=True))])
    check(story)
    assert JobState.DONE in story.world.states().values()
