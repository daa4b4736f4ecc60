"""The real yaml-language-server with our schema, where it is installed: `npm install -g yaml-language-server`.

`YAML_LANGUAGE_SERVER` may name another one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from batchrunner.manifest.export import MODELINES

SHIPPED = Path(__file__).parents[2] / "manifests"
SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="yaml-language-server is not installed")


class Editor:
    """As much of the language server protocol as an editor needs to show mistakes and complete words."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.number = 0
        self.shown: dict[str, list[Any]] = {}
        capabilities = {"textDocument": {"completion": {"completionItem": {"snippetSupport": True}}}}
        self.ask("initialize", {"processId": os.getpid(), "rootUri": SHIPPED.as_uri(), "capabilities": capabilities})
        self.tell("initialized", {})
        settings = {"validate": True, "completion": True, "schemaStore": {"enable": False}}
        self.tell("workspace/didChangeConfiguration", {"settings": {"yaml": settings}})

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)

    def open(self, text: str) -> str:
        """A file beside our manifests, which nothing writes."""
        self.number += 1
        uri = (SHIPPED / f"draft{self.number}.yaml").as_uri()
        item = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})
        return uri

    def mistakes(self, text: str) -> list[tuple[int, int, str]]:
        """Line and column, both from 1, and message."""
        uri = self.open(text)
        while uri not in self.shown:
            self._receive()
        return [
            (one["range"]["start"]["line"] + 1, one["range"]["start"]["character"] + 1, one["message"])
            for one in self.shown[uri]
        ]

    def completions(self, text: str) -> set[str]:
        """What is offered at the end of `text`."""
        uri = self.open(text)
        lines = text.split("\n")
        at = {"line": len(lines) - 1, "character": len(lines[-1])}
        answer = self.ask("textDocument/completion", {"textDocument": {"uri": uri}, "position": at})
        return {item["label"] for item in answer["items"]}

    def tell(self, method: str, params: object) -> None:
        self._send({"method": method, "params": params})

    def ask(self, method: str, params: object) -> Any:
        self.number += 1
        self._send({"id": self.number, "method": method, "params": params})
        while (answer := self._receive()).get("id") != self.number or "method" in answer:
            pass
        return answer["result"]

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        stdin = cast("BinaryIO", self.process.stdin)
        stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        stdin.flush()

    def _receive(self) -> dict[str, Any]:
        stdout, length = cast("BinaryIO", self.process.stdout), 0
        while (line := stdout.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert length, "the language server has left"
        message: dict[str, Any] = json.loads(stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.shown[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:  # it asks for our settings, among others
            items = message.get("params", {}).get("items", [])
            self._send({"id": message["id"], "result": [None for _ in items]})
        return message


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    editor = Editor()
    yield editor
    editor.close()


HEAD = f"{MODELINES[0]}\nversion: 1\n"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_what_we_ship_is_clean(editor, path):
    assert editor.mistakes(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("jobs", "line", "column", "says"),
    [
        ("jobs:\n  - prompt: 猫\n    duraton: 5\n", 5, 5, "duraton"),
        ("jobs:\n  - prompt: 猫\n    mode: fast\n", 5, 11, "std"),
        ("jobs:\n  - prompt: 猫\n    audio: no\n", 5, 12, "boolean"),
        ("jobs:\n  - prompt: 猫\n    aspect_ratio: 4:3\n", 5, 19, "16:9"),
        ("jobs:\n  - prompt: 猫\n    mode: [std, pro]\n", 5, 11, "string"),
        ("jobs:\n  - prompt: 猫\n    from: {pairs: {first: a}}\n", 5, 12, "last"),
        ("limits: {group: gold}\njobs: [{prompt: 猫}]\n", 3, 17, "svip"),
        ("job: [{prompt: 猫}]\njobs: [{prompt: 猫}]\n", 3, 1, "job"),
    ],
)
def test_mistakes_are_underlined_where_they_are(editor, jobs, line, column, says):
    found = editor.mistakes(HEAD + jobs)

    assert {one[:2] for one in found} == {(line, column)}, found
    assert says in found[0][2]


def test_the_loader_and_the_editor_agree_about_ratios_and_own_keys(editor):
    text = (
        HEAD
        + "x-mine: {anything: [1]}\njobs:\n  - {prompt: a, aspect_ratio: 16:9, matrix: {aspect_ratio: [9:16, 1:1]}}\n"
    )

    assert editor.mistakes(text) == []


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("jobs:\n  - prompt: a\n    ", {"mode", "duration", "aspect_ratio", "from", "prompts", "matrix", "takes"}),
        ("jobs:\n  - prompt: a\n    mode: ", {"std", "pro"}),
        ("jobs:\n  - prompt: a\n    duration: ", {"5", "10", "15"}),
        ("jobs:\n  - prompt: a\n    from:\n      ", {"csv", "jsonl", "rows", "pairs", "chain", "where", "columns"}),
        ("jobs:\n  - prompt: a\n    matrix:\n      ", {"mode", "aspect_ratio", "first"}),
        ("", {"name", "defaults", "jobs", "vars", "limits"}),
    ],
)
def test_keys_and_values_are_completed(editor, text, offered):
    assert offered <= editor.completions(HEAD + text)
