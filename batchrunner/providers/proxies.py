"""The proxies that the environment names: which they are, and how to go without them (reliability notes §5, S24).

A proxy that is asked for https sees which host is talked to, and neither the key nor a prompt: those are inside the TLS. What
leads to this machine never goes over one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from urllib.parse import urlsplit

NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def proxies(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each variable that names a proxy, and the proxy's host and port; a user and a password stay where they are."""
    for name in NAMES:
        if value := environ.get(name) or environ.get(name.lower()):
            yield name, _host(value)


def over(base_url: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The proxy that requests to an address of the API go over, as above; None when they go straight."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" or _is_exempt(parts.hostname or "", environ):
        return None
    return next((one for one in proxies(environ) if one[0] != "HTTP_PROXY"), None)


def _is_exempt(host: str, environ: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names the host, or a domain that it is in."""
    exempt = [one.strip().lstrip(".") for one in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")]
    return any(one == "*" or (one and (host == one or host.endswith(f".{one}"))) for one in exempt)


def forget(environ: MutableMapping[str, str]) -> None:
    """Go without any proxy from now on."""
    for name in NAMES:
        environ.pop(name, None)
        environ.pop(name.lower(), None)
    environ["NO_PROXY"] = "*"  # some systems name a proxy elsewhere than in the environment


def _host(address: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(address if "//" in address else f"//{address}")
        if parts.hostname:
            return parts.hostname + (f":{parts.port}" if parts.port else "")
    return "an address that cannot be read"
