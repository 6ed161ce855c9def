"""Pydantic AI's agents over Chat Completions, Responses and Messages: one set of checks for all three models."""

import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

import openai
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from pydantic import BaseModel
from pydantic_ai import Agent, AgentStreamEvent, NativeOutput, PartDeltaEvent, PartStartEvent, RunContext
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
)
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, TextPartDelta, ThinkingPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

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

RIVERS: Final = "Tell me about rivers."
APIS: Final = ["chat", "responses", "messages"]
CANCEL: Final[Any] = {"extra_headers": {"x-on-disconnect": "cancel"}}
# It knows this of OpenAI's own models alone, and gives other models their thoughts back as text.
THOUGHTS_GO_BACK: Final = OpenAIModelProfile(openai_supports_encrypted_reasoning_content=True)
# By the status that the upstream answers with.
REFUSALS: Final[dict[str, type[ModelAPIError]]] = {
    "400": ModelRequestRejectedError,
    "404": ModelNotFoundError,
    "429": ModelRateLimitError,
    "500": ModelServerError,
    "529": ModelOverloadedError,
}


class Make(Protocol):
    def __call__(self, name: str, key: str | None = None) -> Model:
        """The model of this name, with the instance's key or another."""


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(loop_scope="module")
async def make(headwater: Headwater, api: str) -> AsyncIterator[Make]:
    """Makes models that speak the API; their connections are closed in the end."""
    clients = AsyncExitStack()

    def made(name: str, key: str | None = None) -> Model:
        url, key = headwater.service.url, key or headwater.service.key
        if api == "messages":
            client = AsyncAnthropic(base_url=url, api_key=key, max_retries=0)
            clients.push_async_callback(client.close)
            return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
        openai_client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        clients.push_async_callback(openai_client.close)
        provider = OpenAIProvider(openai_client=openai_client)
        if api == "chat":
            return OpenAIChatModel(name, provider=provider)
        return OpenAIResponsesModel(name, provider=provider, profile=THOUGHTS_GO_BACK)

    async with clients:
        yield made


def weather_agent(model: Model) -> tuple[Agent, list[str]]:
    """An agent with a tool, and the cities it was called with."""
    agent, asked = Agent(model), []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather of a place."""
        asked.append(city)
        return f"Rain in {city}."

    return agent, asked


# --- Text


async def test_text(make: Make) -> None:
    agent = Agent(make(model()), system_prompt="Be kind.", instructions="Be brief.")
    result = await agent.run(RIVERS)
    async with agent.run_stream(RIVERS) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

    assert "Be kind." in result.output
    assert "".join(pieces) == result.output
    assert len(pieces) > 50
    assert stream.usage == result.usage
    assert (result.usage.requests, result.usage.tool_calls) == (1, 0)
    assert result.usage.input_tokens > 0
    assert result.usage.output_tokens == len(pieces)


async def test_text_arrives_as_it_is_made(make: Make) -> None:
    async with Agent(make(model(PACED))).run_stream(RIVERS) as stream:
        arrivals = [time.monotonic() async for _ in stream.stream_text(delta=True, debounce_by=None)]
    assert_incremental(arrivals)


async def test_a_conversation_goes_on(make: Make) -> None:
    agent = Agent(make(model()))
    first = await agent.run(RIVERS)
    second = await agent.run("And then?", message_history=first.all_messages())
    assert f'This is turn 2; before it you said "{RIVERS}".' in second.output


# --- Tools and structured answers


async def test_tools(make: Make, headwater: Headwater) -> None:
    name = model()
    agent, asked = weather_agent(make(name))
    result = await agent.run(BOTH_CITIES)
    assert sorted(asked) == CITIES
    assert all(f"Rain in {city}." in result.output for city in CITIES)
    assert (result.usage.requests, result.usage.tool_calls) == (2, 2)
    assert len(headwater.asked(name)) == 2


async def test_streamed_tools(make: Make) -> None:
    agent, asked = weather_agent(make(model()))
    pieces: list[str] = []

    async def read(_: RunContext, events: AsyncIterable[AgentStreamEvent]) -> None:
        pieces.extend([text_of(event) async for event in events])

    result = await agent.run(BOTH_CITIES, event_stream_handler=read)
    assert sorted(asked) == CITIES
    assert "".join(pieces) == f"I will ask get_weather.{result.output}"
    assert all(f"Rain in {city}." in result.output for city in CITIES)
    assert (result.usage.requests, result.usage.tool_calls) == (2, 2)


def text_of(event: AgentStreamEvent) -> str:
    match event:
        case PartStartEvent(part=TextPart(content=text)) | PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return text
        case _:
            return ""


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_by_a_tool(make: Make, streams: bool) -> None:
    agent = Agent(make(model()), output_type=Person)
    assert await output(agent, streams=streams) == Person(name="Who is it?", age=1)


# Of models that it does not know it takes Claude's for ones that cannot.
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_by_a_schema(make: Make, api: str, headwater: Headwater, streams: bool) -> None:
    name = model()
    agent = Agent(make(name), output_type=NativeOutput(Person))
    assert await output(agent, streams=streams) == Person(name="Who is it?", age=1)
    (request,) = headwater.asked(name)
    assert request.body["output_config"]["format"]["type"] == "json_schema"


async def output(agent: Agent[None, Person], *, streams: bool) -> Person:
    if not streams:
        return (await agent.run("Who is it?")).output
    async with agent.run_stream("Who is it?") as stream:
        return await stream.get_output()


# --- Thoughts


@pytest.mark.parametrize("api", ["responses", "messages"])
async def test_a_thought_goes_back_with_the_tools_it_called(make: Make, api: str, headwater: Headwater) -> None:
    """The upstream refuses a signature that does not fit its thought, and calls whose thought is missing."""
    settings: dict[str, Any] = {
        "responses": {"openai_reasoning_effort": "high", "openai_reasoning_summary": "auto"},
        "messages": {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 3000},
    }
    name = model()
    agent, asked = weather_agent(make(name))
    result = await agent.run(BOTH_CITIES, model_settings=settings[api])
    assert sorted(asked) == CITIES
    assert [type(part) for part in first_answer(result.all_messages())] == [
        *(ThinkingPart, TextPart),
        *[ToolCallPart] * 2,
    ]
    thought, *_ = headwater.asked(name)[-1].body["messages"][1]["content"]
    assert thought["type"] == "thinking"


def first_answer(messages: list[ModelMessage]) -> list[Any]:
    return list(next(message for message in messages if isinstance(message, ModelResponse)).parts)


# --- Errors


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("status", REFUSALS)
async def test_an_error_before_the_stream(make: Make, headwater: Headwater, status: str, streams: bool) -> None:
    name = model(fault=status)
    with pytest.raises(REFUSALS[status]):
        await answer(Agent(make(name)), [], streams=streams)
    assert len(headwater.asked(name)) == 1


async def test_an_unknown_key(make: Make, headwater: Headwater) -> None:
    name = model()
    with pytest.raises(ModelAuthenticationError):
        await answer(Agent(make(name, "hw_unknown")), [], streams=True)
    assert headwater.asked(name) == []


@pytest.mark.parametrize("fault", BREAKS)
async def test_an_error_in_the_stream(make: Make, fault: str) -> None:
    agent, pieces = Agent(make(model("after=8", fault=fault))), list[str]()
    with pytest.raises(ModelAPIError, match=r"upstream (broke|ended)"):
        await answer(agent, pieces, streams=True)
    assert "".join(pieces)
    with pytest.raises(ModelAPIError, match=r"upstream (broke|ended)"):
        await answer(agent, [], streams=False)


async def answer(agent: Agent, pieces: list[str], *, streams: bool) -> None:
    """Read the answer to its end; what comes before is kept in `pieces`."""
    if not streams:
        await agent.run(RIVERS)
        return
    async with agent.run_stream(RIVERS) as stream:
        async for piece in stream.stream_text(delta=True, debounce_by=None):
            pieces.append(piece)


# --- Leaving


async def test_leaving_cancels_where_asked_for(make: Make, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    left = await leave(Agent(make(name)), CANCEL)
    await assert_hung_up(headwater, name, left)


async def test_leaving_changes_nothing_otherwise(make: Make, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await leave(Agent(make(name)))
    await assert_went_on(headwater, name)


async def leave(agent: Agent, settings: Any = None) -> float:
    """Read the first piece of text, then close the stream; the Unix time of that."""
    async with agent.run_stream(RIVERS, model_settings=settings) as stream:
        async for _ in stream.stream_text(delta=True, debounce_by=None):
            break
    return time.time()
