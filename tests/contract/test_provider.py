"""What a provider does: the same suite over ToAPIs' documented answers and over the emulator on a real socket."""

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import anyio
import httpx
import pytest
from PIL import Image

from batchrunner import answers, classify
from batchrunner.answers import AccountStop, Finished, Later, Missing, TaskFailed, Uploaded, UploadRefused, Working
from batchrunner.emulator.clips import ClipSpec, render
from batchrunner.emulator.server import Emulator
from batchrunner.matrix import Verdict
from batchrunner.media import clips
from batchrunner.model import AspectRatio, Balance, Frame, FrameDialect, Mode, VideoRequest
from batchrunner.providers.http import HttpClient
from batchrunner.providers.toapis import BALANCE, GENERATIONS, UPLOADS, ToApis

NOW = datetime(2026, 11, 22, 1, 0, 0, tzinfo=UTC)
KEY = "sk-contract-tests"
CAT = VideoRequest(prompt="a cat, 一只猫")
PRICE = 84
"""Credits for five seconds of 720P in the emulator's price list, which the script follows."""
CREDITS = 2_000
GONE = "http://127.0.0.1:9/gone.png"
"""A picture that nobody can have."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


# the script: the exchanges of the API's own pages, which are data

TRANSCRIPT = json.loads(Path(__file__).with_name("toapis.json").read_text("utf-8"))
PAGE_REQUESTS = TRANSCRIPT["requests"]
"""The API page's own examples."""


def answer(status, value=None, *, content=b"", headers=None):
    """As it comes from a socket: unread."""
    content = content if value is None else json.dumps(value).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


def played(name, **filled):
    """A recorded answer, its words in angle brackets filled in."""
    recorded = TRANSCRIPT["answers"][name]
    text = json.dumps(recorded["body"])
    for word, value in filled.items():
        text = text.replace(f'"<{word}>"', json.dumps(value)).replace(f"<{word}>", str(value))
    return answer(recorded["status"], content=text.encode(), headers=recorded.get("headers"))


class Script:
    """ToAPIs as its pages have it: it only chooses which recorded answer is next."""

    base_url = "https://toapis.com"

    def __init__(self, clip, credits=CREDITS, says="completed"):
        self.clip, self.credits, self.says = clip, credits, says
        self.tasks, self.bodies, self.asked = {}, [], []

    def __call__(self, request):
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path))
        if request.headers["host"] == "files.toapis.com":
            return self.file(request)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return played("wrong key")
        if (request.method, path) == ("POST", GENERATIONS):
            return self.submit(request)
        if (request.method, path) == ("POST", UPLOADS):
            return played("uploaded" if b"\x89PNG" in request.content else "no image")
        if (request.method, path) == ("GET", BALANCE):
            return played("balance", left=self.credits - self.spent, used=self.spent)
        return self.task(path.removeprefix(GENERATIONS + "/"))

    def submit(self, request):
        self.bodies.append(request.content)
        wire = json.loads(request.content)
        if self.says == "too fast":
            return played("too fast")
        if not wire["prompt"].strip():
            return played("empty prompt")
        if self.spent + PRICE > self.credits:
            return played("no money")
        purchase = wire.get("client_business_id", f"none {len(self.bodies)}")
        says = "failed" if GONE in wire.get("image_urls", ()) else self.says
        task_id, _ = self.tasks.setdefault(purchase, (f"task_01K{len(self.tasks)}", says))
        return played("accepted", id=task_id)

    def task(self, name):
        for purchase, (task_id, says) in self.tasks.items():
            if name in (purchase, task_id):
                return played(says, id=task_id, purchase=purchase)
        return played("unknown task")

    def file(self, request):
        assert "authorization" not in request.headers
        if request.url.query != b"sig=1":
            return answer(403)
        return answer(200, content=self.clip, headers={"content-type": "video/mp4"})

    @property
    def spent(self):
        return PRICE * len(self.tasks)

    def accepted(self):
        return [hashlib.sha256(body).hexdigest() for body in self.bodies[: len(self.tasks)]]


class Rehearsal:
    """The emulator, whose tasks are finished as soon as anybody asks."""

    def __init__(self, credits=CREDITS, speed=1e9):
        self.emulator = Emulator.start(speed=speed, credits=credits)
        self.base_url = self.emulator.base_url

    def accepted(self):
        found = httpx.get(f"{self.base_url}/__ledger").json()
        return [submission["body_sha256"] for submission in found["submissions"]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    render(ClipSpec(mode="std", duration=5, aspect_ratio="16:9", audio=False), [], path)
    return path.read_bytes()


@pytest.fixture(params=["script", "emulator"])
def server(request, clip, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    credits = 0 if "broke" in request.node.name else CREDITS
    slow = "takes_its_time" in request.node.name
    if request.param == "script":
        yield Script(clip, credits, says="in progress" if slow else "completed")
        return
    rehearsal = Rehearsal(credits, speed=0.001 if slow else 1e9)
    yield rehearsal
    rehearsal.emulator.stop()


async def everywhere_public(host, port):
    return ["93.184.215.14"]


@pytest.fixture
def connect(server):
    """Makes clients of the server; use them as context managers."""

    def make(*, key=KEY, dialect=FrameDialect.URLS, **more):
        scripted = {"transport": httpx.MockTransport(server), "resolve": everywhere_public}
        http = HttpClient(server.base_url, key, **scripted if isinstance(server, Script) else {})
        return http, ToApis(http, dialect=dialect, **more)

    return make


@pytest.fixture
async def provider(connect):
    http, provider = connect()
    async with http:
        yield provider


async def buy(provider, request=CAT, *, purchase="br_1", image_urls=()):
    body = provider.prepare(request, image_urls=image_urls, purchase_id=purchase)
    return body, classify.submission(await provider.submit(body), now=NOW)


async def ask(provider, name, *, purchase="br_1"):
    return answers.poll(await provider.poll(name), task_id=name, purchase_id=purchase, others=(), now=NOW)


async def money(provider):
    found = answers.balance(await provider.balance(), now=NOW)
    assert isinstance(found, Balance)
    return found


# submitting


async def test_a_submission_is_accepted(provider, server):
    body, found = await buy(provider)
    assert (found.verdict, found.answer.rule, found.answer.body_started) == (Verdict.ACCEPTED, "R1", True)
    assert found.task_id
    assert server.accepted() == [hashlib.sha256(body).hexdigest()]  # these very bytes


@pytest.mark.parametrize("dialect", FrameDialect)
@pytest.mark.parametrize("frames", [0, 1, 2])
async def test_every_form_of_request_is_taken(connect, server, dialect, frames):
    urls = tuple(f"https://example.com/{number}.png" for number in range(frames))
    given = tuple(Frame(source=url, sha256="0" * 64, local=False) for url in urls)
    request = VideoRequest(
        prompt="a cat",
        mode=Mode.STD,
        frames=given,
        aspect_ratio=AspectRatio.SQUARE,
        negative_prompt="x",
        watermark=True,
    )
    http, provider = connect(dialect=dialect)
    async with http:
        _, found = await buy(provider, request, image_urls=urls)
    assert found.verdict is Verdict.ACCEPTED, found.answer.message


async def test_the_examples_of_the_page_are_taken(provider, server):
    bodies = [json.dumps(wire).encode() for wire in PAGE_REQUESTS]
    for body in bodies:
        found = classify.submission(await provider.submit(body), now=NOW)
        assert found.verdict is Verdict.ACCEPTED, found.answer.message
    assert server.accepted() == [hashlib.sha256(body).hexdigest() for body in bodies]


async def test_a_refused_request_buys_nothing(provider, server):
    _, found = await buy(provider, VideoRequest(prompt=" "))
    assert (found.verdict, found.reason, found.answer.http_status) == (Verdict.REFUSED, "invalid_request", 400)
    assert "prompt" in found.answer.message
    assert (found.task_id, server.accepted()) == (None, [])


async def test_a_broke_account_buys_nothing(provider, server):
    _, found = await buy(provider)
    assert (found.verdict, found.reason, found.answer.rule) == (Verdict.ACCOUNT_STOP, "quota", "R22")
    assert server.accepted() == []


async def test_the_same_purchase_again_is_the_same_task(provider, server):
    """Documented once (facts §4), and nothing relies on it; but here both hold to it."""
    _, one = await buy(provider)
    _, again = await buy(provider)
    assert one.task_id == again.task_id
    assert len(server.accepted()) == 1


async def test_another_purchase_is_another_task(provider):
    _, one = await buy(provider)
    _, other = await buy(provider, purchase="br_2")
    assert one.task_id != other.task_id


# asking


async def test_a_task_is_finished_and_says_until_when(provider):
    _, found = await buy(provider)
    outcome = await ask(provider, found.task_id)
    assert isinstance(outcome, Finished)
    assert outcome.url.startswith(("https://", "http://127.0.0.1"))
    assert outcome.expires_at is not None


async def test_a_task_is_found_by_its_purchase(provider):
    await buy(provider)
    assert isinstance(await ask(provider, "br_1"), Finished)


async def test_an_answer_names_its_task_and_its_purchase(provider):
    _, found = await buy(provider)
    told = json.loads((await provider.poll("br_1")).body)
    assert (told["id"], told["client_business_id"]) == (found.task_id, "br_1")
    assert isinstance(await ask(provider, found.task_id, purchase="br_2"), Finished)  # the id that we kept says whose


async def test_an_answer_about_another_purchase_and_another_task_is_none(provider):
    await buy(provider)
    assert await ask(provider, "br_1", purchase="br_2") == Later("answer_of_another_task")


@pytest.mark.parametrize("task_id", ["../../v1/balance", "a/b?c=d#e", "...", '"%2F"'])
async def test_an_id_of_any_signs_is_asked_for_whole(task_id):
    asked = []

    def handler(request):
        asked.append(request.url.raw_path.decode())
        return answer(404, {"error": {"code": "task_not_found", "message": "m"}})

    async with HttpClient("https://toapis.com", KEY, transport=httpx.MockTransport(handler)) as http:
        await ToApis(http, dialect=FrameDialect.URLS).poll(task_id)
    (path,) = asked
    assert path.startswith(GENERATIONS + "/")
    assert unquote(path.removeprefix(GENERATIONS + "/")) == task_id
    assert path.count("/") == 4


@pytest.mark.parametrize(
    "name", ["task_nobody", "br_nobody", "../../v1/balance", "a/b", "a?b=c", "a#b", "a b", "猫", "%2e"]
)
async def test_an_unknown_task_is_missing(provider, name):
    """A name that changed the path would be an answer of another endpoint; the relay's 404 for such says nothing."""
    assert await ask(provider, name) in (Missing(), Later("http_404"))


# files


async def test_a_result_is_the_clip_that_was_asked_for(provider, tmp_path):
    _, found = await buy(provider)
    outcome = await ask(provider, found.task_id)
    async with provider.download(outcome.url) as download:
        content = b"".join([chunk async for chunk in download.chunks])
    assert (download.status, download.content_type, download.error) == (200, "video/mp4", None)
    assert download.length == len(content)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert clips.mismatches(clips.read(path), CAT) == []


async def test_a_link_that_is_not_good_serves_nothing(provider):
    _, found = await buy(provider)
    outcome = await ask(provider, found.task_id)
    async with provider.download(outcome.url + "0") as download:
        assert download.status == 403
    async with provider.download(outcome.url.partition("?")[0]) as download:
        assert download.status == 403


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (320, 320), "red").save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_picture_can_be_uploaded_and_used(provider):
    uploaded = answers.upload(await provider.upload(picture(), name="猫 1.png", mime="image/png"), now=NOW)
    assert isinstance(uploaded, Uploaded)
    _, found = await buy(provider, image_urls=(uploaded.url,))
    assert found.verdict is Verdict.ACCEPTED


async def test_what_is_no_picture_is_refused(provider):
    found = answers.upload(await provider.upload(b"<html></html>", name="a.png", mime="image/png"), now=NOW)
    assert isinstance(found, UploadRefused)
    assert "Unsupported" in found.message


# money


async def test_the_balance_is_what_was_bought(provider):
    before = await money(provider)
    await buy(provider)
    after = await money(provider)
    assert (before.used, after.used) == (0.0, PRICE)
    assert (before.remaining, after.remaining) == (CREDITS, CREDITS - PRICE)


# keys and names


async def test_the_endpoint_is_the_host_or_what_it_is_called(connect):
    assert connect()[1].endpoint in ("toapis.com", "127.0.0.1")
    assert connect(endpoint="emulator")[1].endpoint == "emulator"


# only the script: the emulator takes any key and its tasks take their time


@pytest.fixture
def script(clip):
    return Script(clip)


async def test_a_wrong_key_stops_everything_and_buys_nothing(script):
    http = HttpClient(script.base_url, "sk-of-somebody-else", transport=httpx.MockTransport(script))
    provider = ToApis(http, dialect=FrameDialect.URLS)
    async with http:
        _, found = await buy(provider)
        assert (found.verdict, found.reason) == (Verdict.ACCOUNT_STOP, "key")
        assert await ask(provider, "task_1") == AccountStop("key", "Invalid token")
        assert answers.balance(await provider.balance(), now=NOW) == AccountStop("key", "Invalid token")
        uploaded = answers.upload(await provider.upload(picture(), name="a.png", mime="image/png"), now=NOW)
        assert uploaded == AccountStop("key", "Invalid token")
    assert script.bodies == []


async def test_too_fast_is_told_with_how_long_to_wait(script):
    script.says = "too fast"
    http = HttpClient(script.base_url, KEY, transport=httpx.MockTransport(script))
    async with http:
        _, found = await buy(ToApis(http, dialect=FrameDialect.URLS))
    assert (found.verdict, found.retry_after) == (Verdict.REFUSED_FOR_NOW, 7.0)
    assert script.accepted() == []


async def test_the_documented_addresses_and_nothing_else(script):
    http = HttpClient(script.base_url, KEY, transport=httpx.MockTransport(script))
    provider = ToApis(http, dialect=FrameDialect.URLS)
    async with http:
        await buy(provider)
        await provider.poll("a/b?c#d e")
        await provider.balance()
        await provider.upload(picture(), name="a.png", mime="image/png")
    assert script.asked == [
        ("POST", "/v1/videos/generations"),
        ("GET", "/v1/videos/generations/a%2Fb%3Fc%23d%20e"),
        ("GET", "/v1/balance"),
        ("POST", "/v1/uploads/images"),
    ]


# lives in time


async def test_a_task_takes_its_time(provider):
    _, found = await buy(provider)
    assert isinstance(await ask(provider, found.task_id), Working)


async def test_a_frame_that_cannot_be_had_fails_the_task(provider):
    _, found = await buy(provider, image_urls=(GONE,))
    assert found.verdict is Verdict.ACCEPTED
    with anyio.fail_after(30):
        while isinstance(outcome := await ask(provider, found.task_id), Working):
            pass  # it looks for the picture first
    assert isinstance(outcome, TaskFailed)
    assert "image" in outcome.message
