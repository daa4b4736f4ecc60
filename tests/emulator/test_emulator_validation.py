"""Every rule of the API page on the raw JSON, one by one, and that no body whatever gets past or through."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.emulator.relay import Relay
from batchrunner.emulator.validation import _FIELDS, Refusal, Submission, parse

URL = "/v1/videos/generations"
GOOD: dict[str, Any] = {"model": "kling-v3", "prompt": "一只金色的猫咪"}
ONE, TWO = "https://example.com/day.jpg", "http://example.com:8080/night.jpg?x=1"


def roles(*pairs: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "url": url} for role, url in pairs]


ACCEPTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {"mode": "std", "duration": 5, "aspect_ratio": "16:9", "audio": False, "images": ()}),
    "pro": ({"mode": "pro"}, {"mode": "pro", "billing_key": "1080P"}),
    "sound": ({"audio": True}, {"billing_key": "720P+Sound"}),
    "pro with sound": ({"audio": True, "mode": "pro"}, {"billing_key": "1080P+Sound"}),
    "15 s of text": ({"duration": 15}, {"duration": 15}),
    "15 s and no images": ({"duration": 15, "image_urls": []}, {"images": ()}),
    "portrait": ({"aspect_ratio": "9:16"}, {"aspect_ratio": "9:16"}),
    "square": ({"aspect_ratio": "1:1"}, {"aspect_ratio": "1:1"}),
    "first frame": ({"image_urls": [ONE], "duration": 10}, {"images": (ONE,)}),
    "first and last": ({"image_urls": [ONE, TWO]}, {"images": (ONE, TWO)}),
    "roles": ({"image_with_roles": roles(("first_frame", ONE))}, {"images": (ONE,)}),
    "roles in any order": (
        {"image_with_roles": roles(("last_frame", TWO), ("first_frame", ONE))},
        {"images": (ONE, TWO)},
    ),
    "metadata": (
        {"metadata": {"negative_prompt": "blur", "watermark": False}},
        {"negative_prompt": "blur", "watermark": False},
    ),
    "empty metadata": ({"metadata": {}}, {"negative_prompt": None}),
    "client id": ({"client_business_id": "a-Z_9" + "x" * 91}, {"client_business_id": "a-Z_9" + "x" * 91}),
    "longest prompt": ({"prompt": "猫" * 2500}, {"prompt": "猫" * 2500}),
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other model": ({"model": "kling-v2"}, "model"),
    "model of another type": ({"model": 3}, "model"),
    "empty prompt": ({"prompt": ""}, "prompt"),
    "blank prompt": ({"prompt": " \n"}, "prompt"),
    "prompt of another type": ({"prompt": ["a"]}, "prompt"),
    "long prompt": ({"prompt": "a" * 2501}, "prompt"),
    "other mode": ({"mode": "4k"}, "mode"),
    "null mode": ({"mode": None}, "mode"),
    "duration 7": ({"duration": 7}, "duration"),
    "duration as text": ({"duration": "5"}, "duration"),
    "duration as float": ({"duration": 5.0}, "duration"),
    "duration as bool": ({"duration": True}, "duration"),
    "15 s with an image": ({"duration": 15, "image_urls": [ONE]}, "duration"),
    "15 s with a role": ({"duration": 15, "image_with_roles": roles(("first_frame", ONE))}, "duration"),
    "other ratio": ({"aspect_ratio": "4:3"}, "aspect_ratio"),
    "ratio as number": ({"aspect_ratio": 16 / 9}, "aspect_ratio"),
    "three images": ({"image_urls": [ONE, ONE, ONE]}, "image_urls"),
    "image as string": ({"image_urls": ONE}, "image_urls"),
    "image of another type": ({"image_urls": [1]}, "image_urls"),
    "base64 image": ({"image_urls": ["data:image/png;base64,iVBORw0KGgo="]}, "image_urls"),
    "bare base64": ({"image_urls": ["iVBORw0KGgoAAAANSUhEUg"]}, "image_urls"),
    "file image": ({"image_urls": ["file:///etc/passwd"]}, "image_urls"),
    "image without host": ({"image_urls": ["https:///a.png"]}, "image_urls"),
    "image with a broken host": ({"image_urls": ["http://[::1"]}, "image_urls"),
    "image with a broken port": ({"image_urls": ["http://a:99999/"]}, "image_urls"),
    "both dialects": ({"image_urls": [ONE], "image_with_roles": roles(("first_frame", ONE))}, "image_urls"),
    "last without first": ({"image_with_roles": roles(("last_frame", ONE))}, "image_with_roles"),
    "role twice": ({"image_with_roles": roles(("first_frame", ONE), ("first_frame", TWO))}, "image_with_roles"),
    "other role": ({"image_with_roles": roles(("reference", ONE))}, "image_with_roles"),
    "role of another type": ({"image_with_roles": roles(([], ONE))}, "image_with_roles"),
    "role with more": ({"image_with_roles": [{"role": "first_frame", "url": ONE, "x": 1}]}, "image_with_roles"),
    "roles as object": ({"image_with_roles": {"first_frame": ONE}}, "image_with_roles"),
    "base64 in a role": ({"image_with_roles": roles(("first_frame", "data:image/png;base64,AA"))}, "image_with_roles"),
    "audio as text": ({"audio": "yes"}, "audio"),
    "audio as number": ({"audio": 1}, "audio"),
    "metadata as text": ({"metadata": "x"}, "metadata"),
    "unknown metadata": ({"metadata": {"seed": 1}}, "metadata.seed"),
    "negative prompt of another type": ({"metadata": {"negative_prompt": 1}}, "metadata.negative_prompt"),
    "watermark as text": ({"metadata": {"watermark": "no"}}, "metadata.watermark"),
    "empty client id": ({"client_business_id": ""}, "client_business_id"),
    "long client id": ({"client_business_id": "a" * 97}, "client_business_id"),
    "client id with a dot": ({"client_business_id": "a.b"}, "client_business_id"),
    "client id with a newline": ({"client_business_id": "a\n"}, "client_business_id"),
    "client id of another type": ({"client_business_id": 7}, "client_business_id"),
    "unknown field": ({"reference_images": [ONE]}, "reference_images"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_keeps_the_rules_is_understood(case: str) -> None:
    fields, expected = ACCEPTED[case]
    submission = parse(json.dumps(GOOD | fields).encode())
    assert {name: getattr(submission, name) for name in expected} == expected


@pytest.mark.parametrize("case", REFUSED)
async def test_what_breaks_a_rule_is_refused_by_name(case: str, client: httpx.AsyncClient, relay: Relay) -> None:
    fields, name = REFUSED[case]
    answer = await client.post(URL, json=GOOD | fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("invalid_request", "invalid_request_error")
    assert error["message"].startswith(f"{name}: ")
    assert relay.ledger.entries() == []


@pytest.mark.parametrize("missing", ["model", "prompt"])
def test_required_fields(missing: str) -> None:
    with pytest.raises(Refusal, match=f"{missing}: required"):
        parse(json.dumps({name: value for name, value in GOOD.items() if name != missing}).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff\xfe\x00", b'{"duration": NaN}', b"[" * 100_000, b'{"duration": ' + b"9" * 5000],
    ids=["empty", "torn", "array", "string", "no text", "NaN", "deep", "huge"],
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
@settings(max_examples=100, deadline=None)
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
