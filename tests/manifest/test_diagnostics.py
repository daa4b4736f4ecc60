"""How mistakes are shown: carets under wide characters, cut lines, escapes, JSON and GitHub's annotations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import batchrunner.manifest
import batchrunner.media.frames
from batchrunner.diagnostic import Diagnostic, Place, Severity
from batchrunner.errors import ManifestError
from batchrunner.manifest import load_manifest
from batchrunner.manifest.diagnostics import CODES, LINE_WIDTH, escape, render_github, render_json, render_text


def diagnostic(line: str, column: int, length: int = 1, **kwargs: object) -> Diagnostic:
    place = Place(file="a.yaml", line=9, column=column, length=length)
    defaults = {"code": "MAN101", "message": "unknown key `duraton`", "help": "did you mean `duration`?"}
    return Diagnostic(place=place, source_line=line, **(defaults | kwargs))


def test_text_looks_like_a_compiler_s():
    assert render_text([diagnostic("    duraton: 5", 5, 7)]) == (
        "a.yaml:9:5: error[MAN101]: unknown key `duraton`\n"
        "  |\n"
        "9 |     duraton: 5\n"
        "  |     ^^^^^^^\n"
        "  = help: did you mean `duration`?\n"
        "\n"
        "1 error in a.yaml\n"
    )


def test_the_caret_lines_up_under_chinese():
    lines = render_text([diagnostic("  - prompt: 夜晚 #golden", 16, 7)]).splitlines()
    assert lines[2] == "9 |   - prompt: 夜晚 #golden"
    assert lines[3] == "  |" + " " * 18 + "^" * 7  # twelve narrow characters, two wide ones, two spaces


def test_long_lines_are_cut_around_the_caret():
    line = "猫" * 3000 + "X" + "狗" * 3000
    shown, caret = render_text([diagnostic(line, 3001)]).splitlines()[2:4]
    assert cell_len(shown) <= LINE_WIDTH + 10
    assert "X" in shown
    assert cell_len(shown[: shown.index("X")]) == caret.index("^")


@settings(max_examples=60)
@given(st.text(st.characters(exclude_characters="\r\n"), max_size=300), st.data())
def test_the_caret_always_points_into_what_is_shown(line, data):
    column = data.draw(st.integers(1, len(line) + 1))
    length = data.draw(st.integers(1, 400))
    text = render_text([diagnostic(line, column, length)])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert text.startswith("a.yaml:9:")


def test_user_text_cannot_move_the_cursor():
    hostile = "a\x1b[31m\u202eb\tc\r\nd"
    assert escape(hostile) == "a\\x1b[31m\\u202eb c\\x0d\\x0ad"
    assert "\x1b" not in render_text([diagnostic(hostile, 1, message=hostile, help=hostile)])


def test_many_of_a_kind_are_counted():
    many = [diagnostic("x", 1, message=f"m{n}") for n in range(51)] + [
        diagnostic("x", 1, code="YAML007", severity=Severity.WARNING)
    ]
    text = render_text(many)
    assert text.count("error[MAN101]") == 20
    assert "and 31 more of MAN101: An unknown key." in text
    assert text.endswith("51 errors, 1 warning in a.yaml\n")


def test_json_holds_everything():
    rows = json.loads(render_json([diagnostic("  猫", 3)]))
    assert rows == [
        {
            "severity": "error",
            "code": "MAN101",
            "message": "unknown key `duraton`",
            "file": "a.yaml",
            "line": 9,
            "column": 3,
            "help": "did you mean `duration`?",
        }
    ]


def test_github_annotations_are_escaped():
    one = diagnostic("x", 1, message="100% a\nb", help="", severity=Severity.WARNING)
    assert render_github([one]) == "::warning file=a.yaml,line=9,col=1,title=MAN101::100%25 a\\x0ab\n"


def test_nothing_renders_as_nothing():
    assert render_text([]) == ""
    assert json.loads(render_json([])) == []


@pytest.mark.parametrize("package", [batchrunner.manifest.__file__, batchrunner.media.frames.__file__])
def test_every_code_is_in_the_table(package):
    path = Path(package)
    files = path.parent.glob("*.py") if path.name == "__init__.py" else [path]
    used = {code for file in files for code in re.findall(r'"((?:YAML|MAN|FRM)\d{3})"', file.read_text("utf-8"))}
    assert used
    assert used <= CODES.keys()


def test_signatures_and_passwords_of_urls_are_starred_out_of_everything_that_is_shown(tmp_path):
    manifest = tmp_path / "signed.yaml"
    manifest.write_text(
        "version: 1\n"
        "jobs:\n"
        '  - {prompt: a, frames: {first: "https://a.example/x.png?sig=CANARY", last: "ftp://b.example/y.png?sig=CANARY"}}\n'
        '  - {prompt: b, frames: "https://a.example/x.png?sig=CANARY"}\n'
        '  - {prompt: c, frames: {first: "https://user:CANARY@a.example/x.png"}}\n'
    )
    with pytest.raises(ManifestError) as wrong:
        load_manifest(manifest)
    found = wrong.value.diagnostics
    shown = render_text(found) + render_json(found) + render_github(found) + str(wrong.value)
    assert len(found) == 3
    assert "CANARY" not in shown
