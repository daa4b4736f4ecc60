"""S2: what is written about a bug holds neither the key nor a signature nor a password."""

import json
from urllib.parse import quote

import pytest

from batchrunner import __main__
from batchrunner.redaction import redacted

KEY = "sk-canary/+&'\"<0123456789"
URL = "https://files.example.com/a.mp4?X-Signature=canary&Expires=1"
PROXY = "http://user:canary@proxy.corp:3128"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"Illegal header value b'Bearer {KEY}'", "Illegal header value"),
        (f"Authorization: bearer {KEY}\nnext line", "next line"),
        ("Bearer sk-canary-of-somebody-else, more", ", more"),
        (json.dumps({"key": KEY}), '{"key": '),
        (json.dumps(json.dumps({"key": KEY})), "key"),
        (quote(KEY, safe=""), ""),
        (f"GET {URL} failed", "GET https://files.example.com/a.mp4?… failed"),
        (f"proxy {PROXY}/ refused", "proxy http://***@proxy.corp:3128/ refused"),
        (f"<a href='{URL}'>", "<a href='https://files.example.com/a.mp4?…'>"),
        ("is that so? canaries sing", "is that so?"),
    ],
)
def test_texts(text, kept):
    found = redacted(text, KEY)
    assert "canary" not in found.replace("canaries", "")
    assert kept in found


def test_without_a_key_the_rest_goes_all_the_same():
    assert redacted(f"{URL} {PROXY}") == "https://files.example.com/a.mp4?… http://***@proxy.corp:3128"


def test_the_traceback_of_a_bug_is_saved_without_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOAPIS_API_KEY", KEY)
    with pytest.raises(ValueError, match="canary") as caught:
        raise ValueError(f"{URL} with Bearer {KEY} by {PROXY}") from KeyError(KEY)
    assert __main__._bug(caught.value) == 1
    (saved,) = (tmp_path / ".batchrunner").iterdir()
    said = saved.read_text()
    assert "ValueError" in said
    assert "test_s02_redaction.py" in said
    # the source line of this test holds the names of the values, never the values
    assert "canary" not in said
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "canary" not in capsys.readouterr().err
