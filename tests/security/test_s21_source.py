"""S21: nothing that is read is ever run."""

import ast
from pathlib import Path

import pytest

import batchrunner

FILES = sorted(Path(batchrunner.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "marshal", "shelve", "dill", "telnetlib", "ftplib"}
NAMES = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "tempfile.mktemp",
    "yaml.load",
    "yaml.unsafe_load",
}
VALUES = {"shell": True, "verify": False, "check_hostname": False}


def _name(node):
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_run(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
            assert not names & MODULES, f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            assert _name(node.func) not in NAMES, f"{path}:{node.lineno}"
            for keyword in node.keywords:
                if keyword.arg in VALUES and isinstance(keyword.value, ast.Constant):
                    assert keyword.value.value is not VALUES[keyword.arg], f"{path}:{node.lineno}"
