"""What the API is reached with: its address, the key, and what certificates are checked with; each proven before its use."""

from __future__ import annotations

import os
import re
import ssl
from urllib.parse import urlsplit

import httpx

from batchrunner.errors import AccountError, ProviderError, UsageError
from batchrunner.providers.addresses import is_loopback, is_plain_host

_KEY = re.compile(r"^[\x21-\x7e]{8,256}$")


def checked_key(text: str | None) -> str:
    """The API key without white space around it; `AccountError` when it is missing or can never work."""
    key = (text or "").strip()
    if not key:
        raise AccountError(
            "TOAPIS_API_KEY is not set, so nothing was sent and nothing was paid",
            fix="export TOAPIS_API_KEY=… and run the same command, or try it free of charge with --emulator",
        )
    if not _KEY.match(key):
        raise AccountError(
            "TOAPIS_API_KEY is not a key: it has white space or other characters inside, or is too short; nothing was sent",
            fix="copy the key from the ToAPIs console again",
        )
    return key


def checked_base_url(text: str) -> str:
    """The API's address without a trailing slash or /v1: https, or http on this machine; else `UsageError`."""
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
        httpx.URL(text.strip())
    except (ValueError, httpx.InvalidURL):
        host, parts = None, urlsplit("")
    fix = "write TOAPIS_BASE_URL=https://toapis.com, or leave it out"
    if not host or not is_plain_host(host) or parts.query or parts.fragment:
        raise UsageError("TOAPIS_BASE_URL is not an address", fix=fix)
    if parts.username is not None or parts.password is not None:
        raise UsageError("TOAPIS_BASE_URL may not hold a user or a password", fix=fix)
    if not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise UsageError(
            "TOAPIS_BASE_URL must be https, or http on this machine: the key would travel unprotected", fix=fix
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def tls() -> ssl.SSLContext:
    """What servers' certificates are checked with; `ProviderError` when the authorities cannot be read."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # its text has no file name
        given = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "")
        file = f"{given}={os.environ[given]}" if given else "the package certifi"
        raise ProviderError(
            f"the certificate authorities in {file} cannot be read ({error.strerror or error}); nothing was sent",
            fix=f"let {given} name a readable PEM file, or unset it"
            if given
            else "make its cacert.pem readable, or install batchrunner again",
        ) from None
