"""Every rule of the API page on the raw JSON, one by one, and that no body whatever gets past or through."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from api_rules import ACCEPTED, GOOD, ONE, REFUSED, TWO
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.emulator.relay import Relay
from batchrunner.emulator.validation import _FIELDS, Refusal, Submission, parse

URL = "/v1/videos/generations"


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_keeps_the_rules_is_understood(case: str) -> None:
    fields, expected = ACCEPTED[case]
    submission = parse(json.dumps(GOOD | fields).encode())
    assert {name: getattr(submission, name) for name in expected} == expected


@pytest.mark.parametrize("case", REFUSED)
async def test_what_breaks_a_rule_is_refused_by_name(case: str, client: httpx.AsyncClient, relay: Relay) -> None:
    fields, name = REFUSED[case]
    refused(await client.post(URL, json=GOOD | fields), name)
    assert relay.ledger.entries() == []


def refused(answer: httpx.Response, name: str, code: str = "invalid_request") -> None:
    """With the status and in the shape of the page, and nothing besides."""
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    error = answer.json()["error"]
    assert error.pop("message").startswith(f"{name}: ")
    assert answer.json().keys() == {"error"}
    assert error == {"code": code, "type": "invalid_request_error"}


async def test_a_webhook_that_the_key_does_not_have(client: httpx.AsyncClient, relay: Relay) -> None:
    answer = await client.post(URL, json=GOOD | {"callback_url": "https://example.com/hook"})
    refused(answer, "callback_url", "webhook_not_configured")
    assert relay.ledger.entries() == []


@pytest.mark.parametrize("missing", ["model", "prompt"])
async def test_required_fields(missing: str, client: httpx.AsyncClient) -> None:
    refused(await client.post(URL, json={name: value for name, value in GOOD.items() if name != missing}), missing)


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"[]",
            b'"x"',
            b"\xff\xfe\x00",
            b'{"duration": NaN}',
            b"[" * 100_000,
            b'{"duration": ' + b"9" * 5000,
        ),
        *(json.dumps(GOOD).encode(code) for code in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig")),
        b'{"model": "kling-v3", "prompt": "\xed\xa0\x80"}',
    ],
    ids=["empty", "torn", "array", "string", "no text", "NaN", "deep", "huge", "16", "16le", "32", "mark", "surrogate"],
)
def test_bodies_that_are_no_json_object(body: bytes) -> None:
    with pytest.raises(Refusal):
        parse(body)


async def test_only_json_is_read(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, content=json.dumps(GOOD))
    assert answer.status_code == 400
    assert "Content-Type" in answer.json()["error"]["message"]


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic eDp5"}])
async def test_a_key_is_needed(header: dict[str, str], relay: Relay, connect: Callable[..., httpx.AsyncClient]) -> None:
    async with connect(relay) as client:
        del client.headers["Authorization"]
        for answer in (
            await client.post(URL, json=GOOD, headers=header),
            await client.get(f"{URL}/x", headers=header),
            await client.get("/v1/balance", headers=header),
            await client.post("/v1/uploads/images", headers=header),
        ):
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
    assert relay.ledger.entries() == []


ids = st.text("abcXYZ019_-", min_size=1, max_size=96)
frames = st.sampled_from([ONE, TWO])
pair = st.tuples(frames, frames).map(list)
roles = frames.map(lambda url: [{"url": url, "role": "first_frame"}]) | st.permutations(
    [{"url": ONE, "role": "first_frame"}, {"url": TWO, "role": "last_frame"}]
)
texts = st.text(st.characters(codec="utf-8"), max_size=2500)
OFTEN: dict[str, Any] = {
    "mode": st.sampled_from(["std", "pro"]),
    "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
    "audio": st.booleans(),
    "metadata": st.fixed_dictionaries({}, optional={"negative_prompt": texts, "watermark": st.booleans()}),
    "client_business_id": ids,
}
BASE = {
    "model": st.just("kling-v3"),
    "prompt": texts.filter(lambda text: any(sign.isprintable() and not sign.isspace() for sign in text)),
}


def kind(required: dict[str, Any], durations: list[int]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(BASE | required, optional=OFTEN | {"duration": st.sampled_from(durations)})


valid = st.one_of(
    kind({}, [5, 10, 15]),
    kind({"image_urls": frames.map(lambda url: [url]) | pair}, [5, 10]),
    kind({"image_with_roles": roles}, [5, 10]),
)


@given(body=valid)
@settings(max_examples=80, deadline=None)
def test_all_that_keeps_the_page_is_taken_as_it_was_meant(body: dict[str, Any]) -> None:
    taken = parse(json.dumps(body).encode())
    assert taken.prompt == body["prompt"]
    assert (taken.mode, taken.duration) == (body.get("mode", "std"), body.get("duration", 5))
    assert (taken.aspect_ratio, taken.audio) == (body.get("aspect_ratio", "16:9"), body.get("audio", False))
    by_role = {one["role"]: one["url"] for one in body.get("image_with_roles", ())}
    named = [by_role[role] for role in ("first_frame", "last_frame") if role in by_role]
    assert list(taken.images) == body.get("image_urls", named)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters()) | st.just(ONE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OPTIONAL = [*(name for name in _FIELDS if name not in ("model", "prompt")), "extra"]
bodies = st.fixed_dictionaries(
    {"model": st.just("kling-v3") | json_values, "prompt": st.text(min_size=1) | json_values},
    optional=dict.fromkeys(OPTIONAL, json_values),
)


@given(body=bodies | json_values)
@settings(max_examples=50, deadline=None)
def test_any_json_is_understood_or_refused(body: Any) -> None:
    with suppress(Refusal):
        submission = parse(json.dumps(body).encode())
        assert isinstance(submission, Submission)
        assert submission.prompt.strip()


@given(body=st.binary(max_size=64))
def test_any_bytes_are_understood_or_refused(body: bytes) -> None:
    with pytest.raises(Refusal):
        parse(body)


SURROGATES = [{"prompt": "half \ud83d"}, {"half \ud83d": 1}, {"metadata": {"\udc00": 1}}, {"mode": "\ud800"}]


@pytest.mark.parametrize("fields", SURROGATES)
async def test_half_a_surrogate_pair_is_no_crash(fields: dict[str, Any], client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post(URL, content=json.dumps(GOOD | fields), headers=headers)
    assert answer.status_code in (200, 400)
