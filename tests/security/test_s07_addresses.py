"""S7: a result address can make this machine ask nobody but the public internet, at the very address that was checked."""

import ssl
from itertools import count

import certifi
import httpx
import pytest

from batchrunner.providers.addresses import is_public
from batchrunner.providers.http import HttpClient

PUBLIC = ("93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101")
INSIDE = (
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fd12::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a00:1::1",
)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", [*INSIDE, "files.toapis.com", ""])
def test_not_public(address):
    assert not is_public(address)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No proxy, and no hundred authorities to load."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(certifi, "where", lambda: ssl.get_default_verify_paths().cafile or certifi.__file__)
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: ssl.create_default_context())


class Net:
    """A resolver and a network in one: who was asked for, and where it was connected to."""

    def __init__(self, *answers, location=None, fails=()):
        self.answers, self.location, self.fails = answers, location, fails
        self.lookups, self.asked = count(), []

    async def resolve(self, host, port):
        return list(self.answers[min(next(self.lookups), len(self.answers) - 1)])

    def handle(self, request):
        sni = request.extensions.get("sni_hostname")
        self.asked.append((request.url.host, request.headers["host"], sni))
        if request.url.host in self.fails:
            raise httpx.ConnectError("no route")
        if self.location and len(self.asked) == 1:
            return httpx.Response(302, headers={"location": self.location})
        return httpx.Response(200, content=b"clip")

    async def download(self, url, base_url="https://toapis.com"):
        transport = httpx.MockTransport(self.handle)
        async with (
            HttpClient(base_url, "sk-canary-0123456789", transport=transport, resolve=self.resolve) as http,
            http.download(url) as download,
        ):
            return download.status, download.error


URL = "https://files.toapis.com/a.mp4?sig=1"


async def test_the_connection_goes_to_the_address_that_was_checked():
    """A name that means another address a moment later changes nothing; the certificate is still the name's."""
    net = Net(["93.184.215.14"], ["127.0.0.1"])
    assert await net.download(URL) == (200, None)
    assert net.asked == [("93.184.215.14", "files.toapis.com", "files.toapis.com")]


@pytest.mark.parametrize("inside", INSIDE)
async def test_no_name_may_lead_inside(inside):
    net = Net(["93.184.215.14", inside])
    assert await net.download(URL) == (None, "refused_address")
    assert net.asked == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "017700000001", "127.1", "localhost.", "①②⑦.⓪.⓪.①"])
async def test_other_ways_to_write_this_machine(host):
    """The resolver reads them as 127.0.0.1."""
    net = Net(["127.0.0.1"])
    status, error = await net.download(f"https://{host}/a.mp4")
    assert (status, net.asked) == (None, [])
    assert error in ("refused_address", "refused_url", "InvalidURL")


async def test_no_redirect_may_lead_inside():
    net = Net(["93.184.215.14"], ["169.254.169.254"], location="https://metadata.example/latest")
    assert await net.download(URL) == (None, "refused_address")
    assert len(net.asked) == 1


async def test_the_next_address_is_asked_when_one_does_not_answer():
    net = Net(["2606:4700::1111", "93.184.215.14"], fails=("2606:4700::1111",))
    assert await net.download(URL) == (200, None)
    assert [host for host, *_ in net.asked] == ["2606:4700::1111", "93.184.215.14"]


async def test_none_of_them_answers():
    net = Net(["93.184.215.14"], fails=("93.184.215.14",))
    assert await net.download(URL) == (None, "ConnectError")


async def test_a_user_who_is_named_in_an_address_is_not_asked_for():
    net = Net(["93.184.215.14"])
    assert await net.download("https://user:pw@files.toapis.com/a.mp4") == (None, "refused_url")


async def test_the_api_s_own_host_was_named_by_the_user():
    net = Net(["10.0.0.7"])
    assert await net.download("https://relay.corp/a.mp4", base_url="https://relay.corp") == (200, None)
    assert net.asked == [("relay.corp", "relay.corp", None)]


async def test_beside_an_api_on_this_machine_names_of_this_machine_are_good():
    net = Net(["127.0.0.1"])
    assert (await net.download("https://my-laptop/a.mp4", base_url="http://127.0.0.1:9"))[0] == 200
    assert await Net(["10.0.0.1"]).download("https://other/a.mp4", base_url="http://127.0.0.1:9") == (
        None,
        "refused_address",
    )


async def test_a_proxy_looks_names_up_itself(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.corp:3128")
    net = Net(["10.0.0.1"])
    assert await net.download(URL) == (200, None)
    assert net.asked == [("files.toapis.com", "files.toapis.com", None)]
