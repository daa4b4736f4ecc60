"""How fast the emulator answers: `python -m tests.bench.emulator [SECONDS]` prints a table, and the same as one line of JSON.

The server is a process of its own, so that its CPU is its own; this one asks over eight connections with a client that is
no more than a socket. The last lines are one steady flow of all three, as much as the svip group may do (facts §3) and as many downloads, of
more than a megabyte each; their times count from when each was due, and `busy` is the share of one core that it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

SECONDS = 3.0
CONNECTIONS = 8
SVIP = {"submit": 33.3, "poll": 500.0, "download": 33.3}
"""Requests a second."""
TASKS = "/v1/videos/generations"
GIVE_UP = 120
"""Seconds that a clip may take to be rendered before it is first served."""
_number = count()


class Connection:
    """HTTP/1.1 on one socket, kept alive."""

    def __init__(self, stream: anyio.abc.SocketStream) -> None:
        self._stream, self._reader = stream, BufferedByteReceiveStream(stream)

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The answer's body; anything but a 200 is an error."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer sk-bench\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        await self._stream.send(head.encode() + b"\r\n" + body)
        answer = (await self._reader.receive_until(b"\r\n\r\n", 1 << 16)).lower()
        length = int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0])
        content = await self._reader.receive_exactly(length)
        if not answer.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{method} {path}: {answer.splitlines()[0].decode()} {content[:200].decode()}")
        return content


HOST = "127.0.0.1"
Ask = Callable[[], Awaitable[object]]


class Server:
    """`batchrunner emulator` in a process of its own, its tasks done as soon as anybody asks."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with await anyio.connect_tcp(HOST, self.port) as stream:
            yield Connection(stream)

    def cpu(self) -> float:
        """Seconds of CPU used so far; 0 where there is no /proc."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(clips: str, state: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "batchrunner", "emulator", "--port", "0", "--speed", "100000"]
    command += ["--clips", clips, "--state", state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process, int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()


def submission(**fields: Any) -> bytes:
    wire = {
        "model": "kling-v3",
        "prompt": "一只金色的猫咪在阳光下的草地上奔跑",
        "client_business_id": f"b{next(_number)}",
    }
    return json.dumps({**wire, **fields}).encode()


async def finished(connection: Connection, **fields: Any) -> tuple[str, str]:
    """The id of a task that is completed, and the path of its clip, which is rendered."""
    task_id = json.loads(await connection.ask("POST", TASKS, submission(**fields)))["id"]
    with anyio.fail_after(GIVE_UP):
        while (task := json.loads(await connection.ask("GET", f"{TASKS}/{task_id}")))["status"] != "completed":
            pass
    path = "/" + task["result"]["data"][0]["url"].split("/", 3)[3]
    await connection.ask("GET", path)
    return task_id, path


async def hammered(
    server: Server, seconds: float, make: Callable[[Connection], Ask], *, fresh: bool = False
) -> list[float]:
    """How long each answer took, asked for by all connections without a pause."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def worker() -> None:
        while time.perf_counter() < end:
            async with server.connection() as connection:
                ask = make(connection)
                while time.perf_counter() < end:
                    begin = time.perf_counter()
                    await ask()
                    times.append(time.perf_counter() - begin)
                    if fresh:
                        break

    async with anyio.create_task_group() as group:
        for _ in range(CONNECTIONS):
            group.start_soon(worker)
    return times


async def steady(
    server: Server, seconds: float, kinds: dict[str, Callable[[Connection], Ask]]
) -> dict[str, list[float]]:
    """How late each answer came after the moment it was due, at the rates of `SVIP`."""
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    begin = time.perf_counter()

    async def worker(kind: str, dues: Iterator[int]) -> None:
        async with server.connection() as connection:
            ask = kinds[kind](connection)
            for number in dues:
                due = begin + number / SVIP[kind]
                if due > begin + seconds:
                    return
                await anyio.sleep(max(due - time.perf_counter(), 0))
                await ask()
                times[kind].append(time.perf_counter() - due)

    async with anyio.create_task_group() as group:
        for kind in kinds:
            dues = count()
            for _ in range(CONNECTIONS):
                group.start_soon(worker, kind, dues)
    return times


def line(kind: str, times: list[float], seconds: float, cpu: float, size: int = 0) -> dict[str, Any]:
    ordered = sorted(times)
    return {
        "kind": kind,
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": round(1000 * ordered[len(ordered) // 2], 2),
        "p99_ms": round(1000 * ordered[len(ordered) * 99 // 100], 2),
        "cpu_us": round(1e6 * cpu / len(times)),
        "bytes": size,
    }


async def measure(clips: str, seconds: float) -> list[dict[str, Any]]:
    """Every kind of question with small clips; with full ones downloads, and all of it at svip's rates."""
    lines = []
    with tempfile.TemporaryDirectory() as state, serving(clips, state) as server:
        async with server.connection() as connection:
            shape = {"mode": "pro", "duration": 10} if clips == "full" else {}
            task_id, path = await finished(connection, **shape)
            size = len(await connection.ask("GET", path))
        kinds: dict[str, Callable[[Connection], Ask]] = {
            "submit": lambda to: lambda: to.ask("POST", TASKS, submission()),
            "poll": lambda to: lambda: to.ask("GET", f"{TASKS}/{task_id}"),
            "balance": lambda to: lambda: to.ask("GET", "/v1/balance"),
            "download": lambda to: lambda: to.ask("GET", path),
        }
        asked = [("download", False)] if clips == "full" else [(kind, False) for kind in kinds] + [("submit", True)]
        for kind, fresh in asked:
            before, begin = server.cpu(), time.perf_counter()
            times = await hammered(server, seconds, kinds[kind], fresh=fresh)
            name = f"{kind}, {clips}" if kind == "download" else f"{kind}, fresh connection" if fresh else kind
            spent, took = server.cpu() - before, time.perf_counter() - begin
            lines.append(line(name, times, took, spent, size if kind == "download" else 0))
        if clips == "full":
            before, begin = server.cpu(), time.perf_counter()
            found = await steady(server, seconds, {kind: kinds[kind] for kind in SVIP})
            busy = (server.cpu() - before) / (time.perf_counter() - begin)
            for kind, times in found.items():
                lines.append({**line(f"svip {kind}", times, seconds, 0.0), "busy": round(busy, 2)})
    return lines


def main() -> None:
    """Measure with both sizes of clips and print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    lines = [found for clips in ("tiny", "full") for found in anyio.run(measure, clips, seconds)]
    print(f"{'kind':26} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8} {'bytes':>10} {'busy':>6}")
    for found in lines:
        numbers = f"{found['per_second']:8,.0f} {found['p50_ms']:8.1f} {found['p99_ms']:8.1f} {found['cpu_us']:8,}"
        print(f"{found['kind']:26} {numbers} {found['bytes']:10,} {found.get('busy', ''):>6}")
    print(json.dumps(lines))


if __name__ == "__main__":
    main()
