"""The API page's rules for one submission, on the raw JSON: what breaks one is refused, with the field's name.

The page is `kling-v3`, `POST /v1/videos/generations`; "facts" are the API facts gathered around it. A field that the page
does not have is refused too: a real relay might ignore it, and a batch would be bought without what it asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, NoReturn

MODEL = "kling-v3"
MODES = ("std", "pro")
DURATIONS = (5, 10, 15)
LONGEST_WITH_IMAGES = 10
"""Seconds; 15 s is for text only (API page)."""
ASPECT_RATIOS = ("16:9", "9:16", "1:1")
ROLES = ("first_frame", "last_frame")
"""Of `image_with_roles`, the dialect of the page's newer generations (facts §0)."""
MAX_IMAGES = 2
MAX_TEXT = 2500
"""Characters of a prompt and of a negative prompt; Kling's limit (facts §0, §5)."""
SOMETHING = r"[^\s\x00-\x20\x7f-\xa0\ufeff]"
"""Of a prompt: white space and control characters say nothing. They are spelled out because readers of JSON schemas do not
agree on what `\\s` is; on this and the next two they do."""
CLIENT_ID = r"[A-Za-z0-9_-]{1,96}"
"""What a live client limits itself to (facts §4); ToAPIs documents no charset."""
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
IMAGE_URL = rf"https?://[A-Za-z0-9._-]+(:({_PORT}))?([/?#]{SOMETHING}*)?"
"""A public address (API page): a host's name or number in ASCII and, if need be, a port; base64 data is none."""
REQUIRED = ("model", "prompt")


class Refusal(Exception):
    """The submission breaks a rule; the message names the field, and `code` is the word for the rule."""

    def __init__(self, field: str, rule: str, *, code: str = "invalid_request") -> None:
        super().__init__(f"{field}: {rule}" if field else rule)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission that keeps every rule, with the page's defaults filled in."""

    model: str
    prompt: str
    mode: str = "std"
    duration: int = 5
    """Seconds."""
    aspect_ratio: str = "16:9"
    audio: bool = False
    images: tuple[str, ...] = ()
    """URLs of the first frame, or of the first and the last."""
    negative_prompt: str | None = None
    watermark: bool | None = None
    client_business_id: str | None = None

    @property
    def billing_key(self) -> str:
        """The API page's billing map."""
        resolution = "1080P" if self.mode == "pro" else "720P"
        return f"{resolution}+Sound" if self.audio else resolution

    @property
    def likeness(self) -> str:
        """What two submissions of one clip have in common, whatever their own ids are and wherever their images lie."""
        paths = tuple(re.sub(r"^https?://[^/?#]*", "", url) for url in self.images)
        said = asdict(replace(self, client_business_id=None, images=paths))
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:20]


def parse(body: bytes) -> Submission:
    """The submission that a request's body holds; `Refusal` for the first rule that it breaks."""
    wire = _json_object(body)
    if "callback_url" in wire:  # its origin must be that of the key's own webhook, and no key here has one
        raise Refusal("callback_url", "the key has no webhook", code="webhook_not_configured")
    if unknown := [name for name in wire if name not in _FIELDS]:
        raise Refusal(unknown[0], "unknown field")
    for required in REQUIRED:
        if required not in wire:
            raise Refusal(required, "required")
    if "image_urls" in wire and "image_with_roles" in wire:
        raise Refusal("image_urls", "cannot be combined with image_with_roles")
    fields: dict[str, Any] = {}
    for name, value in wire.items():
        found = _FIELDS[name](value)
        if not fields.keys().isdisjoint(found):
            raise Refusal("metadata.client_business_id", "is given at the top as well")
        fields |= found
    submission = Submission(**fields)
    if submission.images and submission.duration > LONGEST_WITH_IMAGES:
        raise Refusal("duration", f"{submission.duration} is for text to video only; with images at most 10")
    return submission


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        wire = json.loads(
            body.decode(), parse_constant=_no_constant
        )  # of bytes Python would read UTF-16 and -32 as well
    except (ValueError, RecursionError):
        raise Refusal("", "the body is not valid JSON") from None
    if not isinstance(wire, dict):
        raise Refusal("", "the body must be a JSON object")
    return wire


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")  # Python reads NaN and Infinity, the standard has neither


def _one_of(name: str, values: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, str) or value not in values:
            raise Refusal(name, f"must be one of {', '.join(values)}")
        return {name: value}

    return check


def _text(name: str) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, str):
            raise Refusal(name, "must be a string")
        if len(value) > MAX_TEXT:
            raise Refusal(name, f"at most {MAX_TEXT} characters")
        return {name.rpartition(".")[2]: value}

    return check


def _boolean(name: str) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, bool):
            raise Refusal(name, "must be a boolean")
        return {name.rpartition(".")[2]: value}

    return check


def _prompt(value: Any) -> dict[str, Any]:
    checked = _text("prompt")(value)
    if not re.search(SOMETHING, value):
        raise Refusal("prompt", "must not be empty")
    return checked


def _duration(value: Any) -> dict[str, Any]:
    if type(value) is not int or value not in DURATIONS:  # `True` is an int to isinstance, 5.0 equals 5
        raise Refusal("duration", "must be an integer, one of 5, 10, 15")
    return {"duration": value}


def _image_urls(value: Any) -> dict[str, Any]:
    if not isinstance(value, list):
        raise Refusal("image_urls", "must be an array of URLs")
    if len(value) > MAX_IMAGES:
        raise Refusal("image_urls", f"at most {MAX_IMAGES} images")
    return {"images": tuple(_url("image_urls", url) for url in value)}


def _image_with_roles(value: Any) -> dict[str, Any]:
    name = "image_with_roles"
    if not isinstance(value, list):
        raise Refusal(name, "must be an array of objects with url and role")
    by_role: dict[str, str] = {}
    for item in value:
        if not isinstance(item, dict) or set(item) != {"url", "role"}:
            raise Refusal(name, "each item must have url and role, and nothing else")
        role = item["role"]
        if not isinstance(role, str) or role not in ROLES:
            raise Refusal(name, f"role must be one of {', '.join(ROLES)}")
        if role in by_role:
            raise Refusal(name, f"{role} is given twice")
        by_role[role] = _url(name, item["url"])
    if "last_frame" in by_role and "first_frame" not in by_role:
        raise Refusal(name, "a last_frame needs a first_frame")
    return {"images": tuple(by_role[role] for role in ROLES if role in by_role)}


def _url(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(name, "must hold strings")
    if not re.fullmatch(IMAGE_URL, value):
        raise Refusal(name, "must be an http or https URL; base64 data is not accepted, upload the image first")
    return value


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal("metadata", "must be an object")
    fields: dict[str, Any] = {}
    for name, inner in value.items():
        if name not in _METADATA:
            raise Refusal(f"metadata.{name}", "unknown field")
        fields.update(_METADATA[name](inner))
    return fields


def _client_business_id(value: Any) -> dict[str, Any]:
    if not isinstance(value, str) or not re.fullmatch(CLIENT_ID, value):
        raise Refusal("client_business_id", "must be 1 to 96 of A-Z a-z 0-9 _ -")
    return {"client_business_id": value}


_METADATA: dict[str, Callable[[Any], dict[str, Any]]] = {
    "negative_prompt": _text("metadata.negative_prompt"),
    "watermark": _boolean("metadata.watermark"),
    "client_business_id": _client_business_id,  # "also accepted inside metadata" (facts §0)
}
_FIELDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "model": _one_of("model", (MODEL,)),
    "prompt": _prompt,
    "mode": _one_of("mode", MODES),
    "duration": _duration,
    "aspect_ratio": _one_of("aspect_ratio", ASPECT_RATIOS),
    "image_urls": _image_urls,
    "image_with_roles": _image_with_roles,
    "audio": _boolean("audio"),
    "metadata": _metadata,
    "client_business_id": _client_business_id,
}
"""Each field of the page and of facts §0, and the check that turns it into fields of `Submission`."""
