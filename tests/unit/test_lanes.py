"""What a lane says in its requests is what httpx's own would say."""

import httpx
import pytest

from batchrunner.providers.lanes import Lane

KNOWN = {"Accept": "*/*", "User-Agent": "batchrunner"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize(
    ("method", "headers", "content"),
    [
        ("GET", {}, {}),
        ("GET", {"Host": "files.toapis.com", "Range": "bytes=2-"}, {}),
        ("POST", {"Content-Type": "application/json"}, {"content": '{"prompt":"一只猫"}'.encode()}),
    ],
)
@pytest.mark.parametrize("url", ["https://toapis.com/v1/x?sig=a%2Bb", "http://127.0.0.1:8080", "https://[::1]:444/x"])
async def test_a_request_is_the_one_that_httpx_makes(method, url, headers, content):
    made = []

    async def take(request):
        made.append(request)
        return httpx.Response(200)

    await Lane(httpx.MockTransport(take), KNOWN, 1.0).ask(method, url, headers, {}, **content)
    own = httpx.Request(method, url, headers={**KNOWN, **headers}, **content)
    assert sorted(made[0].headers.raw) == sorted(own.headers.raw)
    assert (made[0].method, made[0].url, made[0].content) == (own.method, own.url, own.content)
    assert b"".join([chunk async for chunk in made[0].stream]) == own.content
