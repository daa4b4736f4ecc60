"""S4: a manifest may come from anybody. It names no address, no header, no proxy, and takes nothing from the environment."""

import pytest

from batchrunner import app
from batchrunner.errors import ManifestError

MANIFEST = "version: 1\njobs: [{prompt: a cat}]\n"


@pytest.mark.parametrize(
    "line",
    [
        "base_url: https://evil.example",
        "provider: {base_url: https://evil.example}",
        "provider: {headers: {X-Copy: y}}",
        "provider: {api_key: sk-1}",
        "headers: {Authorization: x}",
        "proxy: http://evil.example:3128",
        "api_key: sk-1",
        "env: {HTTPS_PROXY: x}",
    ],
)
def test_what_a_manifest_may_not_say(tmp_path, line):
    path = tmp_path / "batch.yaml"
    path.write_text(f"{MANIFEST}{line}\n")
    with pytest.raises(ManifestError) as caught, app.load(path, {}):
        pass
    assert {one.place.line for one in caught.value.diagnostics} == {3}


@pytest.mark.parametrize("words", ["$TOAPIS_API_KEY", "%TOAPIS_API_KEY%", "!env TOAPIS_API_KEY"])
def test_the_environment_does_not_get_into_a_prompt(tmp_path, monkeypatch, words):
    monkeypatch.setenv("TOAPIS_API_KEY", "sk-canary-0123456789")
    path = tmp_path / "batch.yaml"
    path.write_text(f"version: 1\njobs: [{{prompt: 'say {words}'}}]\n")
    with app.load(path, {"TOAPIS_API_KEY": "sk-canary-0123456789"}) as loaded:
        (job,) = loaded.jobs
    assert job.request.prompt == f"say {words}"


def test_a_variable_in_braces_is_told_as_a_placeholder_that_does_not_exist(tmp_path):
    path = tmp_path / "batch.yaml"
    path.write_text("version: 1\njobs: [{prompt: 'say ${TOAPIS_API_KEY}'}]\n")
    environ = {"TOAPIS_API_KEY": "sk-canary-0123456789"}
    with pytest.raises(ManifestError, match="TOAPIS_API_KEY") as caught, app.load(path, environ):
        pass
    assert "canary" not in str(caught.value)
