"""The rules of the API page for one request, and what identifies it.

The page is the contract (kling-v3, `POST /v1/videos/generations`); each rule names the field that breaks it, so that the
manifest's diagnostics can point at the value wherever it came from.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from batchrunner.model import AspectRatio, Frame, FrameDialect, Mode, VideoRequest

DURATIONS = (5, 10, 15)
"""Seconds, the values of the API page."""
LONGEST_WITH_FRAMES = 10
"""Seconds; "image to video lasts 10 s at most" (API page)."""
MAX_FRAMES = 2
MAX_PROMPT = 2500
"""Characters; Kling's limit for prompt and negative prompt (API facts §5)."""

_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SORTED = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
# made once: `json.dumps` makes one for each call, and every job of a manifest comes here twice
_SURROGATE = re.compile("[\ud800-\udfff]")
_VISIBLE = re.compile(r"[^\s\x00-\x20\x7f-\xa0\ufeff]")
"""A prompt of nothing but spaces and control characters is refused as an empty one."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a request breaks."""

    field: str
    """The field whose value has to change: a parameter's name in the manifest."""
    message: str
    help: str


def violations(request: VideoRequest) -> list[Violation]:
    """Every rule of the API page that the request breaks; empty when it may be sent."""
    found: list[Violation] = []
    if not _VISIBLE.search(request.prompt):
        found.append(Violation("prompt", "the prompt is empty", "describe subject, action, scene, camera and style"))
    for field, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt or "")):
        if len(text) > MAX_PROMPT:
            found.append(
                Violation(field, f"{field} has {len(text)} characters, {MAX_PROMPT} are allowed", "shorten it")
            )
        if _SURROGATE.search(text):
            found.append(Violation(field, f"{field} holds half of a surrogate pair", "write the character itself"))
    if request.duration not in DURATIONS:
        found.append(
            Violation("duration", f"duration {request.duration} is not offered", "write 5, 10 or 15 (seconds)")
        )
    elif request.frames and request.duration > LONGEST_WITH_FRAMES:
        found.append(
            Violation(
                "duration",
                f"{request.duration} s is for text only; with frames a clip lasts {LONGEST_WITH_FRAMES} s at most",
                "write 5 or 10, or leave the frames out",
            )
        )
    if len(request.frames) > MAX_FRAMES:
        found.append(
            Violation(
                "frames", f"{len(request.frames)} frames are given, {MAX_FRAMES} are allowed", "keep first and last"
            )
        )
    return found


def canonical(request: VideoRequest) -> dict[str, Any]:
    """The request as plain data, frames by content: what the fingerprint is taken of."""
    return {
        "model": request.model,
        "prompt": request.prompt,
        "mode": request.mode.value,
        "duration": request.duration,
        "aspect_ratio": request.aspect_ratio.value,
        "audio": request.audio,
        "frames": [frame.sha256 for frame in request.frames],
        "negative_prompt": request.negative_prompt,
        "watermark": request.watermark,
    }


def fingerprint(request: VideoRequest) -> str:
    """SHA-256 over the resolved request: equal exactly when the same clip is asked for."""
    text = _SORTED.encode(canonical(request))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def to_json(request: VideoRequest) -> str:
    """The request as it is stored: everything that is needed to send it again."""
    stored = canonical(request)
    stored["frames"] = [
        {"source": frame.source, "sha256": frame.sha256, "local": frame.local, "size": frame.size}
        for frame in request.frames
    ]
    return _COMPACT.encode(stored)


def from_json(text: str) -> VideoRequest:
    """What `to_json` wrote."""
    stored = json.loads(text)
    frames = tuple(map(to_frame, stored.pop("frames")))
    mode, ratio = Mode(stored.pop("mode")), AspectRatio(stored.pop("aspect_ratio"))
    return VideoRequest(**stored, mode=mode, aspect_ratio=ratio, frames=frames)


def to_frame(stored: dict[str, Any]) -> Frame:
    """A frame as it is stored."""
    size = tuple(stored["size"]) if stored["size"] else None
    return Frame(source=stored["source"], sha256=stored["sha256"], local=stored["local"], size=size)


def body(request: VideoRequest, *, image_urls: tuple[str, ...], purchase_id: str, dialect: FrameDialect) -> bytes:
    """The exact bytes of the submission, with the API page's field names.

    Everything that has a default is written out: what is bought does not depend on the provider's defaults.
    """
    wire: dict[str, Any] = {
        "model": request.model,
        "prompt": request.prompt,
        "mode": request.mode.value,
        "duration": request.duration,
        "aspect_ratio": request.aspect_ratio.value,
        "audio": request.audio,
    }
    if image_urls and dialect is FrameDialect.URLS:
        wire["image_urls"] = list(image_urls)
    elif image_urls:
        roles = ("first_frame", "last_frame")
        wire["image_with_roles"] = [{"url": url, "role": role} for url, role in zip(image_urls, roles, strict=False)]
    metadata = {"negative_prompt": request.negative_prompt, "watermark": request.watermark}
    if given := {name: value for name, value in metadata.items() if value is not None}:
        wire["metadata"] = given
    wire["client_business_id"] = purchase_id
    return _COMPACT.encode(wire).encode("utf-8")
