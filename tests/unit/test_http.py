"""What the transport really did, against servers that misbehave on real sockets: was a byte of the body on its way?"""

import gzip
import html
import importlib
import json
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import anyio
import certifi
import httpx
import pytest

from batchrunner.errors import AccountError, ExitCode, ProviderError, UsageError
from batchrunner.providers import http
from batchrunner.providers.access import checked_base_url, checked_key
from batchrunner.providers.base import DownloadBroken, Rest
from batchrunner.providers.http import HttpClient
from batchrunner.settings import MAX_ANSWER_BYTES

KEY = "sk-very-secret-key"
BODY = b'{"prompt":"a cat"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n" + b'{"id":"task"}'
PATH = "/v1/videos/generations"


@pytest.fixture
def anyio_backend():
    return "asyncio"  # as app.py runs it; httpcore leaves generators behind that trio complains about


@pytest.fixture(scope="module", autouse=True)
def one_authority(tmp_path_factory):
    """Clients load a hundred authorities for each lane, which is most of what these tests would take."""
    first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----\n")
    bundle = tmp_path_factory.mktemp("authority") / "one.pem"
    bundle.write_text(first + end, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(bundle))
        yield


@pytest.fixture(params=["aiohttp", "stock"], autouse=True)
def beneath(request, monkeypatch):
    """What the free questions and result files go through: every rule holds on both."""
    if request.param == "aiohttp":
        pytest.importorskip("aiohttp")  # without it the stock transport asks, as it does on trio
        monkeypatch.setattr(http, "MANY", 0)
    return request.param


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"])
@pytest.mark.anyio
async def test_authorities_that_cannot_be_read_end_it_before_anything_is_sent(tmp_path, monkeypatch, content):
    bundle = tmp_path / "corporate.pem"
    if content is not None:
        bundle.write_text(content, encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with pytest.raises(ProviderError, match=r"corporate\.pem cannot be read .*nothing was sent") as told:
        async with HttpClient("https://toapis.com", KEY):
            pass
    assert "SSL_CERT_FILE" in told.value.fix


# a server of a few lines


class Server:
    """Serves each connection with `script(connection, read)`; keeps what it was sent, connection by connection."""

    def __init__(self, script):
        self.script, self.received, self.closing = getattr(script, "anew", lambda: script)(), [], False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            if self.closing:
                connection.close()
                return
            connection.settimeout(10)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection):
        number = len(self.received)
        self.received.append(b"")

        def read(*, body=True):
            """One request, or only its head; empty when the client has left."""
            request = b""
            while not _whole(request, body):
                chunk = connection.recv(1 if not body else 65536)
                if not chunk:
                    break
                request += chunk
            self.received[number] += request
            return request

        with connection:
            try:
                self.script(connection, read)
            except OSError:  # the client left first
                return

    def close(self):
        self.closing = True
        with socket.create_connection(self.listener.getsockname()):
            for thread in self.threads:
                thread.join()
        self.listener.close()


def _whole(request, body):
    head, end, rest = request.partition(b"\r\n\r\n")
    if not end or not body:
        return bool(end)
    lengths = [line.partition(b":")[2] for line in head.lower().splitlines() if line.startswith(b"content-length:")]
    return len(rest) >= int(lengths[0]) if lengths else True


@contextmanager
def serving(script):
    server = Server(script)
    try:
        yield server
    finally:
        server.close()


def answering(*answers):
    """A script that has one answer for each request, on whichever connection it comes; then it closes."""

    def anew():
        left = list(answers)

        def script(connection, read):
            while left and read():
                connection.sendall(left.pop(0))

        return script

    script = anew()
    script.anew = anew  # for a test that runs twice
    return script


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


PUBLIC = "93.184.215.14"


async def everywhere_public(host, port):
    return [PUBLIC]


def client(url, key=KEY, *, resolve=everywhere_public, **more):
    return HttpClient(url, key, resolve=resolve, **more)


async def submitted(server_or_url, **more):
    url = server_or_url if isinstance(server_or_url, str) else server_or_url.url
    async with client(url, **more) as one:
        return await one.submit(PATH, BODY)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# was it sent?


async def test_a_refused_connection_sent_nothing():
    found = await submitted(f"http://127.0.0.1:{closed_port()}")
    assert (found.status, found.body_started, found.error) == (None, False, "ConnectError")


async def test_a_server_without_tls_was_sent_nothing():
    received = []

    def script(connection, read):
        received.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(script) as server:
        found = await submitted(server.url.replace("http:", "https:"))
    assert (found.status, found.body_started) == (None, False)
    assert BODY not in b"".join(received)


@pytest.mark.parametrize(
    ("url", "key", "error"),
    [
        pytest.param(None, "sk-secret\nkey", "LocalProtocolError", id="a key with a line in it"),
        pytest.param("http://127.0.0.1\x00", KEY, "InvalidURL", id="no address"),
        pytest.param("ftp://127.0.0.1", KEY, "UnsupportedProtocol", id="another protocol"),
    ],
)
async def test_a_local_mistake_sent_nothing(url, key, error):
    with serving(answering(OK)) as server:
        found = await submitted(url or server.url, key=key)
    assert (found.status, found.body_started, found.error) == (None, False, error)
    assert BODY not in b"".join(server.received)
    assert "secret" not in repr(found)


async def test_a_reset_at_accept_is_told_apart_by_the_body_alone():
    with serving(lambda connection, read: reset(connection)) as server:
        found = await submitted(server)
    assert found.status is None
    assert found.error in ("ConnectError", "ReadError", "WriteError", "RemoteProtocolError")  # whichever was under way
    if not found.body_started:
        assert BODY not in b"".join(server.received)


def after_head(connection, read):
    read(body=False)
    reset(connection)


def garbage(answer):
    return answering(answer)


BROKEN = [
    # script, the error; of all of them the body was begun and no status arrived
    pytest.param(after_head, {"ReadError", "WriteError", "RemoteProtocolError"}, id="reset after the head"),
    pytest.param(lambda connection, read: read(), {"RemoteProtocolError", "ReadError"}, id="closed after the request"),
    pytest.param(lambda connection, read: (read(), reset(connection)), {"ReadError"}, id="reset after the request"),
    pytest.param(garbage(b"SSH-2.0-OpenSSH_9.2\r\n"), {"RemoteProtocolError"}, id="another protocol's words"),
    pytest.param(garbage(b"HTTP/1.1 2"), {"RemoteProtocolError"}, id="half a status line"),
    pytest.param(garbage(b"HTTP/1.1 200 OK\r\nContent-Le"), {"RemoteProtocolError"}, id="half a header"),
    pytest.param(garbage(b"HTTP/1.1 OK\r\n\r\n"), {"RemoteProtocolError"}, id="no number"),
    pytest.param(garbage(b"\0" * 100), {"RemoteProtocolError"}, id="zeros"),
]


@pytest.mark.parametrize(("script", "errors"), BROKEN)
async def test_a_broken_answer_leaves_the_body_begun(script, errors):
    with serving(script) as server:
        found = await submitted(server)
    assert (found.status, found.body_started, found.complete) == (None, True, False)
    assert found.error in errors


async def test_silence_after_the_request(monkeypatch):
    monkeypatch.setattr(http, "SUBMIT_DEADLINE", 0.05)
    left = threading.Event()
    with serving(lambda connection, read: (read(), left.wait(10))) as server:
        found = await submitted(server)
        left.set()
    assert (found.status, found.body_started, found.error) == (None, True, "ReadTimeout")


@pytest.mark.parametrize("status", [200, 400, 401, 413, 429, 500, 503])
async def test_a_status_always_comes_with_a_begun_body(status):
    with serving(answering(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)) as server:
        found = await submitted(server)
    assert (found.status, found.body, found.complete, found.body_started) == (status, b"{}", True, True)
    assert found.error is None


CUT = [
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b'{"id":"ta', b'{"id":"ta', id="shorter than said"),
    pytest.param(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n', b'{"id"', id="chunks end"),
    pytest.param(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\nzz\r\n', b'{"id"', id="a bad chunk"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"", id="headers only"),
]


@pytest.mark.parametrize(("answer", "body"), CUT)
async def test_an_answer_that_was_cut_keeps_what_came(answer, body):
    with serving(answering(answer)) as server:
        found = await submitted(server)
    assert (found.status, found.complete, found.body_started) == (200, False, True)
    assert body.startswith(found.body)


# the proxy between


def proxy_says_no(connection, read):
    read()
    connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


async def test_a_proxy_that_refuses_sent_nothing(monkeypatch):
    with serving(proxy_says_no) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        found = await submitted("https://toapis.invalid")
    assert (found.status, found.error) == (None, "ProxyError")
    assert BODY not in b"".join(server.received)
    assert found.body_started is False


async def test_this_machine_is_not_asked_through_a_proxy(monkeypatch):
    with serving(answering(OK)) as proxy, serving(answering(OK)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await submitted(server)
    assert (len(proxy.received), len(server.received)) == (0, 1)


# one request, once, on a connection of its own


async def test_what_a_submission_looks_like():
    with serving(answering(OK)) as server:
        found = await submitted(server)
    assert (found.status, found.complete, found.body) == (200, True, b'{"id":"task"}')
    head, _, body = server.received[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert (lines[0], body) == (f"POST {PATH} HTTP/1.1", BODY)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(BODY))


async def test_each_submission_has_a_fresh_connection():
    with serving(answering(OK, OK, OK)) as server:
        async with client(server.url) as one:
            for _ in range(3):
                assert (await one.submit(PATH, BODY)).status == 200
    assert [request.count(b"POST") for request in server.received] == [1, 1, 1]


async def test_questions_keep_their_connection():
    with serving(answering(OK, OK, OK)) as server:
        async with client(server.url) as one:
            for _ in range(3):
                assert (await one.get("/v1/balance")).status == 200
    assert [request.count(b"GET") for request in server.received] == [3]


@pytest.mark.parametrize(
    ("status", "location"),
    [
        *[(status, "/elsewhere") for status in (301, 302, 303, 307, 308)],
        *[(307, location) for location in ("http://127.0.0.1:9/x", "http://[", "")],
    ],
)
async def test_redirects_are_not_followed(status, location):
    answer = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    with serving(answering(answer, OK)) as server:
        async with client(server.url) as one:
            found = [await one.submit(PATH, BODY), await one.get("/v1/balance")]
    assert found[0].status == status
    assert found[0].headers["location"] == location
    assert b"".join(server.received).count(b"POST") == 1
    assert b"/elsewhere" not in b"".join(server.received)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n"])
async def test_nothing_is_repeated(answer):
    with serving(answering(answer)) as server:
        await submitted(server)
    assert b"".join(server.received).count(b"POST") == 1


@pytest.mark.parametrize("size", [MAX_ANSWER_BYTES - 1, MAX_ANSWER_BYTES, MAX_ANSWER_BYTES + 1, 3 * MAX_ANSWER_BYTES])
async def test_answers_are_bounded(size):
    with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)) as server:
        found = await submitted(server)
    assert len(found.body) == min(size, MAX_ANSWER_BYTES)
    assert found.complete is (size <= MAX_ANSWER_BYTES)


async def test_an_answer_without_an_end_is_bounded_too():
    def script(connection, read):
        read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    with serving(script) as server:
        found = await submitted(server)
    assert (len(found.body), found.complete) == (MAX_ANSWER_BYTES, False)


# the key


async def test_the_key_is_scrubbed_from_what_comes_back():
    body = f'{{"error":{{"message":"bad token {KEY}, again {KEY}"}}}}'.encode()
    head = f"HTTP/1.1 401 X\r\nX-Echo: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with serving(answering(head + body)) as server:
        found = await submitted(server)
    assert KEY not in repr(found)
    assert found.body == b'{"error":{"message":"bad token ***, again ***"}}'
    assert found.headers["x-echo"] == "Bearer ***"


FAILURES = [
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.RemoteProtocolError,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
    httpx.DecodingError,
    httpx.InvalidURL,
    httpx.StreamClosed,
    OSError,
    ValueError,
    UnicodeError,
]
UNSENT = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
    "LocalProtocolError",
    "UnsupportedProtocol",
    "InvalidURL",
    "UnicodeError",
}


def failing(failure):
    def handler(request):
        raise failure

    return httpx.MockTransport(handler)


@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.__name__)
async def test_a_failure_has_a_name_and_nothing_else(kind):
    """Without a trace to prove it, only what fails before a body, whatever the transport, counts as unsent."""
    text = f"https://toapis.com/v1?sig=s3cret Bearer {KEY}"
    failure = kind() if kind is httpx.StreamClosed else kind(text)
    found = await submitted("https://toapis.com", transport=failing(failure))
    assert (found.status, found.complete, found.error) == (None, False, kind.__name__)
    assert found.body_started is (kind.__name__ not in UNSENT)
    assert KEY not in repr(found)
    assert "s3cret" not in repr(found)


async def test_a_bad_certificate_has_a_name_of_its_own():
    text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:992)"
    found = await submitted("https://toapis.com", transport=failing(httpx.ConnectError(text)))
    assert (found.error, found.body_started) == ("certificate", False)


KEYS = [
    # what is given, the key or None when it can never work
    ("sk-12345678", "sk-12345678"),
    ("  sk-12345678\n", "sk-12345678"),  # pasted
    ("x" * 256, "x" * 256),
    (None, None),
    ("", None),
    (" \n", None),
    ("sk-1234", None),  # too short
    ("x" * 257, None),
    ("sk-1234 5678", None),
    ("sk-1234\n5678", None),
    ("Bearer sk-12345678", None),
    ("sk-1234\x00567", None),
    ("sk-ключ-12345", None),
    ("sk-１２３４５６７８", None),
]


@pytest.mark.parametrize(("given", "key"), KEYS)
def test_keys(given, key):
    if key is not None:
        assert checked_key(given) == key
        return
    with pytest.raises(AccountError) as caught:
        checked_key(given)
    assert caught.value.exit_code is ExitCode.ACCOUNT
    assert caught.value.fix
    if given and given.strip():
        assert given.strip() not in f"{caught.value} {caught.value.fix}"


BASE_URLS = [
    # what is given, what it becomes or None when it cannot be used
    ("https://toapis.com", "https://toapis.com"),
    ("https://toapis.com/", "https://toapis.com"),
    ("https://toapis.com/v1", "https://toapis.com"),
    ("https://toapis.com/v1/", "https://toapis.com"),
    (" https://toapis.com/v1 \n", "https://toapis.com"),
    ("https://proxy.example/toapis/v1/", "https://proxy.example/toapis"),
    ("https://toapis.com:8443", "https://toapis.com:8443"),
    ("HTTPS://toapis.com", "https://toapis.com"),
    ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ("http://127.8.8.8:80/v1", "http://127.8.8.8:80"),
    ("http://localhost:8080", "http://localhost:8080"),
    ("http://LOCALHOST:8080", "http://LOCALHOST:8080"),
    ("http://[::1]:8080", "http://[::1]:8080"),
    ("http://toapis.com", None),  # the key would travel unprotected
    ("http://localhost.evil.example", None),
    ("http://127.0.0.1.evil.example", None),
    ("http://0.0.0.0:8080", None),
    ("http://10.0.0.1", None),
    ("toapis.com", None),
    ("//toapis.com", None),
    ("ftp://toapis.com", None),
    ("file:///etc/passwd", None),
    ("https://", None),
    ("https:///v1", None),
    ("https://user@toapis.com", None),
    ("https://user:password@toapis.com", None),
    ("https://@toapis.com", None),
    ("https://toapis.com\\@evil.example", None),
    ("https://toapis.com?x=1", None),
    ("https://toapis.com#x", None),
    ("https://toapis.com:99999", None),
    ("https://toapis.com:port", None),
    ("https://[::1", None),
    ("https://toapis.com.", None),  # another name for what checks whose name ends elsewhere
    ("https://t\u043eapis.com", None),  # a Cyrillic o
    ("https://toapis.com\u3002evil.example", None),
    ("", None),
]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        *BASE_URLS,
        pytest.param("https://toa pis.com", None),
        pytest.param("https://toapis.com\x00", None),
    ],
)
def test_base_urls(given, url):
    if url is not None:
        assert checked_base_url(given) == url
        return
    with pytest.raises(UsageError) as caught:
        checked_base_url(given)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.fix
    assert "password@" not in str(caught.value)


# result files


async def fetched(one, url):
    async with one.download(url) as download:
        if download.status is None:
            return download, b""
        return download, b"".join([chunk async for chunk in download.chunks])


def file(content=b"clip", *more):
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(content), *more]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def moved(location, status=302):
    return f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_result_file_is_asked_for_without_the_key():
    with serving(answering(file(b"clip", b"Content-Type: Video/MP4; codecs=avc1"))) as server:
        async with client(server.url) as one:
            download, content = await fetched(one, f"{server.url}/a.mp4?sig=1")
    assert (download.status, download.length, download.content_type, content) == (200, 4, "video/mp4", b"clip")
    assert download.error is None
    assert server.received[0].startswith(b"GET /a.mp4?sig=1 HTTP/1.1")
    assert b"authorization" not in server.received[0].lower()
    assert KEY.encode() not in server.received[0]


@pytest.mark.parametrize("path", ["/a%2Fb/%e4%BD%a0.mp4?sig=a%2Bb%3d&x=%E4+y", "/a.mp4?a=b/c:d@e&sig=~%7E'()*"])
async def test_a_signed_address_is_asked_for_letter_by_letter(path):
    with serving(answering(file())) as server:
        async with client(server.url) as one:
            await fetched(one, server.url + path)
    assert server.received[0].split(b"\r\n")[0] == f"GET {path} HTTP/1.1".encode()


async def test_result_files_keep_their_connection(beneath):
    with serving(answering(file(), file(), file())) as server:
        async with client(server.url) as one:
            for _ in range(3):
                assert (await fetched(one, f"{server.url}/a.mp4"))[1] == b"clip"
    assert len(server.received) == (1 if beneath == "aiohttp" else 3)


async def test_no_file_waits_for_another_s_connection(monkeypatch):
    """How many come at once is decided by `limits.downloads`, which may be many."""
    monkeypatch.setattr(http, "CALL_TIMEOUT", 4.0)
    met = threading.Barrier(100)

    def script(connection, read):
        with suppress(threading.BrokenBarrierError):
            while request := read():
                if b"/first" not in request:
                    met.wait(5)
                connection.sendall(file())

    async def fetch(one, url):
        came.append((await fetched(one, url))[1])

    came = []
    with serving(script) as server:
        async with client(server.url) as one, anyio.create_task_group() as tasks:
            await fetched(one, f"{server.url}/first.mp4")  # while the faster transport is loaded others ask without it
            for _ in range(100):
                tasks.start_soon(fetch, one, f"{server.url}/a.mp4")
    assert came == [b"clip"] * 100


async def test_a_redirect_may_be_long():
    where = "/b.mp4?sig=" + "x" * 20_000
    with serving(answering(moved(where), file(b"clip", b"X-Long: " + b"y" * 20_000))) as server:
        async with client(server.url) as one:
            assert (await fetched(one, f"{server.url}/a.mp4"))[1] == b"clip"
    assert where.encode() in b"".join(server.received)


async def test_not_after_a_redirect_either():
    with serving(answering(moved("/b.mp4"), file())) as server:
        async with client(server.url) as one:
            assert (await fetched(one, f"{server.url}/a.mp4"))[1] == b"clip"
    assert b"authorization" not in b"".join(server.received).lower()


@pytest.mark.parametrize(
    ("status", "hops", "good"),
    [(302, 0, True), (302, 3, True), (302, 4, False), *[(status, 1, True) for status in (301, 302, 303, 307, 308)]],
)
async def test_three_redirects_are_followed(status, hops, good):
    with serving(answering(*[moved(f"/{hop}.mp4", status) for hop in range(hops)], file())) as server:
        async with client(server.url) as one:
            download, content = await fetched(one, f"{server.url}/a.mp4")
    assert (download.status, download.error) == ((200, None) if good else (None, "too_many_redirects"))
    assert content == (b"clip" if good else b"")
    assert b"".join(server.received).count(b"GET ") == min(hops, 3) + 1


REFUSED = [
    # the API, the file's address
    ("https://toapis.com", "http://files.toapis.com/a.mp4"),  # unprotected
    ("https://toapis.com", "http://127.0.0.1:9/a.mp4"),  # this machine's own services
    ("https://toapis.com", "https://127.0.0.1:9/a.mp4"),
    ("https://toapis.com", "https://localhost/a.mp4"),
    ("https://toapis.com", "https://[::1]/a.mp4"),
    ("https://toapis.com", "file:///etc/passwd"),
    ("https://toapis.com", "ftp://files.toapis.com/a.mp4"),
    ("https://toapis.com", "https:///a.mp4"),
    ("https://toapis.com", "https://[::1"),
    ("https://toapis.com", "a.mp4"),
    ("https://toapis.com", "//127.0.0.1/a.mp4"),
    ("https://toapis.com", "//[::1"),
    ("https://toapis.com", ""),
    ("http://127.0.0.1:9", "http://files.toapis.com/a.mp4"),
    ("http://127.0.0.1:9", "ftp://127.0.0.1/a.mp4"),
]


@pytest.mark.parametrize(("base_url", "url"), REFUSED)
async def test_addresses_that_are_not_read(base_url, url):
    def handler(request):
        raise AssertionError("something was asked")

    async with client(base_url, transport=httpx.MockTransport(handler)) as one:
        download, _ = await fetched(one, url)
    assert (download.status, download.error) == (None, "refused_url")


@pytest.mark.parametrize("path", ["/a.mp4?sig=1", "HTTP"])
async def test_an_address_may_lack_its_host_or_be_loud(path):
    with serving(answering(file())) as server:
        async with client(f"{server.url}/toapis") as one:
            url = path if path != "HTTP" else server.url.replace("http", "HTTP") + "/a.mp4?sig=1"
            download, content = await fetched(one, url)
    assert (download.status, content) == (200, b"clip")
    assert server.received[0].startswith(b"GET /a.mp4?sig=1 HTTP/1.1")
    assert KEY.encode() not in server.received[0]


@pytest.mark.parametrize("location", ["http://ex[ample/x", "http://[::1", "//[", "http://a]b/"])
async def test_a_redirect_to_no_address_is_a_refusal_and_not_an_error(location):
    with serving(answering(moved(location))) as server:
        async with client(server.url) as one:
            download, _ = await fetched(one, f"{server.url}/a.mp4")
    assert download.status is None
    assert download.error in ("refused_url", "RemoteProtocolError")  # some of them httpx refuses first


# servers that take their time


def dripping(head, drop=b" "):
    """A script that says `head` and then a byte now and then, always in time for the next one."""

    def script(connection, read):
        read()
        connection.sendall(head)
        while True:
            time.sleep(0.02)
            connection.sendall(drop)

    return script


ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "status"), [(ENDLESS, 200), (b"HTTP/1.1 200 OK\r\nX-Slow: ", None)], ids=["body", "headers"]
)
async def test_a_question_that_is_answered_drop_by_drop_has_an_end(monkeypatch, head, status):
    monkeypatch.setattr(http, "CALL_DEADLINE", 0.3)
    with serving(dripping(head)) as server, anyio.fail_after(5):
        async with client(server.url) as one:
            asked = await one.get("/v1/balance")
            sent = await one.post_file("/v1/uploads", field="file", name="a", content=b"x", mime="image/png")
    for found in (asked, sent):
        assert (found.status, found.complete, found.error) == (status, False, "TimeoutError")


async def test_a_large_upload_gets_the_time_it_takes(monkeypatch):
    monkeypatch.setattr(http, "CALL_DEADLINE", 0.05)

    def script(connection, read):
        read()
        time.sleep(0.2)
        connection.sendall(OK)

    with serving(script) as server:
        async with client(server.url) as one:
            content = b"x" * (10 * http.UPLOAD_SPEED)
            assert (await one.post_file("/u", field="file", name="a", content=content, mime="image/png")).status == 200


async def test_a_file_that_comes_drop_by_drop_is_broken(monkeypatch):
    monkeypatch.setattr(http, "SLOW_FOR", 0.2)
    with serving(dripping(ENDLESS)) as server, anyio.fail_after(5):
        async with client(server.url) as one, one.download(f"{server.url}/a.mp4") as download:
            with pytest.raises(DownloadBroken, match="too slow"):
                [chunk async for chunk in download.chunks]


async def test_a_file_whose_headers_come_drop_by_drop_is_given_up(monkeypatch):
    monkeypatch.setattr(http, "CALL_DEADLINE", 0.2)
    with serving(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")) as server, anyio.fail_after(5):
        async with client(server.url) as one:
            download, _ = await fetched(one, f"{server.url}/a.mp4")
    assert (download.status, download.error) == (None, "TimeoutError")


async def test_a_file_that_comes_fast_enough_may_take_its_time(monkeypatch):
    monkeypatch.setattr(http, "SLOW_FOR", 0.05)
    monkeypatch.setattr(http, "SLOWEST", 100)

    def script(connection, read):
        read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(10):
            time.sleep(0.03)
            connection.sendall(b"x" * 100)

    with serving(script) as server:
        async with client(server.url) as one:
            assert len((await fetched(one, f"{server.url}/a.mp4"))[1]) == 1000


async def test_time_that_is_spent_on_the_bytes_is_not_the_server_s(monkeypatch):
    monkeypatch.setattr(http, "SLOW_FOR", 0.05)
    with serving(answering(file(b"x" * 300_000))) as server:
        async with client(server.url) as one, one.download(f"{server.url}/a.mp4") as download:
            size = 0
            async for chunk in download.chunks:
                await anyio.sleep(0.06)
                size += len(chunk)
    assert size == 300_000


# packed although nobody asked


def packed_answer(content, status=200):
    head = b"HTTP/1.1 %d X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(content)) + content


async def test_a_packed_answer_is_unpacked():
    with serving(answering(*[packed_answer(gzip.compress(b'{"id":"task"}'))] * 2)) as server:
        async with client(server.url) as one:
            for found in (await one.submit(PATH, BODY), await one.get("/v1/x")):
                assert (found.body, found.complete) == (b'{"id":"task"}', True)


@pytest.mark.parametrize(
    ("content", "complete"),
    [
        pytest.param(gzip.compress(b'{"id":"' + b"x" * 5 * MAX_ANSWER_BYTES + b'"}'), False, id="a bomb"),
        pytest.param(gzip.compress(bytes(range(256)) * 9)[:60], False, id="cut"),
        pytest.param(b"\x1f\x8b and no more", False, id="not packed at all"),
    ],
)
async def test_what_unpacks_badly_is_not_whole(content, complete):
    with serving(answering(packed_answer(content))) as server:
        found = await submitted(server)
    assert found.complete is complete
    assert len(found.body) <= MAX_ANSWER_BYTES


async def test_the_key_is_scrubbed_from_a_packed_answer_too():
    with serving(answering(packed_answer(gzip.compress(f'{{"message":"{KEY}"}}'.encode()), 401))) as server:
        found = await submitted(server)
    assert found.body == b'{"message":"***"}'


AWKWARD = "sk-canary/KEY+1234&5678"
ECHOES = [
    pytest.param(AWKWARD, id="as it is"),
    pytest.param(AWKWARD.replace("/", "\\/"), id="slashes"),
    pytest.param("".join(f"\\u{ord(c):04x}" for c in AWKWARD), id="small escapes"),
    pytest.param("".join(f"\\u{ord(c):04X}" for c in AWKWARD), id="large escapes"),
    pytest.param("\\u0073" + AWKWARD[1:], id="one escape"),
    pytest.param("\\\\u0073" + AWKWARD[1:].replace("/", "\\\\\\/"), id="JSON within JSON"),
    pytest.param(quote(AWKWARD, safe=""), id="an address"),
    pytest.param(quote(quote(AWKWARD, safe=""), safe=""), id="an address within an address"),
    pytest.param(html.escape(AWKWARD), id="HTML"),
    pytest.param("".join(f"&#{ord(c)};" for c in AWKWARD), id="entities"),
    pytest.param(AWKWARD.upper(), id="capitals"),
]


@pytest.mark.parametrize("echo", ECHOES)
async def test_the_key_is_scrubbed_in_whatever_dress(echo):
    body = f'{{"error":{{"code":"x","message":"bad key \\"{echo}\\", sorry"}}}}'.encode()
    answer = b"HTTP/1.1 400 X\r\nX-Echo: %s\r\nContent-Length: %d\r\n\r\n" % (echo.encode(), len(body)) + body
    with serving(answering(answer)) as server:
        found = await submitted(server, key=AWKWARD)
    assert json.loads(found.body) == {"error": {"code": "x", "message": 'bad key "***", sorry'}}
    assert found.headers["x-echo"] == "***"


@pytest.mark.parametrize("half", ["sk-canary/", "sk-canary/KEY+1234&567", "\\", "s\\\\", "%25", "&#0"])
async def test_halves_of_a_key_cost_no_time(half):
    body = half.encode() * (MAX_ANSWER_BYTES // len(half))
    with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)) as server:
        begun = time.process_time()
        found = await submitted(server, key=AWKWARD)
    assert found.body == body
    assert time.process_time() - begun < 3


async def test_an_address_with_an_absurd_port_is_no_end_of_the_run():
    async with client(f"http://127.0.0.1:{closed_port()}") as one:
        download, _ = await fetched(one, "http://127.0.0.1:99999/a.mp4")
    assert download.status is None


@pytest.mark.parametrize("location", ["http://files.toapis.com/a.mp4", "file:///etc/passwd", "//files.toapis.com/a"])
async def test_a_redirect_cannot_lead_where_an_address_may_not(location):
    with serving(answering(moved(location))) as server:
        async with client(server.url) as one:
            download, _ = await fetched(one, f"{server.url}/a.mp4")
    assert (download.status, download.error) == (None, "refused_url")


async def test_a_public_file_cannot_lead_to_this_machine():
    asked = []

    def handler(request):
        asked.append(request.headers["host"])
        return httpx.Response(302, headers={"location": "https://127.0.0.1/admin"})

    async with client("https://toapis.com", transport=httpx.MockTransport(handler)) as one:
        download, _ = await fetched(one, "https://files.toapis.com/a.mp4")
    assert (download.error, asked) == ("refused_url", ["files.toapis.com"])


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nclip", 99, id="shorter than said"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nclip\r\n", None, id="chunks end"),
    ],
)
async def test_a_file_that_was_cut_is_broken(answer, length):
    with serving(answering(answer)) as server:
        async with client(server.url) as one, one.download(f"{server.url}/a.mp4") as download:
            assert (download.status, download.length) == (200, length)
            with pytest.raises(DownloadBroken, match=r"^RemoteProtocolError$"):
                [chunk async for chunk in download.chunks]


@pytest.mark.parametrize("parser", ["HttpResponseParser", "HttpResponseParserPy"])
async def test_a_file_whose_next_piece_is_malformed_is_broken_and_not_waited_for(monkeypatch, beneath, parser):
    """With aiohttp's compiled parser, and with the other one of platforms for which it is not compiled."""
    monkeypatch.setattr(http, "CALL_TIMEOUT", 0.2)
    if beneath == "aiohttp":
        monkeypatch.setattr(
            "aiohttp.client_proto.HttpResponseParser", getattr(importlib.import_module("aiohttp.http_parser"), parser)
        )
    opened = threading.Event()

    def script(connection, read):
        read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nclip\r\n")
        opened.wait(5)
        connection.sendall(b"no length\r\n")
        read()

    with serving(script) as server, anyio.fail_after(5):
        async with client(server.url) as one, one.download(f"{server.url}/a.mp4") as download:
            assert await anext(download.chunks) == b"clip"
            opened.set()
            with pytest.raises(DownloadBroken, match=r"^(RemoteProtocolError|TimeoutError)$"):
                [chunk async for chunk in download.chunks]


async def test_a_file_that_can_be_left_unread():
    with serving(answering(file(b"x" * 100_000))) as server:
        async with client(server.url) as one, one.download(f"{server.url}/a.mp4") as download:
            assert download.status == 200


@pytest.mark.parametrize("status", [403, 404, 410, 500])
async def test_a_refused_file_says_its_status(status):
    with serving(answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as server:
        async with client(server.url) as one:
            download, _ = await fetched(one, f"{server.url}/a.mp4")
    assert (download.status, download.error) == (status, None)


async def test_an_unreachable_file_has_a_name_for_it():
    port = closed_port()
    async with client(f"http://127.0.0.1:{port}") as one:
        download, _ = await fetched(one, f"http://127.0.0.1:{port}/a.mp4?sig=s3cret")
    assert (download.status, download.error) == (None, "ConnectError")


@pytest.mark.parametrize("length", ["-1", "abc", "", "４", "1.5"])
async def test_absurd_lengths_are_none(length):
    def handler(request):
        return httpx.Response(200, headers={"content-length": length.encode()}, stream=httpx.ByteStream(b"clip"))

    async with client("https://toapis.com", transport=httpx.MockTransport(handler)) as one:
        download, content = await fetched(one, "https://files.toapis.com/a.mp4")
    assert (download.length, content) == (None, b"clip")


# the rest of a file

REST = Rest(start=2, length=4, etag='"v1"')


@pytest.mark.parametrize(
    ("answer", "expected", "goes_on"),
    [
        pytest.param((206, "bytes 2-3/4", '"v1"'), (206, 2, 4, '"v1"'), True, id="the rest"),
        pytest.param((206, "bytes 2-3/4", None), (206, 2, 4, None), True, id="the rest, unnamed"),
        pytest.param((206, "bytes 2-3/4", '"v2"'), (206, 2, 4, '"v2"'), False, id="of another file"),
        pytest.param((206, "bytes 1-3/4", '"v1"'), (206, 1, 4, '"v1"'), False, id="another part"),
        pytest.param((206, "bytes 2-3/9", '"v1"'), (206, 2, 9, '"v1"'), False, id="of a longer file"),
        pytest.param((206, "bytes 2-3/*", '"v1"'), (206, None, None, '"v1"'), False, id="of an unknown length"),
        pytest.param((206, "", '"v1"'), (206, None, None, '"v1"'), False, id="no word on which part"),
        pytest.param((200, "bytes 2-3/4", '"v1"'), (200, 0, 2, '"v1"'), False, id="the whole again"),
        pytest.param((200, "", 'W/"v1"'), (200, 0, 2, None), False, id="a weak name is none"),
    ],
)
async def test_the_rest_of_a_file(answer, expected, goes_on):
    status, extent, etag = answer
    lines = [f"HTTP/1.1 {status} X", "Content-Length: 2", *([f"Content-Range: {extent}"] if extent else [])]
    head = "\r\n".join([*lines, *([f"ETag: {etag}"] if etag else [])])
    with serving(answering(f"{head}\r\n\r\nip".encode())) as server:
        async with client(server.url) as one, one.download(f"{server.url}/a.mp4", rest=REST) as download:
            assert b"".join([chunk async for chunk in download.chunks]) == b"ip"
    assert (download.status, download.start, download.length, download.etag) == expected
    assert REST.begins(download) is goes_on
    assert b'range: bytes=2-\r\nif-range: "v1"\r\n' in server.received[0].lower()


# the faster transport


async def test_who_asks_often_asks_through_the_faster_transport(monkeypatch, beneath):
    if beneath == "stock":
        monkeypatch.setattr(http, "MANY", 2)
    pytest.importorskip("aiohttp")
    with serving(answering(*[OK] * 9)) as server:
        async with client(server.url) as one:
            stock = []
            for _ in range(3):
                assert (await one.get("/v1/balance")).status == 200
                stock.append(one._asking is one._quick)
    assert stock == ([False] * 3 if beneath == "aiohttp" else [True, True, False])


async def test_behind_a_proxy_questions_go_through_the_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with client("https://toapis.com") as one:
        assert (await one.get("/v1/balance")).error == "ConnectError"  # nobody is at the proxy
        assert one._asking is one._quick


async def test_a_proxy_that_is_only_exempted_is_none(monkeypatch, beneath):
    monkeypatch.setenv("NO_PROXY", "*")
    async with client("https://127.0.0.2.invalid") as one:
        await one.get("/v1/balance")
        assert (one._asking is not one._quick) == (beneath == "aiohttp")


def test_on_trio_httpx_asks_by_itself():
    async def main():
        async with client("http://127.0.0.1:9") as one:
            await one.get("/v1/balance")
            assert one._asking is one._quick

    anyio.run(main, backend="trio")
