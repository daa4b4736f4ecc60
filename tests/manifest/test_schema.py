"""The JSON Schema for editors: it takes what the loader takes, and what it refuses the loader refuses too."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from click.testing import CliRunner

from batchrunner.cli.main import cli
from batchrunner.errors import ManifestError
from batchrunner.manifest import parse_manifest
from batchrunner.manifest.export import DIALECT, FOLDER, MODELINES, manifest_schema, schema_text
from batchrunner.manifest.reader import read
from batchrunner.manifest.schema import Chain, From, JobEntry, LimitsSection, ManifestFile, Pairs, PriceTable
from batchrunner.manifest.source import decode
from batchrunner.manifest.words import fields
from batchrunner.media.frames import FrameFacts

SHIPPED = Path(__file__).parents[2] / "manifests"
MANIFESTS = sorted(SHIPPED.glob("*.yaml"))
SCHEMA = manifest_schema()
validate = fastjsonschema.compile(SCHEMA)

EVERYTHING = """\
x-styles: &film {style: 电影质感, n: null}
version: 1
name: all
vars: {style: film, count: 3, ratio: 1.5, on: true}
defaults: {mode: pro, duration: 10, aspect_ratio: 9:16, audio: true, output: {dir: "out/{style}", filename: "{key}.mp4"}}
output: {dir: "out/{name}", filename: "{key}.mp4"}
limits: {max_in_flight: 4, submit_rate: 2, submit_burst: 1, poll_floor: 2.5, max_jobs: 500, group: vip}
provider: {frames: roles}
prices: {currency: CNY, per_second: {720P: 1, 1080P: 1.5, 720P+Sound: 2, 1080P+Sound: 3}}
budget: {max_cost: 10000}
jobs:
  - id: one
    prompt: "{style} {n:03}"
    vars: {n: 7}
    metadata: {negative_prompt: blur, watermark: false, project: p}
    frames: {first: a.png, last: https://example.com/b.png}
  - id: two
    from:
      rows: [{key: A, prompt: a, 时长: 5, tall: true}, {key: B, prompt: b, 时长: 10, tall: false}]
      where: {tall: [true, false], 时长: 5}
    matrix: {mode: [std, pro], duration: [5, 10], audio: [true, false], scene: [a, 1, 2.5, false], aspect_ratio: [16:9, 1:1]}
    exclude: [{mode: pro, scene: 1}, {duration: 10}]
    include: [{mode: pro, scene: 雨}]
    takes: 2
    key: "{row}/{mode}/{duration}/{scene}/{audio}/{aspect_ratio}/t{take}"
    tags: [nightly]
    priority: -5
  - prompts: {hero: a, macro: b}
    enabled: true
  - prompts: [c, d]
"""


def any_frame(path: Path, *, roots: object) -> FrameFacts:
    return FrameFacts(sha256=path.name.ljust(64, "0"), width=1920, height=1080, mime="image/png", bytes=1)


def value_of(text: str) -> Any:
    return read(decode(text.encode(), "batch.yaml")).value


def loads(value: Any, folder: Path = SHIPPED) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    try:
        parse_manifest(text.encode("utf-8", "surrogatepass"), folder / "batch.yaml", probe=any_frame)
    except ManifestError:
        return False
    return True


def fits(value: Any) -> bool:
    try:
        validate(value)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


def test_the_command_prints_it():
    answer = CliRunner().invoke(cli, ["schema"], standalone_mode=False)

    assert (answer.output, answer.exit_code) == (schema_text(), 0)
    assert json.loads(answer.output) == SCHEMA


def test_it_is_draft_07_and_speaks_no_later_dialect():
    words = set(re.findall(r'"([$a-zA-Z]+)":', schema_text()))

    assert SCHEMA["$schema"] == DIALECT
    assert not words & {"$defs", "prefixItems", "unevaluatedProperties", "unevaluatedItems", "dependentRequired"}
    assert "null" not in schema_text()


@pytest.mark.parametrize("name", SCHEMA["definitions"])
def test_every_part_refuses_unknown_keys_and_describes_the_known_ones(name):
    part = SCHEMA["definitions"][name]

    assert part["additionalProperties"] is False
    assert all(known["description"] for known in part["properties"].values())


def test_it_has_every_key_of_the_language():
    assert list(SCHEMA["properties"]) == fields(ManifestFile)
    for model in (JobEntry, From, Pairs, Chain, LimitsSection, PriceTable):
        assert list(SCHEMA["definitions"][model.__name__]["properties"]) == fields(model)


def test_a_manifest_with_everything_fits_and_loads():
    parse_manifest(EVERYTHING.encode(), SHIPPED / "batch.yaml", probe=any_frame)

    validate(value_of(EVERYTHING))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_that_we_ship_fits(path):
    validate(value_of(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_that_we_ship_tells_editors_where_the_schema_is(path):
    assert path.read_text("utf-8").splitlines()[:2] == list(MODELINES)


def test_the_schema_beside_the_manifests_is_this_one():
    """`batchrunner schema > manifests/.schema/manifest-v1.json` when the language has changed."""
    (path,) = (SHIPPED / FOLDER).iterdir()

    assert path.read_text("utf-8") == schema_text()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "version: 1",
        "version: 2\njobs: [{prompt: a}]",
        "version: '1'\njobs: [{prompt: a}]",
        "version: 1\njobs: []",
        "version: 1\njobs: [{prompt: a, duraton: 5}]",
        "version: 1\njobs: [{prompt: a, duration: '5'}]",
        "version: 1\njobs: [{prompt: a, mode: fast}]",
        "version: 1\njobs: [{prompt: a, mode: [std, pro]}]",
        "version: 1\njobs: [{prompt: a, audio: no}]",
        "version: 1\njobs: [{prompt: a, takes: 0}]",
        "version: 1\njobs: [{prompts: []}]",
        "version: 1\njobs: [{prompts: {}}]",
        "version: 1\njobs: [{prompts: {a: 1}}]",
        "version: 1\njobs: [{prompt: a, matrix: {mode: std}}]",
        "version: 1\njobs: [{prompt: a, matrix: {mode: []}}]",
        "version: 1\njobs: [{prompt: a, from: {pairs: {first: a}}}]",
        "version: 1\njobs: [{prompt: a, frames: a.png}]",
        "version: 1\nprices: {currency: '$'}\njobs: [{prompt: a}]",
        "version: 1\nbudget: {max_cost: '5'}\njobs: [{prompt: a}]",
        "version: 1\nvars: {a: [1, 2]}\njobs: [{prompt: a}]",
        "version: 1\nname:\njobs: [{prompt: a}]",
        "xx: 1\nversion: 1\njobs: [{prompt: a}]",
    ],
)
def test_an_editor_underlines_what_the_loader_refuses(text):
    assert not fits(value_of(text))
    assert not loads(value_of(text))


def _containers(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from _containers(part)


def _bent(value: Any, chance: random.Random) -> Any:
    """The same manifest with one thing changed: a value of another kind, a key moved, lost or renamed."""
    bent = copy.deepcopy(value)
    home, key = chance.choice(list(_containers(bent)))
    _, other = chance.choice(list(_containers(bent)))
    part = home[key]
    deed = chance.randrange(5)
    if deed == 0:
        odd = ["a", "5", 5, 5.0, 1.5, -1, 0, 10**7, True, None, [], {}, ["a"], [1], {"a": 1}, "std", "16:9", "{x}"]
        home[key] = chance.choice(odd)
    elif deed == 1:
        del home[key]
    elif deed == 2 and isinstance(home, dict):
        home[chance.choice([str(other), "x-a", "prompt", "duration", "from", "ratio"])] = home.pop(key)
    elif deed == 3:
        home[key] = [part] if not isinstance(part, list) else part[0] if part else {}
    else:
        home[key] = {"first": part} if isinstance(part, str) else str(part)
    return bent


@pytest.mark.parametrize("path", [None, *MANIFESTS], ids=lambda path: path.name if path else "everything")
def test_what_the_schema_refuses_the_loader_refuses(path):
    text = path.read_text("utf-8") if path else EVERYTHING
    value, chance = value_of(text), random.Random(3)
    refused = 0
    for _ in range(150):
        bent = _bent(value, chance)
        if not fits(bent):
            refused += 1
            assert not loads(bent), bent
    assert refused > 20
