"""What a manifest may name as a frame: paths and URLs, before any file is opened, and what pairs should have in common."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from batchrunner.media.frames import FrameProblem
from batchrunner.model import AspectRatio, Frame

MAX_URL = 4096
PAIR_TOLERANCE = 0.03
"""How far the ratios of a first and a last frame may differ before the clip would have to stretch one of them."""
RATIO_TOLERANCE = 0.1
"""How far a frame may be from the asked aspect_ratio; less is lost in any crop."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?://|(?<=data:))")  # two letters at least: C:/ is a path
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_url(value: str) -> bool:
    """Whether a frame is a URL, of whatever scheme, and not a path."""
    return _URL.match(value.strip()) is not None


def url_problem(value: str) -> FrameProblem | None:
    """Why the provider could not read this URL."""
    parts = _split(value)
    if parts is None or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f\\]", value) or len(value) > MAX_URL:
        return FrameProblem(code="FRM311", message="this is not a whole URL", help="write https://host/path.png")
    if parts.scheme.lower() not in ("http", "https"):
        message = f"a {parts.scheme}: URL cannot be read by the provider"
        return FrameProblem(code="FRM311", message=message, help="use an http or https URL, or a local file")
    if parts.username is not None or parts.password is not None:
        help = "use a public or a signed URL, or a local file"
        return FrameProblem(code="FRM312", message="a URL may not hold a user name or a password", help=help)
    return None


def is_private_host(value: str) -> bool:
    """Whether only this machine or its network can reach the URL."""
    parts = _split(value)
    host = (parts.hostname if parts else None) or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def url_frame(value: str) -> tuple[Frame, bool]:
    """The frame of a URL, and whether the whole URL must be kept apart because its query may be a signature."""
    parts = _split(value)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")) if parts else ""
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
    private = "?" in value or "#" in value or "@" in (parts.netloc if parts else "")
    return Frame(source=shown if private else value, sha256=digest, local=False), private


def path_problem(value: str) -> FrameProblem | None:
    """Why this cannot be the path of a file."""
    if _CONTROL.search(value):
        help = "a backslash in double quotes begins an escape: use '…', or write / between folders"
        return FrameProblem(code="FRM301", message="this path holds control characters", help=help)
    if not value.strip():
        return FrameProblem(
            code="FRM301", message="this path is empty", help="name an image file, or leave the key out"
        )
    return None


def pair_warning(first: Frame, last: Frame) -> str | None:
    """What is wrong with two frames as the ends of one clip."""
    if first.size is None or last.size is None or _apart(_ratio(first.size), _ratio(last.size)) <= PAIR_TOLERANCE:
        return None
    return f"the first frame is {_shown(first.size)}, the last {_shown(last.size)}: one of them will be cropped"


def ratio_warning(side: str, frame: Frame, asked: AspectRatio) -> str | None:
    """What is wrong with a frame in a clip of the asked shape."""
    if frame.size is None or _apart(_ratio(frame.size), asked.value_of) <= RATIO_TOLERANCE:
        return None
    return f"the {side} frame is {_shown(frame.size)}, the clip is to be {asked.value}"


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    return parts


def _ratio(size: tuple[int, int]) -> float:
    return size[0] / size[1]


def _apart(one: float, other: float) -> float:
    return max(one, other) / min(one, other) - 1


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
