"""A video API that costs next to nothing, in a process of its own: `python -m tests.bench.server SERVICE_SECONDS CLIP`.

A bare asyncio protocol, no framework and no HTTP library, so that what is measured is the client. Every task takes the
same time; its file is the one that was given. It prints its port.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

SERVICE, CLIP = 0.0, b""
PRICE = 84
"""Credits of each task; the balance shows them at once, as the real one does."""
tasks: dict[str, tuple[float, str]] = {}
counts: Counter[str] = Counter()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, kept alive, pipelined or not."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = 0
            at = head.lower().find(b"content-length:")
            if at >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            self.transport.writelines(answer(method, path, body, head))


def answer(method: str, path: str, body: bytes, head: bytes) -> tuple[bytes, bytes]:
    """The whole answer: head and body."""
    counts["files" if path.startswith("/files/") else method] += 1
    if path.startswith("/files/"):
        return _head(len(CLIP), b"video/mp4"), CLIP
    if method == "POST":
        asked = json.loads(body)
        task_id = f"task_{len(tasks)}"
        tasks[task_id] = (time.time() + SERVICE, asked.get("client_business_id", ""))
        return _json({"id": task_id, "status": "queued", "created_at": int(time.time())})
    if path.endswith("/balance"):
        return _json({"success": True, "remain_credits": 10**9, "used_credits": PRICE * len(tasks)})
    if path == "/counts":
        return _json(counts)
    task_id = path.rpartition("/")[2]
    ready, purchase = tasks[task_id]
    task = {"id": task_id, "client_business_id": purchase, "created_at": ready - SERVICE}
    if time.time() < ready:
        return _json(task | {"status": "in_progress", "progress": 10})
    host = head.lower().partition(b"\r\nhost:")[2].split(b"\r\n", 1)[0].strip().decode()
    data = [{"url": f"http://{host}/files/{task_id}.mp4", "format": "mp4"}]
    ended = {"completed_at": ready, "expires_at": ready + 86_400, "progress": 100, "status": "completed"}
    return _json(task | ended | {"result": {"type": "video", "data": data}})


def _json(value: object) -> tuple[bytes, bytes]:
    body = json.dumps(value).encode()
    return _head(len(body), b"application/json"), body


def _head(length: int, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, length)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    SERVICE, CLIP = float(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    asyncio.run(main())
