"""S10: an answer is one JSON text of bounded depth, without two meanings, or it is no answer."""

import pytest

from batchrunner.envelope import DEPTH, parse


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "a", "id": "b"}',
        b'{"data": {"id": "a", "id": "a", "id": ["a"]}}',
        b'{"id": "a"} {"error": "b"}',
        b"\xff",
        b"",
        b"[" * 100_000,
        b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1),
        b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1),
        b'{"id": ' + b"9" * 100_000 + b"}",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
def test_no_answer(body):
    assert parse(body) is None


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"id": "a"}', {"id": "a"}),
        (b'{"a": {"id": 1}, "b": {"id": 1}}', {"a": {"id": 1}, "b": {"id": 1}}),
        (b'{"id": "a", "id": "a"}', {"id": "a"}),
        (b'"a"', "a"),
    ],
)
def test_an_answer(body, value):
    assert parse(body) == value


def test_as_deep_as_it_may_be():
    assert parse(b"[" * DEPTH + b"]" * DEPTH) is not None
