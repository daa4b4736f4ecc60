"""The failure matrix (reliability notes §1.1), row by row: what may be sent again, and what may not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner import matrix
from batchrunner.classify import candidate, candidate_fits, submission
from batchrunner.matrix import POLICY, RULES, Verdict
from batchrunner.providers.base import Exchange
from batchrunner.purchase import purchase_id
from batchrunner.states import TRANSITIONS, JobEvent, JobState, sources

NOW = datetime(2026, 11, 22, 1, 0, 0, tzinfo=UTC)
V = Verdict
CLOUDFLARE = {"server": "cloudflare", "cf-ray": "8f00-HKG"}
HTML = b"<html><h1>502 Bad Gateway</h1><hr>openresty</html>"
ACCEPTED = {"id": "task_01K", "object": "generation.task", "model": "kling-v3", "status": "queued", "created_at": 1}


def judge(exchange):
    return submission(exchange, now=NOW)


def answered(status, value=b"", **more):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Exchange(status=status, body=body, **more)


def failed(error, *, begun):
    return Exchange(status=None, complete=False, body_started=begun, error=error)


def error(code, message="m", **more):
    return {"error": {"code": code, "message": message, **more}}


# transport: the row of the notes, the exchange, what it means

TRANSPORT = [
    ("T1 DNS failure", failed("ConnectError", begun=False), V.UNSENT, "T1", "unreachable"),
    ("T2 connection refused", failed("ConnectError", begun=False), V.UNSENT, "T1", "unreachable"),
    ("T3 connect timeout", failed("ConnectTimeout", begun=False), V.UNSENT, "T1", "unreachable"),
    ("T4 TLS handshake", failed("ConnectError", begun=False), V.UNSENT, "T1", "unreachable"),
    ("T4 certificate", failed("certificate", begun=False), V.ACCOUNT_STOP, "T7", "config"),
    ("T5 proxy", failed("ProxyError", begun=False), V.UNSENT, "T5", "proxy"),
    ("T6 pool", failed("PoolTimeout", begun=False), V.UNSENT, "T6", "unreachable"),
    ("T7 header", failed("LocalProtocolError", begun=False), V.ACCOUNT_STOP, "T7", "config"),
    ("T7 address", failed("InvalidURL", begun=False), V.ACCOUNT_STOP, "T7", "config"),
    ("T7 scheme", failed("UnsupportedProtocol", begun=False), V.ACCOUNT_STOP, "T7", "config"),
    ("T7 key", failed("UnicodeEncodeError", begun=False), V.ACCOUNT_STOP, "T7", "config"),
    ("T8 reset at accept", failed("ReadError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T9 closed after headers", failed("RemoteProtocolError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T10 write error", failed("WriteError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T10 write error before the body", failed("WriteError", begun=False), V.UNSENT, "T1", "unreachable"),
    ("T10 write timeout", failed("WriteTimeout", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T11 read timeout", failed("ReadTimeout", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T12 disconnect", failed("RemoteProtocolError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T12 reset", failed("ReadError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    (
        "T13 cut",
        answered(200, b'{"id":"task_', complete=False, error="RemoteProtocolError"),
        V.IN_DOUBT,
        "T13",
        "answer_cut",
    ),
    (
        "T13 cut after the id",
        answered(200, ACCEPTED, complete=False, error="ReadTimeout"),
        V.IN_DOUBT,
        "T13",
        "answer_cut",
    ),
    ("T14 gzip unasked", answered(200, b"\x1f\x8b\x08\x00"), V.IN_DOUBT, "T14", "answer_cut"),
    ("T15 early 4xx, cut", answered(413, b"", complete=False), V.ACCOUNT_STOP, "R20w", "config"),
    ("T16 cancelled before the body", failed("Cancelled", begun=False), V.UNSENT, "T1", "unreachable"),
    ("T17 cancelled in the body", failed("Cancelled", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("T18 stale connection", failed("RemoteProtocolError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("a local mistake with a begun body", failed("LocalProtocolError", begun=True), V.IN_DOUBT, "T11", "no_answer"),
    ("no name at all", Exchange(body_started=True), V.IN_DOUBT, "T11", "no_answer"),
]

CHANNEL = "No available channel for model kling-v3 under group default (distributor)"
RESPONSES = [
    ("R1 200", answered(200, ACCEPTED), V.ACCEPTED, "R1", "accepted"),
    ("R1 201", answered(201, ACCEPTED), V.ACCEPTED, "R1", "accepted"),
    ("R1 202", answered(202, ACCEPTED), V.ACCEPTED, "R1", "accepted"),
    ("R1 failed already", answered(200, {**ACCEPTED, "status": "failed"}), V.ACCEPTED, "R1", "accepted"),
    ("R1 unknown status", answered(200, {"id": "task_01K", "status": "?"}), V.ACCEPTED, "R1", "accepted"),
    ("R1 uuid", answered(200, {"id": "video_3f2a-11ee-b962"}), V.ACCEPTED, "R1", "accepted"),
    ("R1 task_id", answered(200, {"task_id": "task_01K"}), V.ACCEPTED, "R1", "accepted"),
    ("R1 longest id", answered(200, {"id": "x" * 256}), V.ACCEPTED, "R1", "accepted"),
    ("R2 id and error", answered(200, {**ACCEPTED, **error("x")}), V.ACCEPTED, "R2", "accepted"),
    ("R2 id and success false", answered(200, {"id": "a", "success": False}), V.ACCEPTED, "R2", "accepted"),
    # R3, an id that another job owns, is the store's to find: record_accepted says no
    ("R4 none", answered(200, {"status": "queued"}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 empty", answered(200, {"id": ""}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 null", answered(200, {"id": None}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 number", answered(200, {"id": 17}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 number and error", answered(200, {"id": 17, **error(400)}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 object", answered(200, {"id": {"id": "a"}}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 too long", answered(200, {"id": "x" * 257}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 the folder above", answered(200, {"id": ".."}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R1 any signs", answered(200, {"id": "../a?b#c%2F"}), V.ACCEPTED, "R1", "accepted"),
    ("R4 white space", answered(200, {"id": "a b"}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R4 relay wrapper", answered(200, {"code": "success", "data": "task_1"}), V.IN_DOUBT, "R4", "answer_unreadable"),
    ("R5 known code", answered(200, error("insufficient_quota")), V.ACCOUNT_STOP, "R22", "quota"),
    (
        "R5 known type",
        answered(200, {"error": {"message": "m", "type": "invalid_request_error"}}),
        V.REFUSED,
        "R20",
        "invalid_request",
    ),
    ("R5 status as code", answered(200, error(429)), V.REFUSED_FOR_NOW, "R31", "rate_limited"),
    ("R5 status as code, doubtful", answered(200, error(500)), V.IN_DOUBT, "R34", "server_error"),
    ("R5 code 200", answered(200, error(200)), V.IN_DOUBT, "R5", "answer_unreadable"),
    (
        "R5 Kling's code",
        answered(200, {"code": 1303, "message": "parallel task over resource pack"}),
        V.IN_DOUBT,
        "R5",
        "answer_unreadable",
    ),
    ("R5 unknown code", answered(200, error("oops")), V.IN_DOUBT, "R5", "answer_unreadable"),
    ("R5 success false", answered(200, {"success": False, "message": "m"}), V.IN_DOUBT, "R5", "answer_unreadable"),
    ("R6 HTML", answered(200, HTML), V.IN_DOUBT, "R6", "answer_unreadable"),
    ("R6 empty", answered(200, b""), V.IN_DOUBT, "R6", "answer_unreadable"),
    ("R6 a list", answered(200, [ACCEPTED]), V.IN_DOUBT, "R6", "answer_unreadable"),
    ("R6 a string", answered(200, "task_01K"), V.IN_DOUBT, "R6", "answer_unreadable"),
    ("R6 over 1 MiB", answered(200, ACCEPTED, complete=False), V.IN_DOUBT, "T13", "answer_cut"),
    (
        "R6b success, then error",
        answered(200, b'{"id":"task_01K"}{"error":{"code":"x"}}'),
        V.IN_DOUBT,
        "R6b",
        "answer_unreadable",
    ),
    ("R7 204", answered(204), V.IN_DOUBT, "R7", "answer_unreadable"),
    ("R7 205", answered(205, ACCEPTED), V.IN_DOUBT, "R7", "answer_unreadable"),
    ("R7 206", answered(206, ACCEPTED), V.IN_DOUBT, "R7", "answer_unreadable"),
    *[
        (f"R8 {s}", answered(s, headers={"location": "https://x"}), V.ACCOUNT_STOP, "R8", "config")
        for s in (301, 302, 307, 308)
    ],
    ("R9 303", answered(303), V.IN_DOUBT, "R9", "redirected"),
    ("R20 400", answered(400, error("invalid_request")), V.REFUSED, "R20", "invalid_request"),
    (
        "R20 400 relay",
        answered(400, {"code": "task_failed", "message": "bad duration", "data": None}),
        V.REFUSED,
        "R20",
        "invalid_request",
    ),
    ("R20 400 quota", answered(400, error("insufficient_user_quota", "no")), V.ACCOUNT_STOP, "R20q", "quota"),
    ("R20 400 quota, Kling", answered(400, error(1102, "no")), V.ACCOUNT_STOP, "R20q", "quota"),
    ("R20 400 words", answered(400, error("x", "bad white balance")), V.REFUSED, "R20", "invalid_request"),
    ("R20 400 content", answered(400, error(1301, "risk control")), V.REFUSED, "R20c", "content_policy"),
    ("R20 400 content, Chinese", answered(400, error("x", "内容违规")), V.REFUSED, "R20c", "content_policy"),
    ("R21 401", answered(401, error(401, type="authentication_error")), V.ACCOUNT_STOP, "R21", "key"),
    ("R21 401 without a body", answered(401), V.ACCOUNT_STOP, "R21", "key"),
    ("R21 401 drained key", answered(401, error("pre_consume_token_quota_failed")), V.ACCOUNT_STOP, "R21q", "quota"),
    ("R22 402", answered(402, error(402, type="payment_required")), V.ACCOUNT_STOP, "R22", "quota"),
    ("R23 403", answered(403, error("forbidden", "your ip is not allowed")), V.ACCOUNT_STOP, "R23", "forbidden"),
    ("R23 403 quota", answered(403, error("insufficient_user_quota")), V.ACCOUNT_STOP, "R23q", "quota"),
    ("R23 403 quota, Chinese", answered(403, error("x", "用户额度不足")), V.ACCOUNT_STOP, "R23q", "quota"),
    ("R23 403 content", answered(403, error("content_policy_violation")), V.REFUSED, "R23c", "content_policy"),
    (
        "R24 404",
        answered(404, error("", "Invalid URL (POST /v1/v1/videos/generations)")),
        V.ACCOUNT_STOP,
        "R24",
        "config",
    ),
    *[(f"R25 {s}", answered(s), V.ACCOUNT_STOP, "R25", "config") for s in (405, 406, 415, 501, 505)],
    ("R26 408", answered(408), V.IN_DOUBT, "R26", "timeout"),
    ("R27 409", answered(409), V.IN_DOUBT, "R27", "conflict"),
    *[(f"R28, R29 {s}", answered(s), V.ACCOUNT_STOP, "R28", "config") for s in (410, 421, 426)],
    *[
        (f"R29 {s}", answered(s, error("x")), V.REFUSED, "R29", "invalid_request")
        for s in (411, 412, 413, 414, 417, 428, 431, 451)
    ],
    *[
        (f"R20w {s} of what stands before the API", answered(s, HTML), V.ACCOUNT_STOP, "R20w", "config")
        for s in (400, 411, 412, 413, 414, 417, 422, 428, 431, 451)
    ],
    ("R20w 400 without a word", answered(400), V.ACCOUNT_STOP, "R20w", "config"),
    ("R20w 400 without an error", answered(400, {"ok": 0}), V.ACCOUNT_STOP, "R20w", "config"),
    ("R20w 451 without a word", answered(451), V.ACCOUNT_STOP, "R20w", "config"),
    ("R29 422", answered(422, error("content_policy_violation")), V.REFUSED, "R29c", "content_policy"),
    ("R30 425", answered(425), V.REFUSED_FOR_NOW, "R30", "too_early"),
    (
        "R31 429",
        answered(429, error("rate_limit_exceeded", "Async task request rate exceeded")),
        V.REFUSED_FOR_NOW,
        "R31",
        "rate_limited",
    ),
    ("R31 429 of the IP limiter", answered(429), V.REFUSED_FOR_NOW, "R31", "rate_limited"),
    (
        "R31 429 overwritten",
        answered(429, error("x", "当前分组上游负载已饱和，请稍后再试")),
        V.REFUSED_FOR_NOW,
        "R31",
        "rate_limited",
    ),
    (
        "R31 429 Kling 1302",
        answered(429, {"code": 1302, "message": "too fast"}),
        V.REFUSED_FOR_NOW,
        "R31",
        "rate_limited",
    ),
    *[(f"R32 429 {code}", answered(429, error(code)), V.ACCOUNT_STOP, "R32", "quota") for code in (1100, 1101, 1102)],
    *[
        (f"R32 429 {words}", answered(429, error("x", words)), V.ACCOUNT_STOP, "R32", "quota")
        for words in (
            "account in arrears",
            "resource pack depleted",
            "insufficient credits",
            "quota",
            "余额不足",
            "账户欠费",
        )
    ],
    ("R31 429 of a load balancer", answered(429, HTML + b"balancer"), V.REFUSED_FOR_NOW, "R31", "rate_limited"),
    ("R31 429 in its words", answered(429, error("x", "load balancer busy")), V.REFUSED_FOR_NOW, "R31", "rate_limited"),
    ("R33 499", answered(499), V.IN_DOUBT, "R33", "no_answer"),
    ("R34 500", answered(500, error("internal_error")), V.IN_DOUBT, "R34", "server_error"),
    ("R34 500 with a refusal's words", answered(500, error("insufficient_quota")), V.IN_DOUBT, "R34", "server_error"),
    *[(f"R35 {s}", answered(s, HTML), V.IN_DOUBT, "R35", "server_error") for s in (502, 504, 520, 522, 524, 527)],
    *[
        (f"R35 any other: {s}", answered(s), V.IN_DOUBT, "R39", "answer_unreadable")
        for s in (506, 507, 508, 510, 511, 529, 599)
    ],
    ("R36 503 limiter down", answered(503, error("rate_limit_unavailable")), V.REFUSED_FOR_NOW, "R36", "rate_limited"),
    ("R36b 503 no channel", answered(503, error("model_not_found", CHANNEL)), V.REFUSED_FOR_NOW, "R36b", "no_channel"),
    ("R36b 503 no channel, text", answered(503, error("x", CHANNEL)), V.REFUSED_FOR_NOW, "R36b", "no_channel"),
    ("R36b 503 no channel, Chinese", answered(503, error("x", "无可用渠道")), V.REFUSED_FOR_NOW, "R36b", "no_channel"),
    (
        "R36c 429 Kling 1303",
        answered(429, error(1303, "parallel task over resource pack limit")),
        V.REFUSED_FOR_NOW,
        "R36c",
        "capacity",
    ),
    (
        "R36c 429 in the text",
        answered(429, error("fail_to_fetch_task", '{"code":1303}')),
        V.REFUSED_FOR_NOW,
        "R36c",
        "capacity",
    ),
    ("R37 503 otherwise", answered(503, error("x")), V.IN_DOUBT, "R37", "server_error"),
    ("R37 503 HTML", answered(503, HTML), V.IN_DOUBT, "R37", "server_error"),
    *[
        (f"R38 {s}", answered(s, HTML, headers=CLOUDFLARE), V.REFUSED_FOR_NOW, "R38", "origin_unreachable")
        for s in (521, 523, 525, 526, 530)
    ],
    *[(f"R38 {s} of nobody", answered(s, HTML), V.IN_DOUBT, "R35", "server_error") for s in (521, 523, 525, 526, 530)],
    ("R38 502 of Cloudflare", answered(502, HTML, headers=CLOUDFLARE), V.IN_DOUBT, "R35", "server_error"),
    *[
        (f"R39 {s}", answered(s), V.IN_DOUBT, "R39", "answer_unreadable")
        for s in (0, 100, 199, 300, 304, 407, 418, 600, 999)
    ],
]


def _ids(value):
    return value if isinstance(value, str) and " " in value else ""


@pytest.mark.parametrize(
    ("row", "exchange", "verdict", "rule", "reason"), [*TRANSPORT, *RESPONSES], ids=lambda value: _ids(value) or None
)
def test_the_matrix(row, exchange, verdict, rule, reason):
    found = judge(exchange)
    assert (found.verdict, found.answer.rule, found.reason) == (verdict, rule, reason), row
    assert (found.task_id is not None) == (verdict is V.ACCEPTED)
    assert (found.answer.http_status, found.answer.body_started) == (exchange.status, exchange.body_started)


def test_an_edge_that_gives_no_cf_ray_proves_nothing():
    assert judge(answered(521, headers={"server": "cloudflare"})).verdict is V.IN_DOUBT


def test_every_row_of_the_table_is_tested():
    tested = {row[3] for row in [*TRANSPORT, *RESPONSES]} | {matrix.TAKEN_ID.id}  # that one is the store's to find
    assert {row.id for row in POLICY} == tested


def test_the_table_can_be_read():
    """`policy` prints it: every row has words, its id once, and a state that the verdict leads to."""
    assert len({row.id for row in POLICY}) == len(POLICY)
    for row in POLICY:
        assert all((row.when, row.reason, row.meaning))
        assert JobState.SUBMITTING in sources(_EVENTS[row.verdict])
        assert TRANSITIONS[JobState.SUBMITTING][_EVENTS[row.verdict]] is row.verdict.leads_to


_EVENTS = {
    V.UNSENT: JobEvent.RETURNED,
    V.REFUSED_FOR_NOW: JobEvent.RETURNED,
    V.ACCOUNT_STOP: JobEvent.RETURNED,
    V.REFUSED: JobEvent.REFUSED,
    V.ACCEPTED: JobEvent.ACCEPTED,
    V.IN_DOUBT: JobEvent.UNANSWERED,
}


# salvage: the id in a spoilt success

SALVAGED = [
    pytest.param(b'{"id":"task_01K","object":"gener', "task_01K", id="cut after the id"),
    pytest.param(b'{"object": "generation.task", "id" : "task_01K"', "task_01K", id="with white space"),
    pytest.param(b'{"id":"task_01', None, id="cut in the id"),
    pytest.param(b'{"client_business_id":"br_1","mod', None, id="our own id is none"),
    pytest.param(b'{"id":"a","data":{"id":"b"', None, id="two ids"),
    pytest.param(b'{"id":"a","data":{"id":"a"', "a", id="the same id twice"),
    pytest.param(b'{"id":"task_01K"}{"error":{"code":"x","id":"req_1"}}', "task_01K", id="the first of two objects"),
    pytest.param(b'{"id":17}{"error":{}}', None, id="the first of two objects has none"),
    pytest.param(b'{"id":"a b', None, id="no id at all"),
    pytest.param(b"<html>", None, id="HTML"),
    pytest.param(b"", None, id="nothing"),
    pytest.param(b"[" * 90_000, None, id="nested too deep"),
]


@pytest.mark.parametrize(("body", "found"), SALVAGED)
def test_the_id_in_a_spoilt_success(body, found):
    assert candidate(body) == found


def test_a_candidate_is_kept_with_the_answer_and_is_no_acceptance():
    found = judge(answered(200, b'{"id":"task_01K","obj', complete=False, error="ReadTimeout"))
    assert (found.verdict, found.answer.candidate, found.task_id) == (V.IN_DOUBT, "task_01K", None)
    assert judge(answered(500, b'{"id":"task_01K"', complete=False)).answer.candidate is None


ULID = "tsk_vid_" + purchase_id(NOW + timedelta(seconds=5), 7).removeprefix("br_")


@pytest.mark.parametrize(
    ("task", "fits"),
    [
        ({"id": "t", "model": "kling-v3", "created_at": NOW.timestamp() + 5}, True),
        ({"id": "t", "model": "kling-v3", "created_at": NOW.timestamp() - 59}, True),
        ({"id": "t", "model": "kling-v3", "created_at": NOW.timestamp() - 61}, False),
        ({"id": "t", "model": "kling-v3", "created_at": NOW.timestamp() + 901}, False),
        ({"id": "t", "model": "kling-v2", "created_at": NOW.timestamp()}, False),
        ({"id": "u", "model": "kling-v3", "created_at": NOW.timestamp()}, False),
        ({"id": "t", "model": "kling-v3"}, False),
        ({"id": "t", "model": "kling-v3", "created_at": "now"}, False),
        ({"id": "t", "model": "kling-v3", "created_at": 1e300}, False),
        ({"id": ULID, "model": "kling-v3"}, True),
    ],
)
def test_a_candidate_is_ours_only_with_our_model_in_our_time(task, fits):
    task_id = ULID if task["id"] == ULID else "t"
    assert candidate_fits(task, task_id=task_id, model="kling-v3", since=NOW, window=900.0) is fits


def test_every_status_of_a_refusal_is_tested():
    """A status that leaves "in doubt" without a row here would be sent again on nobody's evidence."""
    tested = {(row[1].status, row[3]) for row in RESPONSES}
    for rule in RULES:
        if rule.verdict is not V.IN_DOUBT:
            assert {(status, rule.id) for status in rule.statuses} <= tested


# what is kept

KEPT = [
    ("task_01K", {"id": "task_01K"}),
    ("a.b:c~d=e+f@g-h", {"id": "a.b:c~d=e+f@g-h"}),
    ("first", {"id": "first", "task_id": "second"}),
    ("second", {"id": "", "task_id": "second"}),
    ("second", {"id": None, "task_id": "second"}),
]


@pytest.mark.parametrize(("task_id", "value"), KEPT)
def test_the_task_id(task_id, value):
    assert judge(answered(200, value)).task_id == task_id


@pytest.mark.parametrize("task_id", [".", "..", "", " a", "a ", "a b", "\na", "\t", "任务", "a\x00", "a\x7f", "é"])
def test_what_could_change_a_path_is_no_id(task_id):
    assert judge(answered(200, {"id": task_id})).verdict is V.IN_DOUBT


@pytest.mark.parametrize("task_id", ["/a", "a/b", "../balance", "a%2fb", "-a", "a#b", "a?b", "...", '"', "~!@$&*()"])
def test_any_other_signs_are_an_id(task_id):
    assert judge(answered(200, {"id": task_id})).task_id == task_id


def test_a_redirect_names_the_host_it_leads_to_and_no_more():
    headers = {"location": "https://user:pw@other.example/v1?sig=s3cret"}
    assert judge(answered(308, headers=headers)).answer.message == "HTTP 308 to other.example"
    assert judge(answered(308, headers={"location": "https://[oops"})).answer.message == "HTTP 308"


def test_a_refusal_that_all_share_says_something():
    assert judge(answered(400, HTML)).answer.message == "HTTP 400"


def test_a_newline_at_the_end_is_no_id():
    assert judge(answered(200, {"id": "task_01K\n"})).verdict is V.IN_DOUBT


def test_what_is_recorded_of_an_answer():
    headers = {"x-oneapi-request-id": "req-7", "retry-after": "9"}
    body = error("rate_limit_exceeded", "slow\ndown https://h/p?sig=s3cret")
    found = judge(answered(429, body, headers=headers))
    assert (found.answer.code, found.answer.message) == ("rate_limit_exceeded", "slow down https://h/p?…")
    assert (found.answer.request_id, found.retry_after) == ("req-7", 9.0)


def test_what_is_recorded_of_silence():
    found = judge(failed("ReadTimeout", begun=True))
    assert (found.answer.code, found.answer.message, found.retry_after) == ("ReadTimeout", "ReadTimeout", None)


def test_an_error_without_a_message_is_shown_by_its_code():
    assert judge(answered(400, error("invalid_request", ""))).answer.message == "invalid_request"


def test_an_accepted_answer_has_nothing_to_complain_about():
    found = judge(answered(200, ACCEPTED))
    assert (found.answer.code, found.answer.message) == (None, None)


@pytest.mark.parametrize("header", ["Cloudflare", "cloudflare", "CLOUDFLARE"])
def test_header_values_in_any_case(header):
    assert judge(answered(521, headers={**CLOUDFLARE, "server": header})).answer.rule == "R38"


# hostile bodies


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"error":{"code":"²","message":"m"}}'.encode(), id="a digit that is no number"),
        pytest.param(b'{"error":{"code":"' + b"9" * 300 + b'"}}', id="a large code"),
        pytest.param('{"error":{"code":"٤٠٠"}}'.encode(), id="Arabic digits"),
        pytest.param(b'{"error":{"code":-400}}', id="a negative code"),
        pytest.param(b'{"error":{"code":400.5}}', id="a fraction"),
        pytest.param(b'{"error":{"code":true}}', id="a boolean"),
        pytest.param(b'{"error":{"code":[400]}}', id="a list"),
        pytest.param(b'{"error":{"code":NaN}}', id="NaN"),
        pytest.param(b'{"id":' + b"[" * 50_000, id="nested too deep"),
        pytest.param(b"\xff" * 100, id="no UTF-8"),
        pytest.param("\ufeff".encode() + b'{"id":"a"}', id="a byte order mark"),
    ],
)
def test_a_hostile_success_raises_nothing_and_is_in_doubt(body):
    found = judge(answered(200, body))
    if "٤" not in body.decode("utf-8", "replace"):  # 400, in any script, is a documented refusal
        assert found.verdict is V.IN_DOUBT


# properties

SAFE = {V.UNSENT, V.REFUSED_FOR_NOW, V.REFUSED, V.ACCOUNT_STOP}
"""Verdicts that let the same purchase be sent again, by the clock or by a person."""
KNOWN = [rule.says for rule in RULES if rule.says] + [matrix.QUOTA, matrix.CONTENT]

texts = st.text(max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
keys = st.sampled_from(["id", "task_id", "error", "code", "message", "type", "success", "detail", "data", "status"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=15
)
bodies = st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode())
headers = st.dictionaries(
    st.sampled_from(["retry-after", "server", "cf-ray", "x-request-id"]), st.text(max_size=12) | st.just("cloudflare")
)
exchanges = st.builds(
    Exchange,
    status=st.none() | st.integers(0, 999) | st.sampled_from([200, 400, 403, 429, 500, 503, 521]),
    headers=headers,
    body=bodies,
    complete=st.booleans(),
    body_started=st.booleans(),
    error=st.none() | st.sampled_from(["ReadError", "ConnectError", "LocalProtocolError", "InvalidURL"]),
)


@settings(max_examples=80)
@given(exchanges)
def test_every_exchange_has_a_verdict(exchange):
    found = judge(exchange)
    assert found.verdict in Verdict
    assert found.reason
    assert found.answer.rule
    assert (found.task_id is not None) == (found.verdict is V.ACCEPTED)
    assert found.retry_after is None or 1 <= found.retry_after <= 3600
    if found.verdict is V.ACCEPTED:
        assert exchange.status is not None
        assert 200 <= exchange.status < 300


@given(st.none() | st.text(max_size=20), st.booleans())
def test_without_a_status_the_body_decides(error, begun):
    verdict = judge(failed(error, begun=begun)).verdict
    assert verdict is V.IN_DOUBT if begun else verdict in {V.UNSENT, V.ACCOUNT_STOP}


@settings(max_examples=60)
@given(st.integers(500, 599).filter(lambda status: status not in (501, 505)), bodies)
def test_a_server_error_is_in_doubt_unless_it_says_a_documented_refusal(status, body):
    words = body.decode("utf-8", "replace")
    if not any(pattern.search(words) for pattern in KNOWN):
        assert judge(answered(status, body)).verdict is V.IN_DOUBT


@settings(max_examples=60)
@given(st.integers(200, 299), bodies)
def test_a_success_without_an_id_is_never_sent_again_on_unknown_words(status, body):
    found = judge(answered(status, body))
    if found.verdict in SAFE:
        assert found.answer.code in matrix.CODES or found.answer.code.isdigit()
        assert found.answer.rule in {rule.id for rule in RULES}


@given(
    st.sampled_from([200, 201, 202, 203, 207]),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}", fullmatch=True),
    st.dictionaries(keys.filter(lambda key: key != "id"), values, max_size=4),
)
def test_a_success_with_an_id_is_accepted_whatever_else_it_says(status, task_id, more):
    found = judge(answered(status, {**more, "id": task_id}))
    assert (found.verdict, found.task_id) == (V.ACCEPTED, task_id)


def test_the_default_is_in_doubt():
    documented = {status for rule in RULES for status in rule.statuses}
    for status in set(range(1000)) - documented - set(range(200, 300)):
        assert judge(answered(status)).verdict is V.IN_DOUBT


@pytest.mark.parametrize("code", matrix.CODES)
def test_documented_codes_in_a_success_mean_what_their_status_means(code):
    inside, plain = judge(answered(200, error(code))), judge(answered(matrix.CODES[code], error(code)))
    assert (inside.verdict, inside.reason, inside.answer.rule) == (plain.verdict, plain.reason, plain.answer.rule)
    assert inside.verdict in SAFE
