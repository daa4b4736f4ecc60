"""The endpoints, without a socket and on a clock that stands still."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from batchrunner.emulator.relay import Relay
from batchrunner.errors import LockedError

URL = "/v1/videos/generations"
GOOD: dict[str, Any] = {"model": "kling-v3", "prompt": "一只金色的猫咪"}
DAY = 86_400


async def submit(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post(URL, json=GOOD | fields)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def poll(client: httpx.AsyncClient, any_id: str) -> dict[str, Any]:
    answer = await client.get(f"{URL}/{any_id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def upload(client: httpx.AsyncClient, content: bytes) -> str:
    answer = await client.post("/v1/uploads/images", files={"file": ("frame.png", content, "image/png")})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["data"]["url"]
    return url


async def result_url(client: httpx.AsyncClient, relay: Relay, clock: Any, **fields: Any) -> str:
    """The link of a clip that is done."""
    task = await submit(client, **fields)
    relay.workshop.wait()
    clock.now += 2_000
    url: str = (await poll(client, task["id"]))["result"]["data"][0]["url"]
    return url


async def test_submit_answers_as_the_page_says(client: httpx.AsyncClient, clock: Any) -> None:
    body = await submit(client)
    assert body.pop("id")
    assert body == {
        "object": "generation.task",
        "model": "kling-v3",
        "status": "queued",
        "progress": 0,
        "created_at": int(clock.now),
        "metadata": {},
    }


async def test_from_queued_to_a_clip(client: httpx.AsyncClient, relay: Relay, clock: Any) -> None:
    task = await submit(client, client_business_id="job-1")
    service = relay.ledger.entries()[0].service
    seen = []
    for seconds in (7, service / 2, service + 15):
        clock.now = task["created_at"] + seconds
        body = await poll(client, task["id"])
        assert body == await poll(client, "job-1")
        assert body["client_business_id"] == "job-1"
        seen.append((body["status"], "result" in body, "completed_at" in body))
    assert seen == [("queued", False, False), ("in_progress", False, False), ("completed", True, True)]
    assert body["expires_at"] == body["completed_at"] + DAY
    assert body["result"]["type"] == "video"
    (clip,) = body["result"]["data"]
    assert clip["format"] == "mp4"
    answer = await client.get(clip["url"], headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with av.open(BytesIO(answer.content)) as container:
        assert container.streams.video[0].frames == 120


async def test_an_unknown_task_and_an_unknown_path_differ(client: httpx.AsyncClient) -> None:
    task = await client.get(f"{URL}/task_unknown")
    assert (task.status_code, task.json()["error"]["code"], task.json()["error"]["type"]) == (
        404,
        404,
        "not_found_error",
    )
    for answer in (await client.get("/v1/video/generations/x"), await client.get(URL), await client.post(f"{URL}/")):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith("Invalid URL (")


async def test_a_repeated_client_id_replays_the_task(client: httpx.AsyncClient, relay: Relay, clock: Any) -> None:
    first = await submit(client, client_business_id="job-1")
    clock.now += 3_000
    second = await submit(client, client_business_id="job-1")
    assert second["id"] == first["id"]
    assert second["status"] == "completed"
    assert (await submit(client, client_business_id="job-2"))["id"] != first["id"]
    assert len(relay.ledger.entries()) == 2
    assert relay.ledger.charged_credits == 2 * 84


async def test_the_ledger_says_what_was_accepted(client: httpx.AsyncClient, relay: Relay, clock: Any) -> None:
    await submit(client, client_business_id="a", mode="pro", audio=True, duration=10, aspect_ratio="1:1")
    await submit(client)
    clock.now += 5_000
    await submit(client)
    body = (await client.get("/__ledger", headers={"Authorization": ""})).json()
    assert (body["accepted"], body["in_flight"], body["peak_in_flight"]) == (3, 1, 2)
    first = body["submissions"][0]
    assert len(first.pop("body_sha256")) == 64
    assert first == {
        "id": relay.ledger.entries()[0].id,
        "client_business_id": "a",
        "accepted_at": clock.now - 5_000,
        "status": "completed",
        "model": "kling-v3",
        "prompt": GOOD["prompt"],
        "mode": "pro",
        "duration": 10,
        "aspect_ratio": "1:1",
        "audio": True,
        "images": [],
        "negative_prompt": None,
        "watermark": None,
        "price_credits": 336,
        "refunded": False,
        "outcome": "completed",
        "faults": [],
    }


class TestMoney:
    @pytest.mark.parametrize("path", ["/v1/balance", "/balance", "/v1/user/balance", "/user/balance"])
    async def test_balance(self, path: str, client: httpx.AsyncClient) -> None:
        await submit(client)
        body = (await client.get(path)).json()
        assert body["success"] is True
        assert (body["used_credits"], body["remain_credits"]) == (84, 1_000_000 - 84)
        assert (body["used_balance"], body["remain_balance"]) == (0.42, 5_000 - 0.42)
        assert (body["credits_per_usd"], body["unlimited_quota"]) == (200, False)

    async def test_a_failed_task_is_refunded(self, client: httpx.AsyncClient, relay: Relay, clock: Any) -> None:
        task = await submit(client, image_urls=["http://127.0.0.1:9/none.png"])
        await submit(client)
        relay.workshop.wait()
        clock.now += 60
        body = await poll(client, task["id"])
        assert (body["status"], body["progress"], "completed_at" in body) == ("failed", 0, False)
        assert body["error"]["code"] == "generation_failed"
        assert "image" in body["error"]["message"]
        assert (await client.get("/v1/balance")).json()["used_credits"] == 84
        ledger = (await client.get("/__ledger")).json()
        assert (ledger["charged_credits"], ledger["refunded_credits"]) == (168, 84)
        assert [one["refunded"] for one in ledger["submissions"]] == [True, False]

    async def test_what_cannot_be_paid_is_refused(self, open_relay: Any, connect: Any) -> None:
        relay = open_relay(credits=200)
        async with connect(relay) as client:
            await submit(client)
            await submit(client)
            answer = await client.post(URL, json=GOOD)
            assert (answer.status_code, answer.json()["error"]["type"]) == (402, "payment_required")
            assert len(relay.ledger.entries()) == 2

    async def test_a_key_without_a_limit(self, open_relay: Any, connect: Any) -> None:
        async with connect(open_relay(credits=None)) as client:
            await submit(client)
            body = (await client.get("/v1/balance")).json()
        assert (body["remain_balance"], body["unlimited_quota"], body["used_credits"]) == (-1, True, 84)


async def test_video_models_are_listed_only_when_asked_for(client: httpx.AsyncClient) -> None:
    listed = {
        kind: (await client.get("/v1/models", params={"type": kind})).json()["data"] for kind in ("", "video", "all")
    }
    assert listed[""] == []
    assert [model["id"] for model in listed["video"]] == [model["id"] for model in listed["all"]] == ["kling-v3"]


class TestUploads:
    @pytest.mark.parametrize(
        ("kind", "mime"),
        [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
    )
    async def test_four_formats_by_content(self, kind: str, mime: str, client: httpx.AsyncClient) -> None:
        buffer = BytesIO()
        Image.new("RGB", (8, 8), "red").save(buffer, kind)
        content = buffer.getvalue()
        answer = await client.post(
            "/v1/uploads/images", files={"file": ("a.bin", content)}, data={"purpose": "generation"}
        )
        body = answer.json()
        assert (answer.status_code, body["success"], body["message"]) == (200, True, "")
        assert (body["data"]["mime_type"], body["data"]["size"]) == (mime, len(content))
        assert body["data"]["id"]
        back = await client.get(body["data"]["url"], headers={"Authorization": ""})
        assert (back.content, back.headers["content-type"]) == (content, mime)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"<html>", "Unsupported image type. Allowed: JPEG, PNG, WebP, GIF"),
            (b"", "Unsupported image type. Allowed: JPEG, PNG, WebP, GIF"),
            (b"\x89PNG\r\n\x1a\n" + bytes(10 << 20), "Image too large. Maximum size is 10MB"),
        ],
        ids=["html", "empty", "large"],
    )
    async def test_refusals(self, content: bytes, message: str, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/uploads/images", files={"file": ("a.png", content, "image/png")})
        assert (answer.status_code, answer.json()) == (400, {"success": False, "message": message})

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"json": {"file": "x"}},
            {"data": {"file": "x"}},
            {"files": {"image": ("a.png", b"x")}},
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            {"content": b"garbage", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        ],
        ids=["nothing", "json", "form", "other field", "no boundary", "garbage"],
    )
    async def test_what_is_no_upload(self, request_: dict[str, Any], client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/uploads/images", **request_)
        assert (answer.status_code, answer.json()["success"]) == (400, False)

    @pytest.mark.parametrize("name", ["x.png", "0" * 64 + ".png", "..%2Fsecret", "%2e%2e"])
    async def test_other_names_are_not_found(self, name: str, client: httpx.AsyncClient) -> None:
        assert (await client.get(f"/uploads/{name}")).status_code == 404


class TestResults:
    async def test_ranges(self, client: httpx.AsyncClient, relay: Relay, clock: Any) -> None:
        url = await result_url(client, relay, clock)
        whole = await client.get(url)
        etag = whole.headers["etag"]
        head = await client.head(url)
        assert (head.headers["etag"], head.headers["content-length"]) == (etag, str(len(whole.content)))
        rest = await client.get(url, headers={"Range": "bytes=1000-", "If-Range": etag})
        assert (rest.status_code, rest.content) == (206, whole.content[1000:])
        assert rest.headers["content-range"] == f"bytes 1000-{len(whole.content) - 1}/{len(whole.content)}"
        other = await client.get(url, headers={"Range": "bytes=1000-", "If-Range": '"another"'})
        assert (other.status_code, other.content) == (200, whole.content)
        for nonsense in ("bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "items=0-1", "bytes=" + "9" * 5000 + "-"):
            ignored = await client.get(url, headers={"Range": nonsense})
            assert (ignored.status_code, ignored.content) == (200, whole.content)
        beyond = await client.get(url, headers={"Range": f"bytes={len(whole.content)}-"})
        assert beyond.status_code == 416

    async def test_links_expire(self, client: httpx.AsyncClient, relay: Relay, clock: Any) -> None:
        task = await submit(client)
        clock.now += 2_000
        body = await poll(client, task["id"])
        url = body["result"]["data"][0]["url"]
        clock.now = body["expires_at"] - 1
        assert (await client.get(url)).status_code == 200
        clock.now = body["expires_at"]
        assert (await client.get(url)).status_code == 403

    @pytest.mark.parametrize(
        "change", [("expires=1", "expires=2"), ("signature=", "signature=0"), ("?", "?x=1&y"), ("task_", "task_0")]
    )
    async def test_links_cannot_be_made_up(
        self, change: tuple[str, str], client: httpx.AsyncClient, relay: Relay, clock: Any
    ) -> None:
        url = await result_url(client, relay, clock)
        assert change[0] in url
        assert (await client.get(url.replace(*change))).status_code == 403

    @pytest.mark.parametrize(
        "query", ["", "?expires=²&signature=a", "?expires=9999999999999999&signature=a", "?expires=1&signature=é"]
    )
    async def test_strange_links_are_refused(self, query: str, client: httpx.AsyncClient) -> None:
        assert (await client.get(f"/files/task_1.mp4{query}")).status_code == 403


class TestClips:
    async def test_full_clips_share_one_pattern(self, open_relay: Any, connect: Any, clock: Any) -> None:
        relay = open_relay(full_clips=True)
        tags = set()
        async with connect(relay) as client:
            for number in range(4):
                url = await result_url(client, relay, clock, prompt=f"cat {number}", aspect_ratio="1:1")
                tags.add((await client.head(url)).headers["etag"])
            with av.open(BytesIO((await client.get(url)).content)) as container:
                assert (container.streams.video[0].width, container.streams.video[0].height) == (720, 720)
        assert len(tags) == 1


class TestRestart:
    """A second relay on the same state folder, as after SIGKILL, and on another port."""

    async def test_tasks_links_and_uploads_survive(
        self, open_relay: Callable[..., Relay], connect: Any, clock: Any, png: Any
    ) -> None:
        first = open_relay()
        async with connect(first) as client:
            image = await upload(client, png("red"))
            task = await submit(client, image_urls=[image], client_business_id="job-1")
        first.workshop.wait()  # a process that was killed would no longer render
        first.close()
        clock.now += 2_000
        second = open_relay()
        second.workshop.wait()
        async with connect(second, "http://127.0.0.1:5555") as client:
            body = await poll(client, "job-1")
            assert (body["id"], body["status"]) == (task["id"], "completed")
            url = body["result"]["data"][0]["url"]
            assert url.startswith("http://127.0.0.1:5555/files/")
            assert (await client.get(url)).status_code == 200
            assert (await submit(client, client_business_id="job-1"))["id"] == task["id"]
            assert (await submit(client, image_urls=[image]))["id"] != task["id"]  # uploaded to the other port
            second.workshop.wait()
            assert second.ledger.entries()[1].inputs == second.ledger.entries()[0].inputs
        second.close()
        async with connect(open_relay()) as client:
            assert (await client.get(url)).status_code == 200

    async def test_a_task_without_its_images_is_taken_up_again(
        self, open_relay: Callable[..., Relay], connect: Any, png: Any
    ) -> None:
        first = open_relay()
        async with connect(first) as client:
            image = await upload(client, png("red"))
            first.workshop.close()  # died before it came to the images
            task = await submit(client, image_urls=[image, image])
            assert first.ledger.entries()[0].inputs is None
        first.close()
        second = open_relay()
        second.workshop.wait()
        found = second.ledger.get(task["id"])
        assert found is not None
        assert found.inputs is not None
        assert len(found.inputs) == 2

    async def test_a_failure_stands(self, open_relay: Callable[..., Relay], connect: Any, clock: Any) -> None:
        first = open_relay()
        async with connect(first) as client:
            task = await submit(client, image_urls=["http://127.0.0.1:9/none.png"])
        first.workshop.wait()
        first.close()
        clock.now += 2_000
        async with connect(open_relay()) as client:
            assert (await poll(client, task["id"]))["status"] == "failed"

    def test_a_folder_in_use_is_not_shared(self, open_relay: Callable[..., Relay]) -> None:
        first = open_relay()
        with pytest.raises(LockedError, match=r"another emulator works on .*state"):
            open_relay()
        first.close()
        assert open_relay().ledger.entries() == []

    async def test_half_a_line_of_the_ledger_was_never_answered(
        self, open_relay: Callable[..., Relay], connect: Any, tmp_path: Path
    ) -> None:
        first = open_relay()
        async with connect(first) as client:
            task = await submit(client)
        first.close()
        with (tmp_path / "state" / "ledger.jsonl").open("ab") as ledger:
            ledger.write(b'{"kind":"accepted","sequence":1,"id":"task_torn","price_cre')
        second = open_relay()
        async with connect(second) as client:
            later = await submit(client)
        second.close()
        assert [entry.id for entry in open_relay().ledger.entries()] == [task["id"], later["id"]]

    def test_a_fresh_state_hands_out_other_ids(self, open_relay: Callable[..., Relay]) -> None:
        body = json.dumps(GOOD).encode()
        kept, fresh = open_relay(), open_relay(state_dir=None)
        assert kept.submit(body).id != fresh.submit(body).id
        assert kept.ledger.entries()[0].service == fresh.ledger.entries()[0].service


async def test_a_body_beyond_all_measure_is_not_read(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, content=b"{}", headers={"Content-Length": str(1 << 40)})
    assert (answer.status_code, answer.json()["code"]) == (413, "read_request_body_failed")


async def test_a_full_disk_accepts_nothing(client: httpx.AsyncClient, relay: Relay) -> None:
    relay.ledger.close()
    answer = await client.post(URL, json=GOOD)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal_error")
    assert relay.ledger.entries() == []


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_speed_must_be_positive(speed: float, open_relay: Callable[..., Relay]) -> None:
    with pytest.raises(ValueError, match="speed"):
        open_relay(speed=speed)
