"""The JSON Schema of manifests, for editors, made from the models in `schema`.

Draft 07, since yaml-language-server knows no later one. It never refuses what the loader takes: rules that need the
resolved jobs, such as which lengths there are, stay with the loader, and here they are only suggestions.
"""

from __future__ import annotations

import json
from typing import Any

from batchrunner.manifest.parameters import CHOICES, TEXTS
from batchrunner.manifest.schema import ManifestFile
from batchrunner.manifest.validate import EXTENSION
from batchrunner.model import AspectRatio, Mode
from batchrunner.request import DURATIONS

Schema = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"
FILE_NAME = "manifest-v1.json"
FOLDER = ".schema"
"""Beside the manifests, so that the same first line is right in each of them."""
MODELINES = (
    f"# yaml-language-server: $schema={FOLDER}/{FILE_NAME}",  # VS Code, Neovim, Emacs, Helix, Zed
    f"# $schema: {FOLDER}/{FILE_NAME}",  # JetBrains
)
_SCALAR = {"type": ["string", "number", "boolean"]}
_SUGGESTED: dict[str, list[Any]] = {
    "mode": [mode.value for mode in Mode],
    "duration": list(DURATIONS),
    "aspect_ratio": [ratio.value for ratio in AspectRatio],
    "audio": [True, False],
    "watermark": [True, False],
}


def manifest_schema() -> Schema:
    """The schema as plain values."""
    exported = ManifestFile.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    definitions: dict[str, Schema] = exported.pop("$defs")
    enums = {name: part for name, part in definitions.items() if "enum" in part}
    schema: Schema = {
        "$schema": DIALECT,
        "title": "A batchrunner manifest, version 1",
        **_tidy(exported, enums),
        "definitions": {name: _tidy(part, enums) for name, part in definitions.items() if name not in enums},
    }
    schema["patternProperties"] = {f"^{EXTENSION}": {"description": "Yours: a home for YAML anchors; means nothing"}}
    schema["properties"]["version"] = {"description": "The language of this file", "const": 1}
    _suggest(schema["definitions"])
    return schema


def schema_text() -> str:
    """The schema as it is printed and as it lies beside the manifests."""
    return json.dumps(manifest_schema(), ensure_ascii=False, indent=2) + "\n"


def _tidy(part: Any, enums: dict[str, Schema]) -> Any:
    """The same without what only pydantic means: titles, null for what may be left out, references to a few words."""
    if isinstance(part, list):
        return [_tidy(one, enums) for one in part]
    if not isinstance(part, dict):
        return part
    found = {}
    for key, value in part.items():
        if key == "properties":  # names of ours, among them perhaps `title` and `default`
            found[key] = {name: _tidy(one, enums) for name, one in value.items()}
        elif key not in ("title", "default"):
            found[key] = _tidy(value, enums)
    branches = [branch for branch in found.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) == 1:
        del found["anyOf"]
        found = branches[0] | found
    enum = enums.get(str(found.get("$ref", "")).rpartition("/")[2])
    if enum is not None:
        del found["$ref"]
        found = {"type": enum["type"], "enum": enum["enum"]} | found
    return found


def _suggest(definitions: dict[str, Schema]) -> None:
    """Words to complete where the models take any: the lengths of clips, and the parameters that a matrix may vary."""
    job, defaults = definitions["JobEntry"]["properties"], definitions["Parameters"]["properties"]
    for properties in (job, defaults):
        properties["duration"]["examples"] = list(DURATIONS)
    described = job | definitions["FramePaths"]["properties"] | definitions["Metadata"]["properties"]
    known = {name: {"description": described[name]["description"]} for name in (*CHOICES, *TEXTS)}
    items = {name: _SCALAR | ({"examples": _SUGGESTED[name]} if name in _SUGGESTED else {}) for name in known}
    job["matrix"]["properties"] = {
        name: known[name] | {"type": "array", "minItems": 1, "items": items[name]} for name in known
    }
    for key in ("exclude", "include"):
        job[key]["items"]["properties"] = {name: known[name] | items[name] for name in known}
