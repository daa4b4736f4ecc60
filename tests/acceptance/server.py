"""The API page served a second time, on the standard library alone: a process of its own that outlives its clients.

    python -m tests.acceptance.server --ledger FILE --access FILE --clips FOLDER [--port 0] [--speed 1] [--key KEY] …

It prints its URL and serves until its standard input is closed. Each accepted submission is one line of the ledger,
written before the first byte of its answer; each request is one line of the access log, written before it is looked at.
It believes nothing: a repeated `client_business_id` is sold again, so that a client that repeats itself is seen to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import secrets
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from . import clips, mangling, rules
from .faults import Fault, Faults, the

SHORTEST, LONGEST = 60.0, 120.0
"""Seconds that a clip takes at speed 1."""
QUEUED = 0.2
"""Of that it only waits."""
LIFETIME = 86_400
CREDITS = {"720P": 84, "1080P": 112, "720P+Sound": 126, "1080P+Sound": 168}
"""What five seconds cost."""
SIGNATURE = "canary-signature-5e7d"
"""In the query of every result URL, and of upload URLs when they are signed: it may be kept nowhere."""
BOUNDARY = re.compile(r'multipart/form-data;\s*boundary="?([^";]+)"?\Z')
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def clock() -> float:
    """Unix seconds."""
    return time.time()  # noqa: TID251 - a server has a clock of its own


@dataclass
class Task:
    """A clip that was sold."""

    number: int
    id: str
    body: dict[str, Any]
    sold_at: float
    ready_at: float
    price: int = 0
    failure: dict[str, Any] | None = None
    forgotten: bool = False
    """Whether it was sold and never stored."""
    told: bool = False
    """Whether a poll has said that it is final: until then the client has to count it as in flight."""


class Log:
    """A file of JSON lines, each written in one piece and at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, record: dict[str, Any]) -> None:
        """Append one line."""
        os.write(self._file, json.dumps(record, ensure_ascii=False).encode() + b"\n")


class Shop:
    """Everything that the requests share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.key: str = options.key
        self.speed: float = options.speed
        self.dialect: str = options.frames
        self.pad: int = options.pad
        self.signed_uploads: bool = options.signed_uploads
        self.clips = Path(options.clips)
        self.purchases: str = options.purchases
        self.stored_after: float = options.stored_after
        self.faults = Faults(json.loads(options.faults), seed=options.seed)
        self.access = Log(Path(options.access))
        self.url = ""
        self.open = threading.Event()
        self.tasks: dict[str, Task] = {}
        self.uploads: dict[str, bytes] = {}
        self.peak = 0
        self.submitting = self.most_submitting = 0
        self.client = 0
        self.credits: int = options.credits
        self.elsewhere = 0
        self._ledger = Log(Path(options.ledger))
        self.lock = threading.Condition()

    @property
    def used(self) -> int:
        """Credits: a task is paid for when it is accepted, and paid back when it fails."""
        return sum(task.price for task in self.tasks.values() if task.failure is None) + self.elsewhere

    def sell(self, body: dict[str, Any], raw: bytes, price: int) -> Task:
        """Write the sale down; from here on it has to be paid for."""
        with self.lock:
            number, now = len(self.tasks) + 1, clock()
            share = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:4], "big") / 2**32
            service = (SHORTEST + (LONGEST - SHORTEST) * share) / self.speed
            task = Task(number, f"task_{secrets.token_hex(8)}-{number}", body, now, now + service, price)
            self.tasks[task.id] = task
            self.peak = max(self.peak, sum(not one.told for one in self.tasks.values()))
            sha256 = hashlib.sha256(raw).hexdigest()
            self._ledger.add({"number": number, "id": task.id, "at": now, "body": body, "body_sha256": sha256})
            return task

    def find(self, name: str) -> Task | None:
        """By the task's id, or by the client's own."""
        with self.lock:
            own = (task for task in self.tasks.values() if self.purchases == "kept" and self._stored(task, name))
            found = self.tasks.get(name) or next(own, None)
            return None if found is None or found.forgotten else found

    def _stored(self, task: Task, name: str) -> bool:
        return task.body.get("client_business_id") == name and clock() >= task.sold_at + self.stored_after

    def posting(self, change: int) -> None:
        """A submission arrives (1) or is answered (-1)."""
        with self.lock:
            self.submitting += change
            self.most_submitting = max(self.most_submitting, self.submitting)

    def clip_of(self, task: Task, *, duration: int | None = None) -> bytes:
        """The file that is sold as this task."""
        body = task.body
        seconds, ratio = duration or body.get("duration", 5), body.get("aspect_ratio", "16:9")
        clip = clips.plain(self.clips, duration=seconds, ratio=ratio, audio=body.get("audio", False))
        return clips.stamped(clip, task.id, pad=self.pad)

    def send_signal(self, number: int) -> None:
        """To the client, whose pid the test tells us."""
        with self.lock:
            self.lock.wait_for(lambda: self.client, timeout=20)
            os.kill(self.client, number)

    def state(self) -> dict[str, Any]:
        """What a test may ask for."""
        with self.lock:
            untold = sum(not task.told for task in self.tasks.values())
            peaks = {"peak": self.peak, "most_submitting": self.most_submitting}
            return {"tasks": len(self.tasks), "untold": untold, "used": self.used, **peaks}


class Dropped(Exception):
    """The connection is closed without an answer."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = 60
    server: Server

    def handle(self) -> None:
        """Serve until the client leaves, however rudely."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is ours."""

    def _serve(self) -> None:
        self.shop = self.server.shop
        length = int(self.headers.get("Content-Length") or 0)
        self.raw = self.rfile.read(length)
        if len(self.raw) < length:  # its sender is dead: this was no request
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.faults: list[Fault] = []
        if parts.path.startswith("/__"):
            self._control(parts.path)
            return
        kind, name = self._kind(parts.path)
        task = self.shop.find(name) if kind in ("poll", "download") else None
        prompt = task.body["prompt"] if task else self._prompt() if kind == "submit" else ""
        self._note(kind, parts.path)
        self.shop.posting(kind == "submit")
        try:
            self.faults = self.shop.faults.striking(kind, prompt)
            self._hold()
            if not self._refused(kind):
                getattr(self, f"_{kind}")(name, task)
            self.wfile.flush()
            self._signal("answered")
        except Dropped:
            self.close_connection = True
            with suppress(OSError):  # the client may have left already
                self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.shop.posting(-(kind == "submit"))

    def _kind(self, path: str) -> tuple[str, str]:
        for method, pattern, kind in (
            ("POST", r"/v1/videos/generations", "submit"),
            ("GET", r"/v1/videos/generations/([^/]+)", "poll"),
            ("POST", r"/v1/uploads/images", "upload"),
            ("GET", r"/v1/balance", "balance"),
            ("GET", r"/files/([^/]+)/video\.mp4", "download"),
        ):
            if self.command == method and (match := re.fullmatch(pattern, path)):
                return kind, unquote(match[1]) if match.groups() else ""
        return "unknown", ""

    def _prompt(self) -> str:
        try:
            return str(json.loads(self.raw)["prompt"])
        except (ValueError, KeyError, TypeError):
            return ""

    def _note(self, kind: str, path: str) -> None:
        given = self.headers.get_all("Authorization") or []
        auth = "none" if not given else "exact" if given == [f"Bearer {self.shop.key}"] else "other"
        others = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "authorization"]
        elsewhere = self.shop.key in "\n".join([self.path, *others]) or self.shop.key.encode() in self.raw
        self.shop.access.add(
            {
                "kind": kind,
                "path": path,
                "at": clock(),
                "auth": auth,
                "key_elsewhere": elsewhere,
                "content_type": self.headers.get("Content-Type"),
                "body_sha256": hashlib.sha256(self.raw).hexdigest(),
            }
        )

    def _hold(self) -> None:
        self._signal("arrived")
        if delay := the(self.faults, "delay"):
            time.sleep(delay["seconds"])
        if the(self.faults, "wait"):
            self.shop.open.wait(30)

    def _signal(self, when: str) -> None:
        for fault in self.faults:
            if fault["do"] == "signal" and fault.get("when", "arrived") == when:
                self.shop.send_signal(fault.get("signal", signal.SIGKILL))

    def _refused(self, kind: str) -> bool:
        """Whether the answer is given already: a wrong key, or a fault that comes before everything."""
        authorization = self.headers.get("Authorization")
        if kind == "download" and authorization is not None:
            self._refuse(400, "leak", "a result file wants no key")
        elif kind not in ("download", "unknown") and authorization != f"Bearer {self.shop.key}":
            self._refuse(401, "unauthorized", "Invalid token")
        elif (fault := the(self.faults, "answer")) and not fault.get("accept"):
            self._answer_with(fault)
        elif (fault := the(self.faults, "drop")) and not fault.get("accept"):
            raise Dropped
        else:
            return False
        return True

    def _unknown(self, name: str, task: Task | None) -> None:
        self._refuse(404, "not_found", f"no such address: {self.command} {urlsplit(self.path).path}")

    def _submit(self, name: str, task: Task | None) -> None:
        if self.headers.get("Content-Type") != "application/json":
            self._refuse(400, "invalid_request", "Content-Type must be application/json")
            return
        try:
            body = rules.checked(self.raw, dialect=self.shop.dialect)
        except rules.Wrong as wrong:
            self._refuse(400, "invalid_request", str(wrong))
            return
        for url in rules.frame_urls(body):
            if url.startswith(self.shop.url) and urlsplit(url).path not in self.shop.uploads:
                self._refuse(400, "invalid_request", f"no such upload: {url}")
                return
        with self.shop.lock:
            price = CREDITS[rules.billing_key(body)] * body["duration"] // 5
            if self.shop.used + price > self.shop.credits:
                self._refuse(402, "insufficient_quota", "the account has not enough credits")
                return
            sold = self.shop.sell(body, self.raw, price)
        sold.forgotten = the(self.faults, "forget") is not None
        self._signal("accepted")
        if the(self.faults, "drop"):
            raise Dropped
        if fault := the(self.faults, "answer"):
            self._answer_with(fault)
            return
        head = {"id": sold.id, "object": "generation.task", "model": "kling-v3", "status": "queued"}
        self._json(200, {**head, "created_at": int(sold.sold_at)})

    def _poll(self, name: str, task: Task | None) -> None:
        if task is None:
            self._json(404, {"error": {"code": 404, "message": "task not found", "type": "not_found_error"}})
            return
        if fault := the(self.faults, "fail"):
            task.failure = fault["error"]
        answer = self._standing(task)
        finished = answer["status"] in ("completed", "failed")
        if (fault := the(self.faults, "respell")) is not None:
            answer["status"] = fault["words"].get(answer["status"], answer["status"])
        if (fault := the(self.faults, "patch")) is not None and finished is fault.get("finished", finished):
            answer.update(fault["json"])
        with self.shop.lock:
            task.told = task.told or finished
        self._json(200, answer)

    def _standing(self, task: Task) -> dict[str, Any]:
        now = clock()
        share = (now - task.sold_at) / (task.ready_at - task.sold_at)
        answer: dict[str, Any] = {"id": task.id, "object": "generation.task", "model": "kling-v3"}
        answer["created_at"] = int(task.sold_at)
        if own := task.body.get("client_business_id"):
            answer["client_business_id"] = own
        if task.failure is not None:
            return {**answer, "status": "failed", "progress": 0, "error": task.failure}
        if share < 1:
            word = "queued" if share < QUEUED else "in_progress"
            return {**answer, "status": word, "progress": int(100 * share)}
        done = int(task.ready_at)
        url = f"{self.shop.url}/files/{task.id}/video.mp4?X-Signature={SIGNATURE}-{secrets.token_hex(4)}"
        result = {"type": "video", "data": [{"url": url, "format": "mp4"}]}
        final = {"status": "completed", "progress": 100, "completed_at": done, "expires_at": done + LIFETIME}
        return {**answer, **final, "result": result}

    def _upload(self, name: str, task: Task | None) -> None:
        match = BOUNDARY.match(self.headers.get("Content-Type") or "")
        content = _file_field(self.raw, match[1].encode()) if match else None
        mime = next((mime for magic, mime in PICTURES.items() if content and content.startswith(magic)), None)
        if content is None or mime is None or len(content) > 10_000_000:
            self._json(400, {"success": False, "message": "Unsupported image type. Allowed: JPEG, PNG, WebP, GIF"})
            return
        path = f"/uploads/{hashlib.sha256(content).hexdigest()[:8]}-{secrets.token_hex(4)}.img"
        self.shop.uploads[path] = content
        url = self.shop.url + path + (f"?X-Signature={SIGNATURE}" if self.shop.signed_uploads else "")
        data = {"id": path, "url": url, "mime_type": mime, "size": len(content)}
        self._json(200, {"success": True, "message": "", "data": data})

    def _balance(self, name: str, task: Task | None) -> None:
        used, given = self.shop.used, self.shop.credits
        credits = {"remain_credits": given - used, "used_credits": used, "credits_per_usd": 200}
        self._json(200, {"success": True, "unlimited_quota": False, **credits})

    def _download(self, name: str, task: Task | None) -> None:
        signature = self.query.get("X-Signature", [""])[0]
        if task is None or clock() < task.ready_at or not signature.startswith(SIGNATURE):
            self._answer(403, b"<Error>AccessDenied</Error>", "application/xml", {})
            return
        other = the(self.faults, "clip")
        content = self.shop.clip_of(task, duration=other["duration"] if other else None)
        if the(self.faults, "mangle"):
            self._answer(200, content, "video/mp4", {})
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self._signal("halfway")
        if the(self.faults, "cut"):
            raise Dropped
        self.wfile.write(content[len(content) // 2 :])

    def _control(self, path: str) -> None:
        shop = self.shop
        if path == "/__faults":
            shop.faults.replace(json.loads(self.raw))
        elif path == "/__client":
            with shop.lock:
                shop.client = int(self.raw)
                shop.lock.notify_all()
        elif path == "/__credits":
            shop.credits = int(self.raw)
        elif path == "/__elsewhere":
            shop.elsewhere = int(self.raw)
        elif path == "/__open":
            shop.open.set()
        elif path == "/__clip" and (task := shop.find(self.query["task"][0])):
            self._answer(200, shop.clip_of(task), "video/mp4", {})
            return
        self._json(200, shop.state())

    def _answer_with(self, fault: Fault) -> None:
        if "json" in fault:
            content, mime = json.dumps(fault["json"]).encode(), "application/json"
        else:
            content, mime = fault.get("text", "").encode(), "text/html"
        self._answer(fault["status"], content, mime, fault.get("headers", {}))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.shop.access.add({"kind": "refused", "status": status, "why": message})
        self._json(status, {"error": {"code": code, "message": message}})

    def _json(self, status: int, value: Any) -> None:
        self._answer(status, json.dumps(value, ensure_ascii=False).encode(), "application/json", {})

    def _answer(self, status: int, content: bytes, mime: str, headers: dict[str, str]) -> None:
        if fault := the(self.faults, "mangle"):
            self._mangled(fault, mangling.Reply(status, {"Content-Type": mime, **headers}, content))
            return
        self.send_response(status)
        for name, value in {"Content-Type": mime, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _mangled(self, fault: Fault, reply: mangling.Reply) -> None:
        """Write what the operator makes of an answer, byte by byte, and hang up."""
        self.wfile.write(mangling.OPERATORS[fault["by"]](reply, random.Random(fault.get("seed", 0))))
        self.wfile.flush()
        raise Dropped


class Server(ThreadingHTTPServer):
    """The shop on a port of loopback."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, shop: Shop) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.shop = shop
        shop.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that dies while it is answered is what this server is for."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _file_field(raw: bytes, boundary: bytes) -> bytes | None:
    """The content of the field `file` of a multipart body."""
    for part in raw.split(b"--" + boundary)[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if re.search(rb'name="file"; filename="[^"]+"', head):
            return content.removesuffix(b"\r\n")
    return None


def main() -> None:
    """Serve until standard input is closed, as it is when the test that started this has ended in whatever way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--access", required=True)
    parser.add_argument("--clips", required=True)
    parser.add_argument("--key", default="sk-test")
    parser.add_argument("--faults", default="[]", help="a JSON array; see faults.py")
    parser.add_argument("--seed", type=int, default=0, help="of the faults that come by chance")
    parser.add_argument("--purchases", choices=("kept", "ignored"), default="kept", help="client_business_id")
    parser.add_argument("--stored-after", type=float, default=0.0, help="seconds until a sale can be found by it")
    parser.add_argument("--frames", choices=("image_urls", "image_with_roles"), default="image_urls")
    parser.add_argument("--pad", type=int, default=0, help="bytes to add to every clip")
    parser.add_argument("--credits", type=int, default=10**9, help="what the account may use in all")
    parser.add_argument("--signed-uploads", action="store_true")
    options = parser.parse_args()
    server = Server(options.port, Shop(options))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(server.shop.url + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
