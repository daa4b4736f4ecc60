"""Endpoints that fail as a scenario has it. The wrapped endpoint does its work or not; the ledger knows which."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from functools import wraps

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from batchrunner.emulator import answers
from batchrunner.emulator.chances import Strike
from batchrunner.emulator.faults import Break, Delay, How, Reply, Rewrite, Spoil, Stage
from batchrunner.emulator.ledger import Entry
from batchrunner.emulator.limits import Category
from batchrunner.emulator.relay import Relay
from batchrunner.emulator.validation import Refusal, parse
from batchrunner.emulator.wire import Cut, Died, captured

Endpoint = Callable[[Request], Awaitable[Response]]

PROMISED = 4096
"""Bytes that a wrong `Content-Length` promises and that never come."""
PAGE = "<html><head><title>Sign in</title></head><body><h1>Please sign in to the network</h1></body></html>"


def limited(category: Category, endpoint: Endpoint) -> Endpoint:
    """Behind the rate limiter, with its headers on every answer."""

    @wraps(endpoint)
    async def admitted(request: Request) -> Response:
        admission = _relay(request).admit(category)
        if admission is None:
            return await endpoint(request)
        if admission.granted:
            response = await endpoint(request)
        else:
            message = "Async task request rate exceeded"
            response = answers.answer({"error": {"code": "rate_limit_exceeded", "message": message}}, 429)
        response.headers.update(admission.headers)
        return response

    return admitted


def hostile(stage: Stage, endpoint: Endpoint) -> Endpoint:
    """With the faults of this stage."""

    @wraps(endpoint)
    async def struck(request: Request) -> Response:
        relay = _relay(request)
        if not relay.chances.rules:
            return await endpoint(request)
        task_id = request.path_params.get("task_id")
        entry = relay.find(task_id) if task_id is not None else None
        prompt, likeness = await _asked(request, stage) if entry is None else (entry.submission.prompt, "")
        strikes = relay.chances.strikes(stage, now=relay.clock(), prompt=prompt, likeness=likeness, entry=entry)
        response: Response | None = None
        for strike in strikes:
            if not isinstance(strike.rule.fault.effect, Delay):
                response = await _wrong(strike, request, endpoint, relay, entry)
        response = response or await endpoint(request)
        for strike in strikes:
            if isinstance(strike.rule.fault.effect, Delay):
                relay.fire(strike)
                await relay.wait(strike.seconds(relay.speed))
        return response

    return struck


def _relay(request: Request) -> Relay:
    relay: Relay = request.app.state.relay
    return relay


async def _wrong(strike: Strike, request: Request, endpoint: Endpoint, relay: Relay, entry: Entry | None) -> Response:
    """What the client gets instead; a fault that needs an answer to spoil leaves a refusal as it is, and has not fired."""
    effect = strike.rule.fault.effect
    match effect:
        case Reply(served=False):
            relay.fire(strike)
            return _reply(effect, strike, relay)
        case Break(how=How.DIE, served=False):
            relay.fire(strike)
            return Died(reset=bool(strike.parameters.get("reset")))
    response = await endpoint(request)
    if not 200 <= response.status_code < 300 or request.method == "HEAD":
        return response
    match effect:
        case Spoil(how):
            relay.fire(strike)
            return await _spoilt(how, response, request, relay, entry)
        case Rewrite(change, needs_another):
            body = json.loads(bytes(response.body))
            other = _another(relay, str(body.get("id")))
            if other is None and needs_another:
                return response
            relay.fire(strike, _task_of(response))
            return Response(change(body, other or ""), media_type="application/json")
    relay.fire(strike, _task_of(response))
    match effect:
        case Reply():
            return _reply(effect, strike, relay)
        case Break(how=How.DIE):
            return Died(reset=bool(strike.parameters.get("reset")))
        case _:
            return Cut(request, response, relay, silence=strike.seconds(relay.speed))


def _reply(reply: Reply, strike: Strike, relay: Relay) -> Response:
    headers = dict(reply.headers)
    if (wait := strike.parameters.get("retry_after")) is not None:
        headers["retry-after"] = wait if isinstance(wait, str) else str(max(math.ceil(wait / relay.speed), 1))
    return Response(reply.body, status_code=reply.status, media_type=reply.media_type, headers=headers)


async def _spoilt(how: str, whole: Response, request: Request, relay: Relay, entry: Entry | None) -> Response:
    if how == "html":
        return HTMLResponse(PAGE)
    if how == "wrong_length":
        return Cut(request, whole, relay, promise=PROMISED)
    if how in ("wrong_clip", "last_frame_ignored") and entry is not None:
        made = relay.workshop.wrong_clip if how == "wrong_clip" else relay.workshop.without_last_frame
        path = await to_thread.run_sync(made, entry)
        return FileResponse(path, media_type="video/mp4", stat_result=path.stat())
    _start, body = await captured(whole, request)
    return Response(body[: len(body) // 2], media_type="video/mp4")


def _task_of(response: Response) -> str | None:
    """The task that an answer of the API is about."""
    if isinstance(response, FileResponse):
        return None
    try:
        body = json.loads(bytes(response.body))
    except ValueError:
        return None
    task_id = body.get("id") if isinstance(body, dict) else None
    return task_id if isinstance(task_id, str) else None


def _another(relay: Relay, task_id: str) -> str | None:
    """The youngest other task."""
    return next((entry.id for entry in reversed(relay.ledger.entries()) if entry.id != task_id), None)


async def _asked(request: Request, stage: Stage) -> tuple[str, str]:
    """The prompt and the likeness of a submission that keeps the rules; of other requests nothing."""
    if stage is not Stage.SUBMIT:
        return "", ""
    try:
        wanted = parse(await request.body())
    except Refusal:
        return "", ""
    return wanted.prompt, wanted.likeness
