"""S24: the environment's proxies are used for the provider, and their passwords are told to nobody else."""

import socket
import threading

import pytest

from batchrunner.providers.http import HttpClient


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def proxy(monkeypatch):
    """Refuses one CONNECT; yields what it was asked."""
    asked = []

    def serve():
        with listener.accept()[0] as connection:
            asked.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 407 Who are you\r\nX-Said: user:canary-pw\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "all_proxy", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary-pw@127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


@pytest.mark.parametrize("what", ["submit", "download"])
async def test_a_proxy_that_refuses_is_named_and_nothing_else(proxy, what):
    async with HttpClient("https://toapis.com", "sk-canary-0123456789") as http:
        if what == "submit":
            found = await http.submit("/v1/videos/generations", b"{}")
            assert found.body_started is False
        else:
            async with http.download("https://files.toapis.com/a.mp4?sig=canary-sig") as found:
                pass
    assert (found.status, found.error) == (None, "ProxyError")
    assert "canary" not in repr(found)
    assert b"sk-canary" not in proxy[0]
    assert b"canary-sig" not in proxy[0]
