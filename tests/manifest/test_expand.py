"""From entries to jobs: precedence, identity that no position touches, and output paths for every file system."""

from __future__ import annotations

import hashlib
import json
import random
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.errors import ManifestError
from batchrunner.manifest import Loaded, load_manifest, names, parse_manifest, template
from batchrunner.media.frames import FrameFacts
from batchrunner.model import AspectRatio, Mode, WantedJob
from batchrunner.request import fingerprint

PATH = Path("/films/batch.yaml")


def look(path: Path, *, roots: object) -> FrameFacts:
    return FrameFacts(sha256=path.name.ljust(64, "0"), width=1920, height=1080, mime="image/png", bytes=1)


def load(value: dict[str, object] | str) -> Loaded:
    """Read a manifest from YAML text, or from values (JSON is YAML)."""
    text = value if isinstance(value, str) else json.dumps({"version": 1} | value, ensure_ascii=False)
    return parse_manifest(text.encode(), PATH, probe=look)


def jobs(*entries: dict[str, object], **top: object) -> tuple[WantedJob, ...]:
    return load({"jobs": list(entries)} | top).jobs


def test_values_come_from_the_job_then_the_defaults_then_the_program():
    defaults = {"mode": "pro", "duration": 10, "metadata": {"negative_prompt": "blur", "watermark": True}}
    first, second = jobs({"prompt": "a"}, {"prompt": "b", "mode": "std", "audio": True}, defaults=defaults)
    assert (first.request.mode, first.request.duration, first.request.audio) == (Mode.PRO, 10, False)
    assert (second.request.mode, second.request.duration, second.request.audio) == (Mode.STD, 10, True)
    assert first.request.aspect_ratio is AspectRatio.LANDSCAPE


def test_metadata_is_merged_and_frames_are_replaced():
    defaults = {
        "metadata": {"negative_prompt": "blur", "watermark": True},
        "frames": {"first": "a.png", "last": "b.png"},
    }
    inherits, changes, none = jobs(
        {"prompt": "a"},
        {"prompt": "b", "metadata": {"watermark": False}, "frames": {"first": "c.png"}},
        {"prompt": "c", "frames": {}},
        defaults=defaults,
    )
    assert [frame.source for frame in inherits.request.frames] == ["/films/a.png", "/films/b.png"]
    assert (changes.request.negative_prompt, changes.request.watermark) == ("blur", False)
    assert [frame.source for frame in changes.request.frames] == ["/films/c.png"]
    assert none.request.frames == ()


def test_local_frames_are_known_by_content_and_urls_by_the_whole_url():
    signed, plain = "https://a.com/b.png?sig=secret#x", "https://a.com/b.png"
    loaded = load(
        {
            "jobs": [
                {"prompt": "a", "frames": {"first": "a.png", "last": signed}},
                {"prompt": "a", "frames": {"first": plain}},
            ]
        }
    )
    local, private = loaded.jobs[0].request.frames
    (public,) = loaded.jobs[1].request.frames
    assert (local.local, local.sha256, local.size) == (True, "a.png".ljust(64, "0"), (1920, 1080))
    assert (private.local, private.source) == (False, plain)
    assert private.sha256 == hashlib.sha256(signed.encode()).hexdigest() != public.sha256
    assert dict(loaded.private_urls) == {private.sha256: signed}
    assert "secret" not in repr(loaded.jobs)


def test_keys_are_ids_or_content():
    named, plain = jobs(
        {"id": "day/to-night", "prompt": "a"}, {"prompt": "一只金色的猫咪，在阳光下的草地上奔跑，慢动作"}
    )
    assert (named.key, named.output) == ("day/to-night", "day/to-night.mp4")
    assert plain.key == f"一只金色的猫咪-在阳光下的草地上-{plain.fingerprint[:8]}"[:17].rstrip("-") + plain.key[-9:]
    assert plain.fingerprint == fingerprint(plain.request)
    assert plain.output == f"{plain.key}.mp4"


def test_a_prompt_without_letters_still_has_a_key():
    (job,) = jobs({"prompt": "🎬!!!"})
    assert job.key == f"clip-{job.fingerprint[:8]}"


def test_identical_requests_are_separate_jobs():
    keys = [job.key for job in jobs(*[{"prompt": "a"}] * 3)]
    assert keys == [keys[0], f"{keys[0]}-2", f"{keys[0]}-3"]


def test_an_id_may_look_like_a_key_made_from_content():
    (alone,) = jobs({"prompt": "a"})
    found = jobs({"prompt": "a"}, {"id": alone.key, "prompt": "b"})
    assert [job.key for job in found] == [f"{alone.key}-2", alone.key]


def test_requests_that_share_a_short_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr("batchrunner.manifest.identity.SHORT_HASH", 0)
    entries = [{"prompt": "a", "duration": 5}, {"prompt": "a", "duration": 10}]
    keys = {job.request.duration: job.key for job in jobs(*entries)}
    assert keys == {job.request.duration: job.key for job in jobs(*reversed(entries))}
    assert len(set(keys.values())) == 2


ENTRY = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["猫", "狗", "a cat", "a  cat", "A cat", "!!"])},
    optional={"duration": st.sampled_from([5, 10]), "mode": st.sampled_from(["std", "pro"])},
)


@settings(max_examples=50, deadline=None)
@given(st.lists(ENTRY, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_no_order_changes_a_key(entries, chance):
    before = jobs(*entries)
    shuffled = [dict(chance.sample(list(entry.items()), len(entry))) for entry in entries]
    chance.shuffle(shuffled)
    after = jobs(*shuffled)
    assert sorted((job.key, job.fingerprint) for job in before) == sorted((job.key, job.fingerprint) for job in after)
    assert len({job.key for job in before}) == len(entries)
    assert [job.position for job in before] == list(range(len(entries)))


def test_inserting_a_job_changes_no_other():
    entries = [{"prompt": f"p{n}"} for n in range(5)]
    before = jobs(*entries)
    after = jobs(*entries[:2], {"prompt": "new"}, *entries[2:])
    assert {(job.key, job.fingerprint, job.output) for job in before} < {
        (job.key, job.fingerprint, job.output) for job in after
    }


def test_quoted_and_plain_values_mean_the_same():
    plain = "version: 1\ndefaults: {mode: pro, aspect_ratio: 9:16}\njobs:\n  - {id: a, prompt: 猫, duration: 5}\n"
    quoted = (
        "version: 1\ndefaults: {mode: 'pro', aspect_ratio: \"9:16\"}\njobs:\n  - {id: 'a', prompt: '猫', duration: 5}\n"
    )
    assert [(job.key, job.request, job.output) for job in load(plain).jobs] == [
        (job.key, job.request, job.output) for job in load(quoted).jobs
    ]


def test_a_job_knows_its_place():
    (job,) = load("version: 1\njobs:\n  - prompt: 猫\n").jobs
    assert job.place is not None
    assert str(job.place) == "/films/batch.yaml:3:5"


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{name}/{mode}_{duration}s_{aspect_ratio}.mp4", "batch/std_5s_16x9.mp4"),
        ("{id}.MP4", "shot.mp4"),
        ("{{{key}}}.mp4", "{shot}.mp4"),
        ("a:b?*.mp4", "a-b-.mp4"),
        ("CON.mp4", "_CON.mp4"),
        ("nul.tar.mp4", "_nul.tar.mp4"),
        (" .hidden./x .mp4", "hidden/x.mp4"),
        ("-rf.mp4", "rf.mp4"),
        (".mp4", "_.mp4"),
        ("./a//b.mp4", "a/b.mp4"),
        ("e\u0301\u202e\x01.mp4", "é.mp4"),
    ],
)
def test_output_paths_are_filled_in_and_made_safe(template, output):
    (job,) = jobs({"id": "shot", "prompt": "a"}, output={"filename": template})
    assert job.output == output


def test_the_nearest_filename_wins():
    found = jobs(
        {"prompt": "a", "output": {"filename": "job.mp4"}},
        {"prompt": "b"},
        defaults={"output": {"filename": "default.mp4"}},
        output={"filename": "top.mp4"},
    )
    assert [job.output for job in found] == ["job.mp4", "default.mp4"]


@pytest.mark.parametrize(
    "entries",
    [
        [{"id": "Shot", "prompt": "a"}, {"id": "shot", "prompt": "b"}],
        [{"id": "straße", "prompt": "a"}, {"id": "STRASSE", "prompt": "b"}],
        [{"prompt": p, "output": {"filename": "same.mp4"}} for p in "ab"],
        [{"id": "a", "prompt": "a"}, {"id": "a.mp4/b", "prompt": "b"}],
    ],
)
def test_two_jobs_never_write_the_same_file(entries):
    with pytest.raises(ManifestError) as caught:
        jobs(*entries)
    (clash,) = caught.value.diagnostics
    assert clash.code == "MAN209"
    assert clash.message.count("`") == 4


def test_a_duplicate_id_names_both_places():
    with pytest.raises(ManifestError) as caught:
        load("version: 1\njobs:\n  - {id: é, prompt: a}\n  - {id: e\u0301, prompt: b}\n")
    (duplicate,) = caught.value.diagnostics
    assert str(duplicate.place) == "/films/batch.yaml:4:10"
    assert "/films/batch.yaml:3:10" in duplicate.help


NASTY = st.text(st.one_of(st.characters(), st.sampled_from('<>:"|?*\\/.- \u202e\u0301conNUL猫😀')), max_size=120)


@settings(max_examples=100)
@given(NASTY)
def test_any_text_becomes_a_safe_path(text):
    path = names.safe_path(text, file=True)
    assert path.endswith(".mp4")
    assert names.safe_path(path, file=True) == path
    for part in path.split("/"):
        assert part
        assert len(part.encode()) <= names.MAX_COMPONENT
        assert part[0] not in "-. "
        assert part[-1] not in ". "
        assert not set(part) & set('<>:"|?*\\')
        assert all(unicodedata.category(character)[0] != "C" for character in part)
        assert part.split(".")[0].casefold().rstrip() not in {"con", "nul", "prn", "aux", "com1", "lpt9"}
        assert unicodedata.is_normalized("NFC", part)


def test_long_names_stay_different():
    one, other = (names.safe_path("猫" * 200 + end, file=True) for end in "ab")
    assert one != other
    assert max(len(one.encode()), len(other.encode())) <= names.MAX_COMPONENT


# JSON escapes what YAML takes only as an escape; \x7f and its like it leaves as they are
TEXT = st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co", "Zl", "Zp"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(TEXT, min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=6))
def test_any_prompts_get_unique_outputs(prompts):
    found = jobs(*({"prompt": template.literal(prompt)} for prompt in prompts))
    assert [job.request.prompt for job in found] == prompts
    assert len({names.same_file(job.output) for job in found}) == len(prompts)


def test_946_prompts_are_expanded_quickly(tmp_path):
    chance = random.Random(946)
    scenes, moves = ("厨房", "宫殿", "悬崖", "巷子", "酒吧", "谷仓"), ("宁静", "凝固", "静止", "推进")
    prompts = [
        f"一幅{chance.choice(scenes)}的{chance.choice(moves)}画面，第{chance.randrange(200)}号" for _ in range(946)
    ]
    path = tmp_path / "中文.yaml"
    path.write_text("version: 1\njobs:\n" + "".join(f"  - prompt: {prompt}\n" for prompt in prompts), "utf-8")
    start = time.process_time()
    loaded = load_manifest(path)
    assert time.process_time() - start < 2
    assert [job.request.prompt for job in loaded.jobs] == prompts
    assert len({job.key for job in loaded.jobs}) == 946 > len(set(prompts))
    assert (loaded.manifest.name, loaded.warnings) == ("中文", ())
