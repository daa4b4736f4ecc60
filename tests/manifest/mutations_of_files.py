"""Operators that break the files beside a manifest: frames, pairs and tables; and a manifest that names them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

from mutations import Change, Good, Mutant, operator
from PIL import Image

SHIPPED = Path(__file__).parents[2] / "manifests"
LINES = [
    json.dumps({"key": key, "prompt": f"猫 {key}", "mode": "std", "duration": 5}, ensure_ascii=False) for key in "AC"
]
TABLE = (SHIPPED / "shots.csv").read_bytes().decode("utf-8-sig")
HELLO = """\
version: 1
jobs:
  - prompt: 一只金色的猫咪在阳光下的草地上奔跑，慢动作，电影质感
  - prompt: 雨夜东京街头，霓虹灯倒映在湿润地面上，电影镜头
    mode: pro
    duration: 10
  - id: day-to-night
    prompt: 城市从白天自然过渡到夜晚
    audio: false
    priority: 5
    frames: {first: frames/city_first.jpg, last: frames/city_last.jpg}
  - id: lines
    from: {jsonl: rows.jsonl}
    takes: 2
    output: {filename: "{row}_{take:02}.mp4"}
"""


def _frames(good: Good) -> Iterator[tuple[str, frozenset[int]]]:
    """Local frames that the manifest uses by name, and the lines that name them."""
    named: dict[str, set[int]] = {}
    for target in good.scalars("first", "last"):
        if "{" not in target.value.value and "frames" in target.path:
            named.setdefault(target.value.value, set()).add(target.line)
    yield from ((name, frozenset(lines)) for name, lines in named.items())


def _image(size: tuple[int, int], kind: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "teal").save(content, kind)
    return content.getvalue()


BAD_FRAMES: dict[str, Change] = {
    "missing": None,
    "link out of the folder": Path("/etc/hostname"),
    "link to nowhere": Path("nowhere.jpg"),
    "link to itself": "loop",
    "folder": "folder",
    "pipe": "pipe",
    "empty": b"",
    "text": b"not a picture",
    "webp": _image((400, 400), "WEBP"),
    "gif": _image((400, 400), "GIF"),
    "small": _image((299, 400), "JPEG"),
    "narrow": _image((300, 900), "PNG"),
    "cut short": _image((400, 400), "JPEG")[:300],
    "too large": _image((400, 400), "PNG") + b"\0" * (11 << 20),
}


@operator
def bad_frame(good: Good) -> Iterator[Mutant]:
    for name, lines in _frames(good):
        for change in BAD_FRAMES.values():
            yield Mutant("bad_frame", good.text.encode(), lines, changes={name: change})


@operator
def unpaired_frame(good: Good) -> Iterator[Mutant]:
    sections = {target.path: target.value for target in good.targets if target.name == "pairs" and not target.is_free}
    for path in sections:
        keys = {target.name: target for target in good.targets if target.path[:-1] == path}
        folder = keys["dir"].value.value
        lines = frozenset(keys[side].line for side in ("first", "last"))
        for change in (
            {f"{folder}/shot2_last.jpg": None},
            {f"{folder}/shot1_first.jpg": None},
            {f"{folder}/shot7_last.jpg": b""},
        ):
            yield Mutant("unpaired_frame", good.text.encode(), lines, changes=dict(change))


HEADER = "镜号,客户,提示词,首帧,尾帧,时长,模式,状态"
BAD_ROWS = (
    (2, "S01,ACME,a,frames/cup_first.jpg,,五秒,,通过"),
    (2, "S01,ACME,a,frames/cup_first.jpg,,5.5,,通过"),
    (3, "S02,ACME,a,frames/nobody.jpg,,5,,加急"),
    (3, "S02,ACME,a,../../x.jpg,,5,,加急"),
    (3, "S02,ACME,a,,frames/cup_last.jpg,5,,加急"),
    (3, "S02,ACME,a,frames/cup_first.jpg,,15,,加急"),
    (3, "S02,ACME,a,,,7,,加急"),
    (3, "S02,ACME,a,,,5,1080i,加急"),
    (3, "S02,ACME,a,,,5,std,加急,more"),
    (3, "S02,ACME,a"),
    (3, 'S02,ACME,"a,,,5,std,加急'),
    (3, 'S02,ACME,"a"b,,,5,std,加急'),
    (3, "S02,ACME,{stlye},,,5,std,加急"),
    (3, "S02,ACME,,,,5,std,加急"),
    (3, "///,ACME,a,,,5,std,加急"),
)


@operator
def bad_table(good: Good) -> Iterator[Mutant]:
    rows, text = TABLE.split("\r\n"), good.text.encode()
    for target in good.scalars("csv"):
        columns = frozenset(one.line for one in good.targets if one.path[-2:-1] == ("columns",))
        for number, row in BAD_ROWS:
            table = "\r\n".join([*rows[: number - 1], row, *rows[number:]])
            yield Mutant("bad_table", text, frozenset({number}), "shots.csv", {"shots.csv": table.encode()})
        for header in (f"{HEADER},模式", f"{HEADER},mode", HEADER.replace(",", ";") + ";x"):
            content = "\r\n".join([header, *rows[1:]]).encode()
            yield Mutant("bad_table", text, frozenset({1}), "shots.csv", {"shots.csv": content})
        for header in (HEADER.replace("时长", "长度"), HEADER.removesuffix(",状态")):  # said where it is asked for
            content = "\r\n".join([header, *rows[1:]]).encode()
            yield Mutant("bad_table", text, columns, changes={"shots.csv": content})
        for content in (b"", HEADER.encode(), b"\r\n\r\n"):
            yield Mutant("bad_table", text, frozenset({1}), "shots.csv", {"shots.csv": content})
        raw = TABLE.encode().replace("台灯".encode(), b"\xff\xff")
        yield Mutant("bad_table", text, frozenset({4}), "shots.csv", {"shots.csv": raw})
        for change in (None, "loop", "pipe", "folder", Path("/etc/passwd")):
            yield Mutant("bad_table", text, frozenset({target.line}), changes={"shots.csv": change})


BAD_LINES = ("{", "[]", "5", '{"key": "B", "prompt": 5}', '{"key": "B", "prompt": "a", "prompt": "b"}', '{"prompt": "a", "duration": NaN}',
             '{"prompt": "a", "duration": "5s"}', '{"prompt": ["a"]}', '{"prompt": "a", "v": {"a": 1}}', '{"prompt": "a", "mode": "fast"}',
             '{"prompt": "a"} x', "[" * 100_000, '{"prompt": "a", "duration": ' + "9" * 5000 + "}", '{"key": "A", "prompt": "again"}')  # fmt: skip


@operator
def bad_json_line(good: Good) -> Iterator[Mutant]:
    for _ in good.scalars("jsonl"):
        for line in BAD_LINES:
            content = "\n".join([LINES[0], line, LINES[1]]).encode()
            yield Mutant("bad_json_line", good.text.encode(), frozenset({2}), "rows.jsonl", {"rows.jsonl": content})
