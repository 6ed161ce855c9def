"""The native API: create, read, list, resume, cancel and delete completions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.support.headwater import Headwater, frames, text_of
from tests.support.service import make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 2000}
# Ten seconds long, unless somebody ends it.
LONG: Final = BODY | {"model": "sim-ok?rate=20&tokens=200"}


@pytest_asyncio.fixture(loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    """A tenant of the test's own."""
    async with headwater.client(headwater.service.admin_key) as admin:
        tenant = f"tenant-{len((await admin.get('/v1/keys?limit=200')).json()['data'])}"
        key = await make_key(admin, tenant=tenant)
    async with headwater.client(key) as client:
        yield client


async def complete(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/completions", json=BODY | {"stream": False} | fields)
    assert response.status_code == 200, response.text
    completion: dict[str, Any] = response.json()
    return completion


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, **fields: Any) -> AsyncIterator[tuple[str, AsyncIterator[str]]]:
    """A stream that has had its first text: the completion's id, and the lines that follow."""
    async with client.stream("POST", "/v1/completions", json=LONG | fields) as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith('data: {"text"'):
                break
        yield response.headers["x-completion-id"], lines


# --- Create


async def test_streamed(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", json=BODY)
    events = frames(response.text)

    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers
    id = response.headers["x-completion-id"]
    assert response.headers["location"] == f"/v1/completions/{id}"
    assert events[-1].data == "[DONE]"
    assert all(int(one.id or 0) < int(next.id or 0) for one, next in pairwise(events))
    completion = (await client.get(response.headers["location"])).json()
    assert completion["text"] == text_of(events)


async def test_in_one_piece(headwater: Headwater, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", json=BODY | {"stream": False, "metadata": {"order": 4711}})
    completion = response.json()

    assert response.headers["location"] == f"/v1/completions/{completion['id']}"
    assert response.headers["x-completion-id"] == completion["id"]
    assert completion == (await client.get(response.headers["location"])).json()
    assert completion["content"] == [{"type": "text", "text": completion["text"]}]
    assert completion["usage"]["output_tokens"] > 10
    assert completion["request"] == {
        "model": "claude-sim",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": "Hello."}],
    }
    expected = {
        "object": "completion",
        "status": "completed",
        "model": "claude-sim",
        "conversation_id": None,
        "stop_reason": "end_turn",
        "error": None,
        "cost": None,
        "estimated": False,
        "attempts": 1,
        "store": True,
        "on_disconnect": "continue",
        "metadata": {"order": 4711},
        "cancel_requested_at": None,
    }
    assert {name: completion[name] for name in expected} == expected
    created, first, finished = (
        datetime.fromisoformat(completion[name]) for name in ("created_at", "first_event_at", "finished_at")
    )
    assert created < first < finished
    (request,) = [each for each in headwater.upstream.requests if each.received_at > created.timestamp()]
    assert request.headers["authorization"] == "Bearer the-upstreams-own-key"
    assert "hw_" not in str(request.headers)


async def test_its_cost(client: httpx.AsyncClient) -> None:
    completion = await complete(client, model="claude-haiku-4-5")  # 1 and 5 dollars for a million tokens, by the list
    usage = completion["usage"]
    dollars = (Decimal(usage["input_tokens"]) + 5 * usage["output_tokens"]) / 1_000_000
    assert (Decimal(completion["cost"]), completion["estimated"]) == (dollars, False)
    assert "E" not in completion["cost"]
    assert (await client.get("/v1/completions")).json()["data"][0]["cost"] == completion["cost"]


async def test_its_cost_is_not_known_while_it_runs(client: httpx.AsyncClient) -> None:
    async with streaming(client, model="sim-ok?rate=20&tokens=200") as (id, _):
        running = (await client.get(f"/v1/completions/{id}")).json()
        assert (running["cost"], running["estimated"]) == (None, None)
        cancelled = (await client.post(f"/v1/completions/{id}/cancel")).json()
        assert (cancelled["cost"], cancelled["estimated"]) == (None, True)


async def test_every_parameter_goes_upstream(headwater: Headwater, client: httpx.AsyncClient) -> None:
    parameters: dict[str, Any] = {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": ["river"],
        "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "none"},
        "thinking": {"type": "disabled"},
        "output_config": {"effort": "low"},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "cache_control": {"type": "ephemeral"},
        "diagnostics": {"a": [1, 2.5, None, "🙂"]},
        "context_management": {"edits": []},
    }
    await complete(client, **parameters)

    messages = [{"role": "user", "content": "Hello."}]
    asked = {**parameters, "model": "claude-sim", "max_tokens": 2000, "messages": messages, "stream": True}
    assert headwater.upstream.requests[-1].body == asked


async def test_input_as_messages(headwater: Headwater, client: httpx.AsyncClient) -> None:
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "One?"}]},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    completion = await complete(client, input=turns)
    assert completion["request"]["messages"] == turns
    assert headwater.upstream.requests[-1].body["messages"] == turns


async def test_not_stored(headwater: Headwater, client: httpx.AsyncClient) -> None:
    completion = await complete(client, store=False, input="A secret.", system="Another.")
    assert "A secret." in completion["text"]
    assert completion["content"][0]["text"] == completion["text"]

    read = (await client.get(f"/v1/completions/{completion['id']}")).json()
    assert [read[name] for name in ("text", "content", "request")] == [None, None, None]
    assert (read["status"], read["usage"]) == ("completed", completion["usage"])
    assert (await client.get(f"/v1/completions/{completion['id']}/stream")).status_code == 410
    kept = headwater.rows("SELECT c::text FROM completions c WHERE id = %s", completion["id"])
    assert b"A secret.".hex() not in str(kept)
    for table in ("completion_logs", "completion_events"):
        rows = "SELECT count(*) FROM completion_logs WHERE completion_id = %s"
        assert headwater.rows(rows, completion["id"]) == [(0,)], table


async def test_not_stored_while_it_streams(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", json=BODY | {"store": False})
    assert frames(response.text)[-1].data == "[DONE]"


# --- Read and list


async def test_read_while_it_streams(client: httpx.AsyncClient) -> None:
    async with streaming(client) as (id, _):
        completion = (await client.get(f"/v1/completions/{id}")).json()
        assert completion["status"] == "streaming"
        names = ("text", "content", "usage", "stop_reason", "finished_at")
        assert [completion[name] for name in names] == [None] * len(names)
        listed = (await client.get("/v1/completions?status=streaming")).json()["data"]
        assert [each["id"] for each in listed] == [id]
        await client.post(f"/v1/completions/{id}/cancel")


async def test_pages(client: httpx.AsyncClient) -> None:
    ids = [(await complete(client, max_tokens=1))["id"] for _ in range(7)]
    seen: list[str] = []
    query = "/v1/completions?limit=3"
    sizes = []
    while True:
        page = (await client.get(query)).json()
        sizes.append(len(page["data"]))
        seen += [each["id"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"/v1/completions?limit=3&cursor={page['next_cursor']}"
    assert seen == ids[::-1]
    assert sizes == [3, 3, 1]
    exact = (await client.get("/v1/completions?limit=7")).json()
    assert (len(exact["data"]), exact["next_cursor"]) == (7, None)
    assert "content" not in exact["data"][0]


async def test_filters(client: httpx.AsyncClient) -> None:
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    first = await complete(client)
    second = await complete(client, conversation_id=conversation)
    refused = await client.post("/v1/completions", json=BODY | {"model": "sim-400"})
    assert refused.status_code == 400

    async def found(**query: str) -> list[str]:
        listed = (await client.get("/v1/completions", params=query)).json()["data"]
        return [each["id"] for each in listed]

    (failed,) = await found(status="failed")
    assert await found() == [failed, second["id"], first["id"]]
    assert await found(status="completed") == [second["id"], first["id"]]
    assert await found(status="cancelled") == []
    assert await found(conversation_id=conversation) == [second["id"]]
    assert await found(created_after=second["created_at"]) == [failed, second["id"]]
    assert await found(created_before=second["created_at"]) == [first["id"]]
    assert await found(created_after=first["created_at"], created_before=second["created_at"]) == [first["id"]]
    assert await found(status="failed", conversation_id=conversation) == []


async def test_a_failure_can_be_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", json=BODY | {"model": "sim-error-mid"})
    completion = (await client.get(response.headers["location"])).json()

    assert completion["status"] == "failed"
    assert completion["error"]["type"] == "overloaded_error"
    assert completion["error"]["code"] == "upstream_overloaded"
    assert completion["text"] == text_of(frames(response.text)[:-1])
    assert completion["usage"]["estimated"] is True


# --- Resume


async def test_resumed_from_every_position(client: httpx.AsyncClient) -> None:
    whole = await client.post("/v1/completions", json=BODY | {"max_tokens": 12})
    events, location = frames(whole.text), whole.headers["location"]
    last = int(events[-1].id or 0)
    for position in range(last):
        expected = [event for event in events if int(event.id or 0) > position]
        by_header = await client.get(f"{location}/stream", headers={"last-event-id": str(position)})
        by_query = await client.get(f"{location}/stream", params={"after": position})
        assert frames(by_header.text) == frames(by_query.text) == expected
    at_the_end = await client.get(f"{location}/stream", headers={"last-event-id": str(last)})
    assert (at_the_end.status_code, at_the_end.content) == (204, b"")


async def test_the_header_goes_before_the_query(client: httpx.AsyncClient) -> None:
    """An EventSource that comes back has its first address, and a newer position in the header."""
    location = (await client.post("/v1/completions", json=BODY)).headers["location"]
    no_header = await client.get(f"{location}/stream?after=3", headers={"last-event-id": ""})
    assert no_header.text == (await client.get(f"{location}/stream?after=3")).text
    resumed = await client.get(f"{location}/stream?after=3", headers={"last-event-id": "6"})
    assert int(frames(resumed.text)[0].id or 0) == 7


async def test_resumed_in_another_dialect(client: httpx.AsyncClient) -> None:
    whole = await client.post("/v1/completions", json=BODY)
    other = await client.get(f"{whole.headers['location']}/stream?dialect=anthropic_messages")
    events = frames(other.text)
    assert (events[0].event, events[-1].event) == ("message_start", "message_stop")
    assert text_of(events) == text_of(frames(whole.text))


async def test_resumed_while_it_streams(client: httpx.AsyncClient) -> None:
    asked = LONG | {"model": "sim-ok?rate=40&tokens=60"}
    async with client.stream("POST", "/v1/completions", json=asked) as response:
        id = response.headers["x-completion-id"]
        head = ""
        async for text in response.aiter_text():
            head += text
            if head.count("data: ") > 5:
                break
    got = frames(head[: head.rindex("\n\n") + 2])
    tail = await client.get(f"/v1/completions/{id}/stream", headers={"last-event-id": got[-1].id or ""})
    stored = (await client.get(f"/v1/completions/{id}")).json()["text"]
    assert text_of(got + frames(tail.text)) == stored


# --- Cancel and delete


async def test_a_stored_stream_that_cannot_be_read_ends_with_an_error(
    headwater: Headwater, client: httpx.AsyncClient
) -> None:
    id = (await complete(client))["id"]
    half = "UPDATE completion_logs SET data = substring(data FOR length(data) / 2) WHERE completion_id = %s RETURNING 1"
    assert headwater.rows(half, id) == [(1,)]
    response = await client.get(f"/v1/completions/{id}/stream")
    *before, end = frames(response.text)
    assert text_of(before)
    assert (end.event, end.data["error"]["message"]) == ("error", "The stream cannot be read.")


async def test_cancelled(client: httpx.AsyncClient) -> None:
    async with streaming(client) as (id, lines):
        cancelled = await client.post(f"/v1/completions/{id}/cancel")
        rest = [line async for line in lines]
    again = await client.post(f"/v1/completions/{id}/cancel")

    assert cancelled.status_code == again.status_code == 200
    assert cancelled.json() == again.json()
    completion = cancelled.json()
    assert (completion["status"], completion["error"]["code"]) == ("cancelled", "cancelled")
    assert completion["text"]
    assert completion["cancel_requested_at"]
    assert rest[-3] == "event: error"
    assert "data: [DONE]" not in rest


async def test_cancelled_upstream_is_closed(headwater: Headwater, client: httpx.AsyncClient) -> None:
    headwater.upstream.forget()
    async with streaming(client) as (id, _):
        await client.post(f"/v1/completions/{id}/cancel")
    async with asyncio.timeout(5):
        await headwater.upstream.idle()
    (request,) = headwater.upstream.requests
    assert request.hung_up_at is not None


async def test_cancel_changes_nothing_that_has_ended(client: httpx.AsyncClient) -> None:
    completion = await complete(client)
    assert (await client.post(f"/v1/completions/{completion['id']}/cancel")).json() == completion


async def test_deleted(headwater: Headwater, client: httpx.AsyncClient) -> None:
    id = (await complete(client))["id"]
    assert (await client.delete(f"/v1/completions/{id}")).status_code == 204
    for response in (
        await client.get(f"/v1/completions/{id}"),
        await client.get(f"/v1/completions/{id}/stream"),
        await client.delete(f"/v1/completions/{id}"),
    ):
        assert response.status_code == 404
    assert headwater.rows("SELECT count(*) FROM completion_logs WHERE completion_id = %s", id) == [(0,)]


async def test_running_is_not_deleted(client: httpx.AsyncClient) -> None:
    async with streaming(client) as (id, _):
        refused = await client.delete(f"/v1/completions/{id}")
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/completion_running")
        assert (await client.get(f"/v1/completions/{id}")).json()["status"] == "streaming"
        await client.post(f"/v1/completions/{id}/cancel")
    assert (await client.delete(f"/v1/completions/{id}")).status_code == 204
