"""The emulator against its own OpenAPI document: what the schema allows is taken, what it forbids is refused, and every
answer is one of those that are written there. `-m slow` asks many times as often.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from api_rules import ACCEPTED, GOOD, REFUSED
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.file_samples import MEDIA_TYPE_FILE_SAMPLES
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import ignored_auth, unsupported_method

from batchrunner.cli.emulator import command
from batchrunner.emulator.app import create_app
from batchrunner.emulator.openapi import document
from batchrunner.emulator.relay import Relay

UNTRUE = [unsupported_method, ignored_auth]
"""The relay answers 404 to a method that a path does not have (facts §4), not 405; and any key is good here, while that
there must be one has a test among the rules."""
schemathesis.openapi.format("binary", st.sampled_from([*MEDIA_TYPE_FILE_SAMPLES.values()]))
OPERATIONS = [(path, method) for path, methods in document()["paths"].items() for method in methods]
SUBMISSION = jsonschema_rs.Draft202012Validator(document()["components"]["schemas"]["Submission"])
GONE = "http://127.0.0.1:9/none.png"
BEYOND_SCHEMAS = {"duration as float"}
"""5.0 is an integer to JSON Schema, and none to a relay that is written in Go."""
FORBIDDING = [
    ("/v1/videos/generations", "post"),
    ("/v1/uploads/images", "post"),
    ("/v1/tokens", "post"),
    ("/files/{task_id}.mp4", "get"),
    ("/uploads/{name}", "get"),
]
"""The others take any request that has a key."""
FEW, MANY = 12, 500
"""Cases for each operation."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document as it is served, on an emulator whose tasks are done at once."""
    now = iter(range(1_800_000_000, 2_000_000_000))
    relay = Relay(clock=lambda: float(next(now)), state_dir=tmp_path_factory.mktemp("state"), speed=1e9, credits=None)
    app = create_app(relay)
    config = SchemathesisConfig(seed=1)
    config.projects.default.analysis.constants.enabled = False  # else words of our source are taken for good uploads
    config.projects.default.update(headers={"Authorization": "Bearer sk-test"})
    yield schemathesis.openapi.from_asgi("/openapi.json", app, config=config)
    asgi.shutdown_lifespans()


def hold(schema: Any, path: str, method: str, mode: GenerationMode, examples: int) -> None:
    """Ask for `examples` generated cases, and check every answer."""
    operation = schema[path][method]

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        wanted = case.body.values() if isinstance(case.body, dict) else ()
        assume(not any(isinstance(value, float) for value in wanted))  # BEYOND_SCHEMAS
        case.call_and_validate(excluded_checks=UNTRUE)

    check()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_the_document_allows_is_taken(schema: Any, path: str, method: str) -> None:
    hold(schema, path, method, GenerationMode.POSITIVE, FEW)


@pytest.mark.parametrize(("path", "method"), FORBIDDING)
def test_what_the_document_forbids_is_refused(schema: Any, path: str, method: str) -> None:
    hold(schema, path, method, GenerationMode.NEGATIVE, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_hundreds_of_submissions_each_way(schema: Any, mode: GenerationMode) -> None:
    hold(schema, "/v1/videos/generations", "post", mode, MANY)


async def test_the_life_of_a_task_keeps_to_the_document(
    schema: Any, client: httpx.AsyncClient, relay: Relay, clock: Any, png: Any
) -> None:
    """What generated cases cannot reach: tasks of every status, a clip and a part of it."""
    seen = []

    async def ask(path: str, method: str, url: str, **more: Any) -> Any:
        answer = await client.request(method, url, **more)
        await answer.request.aread()  # the checks show it beside what they complain of
        assert str(answer.status_code) in document()["paths"][path][method]["responses"]
        schema[path][method].validate_response(answer)
        seen.append(answer.status_code)
        return answer

    task, status, result = "/v1/videos/generations", "/v1/videos/generations/{task_id}", "/files/{task_id}.mp4"
    wanted = {"model": "kling-v3", "prompt": "a cat", "client_business_id": "mine"}
    uploaded = await ask("/v1/uploads/images", "post", "/v1/uploads/images", files={"file": ("a.png", png("red"))})
    await ask("/uploads/{name}", "get", uploaded.json()["data"]["url"])
    good = (await ask(task, "post", task, json=wanted)).json()["id"]
    bad = (await ask(task, "post", task, json={**wanted, "client_business_id": "b", "image_urls": [GONE]})).json()["id"]
    statuses = [(await ask(status, "get", f"{task}/{good}")).json()["status"]]
    relay.workshop.wait()
    service = relay.ledger.entries()[0].service
    for share in (0.5, 0.6):
        clock.now += share * service
        statuses.append((await ask(status, "get", f"{task}/{good}")).json()["status"])
    statuses.append((await ask(status, "get", f"{task}/{bad}")).json()["status"])
    assert statuses == ["queued", "in_progress", "completed", "failed"]
    url = (await ask(status, "get", f"{task}/mine")).json()["result"]["data"][0]["url"]
    for part in ("bytes=0-", "bytes=0-9", "bytes=99999999-"):
        await ask(result, "get", url, headers={"Range": part})
    clock.now += 100_000
    await ask(result, "get", url)
    assert seen[-4:] == [206, 206, 416, 403]


@pytest.mark.parametrize("config", [{"parallel": 0}, {"group": "default"}], ids=["full", "fast"])
async def test_a_refusal_for_haste_keeps_to_the_document(schema: Any, config: Any, client: httpx.AsyncClient) -> None:
    await client.post("/__config", json=config)
    for _ in range(52):  # a burst of 50
        answer = await client.post("/v1/videos/generations", json={"model": "kling-v3", "prompt": "a cat"})
        await answer.request.aread()
        schema["/v1/videos/generations"]["post"].validate_response(answer)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


async def test_the_document_is_what_the_command_prints(client: httpx.AsyncClient) -> None:
    printed = CliRunner().invoke(command, ["--openapi"])
    assert printed.exit_code == 0
    assert json.loads(printed.output) == (await client.get("/openapi.json")).json() == document()


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_document_allows_what_keeps_the_rules(case: str) -> None:
    assert SUBMISSION.is_valid(GOOD | ACCEPTED[case][0])


@pytest.mark.parametrize("case", sorted(REFUSED.keys() - BEYOND_SCHEMAS))
def test_the_document_forbids_what_breaks_one(case: str) -> None:
    assert not SUBMISSION.is_valid(GOOD | REFUSED[case][0])
