"""A video API in virtual time: it makes tasks, answers as a script tells it to, and keeps a ledger of what it sold.

The prompt of a request is the key of its job, so that the ledger can be read. Every operation first asks the script for
a `Reply` (or a `File`); without one it does what a healthy provider does.
"""

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

import anyio
from footage import clip

from batchrunner import request as wire
from batchrunner.model import FrameDialect
from batchrunner.providers.base import Download, DownloadBroken, Exchange

EPOCH = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
"""The wall clock when the virtual one shows 0."""
DAY = 86_400.0
NEVER = math.inf
UPLINK = 0.02
"""Seconds until a submission has arrived: a task is made then, whatever becomes of the answer."""
TAKES = {"submit": 1.0, "poll": 0.2, "upload": 0.5, "download": 0.4, "balance": 0.3}
CHUNK = 700


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a job bought."""

    id: str
    key: str
    purchase_id: str
    request: dict
    accepted_at: float
    ready_at: float
    error: dict | None = None
    """Why it fails at `ready_at`; None when it succeeds."""
    expires_at: float

    @property
    def content(self):
        """The bytes of its clip."""
        asked = self.request
        return clip(asked["duration"], asked["aspect_ratio"], asked["audio"], stamp=self.id)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer that differs from the healthy one."""

    status: int | None = 200
    body: object = None
    """A JSON value, bytes as they are, or a function of (provider, task); None is the operation's healthy body."""
    headers: dict = field(default_factory=dict)
    complete: bool = True
    sent: bool = True
    """Whether a byte of the request's body left."""
    error: str | None = None
    takes: float | None = None
    """Seconds until the answer."""
    sells: bool = False
    """Whether a submission makes a task all the same."""
    charges: bool = False
    """Whether a submission is charged although its task is never stored."""
    bug: Exception | None = None
    """Raised instead of an answer: no provider does that, so it stands for a mistake of ours."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A download that differs from the healthy one."""

    status: int | None = 200
    content: bytes | Callable | None = None
    """Bytes, or a function of the clip's own bytes."""
    length: int | None = -1
    """The announced length; -1 is the true one."""
    breaks_at: int | None = None
    takes: float | None = None
    error: str | None = None
    etag: str | None = None
    """With one, a file can be gone on with where it broke off."""
    part: tuple | None = None
    """(start, length) that a part says it is, where that is a lie."""


def refusal(status, code="", message="", *, takes=None, **headers):
    """An error in the API's own dress; `retry_after=5` is a header."""
    named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return Reply(status=status, body={"error": {"code": code, "message": message}}, headers=named, takes=takes)


def unreachable():
    """No connection: not a byte left."""
    return Reply(status=None, sent=False, error="ConnectError", takes=0.1)


def lost(*, sells, takes=30.0):
    """The request left, no answer came."""
    return Reply(status=None, error="ReadTimeout", sells=sells, takes=takes)


def unanswered(*, sells=True):
    """The request left and the provider never says a word."""
    return Reply(takes=NEVER, sells=sells)


def saying(status, **fields):
    """A poll answered about the right task with this status."""
    return Reply(body=lambda provider, task: {"id": task.id, "status": status, **fields})


class Script:
    """What the provider does out of the ordinary, for each operation and job; the key "*" is for all jobs."""

    def __init__(self):
        self._lines = defaultdict(lambda: iter(()))

    def write(self, operation, key, *replies, then=()):
        """The next answers for this job; None among them is the healthy one. `then` may go on for ever."""
        self._lines[operation, key] = chain(replies, then)

    def next(self, operation, key):
        """What the next request of this kind is answered with."""
        for name in (key, "*"):
            for reply in self._lines[operation, name]:
                return reply
        return None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as the provider saw it."""

    at: float
    operation: str
    about: str
    """The job's key, or the task's id for a poll."""
    purchase_id: str | None = None


class ScriptedProvider:
    """The provider's port, in virtual time."""

    endpoint = "scripted"
    account = "scripted"

    def __init__(self, *, seed=0, service=(20.0, 60.0), script=None):
        self.chance = random.Random(seed)
        self.service = service
        self.script = script or Script()
        self.fates = {}
        """Errors that tasks end with, by key."""
        self.services = {}
        """Seconds that tasks take, by key, where it matters."""
        self.lifetimes = {}
        """Seconds that results live, by key, where it is not a day."""
        self.knows_purchases = True
        """Whether it keeps `client_business_id`, and lets itself be asked by it."""
        self.visible_after = 0.0
        """Seconds until a task is found by its purchase."""
        self.replays = False
        """Whether a repeated purchase id gives the task that it made before."""
        self.credits = lambda request: 10 * request["duration"]
        """What a request costs."""
        self.lags = 0.0
        """Seconds until a charge is seen in the balance."""
        self.unstored = 0
        """Credits charged for tasks that nobody will ever find."""
        self.elsewhere = 0
        """Credits that somebody else spent with the same key."""
        self.takes = dict(TAKES)
        self.outages = []
        """(from, to, reply): what every request of that time is answered with."""
        self.tasks = {}
        self.requests = []
        self.under_way = Counter()
        self.peaks = Counter()
        self.refetched = Counter()
        self.rests = []
        """What each download asked for: None is the whole file."""
        self._posting = set()

    # what tests ask

    @property
    def sold(self):
        """The ledger: how many tasks were made for each job."""
        return Counter(task.key for task in self.tasks.values())

    def times(self, *operations):
        """When requests of these kinds arrived."""
        return [request.at for request in self.requests if request.operation in operations]

    def posts(self, key=None):
        """Submissions that arrived."""
        return [r for r in self.requests if r.operation == "submit" and key in (None, r.about)]

    def tries(self, key=None):
        """Submissions that were begun, arrived or not."""
        return [r for r in self.requests if r.operation == "try" and key in (None, r.about)]

    def polls(self, key):
        """When a job's task was asked about."""
        ids = {task.id for task in self.tasks.values() if task.key == key}
        return [r.at for r in self.requests if r.operation == "poll" and r.about in ids]

    def by_purchase(self, purchase_id):
        """The task that a purchase made, when the provider lets itself be asked by purchase."""
        visible = anyio.current_time() - self.visible_after
        made = (t for t in self.tasks.values() if t.purchase_id == purchase_id and t.accepted_at <= visible)
        return next(made, None) if self.knows_purchases else None

    @property
    def used(self):
        """Credits: a task is charged when it is accepted, and given back when it fails."""
        now = anyio.current_time()
        charged = (task for task in self.tasks.values() if task.accepted_at + self.lags <= now)
        kept = (task for task in charged if task.error is None or now < task.ready_at)
        return sum(self.credits(task.request) for task in kept) + self.unstored + self.elsewhere

    def task_of(self, key):
        """The one task of a job."""
        (task,) = [task for task in self.tasks.values() if task.key == key]
        return task

    # the port

    def prepare(self, request, *, image_urls, purchase_id):
        return wire.body(request, image_urls=image_urls, purchase_id=purchase_id, dialect=FrameDialect.URLS)

    async def submit(self, body):
        request = json.loads(body)
        key, purchase_id = request["prompt"], request["client_business_id"]
        self._log("try", key, purchase_id)
        reply = self._reply("submit", key)
        with self._during("submit"):
            if reply is not None and not reply.sent:
                return await self._answer(reply, "submit")
            self._posting.add(purchase_id)
            try:
                self._count_rows()
                await anyio.sleep(UPLINK)
                self._log("submit", key, purchase_id)
                task = self.sell(request) if reply is None or reply.sells else None
                self.unstored += self.credits(request) if reply is not None and reply.charges else 0
                healthy = {"id": task.id, "status": "queued", "model": request["model"]} if task else {}
                return await self._answer(reply, "submit", task, healthy)
            finally:
                self._posting.discard(purchase_id)

    async def poll(self, task_id):
        task = self.tasks.get(task_id) or self.by_purchase(task_id)
        self._log("poll", task_id)
        reply = self._reply("poll", task.key if task else task_id)
        with self._during("poll"):
            if task is None and (reply is None or reply.body is None or callable(reply.body)):
                reply = refusal(404, "task_not_found", "no such task")
            return await self._answer(reply, "poll", task, lambda: self.report(task))

    async def upload(self, image, *, name, mime):
        self._log("upload", name)
        with self._during("upload"):
            return await self._answer(
                self._reply("upload", name), "upload", None, {"data": {"url": f"https://images.test/{name}"}}
            )

    async def balance(self):
        self._log("balance", "")
        with self._during("balance"):
            healthy = {"success": True, "remain_credits": 1_000_000 - self.used, "used_credits": self.used}
            return await self._answer(self._reply("balance", "*"), "balance", None, healthy)

    @asynccontextmanager
    async def download(self, url, *, rest=None):
        task = self.tasks[url.split("/")[3]]
        self._log("download", task.key)
        self.rests.append(rest)
        file = self._reply("download", task.key)
        with self._during("download"):
            if isinstance(file, Reply):  # an outage is for everybody
                file = File(status=file.status, error=file.error)
            if file is None:
                file = File(status=200 if anyio.current_time() < task.expires_at else 404)
            await anyio.sleep(self.takes["download"] if file.takes is None else file.takes)
            content = file.content(task.content) if callable(file.content) else file.content or task.content
            length = len(content) if file.length == -1 else file.length
            start = rest.start if rest and file.status == 206 else 0
            async with aclosing(_stream(content[start:], file.breaks_at)) as chunks:
                start, length = file.part or (start, length)
                yield Download(
                    status=file.status,
                    length=length,
                    content_type="video/mp4",
                    chunks=chunks,
                    error=file.error,
                    start=start,
                    etag=file.etag,
                )

    # its own life

    def sell(self, request, *, ago=0.0):
        """Make a task, `ago` seconds before now."""
        key = request["prompt"]
        known = (task for task in self.tasks.values() if task.purchase_id == request["client_business_id"])
        if self.replays and (task := next(known, None)) is not None:
            return task
        at = anyio.current_time() - ago
        ready_at = at + self.services.get(key, self.chance.uniform(*self.service))
        task = Task(
            id=f"task_{len(self.tasks) + 1}",
            key=key,
            purchase_id=request["client_business_id"],
            request=request,
            accepted_at=at,
            ready_at=ready_at,
            error=self.fates.get(key),
            expires_at=ready_at + self.lifetimes.get(key, DAY),
        )
        self.tasks[task.id] = task
        return task

    def report(self, task):
        """The body of a healthy poll."""
        now = anyio.current_time()
        body = self._named(task)
        if now < task.ready_at:
            share = (now - task.accepted_at) / (task.ready_at - task.accepted_at)
            return body | {"status": "in_progress" if share > 0.1 else "queued", "progress": int(share * 10) * 10}
        if task.error is not None:
            return body | {"status": "failed", "error": task.error}
        return self.finished(task)

    def _named(self, task):
        asked, created_at = task.request, EPOCH.timestamp() + task.accepted_at
        body = {"id": task.id, "object": "generation.task", "model": asked.get("model"), "created_at": int(created_at)}
        return body | ({"client_business_id": task.purchase_id} if self.knows_purchases else {})

    def finished(self, task):
        """A completed task with a fresh address of its clip."""
        self.refetched[task.id] += 1
        url = f"https://files.test/{task.id}/{self.refetched[task.id]}.mp4?signature=secret"
        return {
            **self._named(task),
            "status": "completed",
            "progress": 100,
            "result": {"type": "video", "data": [{"url": url, "format": "mp4"}]},
            "expires_at": EPOCH.timestamp() + task.expires_at,
        }

    def _reply(self, operation, key):
        now = anyio.current_time()
        for start, end, reply in self.outages:
            if start <= now < end:
                return reply
        return self.script.next(operation, key)

    async def _answer(self, reply, operation, task=None, healthy=None):
        reply = reply or Reply()
        await anyio.sleep(self.takes[operation] if reply.takes is None else reply.takes)
        if reply.bug is not None:
            raise reply.bug
        body = reply.body if reply.body is not None else healthy
        if callable(body):
            body = body(self, task) if body is reply.body else body()
        return Exchange(
            status=reply.status,
            headers=reply.headers,
            body=b"" if reply.status is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
            complete=reply.complete,
            body_started=reply.sent,
            error=reply.error,
        )

    def _during(self, operation):
        return _Busy(self, operation)

    def _log(self, operation, about, purchase_id=None):
        now = anyio.current_time()
        self.requests.append(Request(at=now, operation=operation, about=about, purchase_id=purchase_id))

    def _count_rows(self):
        """How many jobs are under way here: being submitted, or made and not yet final."""
        now = anyio.current_time()
        live = {task.purchase_id for task in self.tasks.values() if task.ready_at > now}
        self.peaks["rows"] = max(self.peaks["rows"], len(live | self._posting))


class _Busy:
    """Counts how many requests of one kind are under way at once."""

    def __init__(self, provider, operation):
        self._provider, self._operation = provider, operation

    def __enter__(self):
        provider, operation = self._provider, self._operation
        provider.under_way[operation] += 1
        provider.peaks[operation] = max(provider.peaks[operation], provider.under_way[operation])

    def __exit__(self, *error):
        self._provider.under_way[self._operation] -= 1


async def _stream(content, breaks_at):
    for begin in range(0, len(content), CHUNK):
        if breaks_at is not None and begin >= breaks_at:
            raise DownloadBroken("ReadError")
        await anyio.sleep(0.01)
        yield content[begin : begin + CHUNK]
