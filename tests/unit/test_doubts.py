"""What evidence proves about a submission in doubt: only what the provider says it knows is proof."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import pytest
from trio.testing import MockClock

from batchrunner.answers import AccountStop, Found, Later, Missing
from batchrunner.doubts import SETTLE, Books, Doubt, Evidence, Verdict, examine, is_ours, judge
from batchrunner.model import Answer, Attempt, Balance, Job, Purchase, Reading, VideoRequest
from batchrunner.providers.base import Exchange
from batchrunner.reconcile import LOOKUPS
from batchrunner.states import JobState

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
JOB = Job(
    id=1,
    key="a",
    fingerprint="f",
    state=JobState.IN_DOUBT,
    request=VideoRequest(prompt="a"),
    output="a.mp4",
    reason="no_answer",
    purchase_id="br_1",
)


def doubt(*, age=0.0, candidate=None):
    answer = Answer(rule="T13", request_id="req-1", candidate=candidate)
    attempt = Attempt(
        number=1,
        purchase_id="br_1",
        outcome="unanswered",
        charge="committed",
        price=7,
        body_sha256="d",
        intended_at=NOW - timedelta(seconds=age),
        answer=answer,
    )
    return Doubt(job=JOB, attempts=(attempt,))


@pytest.mark.parametrize(
    ("looked", "fits", "age", "control", "verdict"),
    [
        (Found("task_1"), False, 0, None, Verdict.FOUND),
        (Found("task_1"), True, SETTLE, False, Verdict.FOUND),
        (Missing(), True, 0, None, Verdict.FOUND),
        (Later("http_500"), True, 0, None, Verdict.FOUND),
        (Missing(), False, 0, True, Verdict.UNKNOWN),
        (Missing(), False, SETTLE - 1, True, Verdict.UNKNOWN),
        (Missing(), False, SETTLE, True, Verdict.NOT_FOUND),
        (Missing(), False, SETTLE, None, Verdict.NOT_FOUND),
        (Missing(), False, SETTLE, False, Verdict.UNKNOWN),
        (Later("http_500"), False, SETTLE, True, Verdict.UNKNOWN),
        (AccountStop("key", "Invalid token"), False, SETTLE, True, Verdict.UNKNOWN),
    ],
)
def test_only_what_the_provider_knows_is_proof(looked, fits, age, control, verdict):
    found = doubt(age=age, candidate="task_9")
    finding = judge(
        found, Evidence(by_purchase=looked, candidate_fits=fits, settled=found.settled(NOW), control=control)
    )
    assert finding.verdict is verdict
    assert (finding.task_id is not None) is (verdict is Verdict.FOUND)
    assert finding.why


def answered(**task):
    body = {"id": "task_9", "model": "kling-v3", "status": "queued", "created_at": NOW.timestamp(), **task}
    return Exchange(status=200, body=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("exchange", "ours"),
    [
        (answered(), True),
        (answered(client_business_id="br_1"), True),
        (answered(client_business_id="br_2"), False),
        (answered(model="kling-v2"), False),
        (answered(id="task_8"), False),
        (answered(created_at=NOW.timestamp() - 61), False),
        (answered(created_at=NOW.timestamp() + SETTLE + 1), False),
        (Exchange(status=404, body=b'{"error": {"message": "task not found"}}'), False),
        (Exchange(status=None, error="ConnectError"), False),
        (Exchange(status=200, body=b"<html>"), False),
    ],
)
def test_a_task_is_ours_only_with_our_model_in_our_minutes(exchange, ours):
    assert is_ours(doubt(), exchange, task_id="task_9") is ours


class Silent:
    """A provider that knows the control and none of the doubts; `used` credits by now."""

    def __init__(self, *known):
        self.known, self.asked = known, []

    async def poll(self, name):
        self.asked.append(name)
        if name in self.known:
            body = {"id": "task_2", "model": "kling-v3", "status": "completed", "client_business_id": name}
            return Exchange(status=200, body=json.dumps(body).encode())
        return Exchange(status=404, body=b'{"error": {"code": 404, "message": "task not found"}}')


def bought(at, outcome="finished"):
    return Purchase(
        kind=("720P", 5), intended_at=NOW - timedelta(seconds=at), outcome=outcome, prompt=outcome == "finished"
    )


def examined(provider, *, used, age=SETTLE):
    readings = [Reading(at=NOW - timedelta(seconds=at), used=credits) for at, credits in ((9000, 10), (8000, 94))]
    books = Books(known="br_2", account="k", readings=readings, purchases=[bought(8500), bought(age, "unanswered")])
    ask = partial(
        examine, provider, [doubt(age=age)], books, clock=lambda: NOW, balance=Balance(remaining=1, used=used)
    )
    return anyio.run(ask, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


def test_a_balance_that_did_not_move_is_proof_of_absence_when_five_looks_found_nothing():
    provider = Silent("br_2")
    examination = examined(provider, used=94)
    assert [one.verdict for one in examination.findings] == [Verdict.ABSENT], examination
    assert "residual 0" in examination.sums
    assert provider.asked.count("br_1") == LOOKUPS


@pytest.mark.parametrize(
    ("known", "used", "age"), [(("br_2",), 178, SETTLE), ((), 94, SETTLE), (("br_2",), 94, SETTLE - 1)]
)
def test_nothing_less_is_proof_of_absence(known, used, age):
    provider = Silent(*known)
    examination = examined(provider, used=used, age=age)
    assert examination.findings[0].verdict in (Verdict.NOT_FOUND, Verdict.UNKNOWN)
    assert provider.asked.count("br_1") == 1
