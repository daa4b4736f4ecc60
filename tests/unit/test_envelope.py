"""What an answer says, whatever it looks like, and what of it may be shown."""

import json
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrunner.envelope import SHOWN, Envelope, error_of, parse, request_id, retry_after, shown

NOW = datetime(2026, 11, 22, 1, 0, 0, tzinfo=UTC)
BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

# shown

SHOWS = [
    pytest.param("plain", "plain", id="plain"),
    pytest.param("  padded \n", "padded", id="no white space around it"),
    pytest.param("two\r\nlines", "two lines", id="one line"),
    pytest.param("\x1b[31mred\x1b[0m \x07", "[31mred [0m", id="no terminal escapes"),
    pytest.param("c1 \x9b31m", "c1  31m", id="no C1 controls either"),
    pytest.param("a\u202egpj.exe\u2066", "a gpj.exe", id="no bidirectional tricks"),
    pytest.param("zero\u200bwidth\ufeff", "zero width", id="nothing invisible"),
    pytest.param("提示词违规", "提示词违规", id="Chinese stays"),
    pytest.param("half \ud83d", "half ?", id="half a surrogate pair"),
    pytest.param(
        "get https://files.toapis.com/a.mp4?sig=s3cret&x=1 failed",
        "get https://files.toapis.com/a.mp4?… failed",
        id="no query",
    ),
    pytest.param(
        'Get "http://k.example/v?token=s3cret": EOF', 'Get "http://k.example/v?…": EOF', id="no query in quotes"
    ),
    pytest.param(
        "https://a.example/?a=s3cret https://b.example?b=s3cret",
        "https://a.example/?… https://b.example?…",
        id="no query of any",
    ),
    pytest.param("get files.h/x?sig=s3cret failed", "get files.h/x?… failed", id="no query without a scheme"),
    pytest.param("{'url': 'files.h/x?a&sig=s3cret'}", "{'url': 'files.h/x?…'}", id="no query in a value"),
    pytest.param("x" * 290 + "?sig=" + "s" * 9999, "x" * 290 + "?…", id="no long query"),
    pytest.param("why? because", "why? because", id="a question is no query"),
    pytest.param({"detail": 1}, "{'detail': 1}", id="no text"),
    pytest.param(None, "None", id="nothing"),
    pytest.param("x" * 300, "x" * 300, id="the longest"),
    pytest.param("x" * 301, "x" * 299 + "…", id="one too long"),
    pytest.param(
        "HTTPS://files.example/a?sig=s3cret",
        "HTTPS://files.example/a?…",
        id="no query after capitals",
    ),
]


@pytest.mark.parametrize(("text", "line"), SHOWS)
def test_shown(text, line):
    assert shown(text) == line


@given(st.text() | st.text(alphabet="\x00\x1b\x85\u2028 ab?:/h" + BIDI) | st.binary().map(str))
def test_whatever_is_shown_fits_on_one_line_of_a_terminal(text):
    line = shown(text)
    assert len(line) <= SHOWN
    assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI]
    line.encode("utf-8")


@given(
    st.sampled_from(["http", "https"]),
    st.text("abc./-_:@", min_size=1, max_size=20),
    st.text("abc=&%+-", min_size=1, max_size=9),
    st.text(max_size=9),
)
def test_no_query_is_ever_shown(scheme, path, query, before):
    secret = "S3CRET" + query
    assert "S3CRET" not in shown(f"{before[:5]} {scheme}://{path}?{secret} after")


# parse

PARSES = [
    pytest.param(b'{"id": "a"}', {"id": "a"}, id="an object"),
    pytest.param(b"null", None, id="null"),
    pytest.param(b"", None, id="nothing"),
    pytest.param(b"<html>502</html>", None, id="HTML"),
    pytest.param(b'{"id": "a"}{"error": {}}', None, id="two objects"),
    pytest.param(b'{"id": "a', None, id="cut"),
    pytest.param(b"\xff\xfe{}", None, id="not UTF-8"),
    pytest.param(b"[" * 100_000, None, id="nested too deep"),
    pytest.param(b"1" * 5000, None, id="too many digits"),
    pytest.param('{"a": "猫"}'.encode(), {"a": "猫"}, id="UTF-8"),
]


@pytest.mark.parametrize(("body", "value"), PARSES)
def test_parse(body, value):
    assert parse(body) == value


@given(st.binary())
def test_parse_never_raises(body):
    parse(body)


# errors: every shape of API facts §3

ERRORS = [
    pytest.param({"error": {"code": 404, "message": "m", "type": "not_found_error"}}, ("404", "m"), id="numeric code"),
    pytest.param({"error": {"code": "rate_limit_exceeded", "message": "m"}}, ("rate_limit_exceeded", "m"), id="word"),
    pytest.param({"error": {"message": "m", "type": "new_api_error", "code": "c"}}, ("c", "m"), id="relay middleware"),
    pytest.param(
        {"error": {"message": "m", "type": "server_error", "code": ""}}, ("server_error", "m"), id="type only"
    ),
    pytest.param({"success": False, "message": "m"}, ("", "m"), id="success false"),
    pytest.param({"success": False, "code": 7, "message": None}, ("7", ""), id="success false, no message"),
    pytest.param({"code": "task_failed", "message": "m", "data": None}, ("task_failed", "m"), id="relay task error"),
    pytest.param({"code": 1303, "message": "m"}, ("1303", "m"), id="Kling's own"),
    pytest.param({"error": {"error": {"code": "c", "message": "m"}}}, ("c", "m"), id="nested"),
    pytest.param({"error": "text"}, ("", "text"), id="text"),
    pytest.param({"detail": "text"}, ("", "text"), id="detail"),
    pytest.param({"detail": [{"loc": ["a"]}]}, ("", "[{'loc': ['a']}]"), id="detail list"),
    pytest.param(
        {"error": {"code": 1, "message": "a\x1b[1m\nhttps://h/p?q=1"}}, ("1", "a [1m https://h/p?…"), id="hostile"
    ),
    pytest.param({}, None, id="nothing"),
    pytest.param({"error": None}, None, id="error null"),
    pytest.param({"error": ""}, None, id="error empty"),
    pytest.param({"success": True, "message": ""}, None, id="success"),
    pytest.param({"code": "success", "message": "", "data": {}}, None, id="relay success"),
    pytest.param({"code": 0, "message": "SUCCEED", "data": {}}, None, id="Kling success"),
    pytest.param({"code": 200, "message": "ok"}, None, id="code 200"),
    pytest.param({"code": "x"}, None, id="a code alone"),
    pytest.param([{"error": "x"}], None, id="a list"),
    pytest.param("error", None, id="a string"),
    pytest.param(None, None, id="no JSON"),
]


@pytest.mark.parametrize(("value", "found"), ERRORS)
def test_error_of(value, found):
    assert error_of(value) == (None if found is None else Envelope(*found))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "type", "success", "detail", "data"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_errors_are_found_in_anything_without_raising(value):
    found = error_of(value)
    assert found is None or (len(found.code) <= SHOWN and len(found.message) <= SHOWN)
    assert error_of(parse(json.dumps(value).encode())) is not None or found is None


# headers

WAITS = [
    (None, None),
    ("", None),
    ("   ", None),
    ("7", 7.0),
    (" 7 ", 7.0),
    ("0.2", 1.0),  # at least a second
    ("0", 1.0),
    ("-5", 1.0),
    ("3600", 3600.0),
    ("86400", 3600.0),  # at most an hour
    ("1e3", 1000.0),
    ("nan", None),
    ("inf", None),
    ("-inf", None),
    ("9" * 400, None),
    ("soon", None),
    ("7 seconds", None),
    ("Sun, 22 Nov 2026 01:00:30 GMT", 30.0),
    ("Sun, 22 Nov 2026 09:00:30 +0800", 30.0),
    ("Sun, 22 Nov 2026 00:00:00 GMT", 1.0),  # it is over
    ("Mon, 23 Nov 2026 01:00:00 GMT", 3600.0),
    ("86401", None),  # more than a day: nobody means that
    ("99999999999", None),
    ("Sun, 22 Nov 2026 01:00:30 -0000", None),  # a time of no zone
    ("Sun, 99 Nov 2026 01:00:30 GMT", None),
    ("Sun, 22 Nov 2026 01:00:30 +9999999", None),
]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *WAITS,
        pytest.param("Sun, 22 Nov 2026 01:00:30 +99999999999999999999", None, id="zone"),
        pytest.param("Sun, 22 Nov 99999999999999999999 01:00:30 GMT", None, id="year"),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after({} if text is None else {"retry-after": text}, NOW) == seconds


@given(st.text(max_size=40) | st.floats().map(str) | st.integers(-(10**9), 10**9).map(str))
def test_retry_after_is_none_or_within_its_bounds(text):
    seconds = retry_after({"retry-after": text}, NOW)
    assert seconds is None or 1.0 <= seconds <= 3600.0


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"x-request-id": ""}, None),
        ({"x-oneapi-request-id": "r"}, "r"),
        ({"cf-ray": "c", "x-request-id": "r"}, "r"),
        ({"cf-ray": "c\x1b"}, "c"),
        ({"x-request-id": "r" * 999}, "r" * 128),
    ],
)
def test_request_id(headers, found):
    assert request_id(headers) == found
