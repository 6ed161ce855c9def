"""The official `openai` client, unmodified, against the Responses API over a socket."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.clients import (
    GRACE,
    OUTLASTING,
    PACED,
    assert_hung_up,
    assert_incremental,
    assert_went_on,
    model,
)
from tests.support.headwater import Headwater
from tests.support.postgres import Postgres
from tests.support.responses import Pair, running_pair
from tests.support.service import make_key

openai = pytest.importorskip("openai", reason="the client has an environment of its own")

pytestmark = [pytest.mark.compat, pytest.mark.asyncio(loop_scope="module")]

Client = Any

LOOK: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("openai")
    async with running_pair(postgres, folder, max_retries=0, control_tick=0.3, disconnect_grace=GRACE) as running:
        yield running


@pytest.fixture
def headwater(pair: Pair, tmp_path: Path) -> Headwater:
    """The instance that the client talks to."""
    return Headwater(pair.one, pair.upstream, pair.database_url, tmp_path)


@pytest_asyncio.fixture(loop_scope="module")
async def client(pair: Pair) -> AsyncIterator[Client]:
    async with openai.AsyncOpenAI(base_url=f"{pair.one.url}/v1", api_key=pair.one.key, max_retries=0) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def elsewhere(pair: Pair) -> AsyncIterator[Client]:
    """The same client, told of the other instance."""
    async with openai.AsyncOpenAI(base_url=f"{pair.other.url}/v1", api_key=pair.other.key, max_retries=0) as client:
        yield client


async def test_create(client: Client) -> None:
    response = await client.responses.create(model="claude-sim", input="Hello", instructions="Be kind.")
    assert response.status == "completed"
    assert "Hello" in response.output_text
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response._request_id.startswith("req_")


async def test_text_arrives_as_it_is_made(client: Client) -> None:
    stream = await client.responses.create(model=model(PACED), input="Hello", stream=True)
    timed = [(time.monotonic(), event) async for event in stream]
    assert [event.sequence_number for _, event in timed] == list(range(len(timed)))
    assert timed[-1][1].type == "response.completed"
    arrivals = [when for when, event in timed if event.type == "response.output_text.delta"]
    assert len(arrivals) == 40
    assert_incremental(arrivals)


async def test_without_asyncio(pair: Pair) -> None:
    def read() -> tuple[str, str]:
        with openai.OpenAI(base_url=f"{pair.one.url}/v1", api_key=pair.one.key, max_retries=0) as sync_client:
            whole = sync_client.responses.create(model="claude-sim", input="Hello")
            events = sync_client.responses.create(model="claude-sim", input="Hello", stream=True)
            pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
            return whole.output_text, "".join(pieces)

    whole, streamed = await asyncio.to_thread(read)
    assert whole == streamed
    assert "Hello" in whole


async def test_stream_helper(client: Client) -> None:
    async with client.responses.stream(model="claude-sim-thinking", input="Hello") as stream:
        text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output_text == text


async def test_background_and_reading_on_elsewhere(pair: Pair, client: Client, elsewhere: Client) -> None:
    queued = await client.responses.create(model=pair.model("tokens=30&rate=30"), input="Hello", background=True)
    assert queued.status == "queued"
    assert (await elsewhere.responses.retrieve(queued.id)).status == "in_progress"
    stream = await elsewhere.responses.retrieve(queued.id, stream=True, starting_after=4)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(5, 5 + len(events)))
    assert (await elsewhere.responses.retrieve(queued.id)) == events[-1].response


async def test_a_dropped_background_stream_is_read_on(pair: Pair, client: Client, elsewhere: Client) -> None:
    body: dict[str, Any] = {"model": pair.model("tokens=30&rate=30"), "input": "Hello"}
    stream = await client.responses.create(**body, stream=True, background=True)
    head = []
    async for event in stream:
        head.append(event)
        if len(head) == 8:
            break
    await stream.close()
    tail = await elsewhere.responses.retrieve(head[0].response.id, stream=True, starting_after=head[-1].sequence_number)
    whole = head + [event async for event in tail]
    assert [event.sequence_number for event in whole] == list(range(len(whole)))
    text = "".join(event.delta for event in whole if event.type == "response.output_text.delta")
    assert whole[-1].response.output_text == text


async def test_tools_in_a_chain(client: Client, elsewhere: Client) -> None:
    body: dict[str, Any] = {"model": "claude-sim", "tools": [LOOK]}
    first = await client.responses.create(**body, input="Use get weather for both Paris and Berlin.")
    calls = [item for item in first.output if item.type == "function_call"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    second = await elsewhere.responses.create(**body, input=results, previous_response_id=first.id)
    assert second.output_text.startswith("I asked")
    assert second.previous_response_id == first.id


async def test_streamed_tools(client: Client) -> None:
    question = "Use get weather for both Paris and Berlin."
    stream = await client.responses.create(model="claude-sim", tools=[LOOK], input=question, stream=True)
    events = [event async for event in stream]
    pieces: dict[str, str] = {}
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            pieces[event.item_id] = pieces.get(event.item_id, "") + event.delta
    calls = [item for item in events[-1].response.output if item.type == "function_call"]
    assert pieces == {call.id: call.arguments for call in calls}
    assert [call.arguments for call in calls] == ['{"city":"Paris"}', '{"city":"Berlin"}']


async def test_a_client_that_keeps_everything_itself(client: Client) -> None:
    body: dict[str, Any] = {"model": "claude-sim-thinking", "tools": [LOOK], "store": False}
    items: list[Any] = [{"role": "user", "content": "Use get weather for Paris."}]
    first = await client.responses.create(**body, input=items, include=["reasoning.encrypted_content"])
    items += first.output
    call = next(item for item in first.output if item.type == "function_call")
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second = await client.responses.create(**body, input=items)
    assert second.output_text.startswith("I asked")


async def test_a_search_that_the_upstream_made(pair: Pair, client: Client) -> None:
    """Asked for in Anthropic's dialect, read with OpenAI's client; its items may be sent back."""
    async with pair.one.client(pair.one.admin_key) as admin:
        key = await make_key(admin, allowed=["server_tools"])
    question = {"role": "user", "content": "Search the web for rivers."}
    body = {
        "model": "claude-sim",
        "messages": [question],
        "max_tokens": 2000,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }
    async with pair.one.client(key) as anthropic:
        id = (await anthropic.post("/v1/messages", json=body)).headers["x-completion-id"]
    response = await client.responses.retrieve(f"resp_{id}")
    assert [item.type for item in response.output] == ["message", "web_search_call", "message"]
    _, search, found = response.output
    assert (search.status, search.action.type) == ("completed", "search")
    assert search.action.query == "Search the web for rivers."
    assert found.content[0].annotations[0].url == search.action.sources[0].url
    events = [event async for event in await client.responses.retrieve(response.id, stream=True)]
    assert [event.type for event in events if "web_search" in event.type] == [
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
    ]
    assert events[-1].response == response
    follow = await client.responses.create(
        model="claude-sim", input=[question, *response.output, {"role": "user", "content": "And seas?"}]
    )
    assert "turn 2" in follow.output_text


async def test_structured_output(client: Client) -> None:
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str

    response = await client.responses.parse(model="claude-sim", input="Who?", text_format=Person)
    assert isinstance(response.output_parsed, Person)


async def test_cancel(pair: Pair, client: Client, elsewhere: Client) -> None:
    running = await client.responses.create(model=pair.model("tokens=500&rate=50"), input="Hello", background=True)
    await elsewhere.responses.cancel(running.id)
    async with asyncio.timeout(5):
        while (await client.responses.retrieve(running.id)).status != "cancelled":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await client.responses.cancel(running.id)).status == "cancelled"


async def test_input_items_and_delete(client: Client) -> None:
    items = [{"role": "user", "content": str(n)} for n in range(5)]
    response = await client.responses.create(model="claude-sim", input=items)
    listed = [item async for item in client.responses.input_items.list(response.id, order="asc", limit=2)]
    assert [item.content[0].text for item in listed] == ["0", "1", "2", "3", "4"]
    await client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_errors_have_their_classes(pair: Pair, client: Client) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="claude-sim", input="x", tools=[{"type": "web_search"}])
    assert refused.value.param == "tools[0].type"
    with pytest.raises(openai.RateLimitError) as limited:
        await client.responses.create(model=pair.model(fault="429"), input="x", stream=True)
    assert limited.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.InternalServerError):
        await client.responses.create(model=pair.model("after=8", "cut-mid-event"), input="x")
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.responses.create(model="claude-sim", input="x", previous_response_id="resp_1")
    assert unknown.value.code == "previous_response_not_found"
    async with openai.AsyncOpenAI(base_url=f"{pair.one.url}/v1", api_key="no", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.responses.create(model="claude-sim", input="x")


async def test_a_cut_stream_is_no_whole_answer(pair: Pair, client: Client) -> None:
    stream = await client.responses.create(model=pair.model("after=8", "cut-mid-event"), input="x", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.failed"
    async with client.responses.stream(model=pair.model("after=8", "end-mid"), input="x") as helped:
        with pytest.raises(RuntimeError):
            await helped.get_final_response()


async def test_leaving_cancels_where_asked_for(client: Client, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await assert_hung_up(headwater, name, await leave(client, name, {"x-on-disconnect": "cancel"}))


async def test_leaving_changes_nothing_otherwise(client: Client, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await leave(client, name)
    await assert_went_on(headwater, name)


async def leave(client: Client, name: str, headers: dict[str, str] | None = None) -> float:
    """Read the first piece of text, then close the stream; the Unix time of that."""
    async with await client.responses.create(model=name, input="Hello", stream=True, extra_headers=headers) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    return time.time()
