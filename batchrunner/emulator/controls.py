"""The emulator's own endpoints, which no relay has: its ledger, what it does wrong, and its clock. They need no key."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from batchrunner.emulator import answers, scenarios
from batchrunner.emulator.clock import ManualClock
from batchrunner.emulator.relay import Relay
from batchrunner.errors import UsageError

FARTHEST = 1e9
"""Seconds, three decades: where expiries still are years of four digits."""


def routes() -> list[Route]:
    """`GET /__ledger`, `GET` and `POST /__config`, `GET` and `POST /__clock`."""
    return [
        Route("/__ledger", _ledger, methods=["GET"]),
        Route("/__config", _config, methods=["GET"]),
        Route("/__config", _configure, methods=["POST"]),
        Route("/__clock", _clock, methods=["GET"]),
        Route("/__clock", _advance, methods=["POST"]),
    ]


def _relay(request: Request) -> Relay:
    relay: Relay = request.app.state.relay
    return relay


async def _ledger(request: Request) -> Response:
    return answers.answer(answers.ledger(_relay(request)))


async def _config(request: Request) -> Response:
    return answers.answer(answers.config(_relay(request)))


async def _configure(request: Request) -> Response:
    """Of the shape of a scenario's file; what is not given stays as it is."""
    relay = _relay(request)
    try:
        relay.configure(scenarios.read(await _json(request), "/__config"))
    except UsageError as error:
        return answers.error(400, f"{error}; {error.fix}", "invalid_request_error", code="invalid_config")
    return answers.answer(answers.config(relay))


async def _clock(request: Request) -> Response:
    clock = _relay(request).clock
    return answers.answer({"now": clock(), "manual": isinstance(clock, ManualClock)})


async def _advance(request: Request) -> Response:
    """`{"advance": SECONDS}`, only with `--clock manual`."""
    clock, body = _relay(request).clock, await _json(request)
    if not isinstance(clock, ManualClock):
        message = "the clock is the real one; start with --clock manual"
        return answers.error(409, message, "invalid_request_error", code="clock_is_real")
    seconds = body.get("advance") if isinstance(body, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < FARTHEST:
        message = 'say {"advance": SECONDS}; a clock only goes forward'
        return answers.error(400, message, "invalid_request_error", code="invalid_clock")
    return answers.answer({"now": clock.advance(seconds), "manual": True})


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        return None
