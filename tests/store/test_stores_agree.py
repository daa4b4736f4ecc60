"""Whatever is done to them, the store in memory and the one on SQLite answer the same."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from batchrunner.errors import StorageError
from batchrunner.model import Answer, Clip, Intent, Mode, VideoRequest, WantedJob
from batchrunner.request import fingerprint
from batchrunner.states import JobState
from batchrunner.store.base import Changes
from batchrunner.store.memory import MemoryStore
from batchrunner.store.sqlite import SqliteStore

START = datetime(2026, 11, 22, tzinfo=UTC)
ANSWER = Answer(rule="R", http_status=500, message="what the provider said")
CLIP = Clip(path="a.mp4", bytes=10, sha256="c", duration=5.0, width=1280, height=720, sound=False)

job_ids = st.integers(1, 7)
batch_ids = st.integers(1, 2)
minutes = st.integers(0, 5)
globs = st.none() | st.text("ab*?[]!^-", max_size=4)
wanted_jobs = st.builds(
    lambda key, prompt, position, mode, tags: WantedJob(
        key=key,
        fingerprint=fingerprint(VideoRequest(prompt=prompt, mode=mode)),
        request=VideoRequest(prompt=prompt, mode=mode),
        output=f"{prompt}/{key}.mp4",
        position=position,
        tags=tags,
    ),
    st.sampled_from(["a", "b", "ab", "ba", "a-"]),
    st.sampled_from(["x", "y"]),
    st.integers(0, 3),
    st.sampled_from(Mode),
    st.sampled_from([(), ("t",), ("t", "夜")]),
)
moves = st.lists(st.tuples(job_ids, wanted_jobs), max_size=5, unique_by=lambda move: move[0])
TRANSITIONS = {
    "record_rejected": {"reason": "frame", "message": "small"},
    "record_refused": {"answer": ANSWER, "reason": "bad"},
    "record_unanswered": {"answer": ANSWER, "reason": "timeout"},
    "record_finished": {"expires_at": START},
    "record_task_failed": {"reason": "moderation", "message": "no"},
    "record_vanished": {"message": "404"},
    "record_saved": {"clip": CLIP},
    "record_expired": {"message": "late"},
    "record_bad_file": {"message": "short"},
    "record_absent": {"note": "looked up", "not_before": None},
    "record_abandoned": {"note": "given up"},
    "record_cancelled": {"note": "by hand"},
    "record_retried": {"note": "by hand"},
    "record_reopened": {"note": "its file is gone"},
}


class TwoStores(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stores = (MemoryStore(), SqliteStore.open(Path(self.folder.name) / "batch.db"))
        self.now = START
        for name in ("one", "two"):
            self.both(lambda store, name=name: store.open_batch(name, endpoint="e", currency=None, now=START))
        for number, key in enumerate(("a", "b", "ab")):
            request = VideoRequest(prompt=key)
            new = WantedJob(
                key=key, fingerprint=fingerprint(request), request=request, output=f"{key}.mp4", position=number
            )
            self.both(lambda store, new=new: store.apply(1, Changes(added=(new,)), now=START))

    def teardown(self):
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    def both(self, action):
        one, two = (self.outcome(action, store) for store in self.stores)
        assert one == two
        return one

    def outcome(self, action, store):
        try:
            return action(store)
        except (StorageError, KeyError) as error:
            return type(error)

    @rule(by=minutes)
    def time_passes(self, by):
        self.now += timedelta(minutes=by)

    @rule(
        batch=batch_ids,
        added=st.lists(wanted_jobs, max_size=2).map(tuple),
        moved=moves,
        replaced=st.integers(0, 5),
        orphaned=st.lists(job_ids, max_size=2, unique=True).map(tuple),
    )
    def apply(self, batch, added, moved, replaced, orphaned):
        changes = Changes(
            added=added, replaced=tuple(moved[:replaced]), kept=tuple(moved[replaced:]), orphaned=orphaned
        )
        self.both(lambda store: store.apply(batch, changes, now=self.now))

    @rule(
        batch=batch_ids,
        jobs=st.lists(wanted_jobs, max_size=5, unique_by=lambda job: job.key),
        only=globs,
        tags=st.lists(st.sampled_from(["t", "夜", "none"]), max_size=2),
        limit=st.none() | st.integers(0, 4),
    )
    def adopt(self, batch, jobs, only, tags, limit):
        self.both(lambda store: store.compare(batch, jobs))
        self.both(lambda store: store.purchases(only=only, tags=tags, limit=limit))
        self.both(lambda store: store.adopt(batch, now=self.now))

    @rule(
        job=job_ids,
        purchase=st.integers(1, 9),
        price=st.none() | st.integers(0, 9),
        caps=st.fixed_dictionaries(
            dict.fromkeys(("cap", "per_day", "per_month", "per_run"), st.none() | st.integers(0, 30))
        ),
        tags=st.dictionaries(st.sampled_from("xy"), st.integers(0, 30), max_size=2),
        day=st.none() | st.sampled_from([START.date() + timedelta(days=days) for days in (0, 1, 20)]),
        run_id=st.none() | st.just(1),
    )
    def intend(self, job, purchase, price, caps, tags, day, run_id):
        intent = Intent(purchase_id=f"p{purchase}", body_sha256="d", price=price, day=day, run_id=run_id)
        self.both(lambda store: store.record_intent(job, intent, **caps, tags=tags, now=self.now) is not None)

    @rule(job=job_ids, task=st.integers(1, 9))
    def accept(self, job, task):
        self.both(lambda store: store.record_accepted(job, f"t{task}", ANSWER, now=self.now))

    @rule(job=job_ids, task=st.integers(1, 9))
    def find(self, job, task):
        self.both(lambda store: store.record_found(job, f"t{task}", now=self.now))

    @rule(job=job_ids, wait=st.none() | minutes)
    def give_back(self, job, wait):
        not_before = None if wait is None else self.now + timedelta(minutes=wait)
        self.both(lambda store: store.record_returned(job, ANSWER, reason="busy", not_before=not_before, now=self.now))

    @rule(job=job_ids, verb=st.sampled_from(sorted(TRANSITIONS)))
    def move(self, job, verb):
        self.both(lambda store: getattr(store, verb)(job, **TRANSITIONS[verb], now=self.now))

    @rule(job=job_ids, progress=st.none() | st.integers(0, 2))
    def progress(self, job, progress):
        self.both(lambda store: store.record_progress(job, status="s", progress=progress, now=self.now))

    @rule(batch=batch_ids)
    def recover(self, batch):
        self.both(lambda store: store.recover(batch, now=self.now))

    @rule(batch=batch_ids)
    def start_run(self, batch):
        self.both(lambda store: store.start_run(batch, pid=1, host="h", now=self.now))

    @rule(name=st.sampled_from(["one", "two"]), endpoint=st.sampled_from("ef"), currency=st.sampled_from([None, "USD"]))
    def open_batch(self, name, endpoint, currency):
        self.both(lambda store: store.open_batch(name, endpoint=endpoint, currency=currency, now=self.now))

    @rule(jobs=st.lists(job_ids, min_size=1, max_size=3))
    def undone(self, jobs):
        def claim_and_fail(store):
            with store.transaction():
                for job in jobs:
                    store.record_intent(
                        job, Intent(purchase_id=f"q{job}", body_sha256="d", price=1), cap=None, now=START
                    )
                store.apply(1, Changes(orphaned=tuple(jobs)), now=START)
                raise StorageError("undo")

        self.both(claim_and_fail)

    @rule(
        batch=batch_ids,
        only=globs,
        tags=st.lists(st.sampled_from(["t", "夜", "none"]), max_size=2),
        limit=st.integers(0, 4),
    )
    def ask(self, batch, only, tags, limit):
        self.both(lambda store: store.sendable(batch, now=self.now, limit=limit, only=only, tags=tags))
        self.both(lambda store: store.counts(batch, only=only, tags=tags))
        self.both(lambda store: store.next_not_before(batch, after=self.now, only=only, tags=tags))
        self.both(lambda store: list(store.jobs(batch, states=[JobState.RUNNING, JobState.FAILED])))

    @invariant()
    def same(self):
        self.both(lambda store: store.batches())
        for batch in (1, 2):
            self.both(lambda store, batch=batch: list(store.jobs(batch, wanted_only=False)))
            self.both(lambda store, batch=batch: list(store.stored_jobs(batch)))
            self.both(lambda store, batch=batch: store.counts(batch))
            self.both(lambda store, batch=batch: store.in_flight(batch))
        for job in range(1, 8):
            self.both(lambda store, job=job: store.history(job))
            self.both(lambda store, job=job: store.attempts(job))
        for task in range(1, 10):
            self.both(lambda store, task=task: store.task_owner(f"t{task}"))
        for batch in (1, 2):
            self.both(lambda store, batch=batch: store.money(batch))
            self.both(lambda store, batch=batch: store.used(batch, day=START.date()))


def test_the_stores_agree():
    run_state_machine_as_test(
        TwoStores,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
