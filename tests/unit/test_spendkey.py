"""What the answer to the wish for a key means; only a whole one with a key in it is one."""

import json

import pytest

from batchrunner import spendkey
from batchrunner.providers.base import Exchange
from batchrunner.spendkey import Refused


def told(status, body, **more):
    return Exchange(status=status, body=json.dumps(body).encode(), **more)


@pytest.mark.parametrize("key", ["sk-abc", "abc"])
def test_the_key_is_what_is_sent_as_one(key):
    assert spendkey.made(told(200, {"success": True, "data": {"key": key}})) == "sk-abc"


@pytest.mark.parametrize(
    ("exchange", "perhaps", "unsent"),
    [
        pytest.param(told(200, {"success": False, "message": "no"}), False, False, id="a refusal of the business"),
        pytest.param(told(401, {"error": {"code": 1, "message": "no"}}), False, False, id="a refusal"),
        pytest.param(told(200, {"success": True, "data": {}}), True, False, id="without a key"),
        pytest.param(told(200, {"success": True, "data": {"key": "a\nB=c"}}), True, False, id="more than a key"),
        pytest.param(told(200, {"success": True, "data": {"key": "sk-a"}}, complete=False), True, False, id="cut off"),
        pytest.param(told(502, "<html>"), True, False, id="a gateway"),
        pytest.param(Exchange(error="ReadTimeout"), True, False, id="silence"),
        pytest.param(Exchange(error="ConnectError", body_started=False), False, True, id="nobody there"),
    ],
)
def test_no_key(exchange, perhaps, unsent):
    made = spendkey.made(exchange)
    assert isinstance(made, Refused)
    assert (made.perhaps, made.unsent) == (perhaps, unsent)


def test_the_cap_is_in_whole_credits_and_never_more():
    assert [spendkey.credits_of(micro) for micro in (1_000_000, 4_999, 5_000, 25_009_999)] == [200, 0, 1, 5001]
