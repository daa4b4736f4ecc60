"""YAML as people write it: scalars of YAML 1.2, the traps and their helps, and hostile files that must stay cheap."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.diagnostic import Diagnostic
from batchrunner.errors import ManifestError
from batchrunner.manifest import parse_manifest, reader
from batchrunner.manifest.reader import MAX_PROBLEMS, Document, read
from batchrunner.manifest.source import MAX_BYTES, Source, Span, decode

PATH = Path("batch.yaml")


def document(text: str) -> Document:
    return read(decode(text.encode(), "batch.yaml"))


def mistakes(data: str | bytes) -> list[str]:
    """The first lines of all diagnostics, and their helps."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(data.encode() if isinstance(data, str) else data, PATH)
    return [f"{one} | {one.help}" for one in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("16:9", "16:9"),
        ("9:16", "9:16"),
        ("1:1", "1:1"),
        ("22:30", "22:30"),
        ("12:30:45", "12:30:45"),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("2026-11-22", "2026-11-22"),
        ("2026-13-45", "2026-13-45"),
        ("1_000", "1_000"),
        ("010", 10),
        ("08", 8),
        ("0x10", 16),
        ("0o17", 15),
        ("-7", -7),
        ("1e3", 1000.0),
        ("1.10", 1.1),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("null", None),
        ("", None),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(written, value):
    assert document(f"a: {written}\nb: '{written}'").value == {"a": value, "b": written}


def test_keys_may_be_words_that_yaml_1_1_takes_for_booleans():
    assert document("on: 1\nno: 2").value == {"on": 1, "no": 2}


def test_anchors_and_merges_work_and_own_keys_win():
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {b: 0, <<: [*x, *y]}\nw: *x"
    assert document(text).value["z"] == {"a": 1, "b": 0, "c": 4}
    assert document(text).value["w"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("prompt", "column", "says"),
    [
        ("镜头: 推进", 15, "quote the whole text, or use a full-width ："),
        ("猫:", 14, "full-width"),
        ("{style} 猫", 13, "may not begin with `{`"),
        ("{style}", 13, "a text that begins with { must be quoted"),
        ("[慢] 猫", 13, "may not begin with `[`"),
        ("[慢]", 13, "a text that begins with [ must be quoted"),
        ("@张三", 13, "may not begin with `@`"),
        ("`x `", 13, "backtick"),
        ("%x", 13, "may not begin with `%`"),
        ("- 推进", 13, "may not begin with `- `"),
        ("? 推进", 13, "may not begin with `? `"),
        ("*star*", 13, "alias"),
        ("*star", 13, "alias"),
        ("!重要", 13, "tag"),
        ("!important now", 13, "tag `!important`"),
        ("!!python/object:os.system ls", 13, "tag `!!python/object:os.system`"),
        ("&狗", 13, "anchor"),
        ("> 折叠", 13, "folded block"),
        ("| x", 13, "head of a block"),
        ('"a" b', 13, "after the closing quote"),
        ("'it's'", 13, "after the closing quote"),
        ('"abc', 13, "never closed"),
        (r'"C:\Users\a"', 18, "backslash"),
        (r'"C:\dir"', 16, "backslash"),
        ("猫 #1\n      跑", 15, "a `#` ends the text here"),
        ("# 只有注释", 5, "the # started a comment"),
        ("#慢动作", 5, "the # started a comment"),
        ("", 5, "`prompt` is empty"),
        ("5", 13, 'quote it: "5"'),
        ("1.10", 13, 'quote it: "1.10"'),
        ("true", 13, 'quote it: "true"'),
    ],
)
def test_each_trap_of_a_prompt_names_its_place_and_its_fix(prompt, column, says):
    first, *rest = mistakes(f"version: 1\njobs:\n  - prompt: {prompt}\n    mode: std\n")
    errors = [first, *(line for line in rest if "warning" not in line)]
    assert any(line.startswith(f"batch.yaml:3:{column}: error[") and says in line for line in errors), errors
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("version: 1\nprompt:猫\nmode: std", "2:1", "no space after the colon"),
        ("version: 1\njobs:\n  - prompt:猫\n    mode: std", "3:5", "no space after the colon"),
        ("version: 1\njobs:\n  - prompt:猫", "3:5", "add a space after the colon"),
        ("prompt:猫", "1:1", "add a space after the colon"),
        ("version: 1\njobs:\n  - prompt：猫\n    mode: std", "3:11", "full-width"),
        ("version: 1\njobs:\n\t- prompt: a", "3:1", "tab"),
        ("version: 1\n---\nversion: 1", "2:1", "several documents"),
        ("version: 1\njobs:\n  - a: 1\n   b: 2", "4:4", "same number of spaces"),
        ("version: 1\njobs: [{prompt: a}\nname: b", "3:1", "close the bracket of batch.yaml:2:7"),
        ("version: 1\nname: 'a\njobs:\n  - prompt: 'b'", "2:7", "this quote is closed in line 4 only"),
        ("version: 1\nname: a # b\njust words", "3:1", "this line is no `key: value`"),
        ("version: 1\njobs: [{prompt: # a}]\nname: b", "2:17", "hides the rest of its line"),
        ("version: 1\n%TAG ! x\n", "2:1", "may not begin with `%`"),
        ("version: 1\njob: [{prompt: a}]", "2:1", "did you mean `jobs`?"),
        ("a: *nobody", "1:4", "names no anchor"),
        ("a: &x 1\nb: &x 2", "2:4", "name is taken"),
        ("a: &a [*a]", "1:4", "inside the value that it names"),
        ("a: &a {<<: *a}", "1:4", "inside the value that it names"),
        ("a: {<<: 1}", "1:9", "merges mappings"),
        ("? [a]\n: 1", "1:3", "cannot be a key"),
        ("5: a", "1:1", 'quote it: "5"'),
        ("a: 1\nb:\n  c: 1\n  c: 2", "4:3", "first set at batch.yaml:3:3"),
        ("a: 1" + "0" * 5000, "1:4", "5001 digits"),
        ("a: !!int x", "1:4", "not a value of the type int"),
        ("a: b\x1b", "1:5", "U+001B"),
        ("a: 猫\u2028b", "1:5", "U+2028"),
        ("", "1:1", "empty"),
        ("# nothing\n", "1:1", "only comments"),
        ("- a", "1:1", "begin with `version: 1`"),
    ],
)
def test_other_traps(text, place, says):
    assert any(line.startswith(f"batch.yaml:{place}: error[") and says in line for line in mistakes(text))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("version: 1\nname: 时长\n".encode("gbk"), "batch.yaml:2:8: error[YAML014]: this file is not UTF-8 at line 2: it looks like GBK"),
        ("version: 1".encode("utf-16"), "UTF-16"),
        ("version: 1".encode("utf-16-le"), "UTF-16"),
        ("version: 1".encode("utf-32"), "UTF-16 or UTF-32"),
        (b"version: 1\n\xff\xff\xff", "batch.yaml:2:1: error[YAML014]"),
        (b"a: " + b"x" * MAX_BYTES, "10 MiB are allowed"),
    ],
)  # fmt: skip
def test_encodings_are_explained(data, says):
    assert says in mistakes(data)[0]


def test_a_byte_order_mark_and_any_line_end_are_fine():
    plain = parse_manifest("version: 1\njobs:\n  - prompt: 猫\n".encode(), PATH).jobs
    assert parse_manifest("\ufeffversion: 1\r\njobs:\r\n  - prompt: 猫\r\n".encode(), PATH).jobs == plain
    assert parse_manifest("version: 1\rjobs:\r  - prompt: 猫\r".encode(), PATH).jobs == plain


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("prompt: 猫咪奔跑 #慢动作", "YAML007"),
        ("prompt: 猫咪奔跑 # 慢动作", "YAML007"),
        ("prompt: '猫咪奔跑' # 慢动作", None),
        ("prompt: 猫咪奔跑#慢动作", None),
        ("prompt: a\n    mode: std # cheap", None),
        ("prompt: a\n    id: shot #3", "YAML007"),
        ("prompt: a\n    id: shot # the third", None),
        ("prompt: a\n    metadata: {negative_prompt: blur #x\n      }", "YAML007"),
        ("prompt: &dog runs", "YAML010"),
        ("prompt: &dog runs\n  - prompt: *dog", None),
    ],
)
def test_text_that_was_cut_short_is_warned_about(line, code):
    loaded = parse_manifest(f"version: 1\njobs:\n  - {line}\n".encode(), PATH)
    assert [warning.code for warning in loaded.warnings] == ([code] if code else [])


LAUGHS = "".join(f"x-{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
MERGES = "".join(f"x-{n}: &m{n} {{<<: [{','.join([f'*m{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 30))
WIDE_MERGE = "x-0: &w {" + ",".join(f"k{n}: 1" for n in range(2000)) + "}\nx-1: {<<: [" + ",".join(["*w"] * 50_000)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5_000,
        "{a: " * 5_000,
        "- " * 5_000,
        "? " * 5_000,
        "a: " * 5_000,
        "a:\n  b: &x [1]\n" + "[" * 200_000,
        "x-0: &a0 [b,b,b,b,b,b,b,b,b,b]\n" + LAUGHS + "jobs: *a11",
        "x-0: &m0 {a: 1}\n" + MERGES + "jobs: *m29",
        WIDE_MERGE + "]}\n",
        "".join(f"x-{n}: &c{n} [{f'*c{n - 1}' if n else 1}]\n" for n in range(5_000)),
        '"' + "\\n" * 500_000,
        "a: " + "9" * 1_000_000,
        "!" * 100_000,
        "\n" * 1_000_000,
        "version: 1\njobs:\n" + "  - x: 1\n" * 10_000,
        "version: 1\njobs:\n" + "  -\n" * 20_000,
        "a: 1\n" * 20_000,
        "version: 1\njobs:\n  - prompt: a\noutput: {filename: '" + "{" * 100_000 + "'}",
    ],
    ids=lambda text: text[:12].replace("\n", " "),
)
def test_hostile_files_are_refused_quickly(text):
    start = time.process_time()  # others may keep this machine busy
    found = mistakes(text)
    assert time.process_time() - start < 1
    assert 0 < len(found) <= 3 * MAX_PROBLEMS


FRAGMENTS = st.one_of(
    st.sampled_from(
        ["version: 1\n", "jobs:\n", "  - ", "prompt: ", "frames: {first: a.png}", "16:9", "    ", "猫", "😀"]
    ),
    st.sampled_from(["&a ", "*a", "<<: ", "!x ", ": ", *"\n\t\r\0|{}[]#'\"\\>-?~"]),
)


def diagnostics_of(data: bytes) -> tuple[Diagnostic, ...]:
    try:
        return parse_manifest(data, PATH).warnings
    except ManifestError as error:
        return error.diagnostics or pytest.fail("an error without a diagnostic")


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60), st.lists(FRAGMENTS, max_size=25).map("".join)))
def test_any_file_is_a_manifest_or_a_manifest_error(content):
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    for one in diagnostics_of(data):
        assert one.place.line >= 1
        assert 1 <= one.place.column <= len(one.source_line) + 1 or not one.source_line


WORDS = st.text("ab猫 😀-_", min_size=1, max_size=6).map(str.strip).filter(lambda word: word.strip("-_ "))
VALUES = st.recursive(
    WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)


def paths(value, loc=()):
    yield loc
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from paths(part, (*loc, key))


@settings(max_examples=60, deadline=None)
@given(VALUES, st.booleans())
def test_every_place_holds_its_own_node(value, flow):
    import yaml

    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow or None, default_style='"')
    read_back = document(text)
    assert read_back.value == value
    for loc in paths(value):
        part = value
        for step in loc:
            part = part[step]
        span = read_back.value_span(loc)
        assert read_back.has(loc)
        assert not isinstance(part, str) or yaml.safe_load(text[span.start : span.end]) == part
        if loc and isinstance(loc[-1], str):
            key = read_back.key_span(loc)
            assert yaml.safe_load(text[key.start : key.end].lstrip("? ")) == loc[-1]


def test_positions_are_those_of_an_editor():
    source = Source("a.yaml", "猫: 1\r\n\r\n  😀b: 2\n")
    at = source.text.index("b: 2")
    assert source.position(at) == (3, 4)
    assert source.offset(3, 4) == at
    assert source.line(3) == "  😀b: 2"
    assert str(source.place(Span(at, at + 1))) == "a.yaml:3:4"


@pytest.fixture
def room(monkeypatch):
    """The bounds, a thousandth of them."""
    monkeypatch.setattr(reader, "MAX_EVENTS", 500)
    monkeypatch.setattr(reader, "MAX_WRITTEN", 100)


def test_as_many_jobs_as_a_manifest_may_have_can_be_written_out(room):
    one = "- {id: s, prompt: cat, mode: pro, duration: 5, audio: no, takes: 2}\n"
    assert isinstance(document("version: 1\njobs:\n" + one * 100).value, dict)
    assert "has more than 1,900 values" in mistakes("version: 1\njobs:\n" + one * 140)[0]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x-1: [" + "a," * 510 + "]", id="a list of scalars"),
        pytest.param("x-1: {" + "a: {}," * 200 + "}", id="a mapping of mappings"),
        pytest.param("jobs: [{a: [" + "b," * 520 + "]}]", id="one job"),
        pytest.param("jobs: [" + "[]," * 300 + "]", id="a list of lists"),
        pytest.param("jobs: [" + "{}," * 1_100 + "]", id="jobs of nothing"),
    ],
)
def test_size_is_bounded_before_anything_is_composed(room, text):
    assert "values | write the jobs as rows" in mistakes(text)[0]
