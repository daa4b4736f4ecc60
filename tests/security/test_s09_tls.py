"""S9: a server that cannot prove its name is sent nothing; a result file's certificate is its host's, not its number's."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from batchrunner.providers.http import HttpClient

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")
KEY = "sk-canary-0123456789"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=files.test"]
    names = ["-addext", "subjectAltName=DNS:files.test", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *names], check=True, capture_output=True, timeout=60)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def server(certificate):
    """Answers one request over TLS; `received` is what came through, `names` whom the client asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    received, names = [], []
    context.sni_callback = lambda connection, name, context: names.append(name)

    def serve():
        try:
            with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as connection:
                received.append(connection.recv(65536))
                connection.sendall(ANSWER)
        except (OSError, ssl.SSLError):
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], received, names
        thread.join()


async def here(host, port):
    return ["127.0.0.1"]


async def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(server):
    port, received, _ = server
    async with HttpClient(f"https://127.0.0.1:{port}", KEY) as http:
        exchange = await http.submit("/v1/videos/generations", b'{"prompt": "a"}')
    assert (exchange.status, exchange.error, exchange.body_started) == (None, "certificate", False)
    assert received == []


@pytest.mark.parametrize(("host", "good"), [("files.test", True), ("other.test", False)])
async def test_a_result_file_has_to_have_its_own_name(server, certificate, monkeypatch, host, good):
    """It is connected to by its number, and trusted by its name; an own authority comes by SSL_CERT_FILE."""
    port, received, names = server
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with (
        HttpClient("http://127.0.0.1:9", KEY, resolve=here) as http,
        http.download(f"https://{host}:{port}/a.mp4") as download,
    ):
        content = b"".join([chunk async for chunk in download.chunks])
    assert names == [host]
    if good:
        assert content == b"clip"
        assert f"host: {host}:{port}\r\n".encode() in received[0].lower()
    else:
        assert (download.status, download.error, received) == (None, "certificate", [])


async def test_a_connection_is_not_shared_with_another_name_at_the_same_number(certificate, monkeypatch):
    """The second host has a certificate of its own to show, or is sent nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    received = []

    def answer(plain):
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            while request := connection.recv(65536):
                received.append(request)
                connection.sendall(ANSWER)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                thread = threading.Thread(target=answer, args=(listener.accept()[0],))
                threads.append(thread)
                thread.start()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=serve)]
        threads[0].start()
        port = listener.getsockname()[1]
        async with HttpClient("http://127.0.0.1:9", KEY, resolve=here) as http:
            told = []
            for host in ("files.test", "files.test", "other.test"):
                async with http.download(f"https://{host}:{port}/a.mp4") as download:
                    told.append((download.status, download.error, len([chunk async for chunk in download.chunks])))
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
    assert told == [(200, None, 1), (200, None, 1), (None, "certificate", 0)]
    assert all(b"host: files.test" in request.lower() for request in received)
