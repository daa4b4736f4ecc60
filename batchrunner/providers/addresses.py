"""Which addresses may be asked: the API's own, as the user names it, and where its result files may lie.

A result address comes from an answer, so it must not make this machine ask its own services or its network's: every
address that a name resolves to has to be public, and the connection goes to the very address that was looked at, so that a
name cannot mean another one a moment later (reliability notes S5, S7).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The numeric addresses of a host name and a port."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"[A-Za-z0-9_.:%-]+\Z")


async def resolved(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_plain_host(host: str) -> bool:
    """Whether a host is written as one: a name or a number, without a dot at its end or signs that look like others."""
    return bool(_HOST.match(host)) and not host.endswith(".")


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    return host == "localhost" or ((address := _number(host)) is not None and address.is_loopback)


def is_public(host: str) -> bool:
    """Whether a numeric address is one of the open internet, whatever it is wrapped in."""
    address = _number(host)
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if (inner := address.ipv4_mapped) is not None:
            return _is_open(inner)
        if address in _NAT64:
            return _is_open(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if not all(_is_open(one) for one in (address.sixtofour, *(address.teredo or ())) if one is not None):
            return False
    return _is_open(address)


def _is_open(address: Address) -> bool:
    closed = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    return address.is_global and not closed


def _number(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def may_read(url: str, *, api_host: str) -> bool:
    """Result files come over https; over http only from this machine, and only when the API is on it too."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # absurd ones raise here rather than inside a socket
    except ValueError:
        return False
    host = parts.hostname or ""
    if is_loopback(host):
        return is_loopback(api_host) and parts.scheme in ("http", "https")
    return parts.scheme == "https" and bool(host) and parts.username is None


async def checked(host: str, port: int, *, api_host: str, resolve: Resolve) -> list[str] | None:
    """The addresses that a result file of this host may be asked at; None where it is asked by its name.

    Empty when any of them is not public. The API's own host has been named by the user; a proxy resolves names itself.
    """
    if host == api_host or is_loopback(host) or _by_proxy(host):
        return None
    found = await resolve(host, port)
    good = all(is_public(one) or (is_loopback(api_host) and is_loopback(one)) for one in found)
    return found if good else []


def _by_proxy(host: str) -> bool:
    proxies = getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not proxy_bypass(host)


def joined(base: str, url: str) -> str:
    """The address that `url` means on a page at `base`; empty when it is none."""
    try:
        return urljoin(base, url)
    except ValueError:
        return ""
