"""Full-width punctuation, and other ways to botch a manifest that need words of their own."""

from pathlib import Path

import pytest

from batchrunner.errors import ManifestError
from batchrunner.manifest import parse_manifest


def found(text):
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text.encode(), Path("m.yaml"))
    return [
        f"{one.place.line}:{one.place.column}: {one.code} {one.message} | {one.help}"
        for one in caught.value.diagnostics
    ]


@pytest.mark.parametrize(
    ("text", "place", "help"),
    [
        ("version：1\njobs:\n  - prompt: 猫\n", "1:8", "`version: 1`"),
        ("version: １\njobs:\n  - prompt: 猫\n", "1:10", "`1`"),
        ("version: 1\njobs：\n  - prompt: 猫\n", "2:5", "`jobs:`"),
        ("version: 1\nvars: {first：a，last：b}\njobs:\n  - prompt: 猫\n", "2:13", "`first: a, last: b`"),
        ("version: 1\ndefaults：{mode: std}\njobs:\n  - prompt: 猫\n", "2:9", "`defaults: {"),
        ("version: 1\nlimits: {max_in_flight：３}\njobs:\n  - prompt: 猫\n", "2:23", "`max_in_flight: 3`"),
        ("version: 1\njobs:\n  - prompt: “他跑”\n    mode: “std”\n", "4:11", "`std`"),
        ("version: 1\njobs:\n  - “prompt”: 猫\n", "3:5", '`"prompt"`'),
        ("version: 1\njobs:\n\u3000\u3000- prompt: 猫\n", "3:1", "ordinary spaces"),
        ("version: 1\njobs:\n  - prompt: 猫\n\u3000\u3000mode: pro\n", "4:1", "ordinary spaces"),
        ("version: 1\njobs:\n  - prompt: 猫\n    duration: ５\n", "4:15", "`5`"),
        ("version: 1\njobs:\n  – prompt: 猫\n", "3:3", "`- prompt: 猫`"),
        ("version: 1\njobs:\n  — prompt: 猫\n", "3:3", "`- prompt: 猫`"),
        ("version: 1\njobs:\n  - prompt: 猫\n    frames: ｛first: a.png｝\n", "4:13", "`frames: {first: a.png}`"),
        ("version: 1\njobs:\n  - prompt: 猫\n    matrix: {mode: [std，pro]}\n", "4:24", "`std, pro`"),
        ("version: 1\njobs:\n  - prompt: 猫\n    aspect_ratio: 16：9\n", "4:21", "`16:9`"),
        ("version: 1\njobs:\n  - prompt：猫，跑\n    mode: pro\n", "3:11", "prompt: 猫，跑`"),
        ("version: 1\njobs:\n  - prompt: 猫\n    tags: [夜，日]\n", "4:13", "`[夜, 日]`"),
        ("version: 1\njobs:\n  - prompt: 猫\n    ｍode: pro\n", "4:5", "`mode`"),
    ],
)
def test_a_full_width_character_is_named_where_it_stands(text, place, help):
    (only,) = found(text)
    assert only.startswith(f"{place}: YAML016")
    assert help in only


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [{prompt: “猫”：跑，跳——停【慢】｛x｝\u3000５}]",
        "jobs:\n  - prompt: |\n      镜头：推进，拉远\n    vars: {主角：猫: x}",
    ],
)
def test_in_texts_they_are_text(text):
    assert parse_manifest(f"version: 1\n{text}\n".encode(), Path("m.yaml")).jobs


def test_other_mistakes_beside_them_stay_what_they_are():
    (only,) = found("version: 1\njobs:\n  - 猫在跑，很快\n")
    assert "a job must be a mapping" in only


def test_full_width_braces_are_no_placeholder():
    text = "version: 1\nvars: {style: x}\njobs:\n  - prompt: 猫 ｛style｝\n"
    (warning,) = parse_manifest(text.encode(), Path("m.yaml")).warnings
    assert (warning.place.line, warning.place.column) == (4, 15)
    assert "write `{style}`" in warning.help


@pytest.mark.parametrize(
    ("line", "help"),
    [
        ("duration: 5.5", "write 5, 10 or 15"),
        ("duration: 5秒", "write 5, without the unit"),
        ("duration: 十五秒", "write 15"),
        ("mode: 专业", "did you mean `pro`?"),
        ("aspect_ratio: 竖屏", "did you mean `9:16`?"),
        ("audio: 开", "write `true`"),
        ("frames: [a.png, b.png]", "write `frames: {first: a.png, last: b.png}`"),
        ("tags: nightly", "write `tags: [nightly]`"),
        ("output: clips", "write `output: {dir: clips}`"),
        ("比例: 16:9", "did you mean `aspect_ratio`?"),
        ("时长: 5", "did you mean `duration`?"),
        ("首帧: a.png", "write `frames: {first: …}`"),
        ("尾帧: a.png", "write `frames: {last: …}`"),
        ("模式: pro", "did you mean `mode`?"),
        ("声音: true", "did you mean `audio`?"),
        ("音频: true", "did you mean `audio`?"),
        ("负面提示词: x", "write `metadata: {negative_prompt: …}`"),
    ],
)
def test_the_help_is_what_was_meant(line, help):
    (only,) = found(f"version: 1\njobs:\n  - prompt: a\n    {line}\n")
    assert help in only


@pytest.mark.parametrize(
    "line",
    ["notify: {on: [failed]}", "output: {exists: skip}"],
)
def test_what_a_later_version_will_have_is_said_to_be_so(line):
    (only,) = found(f"version: 1\n{line}\njobs: [{{prompt: a}}]\n")
    assert "is not in this version" in only
    assert only.startswith("2:")


def test_ids_that_are_one_file_ask_for_other_ids():
    (only,) = found("version: 1\njobs:\n  - {id: Ab, prompt: a}\n  - {id: ab, prompt: b}\n")
    assert "choose ids that differ in more than case" in only


def test_broken_values_are_all_told_at_once():
    text = "version: 1\njobs:\n  - prompt: @one\n  - prompt: `two\n    mode: pro\n  - prompt: three: four\n"
    assert [one.split(" | ")[0].split(":")[0] for one in found(text)] == ["3", "4", "6"]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ('version: 1\njobs:\n  - prompt: "never closed\n  - prompt: @x\n', "3:13", "come to light after it"),
        ("version 1\njobs:\n  - prompt: a\n", "1:1", "this line is no `key: value`"),
        ("version: 1\njobs:\n  - prompt: |\n    a\n    b\n    mode: pro\n", "4:5", "indent the text below `|`"),
        ("version: 1\njobs:\n  - prompt: a\n  mode: pro\n", "4:3", "begin it with `- `"),
        ("version: 1\njobs:\n\u3000- prompt: a\n    mode: pro\n", "3:1", "ordinary spaces"),
    ],
)
def test_one_broken_line_is_not_told_as_several(text, place, says):
    (only,) = found(text)
    assert only.startswith(f"{place}: YAML0")
    assert says in only


def test_a_missing_space_after_the_dash():
    (only,) = found("version: 1\njobs:\n  -prompt: 猫\n")
    assert "add a space after the dash: `- prompt: …`" in only


EVERYWHERE = """version：1
name：cats
defaults：{mode: pro}
jobs：
  - prompt：a cat：at noon
    duration：5
  - {prompt: a，mode：std}
"""


def test_one_hand_makes_one_mistake_many_times():
    told = dict(one.split(": YAML016 ") for one in found(EVERYWHERE))
    assert sorted(told) == ["1:8", "2:5", "3:9", "4:5", "5:11", "6:13", "7:20"]
    assert told["5:11"].endswith("write `- prompt: a cat：at noon`")
    assert told["7:20"].endswith("write `- {prompt: a, mode: std}`")


def test_a_key_and_a_placeholder_are_told_in_one_go():
    told = found("version: 1\njobs:\n  - prompt: a {nothing} b\n    ratio: 16:9\n")
    assert [one[:4] for one in told] == ["3:13", "4:5:"]
