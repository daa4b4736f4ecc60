"""The user's own prices: where they are found, what they hold for, and every mistake in them with its place."""

from pathlib import Path

import pytest

from batchrunner.errors import ManifestError
from batchrunner.manifest import Options, Prices, configuration, parse_manifest
from batchrunner.manifest.source import Source

TEXT = """\
[prices]
currency = "CNY"
[prices.per_second]
720P = 0.084
"720P+Sound" = 1
"""
OURS = Prices(currency="CNY", amounts={"720P": 84_000, "720P+Sound": 1_000_000}, per_second=True)


def environ(tmp_path, text=TEXT):
    path = tmp_path / "batchrunner" / "config.toml"
    path.parent.mkdir()
    path.write_text(text, "utf-8")
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"}


def test_the_file_is_where_such_files_are(tmp_path):
    assert configuration.default_path({"HOME": "/h"}) == Path("/h/.config/batchrunner/config.toml")
    assert configuration.prices(environ(tmp_path)) == OURS
    assert configuration.prices({"HOME": str(tmp_path / "empty")}) is None
    assert configuration.prices({"BATCHRUNNER_CONFIG": str(tmp_path / "batchrunner" / "config.toml")}) == OURS


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(ManifestError, match=r"config.txt:1:1: error\[CFG501\]"):
        configuration.prices({"BATCHRUNNER_CONFIG": str(tmp_path / "config.txt")})


def test_the_manifest_s_prices_go_above_the_user_s():
    text = b"version: 1\nbudget: {max_cost: 5}\njobs: [{prompt: a}]\n"
    loaded = parse_manifest(text, Path("b.yaml"), options=Options(prices=OURS))
    assert (loaded.manifest.prices, loaded.warnings) == (OURS, ())
    loaded = parse_manifest(b"prices: {per_request: {720P: 2}}\n" + text, Path("b.yaml"), options=Options(prices=OURS))
    assert loaded.manifest.prices is not None
    assert loaded.manifest.prices.of("720P", 5) == 2_000_000


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("[prices]\ncurrency = USD\n", "2:12", "this is not TOML"),
        ("[prices", "1:", "this is not TOML"),
        ("[prices.per_second]\n720P+Sound = 1\n", "2:", "this is not TOML"),
        ("[price]\n720P = 1\n", "1:", "unknown key `price`"),
        ("[prices]\n[prices.per_second]\n720p = 1\n", "3:1", "unknown key `720p`"),
        ("[prices]\nper_second = {720P = '1'}\n", "2:15", "valid number"),
        ("[prices]\ncurrency = 'USD'\n", "1:", "needs per_second or per_request"),
        ("[prices.per_second]\n720P = 0.0000001\n", "2:1", "six decimals"),
        ("[prices.per_second]\n720P = -1\n", "2:1", "greater than or equal"),
        ("[prices.per_second]\n720P = nan\n", "2:1", "finite"),
        ("prices = 5\n", "1:1", "prices"),
    ],
)
def test_a_mistake_has_its_place(text, place, says):
    with pytest.raises(ManifestError) as caught:
        configuration.parse(Source("config.toml", text))
    (found,) = caught.value.diagnostics
    assert str(found).startswith(f"config.toml:{place}"), str(found)
    assert says in str(found)
    assert found.help
