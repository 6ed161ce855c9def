"""Making, reading and listing batches, as callers do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from tests.support.aws import MACHINE
from tests.support.batches import PATH, Function, items, model, request, running_function
from tests.support.headwater import assert_told
from tests.support.on_lambda import of_caller
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def function(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Function]:
    async with running_function(postgres, tmp_path_factory.mktemp("function")) as running:
        yield running


async def post(function: Function, body: Any, **headers: str) -> httpx.Response:
    return await function.front.post(PATH, json=body, headers=of_caller() | headers)


def stored(function: Function) -> int:
    count: int = function.rows("SELECT count(*) FROM batches")[0][0]
    return count


async def test_sent_again_it_is_the_same_batch(function: Function) -> None:
    body = {"items": items(model())}
    again = {"idempotency-key": "the report of today"}
    first, second = await post(function, body, **again), await post(function, body, **again)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    assert second.headers["location"] == f"{PATH}/{first.json()['id']}"
    assert_told(await post(function, {"items": items(model())}, **again), 422, "idempotency_key_reused")


TWICE = [{"custom_id": "a", "request": request()}, {"custom_id": "a", "request": request()}]
WITH_TOKEN = request(mcp_servers=[{"type": "url", "name": "x", "url": "https://x.test", "authorization_token": "s"}])
WRONG: dict[str, tuple[Any, str]] = {
    "no items": ({"items": []}, "items"),
    "nothing": ({}, "items"),
    "both": ({"items": items("a"), "requests": items("a")}, "items"),
    "two of one name": ({"items": TWICE}, "items[1].custom_id"),
    "no name": ({"items": [{"request": request()}]}, "items[0]"),
    "a name that is none": ({"items": [{"custom_id": "\n", "request": request()}]}, "items[0].custom_id"),
    "no request": ({"items": [*items("a"), {"custom_id": "b"}]}, "items[1]"),
    "two requests": ({"items": [{"custom_id": "b", "request": request(), "params": request()}]}, "items[0]"),
    "no model": ({"items": [{"custom_id": "b", "request": {"input": "Hello.", "max_tokens": 5}}]}, "items[0]"),
    "a stream": ({"items": [{"custom_id": "b", "request": request(stream=True)}]}, "items[0]"),
    "a conversation": ({"items": [{"custom_id": "b", "request": request(conversation_id="x")}]}, "items[0]"),
    "a token that would be stored": ({"items": [{"custom_id": "b", "request": WITH_TOKEN}]}, "items[0]"),
    "params without a length": (
        {"requests": [{"custom_id": "b", "params": {"model": "a", "messages": [{"role": "user", "content": "-"}]}}]},
        "items[0]",
    ),
    "another address": ({"items": [{"custom_id": "b", "body": {}, "url": "/v1/embeddings"}]}, "items[0].url"),
    "too much at once": ({"items": items("a"), "parallelism": 1001}, "parallelism"),
    "a time without its offset": ({"items": items("a"), "deadline": "2030-01-01T00:00:00"}, "deadline"),
    "a time that has passed": ({"items": items("a"), "deadline": "2020-01-01T00:00:00Z"}, "deadline"),
    "what nobody can store": ({"items": items("a"), "metadata": {"a": "\x00"}}, "metadata"),
    "too many": ({"items": [{"custom_id": str(n), "request": {}} for n in range(10_001)]}, "items"),
    "an option that is none": ({"items": items("a"), "colour": "blue"}, "body"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_wrong_with_it_is_said_before_anything_is_stored(function: Function, wrong: str) -> None:
    before = stored(function)
    body, param = WRONG[wrong]
    response = await post(function, body)
    assert_told(response, 422, "validation_failed")
    assert response.json().get("param", "body") == param
    assert stored(function) == before


async def test_an_item_may_not_use_what_its_key_may_not(function: Function) -> None:
    body = {"items": [*items(model()), {"custom_id": "fast", "request": request(speed="fast")}]}
    response = await post(function, body)
    assert_told(response, 403, "not_allowed_for_key")
    assert response.json()["param"] == "items[1]"


async def test_items_of_other_apis_are_completions_too(function: Function) -> None:
    asked = model(tokens=3)
    messages = [{"role": "user", "content": "Hello."}]
    body = {
        "requests": [
            {"custom_id": "anthropic", "params": {"model": asked, "max_tokens": 20, "messages": messages}},
            {
                "custom_id": "openai",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": asked, "max_completion_tokens": 20, "messages": messages},
            },
        ]
    }
    id = (await post(function, body)).json()["id"]
    assert await function.run(id) == {"next": "end"}
    assert [result["status"] for result in await function.results(id)] == ["succeeded", "succeeded"]
    assert [(request.body or {})["messages"][0]["role"] for request in function.asked(asked)] == ["user", "user"]


async def test_batches_are_listed_the_newest_first(function: Function) -> None:
    older, newer = await function.create(model()), await function.create(model())
    page = (await function.front.get(PATH, params={"limit": 1}, headers=of_caller())).json()
    assert [batch["id"] for batch in page["data"]] == [newer]
    rest = {"limit": 1, "cursor": page["next_cursor"]}
    page = (await function.front.get(PATH, params=rest, headers=of_caller())).json()
    assert [batch["id"] for batch in page["data"]] == [older]


async def test_a_batch_of_another_tenant_is_not_there(function: Function) -> None:
    id = await function.create(model())
    key = {"name": "other", "scopes": ["completions"], "tenant": "other"}
    secret = (await function.admin.post("/v1/keys", json=key)).json()["secret"]
    headers = of_caller() | {"authorization": f"Bearer {secret}"}
    for what in ("", "/results", "/stream"):
        assert_told(await function.front.get(f"{PATH}/{id}{what}", headers=headers), 404, "not_found")
    for what in ("/cancel", "/retry", "/resume"):
        assert_told(await function.front.post(f"{PATH}/{id}{what}", headers=headers), 404, "not_found")
    listed = await function.front.get(PATH, headers=headers)
    assert listed.json() == {"data": [], "next_cursor": None}
    assert (await function.get(id))["status"] == "queued"


async def test_a_deadline_is_kept(function: Function) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=5)
    id = await function.create(model(), deadline=deadline.isoformat())
    assert datetime.fromisoformat((await function.get(id))["deadline"]) == deadline


async def test_results_come_a_page_at_a_time(function: Function) -> None:
    id = await function.create(*[model(tokens=1)] * 60)
    await function.post(id, "cancel")
    await function.run(id)
    assert [result["custom_id"] for result in await function.results(id)] == [str(n) for n in range(1, 61)]


@pytest.mark.parametrize(("after", "limit", "expected"), [(0, 2, "12"), (2, 2, "34"), (4, 2, "5"), (5, 2, "")])
async def test_results_are_read_on_from_any_line(function: Function, after: int, limit: int, expected: str) -> None:
    id = await function.create(*[model(tokens=1)] * 5)
    await function.post(id, "cancel")
    await function.run(id)
    params = {"after": after, "limit": limit}
    response = await function.front.get(f"{PATH}/{id}/results", params=params, headers=of_caller())
    assert [msgspec.json.decode(line)["custom_id"] for line in response.text.splitlines()] == list(expected)


async def test_an_engine_that_is_gone_is_none(function: Function) -> None:
    before = stored(function)
    function.aws.machines.clear()
    try:
        body, again = {"items": items(model())}, {"idempotency-key": "once more"}
        assert_told(await post(function, body, **again), 501, "no_workflow")
        assert stored(function) == before
        function.aws.machines.add(MACHINE)
        assert (await post(function, body, **again)).headers.get("idempotent-replayed") is None
    finally:
        function.aws.machines.add(MACHINE)
