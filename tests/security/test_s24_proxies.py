"""S24: a proxy of the environment is named before anything goes over it, never with its password, and can be left out."""

import pytest

from batchrunner.cli.main import run
from batchrunner.errors import UsageError
from batchrunner.providers.proxies import forget, over, proxies

PROXY = "http://user:pass-word@proxy.example:3128"
API = "https://toapis.com"


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, ("HTTPS_PROXY", "proxy.example:3128")),
        ({"https_proxy": PROXY}, ("HTTPS_PROXY", "proxy.example:3128")),
        ({"ALL_PROXY": "socks5://proxy.example"}, ("ALL_PROXY", "proxy.example")),
        ({"HTTP_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "localhost, .toapis.com"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "apis.com"}, ("HTTPS_PROXY", "proxy.example:3128")),
        ({"HTTPS_PROXY": "http://[broken"}, ("HTTPS_PROXY", "an address that cannot be read")),
    ],
)
def test_which_proxy_a_request_goes_over(environ, way):
    assert over(API, environ) == way
    assert over("http://127.0.0.1:8000", environ) is None


def test_all_of_them_are_forgotten_in_either_spelling():
    environ = {"HTTPS_PROXY": PROXY, "all_proxy": PROXY, "http_proxy": PROXY, "HOME": "/home/a"}
    forget(environ)
    assert (list(proxies(environ)), environ["HOME"]) == ([], "/home/a")
    assert over(API, {**environ, "HTTPS_PROXY": PROXY}) is None


@pytest.mark.parametrize("without", [False, True])
def test_a_plan_names_the_proxy_and_a_run_can_go_without(without, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("TOAPIS_API_KEY", "sk-canary-0123456789")
    monkeypatch.delenv("TOAPIS_BASE_URL", raising=False)
    (tmp_path / "m.yaml").write_text("version: 1\njobs: [{prompt: a}]\n")
    with pytest.raises(UsageError):  # without a terminal nobody says yes: nothing is sent
        run(["run", "m.yaml", *["--no-proxy-env"] * without])
    shown = "".join(capsys.readouterr())
    assert ("over the proxy proxy.example:3128, which HTTPS_PROXY names" in shown) is not without
    assert "pass-word" not in shown
