"""The schema and the rules of clips: every mistake at once, each at its value, with the word that was meant."""

from __future__ import annotations

import os
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest

from batchrunner.budget import NO_CAPS, Caps
from batchrunner.errors import ExitCode, ManifestError
from batchrunner.manifest import Options, load_manifest, parse_manifest
from batchrunner.manifest.manifest import Manifest
from batchrunner.media.frames import FrameFacts, FrameProblem
from batchrunner.model import FrameDialect
from batchrunner.moments import Window
from batchrunner.settings import GROUPS, Limits, Rate

PATH = Path("batch.yaml")
SIZES = {"wide.png": (1920, 1080), "tall.png": (1080, 1920), "square.png": (1000, 1000)}


def look(path: Path, *, roots: object) -> FrameFacts | FrameProblem:
    """A pre-flight without files: the names in SIZES are there."""
    if path.name not in SIZES:
        return FrameProblem(code="FRM301", message=f"there is no file {path.name}", help="check the path")
    width, height = SIZES[path.name]
    return FrameFacts(sha256=path.name.ljust(64, "0"), width=width, height=height, mime="image/png", bytes=1)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text.encode(), PATH, probe=look)
    return [f"{one} | {one.help}".removeprefix("batch.yaml:") for one in caught.value.diagnostics]


def manifest(text: str) -> Manifest:
    return parse_manifest(f"version: 1\n{text}\njobs: [{{prompt: a, duration: 5}}]".encode(), PATH, probe=look).manifest


EVERYTHING = """\
version: 1
name: 1.10
defaults: {mode: std, ratio: 16:9, audio: no}
jobs:
  - prompt: 城市从白天自然过渡到夜晚 #golden hour
    duraton: 5
  - prompt: 雨夜东京街头
    mode: pr
    mode: pro
    duration: 15
    frames: {first: missing.png, last: wide.png}
  - id: a b
    prompt: ''
    metadata: {foo: 1}
concurrency: 5
"""


def test_all_mistakes_are_shown_at_once():
    found = mistakes(EVERYTHING)
    assert [line.split(": ")[0] + " " + line.split("[")[1].split("]")[0] for line in found] == [
        "2:7 MAN104",
        "3:23 MAN101",
        "3:43 MAN104",
        "5:26 YAML007",
        "6:5 MAN101",
        "8:11 MAN104",
        "9:5 YAML002",
        "10:15 MAN202",
        "11:21 FRM301",
        "12:9 MAN203",
        "13:13 MAN202",
        "14:16 MAN101",
        "15:1 MAN101",
    ]


@pytest.mark.parametrize(
    ("line", "column", "says"),
    [
        ("ratio: 16:9", 5, "did you mean `aspect_ratio`?"),
        ("size: 1", 5, "did you mean `aspect_ratio`?"),
        ("seconds: 5", 5, "did you mean `duration`?"),
        ("time: 5", 5, "did you mean `duration`?"),
        ("image: a.png", 5, "write `frames: {first: …}`"),
        ("image_url: a.png", 5, "write `frames: {first: …}`"),
        ("image_urls: [a, b]", 5, "did you mean `frames`?"),
        ("first_frame: a.png", 5, "write `frames: {first: …}`"),
        ("end_frame: a.png", 5, "write `frames: {last: …}`"),
        ("last: a.png", 5, "write `frames: {last: …}`"),
        ("resolution: 720p", 5, "did you mean `mode`?"),
        ("sound: true", 5, "did you mean `audio`?"),
        ("negative_prompt: a", 5, "write `metadata: {negative_prompt: …}`"),
        ("concurrency: 4", 5, "`limits: {concurrency: …}` belongs at the top of the manifest"),
        ("limits: {}", 5, "`limits` belongs at the top of the manifest"),
        ("比例: 16:9", 5, "did you mean `aspect_ratio`?"),
        ("时长: 5", 5, "did you mean `duration`?"),
        ("首帧: a.png", 5, "write `frames: {first: …}`"),
        ("尾帧: a.png", 5, "write `frames: {last: …}`"),
        ("模式: pro", 5, "did you mean `mode`?"),
        ("duraton: 5", 5, "did you mean `duration`?"),
        ("Mode: pro", 5, "did you mean `mode`?"),
        ("aspect-ratio: 1:1", 5, "did you mean `aspect_ratio`?"),
        ("zzz: 1", 5, "a job knows prompt, frames, mode"),
        ("model: kling-v2", 5, "leave it out"),
        ("api_key: sk-1", 5, "TOAPIS_API_KEY"),
        ("matrix: {}", 13, "at least one value"),
        ("metadata: {cfg_scale: 1}", 16, "only negative_prompt and watermark"),
        ("frames: {first_frame: a.png}", 14, "did you mean `first`?"),
        ("output: {dir: ../a}", 19, "leaves its folder"),
        ('duration: "5"', 15, "remove the quotes: 5"),
        ("duration: 5s", 15, "write 5, without the unit"),
        ("duration: 5.0", 15, "write 5"),
        ("duration: true", 15, "must be a whole number"),
        ("duration: five", 15, "write 5, 10 or 15"),
        ("duration: [5, 10]", 15, "one value belongs here"),
        ("duration: 7", 15, "write 5, 10 or 15"),
        ("mode: [std, pro]", 11, "one value belongs here"),
        ("mode: 720p", 11, "did you mean `std`?"),
        ("mode: Pro", 11, "did you mean `pro`?"),
        ("aspect_ratio: 4:3", 19, "must be 16:9, 9:16 or 1:1"),
        ("audio: no", 12, "write `false`"),
        ('audio: "yes"', 12, "write `true`"),
        ("audio: 1", 12, "write `true`"),
        ("audio: maybe", 12, "`true` or `false`"),
        ("mode:", 5, "write a value, or leave the key out"),
        ("frames: a.png", 13, "write `frames: {first: path.png}`"),
        ("frames: {last: wide.png}", 20, "add `first:`"),
        ("frames: {first: gone.png}", 21, "no file gone.png"),
        ('frames: {first: "new\\new.png"}', 21, "use '…', or write /"),
        ("frames: {first: ftp://a.com/b.png}", 21, "http or https"),
        ("frames: {first: 'https://u:p@a.com/b.png'}", 21, "user name or a password"),
        ("frames: {first: 'https://'}", 21, "not a whole URL"),
        ("frames: {first: 'https://a.com:x/'}", 21, "not a whole URL"),
        ("duration: 15\n    frames: {first: wide.png}", 15, "write 5 or 10, or leave the frames out"),
        ("id: 001", 9, 'quote it: "001"'),
        ("id: a b", 9, "for example a-b"),
        ("id: ../a", 9, "for example a"),
        ("id: ''", 9, "cannot be used"),
        ("id: -a", 9, "for example a"),
        ("id: " + "a" * 101, 9, "101 characters"),
        ("output: {filename: '{kee}.mp4'}", 24, "did you mean {key}?"),
        ("output: {filename: '{key.x}.mp4'}", 24, "unknown placeholder {key.x}"),
        ("output: {filename: '{key:03}.mp4'}", 24, "only a number can be padded"),
        ("output: {filename: '{key.mp4'}", 24, "write {{"),
        ("output: {filename: '{key}.mov'}", 24, "does not end with .mp4"),
        ("output: {filename: ../a.mp4}", 24, "leaves its folder"),
        ("output: {filename: /a.mp4}", 24, "not a relative path"),
        ("output: {filename: 'C:/a.mp4'}", 24, "not a relative path"),
        ("output: {filename: 'a\\b.mp4'}", 24, "write / between"),
        ("metadata: {negative_prompt: [a]}", 33, "must be quoted"),
        ("metadata: {watermark: no}", 27, "write `false`"),
    ],
)
def test_mistakes_of_a_job(line, column, says):
    (found,) = mistakes(f"version: 1\njobs:\n  - prompt: a\n    {line}\n")
    assert found.startswith(f"4:{column}: error[")
    assert says in found


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("jobs: [{prompt: a}]", "1:1", "write `version: 1`"),
        ("version: '1'\njobs: [{prompt: a}]", "1:10", "without quotes"),
        ("version: true\njobs: [{prompt: a}]", "1:10", "version of the language is 1"),
        ("version: 1.0\njobs: [{prompt: a}]", "1:10", "version of the language is 1"),
        ("version: 2\njobs: [{prompt: a}]", "1:10", "version of the language is 1"),
        ("version: 1", "1:1", "add `jobs:`"),
        ("version: 1\njobs: []", "2:7", "at least one job"),
        ("version: 1\njobs: {prompt: a}", "2:7", "must be a list"),
        ("version: 1\njobs: [{}]", "2:8", "this job has no prompt"),
        ("version: 1\njobs: [a]", "2:8", "write `- prompt: …`"),
        ("version: 1\nratio: 1:1\njobs: [{prompt: a}]", "2:1", "`aspect_ratio` belongs in a job or in `defaults`"),
        ("version: 1\nid: a\njobs: [{prompt: a}]", "2:1", "`id` belongs in a job"),
        ("version: 1\nname: a/b\njobs: [{prompt: a}]", "2:7", "for example a-b"),
        ("version: 1\noutput: {dir: ../a}\njobs: [{prompt: a}]", "2:15", "leaves its folder"),
        ("version: 1\noutput: {dir: '{key}'}\njobs: [{prompt: a}]", "2:15", "known are {name}"),
        ("version: 1\nlimits: {max_in_flight: 0}\njobs: [{prompt: a}]", "2:25", "at least 1, here it is `0`"),
        ("version: 1\nlimits: {max_in_flight: true}\njobs: [{prompt: a}]", "2:25", "whole number"),
        ("version: 1\nlimits: {submit_rate: 0}\njobs: [{prompt: a}]", "2:23", "more than 0"),
        ("version: 1\nlimits: {query_rate: .inf}\njobs: [{prompt: a}]", "2:22", "finite"),
        ("version: 1\nlimits: {group: gold}\njobs: [{prompt: a}]", "2:17", "default, vip or svip"),
        ("version: 1\nlimits: {workers: 3}\njobs: [{prompt: a}]", "2:10", "did you mean `max_in_flight`?"),
        ("version: 1\nlimits: {concurrency: 3, max_in_flight: 4}\njobs: [{prompt: a}]", "2:10", "the same limit"),
        ("version: 1\nlimits: {deadline: 6}\njobs: [{prompt: a}]", "2:20", 'write "06:30"'),
        ("version: 1\nlimits: {window: 22:00}\njobs: [{prompt: a}]", "2:18", 'write "22:00-06:30"'),
        ("version: 1\nwindow: 22:00-06:30\njobs: [{prompt: a}]", "2:1", "`limits: {window: …}`"),
        ("version: 1\nname: a-{dat}\njobs: [{prompt: a}]", "2:7", "a name may hold {date}"),
        ("version: 1\nname: a-{date\njobs: [{prompt: a}]", "2:7", "a name may hold {date}"),
        ("version: 1\nlimits: {deadline: 24:10}\njobs: [{prompt: a}]", "2:20", 'write "06:30"'),
        ("version: 1\nlimits: {max_duration: 6}\njobs: [{prompt: a}]", "2:24", "write 90s, 30m or 6h"),
        ("version: 1\nlimits: {stop_after_failures: 0}\njobs: [{prompt: a}]", "2:31", "at least 1"),
        ("version: 1\nprovider: {frames: role}\njobs: [{prompt: a}]", "2:20", "did you mean `roles`?"),
        ("version: 1\nprices: {}\njobs: [{prompt: a}]", "2:1", "neither per_second nor per_request"),
        ("version: 1\nprices: {per_second: {720P: -1}}\njobs: [{prompt: a}]", "2:29", "at least 0"),
        ("version: 1\nprices: {per_second: {720p: 1}}\njobs: [{prompt: a}]", "2:23", "720P"),
        ("version: 1\nprices: {per_second: {720P: 0.0000001}}\njobs: [{prompt: a}]", "2:29", "six decimals"),
        ("version: 1\nprices: {currency: 5, per_second: {720P: 1}}\njobs: [{prompt: a}]", "2:20", "quote it"),
        ("version: 1\nbudget: {warn_at: 0.5}\njobs: [{prompt: a}]", "2:1", "this budget has no cap"),
        ("version: 1\nbudget: {max_cost: 5, warn_at: 80}\njobs: [{prompt: a}]", "2:32", "write 0.8"),
        ("version: 1\nmax_cost: 5\njobs: [{prompt: a}]", "2:1", "write `budget: {max_cost: …}`"),
        (
            "version: 1\nprices: {per_second: {1080P: 1}}\nbudget: {max_cost: 5}\njobs: [{prompt: a}]",
            "2:22",
            "720P has no price",
        ),
    ],
)
def test_mistakes_of_the_whole_file(text, place, says):
    (found,) = mistakes(text)
    assert found.startswith(f"{place}: error[")
    assert says in found


def test_a_rule_points_at_the_value_wherever_it_came_from():
    found = mistakes(
        "version: 1\ndefaults: {duration: 15, metadata: {negative_prompt: '" + "x" * 2501 + "'}}\n"
        "jobs:\n  - {prompt: a, frames: {first: wide.png}}\n  - {prompt: b, duration: 15, frames: {first: wide.png}}\n"
    )
    assert [line.split(":")[0] for line in found] == ["2", "2", "5"]
    assert found[1].startswith("2:54: error[MAN202]")
    assert found[2].startswith("5:27: error[MAN202]")


def test_prompts_by_mistake_under_another_key_are_one_mistake():
    assert len(mistakes("version: 1\njobs:\n  - promt: a\n")) == 1


def test_a_price_that_is_missing_without_a_budget_is_a_warning():
    text = "version: 1\nprices: {per_second: {1080P: 1}}\njobs: [{prompt: a}]"
    (warning,) = parse_manifest(text.encode(), PATH).warnings
    assert warning.code == "MAN208"


@pytest.mark.parametrize(
    ("frames", "ratio", "codes"),
    [
        ("{first: wide.png}", "16:9", []),
        ("{first: wide.png, last: wide.png}", "16:9", []),
        ("{first: wide.png}", "9:16", ["FRM322"]),
        ("{first: wide.png, last: square.png}", "16:9", ["FRM321", "FRM322"]),
        ("{first: 'http://127.0.0.1/a.png'}", "1:1", ["FRM323"]),
        ("{first: 'https://example.com/a.png'}", "1:1", []),
    ],
)
def test_frames_that_do_not_fit_are_warned_about(frames, ratio, codes):
    text = f"version: 1\njobs: [{{prompt: a, aspect_ratio: {ratio}, frames: {frames}}}]"
    loaded = parse_manifest(text.encode(), PATH, probe=look)
    assert sorted(warning.code for warning in loaded.warnings) == codes


def test_each_file_is_looked_at_once():
    seen = []

    def counting(path: Path, *, roots: object) -> FrameFacts | FrameProblem:
        seen.append(path.name)
        return look(path, roots=roots)

    jobs = "".join(f"  - {{prompt: p{n}, frames: {{first: wide.png, last: wide.png}}}}\n" for n in range(9))
    assert len(parse_manifest(f"version: 1\njobs:\n{jobs}".encode(), PATH, probe=counting).jobs) == 9
    assert seen == ["wide.png"]


def test_settings_have_their_defaults():
    plain = manifest("")
    assert (plain.name, plain.output_dir, plain.limits) == ("batch", "out/batch", Limits())
    assert (plain.frames, plain.prices, plain.caps) == (FrameDialect.URLS, None, NO_CAPS)


def test_settings_are_read():
    one = manifest(
        "name: 元宵.v2\n"
        "output: {dir: 'clips/{name}/a:b'}\n"
        "provider: {frames: roles}\n"
        "limits: {concurrency: 3, stop_after_failures: 9, deadline: 6:30, max_duration: 1h30m, group: vip, submit_rate: 2, query_burst: 7, poll_floor: 6, window: 22:00-06:30}\n"
        'prices: {currency: CNY, per_second: {720P: 0.084, "720P+Sound": 1e-3, 1080P: 0x10}}\n'
        "budget: {max_cost: 12.5, per_day: 3, per_month: 0.000001, per_run: 2, tags: {夜: 1.5}, warn_at: 0.8}\n"
        "x-anchors: {anything: [goes, {here: 1}, ~]}"
    )
    assert (one.name, one.output_dir, one.frames) == ("元宵.v2", "clips/元宵.v2/a-b", FrameDialect.ROLES)
    submit, query = GROUPS["vip"]
    assert one.limits == Limits(
        max_in_flight=3,
        submit=Rate(per_second=2.0, burst=submit.burst),
        query=Rate(per_second=query.per_second, burst=7),
        poll_floor=6.0,
        stop_after_failures=9,
    )
    assert one.prices is not None
    assert dict(one.prices.amounts) == {"720P": 84_000, "720P+Sound": 1_000, "1080P": 16_000_000}
    assert one.prices.currency == "CNY"
    assert one.caps == Caps(
        max_cost=12_500_000, per_run=2_000_000, per_day=3_000_000, per_month=1, tags={"夜": 1_500_000}, warn_at=0.8
    )
    assert (one.deadline, one.max_duration) == (time(6, 30), timedelta(minutes=90))
    assert one.window == Window(time(22), time(6, 30))
    assert (one.prices.of("720P", 10), one.prices.of("1080P+Sound", 5)) == (840_000, None)


def nightly(text: str, **when: object) -> tuple[Manifest, list[str]]:
    data = f"version: 1\n{text}\njobs: [{{prompt: '{{date}}'}}]".encode()
    loaded = parse_manifest(data, PATH, probe=look, options=Options(**when))
    return loaded.manifest, [one.code for one in loaded.warnings]


def test_a_night_is_a_batch_of_its_own_until_the_next():
    text = "name: night-{date}\nlimits: {window: 22:00-06:30}\noutput: {dir: 'out/{date}/{name}'}"
    for hour, name in ((21, "night-2026-11-21"), (22, "night-2026-11-22")):
        one, warnings = nightly(text, now=datetime(2026, 11, 22, hour).astimezone())
        assert (one.name, warnings) == (name, [])
    later, _ = nightly(text, now=datetime(2026, 11, 23, 1).astimezone())
    assert (later.name, later.output_dir) == (one.name, one.output_dir) == (name, f"out/2026-11-22/{name}")
    assert (
        nightly(text, now=datetime(2026, 11, 23, 1).astimezone(), today=date(2026, 1, 2))[0].name == "night-2026-01-02"
    )


def test_a_date_that_changes_at_midnight_is_warned_of():
    midnight = datetime(2026, 11, 23).astimezone()
    one, warnings = nightly("name: night-{date}", now=midnight)
    assert (one.name, warnings) == ("night-2026-11-23", ["MAN219"])
    one, _ = nightly("name: night-{date}", now=midnight, window=Window(time(22), time(6)))
    assert one.name == "night-2026-11-22"


def test_a_price_can_be_for_the_whole_clip():
    prices = manifest("prices: {per_request: {720P: 0.3}}").prices
    assert prices is not None
    assert (prices.of("720P", 5), prices.of("720P", 10), prices.currency) == (300_000, 300_000, "USD")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "NUL"])
def test_a_manifest_that_cannot_be_opened_is_an_explained_mistake(tmp_path, kind):
    path = tmp_path / ("a\0b" if kind == "NUL" else "batch.yaml")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert caught.value.exit_code is ExitCode.MANIFEST
    assert str(caught.value).startswith(f"{path}:1:1: error[MAN100]: the manifest cannot be opened: ")


@pytest.mark.parametrize(
    ("line", "found"), [("", "hold"), ("on_doubt: hold\n", "hold"), ("on_doubt: resend\n", "resend")]
)
def test_what_becomes_of_doubts(line: str, found: str) -> None:
    loaded = parse_manifest(f"version: 1\n{line}jobs: [{{prompt: a cat}}]\n".encode(), Path("m.yaml"))
    assert loaded.manifest.on_doubt == found
