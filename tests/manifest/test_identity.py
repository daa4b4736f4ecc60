"""What must hold of every manifest: order, keys of mappings and quotes change nothing, and running it again buys nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.manifest import parse_manifest
from batchrunner.media.frames import FrameFacts
from batchrunner.model import Answer, Clip, Intent, WantedJob
from batchrunner.plan import Plan, plan
from batchrunner.store.memory import MemoryStore

PATH = Path("/films/b.yaml")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
CLIP = Clip(path="a.mp4", bytes=1, sha256="c" * 64, duration=5.0, width=16, height=9, sound=False)


def look(path: Path, *, roots: object) -> FrameFacts:
    return FrameFacts(sha256=path.name.ljust(64, "0"), width=1920, height=1080, mime="image/png", bytes=1)


def expand(manifest: dict[str, Any] | str) -> tuple[WantedJob, ...]:
    text = manifest if isinstance(manifest, str) else json.dumps({"version": 1} | manifest, ensure_ascii=False)
    return parse_manifest(text.encode(), PATH, probe=look).jobs


def identities(jobs: tuple[WantedJob, ...]) -> set[tuple[str, str, str]]:
    return {(job.key, job.fingerprint, job.output) for job in jobs}


WORDS = st.sampled_from(["猫", "狗", "a cat", "清晨, 森林", "夜"])
TEXTS = st.sampled_from(["猫 {v}", "狗{w}", "{mode} {v}", "plain", "{v}{w}"])
MATRICES = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.lists(st.sampled_from(["std", "pro"]), min_size=1, unique=True),
        "duration": st.lists(st.sampled_from([5, 10]), min_size=1, unique=True),
        "v": st.lists(WORDS, min_size=1, max_size=3, unique=True),
        "x": st.lists(WORDS, min_size=1, max_size=2, unique=True),
    },
).filter(bool)
ROWS = st.lists(
    st.fixed_dictionaries({"w": WORDS}, optional={"v": WORDS, "duration": st.just(10)}), min_size=1, max_size=3
)
NAMED = st.dictionaries(st.sampled_from(["hero", "macro", "wide"]), TEXTS, min_size=1)


def entry(id: str | None, prompts: Any, matrix: Any, rows: Any, takes: int) -> dict[str, Any]:
    one: dict[str, Any] = {"prompts": prompts} if not isinstance(prompts, str) else {"prompt": prompts}
    given = {"id": id, "matrix": matrix, "from": rows and {"rows": rows}, "takes": takes if takes > 1 else None}
    return one | {key: value for key, value in given.items() if value is not None}


ENTRIES = st.builds(
    entry,
    st.none(),
    st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), NAMED),
    st.none() | MATRICES,
    st.none() | ROWS,
    st.integers(1, 2),
)


def manifest(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Entries with named prompts have an id, since two of them could share a name."""
    jobs = [{"id": f"e{n}"} | one if isinstance(one.get("prompts"), dict) else one for n, one in enumerate(entries)]
    return {"vars": {"v": "V", "w": "W"}, "jobs": jobs}


def shuffled(value: Any, chance: Any) -> Any:
    if isinstance(value, dict):
        keys = chance.sample(list(value), len(value))
        return {key: shuffled(value[key], chance) for key in keys}
    return [shuffled(one, chance) for one in value] if isinstance(value, list) else value


@settings(max_examples=50, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_keys_in_mappings_changes_nothing(entries, chance):
    written = manifest(entries)
    before = expand(written)
    assert before == expand(written)
    assert identities(before) == identities(expand(shuffled(written, chance)))
    assert len({job.key for job in before}) == len({job.output.casefold() for job in before}) == len(before)


@settings(max_examples=50, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=4), ENTRIES, st.data())
def test_what_is_inserted_changes_no_other_identity(entries, more, data):
    written = manifest(entries)
    before = identities(expand(written))
    at = data.draw(st.integers(0, len(entries)))
    if isinstance(more.get("prompts"), dict):
        more = {"id": "new"} | more
    inserted = written | {"jobs": [*written["jobs"][:at], more, *written["jobs"][at:]]}
    assert before <= identities(expand(inserted))


@settings(max_examples=50, deadline=None)
@given(ENTRIES, st.data())
def test_a_row_a_prompt_or_a_value_that_is_inserted_changes_no_other(one, data):
    """Whatever is a list in an entry can grow anywhere; named prompts and dimensions can grow too."""
    before = identities(expand(manifest([one])))
    places = [("prompts",)] if "prompts" in one else []
    places += [("from", "rows")] if "from" in one else []
    places += [("matrix", name) for name in one.get("matrix", {})]
    if not places:
        return
    path = data.draw(st.sampled_from(places))
    grown = json.loads(json.dumps(one))
    home = grown
    for step in path[:-1]:
        home = home[step]
    new = {"prompts": "新 {w}", "rows": {"w": "新"}, "mode": "pro", "duration": 10}.get(path[-1], "新")
    values = home[path[-1]]
    if isinstance(values, dict):
        values["new"] = new
    elif new not in values or path[-1] in ("prompts", "rows"):
        values.insert(data.draw(st.integers(0, len(values))), new)
    assert before <= identities(expand(manifest([grown])))


@pytest.mark.parametrize(
    ("plain", "quoted"),
    [
        ("mode: pro", "mode: 'pro'"),
        ("aspect_ratio: 9:16", 'aspect_ratio: "9:16"'),
        ("matrix: {mode: [std, pro]}", "'matrix': {\"mode\": ['std', \"pro\"]}"),
        (
            "matrix: {aspect_ratio: [16:9, 1:1], v: [no, 007, 22:30, 1e3]}",
            "matrix: {aspect_ratio: ['16:9', '1:1'], v: ['no', '007', '22:30', '1e3']}",
        ),
        ("vars: {v: 1.10}", "vars: {v: '1.10'}"),
        ("vars: {v: 2026-11-22}", "vars: {v: '2026-11-22'}"),
        ("vars: {v: off}", "vars: {v: 'off'}"),
        ("from: {rows: [{key: S01, v: 0x1F}]}", "from: {rows: [{'key': 'S01', \"v\": '0x1F'}]}"),
        ("prompts: {hero: 猫}", "prompts: {'hero': '猫'}"),
        ("tags: [nightly]", "tags: ['nightly']"),
        ("key: 'x-{v}'", 'key: "x-{v}"'),
        ("takes: 2\n  id: a", "takes: 2\n  id: 'a'"),
        ("frames: {first: a.png}", "frames: {first: 'a.png'}"),
    ],
)
def test_quotes_change_nothing(plain, quoted):
    one, other = (
        expand(f"version: 1\nvars: {{v: x}}\njobs:\n- {text}\n  {'' if 'prompts' in text else 'prompt: p {v}'}\n")
        for text in (plain, quoted)
    )
    assert [(job.key, job.request, job.output, job.tags) for job in one] == [
        (job.key, job.request, job.output, job.tags) for job in other
    ]


# running it again


class Batch:
    """A batch in memory that buys whatever a plan would send."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.id = self.store.open_batch("b", endpoint="e", currency=None, now=NOW).id

    def run(self, jobs: tuple[WantedJob, ...], *, buy: bool = True) -> Plan:
        made = plan(jobs, self.store.stored_jobs(self.id))
        self.store.apply(self.id, made.changes, now=NOW)
        for job in self.store.sendable(self.id, now=NOW, limit=999) if buy else []:
            intent = Intent(purchase_id=f"p{job.id}", body_sha256="0" * 64, price=None)
            self.store.record_intent(job.id, intent, cap=None, now=NOW)
            self.store.record_accepted(job.id, f"t{job.id}", Answer(rule="S200"), now=NOW)
            self.store.record_finished(job.id, expires_at=None, now=NOW)
            self.store.record_saved(job.id, CLIP, now=NOW)
        return made


PAIR = {"id": "a", "prompt": "p {v}", "matrix": {"v": ["x", "y"]}, "takes": 2}


def test_nothing_is_bought_again():
    batch = Batch()
    assert len(batch.run(expand({"jobs": [PAIR]})).to_send) == 4
    again = batch.run(expand({"jobs": [PAIR]}))
    assert (again.to_send, len(again.done), again.moved, again.changed) == ((), 4, (), ())


@pytest.mark.parametrize(
    "renamed",
    [
        {**PAIR, "id": "other"},
        {**PAIR, "id": "a", "key": "{v}-{take}"},
        {**PAIR, "prompt": "{v2} {v}", "vars": {"v2": "p"}, "id": "b"},
        {"id": "z", "prompts": {"n1": "p x", "n2": "p y"}, "takes": 2},
    ],
)
def test_renaming_an_entry_with_takes_moves_all_of_them(renamed):
    batch = Batch()
    batch.run(expand({"jobs": [PAIR]}))
    found = batch.run(expand({"jobs": [renamed]}))
    assert (len(found.moved), found.to_send, found.orphaned, len(found.done)) == (4, (), (), 4)


def test_one_take_more_buys_one_clip_for_each_request():
    batch = Batch()
    batch.run(expand({"jobs": [{**PAIR, "takes": 1}]}))
    found = batch.run(expand({"jobs": [PAIR]}))
    assert ([job.key for job in found.to_send], found.moved) == (["a/x/t2", "a/y/t2"], ("a/x/t1", "a/y/t1"))
    fewer = batch.run(expand({"jobs": [{**PAIR, "takes": 1}]}))
    assert (fewer.to_send, len(fewer.orphaned), len(fewer.done)) == ((), 2, 2)


def test_a_row_above_the_others_is_the_only_new_one():
    rows = [{"w": "猫"}, {"w": "狗"}]
    batch = Batch()
    batch.run(expand({"jobs": [{"prompt": "{w}", "from": {"rows": rows}}]}))
    found = batch.run(expand({"jobs": [{"prompt": "{w}", "from": {"rows": [{"w": "新"}, *rows]}}]}))
    assert ([job.request.prompt for job in found.to_send], len(found.done), found.orphaned) == (["新"], 2, ())


def test_a_change_is_sent_before_and_kept_after_it_was_bought():
    named = {"jobs": [{"id": "a", "prompt": "old"}]}
    edited = {"jobs": [{"id": "a", "prompt": "new"}]}
    batch = Batch()
    batch.run(expand(named), buy=False)
    assert [job.request.prompt for job in batch.run(expand(edited)).to_send] == ["new"]
    found = batch.run(expand(named))
    assert (found.changed, found.to_send) == (("a",), ())


def test_what_leaves_the_manifest_is_an_orphan_and_comes_back():
    batch = Batch()
    batch.run(expand({"jobs": [PAIR, {"id": "b", "prompt": "q"}]}))
    assert batch.run(expand({"jobs": [PAIR]})).orphaned == ("b",)
    found = batch.run(expand({"jobs": [PAIR, {"id": "b", "prompt": "q"}]}))
    assert (found.to_send, len(found.done)) == ((), 5)


def test_a_job_that_is_not_saved_yet_goes_where_the_manifest_says_now():
    batch = Batch()
    batch.run(expand({"jobs": [PAIR]}), buy=False)
    batch.run(expand({"jobs": [PAIR], "output": {"filename": "new/{v}-{take}.mp4"}}), buy=False)
    assert [job.output for job in batch.store.jobs(batch.id)][:2] == ["new/x-1.mp4", "new/x-2.mp4"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ENTRIES, min_size=1, max_size=3), min_size=2, max_size=3))
def test_no_history_of_edits_buys_more_than_is_wanted(history):
    batch = Batch()
    wanted: dict[str, int] = {}
    for entries in history:
        jobs = expand(manifest(entries))
        made = batch.run(jobs)
        for print_ in {job.fingerprint for job in jobs}:
            wanted[print_] = max(wanted.get(print_, 0), sum(job.fingerprint == print_ for job in jobs))
        again = batch.run(jobs)
        assert (again.to_send, again.moved, again.orphaned) == ((), (), ())
        assert len(made.changes.added) + len(made.changes.kept) + len(made.changes.replaced) == len(jobs)
    bought: dict[str, int] = {}
    for job in batch.store.jobs(batch.id, wanted_only=False):
        bought[job.fingerprint] = bought.get(job.fingerprint, 0) + 1
    assert all(bought[print_] <= wanted.get(print_, 0) for print_ in bought)
