"""What the answers to free questions mean: every shape of the API facts, and anything else without raising."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.answers import (
    AccountStop,
    Finished,
    Later,
    Missing,
    TaskFailed,
    Uploaded,
    UploadRefused,
    Working,
    balance,
    named_task,
    poll,
    upload,
)
from batchrunner.model import Balance
from batchrunner.providers.base import Exchange

NOW = datetime(2026, 11, 22, 1, 0, 0, tzinfo=UTC)
OURS, OTHERS, PURCHASE = "task_01K", {"task_02K", "task_01K"}, "br_1"
URL = "https://files.toapis.com/videos/a.mp4?sig=1"
EXPIRES = 1_795_395_600
AT = datetime.fromtimestamp(EXPIRES, UTC)
HTML = b"<html>502 Bad Gateway</html>"


def exchange(value=b"", status=200, **more):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Exchange(status=status, body=body, **more)


def asked(value=b"", status=200, *, purchase=PURCHASE, others=OTHERS, **more):
    return poll(exchange(value, status, **more), task_id=OURS, purchase_id=purchase, others=others, now=NOW)


def task(status="in_progress", **more):
    return {"id": OURS, "object": "generation.task", "model": "kling-v3", "status": status, "created_at": 1, **more}


def result(url=URL):
    return {"type": "video", "data": [{"url": url, "format": "mp4"}]}


def error(code, message="m", **more):
    return {"error": {"code": code, "message": message, **more}}


# polls: documented

POLLS = [
    pytest.param(task("queued", progress=0), Working("queued", 0), id="queued"),
    pytest.param(task("in_progress", progress=42), Working("in_progress", 42), id="in progress"),
    pytest.param(task("submitted"), Working("submitted", None), id="an older text's word"),
    pytest.param(task("completed", result=result(), expires_at=EXPIRES), Finished(URL, AT), id="completed"),
    pytest.param(task("completed", result=result()), Finished(URL, None), id="completed, nobody says until when"),
    pytest.param(
        task("failed", **error("generation_failed", "upstream returned status 500")),
        TaskFailed("task_failed", "upstream returned status 500"),
        id="failed",
    ),
    pytest.param(
        task("failed", **error("generation_failed", "violates content policy")),
        TaskFailed("content_policy", "violates content policy"),
        id="failed for its content",
    ),
    pytest.param(
        task("failed", **error("generation_failed", "parallel task over resource pack limit")),
        TaskFailed("capacity", "parallel task over resource pack limit"),
        id="failed for want of room",
    ),
    pytest.param(
        task("failed", **error(1303, "m")), TaskFailed("capacity", "m"), id="failed with Kling's number for it"
    ),
    pytest.param(
        task("failed", **error("generation_failed", "cannot download image")),
        TaskFailed("bad_image", "cannot download image"),
        id="failed for its frame",
    ),
    pytest.param(task("failed"), TaskFailed("task_failed", "the provider gave no reason"), id="failed without a word"),
    pytest.param(task("failed", error=None, fail_reason="oops"), TaskFailed("task_failed", "oops"), id="fail_reason"),
    pytest.param(
        task("failed", **error("E17", "")), TaskFailed("task_failed", "E17"), id="a code is better than nothing"
    ),
    # words
    pytest.param(task("COMPLETED", result=result()), Finished(URL, None), id="upper case"),
    pytest.param(task(" Completed\n", result=result()), Finished(URL, None), id="white space"),
    pytest.param(task("succeeded", result=result()), Finished(URL, None), id="succeeded"),
    pytest.param(task("succeed", result=result()), Finished(URL, None), id="Kling's succeed"),
    pytest.param(task("SUCCESS", result=result()), Finished(URL, None), id="SUCCESS"),
    pytest.param(task("FAILURE"), TaskFailed("task_failed", "the provider gave no reason"), id="FAILURE"),
    pytest.param(task("unknown"), Working("unknown", None), id="unknown is the relay's first answer"),
    pytest.param(task("NOT_START"), Working("not_start", None), id="NOT_START"),
    pytest.param(task("paused by moon phase"), Working("paused by moon phase", None), id="a word that nobody knows"),
    pytest.param(task("x" * 99), Working("x" * 40, None), id="a long word"),
    pytest.param(task(""), Working("unknown", None), id="no word"),
    pytest.param(task("\x1b[31m"), Working("[31m", None), id="a word with escapes"),
    pytest.param(task(None), Later("answer_unreadable"), id="status null"),
    pytest.param(task(3), Later("answer_unreadable"), id="status a number"),
    # results
    pytest.param(task("completed"), Later("result_missing"), id="no result"),
    pytest.param(task("completed", result={"data": []}), Later("result_missing"), id="no data"),
    pytest.param(task("completed", result={"data": [{}]}), Later("result_missing"), id="no url"),
    pytest.param(task("completed", result=result("")), Later("result_missing"), id="an empty url"),
    pytest.param(task("completed", result=result(None)), Later("result_missing"), id="a null url"),
    pytest.param(task("completed", result=result("ftp://x/a")), Later("result_missing"), id="a url of another kind"),
    pytest.param(task("completed", result=result("a.mp4")), Later("result_missing"), id="a word for a url"),
    pytest.param(task("completed", result=result("/a.mp4")), Finished("/a.mp4", None), id="a url without a host"),
    pytest.param(task("completed", result=result("HTTPS://h/a")), Finished("HTTPS://h/a", None), id="a loud url"),
    pytest.param(task("completed", result=[result()]), Later("result_missing"), id="a list for a result"),
    pytest.param(task("completed", result={"data": {"url": URL}}), Later("result_missing"), id="an object for data"),
    # progress
    pytest.param(task(progress="42%"), Working("in_progress", 42), id="percent"),
    pytest.param(task(progress="42"), Working("in_progress", 42), id="digits"),
    pytest.param(task(progress=42.7), Working("in_progress", 42), id="a fraction"),
    pytest.param(task(progress=-3), Working("in_progress", 0), id="below"),
    pytest.param(task(progress=170), Working("in_progress", 100), id="above"),
    pytest.param(task(progress="99999999%"), Working("in_progress", 100), id="far above"),
    pytest.param(task(progress="soon"), Working("in_progress", None), id="a word"),
    pytest.param(task(progress=""), Working("in_progress", None), id="empty"),
    pytest.param(task(progress=True), Working("in_progress", None), id="a boolean"),
    pytest.param(task(progress=None), Working("in_progress", None), id="null"),
    pytest.param(task(progress=[1]), Working("in_progress", None), id="a list"),
    pytest.param(b'{"status":"queued","progress":NaN}', Working("queued", None), id="NaN"),
    pytest.param(b'{"status":"queued","progress":1e999}', Working("queued", None), id="infinity"),
    # expiry
    *[
        pytest.param(
            task("completed", result=result(), expires_at=value), Finished(URL, None), id=f"expires at {value}"
        )
        for value in (None, "soon", str(EXPIRES), True, [], 1e300, -1e300, 10**30, EXPIRES * 1000)
    ],
    pytest.param(
        b'{"status":"completed","expires_at":NaN,"result":{"data":[{"url":"https://x/a"}]}}',
        Finished("https://x/a", None),
        id="expires at NaN",
    ),
    pytest.param(
        b'{"status":"completed","expires_at":1' + b"0" * 400 + b',"result":{"data":[{"url":"https://x/a"}]}}',
        Finished("https://x/a", None),
        id="expires at a number of 401 digits",
    ),
    # the stock relay's wrapper
    pytest.param(
        {"code": "success", "message": "", "data": {"task_id": OURS, "status": "IN_PROGRESS", "progress": "30%"}},
        Working("in_progress", 30),
        id="wrapped",
    ),
    pytest.param(
        {
            "code": "success",
            "data": {"status": "FAILURE", "fail_reason": "task failed, 审核不通过", "progress": "100%"},
        },
        TaskFailed("content_policy", "task failed, 审核不通过"),
        id="wrapped failure",
    ),
    pytest.param(
        {"code": "success", "data": {"status": "SUCCESS", "result": result()}}, Finished(URL, None), id="wrapped result"
    ),
    pytest.param(
        {"code": "success", "data": {"status": "SUCCESS", "fail_reason": URL}},
        Later("result_missing"),
        id="wrapped, the url in fail_reason: no failure, and no url that anyone documents",
    ),
    pytest.param({"code": "success", "data": [task()]}, Later("answer_unreadable"), id="wrapped list"),
    # whose task
    pytest.param(task(id="video_3f2a-11ee"), Working("in_progress", None), id="an id of another form"),
    pytest.param(task(id=17), Working("in_progress", None), id="a number for an id"),
    pytest.param({"status": "queued"}, Working("queued", None), id="no id"),
    pytest.param(task(id="task_02K"), Later("answer_of_another_task"), id="the id of another of our tasks"),
    pytest.param(task(client_business_id=PURCHASE), Working("in_progress", None), id="our purchase"),
    pytest.param(task(client_business_id=""), Working("in_progress", None), id="an empty echo"),
    pytest.param(task(client_business_id=None), Working("in_progress", None), id="a null echo"),
    pytest.param(
        task(id="task_03K", client_business_id="br_2"), Later("answer_of_another_task"), id="another purchase"
    ),
    pytest.param(
        {"status": "queued", "client_business_id": "br_2"},
        Later("answer_of_another_task"),
        id="another purchase and no id",
    ),
    pytest.param(
        task(client_business_id="u123:other"), Working("in_progress", None), id="our own id outranks another echo"
    ),
    pytest.param(
        task("completed", id="task_03K", result=result(), client_business_id="br_2"),
        Later("answer_of_another_task"),
        id="the clip of another purchase",
    ),
    pytest.param(
        task("failed", id="task_02K"), Later("answer_of_another_task"), id="the failure of another of our tasks"
    ),
    # no answer at all
    pytest.param(HTML, Later("answer_unreadable"), id="HTML"),
    pytest.param(b"", Later("answer_unreadable"), id="empty"),
    pytest.param([], Later("answer_unreadable"), id="a list"),
    pytest.param({}, Later("answer_unreadable"), id="an empty object"),
    pytest.param({"success": False, "message": "m"}, Later("answer_unreadable"), id="success false"),
    pytest.param(error("internal_error"), Later("answer_unreadable"), id="an error with 200"),
]


@pytest.mark.parametrize(("value", "outcome"), POLLS)
def test_polls(value, outcome):
    assert asked(value) == outcome


def test_without_a_purchase_id_any_echo_is_good():
    assert asked(task(client_business_id="br_2"), purchase=None) == Working("in_progress", None)


def test_a_name_of_our_own_task_among_the_others_is_no_trouble():
    assert asked(task(), others={OURS}) == Working("in_progress", None)


POLL_BUGS = [
    pytest.param(
        b'{"status":"queued","progress":1' + b"0" * 400 + b"}",
        Working("queued", 100),
        id="progress of 401 digits",
    ),
    pytest.param(
        {"code": "success", "data": {"task_id": "task_02K", "status": "SUCCESS", "result": result()}},
        Later("answer_of_another_task"),
        id="the wrapper's task_id is another of our tasks",
    ),
    pytest.param(
        task("failed", error={}, fail_reason="oops"),
        TaskFailed("task_failed", "oops"),
        id="fail_reason beside an empty error",
    ),
]


@pytest.mark.parametrize(("value", "outcome"), POLL_BUGS)
def test_polls_that_go_wrong(value, outcome):
    assert asked(value) == outcome


# refusals of free questions

RETRY = {"retry-after": "7"}
REFUSALS = [
    # exchange, what a poll makes of it
    pytest.param(Exchange(status=None, error="ReadTimeout"), Later("ReadTimeout"), id="timeout"),
    pytest.param(Exchange(status=None), Later("unreachable"), id="no name"),
    pytest.param(exchange(error(429), 429, headers=RETRY), Later("http_429", 7.0), id="429"),
    pytest.param(exchange(b"", 429), Later("http_429"), id="429, empty"),
    *[pytest.param(exchange(HTML, s), Later(f"http_{s}"), id=str(s)) for s in (302, 400, 408, 409, 425, 500, 502, 599)],
    pytest.param(exchange(error("x"), 503, headers=RETRY), Later("http_503", 7.0), id="503"),
    pytest.param(exchange(task(), complete=False), Later("http_200"), id="cut"),
    pytest.param(exchange(task("completed", result=result()), 206), Later("http_206"), id="206"),
    pytest.param(exchange(error(401, "Invalid token"), 401), AccountStop("key", "Invalid token"), id="401"),
    pytest.param(exchange(HTML, 401), AccountStop("key", "HTTP 401"), id="401, HTML"),
    pytest.param(exchange(error("x", "额度不足"), 401), AccountStop("quota", "额度不足"), id="401, drained key"),
    pytest.param(exchange(error("insufficient_quota", ""), 402), AccountStop("quota", "HTTP 402"), id="402"),
    pytest.param(exchange(error("x", "banned"), 403), AccountStop("forbidden", "banned"), id="403"),
    pytest.param(exchange(error("quota_not_enough"), 403), AccountStop("quota", "m"), id="403, quota"),
    pytest.param(exchange(error(404, type="not_found_error"), 404), Missing(), id="404"),
    pytest.param(exchange(error("task_not_found"), 404), Missing(), id="404, in words"),
    pytest.param(exchange({"code": "task_not_exist", "message": "m"}, 400), Missing(), id="400, the stock relay's"),
]


@pytest.mark.parametrize(("found", "outcome"), REFUSALS)
def test_refusals(found, outcome):
    assert poll(found, task_id=OURS, purchase_id=PURCHASE, others=OTHERS, now=NOW) == outcome


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(
            {"error": {"message": "Invalid URL (GET /v1/v1/x)", "type": "invalid_request_error", "code": ""}},
            id="relay",
        ),
        pytest.param(b"<html>404 Not Found</html>", id="HTML"),
    ],
)
def test_a_404_of_a_wrong_address_says_nothing_of_the_task(value):
    assert asked(value, 404) != Missing()


# uploads

IMAGE = "https://files.toapis.com/uploads/7/1_a.jpg"
STORED = {"success": True, "message": "", "data": {"id": "file_1", "url": IMAGE, "mime_type": "image/jpeg", "size": 9}}
UPLOADS = [
    pytest.param(exchange(STORED), Uploaded(IMAGE), id="stored"),
    pytest.param(exchange({"data": {"url": IMAGE}}), Uploaded(IMAGE), id="the least"),
    pytest.param(exchange({"success": False, "message": "too big"}), UploadRefused("too big"), id="200, success false"),
    *[
        pytest.param(exchange({"success": False, "message": "no"}, s), UploadRefused("no"), id=f"{s}")
        for s in (400, 413, 415, 422)
    ],
    pytest.param(exchange(HTML, 413), UploadRefused("HTTP 413"), id="413, HTML"),
    pytest.param(exchange(error("bad_file", ""), 400), UploadRefused("bad_file"), id="400, a code only"),
    *[
        pytest.param(exchange({"success": False, "message": words}, s), Later(words), id=f"{s}, {words}")
        for s in (200, 400)
        for words in ("system busy", "failed to save the image, try again later", "系统繁忙，请稍后重试")
    ],
    pytest.param(exchange({"success": False, "message": "no"}), Later("no"), id="200, for no reason"),
    pytest.param(exchange({"success": False}), Later("http_200"), id="200, without a word"),
    pytest.param(exchange(HTML, 400), Later("http_400"), id="400, HTML"),
    pytest.param(
        exchange({"success": False, "message": "Unsupported image type. Allowed: JPEG"}),
        UploadRefused("Unsupported image type. Allowed: JPEG"),
        id="200, the type",
    ),
    pytest.param(
        exchange({"success": False, "message": "用户额度不足"}), AccountStop("quota", "用户额度不足"), id="200, quota"
    ),
    pytest.param(exchange(error(401, "no"), 401), AccountStop("key", "no"), id="401"),
    pytest.param(exchange(error(402, "no"), 402), AccountStop("quota", "no"), id="402"),
    pytest.param(exchange(b"", 403), AccountStop("forbidden", "HTTP 403"), id="403"),
    pytest.param(exchange(b"", 429, headers=RETRY), Later("http_429", 7.0), id="429"),
    pytest.param(exchange(HTML, 502), Later("http_502"), id="502"),
    pytest.param(Exchange(status=None, error="WriteError"), Later("WriteError"), id="no answer"),
    pytest.param(exchange(STORED, complete=False), Later("http_200"), id="cut"),
    pytest.param(exchange(HTML), Later("answer_unreadable"), id="200, HTML"),
    pytest.param(exchange({"success": True, "data": {}}), Later("answer_unreadable"), id="no url"),
    pytest.param(exchange({"success": True, "data": []}), Later("answer_unreadable"), id="a list"),
    pytest.param(exchange({"data": {"url": "file:///etc/passwd"}}), Later("answer_unreadable"), id="another scheme"),
    pytest.param(exchange({"data": {"url": 5}}), Later("answer_unreadable"), id="a number"),
]


@pytest.mark.parametrize(("found", "outcome"), UPLOADS)
def test_uploads(found, outcome):
    assert upload(found, now=NOW) == outcome


def test_no_upload_at_this_address_is_no_image_s_fault():
    found = upload(exchange(error(404), 404), now=NOW)
    assert isinstance(found, AccountStop)
    assert found.reason == "config"


def test_a_refused_image_always_says_something():
    assert upload(exchange({"success": False}), now=NOW) != UploadRefused("")


# balance

MONEY = {"success": True, "message": "", "remain_balance": 5.0, "used_balance": 1.2, "credits_per_usd": 200}
BALANCES = [
    pytest.param(
        exchange({**MONEY, "remain_credits": 1000, "used_credits": 240, "unlimited_quota": False}),
        Balance(remaining=1000.0, used=240.0),
        id="limited",
    ),
    pytest.param(
        exchange({**MONEY, "remain_credits": -1, "remain_balance": -1, "used_credits": 240, "unlimited_quota": True}),
        Balance(remaining=None, used=240.0),
        id="unlimited",
    ),
    pytest.param(
        exchange({"remain_credits": 1.5, "used_credits": 0}), Balance(remaining=1.5, used=0.0), id="the least"
    ),
    pytest.param(exchange({"used_credits": 2}), Balance(remaining=None, used=2.0), id="nobody says what is left"),
    pytest.param(exchange({**MONEY, "remain_credits": 1}), Later("answer_unreadable"), id="nobody says what was used"),
    pytest.param(exchange({**MONEY, "used_credits": "240"}), Later("answer_unreadable"), id="text"),
    pytest.param(exchange({**MONEY, "used_credits": True}), Later("answer_unreadable"), id="a boolean"),
    pytest.param(exchange({"success": False, "message": "m"}), Later("answer_unreadable"), id="success false"),
    pytest.param(exchange(HTML), Later("answer_unreadable"), id="HTML"),
    pytest.param(exchange([]), Later("answer_unreadable"), id="a list"),
    pytest.param(exchange(HTML, 404), Later("http_404"), id="404"),
    pytest.param(exchange(HTML, 500), Later("http_500"), id="500"),
    pytest.param(exchange(b"", 429, headers=RETRY), Later("http_429", 7.0), id="429"),
    pytest.param(exchange(error(401, "no"), 401), AccountStop("key", "no"), id="401"),
    pytest.param(Exchange(status=None, error="ConnectError"), Later("ConnectError"), id="no answer"),
]


@pytest.mark.parametrize(("found", "outcome"), BALANCES)
def test_balances(found, outcome):
    assert balance(found, now=NOW) == outcome


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            b'{"used_credits":1' + b"0" * 400 + b"}",
            id="401 digits",
        ),
        pytest.param(
            b'{"used_credits":NaN,"remain_credits":1}',
            id="NaN",
        ),
    ],
)
def test_absurd_amounts_are_no_answer(body):
    assert balance(exchange(body), now=NOW) == Later("answer_unreadable")


# anything at all

FIELDS = """
    id task_id status data result error code message type success detail progress expires_at url fail_reason
    client_business_id used_credits remain_credits unlimited_quota
"""
keys = st.sampled_from(FIELDS.split())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
scalars |= st.sampled_from(["completed", "FAILED", "queued", "success", OURS, "task_02K", PURCHASE, URL, "42%"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
exchanges = st.builds(
    Exchange,
    status=st.none() | st.sampled_from([200, 200, 200, 400, 401, 404, 429, 500]) | st.integers(100, 599),
    body=st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode()),
    headers=st.dictionaries(st.just("retry-after"), st.text(max_size=9)),
    complete=st.booleans(),
    error=st.none() | st.just("ReadError"),
)


@settings(max_examples=80)
@given(exchanges)
def test_a_poll_of_anything_has_an_outcome(found):
    outcome = poll(found, task_id=OURS, purchase_id=PURCHASE, others=OTHERS, now=NOW)
    match outcome:
        case Finished(url, expires_at):
            assert url.lower().startswith(("http://", "https://", "/"))
            assert expires_at is None or expires_at.tzinfo is UTC
        case Working(status, progress):
            assert 0 < len(status) <= 40
            assert progress is None or 0 <= progress <= 100
        case TaskFailed(reason, message) | AccountStop(reason, message):
            assert reason
            assert message
        case Later(reason, wait):
            assert reason
            assert wait is None or 1 <= wait <= 3600
        case _:
            assert outcome == Missing()
    if isinstance(outcome, Finished | TaskFailed | Working):  # only a whole 200 can tell of a task
        assert (found.status, found.complete) == (200, True)


@settings(max_examples=60)
@given(exchanges)
def test_an_upload_of_anything_has_an_outcome(found):
    outcome = upload(found, now=NOW)
    assert isinstance(outcome, Uploaded | UploadRefused | Later | AccountStop)
    if isinstance(outcome, Uploaded):
        assert (found.status, found.complete) == (200, True)


@settings(max_examples=60)
@given(exchanges)
def test_a_balance_of_anything_has_an_outcome(found):
    outcome = balance(found, now=NOW)
    assert isinstance(outcome, Balance | Later | AccountStop)
    if isinstance(outcome, Balance):
        assert (found.status, found.complete) == (200, True)


@pytest.mark.parametrize("body", [rb'{"id": "\ud800"}', b'{"id": ".."}', b'{"id": 7}', b'{"id": ""}', b"[]"])
def test_an_answer_that_names_its_task_by_what_is_no_id_names_none(body):
    assert named_task(Exchange(status=200, body=body)) is None


@pytest.mark.parametrize(
    ("created", "completed", "took"),
    [(100, 205, 105.0), (100.5, 101, 0.5), (100, 100, None), (205, 100, None), (None, 205, None), ("x", 205, None)],
)
def test_a_finished_task_tells_how_long_it_took(created, completed, took):
    said = task("completed", result=result(), created_at=created, completed_at=completed)
    assert asked(said) == Finished(URL, None, took)
