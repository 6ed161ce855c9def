"""httpx-sse on the plain dialect: streams, and reading on where one was left."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from httpx_sse import ServerSentEvent, SSEError, aconnect_sse, connect_sse

from tests.support.clients import (
    BOTH_CITIES,
    BREAKS,
    CITIES,
    OUTLASTING,
    PACED,
    assert_hung_up,
    assert_incremental,
    assert_went_on,
    model,
)
from tests.support.headwater import Headwater

pytestmark = [pytest.mark.compat, pytest.mark.asyncio(loop_scope="module")]

COMPLETIONS: Final = "/v1/completions"
# By the status that the upstream answers with.
REFUSALS: Final = {"400": 400, "404": 404, "429": 429, "500": 502, "529": 529}
WEATHER: Final = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client() as client:
        yield client


def asking(name: str, input: str = "Tell me about rivers.", **fields: Any) -> dict[str, Any]:
    """The request's arguments."""
    body = {"model": name, "input": input, "max_tokens": 1000, **fields}
    return {"method": "POST", "url": COMPLETIONS, "json": body}


def reading(id: str, last_event_id: str | None = None, **params: str) -> dict[str, Any]:
    headers = {} if last_event_id is None else {"last-event-id": last_event_id}
    return {"method": "GET", "url": f"{COMPLETIONS}/{id}/stream", "headers": headers, "params": params}


@dataclass
class Reading:
    """One connection: its events and when they came."""

    status: int
    id: str
    events: list[ServerSentEvent] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)


async def read(client: httpx.AsyncClient, request: dict[str, Any], only: int | None = None) -> Reading:
    """Read to the end, or so many events."""
    async with aconnect_sse(client, **request) as source:
        headers = source.response.headers
        reading = Reading(source.response.status_code, headers.get("x-completion-id", ""))
        if reading.status == 204:
            return reading
        async for event in source.aiter_sse():
            reading.events.append(event)
            reading.arrivals.append(time.monotonic())
            if len(reading.events) == only:
                break
    return reading


def text_of(events: list[ServerSentEvent]) -> str:
    return "".join(event.json()["text"] for event in events if event.event == "message" and event.data != "[DONE]")


# --- One connection


@pytest.mark.parametrize("question", ["Tell me about rivers.", "What is unicode?"])
async def test_text(client: httpx.AsyncClient, question: str) -> None:
    stream = await read(client, asking(model(), question))
    stored = (await client.get(f"{COMPLETIONS}/{stream.id}")).json()
    assert text_of(stream.events) == stored["content"][0]["text"]
    assert [event.data == "[DONE]" for event in stream.events].index(True) == len(stream.events) - 1
    positions = [int(event.id) for event in stream.events]
    assert positions == sorted(set(positions))
    (usage,) = [event.json() for event in stream.events if event.event == "usage"]
    assert usage["usage"]["output_tokens"] == stored["usage"]["output_tokens"] > 50


async def test_the_same_in_one_piece(client: httpx.AsyncClient) -> None:
    name = model()
    stream = await read(client, asking(name))
    whole = await client.request(**asking(name, stream=False))
    assert whole.json()["content"][0]["text"] == text_of(stream.events)


async def test_without_asyncio(client: httpx.AsyncClient, headwater: Headwater) -> None:
    request = asking(model())

    def read_all() -> list[ServerSentEvent]:
        headers = {"x-api-key": headwater.service.key}
        with (
            httpx.Client(base_url=headwater.service.url, headers=headers) as sync_client,
            connect_sse(sync_client, **request) as source,
        ):
            return list(source.iter_sse())

    whole = await read(client, request)
    assert text_of(await asyncio.to_thread(read_all)) == text_of(whole.events)


async def test_text_arrives_as_it_is_made(client: httpx.AsyncClient) -> None:
    assert_incremental((await read(client, asking(model(PACED)))).arrivals)


async def test_tools(client: httpx.AsyncClient) -> None:
    stream = await read(client, asking(model(), BOTH_CITIES, tools=[WEATHER]))
    calls = [event.json()["content_block"] for event in stream.events if event.event == "content_block"]
    assert [call["name"] for call in calls] == ["get_weather"] * 2
    pieces = [event.json() for event in stream.events if event.event == "tool_input"]
    inputs = ["".join(piece["partial_json"] for piece in pieces if piece["index"] == index) for index in (1, 2)]
    assert inputs == [f'{{"city":"{city}"}}' for city in CITIES]


# --- Errors


@pytest.mark.parametrize("status", REFUSALS)
async def test_an_error_before_the_stream(client: httpx.AsyncClient, status: str) -> None:
    async with aconnect_sse(client, **asking(model(fault=status))) as source:
        with pytest.raises(SSEError, match="problem"):
            await anext(source.aiter_sse())
        assert source.response.status_code == REFUSALS[status]


async def test_an_unknown_key(headwater: Headwater) -> None:
    async with headwater.client("hw_unknown") as stranger, aconnect_sse(stranger, **asking(model())) as source:
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            source.response.raise_for_status()


@pytest.mark.parametrize("fault", BREAKS)
async def test_an_error_in_the_stream(client: httpx.AsyncClient, fault: str) -> None:
    events = (await read(client, asking(model("after=8", fault=fault)))).events
    assert text_of(events[:-1])
    assert events[-1].event == "error"
    assert events[-1].json()["error"]["message"]


# --- Reading on


@pytest.mark.parametrize("by", ["header", "after"])
async def test_a_dropped_stream_is_read_on(client: httpx.AsyncClient, headwater: Headwater, by: str) -> None:
    name = model(PACED)
    head = await read(client, asking(name), only=8)
    position = head.events[-1].id
    running = headwater.asked(name)[0]
    assert not running.finished
    request = reading(head.id, position) if by == "header" else reading(head.id, after=position)
    tail = await read(client, request)

    assert_incremental(tail.arrivals)
    stored = (await client.get(f"{COMPLETIONS}/{head.id}")).json()
    assert text_of(head.events + tail.events) == stored["content"][0]["text"]
    positions = [int(event.id) for event in head.events + tail.events]
    assert positions == sorted(set(positions))
    assert tail.events[-1].data == "[DONE]"


async def test_the_end_is_204(client: httpx.AsyncClient) -> None:
    whole = await read(client, asking(model()))
    last = whole.events[-1].id
    for request in (reading(whole.id, last), reading(whole.id, after=last)):
        async with aconnect_sse(client, **request) as source:
            assert source.response.status_code == 204
            with pytest.raises(SSEError):
                await anext(source.aiter_sse())
    again = await read(client, reading(whole.id))
    assert [vars(event) for event in again.events] == [vars(event) for event in whole.events]


async def test_a_client_that_connects_until_204_has_each_event_once(client: httpx.AsyncClient) -> None:
    first = await read(client, asking(model(PACED)), only=5)
    events, connections = first.events, 1
    while (more := await read(client, reading(first.id, events[-1].id), only=9)).status == 200:
        events += more.events
        connections += 1
    assert (more.status, events[-1].data) == (204, "[DONE]")
    assert connections > 4
    assert text_of(events) == (await client.get(f"{COMPLETIONS}/{first.id}")).json()["content"][0]["text"]


# --- Leaving


async def test_leaving_cancels_where_asked_for(client: httpx.AsyncClient, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await read(client, asking(name, on_disconnect="cancel"), only=3)
    await assert_hung_up(headwater, name, time.time())


async def test_leaving_changes_nothing_otherwise(client: httpx.AsyncClient, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await read(client, asking(name), only=3)
    await assert_went_on(headwater, name)
