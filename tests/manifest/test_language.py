"""Rows, pairs, chains, prompts, matrices and takes, and every mistake at the value that made it."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from worked_examples import CLIENT

from batchrunner.diagnostic import Severity
from batchrunner.errors import ManifestError
from batchrunner.manifest import Loaded, Options, load_manifest, prompts_manifest
from batchrunner.manifest.expand import MAX_JOBS
from batchrunner.media.frames import FrameFacts, FrameProblem, inspect

TODAY = date(2026, 11, 22)
PORTRAIT = (720, 1280)


def look(path: Path, *, roots: object) -> FrameFacts | FrameProblem:
    """A pre-flight that takes any file that is there for a portrait."""
    if not path.exists():
        return FrameProblem(code="FRM301", message=f"there is no file {path.name}", help="check the path")
    return FrameFacts(sha256=path.name.ljust(64, "0"), width=720, height=1280, mime="image/png", bytes=1)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "m").mkdir()
    monkeypatch.chdir(tmp_path / "m")
    return tmp_path / "m"


def write(files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def load(text: str, *sets: str, **files: str | bytes) -> Loaded:
    """A manifest of these jobs, beside these files (`shots_csv` is shots.csv)."""
    write({name.replace("_", "."): content for name, content in files.items()})
    Path("b.yaml").write_text(text if text.startswith("version") else f"version: 1\n{text}", "utf-8")
    return load_manifest(Path("b.yaml"), probe=look, options=Options(sets=sets, today=TODAY))


def keys(text: str, *sets: str, **files: str | bytes) -> list[str]:
    return [job.key for job in load(text, *sets, **files).jobs]


def prompts(text: str, *sets: str, **files: str | bytes) -> list[str]:
    return [job.request.prompt for job in load(text, *sets, **files).jobs]


def mistakes(text: str, *sets: str, **files: str | bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(text, *sets, **files)
    errors = [one for one in caught.value.diagnostics if one.severity is Severity.ERROR]
    return [f"{one} | {one.help}" for one in errors]


SHOTS = '镜号,提示词,首帧,尾帧,时长,模式,客户\r\nS01,"雨夜，街头, ""霓虹""",,,5,,ACME\r\nS02,猫,,,10,pro,ACME\r\nS03,"多行\n提示",,,15,,Globex\r\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "gb18030", "utf-16"])
def test_a_client_s_table(folder, encoding):
    loaded = load(CLIENT, shots_csv=SHOTS.encode(encoding))
    assert loaded.manifest.output_dir == "out"
    assert [(job.key, job.output) for job in loaded.jobs] == [
        ("reel/S01", "ACME/S01.mp4"),
        ("reel/S02", "ACME/S02.mp4"),
        ("reel/S03", "Globex/S03.mp4"),
    ]
    requests = [job.request for job in loaded.jobs]
    assert [request.prompt for request in requests] == ['雨夜，街头, "霓虹"', "猫", "多行\n提示"]
    assert [(request.duration, request.mode.value) for request in requests] == [(5, "std"), (10, "pro"), (15, "std")]
    assert [one.code for one in loaded.warnings] == (["SRC404"] if encoding == "gb18030" else [])
    assert [str(job.place) for job in loaded.jobs] == ["shots.csv:2:1", "shots.csv:3:1", "shots.csv:4:1"]


# what multiplies, and in which order


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{id: a, prompt: p, takes: 1}", ["a"]),
        ("{id: a, prompt: p, takes: 3}", ["a/t1", "a/t2", "a/t3"]),
        ("{id: a, prompts: {x: p, y: q}, takes: 2}", ["a/x/t1", "a/x/t2", "a/y/t1", "a/y/t2"]),
        ("{prompts: {x: p, y: q}}", ["x", "y"]),
        ("{id: a, prompt: p, matrix: {duration: [5, 10], mode: [pro]}}", ["a/pro/5", "a/pro/10"]),
        ("{id: a, prompt: p, matrix: {z: [1, 2], a: [x]}}", ["a/x/1", "a/x/2"]),
        ("{id: a, prompt: p, matrix: {aspect_ratio: [16:9, 1:1]}}", ["a/16:9", "a/1:1"]),
        ("{id: a, prompt: p, matrix: {audio: [true, false]}}", ["a/true", "a/false"]),
        ("{id: a, prompt: p, from: {rows: [{key: r1}, {key: r 2}]}}", ["a/r1", "a/r-2"]),
        ("{prompt: p, from: {rows: [{key: r1}, {key: r2/x}]}, takes: 2}", ["r1/t1", "r1/t2", "r2/x/t1", "r2/x/t2"]),
        (
            "{id: a, prompt: p, matrix: {mode: [std, pro], duration: [5, 10]}, exclude: [{mode: pro, duration: 10}]}",
            ["a/std/5", "a/std/10", "a/pro/5"],
        ),
        (
            "{id: a, prompt: p, matrix: {mode: [std]}, include: [{mode: pro, duration: 10}, {duration: 10}]}",
            ["a/std", "a/pro/10", "a/10"],
        ),
        ("{id: a, prompt: p, include: [{mode: pro}]}", ["a/pro"]),
        ("{id: a, prompt: p, key: 'shot {mode}/{take}', takes: 2}", ["shot-std/1", "shot-std/2"]),
        ("{id: a, prompt: p, enabled: true}", ["a"]),
    ],
)
def test_keys(folder, entry, expected):
    assert keys(f"jobs: [{entry}]") == expected


def test_rows_are_outermost_and_content_names_what_has_no_name(folder):
    found = load(
        "jobs:\n  - id: a\n    from: {rows: [{n: 1}, {n: 2}]}\n    prompts: ['{n} 猫', '{n} 狗']\n    matrix: {mode: [std, pro]}\n"
    ).jobs
    assert [job.request.prompt for job in found] == ["1 猫", "1 猫", "1 狗", "1 狗", "2 猫", "2 猫", "2 狗", "2 狗"]
    assert [job.key for job in found[:2]] == [f"a/1-猫-{job.fingerprint[:8]}/{job.request.mode}" for job in found[:2]]


def test_long_or_odd_values_are_shortened_with_a_hash(folder):
    found = keys("jobs: [{id: a, prompt: p, matrix: {scene: ['清晨, 森林', '清晨; 森林', " + "很" * 50 + "]}}]")
    assert [key[:8] for key in found] == ["a/清晨-森林-", "a/清晨-森林-", "a/很很很很很很"]
    assert len(set(found)) == 3
    assert max(map(len, found)) < 30


def test_precedence(folder):
    entry = "{id: a, prompt: p, mode: pro, from: {csv: s.csv}, matrix: {duration: [10]}}"
    text = f"vars: {{v: top}}\ndefaults: {{duration: 5, audio: true, aspect_ratio: 1:1}}\njobs: [{entry}]"
    table = "key,mode,duration,aspect_ratio\nx,std,5,\ny,,,9:16\n"
    found = [job.request for job in load(text, s_csv=table).jobs]
    assert [(r.mode, r.duration, r.audio, r.aspect_ratio) for r in found] == [
        ("std", 10, True, "1:1"),
        ("pro", 10, True, "9:16"),
    ]
    found = [job.request for job in load(text, "duration=5", "mode=pro", "audio=no", s_csv=table).jobs]
    assert {(r.mode, r.duration, r.audio) for r in found} == {("pro", 5, False)}


def test_variables_come_from_the_nearest_layer(folder):
    text = "vars: {a: top, b: top, c: top, d: top}\njobs: [{prompt: '{a}{b}{c}{d}', vars: {b: entry}, from: {csv: s.csv}, matrix: {d: [m]}}]"
    assert prompts(text, s_csv="c,b\nrow,\nrow2,rowb\n") == ["topentryrowm", "toprowbrow2m"]
    assert prompts(text, "d=set", "a=set", s_csv="c\nrow\n") == ["setentryrowset"]


def test_placeholders(folder):
    found = load(
        "name: night\n"
        "jobs:\n"
        "  - id: a/b\n    prompts: {hero: '{{{name}}} {id} {prompt_key} {take} {index:03} {date} {mode} {duration:02}s {key} {slug} {x}'}\n"
        "    vars: {x: 007}\n    takes: 2\n    metadata: {negative_prompt: 'no {x}'}\n"
    ).jobs
    assert found[1].request.prompt == "{night} a/b hero 2 002 2026-11-22 std 05s a/b/hero/t2 a-b-hero-t2 007"
    assert found[1].request.negative_prompt == "no 007"


def test_values_of_variables_are_what_was_written(folder):
    text = "jobs: [{prompt: '{a} {b} {c} {d}', vars: {a: 1.10, b: 0x10, c: true, d: '{e}'}}]"
    assert prompts(text) == ["1.10 0x10 true {e}"]


def test_set_narrows_a_matrix(folder):
    entry = "{id: a, prompt: p, matrix: {mode: [std, pro], duration: [5, 10]}, exclude: [{mode: pro, duration: 10}], include: [{mode: std, duration: 15}]}"
    assert keys(f"jobs: [{entry}]", "mode=pro") == ["a/pro/5", "a/pro/15"]
    assert keys(f"jobs: [{entry}]", "duration=5") == ["a/std/5", "a/pro/5"]
    assert keys("jobs: [{id: a, prompts: {x: p, y: q}}]", "prompt=z") == ["a"]


def test_priority_orders_and_renames_nothing(folder):
    text = "jobs:\n  - {id: a, prompt: p}\n  - {id: b, prompt: p, priority: 5, from: {rows: [{key: x}, {key: y, priority: 9}]}}\n"
    found = load(text).jobs
    assert [(job.key, job.position) for job in found] == [("b/y", 0), ("b/x", 1), ("a", 2)]


def test_tags_come_from_entries_and_rows(folder):
    found = load("jobs: [{prompt: p, tags: [a], from: {csv: s.csv}}]", s_csv='key,tags\nx,\ny,"b, 夜；a"\n').jobs
    assert [job.tags for job in found] == [("a",), ("a", "b", "夜")]


def test_disabled_entries_are_not_even_read(folder):
    assert keys("jobs: [{id: a, prompt: p}, {id: b, prompt: p, enabled: false, from: {csv: gone.csv}}]") == ["a"]
    (warning,) = load("jobs: [{id: a, prompt: p, enabled: false}]").warnings
    assert warning.code == "MAN218"


# tables


def test_a_table_alone_is_a_manifest(folder):
    write({"夜.csv": "key,prompt,style\nS1,猫,x\nS2,狗,\n", "t.tsv": "prompt\tmode\n猫, 狗\tpro\n"})
    loaded = load_manifest(Path("夜.csv"), probe=look)
    assert (loaded.manifest.name, [job.key for job in loaded.jobs]) == ("夜", ["S1", "S2"])
    (job,) = load_manifest(Path("t.tsv"), probe=look).jobs
    assert (job.request.prompt, job.request.mode) == ("猫, 狗", "pro")
    write(
        {
            "l.jsonl": '{"prompt": "猫", "duration": 10, "audio": true, "n": 1.5, "mode": null}\n\n{"prompt": "{n}", "n": "x"}\n'
        }
    )
    found = load_manifest(Path("l.jsonl"), probe=look).jobs
    assert [(job.request.prompt, job.request.duration, job.request.audio) for job in found] == [
        ("猫", 10, True),
        ("x", 5, False),
    ]


def test_prompts_alone_are_a_manifest_with_a_name_of_their_own(folder):
    data, path = prompts_manifest(["一只猫: #1 [x]", "狗"], ["mode=pro"])
    from batchrunner.manifest import parse_manifest

    loaded = parse_manifest(data, path, probe=look, options=Options(sets=("mode=pro",)))
    assert [job.request.prompt for job in loaded.jobs] == ["一只猫: #1 [x]", "狗"]
    assert {job.request.mode for job in loaded.jobs} == {"pro"}
    names = {prompts_manifest(*given)[0] for given in ((["a"],), (["b"],), (["a"], ["mode=pro"]))}
    assert len(names) == 3


def test_empty_rows_and_columns_of_spreadsheets(folder):
    table = "key,prompt,,\nS1,猫,,\n,,,\n\nS2,狗,,\n"
    assert keys("jobs: [{from: {csv: s.csv}}]", s_csv=table) == ["S1", "S2"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{status: ok}", ["a", "d"]),
        ("{status: [ok, 加急]}", ["a", "b", "d"]),
        ("{status: ok, n: 007}", ["d"]),
        ("{status: ''}", ["c"]),
        ("{key: [a, c]}", ["a", "c"]),
        ("{duration: 10}", ["b"]),
    ],
)
def test_where(folder, where, expected):
    table = "key,prompt,状态,n,duration\na,p,ok,7,5\nb,p,加急,7,10\nc,p,,7,\nd,p,ok,007,5\n"
    entry = f"{{from: {{csv: s.csv, columns: {{状态: status}}, where: {where}}}}}"
    assert keys(f"jobs: [{entry}]", s_csv=table) == expected


def test_a_where_that_leaves_nothing_is_a_warning(folder):
    loaded = load("jobs: [{prompt: p, from: {csv: s.csv, where: {a: x}}}]", s_csv="a\ny\n")
    assert [one.code for one in loaded.warnings] == ["MAN218", "SRC407"]


def test_columns_that_look_like_parameters_are_warned_about(folder):
    loaded = load("jobs: [{prompt: '{客户}', from: {csv: s.csv}}]", s_csv="时长,客户,duraton,id,time\n5,x,5,7,\n")
    assert [f"{one} | {one.help}" for one in loaded.warnings] == [
        "s.csv:1:1: warning[SRC408]: this column sets a variable, not `duration` (column 时长) | rename it: `columns: {时长: duration}`",
        "s.csv:1:7: warning[SRC408]: this column sets a variable, not `duration` (column duraton) | rename it: `columns: {duraton: duration}`",
        "s.csv:1:15: warning[SRC408]: this column is hidden: {id} is batchrunner's own (column id) | rename it: `columns: {id: key}`",
        "s.csv:1:18: warning[SRC408]: this column sets a variable, not `duration` (column time) | rename it: `columns: {time: duration}`",
    ]
    assert not load("jobs: [{prompt: '{time}', from: {csv: s.csv}}]", s_csv="time\n5\n").warnings


HEAD = "jobs: [{prompt: p, from: {csv: s.csv}}]"


@pytest.mark.parametrize(
    ("table", "starts", "says"),
    [
        ("key,mode\na,std\nb,fast\n", "s.csv:3:3: error[MAN104]: `mode` must be std or pro", "(column mode)"),
        ("key,mode\na,PRO\n", "s.csv:2:3: error[MAN104]", "did you mean `pro`?"),
        ('key,x,duration\n"a\nb",x,5s\n', "s.csv:3:6: error[MAN104]", "write 5, without the unit"),
        ("key,duration\na,7\n", "s.csv:2:3: error[MAN202]: duration 7 is not offered (column duration)", "5, 10 or 15"),
        ("key,audio\na,maybe\n", "s.csv:2:3: error[MAN104]", "write true or false"),
        ("key,aspect_ratio\na,16:09:00\n", "s.csv:2:3: error[MAN104]", "did you mean `16:9`?"),
        ("key,aspect_ratio\na,16：9\n", "s.csv:2:5: error[YAML016]", "write `16:9`"),
        ("key,priority\na,1001\n", "s.csv:2:3: error[MAN105]", "higher is sent first"),
        ("key,tags\na,x:y\n", "s.csv:2:3: error[MAN203]", "for example x-y"),
        ("key,first\na,gone.png\n", "s.csv:2:3: error[FRM301]: there is no file gone.png (column first)", ""),
        ("key,last\na,b.yaml\n", "s.csv:2:3: error[MAN206]", "add `first:`"),
        ("key,prompt\na,{kee}\n", "s.csv:2:3: error[MAN210]: unknown placeholder {kee}", "did you mean {key}?"),
        ("key,prompt\n🎬,p\n", "s.csv:2:1: error[MAN203]", "S01"),
        ("key,x\na,1\na,2\n", "s.csv:3:1: error[MAN204]: two jobs have the key `a`", "the first is at s.csv:2:1"),
        ("key,key\na,b\n", "s.csv:1:5: error[SRC405]: two columns are called `key`", "the first is column 1"),
        ("key,x\na,1,2\n", "s.csv:2:1: error[SRC406]: this row has 3 cells, the header has 2", "quote text"),
        ("key,x,y\na,1\n", "s.csv:2:1: error[SRC406]: this row has 2 cells, the header has 3", "missing commas"),
        ("key,,x\na,b,c\n", "s.csv:2:3: error[SRC406]: this cell stands in a column without a name", "name the column"),
        ('key,x\na,"open\nb,c\n', "s.csv:2:1: error[SRC406]: this row cannot be read", "close the quotes"),
        ('key,x\na,"b"c\n', "s.csv:2:1: error[SRC406]: this row cannot be read", 'double every "'),
        ("key;x\na;b\n", "s.csv:1:1: error[SRC405]: the columns are separated by semicolons", "save it with commas"),
        ("key\tx\na\tb\n", "s.csv:1:1: error[SRC405]: the columns are separated by tabs", "name it .tsv"),
        ("key,x\n", "s.csv:1:1: error[SRC407]: s.csv has no rows", "add one"),
        ("", "s.csv:1:1: error[SRC407]: s.csv has no rows", "add one"),
        (b"key,x\na,\xff\xff\n", "s.csv:2:1: error[SRC403]: s.csv is not UTF-8, nor GB18030, at line 2", "Excel"),
        ("key," + "x" * 2_000_000, "s.csv:1:1: error[SRC406]: this row cannot be read: a line has more than", "split"),
    ],
)
def test_mistakes_in_a_table(folder, table, starts, says):
    (found,) = mistakes(HEAD, s_csv=table)
    assert found.startswith(starts)
    assert says in found


@pytest.mark.parametrize(
    ("line", "starts", "says"),
    [
        ('{"prompt": "a", "mode": "fast"}', "l.jsonl:1:17: error[MAN104]", "(field mode)"),
        ('{"duration": true}', "l.jsonl:1:2: error[MAN104]", "whole number"),
        ('{"x": [1]}', "l.jsonl:1:2: error[MAN104]", "`matrix:`"),
        ('{"x": 1, "x": 2}', "l.jsonl:1:1: error[SRC406]", "`x` stands there twice"),
        ("[1]", "l.jsonl:1:1: error[SRC406]", "not an object"),
        ('{"x": NaN}', "l.jsonl:1:1: error[SRC406]", "NaN is no value"),
        ('{"x": ', "l.jsonl:1:1: error[SRC406]", "this line is not JSON"),
        ("[" * 100_000, "l.jsonl:1:1: error[SRC406]", "this line is not JSON"),
        ('{"n": ' + "9" * 5000 + "}", "l.jsonl:1:1: error[SRC406]", "5000 digits"),
        ('{"prompt": "\\ud800"}', "l.jsonl:1:2: error[MAN202]", "surrogate"),
    ],
)
def test_mistakes_in_json_lines(folder, line, starts, says):
    (found,) = mistakes("jobs: [{prompt: p, from: {jsonl: l.jsonl}}]", l_jsonl=line + "\n")
    assert found.startswith(starts)
    assert says in found


@pytest.mark.parametrize("kind", ["outside", "link", "pipe", "folder", "absolute", "device"])
def test_tables_must_lie_with_the_manifest(folder, kind):
    (folder.parent / "secret.csv").write_text("prompt\nx\n")
    path = {"outside": "../secret.csv", "absolute": str(folder.parent / "secret.csv"), "device": "/dev/zero"}.get(
        kind, "s.csv"
    )
    if kind == "link":
        (folder / "s.csv").symlink_to(folder.parent / "secret.csv")
    elif kind == "pipe":
        os.mkfifo(folder / "s.csv")
    elif kind == "folder":
        (folder / "s.csv").mkdir()
    (found,) = mistakes(f"jobs: [{{prompt: p, from: {{csv: {path}}}}}]")
    assert found.startswith("b.yaml:2:32: error[SRC40")
    if kind in ("outside", "link", "absolute"):
        assert "--allow-dir" in found
        allowed = Options(allowed=(folder.parent,))
        (job,) = load_manifest(Path("b.yaml"), probe=look, options=allowed).jobs
        assert job.request.prompt == "x"


def test_frames_may_lie_in_an_allowed_folder(folder):
    from PIL import Image

    Image.new("RGB", (1280, 720)).save(folder.parent / "a.png")
    Path("b.yaml").write_text("version: 1\njobs: [{prompt: p, frames: {first: ../a.png}}]")
    with pytest.raises(ManifestError, match="FRM302"):
        load_manifest(Path("b.yaml"), probe=inspect)
    assert load_manifest(Path("b.yaml"), probe=inspect, options=Options(allowed=(folder.parent,))).jobs


# mistakes in the manifest


@pytest.mark.parametrize(
    ("entry", "column", "says"),
    [
        ("prompt: p, prompts: [a]", 12, "both `prompt` and `prompts`"),
        ("prompts: []", 10, "`prompts` is empty"),
        ("prompts: a", 10, "for one prompt, write `prompt:`"),
        ("prompts: [a, [b]]", 14, "item 2 must be a text"),
        ("prompts: {a b: c}", 11, "the prompt's name `a b` cannot be used"),
        ("prompts: {a: [c]}", 14, "must be quoted"),
        ("prompts: [a], matrix: {prompt: [b]}", 33, "here is another prompt"),
        ("prompts: [a], from: {rows: [{prompt: b}]}", 38, "here is another prompt"),
        ("prompt: [a, b]", 9, "write `prompts:`"),
        ("prompt: p, duration: [5, 10]", 22, "write `matrix: {duration: [5, 10]}`"),
        ("prompt: p, mode: [std, pro]", 18, "write `matrix: {mode: [std, pro]}`"),
        ("prompt: p, takes: [1, 2]", 19, "write one job for each"),
        ("prompt: p, takes: 0", 19, "at least 1"),
        ("prompt: p, takes: 1001", 19, "at most 1,000"),
        ("prompt: p, vars: {a: [1, 2]}", 22, "write `matrix: {a: [1, 2]}`"),
        ("prompt: p, vars: {mode: pro}", 19, "`mode` is a parameter"),
        ("prompt: p, vars: {index: 1}", 19, "batchrunner's own"),
        ("prompt: '{style}'", 9, "unknown placeholder {style}"),
        ("prompt: '{styel}', vars: {style: x}", 9, "did you mean {style}?"),
        ("prompt: 'a } b'", 9, "write }} for the character itself"),
        ("prompt: '{mode:03}'", 9, "only a number can be padded"),
        ("prompt: '{key}'", 9, "give the entry an `id`"),
        ("prompt: '{row}', from: {rows: [{a: 1}]}", 9, "add a column `key`"),
        ("prompt: '{prompt}'", 9, "{prompt} cannot stand in this text"),
        ("prompt: '{a.__class__}', vars: {a: x}", 9, "unknown placeholder"),
        ("prompt: '{a}', from: {rows: [{a: 1}, {b: 1}]}", 9, "{a} has no value in the row at b.yaml:3:41"),
        ("prompt: '{a}', matrix: {a: [1]}, include: [{mode: pro}]", 9, "{a} has no value in every combination"),
        ("prompt: p, matrix: {mode: std}", 27, "write `[std]`"),
        ("prompt: p, matrix: {mode: []}", 27, "is empty"),
        ("prompt: p, matrix: {mode: [std, fast]}", 33, "`mode` must be std or pro"),
        ("prompt: p, matrix: {mode: [std, std]}", 33, "`std` stands twice"),
        ("prompt: p, matrix: {duration: ['5']}", 32, "write 5, without quotes"),
        ("prompt: p, matrix: {audio: [yes]}", 29, "write `true`"),
        ("prompt: p, matrix: {frames: [a]}", 21, "a matrix knows `first` and `last`"),
        ("prompt: p, matrix: {tags: [a]}", 21, "write `tags:` in the job"),
        ("prompt: p, matrix: {take: [1]}", 21, "batchrunner's own"),
        ("prompt: p, matrix: {a: [[1]]}", 25, "one value"),
        ("prompt: p, matrix: [a]", 20, "write `matrix: {mode: [std, pro]}`"),
        ("prompt: p, exclude: [{mode: pro}]", 12, "`exclude` needs a matrix"),
        ("prompt: p, matrix: {mode: [std, pro]}, exclude: [{mod: pro}]", 51, "did you mean `mode`?"),
        ("prompt: p, matrix: {m: [std, pro]}, exclude: [{m: prp}]", 51, "did you mean `pro`?"),
        ("prompt: p, matrix: {m: [a, b]}, exclude: [{m: [a]}]", 47, "write one item of `exclude` for each"),
        ("prompt: p, matrix: {m: [a]}, exclude: [{m: a}]", 30, "nothing is left of the matrix"),
        ("prompt: p, matrix: {m: [a]}, exclude: [{}]", 40, "excludes nothing"),
        ("prompt: p, include: [{}]", 22, "includes nothing"),
        ("prompt: p, from: s.csv", 18, "write `from: {csv: s.csv}`"),
        ("prompt: p, from: {}", 12, "none of csv, jsonl, rows, pairs and chain"),
        ("prompt: p, from: {csv: s.csv, rows: [{a: 1}]}", 12, "both csv and rows"),
        ("prompt: p, from: {rows: [{a: 1}], encoding: gbk}", 35, "belongs to csv and jsonl"),
        ("prompt: p, from: {rows: [{a: [1]}]}", 30, "one value"),
        ("prompt: p, from: {rows: [{name: x}]}", 27, "batchrunner's own"),
        ("prompt: p, from: {rows: [{duration: '5'}]}", 37, "without quotes"),
        ("prompt: p, from: {csvv: s.csv}", 19, "did you mean `csv`?"),
        ("prompt: p, from: {csv: gone.csv}", 24, "there is no file gone.csv"),
        ("prompt: p, from: {csv: gone.xlsx}", 24, "is a workbook, not a table of text"),
        ("prompt: p, csv: s.csv", 12, "write `from: {csv: …}`"),
        ("prompt: p, repeat: 2", 12, "did you mean `takes`?"),
        ("prompt: p, martix: {a: [1]}", 12, "did you mean `matrix`?"),
        ("prompt: p, from: {chain: {glob: '*.png'}}", 33, "no file matches `*.png`"),
        ("prompt: p, from: {chain: {glob: '**/*.png'}}", 33, "write one * for each folder"),
        ("prompt: p, from: {chain: {glob: '../*.png'}}", 33, "leaves its folder"),
        ("prompt: p, from: {pairs: {first: a.png, last: '{s}.png'}}", 34, "binds no name"),
        ("prompt: p, from: {pairs: {first: '{a}.png', last: '{b}.png'}}", 51, "`first` binds {a}, `last` binds {b}"),
        ("prompt: p, from: {pairs: {first: '{key}.png', last: '{s}.png'}}", 34, "cannot name a part"),
        ("prompt: p, from: {pairs: {first: '{a}{b}.png', last: '{a}_{b}.png'}}", 34, "in too many ways"),
        ("prompt: p, from: {pairs: {first: '{a}_*_*_*_*.png', last: '{a}.png'}}", 34, "in too many ways"),
        ("prompt: p, from: {pairs: {first: '{s}_f.png', last: '{s}_l.png'}}", 34, "no file in . matches"),
        ("prompt: p, from: {pairs: {dir: gone, first: '{s}f', last: '{s}l'}}", 32, "there is no folder gone"),
        ("prompt: p, from: {pairs: {first: '{s}f'}}", 26, "`pairs` has no `last`"),
        ("prompt: p, tags: [a b]", 18, "the tag `a b` cannot be used"),
        ("prompt: p, priority: high", 22, "whole number"),
        ("prompt: p, key: '{mode'", 17, "write {{"),
        ("prompt: p, key: '{modee}'", 17, "did you mean {mode}?"),
        ("prompt: p, key: '!!'", 17, "no letter and no digit"),
        ("prompt: p, key: same, takes: 2", 17, "two jobs have the key `same`"),
        ("prompt: p, output: {dir: '{clint}'}", 26, "unknown placeholder {clint}"),
        ("prompt: p, output: {dir: /etc}", 26, "not a relative path"),
        ("prompt: p, takes: 1000, matrix: {a: [1, 2]}", 25, "2,000 jobs, 1,000 are allowed"),
        ("prompt: p, duration: 15, from: {rows: [{first: b.yaml}, {first: b.yaml, key: x}]}", 22, "is for text only"),
    ],
)
def test_mistakes_of_an_entry(folder, entry, column, says):
    (found,) = mistakes(f"jobs:\n- {{{entry}}}")[:1] if "is for text" in says else mistakes(f"jobs:\n- {{{entry}}}")
    assert found.startswith(f"b.yaml:3:{column + 3}: error[")
    assert says in found


@pytest.mark.parametrize(
    ("option", "starts", "says"),
    [
        ("mode=prp", "--set:1:6: error[MAN104]", "did you mean `pro`?"),
        ("duration=7", "--set:1:10: error[MAN202]", "is not offered"),
        ("mode", "--set:1:1: error[MAN215]", "write --set mode=pro"),
        ("styel=x", "--set:1:7: error[MAN215]", "did you mean `style`?"),
        ("budget.max_cost=5", "--set:1:1: error[MAN215]", "cannot be set"),
        ("key=x", "--set:1:1: error[MAN215]", "cannot be set"),
        ("index=x", "--set:1:1: error[MAN215]", "batchrunner's own"),
        ("first=gone.png", "--set:1:7: error[FRM301]", "no file gone.png"),
    ],
)
def test_mistakes_of_set(folder, option, starts, says):
    (found,) = mistakes("vars: {style: x}\njobs: [{prompt: '{style}'}]", option)
    assert found.startswith(starts)
    assert says in found


def test_a_broken_rule_points_at_the_matrix_and_is_said_once(folder):
    found = mistakes(
        "jobs:\n  - prompt: p\n    from: {rows: [{first: b.yaml}, {first: b.yaml}]}\n    matrix: {duration: [5, 15]}\n"
    )
    assert [line.split(" | ")[0] for line in found] == [
        "b.yaml:5:28: error[MAN202]: 15 s is for text only; with frames a clip lasts 10 s at most"
    ]


def test_mistakes_of_all_layers_come_together(folder):
    found = mistakes(
        "defaults: {duration: 7}\njobs:\n  - {id: a, prompt: '{x}', matrix: {mode: [std, fast]}}\n  - {id: b, prompt: '{x}', mode: pro}\n  - {id: b, from: {csv: s.csv}}\n",
        s_csv="prompt,audio\n,maybe\nq,\n",
    )
    assert [line.split("]")[0] for line in found] == [
        "b.yaml:2:22: error[MAN202",
        "b.yaml:4:49: error[MAN104",
        "b.yaml:5:21: error[MAN210",
        "b.yaml:6:10: error[MAN204",
        "s.csv:2:2: error[MAN104",
    ]


def test_an_error_is_never_lost_behind_warnings(folder):
    Path("s.csv").write_text("first\n" + "b.yaml\n" * 3000 + "gone.png\n")
    (found,) = mistakes("jobs: [{prompt: p, aspect_ratio: 16:9, from: {csv: s.csv}}]")
    assert found.startswith("s.csv:3002:1: error[FRM301]")


def test_a_table_that_is_wrong_everywhere_is_not_read_to_its_end(folder):
    Path("s.csv").write_text("duration\n" + "x\n" * 50_000)
    assert len(mistakes("jobs: [{prompt: p, from: {csv: s.csv}}]")) == 1000


def test_what_follows_from_a_wrong_word_is_not_said(folder):
    assert len(mistakes("jobs: [{prompt: '{scene}', martix: {scene: [a]}}]")) == 1
    assert len(mistakes("vras: {style: x}\njobs: [{prompt: '{style}'}]")) == 1


def test_keys_from_positions_are_warned_about(folder):
    (warning,) = load("jobs: [{id: a, prompt: p, key: 'shot-{index:03}'}]").warnings
    assert (warning.code, warning.place.column) == ("MAN216", 32)


def test_more_jobs_than_are_allowed(folder):
    (found,) = mistakes("limits: {max_jobs: 2}\njobs: [{prompt: p, from: {csv: s.csv}}]", s_csv="key\na\nb\nc\n")
    assert "more than 2 jobs" in found
    bomb = "jobs: [{prompt: p, matrix: {" + ", ".join(f"v{n}: [1, 2, 3, 4, 5, 6, 7, 8, 9]" for n in range(40)) + "}}]"
    (found,) = mistakes(bomb)
    assert "jobs, 1,000 are allowed" in found
    assert MAX_JOBS == 100_000


# pairs and chains


@pytest.mark.parametrize(
    ("unpaired", "expected"),
    [("skip", ["a"]), ("first-only", ["a", "b"])],
)
def test_frames_without_their_partner(folder, unpaired, expected):
    write(dict.fromkeys(("a_first.png", "a_last.png", "b_first.png"), b""))
    pairs = '{first: "{s}_first.png", last: "{s}_last.png", unpaired: ' + unpaired + "}"
    found = load(f"jobs: [{{prompt: p, from: {{pairs: {pairs}}}}}]").jobs
    assert [job.key for job in found] == expected
    assert [len(job.request.frames) for job in found] == [2, 1][: len(expected)]


def test_a_frame_without_its_partner_is_a_mistake_with_the_name_that_was_meant(folder):
    write(dict.fromkeys(("shot1_first.png", "shot1_lst.png", "shot2_first.png", "shot2_last.png", "x_last.png"), b""))
    found = mistakes('jobs: [{prompt: p, from: {pairs: {first: "{s}_first.png", last: "{s}_last.png"}}}]')
    assert "x_last.png has no first frame: there is no x_first.png" in found[0]
    assert "shot1_first.png has no last frame: there is no shot1_last.png" in found[1]


def test_patterns_bind_several_names_in_folders(folder):
    write({f"in/{scene}/{shot}{side}.png": b"" for scene in ("s2", "s10") for shot in ("b", "a") for side in "FL"})
    pairs = '{dir: in, first: "{scene}/{shot}F.png", last: "{scene}/{shot}L.png"}'
    found = load(f"jobs: [{{id: x, prompt: '{{scene}}-{{shot}}', from: {{pairs: {pairs}}}}}]").jobs
    assert [job.key for job in found] == ["x/s2/a", "x/s2/b", "x/s10/a", "x/s10/b"]
    assert [job.request.prompt for job in found] == ["s2-a", "s2-b", "s10-a", "s10-b"]


def test_names_of_files_are_no_templates_and_never_cross_folders(folder):
    write(
        {"{x}_f.png": b"", "{x}_l.png": b"", "sub/y_f.png": b"", "sub/y_l.png": b"", ".z_f.png": b"", ".z_l.png": b""}
    )
    found = load('jobs: [{prompt: "{s}", from: {pairs: {first: "{s}_f.png", last: "{s}_l.png"}}}]').jobs
    assert [job.request.prompt for job in found] == ["{x}"]
    assert [Path(frame.source).name for frame in found[0].request.frames] == ["{x}_f.png", "{x}_l.png"]


def test_a_chain_is_open_unless_it_loops(folder):
    write({f"k/{n}.png": b"" for n in (1, 2, 10)})
    assert keys("jobs: [{id: b, prompt: p, from: {chain: {glob: k/*.png}}}]") == ["b/1-2", "b/2-10"]
    assert keys("jobs: [{id: b, prompt: p, from: {chain: {glob: 'k/[12].png', loop: true}}}]") == ["b/1-2", "b/2-1"]


# output folders


@pytest.mark.parametrize(
    ("text", "root", "outputs"),
    [
        ("jobs: [{id: a, prompt: p}]", "out/b", ["a.mp4"]),
        ("jobs: [{id: a, prompt: p, output: {dir: x}}]", "x", ["a.mp4"]),
        ("jobs: [{id: a, prompt: p, output: {dir: 'out/{mode}'}}]", "out", ["std/a.mp4"]),
        (
            "jobs: [{id: a, prompt: p, output: {dir: 'x-{mode}'}}, {id: b, prompt: p}]",
            ".",
            ["x-std/a.mp4", "out/b/b.mp4"],
        ),
        ("output: {dir: c}\njobs: [{id: a, prompt: p, output: {dir: 'c/{name}/{mode}'}}]", "c/b", ["std/a.mp4"]),
        ("defaults: {output: {dir: 'd/{date}'}}\njobs: [{id: a/b, prompt: p}]", "d", ["2026-11-22/a/b.mp4"]),
        (
            "jobs: [{id: a, prompt: p, output: {dir: 'out/{v}', filename: '{v}.mp4'}, vars: {v: ../x}}]",
            "out",
            ["..-x/..-x.mp4"],
        ),
    ],
)
def test_output_folders(folder, text, root, outputs):
    loaded = load(text)
    assert loaded.manifest.output_dir == root
    assert [job.output.replace("..-x", "..-x") for job in loaded.jobs] == [
        name.replace("..-x", "x") for name in outputs
    ]
