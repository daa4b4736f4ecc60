"""One request: the rules of the API page, its exact bytes, and what identifies it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchrunner.emulator import validation
from batchrunner.model import AspectRatio, Frame, FrameDialect, Mode, VideoRequest
from batchrunner.request import MAX_PROMPT, body, canonical, fingerprint, from_json, to_json, violations

FIRST = Frame(source="frames/a.png", sha256="a" * 64, local=True, size=(1280, 720))
LAST = Frame(source="https://example.com/b.jpg", sha256="b" * 64, local=False)
URLS = ("https://files.toapis.com/a.png", "https://files.toapis.com/b.jpg")
PLAIN = VideoRequest(prompt="a cat")
RICH = VideoRequest(
    prompt="一只猫在雨中 — “slow” [dolly]",
    mode=Mode.PRO,
    duration=10,
    aspect_ratio=AspectRatio.PORTRAIT,
    frames=(FIRST, LAST),
    audio=True,
    negative_prompt="blur",
    watermark=False,
)


def request(**changes):
    return replace(PLAIN, **changes)


# the rules

RULES = [
    # what breaks them, which fields are named
    pytest.param({}, [], id="nothing"),
    pytest.param({"prompt": ""}, ["prompt"], id="empty prompt"),
    pytest.param({"prompt": " \x1b\ufeff"}, ["prompt"], id="invisible prompt"),
    pytest.param({"prompt": " \n\t　"}, ["prompt"], id="blank prompt"),
    pytest.param({"prompt": "x" * MAX_PROMPT}, [], id="longest prompt"),
    pytest.param({"prompt": "x" * (MAX_PROMPT + 1)}, ["prompt"], id="prompt too long"),
    pytest.param({"prompt": "猫" * MAX_PROMPT}, [], id="characters are counted, not bytes"),
    pytest.param({"negative_prompt": ""}, [], id="empty negative prompt"),
    pytest.param({"negative_prompt": "x" * (MAX_PROMPT + 1)}, ["negative_prompt"], id="negative prompt too long"),
    pytest.param({"prompt": "half \ud83d"}, ["prompt"], id="half a surrogate pair"),
    pytest.param({"negative_prompt": "\udc00"}, ["negative_prompt"], id="the other half"),
    pytest.param({"prompt": "whole 😀"}, [], id="a whole pair"),
    pytest.param({"duration": 5}, [], id="5 s"),
    pytest.param({"duration": 10}, [], id="10 s"),
    pytest.param({"duration": 15}, [], id="15 s of text"),
    pytest.param({"duration": 0}, ["duration"], id="0 s"),
    pytest.param({"duration": -5}, ["duration"], id="-5 s"),
    pytest.param({"duration": 6}, ["duration"], id="6 s"),
    pytest.param({"duration": 20}, ["duration"], id="20 s"),
    pytest.param({"frames": (FIRST,)}, [], id="one frame"),
    pytest.param({"frames": (FIRST, LAST)}, [], id="two frames"),
    pytest.param({"frames": (FIRST, LAST, FIRST)}, ["frames"], id="three frames"),
    pytest.param({"frames": (FIRST,), "duration": 10}, [], id="10 s with a frame"),
    pytest.param({"frames": (FIRST,), "duration": 15}, ["duration"], id="15 s with a frame"),
    pytest.param({"frames": (FIRST,), "duration": 7}, ["duration"], id="7 s with a frame is said once"),
    pytest.param(
        {"prompt": "", "duration": 3, "frames": (FIRST,) * 3, "negative_prompt": "x" * 9999},
        ["prompt", "negative_prompt", "duration", "frames"],
        id="all at once",
    ),
]


@pytest.mark.parametrize(("changes", "fields"), RULES)
def test_rules(changes, fields):
    found = violations(request(**changes))
    assert [violation.field for violation in found] == fields
    assert all(violation.message and violation.help for violation in found)


# the bytes


def wire(request, *, image_urls=(), dialect=FrameDialect.URLS):
    return json.loads(body(request, image_urls=image_urls, purchase_id="br_1", dialect=dialect))


def test_every_default_is_written_out():
    assert wire(PLAIN) == {
        "model": "kling-v3",
        "prompt": "a cat",
        "mode": "std",
        "duration": 5,
        "aspect_ratio": "16:9",
        "audio": False,
        "client_business_id": "br_1",
    }


@pytest.mark.parametrize(
    ("dialect", "frames"),
    [
        (FrameDialect.URLS, {"image_urls": list(URLS)}),
        (
            FrameDialect.ROLES,
            {"image_with_roles": [{"url": URLS[0], "role": "first_frame"}, {"url": URLS[1], "role": "last_frame"}]},
        ),
    ],
)
def test_a_full_body(dialect, frames):
    assert wire(RICH, image_urls=URLS, dialect=dialect) == {
        "model": "kling-v3",
        "prompt": RICH.prompt,
        "mode": "pro",
        "duration": 10,
        "aspect_ratio": "9:16",
        "audio": True,
        "metadata": {"negative_prompt": "blur", "watermark": False},
        "client_business_id": "br_1",
        **frames,
    }


@pytest.mark.parametrize("dialect", FrameDialect)
def test_one_frame_is_the_first(dialect):
    sent = wire(request(frames=(FIRST,)), image_urls=URLS[:1], dialect=dialect)
    if dialect is FrameDialect.URLS:
        assert sent["image_urls"] == [URLS[0]]
    else:
        assert sent["image_with_roles"] == [{"url": URLS[0], "role": "first_frame"}]


@pytest.mark.parametrize("dialect", FrameDialect)
def test_without_frames_neither_dialect_is_there(dialect):
    assert not {"image_urls", "image_with_roles"} & set(wire(PLAIN, dialect=dialect))


@pytest.mark.parametrize(
    ("changes", "metadata"),
    [
        ({}, None),
        ({"negative_prompt": "x"}, {"negative_prompt": "x"}),
        ({"negative_prompt": ""}, {"negative_prompt": ""}),
        ({"watermark": True}, {"watermark": True}),
        ({"watermark": False}, {"watermark": False}),
    ],
)
def test_metadata_holds_only_what_was_said(changes, metadata):
    assert wire(request(**changes)).get("metadata") == metadata


def test_types_on_the_wire():
    sent = wire(RICH, image_urls=URLS)
    assert type(sent["duration"]) is int  # a string is refused
    assert type(sent["audio"]) is bool


def test_the_bytes_are_compact_utf8_and_always_the_same():
    one = body(RICH, image_urls=URLS, purchase_id="br_1", dialect=FrameDialect.URLS)
    assert one == body(RICH, image_urls=URLS, purchase_id="br_1", dialect=FrameDialect.URLS)
    assert "一只猫".encode() in one
    assert b'": ' not in one


# identity

words = st.text(max_size=12)
frames = st.builds(
    Frame,
    source=words,
    sha256=st.sampled_from(["0" * 64, "1" * 64, "2" * 64]),
    local=st.booleans(),
    size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)
requests = st.builds(
    VideoRequest,
    prompt=st.sampled_from(["a", "b", "猫", "\ud83d"]) | words,
    mode=st.sampled_from(Mode),
    duration=st.sampled_from([5, 10, 15]),
    aspect_ratio=st.sampled_from(AspectRatio),
    frames=st.lists(frames, max_size=2).map(tuple),
    audio=st.booleans(),
    negative_prompt=st.none() | words,
    watermark=st.none() | st.booleans(),
)


@given(requests, requests)
def test_fingerprints_are_equal_exactly_when_the_requests_are(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (canonical(one) == canonical(other))


@given(requests, st.data())
def test_any_change_that_buys_another_clip_is_another_fingerprint(one, data):
    field = data.draw(st.sampled_from(sorted(canonical(one))))
    other = canonical(data.draw(requests))[field]
    changes = {
        "frames": (*one.frames, replace(FIRST, sha256="f" * 64)),
        "mode": Mode(other) if field == "mode" else None,
        "aspect_ratio": AspectRatio(other) if field == "aspect_ratio" else None,
        "model": "kling-v4",
    }
    changed = replace(one, **{field: changes.get(field, other)})
    assert (fingerprint(changed) == fingerprint(one)) == (getattr(changed, field) == getattr(one, field))


@given(requests, words, st.booleans(), st.none() | st.tuples(st.integers(1), st.integers(1)))
def test_where_a_frame_lies_is_not_what_is_asked_for(one, source, local, size):
    elsewhere = tuple(replace(frame, source=source, local=local, size=size) for frame in one.frames)
    assert fingerprint(replace(one, frames=elsewhere)) == fingerprint(one)


def test_first_and_last_are_not_the_same():
    assert fingerprint(request(frames=(FIRST, LAST))) != fingerprint(request(frames=(LAST, FIRST)))


def test_fingerprints_stay_what_they_are():
    """They are in people's databases: another number here buys every clip again."""
    assert fingerprint(PLAIN) == "d80874d192e53d03b97c5fd197ac22a965a3c851a75f3583fa6b0d739f9e2f9a"
    assert fingerprint(RICH) == "d3268e29748d0e73116649fc1ca290a3b1b6ec9756474acd22c8b34c2021ef49"


@given(requests)
def test_what_is_stored_comes_back(one):
    assert from_json(to_json(one)) == one


@settings(max_examples=150)
@given(requests, st.sampled_from(FrameDialect))
def test_what_keeps_the_rules_the_emulator_takes(one, dialect):
    """Two readings of one page: ours before a request is sent, the emulator's when it comes in."""
    if violations(one):
        return
    sent = body(one, image_urls=URLS[: len(one.frames)], purchase_id="br_1", dialect=dialect)
    taken = validation.parse(sent)
    assert (taken.prompt, taken.mode, taken.duration, taken.audio) == (one.prompt, one.mode, one.duration, one.audio)
    assert (taken.aspect_ratio, taken.billing_key) == (one.aspect_ratio, one.billing_key)
    assert (taken.negative_prompt, taken.watermark) == (one.negative_prompt, one.watermark)
    assert (taken.images, taken.client_business_id) == (URLS[: len(one.frames)], "br_1")
