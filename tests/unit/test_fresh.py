"""A fresh connection for each request: the failures that httpx's own transport tells, and no socket that is forgotten."""

import ssl

import anyio
import anyio.lowlevel
import httpcore
import httpx
import pytest
from anyio.abc import SocketAttribute

from batchrunner.providers.fresh import Fresh
from batchrunner.providers.http import HttpClient

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANSWER = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"cl", b"ip"]
FAILURES = [
    getattr(httpcore, name)
    for name in httpcore.__all__
    if isinstance(kind := getattr(httpcore, name), type)
    and issubclass(kind, Exception)
    and kind is not httpcore.ConnectionNotAvailable  # a pool's own: it is asked again
]
BODY_BEGUN = "http11.send_request_body.started"
MOMENTS = ["connect_tcp", "start_tls", "write", "read", "the body"]


@pytest.fixture
def anyio_backend():
    return "asyncio"  # httpcore leaves generators behind that trio complains about


class Network(httpcore.AsyncNetworkBackend):
    """A server without sockets: gives way at each step as a real one does, and counts what is open."""

    def __init__(self, fails=None, failure=None):
        self.fails, self.failure, self.opened, self.closed, self.written = fails, failure, [], set(), []

    async def step(self, name):
        await anyio.lowlevel.checkpoint()
        if name == self.fails:
            raise self.failure
        await anyio.lowlevel.checkpoint()

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        await self.step("connect_tcp")
        self.opened.append((host, port))
        return Stream(self, len(self.opened))


class Stream(httpcore.AsyncNetworkStream):
    def __init__(self, network, number):
        self.network, self.number, self.left = network, number, list(ANSWER)

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        await self.network.step("start_tls")
        return Stream(self.network, self.number)

    async def write(self, buffer, timeout=None):
        if buffer:
            self.network.written.append(bytes(buffer))
        await self.network.step("write")

    async def read(self, max_bytes, timeout=None):
        await self.network.step("read" if len(self.left) == len(ANSWER) else "the body")
        return self.left.pop(0)

    async def aclose(self):
        self.network.closed.add(self.number)
        await anyio.lowlevel.checkpoint()

    def get_extra_info(self, info):
        return None


def fresh(network):
    return Fresh(TLS, network)


def stock(network):
    transport = httpx.AsyncHTTPTransport(verify=TLS)
    transport._pool._network_backend = network
    return transport


async def asked(transport, note=lambda event: None):
    async def trace(event, info):
        note(event)

    request = httpx.Request("POST", "https://toapis.com/v1", content=b"{}", extensions={"trace": trace})
    response = await transport.handle_async_request(request)
    try:
        return response.status_code, b"".join([chunk async for chunk in response.stream])
    finally:
        await response.aclose()


async def told(transport):
    """What becomes of a request, and what its trace saw of it up to the answer's end."""
    seen = []
    try:
        outcome = await asked(transport, seen.append)
    except Exception as failure:  # noqa: BLE001
        outcome = type(failure), str(failure)
    return outcome, [event for event in seen if "response_closed" not in event]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", [*FAILURES, OSError, RuntimeError], ids=lambda kind: kind.__name__)
async def test_a_failure_is_told_as_httpx_tells_it(kind, moment):
    network = Network(moment, kind("a reason"))
    outcome, seen = await told(fresh(network))
    own_outcome, own_seen = await told(stock(Network(moment, kind("a reason"))))
    assert outcome == own_outcome
    if moment != "write":
        assert seen == own_seen
    else:  # the head leaves with the body: whoever finds it broken must say that the body was begun
        assert BODY_BEGUN in seen
    assert network.closed == set(range(1, len(network.opened) + 1))


async def test_an_answer_is_told_as_httpx_tells_it():
    network = Network()
    found = await told(fresh(network))
    assert found == await told(stock(Network()))
    assert found[0] == (200, b"clip")
    assert (network.opened, network.closed) == ([("toapis.com", 443)], {1})


async def test_the_head_leaves_with_the_body_and_not_before():
    network, before = Network(), {}
    await asked(fresh(network), lambda event: before.setdefault(event, list(network.written)))
    assert before[BODY_BEGUN] == []
    (whole,) = network.written
    assert whole.startswith(b"POST /v1 HTTP/1.1\r\n")
    assert whole.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("content", [b"", None])
async def test_a_head_without_a_body_leaves_too(content):
    network = Network()
    request = httpx.Request("GET", "https://toapis.com/a.mp4", content=content)
    response = await fresh(network).handle_async_request(request)
    assert b"".join([chunk async for chunk in response.stream]) == b"clip"
    await response.aclose()
    assert [one[:20] for one in network.written] == [b"GET /a.mp4 HTTP/1.1\r"]


async def test_whenever_it_is_cancelled_its_connection_is_closed():
    for moment in range(200):
        network, scope, ended = Network(), anyio.CancelScope(), []

        async def ask(network=network, scope=scope, ended=ended):
            with scope:
                await asked(fresh(network))
                ended.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
        assert len(network.closed) == len(network.opened)
        if ended:
            break
    assert moment > 10
    assert ended


async def test_who_is_waited_for_and_given_up_sees_the_connection_close():
    arrived, left = anyio.Event(), anyio.Event()

    async def serve(stream):
        async with stream:
            await stream.receive()
            arrived.set()
            async for _ in stream:
                pass
            left.set()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        HttpClient(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}", "sk-1234567") as one,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        scope = anyio.CancelScope()

        async def ask():
            with scope:
                await one.submit("/v1/videos/generations", b"{}")

        tasks.start_soon(ask)
        with anyio.fail_after(10):
            await arrived.wait()
            scope.cancel()
            await left.wait()
        tasks.cancel_scope.cancel()
