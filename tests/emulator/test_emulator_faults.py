"""Every fault, by its name: it does what the table says, and the ledger is right whatever the client heard.

On real sockets, on a clock that the test moves: what breaks a connection must break one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from batchrunner.emulator import Emulator
from batchrunner.emulator.clock import ManualClock
from batchrunner.emulator.faults import FAULTS, Delay, Stage
from batchrunner.emulator.scenarios import SCENARIOS, read

URL = "/v1/videos/generations"
GOOD: dict[str, Any] = {"model": "kling-v3", "prompt": "a cat", "client_business_id": "ours"}
PRICE = 84
HOUR = 3600.0


class Rehearsal:
    """One emulator, its clock and a client of it."""

    def __init__(self, emulator: Emulator, clock: ManualClock, http: httpx.Client) -> None:
        self.emulator, self.clock, self.http = emulator, clock, http

    def submit(self, **fields: Any) -> httpx.Response:
        return self.http.post(URL, json=GOOD | fields)

    def bought(self, **fields: Any) -> str:
        answer = self.submit(**fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def poll(self, any_id: str, *, after: float = 0.0) -> httpx.Response:
        self.clock.advance(after)
        return self.http.get(f"{URL}/{any_id}")

    def download(self, task_id: str) -> httpx.Response:
        body = self.poll(task_id, after=HOUR).json()
        return self.http.get(body["result"]["data"][0]["url"])

    @property
    def ledger(self) -> dict[str, Any]:
        return dict(self.http.get("/__ledger").json())

    def check_books(self, *, accepted: int, refunded: int = 0) -> None:
        """Accepted = billed - refunded, in the ledger, in its rows and in the balance alike."""
        ledger = self.ledger
        rows = ledger["submissions"]
        assert (ledger["accepted"], len(rows)) == (accepted, accepted)
        assert [sum(row["price_credits"] for row in rows), ledger["charged_credits"]] == [accepted * PRICE] * 2
        kept = sum(row["price_credits"] for row in rows if not row["refunded"])
        assert kept == ledger["billed_credits"] == (accepted - refunded) * PRICE
        assert ledger["refunded_credits"] == refunded * PRICE
        self.http.post("/__config", json={"faults": []})
        assert self.http.get("/v1/user/balance").json()["used_credits"] == kept


@contextmanager
def rehearsing(*faults: dict[str, Any], speed: float = 1.0, **more: Any) -> Iterator[Rehearsal]:
    clock = ManualClock(1_800_000_000.0)
    config = read({"faults": list(faults), **more}, "the test")
    with (
        Emulator.start(config=config, clock=clock, speed=speed) as emulator,
        httpx.Client(
            base_url=emulator.base_url, headers={"Authorization": "Bearer sk-test"}, trust_env=False, timeout=20
        ) as http,
    ):
        yield Rehearsal(emulator, clock, http)


def named(*stages: Stage, effect: str) -> list[str]:
    return [
        name
        for name, fault in FAULTS.items()
        if fault.stages[0] in stages and type(fault.effect).__name__ == effect and not fault.everywhere
    ]


REFUSALS = [name for name in named(Stage.SUBMIT, effect="Reply") if not name.startswith("accepted_")]
ANSWERS = {
    "too_many_requests": 429,
    "too_many_requests_unsaid": 429,
    "too_many_requests_absurd": 429,
    "too_many_requests_empty": 429,
    "limiter_down": 503,
    "error_text": 500,
    "error_nested": 500,
    "no_channel": 503,
    "kling_1303": 429,
    "kling_1302": 429,
    "content_policy": 422,
    "kling_1301": 400,
    "quota_402": 402,
    "quota_403": 403,
    "kling_arrears": 429,
    "success_false": 200,
} | {f"http_{status}": status for status in (500, 502, 503, 504, 520, 521, 522, 523, 524)}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_buys_nothing(name: str) -> None:
    with rehearsing({"name": name, "first": 1}) as rehearsal:
        answer = rehearsal.submit()
        assert answer.status_code == ANSWERS[name]
        assert rehearsal.ledger["faults"] == {name: 1}
        rehearsal.check_books(accepted=0)
        rehearsal.bought()


def test_what_a_refusal_says() -> None:
    with rehearsing(*({"name": name, "after": place, "first": 1} for place, name in enumerate(REFUSALS))) as rehearsal:
        said = {name: rehearsal.submit() for name in REFUSALS}
    assert said["too_many_requests"].headers["retry-after"] == "5"
    assert said["too_many_requests_absurd"].headers["retry-after"] == "99999999999"
    assert "retry-after" not in said["too_many_requests_unsaid"].headers
    assert said["too_many_requests_empty"].content == b""
    assert said["http_503"].headers["content-type"].startswith("text/html")
    assert (said["http_522"].headers["server"], bool(said["http_522"].headers["cf-ray"])) == ("cloudflare", True)
    assert "1303" in said["kling_1303"].json()["error"]["message"]
    assert said["content_policy"].json()["error"]["type"] == "content_policy_violation"
    assert said["success_false"].json()["success"] is False


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("accepted_then_5")])
def test_bought_and_told_a_server_error(name: str) -> None:
    with rehearsing({"name": name}) as rehearsal:
        answer = rehearsal.submit()
        assert answer.status_code == int(name.removeprefix("accepted_then_"))
        assert (answer.headers["content-type"].startswith("text/html")) == (name != "accepted_then_500")
        assert rehearsal.poll("ours").status_code == 200
        (row,) = rehearsal.ledger["submissions"]
        assert (row["faults"], row["client_business_id"]) == ([name], "ours")
        rehearsal.check_books(accepted=1)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("name", "accepted"), [("accepted_then_dies", 1), ("dies", 0)])
def test_the_connection_dies(name: str, accepted: int, reset: bool) -> None:
    with rehearsing({"name": name, "reset": reset, "first": 1}) as rehearsal:
        with pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
            rehearsal.submit()
        assert rehearsal.poll("ours").status_code == (200 if accepted else 404)
        rehearsal.check_books(accepted=accepted)


def test_an_answer_is_cut_behind_its_id() -> None:
    with rehearsing({"name": "accepted_then_cut"}) as rehearsal:
        heard = bytearray()
        with rehearsal.http.stream("POST", URL, json=GOOD) as answer:
            assert answer.status_code == 200
            promised = int(answer.headers["content-length"])
            with pytest.raises(httpx.RemoteProtocolError, match="closed"):
                heard.extend(b"".join(_kept(answer, heard)))
        (row,) = rehearsal.ledger["submissions"]
        assert bytes(heard).endswith(f'"id": "{row["id"]}"'.encode())
        assert len(heard) < promised
        rehearsal.check_books(accepted=1)


def _kept(answer: httpx.Response, heard: bytearray) -> Iterator[bytes]:
    for chunk in answer.iter_raw():
        heard.extend(chunk)
    yield b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl")
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"name": "accepted_then_dies"}, 52),  # empty reply
        ({"name": "accepted_then_dies", "reset": True}, 56),  # connection reset
        ({"name": "accepted_then_cut"}, 18),  # transfer closed with outstanding data
        ({"name": "accepted_then_504"}, 0),
    ],
)
def test_curl_meets_the_same(fault: dict[str, Any], code: int) -> None:
    with rehearsing(fault) as rehearsal:
        command = ["curl", "-sS", "--noproxy", "*", "--http1.1", rehearsal.emulator.base_url + URL, "-m", "20"]
        command += ["-H", "Authorization: Bearer x", "-H", "Content-Type: application/json", "-d", json.dumps(GOOD)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == code, done.stderr
        rehearsal.check_books(accepted=1)


def test_answers_that_are_no_answer() -> None:
    with rehearsing({"name": "garbage", "first": 1}, {"name": "without_id", "first": 2}) as rehearsal:
        with pytest.raises(ValueError, match=r"."):
            rehearsal.submit().json()
        body = rehearsal.submit(client_business_id="second").json()
        assert ("id" in body, body["client_business_id"]) == (False, "second")
        rehearsal.check_books(accepted=2)


def test_an_error_behind_a_success() -> None:
    with rehearsing({"name": "error_behind_success"}) as rehearsal:
        text = rehearsal.submit().text
        first, end = json.JSONDecoder().raw_decode(text)
        assert rehearsal.poll(first["id"]).status_code == 200
        assert json.loads(text[end:])["code"] == "insert_task_failed"
        rehearsal.check_books(accepted=1)


def test_the_id_of_another_task() -> None:
    with rehearsing({"name": "foreign_id"}) as rehearsal:
        first = rehearsal.bought()  # there is no other yet
        assert rehearsal.ledger["faults"] == {}
        assert rehearsal.submit(client_business_id="second").json()["id"] == first
        assert rehearsal.poll("second").json()["id"] != first
        rehearsal.check_books(accepted=2)


def test_a_slow_answer() -> None:
    with rehearsing({"name": "slow", "seconds": 120, "first": 1}, speed=1000.0) as rehearsal:
        with pytest.raises(httpx.ReadTimeout):
            rehearsal.http.post(URL, json=GOOD, timeout=0.2)  # the clock stands still
        rehearsal.clock.advance(1)
        assert rehearsal.poll("ours").status_code == 200
        rehearsal.check_books(accepted=1)


@pytest.mark.parametrize(
    ("name", "status", "says"), [("unauthorized", 401, "Invalid token"), ("key_drained", 401, "额度")]
)
def test_the_key_fails_in_mid_run(name: str, status: int, says: str) -> None:
    with rehearsing({"name": name, "after": 2}) as rehearsal:
        task = rehearsal.bought()
        assert rehearsal.poll(task).status_code == 200
        for answer in (rehearsal.submit(), rehearsal.poll(task), rehearsal.http.get("/v1/balance")):
            assert answer.status_code == status
            assert says in answer.json()["error"]["message"]
        rehearsal.check_books(accepted=1)


@pytest.mark.parametrize(("name", "error"), [("outage", None), ("silence", httpx.RemoteProtocolError)])
def test_an_outage_is_a_time(name: str, error: type[Exception] | None) -> None:
    with rehearsing({"name": name, "from": 60, "to": 3660}) as rehearsal:
        task = rehearsal.bought()
        rehearsal.clock.advance(60)
        for ask in (lambda: rehearsal.submit(), lambda: rehearsal.poll(task), lambda: rehearsal.http.get("/v1/models")):
            if error is None:
                assert ask().status_code == 502
            else:
                with pytest.raises(error):
                    ask()
        assert rehearsal.poll(task, after=HOUR).json()["status"] == "completed"
        rehearsal.check_books(accepted=1)


class TestTasks:
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("task_failed", "422"),
            ("task_failed_silently", None),
            ("task_1303", "1303"),
            ("task_content_policy", "content policy"),
        ],
    )
    def test_a_failed_task_is_refunded_when_it_fails(self, name: str, says: str | None) -> None:
        with rehearsing({"name": name}) as rehearsal:
            task = rehearsal.bought()
            assert rehearsal.http.get("/v1/balance").json()["used_credits"] == PRICE
            body = rehearsal.poll(task, after=HOUR).json()
            assert (body["status"], body["progress"]) == ("failed", 0)
            assert (body["error"]["message"] if says else body.get("error")) == (body.get("error") or {}).get("message")
            assert says is None or says in body["error"]["message"]
            assert rehearsal.ledger["submissions"][0]["outcome"] == "failed"
            rehearsal.check_books(accepted=1, refunded=1)

    def test_stuck_for_ever(self) -> None:
        with rehearsing({"name": "task_stuck"}) as rehearsal:
            task = rehearsal.bought()
            body = rehearsal.poll(task, after=24 * HOUR).json()
            assert (body["status"], body["progress"]) == ("in_progress", 99)
            assert rehearsal.ledger["submissions"][0]["outcome"] == "stuck"
            rehearsal.check_books(accepted=1)

    def test_several_times_as_long(self) -> None:
        with rehearsing({"name": "task_slow", "factor": 5}) as slow, rehearsing() as normal:
            slow.bought(), normal.bought()
            one, other = (one.emulator.relay.ledger.entries()[0].service for one in (slow, normal))
            assert one == pytest.approx(5 * other)

    def test_status_words(self) -> None:
        faults = [
            {"name": "status_unknown", "match": "unknown"},
            {"name": "status_uppercase", "match": "capitals"},
            {"name": "status_backwards", "match": "back"},
        ]
        with rehearsing(*faults) as rehearsal:
            tasks = [rehearsal.bought(prompt=word, client_business_id=word) for word in ("unknown", "capitals", "back")]
            said: list[list[str]] = [[], [], []]
            progress = []
            for _ in range(30):
                rehearsal.clock.advance(15)
                for words, task in zip(said, tasks, strict=True):
                    body = rehearsal.poll(task).json()
                    words.append(body["status"])
                progress.append(body["progress"])
            assert not set(said[0]) & {"queued", "in_progress"}
            assert said[0][-1] == "completed"
            assert (said[1][0].isupper(), said[1][-1]) == (True, "COMPLETED")
            first_done = said[2].index("completed")
            assert "queued" in said[2][said[2].index("in_progress") : first_done]
            assert "in_progress" in said[2][first_done:]
            assert (said[2][-1], progress != sorted(progress)) == ("completed", True)
            rehearsal.check_books(accepted=3)

    def test_completed_without_a_url(self) -> None:
        with rehearsing({"name": "no_url", "match": "late"}, {"name": "no_url_ever", "match": "never"}) as rehearsal:
            late = rehearsal.bought(prompt="late", client_business_id="1")
            never = rehearsal.bought(prompt="never", client_business_id="2")
            service = max(entry.service for entry in rehearsal.emulator.relay.ledger.entries())
            bodies = [
                rehearsal.poll(task).json() for task in (late, never) if not rehearsal.clock.advance(service + 15) < 0
            ]
            assert [body["status"] for body in bodies] == ["completed"] * 2
            assert rehearsal.poll(late, after=HOUR).json()["result"]["data"]
            assert "result" not in rehearsal.poll(never).json()

    def test_urls_that_are_dead(self) -> None:
        faults = [
            {"name": "expired_url", "match": "old"},
            {"name": "url_dead_at_first", "match": "early", "seconds": HOUR},
        ]
        with rehearsing(*faults) as rehearsal:
            old = rehearsal.bought(prompt="old", client_business_id="1")
            early = rehearsal.bought(prompt="early", client_business_id="2")
            assert [rehearsal.download(task).status_code for task in (old, early)] == [403, 200]
            body = rehearsal.poll(old).json()
            assert body["expires_at"] == body["completed_at"]

    def test_what_can_be_found(self) -> None:
        faults = [
            {"name": "task_404", "match": "late", "seconds": 60},
            {"name": "client_id_late", "match": "theirs", "seconds": 60},
            {"name": "client_id_ignored", "match": "ignored"},
            {"name": "never_stored", "match": "lost"},
        ]
        words = ("late", "theirs", "ignored", "lost")
        with rehearsing(*faults) as rehearsal:
            tasks = [rehearsal.bought(prompt=f"1 {word}", client_business_id=word) for word in words]

            def found() -> list[tuple[bool, bool]]:
                return [
                    (rehearsal.poll(task).status_code == 200, rehearsal.poll(word).status_code == 200)
                    for task, word in zip(tasks, words, strict=True)
                ]

            assert found() == [(False, False), (True, False), (True, False), (False, False)]
            again = [rehearsal.bought(prompt=f"2 {word}", client_business_id=word) for word in words]
            assert not set(tasks) & set(again)  # what cannot be found is not replayed
            rehearsal.clock.advance(61)
            assert [one for one, _ in found()] == [True, True, True, False]
            assert [both for _, both in found()] == [True, True, False, False]
            assert rehearsal.bought(prompt="late", client_business_id="late") == tasks[0]
            assert "client_business_id" not in rehearsal.poll(tasks[2]).json()
            assert rehearsal.ledger["submissions"][3]["outcome"] == "lost"
            rehearsal.check_books(accepted=8)


class TestFiles:
    def test_what_is_served(self) -> None:
        names = ("file_truncated", "file_html", "file_wrong_clip", "file_wrong_length", "file_cut")
        faults = [{"name": name, "after": place, "first": 1} for place, name in enumerate(names)]
        with rehearsing(*faults) as rehearsal:
            task = rehearsal.bought()
            half, page, other = (rehearsal.download(task) for _ in range(3))
            for _ in ("wrong length", "cut"):
                with pytest.raises(httpx.RemoteProtocolError, match="closed"):
                    rehearsal.download(task)
            whole = rehearsal.download(task)
            assert half.content == whole.content[: len(whole.content) // 2]
            assert page.headers["content-type"].startswith("text/html")
            assert (other.content[4:8], other.content != whole.content) == (b"ftyp", True)
            assert whole.headers["etag"]
            assert rehearsal.ledger["submissions"][0]["faults"] == list(names)
            rehearsal.check_books(accepted=1)

    def test_a_last_frame_that_is_ignored(self, png: Callable[[str], bytes]) -> None:
        with rehearsing({"name": "last_frame_ignored", "first": 1}) as rehearsal:
            sent = [{"file": (f"{colour}.png", png(colour), "image/png")} for colour in ("red", "blue")]
            answers = [rehearsal.http.post("/v1/uploads/images", files=files).json() for files in sent]
            urls = [answer["data"]["url"] for answer in answers]
            pair = rehearsal.bought(image_urls=urls)
            rehearsal.emulator.relay.workshop.wait()
            ignored, whole = (rehearsal.download(pair).content for _ in range(2))
            alone = rehearsal.bought(image_urls=urls[:1], client_business_id="alone")
            rehearsal.emulator.relay.workshop.wait()
            assert rehearsal.download(alone).content == ignored != whole

    def test_a_stalled_file(self) -> None:
        with rehearsing({"name": "file_stalls", "seconds": 300, "first": 1}) as rehearsal:
            task = rehearsal.bought()
            url = rehearsal.poll(task, after=HOUR).json()["result"]["data"][0]["url"]
            rehearsal.emulator.relay.workshop.wait()
            # Time enough for the head on a busy machine; the body never comes.
            with rehearsal.http.stream("GET", url, timeout=2) as answer, pytest.raises(httpx.ReadTimeout):
                answer.read()
            assert rehearsal.http.get(url).status_code == 200

    def test_a_range_can_break_too(self) -> None:
        with rehearsing({"name": "file_cut", "first": 1}) as rehearsal:
            task = rehearsal.bought()
            with pytest.raises(httpx.RemoteProtocolError):
                rehearsal.download(task)
            url = rehearsal.poll(task).json()["result"]["data"][0]["url"]
            rest = rehearsal.http.get(url, headers={"Range": "bytes=100-"})
            assert (rest.status_code, rest.headers["content-range"].startswith("bytes 100-")) == (206, True)


@pytest.mark.parametrize("name", ["http_502", "success_false", "garbage", "dies", "slow"])
def test_uploads_fail(name: str, png: Callable[[str], bytes]) -> None:
    with rehearsing(
        {"name": name, "stage": "upload", "first": 1, "seconds": 0}
        if name == "slow"
        else {"name": name, "stage": "upload", "first": 1}
    ) as rehearsal:
        files = {"file": ("a.png", png("red"), "image/png")}
        try:
            first = rehearsal.http.post("/v1/uploads/images", files=files)
            assert name == "slow" or first.status_code == 502 or b'"success": true' not in first.content
        except httpx.RemoteProtocolError:
            assert name == "dies"
        assert rehearsal.http.post("/v1/uploads/images", files=files).json()["success"] is True
        assert rehearsal.ledger["faults"] == {name: 1}


def test_every_fault_is_met_somewhere_above() -> None:
    """A row of the table without a test would be a promise that nobody keeps."""
    text = Path(__file__).read_text(encoding="utf-8")
    covered = (
        {name for name in FAULTS if name in text} | set(REFUSALS) | {n for n in FAULTS if n.startswith("accepted_")}
    )
    assert set(FAULTS) - covered == set()
    assert set(REFUSALS) == set(ANSWERS)


class TestDraws:
    CHAOS: ClassVar = [one for one in SCENARIOS["chaos"]["faults"] if FAULTS[one["name"]].effect.__class__ is not Delay]
    """Without what waits for a clock that stands still."""

    def history(self, seed: int) -> list[Any]:
        """What a client hears, request by request, and what the ledger has."""
        heard: list[Any] = []
        with rehearsing(*self.CHAOS, seed=seed) as rehearsal:
            for number in range(60):
                heard.append(_heard(lambda n=number: rehearsal.submit(prompt=f"{n}", client_business_id=f"id-{n}")))
                rehearsal.clock.advance(5)
                heard.append(_heard(lambda n=number: rehearsal.poll(f"id-{n // 2}")))
            ledger = rehearsal.ledger
        rows = [(row["client_business_id"], row["status"], row["faults"]) for row in ledger["submissions"]]
        return [heard, rows, ledger["faults"], ledger["billed_credits"]]

    def test_one_seed_one_history(self) -> None:
        first = self.history(3)
        assert first == self.history(3)
        assert len(first[2]) > 5
        assert first != self.history(4)

    def test_the_order_of_arrival_decides_nothing(self) -> None:
        """Four slots overtake each other: what each clip meets, and how long it takes, is its own."""

        def lives(order: list[int]) -> dict[str, Any]:
            met: dict[str, Any] = {}
            with rehearsing(*self.CHAOS, seed=3) as rehearsal:
                for number in order:
                    for again in "ab":
                        rehearsal.clock.advance(1)
                        body = {"prompt": f"{number // 2}", "client_business_id": f"{number}{again}"}
                        met.setdefault(f"{number // 2}", []).append(_heard(lambda b=body: rehearsal.submit(**b)))
                for entry in rehearsal.emulator.relay.ledger.entries():
                    met.setdefault(entry.submission.prompt, []).append((entry.service, sorted(entry.fate)))
            return met

        order = list(range(40))
        assert lives(order) == lives(order[::-1]) == lives(order[20:] + order[:20])

    @pytest.mark.parametrize(("other", "statuses"), [(False, [200]), (True, [503])])
    def test_the_same_rules_go_on_after_a_restart_and_others_begin_anew(
        self, other: bool, statuses: list[int], tmp_path: Any
    ) -> None:
        rules = [{"name": "http_503", "first": 1}]
        heard = []
        for faults in (rules, [*rules, {"name": "http_502", "stage": "poll"}] if other else rules):
            with (
                Emulator.start(state_dir=tmp_path, config=read({"faults": faults}, "the test")) as emulator,
                httpx.Client(headers={"Authorization": "Bearer x"}, trust_env=False) as http,
            ):
                heard.append(http.post(emulator.base_url + URL, json={"model": "kling-v3", "prompt": "a"}).status_code)
        assert heard == [503, *statuses]

    def test_places_go_on_after_a_restart(self, tmp_path: Any) -> None:
        config = read({"faults": [{"name": "http_503", "first": 2}]}, "the test")
        statuses = []
        for _ in range(4):
            with (
                Emulator.start(state_dir=tmp_path, config=config) as emulator,
                httpx.Client(headers={"Authorization": "Bearer x"}, trust_env=False) as http,
            ):
                statuses.append(
                    http.post(emulator.base_url + URL, json={"model": "kling-v3", "prompt": "a"}).status_code
                )
        assert statuses == [503, 503, 200, 200]

    def test_windows_and_places(self) -> None:
        with rehearsing(
            {"name": "http_503", "after": 2, "first": 2}, {"name": "http_502", "stage": "poll"}
        ) as rehearsal:
            statuses = [rehearsal.submit(client_business_id=f"{n}").status_code for n in range(6)]
            assert statuses == [200, 200, 503, 503, 200, 200]
            assert rehearsal.poll("0").status_code == 502


def _heard(ask: Callable[[], httpx.Response]) -> Any:
    try:
        answer = ask()
    except httpx.TransportError as error:
        return type(error).__name__
    try:
        body = answer.json()
    except ValueError:
        return answer.status_code, "no JSON"
    return answer.status_code, body.get("status"), body.get("progress")
