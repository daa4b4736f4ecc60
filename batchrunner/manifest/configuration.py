"""The user's own configuration: prices that hold for every manifest without prices of its own (DESIGN §6).

    [prices]
    currency = "USD"
    [prices.per_second]
    720P = 0.084
    "720P+Sound" = 0.126

The same shape as `prices` in a manifest, in `$XDG_CONFIG_HOME/batchrunner/config.toml` or where `BATCHRUNNER_CONFIG` says.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from batchrunner.diagnostic import Diagnostic
from batchrunner.errors import ManifestError
from batchrunner.manifest import words
from batchrunner.manifest.money import CURRENCY, Prices, micro
from batchrunner.manifest.schema import PricesSection
from batchrunner.manifest.source import Source, Span

FILE = Path("batchrunner", "config.toml")
VARIABLE = "BATCHRUNNER_CONFIG"
_SECTION = "prices"
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


def default_path(environ: Mapping[str, str]) -> Path:
    """Where the configuration is, whether or not there is one."""
    if named := environ.get(VARIABLE):
        return Path(named)
    base = environ.get("XDG_CONFIG_HOME") or environ.get("HOME", "~") + "/.config"
    return Path(base) / FILE


def prices(environ: Mapping[str, str]) -> Prices | None:
    """The user's prices, None without any; `ManifestError` with every mistake in the file."""
    path = default_path(environ)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        if environ.get(VARIABLE):
            raise _unreadable(path, error.strerror or "it is not there") from None
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except ValueError:
        raise _unreadable(path, "it is not UTF-8 text") from None
    return parse(Source(str(path), text))


def _unreadable(path: Path, reason: str) -> ManifestError:
    help = f"correct the file, or {VARIABLE}, which says where it is"
    return ManifestError(
        [Source(str(path), "").diagnostic("CFG501", f"the configuration cannot be read: {reason}", None, help=help)]
    )


def parse(source: Source) -> Prices | None:
    """The prices in a configuration's text."""
    try:
        written = tomllib.loads(source.text.replace("\r\n", "\n"), parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError([_not_toml(source, str(error))]) from None
    problems = [
        source.diagnostic(
            "CFG502", f"unknown key `{key}` in the configuration", _find(source, key), help="it knows `prices`"
        )
        for key in written
        if key != _SECTION
    ]
    section = written.get(_SECTION)
    found = None
    if section is not None:
        try:
            found = _prices(source, section, PricesSection.model_validate(_plain(section)), problems)
        except ValidationError as error:
            problems += [
                _mistake(source, details["loc"], details["type"], details["msg"]) for details in error.errors()
            ]
    if problems:
        raise ManifestError(problems)
    return found


def _prices(source: Source, written: Any, section: PricesSection, problems: list[Diagnostic]) -> Prices | None:
    kinds = [kind for kind in ("per_second", "per_request") if getattr(section, kind) is not None]
    if len(kinds) != 1:
        message, help = "`prices` needs per_second or per_request, one of them", "write `[prices.per_second]`"
        problems.append(source.diagnostic("CFG502", message, _find(source, _SECTION), help=help))
        return None
    amounts = {}
    for key, amount in written[kinds[0]].items():
        exact = micro(Decimal(amount))
        if exact is None:
            message = f"the amount {amount} has more than six decimals"
            problems.append(source.diagnostic("CFG502", message, _find(source, key), help="round it"))
        else:
            amounts[key] = exact
    return Prices(currency=section.currency or CURRENCY, amounts=amounts, per_second=kinds[0] == "per_second")


def _plain(value: Any) -> Any:
    """The same with floats, as the model expects them."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return float(value) if isinstance(value, Decimal) else value


def _not_toml(source: Source, text: str) -> Diagnostic:
    place, span = _PLACE.search(text), None
    if place and place[1]:
        at = source.offset(int(place[1]), int(place[2]))
        span = Span(at, at + 1)
    elif place:
        at = max(len(source.text.rstrip()) - 1, 0)
        span = Span(at, at + 1)
    message = f"this is not TOML: {_PLACE.sub('', text)}"
    return source.diagnostic("CFG501", message, span, help="write `720P = 0.084` below `[prices.per_second]`")


def _mistake(source: Source, loc: tuple[int | str, ...], kind: str, message: str) -> Diagnostic:
    key, parent = str(loc[-1]) if loc else _SECTION, (_SECTION, *loc[:-1])
    span = _find(source, key)
    if kind == "extra_forbidden":
        here = words.section(parent)[0]
        return source.diagnostic("CFG502", f"unknown key `{key}` in {here}", span, help=words.suggest(key, parent))
    sentence = message[:1].lower() + message[1:]
    return source.diagnostic("CFG502", f"`{key}`: {sentence}", span, help="write a price, such as 0.084")


def _find(source: Source, key: str) -> Span | None:
    """Where the key probably stands: TOML's reader keeps no places."""
    name = re.escape(key)
    head = rf"""^[ \t]*(?:\[[^\]\n]*\b{name}\b[^\]\n]*\]|["']?(?P<key>{name})["']?[ \t]*[=.])"""
    inline = rf"""[{{,][ \t]*["']?(?P<key>{name})["']?[ \t]*="""
    for pattern in (head, inline):
        if found := re.search(pattern, source.text, re.MULTILINE):
            span = found.span("key")
            return Span(*span) if span[0] >= 0 else Span(*found.span())
    return None
