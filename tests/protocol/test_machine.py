"""Random lives of a real database under the real classifier: any verb at any moment, and processes that die in between.

The provider's ledger is kept here, by hand; after each step the checker of the chaos tests compares it with the database.
"""

import hashlib
import itertools
import json
import struct
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from model import ANSWERS, CHARGING, INNOCENT, MOVES

from batchrunner import classify
from batchrunner.model import Clip, Intent, VideoRequest, WantedJob
from batchrunner.purchase import purchase_id
from batchrunner.request import fingerprint
from batchrunner.states import JobEvent, JobState
from batchrunner.store.base import Changes
from batchrunner.store.sqlite import SqliteStore
from tests.chaos import checker
from tests.chaos.evidence import Evidence, Sale

JOBS = 3
NUMBERS = st.integers(min_value=0, max_value=JOBS - 1)
MP4 = b"".join(struct.pack(">I4s", 8, name) for name in (b"ftyp", b"moov", b"mdat"))
DIED = RuntimeError("the process dies here")


class Lives(RuleBasedStateMachine):
    """Three jobs, one provider that keeps what it sells, and as many processes as it takes."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory(prefix="machine-")
        self.path = Path(self.folder.name) / ".batchrunner" / "batchrunner.db"
        self.clips = Path(self.folder.name) / "out"
        self.clips.mkdir()
        self.seconds = itertools.count()
        self.tasks = itertools.count(1)
        self.sales = []
        self.sending = {}
        """Purchases under way in this process, by job."""
        self.on_the_wire = []
        self.store = SqliteStore.open(self.path)
        self.batch = self.store.open_batch("batch", endpoint="here", currency="USD", now=self.now())
        wanted = [
            WantedJob(key=name, fingerprint=fingerprint(asked), request=asked, output=f"{name}.mp4", position=position)
            for position, name in enumerate("abc"[:JOBS])
            for asked in [VideoRequest(prompt=name)]
        ]
        self.store.apply(self.batch.id, Changes(added=tuple(wanted)), now=self.now())

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def now(self):
        """Each moment is later than the last."""
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=next(self.seconds))

    def job(self, number):
        return list(self.store.jobs(self.batch.id, wanted_only=False))[number]

    def sell(self, job_prompt, purchase, body):
        """The provider charges."""
        task = f"task_{next(self.tasks)}"
        self.sales.append(Sale(task, purchase, job_prompt, body))
        return task

    def sold(self, purchase):
        """The task of a purchase, if it was sold."""
        return next((sale.task_id for sale in self.sales if sale.purchase_id == purchase), None)

    # a run

    @rule(number=NUMBERS)
    def claim(self, number):
        job = self.job(number)
        purchase = job.purchase_id or purchase_id(self.now(), next(self.seconds))
        intent = Intent(purchase_id=purchase, body_sha256=f"{number}" * 64, price=40)
        if self.store.record_intent(job.id, intent, cap=None, now=self.now()) is not None:
            assert job.state is JobState.PENDING
            self.sending[number] = purchase

    @rule(number=NUMBERS, name=st.sampled_from(sorted(ANSWERS)), charged=st.booleans(), stays=st.booleans())
    def hear(self, number, name, charged, stays):
        if number not in self.sending:
            return
        purchase, job = self.sending.pop(number), self.job(number)
        sells = name == "accepted" or (charged and name in {*CHARGING, "timeout"} - {"accepted"})
        task = self.sell(job.request.prompt, purchase, f"{number}" * 64) if sells else None
        if name == "timeout" and not sells and stays:
            self.on_the_wire.append((number, job.request.prompt, purchase))
        assert sells or name in INNOCENT or name in ("unsent", "timeout", "cut")
        exchange = ANSWERS[name]
        if name == "accepted":
            exchange = replace(exchange, body=json.dumps({"id": task}).encode())
        self.record(job, classify.submission(exchange, now=self.now()))

    def record(self, job, made):
        """What `Submitter` does."""
        match MOVES[made.verdict]:
            case JobEvent.ACCEPTED:
                assert self.store.record_accepted(job.id, made.task_id, made.answer, now=self.now())
            case JobEvent.UNANSWERED:
                assert self.store.record_unanswered(job.id, made.answer, reason=made.reason, now=self.now())
            case JobEvent.REFUSED:
                assert self.store.record_refused(job.id, made.answer, reason=made.reason, now=self.now())
            case JobEvent.RETURNED:
                told = {"reason": made.reason, "not_before": None, "now": self.now()}
                assert self.store.record_returned(job.id, made.answer, **told)

    @rule()
    def deliver_late(self):
        """The dead can still speak."""
        while self.on_the_wire:
            number, prompt, purchase = self.on_the_wire.pop()
            self.sell(prompt, purchase, f"{number}" * 64)

    @rule(data=st.data())
    def die(self, data):
        """At any moment, also in the middle of a transaction; what was being sent may have been charged."""
        for number, purchase in self.sending.items():
            fate = data.draw(st.sampled_from(["lost", "charged", "on the wire"]))
            prompt = self.job(number).request.prompt
            if fate == "charged":
                self.sell(prompt, purchase, f"{number}" * 64)
            elif fate == "on the wire":
                self.on_the_wire.append((number, prompt, purchase))
        before = self.states()
        half = data.draw(st.booleans())
        if half:
            self.store._connection.execute("BEGIN IMMEDIATE")
            self.store._connection.execute("UPDATE jobs SET message = 'half'")
        self.store._connection.close()
        self.sending = {}
        self.store = SqliteStore.open(self.path)
        assert self.states() == before, "a commit was lost, or half of one was kept"
        assert self.store.recover(self.batch.id, now=self.now()) == before.count(JobState.SUBMITTING)
        assert JobState.SUBMITTING not in self.states()

    def states(self):
        return [job.state for job in self.store.jobs(self.batch.id, wanted_only=False)]

    # settling, and people

    @rule(number=NUMBERS)
    def look_up(self, number):
        job = self.job(number)
        if (task := self.sold(job.purchase_id)) is not None:
            applied = self.store.record_found(job.id, task, now=self.now(), note="found by its purchase id")
            assert applied is (job.state is JobState.IN_DOUBT)

    @rule(number=NUMBERS)
    def settle_as_absent(self, number):
        """On evidence, which is right: nothing was sold and nothing is on its way."""
        job = self.job(number)
        waiting = {purchase for _, _, purchase in self.on_the_wire}
        if job.state is JobState.IN_DOUBT and self.sold(job.purchase_id) is None and job.purchase_id not in waiting:
            assert self.store.record_absent(job.id, note="residual 0", not_before=None, now=self.now())

    @rule(number=NUMBERS, verb=st.sampled_from(["abandoned", "retried", "cancelled", "reopened"]))
    def decide(self, number, verb):
        """A person, with the lock: nothing is being sent."""
        job = self.job(number)
        if number not in self.sending and not any(one == number for one, _, _ in self.on_the_wire):
            getattr(self.store, f"record_{verb}")(job.id, note="by hand", now=self.now())

    # what becomes of a task

    @rule(number=NUMBERS, verb=st.sampled_from(["finished", "task_failed", "vanished", "saved", "expired", "bad_file"]))
    def go_on(self, number, verb):
        job, now = self.job(number), self.now()
        match verb:
            case "finished":
                self.store.record_finished(job.id, expires_at=now, now=now)
            case "task_failed":
                self.store.record_task_failed(job.id, reason="content_policy", message="no", now=now)
            case "saved":
                path = self.clips / f"{job.key}.mp4"
                if job.state is JobState.FETCHING:
                    path.write_bytes(MP4)
                facts = {"duration": 5.0, "width": 64, "height": 36, "sound": False}
                clip = Clip(path=str(path), bytes=len(MP4), sha256=_sha256(MP4), **facts)
                self.store.record_saved(job.id, clip, now=now)
            case _:
                getattr(self.store, f"record_{verb}")(job.id, message="gone", now=now)

    @invariant()
    def no_promise_is_broken(self):
        if hasattr(self, "store"):
            evidence = Evidence(
                folder=self.path.parent.parent,
                database=self.path,
                clips=self.clips,
                prompts=list("abc"[:JOBS]),
                sales=self.sales,
                bodies=[sale.body_sha256 for sale in self.sales],
            )
            assert checker.check(evidence) == []

    @invariant()
    def the_counts_are_the_rows(self):
        if hasattr(self, "store"):
            states = self.states()
            assert self.store.counts(self.batch.id) == {state: states.count(state) for state in set(states)}


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


class Requeuing(Lives):
    """A process that sends again what its predecessor was sending."""

    @rule(number=NUMBERS)
    def requeue(self, number):
        if self.job(number).state is JobState.IN_DOUBT:
            self.store.record_absent(self.job(number).id, note="it crashed", not_before=None, now=self.now())


def lives(examples, steps, machine=Lives, **how):
    """Random lives of so many steps; a failing one is shown as the shortest program that fails."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    how |= {"max_examples": examples, "stateful_step_count": steps, "suppress_health_check": checks}
    run_state_machine_as_test(machine, settings=settings(deadline=None, database=None, **how))


def test_a_few_lives_break_no_promise():
    lives(12, 30)


def test_a_process_that_sends_again_is_caught():
    with pytest.raises(AssertionError, match=r"I[234] |nothing"):
        lives(300, 30, Requeuing, phases=[Phase.generate], derandomize=True)


@pytest.mark.slow
def test_many_lives_break_no_promise():
    lives(200, 60)
