"""What can be set: scenarios and files of faults, limits, and all of it while the emulator runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from batchrunner.cli.emulator import GROUPS as OFFERED
from batchrunner.cli.emulator import command
from batchrunner.emulator.clock import ManualClock
from batchrunner.emulator.faults import FAULTS
from batchrunner.emulator.limits import GROUPS, Bucket
from batchrunner.emulator.relay import Relay
from batchrunner.emulator.scenarios import SCENARIOS, load, named, read, scenario_of
from batchrunner.errors import UsageError

URL = "/v1/videos/generations"
GOOD: dict[str, Any] = {"model": "kling-v3", "prompt": "a cat"}


class TestFiles:
    @pytest.mark.parametrize("name", SCENARIOS)
    def test_every_scenario_of_ours_can_be_read(self, name: str) -> None:
        assert named(name).scenario == name

    @pytest.mark.parametrize("suffix", ["yaml", "json"])
    def test_a_file(self, suffix: str, tmp_path: Path) -> None:
        content = {
            "seed": 7,
            "faults": [
                {"name": "accepted_then_dies", "probability": 0.1},
                {"name": "http_503", "probability": 1, "first": 20},
                {"name": "unauthorized", "after": 30},
                {"name": "outage", "from": 60, "to": 3660},
                "task_stuck",
            ],
            "parallel": 3,
        }
        path = tmp_path / f"faults.{suffix}"
        path.write_text(json.dumps(content))
        config = scenario_of(str(path))
        assert config.rules is not None
        assert [rule.fault.name for rule in config.rules] == [
            "accepted_then_dies",
            "http_503",
            "unauthorized",
            "outage",
            "task_stuck",
        ]
        assert (config.seed, config.limits, config.rules[3].end) == (7, {"parallel": 3}, 3660)

    def test_a_scenario_with_faults_of_its_own(self) -> None:
        config = read({"scenario": "capacity", "faults": ["dies"], "parallel": 9}, "x")
        assert config.rules is not None
        assert [rule.fault.name for rule in config.rules][-1] == "dies"
        assert (len(config.rules), config.limits["parallel"]) == (len(SCENARIOS["capacity"]["faults"]) + 1, 9)

    @pytest.mark.parametrize(
        ("content", "message", "fix"),
        [
            ("[1, 2]", "an object", "faults"),
            ("faults: 3", "must be a list", "faults"),
            ("faults: [{name: accepted_then_die}]", "no fault 'accepted_then_die'", "did you mean accepted_then_dies"),
            ("faults: [{name: nonsense}]", "no fault 'nonsense'", "too_many_requests"),
            ("faults: [{probability: 1}]", "a name", "faults"),
            ("faults: [{name: dies, probability: 2}]", "probability must be a number from 0 to 1, not 2", "faults"),
            ("faults: [{name: dies, probability: .nan}]", "probability", "faults"),
            ("faults: [{name: dies, often: 2}]", "unknown key 'often'", "probability"),
            ("faults: [{name: dies, seconds: 2}]", "unknown key 'seconds'", "reset"),
            ("faults: [{name: dies, reset: 2}]", "reset must be true or false", "faults"),
            ("faults: [{name: kling_1303, stage: poll}]", "cannot strike on 'poll'", "stage: submit"),
            ("faults: [{name: slow, seconds: soon}]", "seconds must be a number", "faults"),
            ("scenario: sunny", "no scenario 'sunny'", "happy, flaky"),
            ("group: gold", "no group 'gold'", "vip"),
            ("group: [vip]", "no group", "vip"),
            ("parallel: -1", "parallel", "faults"),
            ("credits: many", "credits", "faults"),
            ("rate_limits: 1", "true or false", "faults"),
            ("seed: x", "seed", "faults"),
            ("fautls: []", "unknown key 'fautls'", "faults"),
            ("faults: [", "no YAML or JSON", "faults"),
        ],
    )
    def test_what_is_wrong_is_said(self, content: str, message: str, fix: str, tmp_path: Path) -> None:
        path = tmp_path / "faults.yaml"
        path.write_text(content)
        with pytest.raises(UsageError) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert message in str(caught.value)
        assert fix in caught.value.fix

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be read"):
            load(tmp_path / "none.yaml")


class TestCommand:
    def test_the_list_has_everything(self) -> None:
        said = CliRunner().invoke(command, ["--list"], standalone_mode=False).output
        assert all(name in said for name in (*FAULTS, *SCENARIOS))

    def test_the_groups_it_offers_are_those_there_are(self) -> None:
        assert set(OFFERED) == set(GROUPS)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--scenario", "sunny"], "no scenario"),
            (["--scenario", "happy", "--faults", "x.yaml"], "exclude"),
            (["--faults", "x.yaml"], "cannot be read"),
            (["--credits", "-5"], "--credits"),
        ],
    )
    def test_mistakes(self, words: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            CliRunner().invoke(command, words, standalone_mode=False, catch_exceptions=False)


class TestWhileItRuns:
    async def test_faults_come_and_go(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/__config", json={"seed": 5, "faults": [{"name": "http_503", "first": 1}]})
        assert (answer.status_code, answer.json()) == (200, (await client.get("/__config")).json())
        said = answer.json()
        assert (said["scenario"], said["seed"], said["faults"][0]["name"]) == ("faults", 5, "http_503")
        assert [(await client.post(URL, json=GOOD)).status_code for _ in range(2)] == [503, 200]
        assert (await client.post("/__config", json={"scenario": "outage"})).json()["faults"][0]["to"] == 3660
        assert (await client.post("/__config", json={"scenario": "happy"})).json()["faults"] == []
        assert (await client.post(URL, json=GOOD)).status_code == 200

    async def test_what_is_said_can_be_sent_back(self, client: httpx.AsyncClient) -> None:
        for name in SCENARIOS:
            said = (await client.post("/__config", json={"scenario": name})).json()
            again = (await client.post("/__config", json={"faults": said["faults"]})).json()
            assert again["faults"] == said["faults"]

    async def test_the_account_can_be_emptied_and_filled(self, client: httpx.AsyncClient) -> None:
        for credits, status in ((83, 402), (84, 200), (None, 200)):
            await client.post("/__config", json={"credits": credits})
            assert (await client.post(URL, json=GOOD)).status_code == status
        assert (await client.get("/v1/user/balance")).json()["unlimited_quota"] is True
        assert (await client.get("/__ledger")).json()["refusals"] == {"out_of_credits": 1}

    @pytest.mark.parametrize("body", [b"x", b"[]", b'{"faults": ["dyes"]}', b'{"parallel": -1}'])
    async def test_nonsense_changes_nothing(self, body: bytes, client: httpx.AsyncClient) -> None:
        before = (await client.get("/__config")).json()
        answer = await client.post("/__config", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_config")
        assert (await client.get("/__config")).json() == before

    async def test_as_many_at_once_as_upstream_takes(self, client: httpx.AsyncClient, clock: Any) -> None:
        await client.post("/__config", json={"parallel": 2})
        answers = [await client.post(URL, json=GOOD) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert "1303" in answers[2].json()["message"]
        clock.now += 1000
        assert (await client.post(URL, json=GOOD)).status_code == 200
        assert (await client.get("/__ledger")).json()["refusals"] == {"at_capacity": 1}

    async def test_the_clock_of_a_test(self, open_relay: Callable[..., Relay], connect: Any) -> None:
        relay = Relay(clock=ManualClock(1_800_000_000.0), state_dir=None)
        try:
            async with connect(relay) as client:
                task = (await client.post(URL, json=GOOD)).json()["id"]
                moved = await client.post("/__clock", json={"advance": 3600})
                assert moved.json() == {"now": 1_800_003_600.0, "manual": True}
                assert (await client.get(f"{URL}/{task}")).json()["status"] == "completed"
                for body in ({"advance": -1}, {"advance": "x"}, {}, []):
                    assert (await client.post("/__clock", json=body)).status_code == 400
        finally:
            relay.close()

    async def test_the_real_clock_cannot_be_moved(self, client: httpx.AsyncClient) -> None:
        assert (await client.post("/__clock", json={"advance": 1})).status_code == 409
        assert (await client.get("/__clock")).json()["manual"] is False


class TestRateLimits:
    @pytest.mark.parametrize(("group", "burst", "rpm"), [("default", 50, 300), ("vip", 167, 1000), ("svip", 334, 2000)])
    async def test_submissions(self, group: str, burst: int, rpm: int, client: httpx.AsyncClient, clock: Any) -> None:
        await client.post("/__config", json={"group": group})
        for _ in range(burst):
            answer = await client.post(URL, content=b"{}", headers={"Content-Type": "application/json"})
            assert answer.status_code == 400  # failures count too
        assert answer.headers["x-ratelimit-remaining"] == "0"
        refused = await client.post(URL, json=GOOD)
        assert refused.status_code == 429
        assert refused.json() == {
            "error": {"code": "rate_limit_exceeded", "message": "Async task request rate exceeded"}
        }
        assert refused.headers["x-ratelimit-limit"] == str(rpm)
        assert refused.headers["x-ratelimit-category"] == "async_submit"
        assert refused.headers["retry-after"] == "1"
        assert int(refused.headers["x-ratelimit-reset"]) >= clock.now
        assert (await client.get(f"{URL}/none")).headers["x-ratelimit-category"] == "async_query"
        clock.now += 1
        assert (await client.post(URL, json=GOOD)).status_code == 200
        assert (await client.get("/__ledger")).json()["refusals"] == {"rate_limited": 1}

    async def test_they_run_as_fast_as_the_emulator(self, open_relay: Any, connect: Any, clock: Any) -> None:
        async with connect(open_relay(speed=100.0)) as client:
            statuses = []
            for _ in range(55):
                clock.now += 0.002  # five a second at this speed is one every 2 ms
                statuses.append((await client.post(URL, json=GOOD)).status_code)
            assert set(statuses) == {200}

    async def test_they_can_be_switched_off(self, client: httpx.AsyncClient) -> None:
        await client.post("/__config", json={"rate_limits": False})
        statuses = [(await client.post(URL, content=b"{}")).status_code for _ in range(60)]
        assert set(statuses) == {400}
        assert "x-ratelimit-limit" not in (await client.get(f"{URL}/x")).headers

    def test_a_bucket(self) -> None:
        bucket = Bucket(per_minute=60, burst=3)
        assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
        assert (bucket.remaining, bucket.wait) == (0, 1.0)
        assert [bucket.take(at) for at in (0.1, 0.6, 0.7, 1.5, 1.6)] == [False, True, False, True, False]
        assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
