"""Keys with limits of their own: what they may buy, what they are told, and whose balance is whose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from batchrunner.emulator.relay import Relay

URL = "/v1/videos/generations"
PRICE = 84
"""Credits for 5 s of 720P."""
DAY = 86_400


async def make(client: httpx.AsyncClient, **fields: Any) -> dict[str, str]:
    """The headers of a new key."""
    answer = await client.post("/v1/tokens", json={"name": "tonight", **fields})
    assert answer.json()["success"], answer.text
    return {"Authorization": f"Bearer {answer.json()['data']['key']}"}


async def buy(client: httpx.AsyncClient, key: dict[str, str]) -> tuple[int, str]:
    answer = await client.post(URL, json={"model": "kling-v3", "prompt": "a cat"}, headers=key)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


async def test_a_key_spends_what_it_has_and_no_more(client: httpx.AsyncClient) -> None:
    key = await make(client, remain_credits=2 * PRICE, remain_quota=0)
    assert [await buy(client, key) for _ in range(3)] == [(200, ""), (200, ""), (401, "")]
    assert (await client.get(f"{URL}/x", headers=key)).status_code == 401
    own = (await client.get("/v1/balance", headers=key)).json()
    assert (own["used_credits"], own["remain_credits"], own["unlimited_quota"]) == (2 * PRICE, 0, False)
    assert await buy(client, {}) == (200, "")  # another key of the same account
    assert (await client.get("/v1/balance")).json()["used_credits"] == PRICE
    assert (await client.get("/v1/user/balance", headers=key)).json()["used_credits"] == 3 * PRICE


async def test_what_a_key_cannot_pay_or_may_not_ask_for(client: httpx.AsyncClient, clock: Any) -> None:
    poor = await make(client, remain_quota=2_500 * (PRICE - 1))
    assert await buy(client, poor) == (403, "pre_consume_token_quota_failed")
    other = await make(client, unlimited_quota=True, model_limits_enabled=True, model_limits="sora-2, veo")
    assert await buy(client, other) == (403, "")
    brief = await make(client, unlimited_quota=True, expired_time=int(clock.now) + 60)
    assert await buy(client, brief) == (200, "")
    clock.now += 60
    assert await buy(client, brief) == (401, "")


@pytest.mark.parametrize(("cap", "days"), [("daily_credits", 1), ("monthly_credits", 31)])
async def test_a_cap_by_day_or_month_fills_up_again(cap: str, days: int, client: httpx.AsyncClient, clock: Any) -> None:
    key = await make(client, unlimited_quota=True, **{cap: PRICE})
    told = [await buy(client, key), await buy(client, key)]
    clock.now += days * DAY
    assert [*told, await buy(client, key)] == [(200, ""), (403, "pre_consume_token_quota_failed"), (200, "")]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 51},
        {"name": None},
        {"expired_time": -2},
        {"remain_credits": -1},
        {"remain_credits": 1.5},
        {"daily_credits": True},
        {"unlimited_quota": 1},
        {"model_limits": ["kling-v3"]},
        {"group": "gold"},
        {"colour": "red"},
    ],
    ids=str,
)
async def test_a_key_that_cannot_be_made(fields: dict[str, Any], client: httpx.AsyncClient, relay: Relay) -> None:
    answer = await client.post("/v1/tokens", json={"name": "tonight"} | fields)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert answer.json()["message"].startswith(f"{next(iter(fields))}: ")
    assert relay.ledger.tokens == {}


async def test_keys_survive_and_are_not_written_down(
    open_relay: Callable[..., Relay], connect: Any, tmp_path: Any
) -> None:
    first = open_relay()
    async with connect(first) as client:
        key = await make(client, remain_credits=PRICE)
        assert await buy(client, key) == (200, "")
    first.close()
    async with connect(open_relay()) as client:
        assert await buy(client, key) == (401, "")
    assert key["Authorization"][7:] not in (tmp_path / "state" / "ledger.jsonl").read_text()


async def test_the_relay_names_each_request(client: httpx.AsyncClient) -> None:
    named = [(await client.get("/v1/balance")).headers["x-oneapi-request-id"] for _ in range(2)]
    assert named[0] != named[1]
