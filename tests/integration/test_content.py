"""Everything that an answer may hold, read in every dialect: nothing breaks, and what a dialect can say it says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.integration.fault_table import stopped
from tests.support.dialects import DIALECTS, RESPONSES, Dialect
from tests.support.headwater import Headwater, frames
from tests.support.service import make_key
from tests.support.sse import sent_events
from tests.support.ui_message import chunks_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Kinds = set[str]

WEATHER: Final = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
SEARCH: Final = {"type": "web_search_20250305", "name": "web_search"}
CITED: Final = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "Rivers begin small."},
    "citations": {"enabled": True},
}
CALLED: Final = {"tool-input-start", "tool-input-delta", "tool-input-available"}


@dataclass(frozen=True)
class Content:
    """What is asked, and what each dialect has to say beside the answer's text."""

    asked: dict[str, Any]
    plain: Kinds
    messages: Kinds
    chat: Kinds
    responses: Kinds
    ui: Kinds
    stop_reason: str = "end_turn"


CONTENTS: Final = {
    "text": Content({}, plain=set(), messages=set(), chat=set(), responses=set(), ui=set()),
    "thinking": Content(
        {"model": "claude-sim-thinking"},
        plain={"thinking", "signature"},
        messages={"thinking", "thinking_delta", "signature_delta"},
        chat=set(),  # thoughts are let out by a setting only
        responses={"reasoning"},
        ui={"reasoning-start", "reasoning-delta", "reasoning-end"},
    ),
    "redacted thinking": Content(
        {"model": "sim-ok?redacted=1"},
        plain={"content_block", "redacted_thinking"},
        messages={"redacted_thinking"},
        chat=set(),
        responses={"reasoning"},
        ui={"reasoning-start", "reasoning-end"},
    ),
    "tool use": Content(
        {"tools": [WEATHER], "input": "What is the weather in Paris?"},
        plain={"content_block", "tool_use", "tool_input"},
        messages={"tool_use", "input_json_delta"},
        chat={"tool_calls"},
        responses={"function_call"},
        ui=CALLED,
        stop_reason="tool_use",
    ),
    "server tools": Content(
        {"tools": [SEARCH], "input": "Search the web for rivers."},
        plain={"content_block", "server_tool_use", "web_search_tool_result", "tool_input", "citation"},
        messages={"server_tool_use", "web_search_tool_result", "input_json_delta", "citations_delta"},
        chat={"annotations"},
        responses={"web_search_call", "url_citation"},
        ui=CALLED | {"tool-output-available", "source-url"},
    ),
    "citations": Content(
        {"input": [{"role": "user", "content": [CITED, {"type": "text", "text": "How do rivers begin?"}]}]},
        plain={"citation"},
        messages={"citations_delta"},
        chat=set(),
        responses={"file_citation"},
        ui={"source-document"},
    ),
    "refusal": Content(
        {"model": "sim-ok?stop_reason=refusal"},
        plain=set(),
        messages=set(),
        chat={"refusal"},
        responses={"refusal"},
        ui=set(),
        stop_reason="refusal",
    ),
    "an event of the future": Content(
        {"model": "sim-ok?unknown_event=1"},
        plain={"event"},
        messages={"future_event"},
        chat=set(),
        responses=set(),
        ui={"data-anthropic"},
    ),
    "a block of the future": Content(
        {"model": "sim-ok?unknown_block=1"},
        plain={"content_block", "future_block"},
        messages={"future_block"},
        chat=set(),
        responses=set(),
        ui={"data-anthropic"},
    ),
}


def kinds(dialect: Dialect, response: httpx.Response) -> Kinds:
    """The kinds of things that a stream spoke of."""
    match dialect.name:
        case "plain":
            told = [frame for frame in frames(response.text) if isinstance(frame.data, dict)]
            blocks = {frame.data["content_block"]["type"] for frame in told if frame.event == "content_block"}
            return {frame.event for frame in told} | blocks
        case "messages":
            datas = [frame.data for frame in frames(response.text)]
            inner = [data.get("content_block") or data.get("delta") or {} for data in datas]
            return {data["type"] for data in datas} | {each["type"] for each in inner if "type" in each}
        case "chat":
            chunks = [frame.data for frame in frames(response.text) if frame.data != "[DONE]"]
            return {key for chunk in chunks for choice in chunk["choices"] for key in choice["delta"]}
        case "responses":
            items = sent_events(response.content)[-1].data["response"]["output"]
            parts = [part for item in items if item["type"] == "message" for part in item["content"]]
            notes = [note for part in parts for note in part.get("annotations", ())]
            return {each["type"] for each in [*items, *parts, *notes]}
    return {chunk["type"] for chunk in chunks_of(response.content)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client(headwater.service.admin_key) as admin:
        key = await make_key(admin, allowed=["server_tools"])
    async with headwater.client(key) as client:
        yield client


async def completion(client: httpx.AsyncClient, name: str) -> Any:
    body = {"model": "claude-sim", "input": "Hello.", "max_tokens": 2000, "stream": False, **CONTENTS[name].asked}
    response = await client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def read(client: httpx.AsyncClient, id: str, dialect: Dialect) -> httpx.Response:
    return await client.get(f"/v1/completions/{id}/stream", params={"dialect": dialect.stored})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", CONTENTS)
async def test_content(client: httpx.AsyncClient, name: str, dialect: Dialect) -> None:
    content = CONTENTS[name]
    answer = await completion(client, name)
    response = await read(client, answer["id"], dialect)

    told = dialect.told(response)
    assert told.end == stopped(dialect.name, "stream", content.stop_reason)
    assert told.text == answer["text"]
    everyday = kinds(dialect, await read(client, (await completion(client, "text"))["id"], dialect))
    assert kinds(dialect, response) - everyday == getattr(content, dialect.name)


async def test_what_was_told_piece_by_piece_is_what_the_store_has(client: httpx.AsyncClient) -> None:
    for name in CONTENTS.keys() - {"refusal"}:  # in what words it was refused is told to those who read the stream
        answer = await completion(client, name)
        stored = (await client.get(f"/v1/responses/{answer['id']}")).json()
        streamed = sent_events((await read(client, answer["id"], RESPONSES)).content)[-1].data["response"]
        assert stored == streamed, name


async def test_the_upstreams_tools_go_back_to_it_unchanged(headwater: Headwater, client: httpx.AsyncClient) -> None:
    """In a chain, whatever the dialect of the client can say of them."""
    answer = await completion(client, "server tools")
    body = {"model": "claude-chain", "input": "And seas?", "previous_response_id": f"resp_{answer['id']}"}
    assert (await client.post("/v1/responses", json=body)).status_code == 200
    (request,) = headwater.asked("claude-chain")
    assert request.body["messages"][1] == {"role": "assistant", "content": answer["content"]}
