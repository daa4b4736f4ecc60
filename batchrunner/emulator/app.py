"""The HTTP of ToAPIs, as an ASGI app over a `Relay`.

Documented endpoints need a Bearer token, any will do; result files, uploaded images, `/openapi.json` and `/__…` need none.
Each passes the key, the rate limiter and the faults of its stage, in this order.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps

from anyio import CapacityLimiter, to_thread
from python_multipart.exceptions import FormParserError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from batchrunner.emulator import answers, controls, fates, lifecycle, openapi
from batchrunner.emulator.faults import PARALLEL, Stage
from batchrunner.emulator.hostile import Endpoint, hostile, limited
from batchrunner.emulator.images import MAX_BYTES, MIME, sniff
from batchrunner.emulator.ledger import Entry
from batchrunner.emulator.lifecycle import Status
from batchrunner.emulator.limits import Category
from batchrunner.emulator.relay import AtCapacity, OutOfCredits, Relay
from batchrunner.emulator.tokens import BadToken, KeyRefused
from batchrunner.emulator.validation import Refusal


class StoredFile(FileResponse):
    """A file, or the parts that are asked for; a Range that is none is no reason to refuse it (RFC 9110 §14.2)."""

    chunk_size = 1 << 20
    """In few pieces: each costs two changes of threads, which is more than the reading."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = [
            (name, value) for name, value in scope["headers"] if name != b"range" or _is_range(value.decode("latin-1"))
        ]
        await super().__call__({**scope, "headers": kept}, receive, send)


def _is_range(text: str) -> bool:
    unit, _, parts = text.partition("=")
    found = [re.fullmatch(r"\s*([0-9]{0,19})-([0-9]{0,19})\s*", part) for part in parts.split(",")]
    return unit.strip().lower() == "bytes" and all(
        part is not None
        and (part[1] or part[2])
        and (not (part[1] and part[2]) or (len(part[1]), part[1]) <= (len(part[2]), part[2]))
        for part in found
    )


MAX_BODY = 128 << 20
"""Bytes of any request; more are refused unread (facts §4: the relay's default)."""
DOWNLOAD_THREADS = 16
"""Downloads that may wait for their clip at once, in threads of their own."""


def create_app(relay: Relay, *, on_ready: Callable[[], None] = lambda: None) -> Starlette:
    """The app; it closes the relay when its server shuts it down, and says when it has started."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        on_ready()
        yield
        relay.close()

    tasks = "/v1/videos/generations"
    submit = _with_key(limited(Category.SUBMIT, hostile(Stage.SUBMIT, _submit)))
    poll = _with_key(limited(Category.QUERY, hostile(Stage.POLL, _task)))
    balance = _with_key(hostile(Stage.ACCOUNT, _balance), spent_too=True)
    account = _with_key(hostile(Stage.ACCOUNT, _account), spent_too=True)
    routes = [
        Route(tasks, submit, methods=["POST"]),
        Route(f"{tasks}/{{task_id}}", poll, methods=["GET"]),
        Route("/v1/uploads/images", _with_key(hostile(Stage.UPLOAD, _upload)), methods=["POST"]),
        *(Route(f"{prefix}/balance", balance) for prefix in ("/v1", "")),
        *(Route(f"{prefix}/user/balance", account) for prefix in ("/v1", "")),
        Route("/v1/tokens", _with_key(_make_key), methods=["POST"]),
        Route("/v1/models", _with_key(hostile(Stage.ACCOUNT, _models))),
        Route("/files/{task_id}.mp4", hostile(Stage.DOWNLOAD, _result)),
        Route("/uploads/{name}", _uploaded),
        Route("/openapi.json", _openapi),
        *controls.routes(),
    ]
    handlers = {404: _invalid_url, 405: _invalid_url, ClientDisconnect: _gone}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.relay = relay
    app.state.downloads = CapacityLimiter(DOWNLOAD_THREADS)
    return app


def _relay(request: Request) -> Relay:
    relay: Relay = request.app.state.relay
    return relay


def _with_key(endpoint: Endpoint, *, spent_too: bool = False) -> Endpoint:
    """For any key but one that was made here and is used up; with `spent_too` for that one as well."""

    @wraps(endpoint)
    async def checked(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return answers.error(401, "Invalid or missing API key", "authentication_error")
        if int(request.headers.get("content-length", 0)) > MAX_BODY:
            content = {"code": "read_request_body_failed", "message": "request body too large", "data": None}
            return answers.answer(content, 413)
        relay = _relay(request)
        request.state.key = relay.links.key_id(token.strip())
        try:
            if not spent_too:
                relay.check_key(request.state.key)
            response = await endpoint(request)
        except KeyRefused as refused:
            response = answers.error(refused.status, str(refused), "new_api_error", code=refused.code)
        if response.media_type == "application/json":  # gateways before the relay know nothing of its request ids
            response.headers["X-Oneapi-Request-Id"] = f"{time.strftime('%Y%m%d%H%M%S')}{secrets.token_hex(8)}"
        return response

    return checked


async def _invalid_url(request: Request, _error: Exception) -> Response:
    """The relay's answer for a route that it does not have, which is not the one for a task that it does not have."""
    message = f"Invalid URL ({request.method} {request.url.path})"
    return answers.error(404, message, "invalid_request_error", code="")


async def _gone(_request: Request, _error: Exception) -> Response:
    """For a client that died in the middle of its request; nobody reads it."""
    return Response(status_code=499)


async def _submit(request: Request) -> Response:
    relay = _relay(request)
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _bad_request("Content-Type must be application/json")
    try:
        entry = relay.submit(body, key=request.state.key)
    except Refusal as refusal:
        return _bad_request(str(refusal), refusal.code)
    except OutOfCredits:
        return answers.error(402, "Insufficient credits", "payment_required")
    except AtCapacity:
        return answers.answer({"code": "fail_to_fetch_task", "message": PARALLEL, "data": None}, 429)
    except OSError as error:  # no room for the record: nothing was accepted
        return answers.error(500, f"The task could not be stored: {error.strerror or error}", "internal_error")
    return answers.answer(answers.submission(entry, relay.clock()))


def _bad_request(message: str, code: str = "invalid_request") -> Response:
    return answers.error(400, message, "invalid_request_error", code=code)


async def _task(request: Request) -> Response:
    relay = _relay(request)
    entry = relay.find(request.path_params["task_id"])
    if entry is None:
        return answers.error(404, "Task not found", "not_found_error")
    shown_at = relay.shown_at(entry)
    return answers.answer(answers.task(entry, shown_at, _absolute(request, _link(relay, entry, shown_at))))


def _link(relay: Relay, entry: Entry, now: float) -> str:
    """Where a task's clip is; only one that is completed has a link that works."""
    expires_at = lifecycle.state_of(entry, now).expires_at or 0
    return relay.links.result_path(entry.id, 1 if fates.has_dead_link(entry, now) else expires_at)


def _absolute(request: Request, path: str) -> str:
    """On the host that the client has used: an embedded emulator's port changes with each run."""
    return str(request.base_url).rstrip("/") + path


async def _upload(request: Request) -> Response:
    try:
        async with request.form(max_files=4, max_fields=16) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                return answers.unsuccessful("No file uploaded: the multipart field 'file' is required", 400)
            content = await file.read(MAX_BYTES + 1)
    except (HTTPException, FormParserError):
        return answers.unsuccessful("The body is not valid multipart/form-data", 400)
    if len(content) > MAX_BYTES:
        return answers.unsuccessful("Image too large. Maximum size is 10MB", 400)
    mime = sniff(content)
    if mime is None:
        return answers.unsuccessful("Unsupported image type. Allowed: JPEG, PNG, WebP, GIF", 400)
    try:
        name = await to_thread.run_sync(_relay(request).images.add, content, mime)
    except OSError as error:
        return answers.unsuccessful(f"The image could not be stored: {error.strerror or error}", 500)
    return answers.answer(answers.upload(name, _absolute(request, f"/uploads/{name}"), mime, len(content)))


async def _uploaded(request: Request) -> Response:
    path = _relay(request).images.path(request.path_params["name"])
    if path is None:
        return await _invalid_url(request, HTTPException(404))
    return StoredFile(path, media_type=MIME[path.suffix[1:]], stat_result=path.stat())


async def _balance(request: Request) -> Response:
    return answers.answer(answers.balance(_relay(request), request.state.key))


async def _account(request: Request) -> Response:
    return answers.answer(answers.balance(_relay(request)))


async def _make_key(request: Request) -> Response:
    try:
        secret, token = _relay(request).make_key(await request.body())
    except BadToken as bad:
        return answers.unsuccessful(str(bad), 400)
    except OSError as error:
        return answers.unsuccessful(f"The key could not be stored: {error.strerror or error}", 500)
    return answers.answer(answers.token(token, secret))


async def _models(request: Request) -> Response:
    return answers.answer(answers.models(request.query_params.get("type", "")))


async def _result(request: Request) -> Response:
    relay, query = _relay(request), request.query_params
    task_id = request.path_params["task_id"]
    now = relay.clock()
    if not relay.links.is_good(task_id, query.get("expires", ""), query.get("signature", ""), now=now):
        return answers.error(403, "The link is invalid or has expired", "forbidden")
    entry = relay.ledger.get(task_id)
    if entry is None or lifecycle.state_of(entry, now).status is not Status.COMPLETED:
        return answers.error(404, "File not found", "not_found_error")
    limiter: CapacityLimiter = request.app.state.downloads
    try:
        path = relay.workshop.ready(entry)
        if path is None:
            path = await to_thread.run_sync(relay.workshop.clip, entry, limiter=limiter)
    except OSError as error:
        return answers.error(500, f"The clip could not be rendered: {error.strerror or error}", "internal_error")
    # The name is a content key, so it serves as ETag over restarts, where a file's time would not.
    headers = {"etag": f'"{path.stem}"'}
    return StoredFile(path, media_type="video/mp4", headers=headers, stat_result=path.stat())


async def _openapi(_request: Request) -> Response:
    return answers.answer(openapi.document())
