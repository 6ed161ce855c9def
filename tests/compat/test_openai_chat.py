"""The official `openai` SDK against Headwater, with nothing but another base URL and key."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from tests.conftest import LOGS
from tests.support.clients import (
    GRACE,
    OUTLASTING,
    PACED,
    assert_hung_up,
    assert_incremental,
    assert_went_on,
    model,
)
from tests.support.headwater import Headwater, running, until
from tests.support.postgres import Postgres

pytestmark = [pytest.mark.compat, pytest.mark.asyncio(loop_scope="module")]

MODEL = "claude-sim"
BOTH = "What is the weather in Paris and in Rome? Ask for both."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(text: str = "Tell me about rivers.") -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    folder = tmp_path_factory.mktemp("service")
    async with running(postgres, folder, max_retries=0, disconnect_grace=GRACE, idle_timeout=4) as running_one:
        yield running_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[AsyncOpenAI]:
    url = f"{headwater.service.url}/v1"
    async with AsyncOpenAI(base_url=url, api_key=headwater.service.key, max_retries=0, timeout=30) as connected:
        yield connected


@pytest.fixture
def sync_client(headwater: Headwater) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{headwater.service.url}/v1", api_key=headwater.service.key, max_retries=0) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_text(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=user())
    answer = raw.parse()
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content
    assert choice.message.tool_calls is None
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-request-id"]


async def test_stream_is_the_same_text(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=MODEL, messages=user())
    stream = await client.chat.completions.create(model=MODEL, messages=user(), stream=True)
    chunks = [chunk async for chunk in stream]
    assert text_of(chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_text_arrives_as_it_is_made(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model=model(PACED), messages=user(), stream=True)
    assert_incremental([time.monotonic() async for chunk in stream if text_of([chunk])])


async def test_without_asyncio(sync_client: OpenAI) -> None:
    def streamed() -> str:
        return text_of(list(sync_client.chat.completions.create(model=MODEL, messages=user(), stream=True)))

    whole = await asyncio.to_thread(sync_client.chat.completions.create, model=MODEL, messages=user())
    assert await asyncio.to_thread(streamed) == whole.choices[0].message.content


async def test_usage_when_asked(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=user(), stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert {chunk.usage for chunk in chunks} == {None}
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0


async def test_tools(client: AsyncOpenAI) -> None:
    first = await client.chat.completions.create(model=MODEL, messages=user(BOTH), tools=[WEATHER])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    assert [json.loads(call.function.arguments) for call in message.tool_calls if call.type == "function"] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "Rain."} for call in message.tool_calls]
    messages: list[Any] = [*user(BOTH), message.model_dump(exclude_none=True), *results]
    second = await client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert second.choices[0].finish_reason == "stop"
    assert "Rain." in (second.choices[0].message.content or "")


async def test_streamed_tools(client: AsyncOpenAI) -> None:
    """The SDK's own accumulator puts the calls together."""
    async with client.chat.completions.stream(model=MODEL, messages=user(BOTH), tools=[WEATHER]) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_completion()
    (choice,) = final.choices
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls or []] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.index for event in done] == [0, 1]


class Person(BaseModel):
    name: str
    age: int


async def test_structured_answer(client: AsyncOpenAI) -> None:
    parsed = await client.chat.completions.parse(model=MODEL, messages=user(), response_format=Person)
    assert isinstance(parsed.choices[0].message.parsed, Person)


async def test_every_option(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                    {
                        "type": "file",
                        "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
                    },
                ],
            },
        ],
        max_completion_tokens=50,
        stop=["never"],
        temperature=1.2,
        top_p=0.9,
        n=1,
        seed=1,
        user="ann",
        reasoning_effort="low",
        presence_penalty=0.1,
        frequency_penalty=0.1,
        logit_bias={},
        store=False,
        metadata={"a": "b"},
        service_tier="auto",
        verbosity="low",
    )
    assert raw.parse().choices[0].message.content
    assert set(raw.headers["x-ignored-params"].split(", ")) == {
        "frequency_penalty",
        "logit_bias",
        "metadata",
        "presence_penalty",
        "seed",
        "service_tier",
        "store",
        "verbosity",
    }


ERRORS: dict[str, tuple[type[openai.APIStatusError], int, str | None]] = {
    "400": (openai.BadRequestError, 400, None),
    "401": (openai.InternalServerError, 502, "upstream_credentials"),
    "404": (openai.NotFoundError, 404, "model_not_found"),
    "429": (openai.RateLimitError, 429, "rate_limit_exceeded"),
    "500": (openai.InternalServerError, 502, "upstream_error"),
    "529": (openai.InternalServerError, 503, "overloaded"),
    "reset": (openai.InternalServerError, 502, "upstream_connection"),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ERRORS)
async def test_errors_before_the_stream(client: AsyncOpenAI, fault: str, stream: bool) -> None:
    kind, status, code = ERRORS[fault]
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(model=f"sim-{fault}", messages=user(), stream=stream)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (status, code, None)
    assert caught.value.request_id
    assert caught.value.type


async def test_a_field_at_fault(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=user(), n=2)
    assert caught.value.param == "n"


async def test_an_unknown_key(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await client.with_options(api_key="hw_unknown").chat.completions.create(model=MODEL, messages=user())
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    "fault", ["error-mid", "end-mid", "cut-mid-event", "cut-mid-character", "malformed", "bad-utf8"]
)
async def test_an_error_in_the_stream(client: AsyncOpenAI, fault: str) -> None:
    stream = await client.chat.completions.create(model=f"sim-{fault}", messages=user(), stream=True)
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError) as caught:
        await _collect(stream, chunks)
    assert not isinstance(caught.value, openai.APIStatusError)
    assert caught.value.type == "server_error"
    assert caught.value.message
    assert text_of(chunks)
    assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)


async def _collect(stream: AsyncIterator[ChatCompletionChunk], chunks: list[ChatCompletionChunk]) -> None:
    async for chunk in stream:
        chunks.append(chunk)


async def test_cancelled_is_not_asked_again(client: AsyncOpenAI, headwater: Headwater) -> None:
    name = model("rate=20&tokens=400")
    eager = client.with_options(max_retries=2)
    async with headwater.client() as native, asyncio.TaskGroup() as group:
        asked = group.create_task(_conflict(eager, name))
        await until(lambda: headwater.asked(name))
        await asyncio.sleep(0.5)
        ((id,),) = headwater.rows("SELECT id FROM completions WHERE model = %s", name)
        await native.post(f"/v1/completions/{id}/cancel")
    assert asked.result().code == "cancelled"
    assert len(headwater.asked(name)) == 1


async def _conflict(client: AsyncOpenAI, name: str) -> openai.ConflictError:
    with pytest.raises(openai.ConflictError) as caught:
        await client.chat.completions.create(model=name, messages=user())
    return caught.value


async def test_leaving_cancels_where_asked_for(client: AsyncOpenAI, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await assert_hung_up(headwater, name, await leave(client, name, {"x-on-disconnect": "cancel"}))


async def test_leaving_changes_nothing_otherwise(client: AsyncOpenAI, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await leave(client, name)
    await assert_went_on(headwater, name)


async def leave(client: AsyncOpenAI, name: str, headers: dict[str, str] | None = None) -> float:
    """Read the first chunk, then close the stream; the Unix time of that."""
    async with await client.chat.completions.create(
        model=name, messages=user(), stream=True, extra_headers=headers
    ) as stream:
        await anext(aiter(stream))
    return time.time()


async def test_refusal(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="sim-ok?tokens=3&stop_reason=refusal", messages=user())
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.refusal


async def test_cut_by_max_tokens(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=MODEL, messages=user(), max_tokens=3)
    assert answer.choices[0].finish_reason == "length"


async def test_models(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == ["claude-sim", "claude-sim-thinking"]
    assert (await client.models.retrieve("claude-sim")) == models[0]
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("claude-none")
    assert caught.value.code == "model_not_found"


async def test_models_for_the_anthropic_sdk(headwater: Headwater) -> None:
    from anthropic import AsyncAnthropic, NotFoundError

    async with AsyncAnthropic(base_url=headwater.service.url, api_key=headwater.service.key) as client:
        models = [model async for model in client.models.list()]
        assert [(model.id, model.display_name, model.created_at.year) for model in models] == [
            ("claude-sim", "Claude Sim", 2026),
            ("claude-sim-thinking", "Claude Sim Thinking", 2026),
        ]
        assert (await client.models.retrieve("claude-sim")) == models[0]
        with pytest.raises(NotFoundError) as caught:
            await client.models.retrieve("claude-none")
        assert caught.value.type == "not_found_error"
