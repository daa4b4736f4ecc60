"""The emulator on real sockets: inside a process, and as a command that a signal stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchrunner.emulator import Emulator
from batchrunner.emulator.images import ImageStore, ImageUnavailable
from batchrunner.errors import StorageError, UsageError

URL = "/v1/videos/generations"
GOOD: dict[str, Any] = {"model": "kling-v3", "prompt": "a cat"}
FAST = 1e6


@pytest.fixture
def client() -> Iterator[Callable[[str], httpx.Client]]:
    opened: list[httpx.Client] = []

    def connect(base_url: str) -> httpx.Client:
        opened.append(httpx.Client(base_url=base_url, headers={"Authorization": "Bearer sk-test"}, trust_env=False))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def final(http: httpx.Client, any_id: str) -> dict[str, Any]:
    """Poll to the end; at this speed that takes as long as the images do."""
    while (body := http.get(f"{URL}/{any_id}").json())["status"] not in ("completed", "failed"):
        pass
    return dict(body)


def test_a_frame_pair_over_real_http(client: Any, png: Callable[[str], bytes], tmp_path: Path) -> None:
    with Emulator.start(state_dir=tmp_path, speed=FAST) as emulator:
        http = client(emulator.base_url)
        urls = []
        for colour in ("red", "blue"):
            answer = http.post("/v1/uploads/images", files={"file": (f"{colour}.png", png(colour), "image/png")})
            urls.append(answer.json()["data"]["url"])
        assert all(url.startswith(f"{emulator.base_url}/uploads/") for url in urls)
        task = http.post(URL, json=GOOD | {"image_urls": urls, "audio": True}).json()
        body = final(http, task["id"])
        clip = http.get(body["result"]["data"][0]["url"])
        assert (clip.status_code, clip.content[4:8]) == (200, b"ftyp")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emulator-")]


def test_the_ledger_outlives_the_server(client: Any, tmp_path: Path) -> None:
    with Emulator.start(state_dir=tmp_path) as first:
        task = client(first.base_url).post(URL, json=GOOD).json()
    with Emulator.start(state_dir=tmp_path) as second:
        ledger = client(second.base_url).get("/__ledger").json()
    assert (ledger["accepted"], ledger["submissions"][0]["id"]) == (1, task["id"])


def test_it_stops_with_connections_open_and_work_undone(client: Any) -> None:
    with Emulator.start(speed=FAST) as emulator:
        http = client(emulator.base_url)
        for number in range(30):
            assert http.post(URL, json=GOOD | {"prompt": str(number), "mode": "pro"}).status_code == 200


def test_a_taken_port_is_told(client: Any) -> None:
    with Emulator.start() as emulator:
        port = int(emulator.base_url.rpartition(":")[2])
        with pytest.raises(UsageError, match=str(port)) as caught:
            Emulator.start(port=port)
    assert "--port" in caught.value.fix


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="state"):
        Emulator.start(state_dir=tmp_path / "file" / "state")


SERVE = """
import pathlib, sys
from batchrunner.emulator import serve
number = serve(state_dir=pathlib.Path(sys.argv[1]), speed=1, on_ready=lambda base_url: print(base_url, flush=True))
print(int(number))
"""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-W", "error", "-c", SERVE, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_runs_until_a_signal(number: signal.Signals, command: subprocess.Popen[str], client: Any) -> None:
    assert command.stdout is not None
    base_url = command.stdout.readline().strip()
    assert client(base_url).get("/v1/balance").status_code == 200
    command.send_signal(number)
    output, errors = command.communicate(timeout=10)
    assert (command.returncode, output.strip(), errors) == (0, str(int(number)), "")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_what_was_answered_survives_sigkill(command: subprocess.Popen[str], client: Any, tmp_path: Path) -> None:
    assert command.stdout is not None
    http = client(command.stdout.readline().strip())
    answered = [http.post(URL, json=GOOD).json()["id"] for _ in range(20)]
    command.kill()
    command.wait()
    with Emulator.start(state_dir=tmp_path) as emulator:
        ledger = client(emulator.base_url).get("/__ledger").json()
    assert [one["id"] for one in ledger["submissions"]] == answered
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == answered


class TestFetching:
    """Images elsewhere, served by a plain HTTP server on this machine."""

    @pytest.fixture
    def elsewhere(self, png: Callable[[str], bytes]) -> Iterator[str]:
        pages = {
            "/good.png": png("green"),
            "/page.png": b"<html>not found</html>",
            "/broken.png": png("red")[:100],
            "/large.png": png("red") + bytes(10 << 20),
        }

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = pages.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Pages) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    def test_it_is_fetched_and_rendered(self, elsewhere: str, client: Any) -> None:
        with Emulator.start(speed=FAST) as emulator:
            http = client(emulator.base_url)
            task = http.post(URL, json=GOOD | {"image_urls": [f"{elsewhere}/good.png"]}).json()
            body = final(http, task["id"])
            assert http.get(body["result"]["data"][0]["url"]).status_code == 200

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/missing.png", "HTTP 404"),
            ("/page.png", "format not supported"),
            ("/broken.png", "cannot be decoded"),
            ("/large.png", "larger than 10MB"),
            ("/uploads/" + "0" * 64 + ".png", "HTTP 404"),
        ],
    )
    def test_what_cannot_be_used(self, path: str, message: str, elsewhere: str, tmp_path: Path) -> None:
        with pytest.raises(ImageUnavailable, match=message):
            ImageStore(tmp_path).resolve(elsewhere + path)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/a", "http://127.0.0.1:9/ü", "http://a..b/", "http://[::1]:9/"])
    def test_urls_that_lead_nowhere(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(ImageUnavailable, match="could not be downloaded"):
            ImageStore(tmp_path).resolve(url)

    def test_a_host_that_says_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("batchrunner.emulator.images.FETCH_TIMEOUT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.png"
            with pytest.raises(ImageUnavailable, match="image"):
                ImageStore(tmp_path).resolve(url)
