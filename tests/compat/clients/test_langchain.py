"""LangChain's ChatOpenAI, over Chat Completions and over Responses, and ChatAnthropic: one set of checks for all."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.compat.clients.langchain_calls import KINDS, Calls, Streamed
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
# By the status that the upstream answers with.
REFUSALS: Final[dict[str, type[ModelError]]] = {
    "400": ModelInvalidRequestError,
    "404": ModelNotFoundError,
    "429": ModelRateLimitError,
    "500": ModelAPIError,
    "529": ModelAPIError,
}

Make = Callable[..., BaseChatModel]


@tool
def get_weather(city: str) -> str:
    """The weather of a place."""
    return f"Rain in {city}."


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@pytest.fixture(params=KINDS)
def calls(request: pytest.FixtureRequest) -> Calls:
    return KINDS[request.param]


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(headwater: Headwater, api: str) -> Make:
    """Makes a client that speaks the API with the model's name and options of its own."""

    def made(name: str, **options: Any) -> BaseChatModel:
        url, key = headwater.service.url, headwater.service.key
        chosen: dict[str, Any] = {"model": name, "base_url": url, "api_key": key, "max_retries": 0, **options}
        if api == "messages":
            return ChatAnthropic(**chosen)
        return ChatOpenAI(**{**chosen, "base_url": f"{url}/v1"}, use_responses_api=api == "responses")

    return made


async def streamed(calls: Calls, chat: Any, input: Any) -> Streamed:
    streamed = Streamed()
    await calls.stream(chat, input, streamed)
    return streamed


async def answer(calls: Calls, chat: Any, input: Any, *, streams: bool) -> AIMessage:
    return (await streamed(calls, chat, input)).whole if streams else await calls.invoke(chat, input)


# --- Text


async def test_text(calls: Calls, make: Make, headwater: Headwater) -> None:
    name = model()
    message = await calls.invoke(make(name), [SystemMessage("Be kind."), HumanMessage(RIVERS)])
    assert "Be kind." in message.text
    assert message.response_metadata["model_name"] == name
    assert message.usage_metadata is not None
    used = message.usage_metadata
    assert 0 < used["input_tokens"] == used["total_tokens"] - used["output_tokens"]
    (request,) = headwater.asked(name)
    assert request.body["stream"] is True  # whatever the client does


async def test_a_stream_is_the_same_text(calls: Calls, make: Make) -> None:
    chat = make(model(), stream_usage=True)
    message = await calls.invoke(chat, RIVERS)
    stream = await streamed(calls, chat, RIVERS)
    assert stream.whole.text == message.text
    assert len([chunk for chunk in stream.chunks if chunk.text]) > 50
    assert message.usage_metadata is not None
    assert stream.whole.usage_metadata is not None
    assert stream.whole.usage_metadata["output_tokens"] == message.usage_metadata["output_tokens"] > 50


async def test_text_arrives_as_it_is_made(calls: Calls, make: Make) -> None:
    stream = await streamed(calls, make(model(PACED)), RIVERS)
    assert_incremental(stream.arrivals)


# --- Tools and structured answers


@pytest.mark.parametrize("streams", [True, False])
async def test_tools(calls: Calls, make: Make, streams: bool) -> None:
    chat = make(model()).bind_tools([get_weather])
    asked = await answer(calls, chat, BOTH_CITIES, streams=streams)
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [
        ("get_weather", {"city": city}) for city in CITIES
    ]
    results: list[ToolMessage] = [await get_weather.ainvoke(call) for call in asked.tool_calls]
    told = await answer(calls, chat, [HumanMessage(BOTH_CITIES), asked, *results], streams=streams)
    assert told.tool_calls == []
    assert all(f"Rain in {city}." in told.text for city in CITIES)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_a_structured_answer(make: Make, method: Any) -> None:
    chat: Any = make(model()).with_structured_output(Person, method=method)
    assert await chat.ainvoke("Who is it?") == Person(name="Who is it?", age=1)


# --- Errors


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("status", REFUSALS)
async def test_an_error_before_the_stream(
    calls: Calls, make: Make, headwater: Headwater, status: str, streams: bool
) -> None:
    name = model(fault=status)
    with pytest.raises(REFUSALS[status]):
        await answer(calls, make(name), RIVERS, streams=streams)
    assert len(headwater.asked(name)) == 1


async def test_an_unknown_key(calls: Calls, make: Make, headwater: Headwater) -> None:
    name = model()
    with pytest.raises(ModelAuthenticationError):
        await streamed(calls, make(name, api_key="hw_unknown"), RIVERS)
    assert headwater.asked(name) == []


@pytest.mark.parametrize("fault", BREAKS)
async def test_an_error_in_the_stream(calls: Calls, make: Make, fault: str) -> None:
    chat, partial = make(model("after=8", fault=fault)), Streamed()
    with pytest.raises(Exception, match=r"upstream (broke|ended)"):
        await calls.stream(chat, RIVERS, partial)
    assert partial.whole.text
    assert partial.whole.chunk_position != "last"
    with pytest.raises(ModelAPIError):
        await calls.invoke(chat, RIVERS)


async def test_it_tries_again(calls: Calls, make: Make, headwater: Headwater) -> None:
    name = model("retry_after=0&times=1", fault="429")
    assert (await calls.invoke(make(name, max_retries=2), RIVERS)).text
    assert [request.status for request in headwater.asked(name)] == [429, 200]


# --- Leaving


async def test_leaving_cancels_where_asked_for(calls: Calls, make: Make, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    left = await calls.leave(make(name, default_headers={"x-on-disconnect": "cancel"}), RIVERS)
    await assert_hung_up(headwater, name, left)


async def test_leaving_changes_nothing_otherwise(calls: Calls, make: Make, headwater: Headwater) -> None:
    name = model(OUTLASTING)
    await calls.leave(make(name), RIVERS)
    await assert_went_on(headwater, name)


# --- Thoughts


@pytest.mark.parametrize("api", ["responses", "messages"])
@pytest.mark.parametrize("streams", [True, False])
async def test_a_thought_goes_back_with_the_tools_it_called(
    calls: Calls, make: Make, api: str, headwater: Headwater, streams: bool
) -> None:
    """The upstream refuses a signature that does not fit its thought, and calls whose thought is missing."""
    thinking: dict[str, dict[str, Any]] = {
        "responses": {"reasoning": {"effort": "high", "summary": "auto"}},
        "messages": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 3000},
    }
    name = model()
    chat = make(name, **thinking[api]).bind_tools([get_weather])
    asked = await answer(calls, chat, BOTH_CITIES, streams=streams)
    assert [block["type"] for block in asked.content_blocks][:2] == ["reasoning", "text"]
    results = [await get_weather.ainvoke(call) for call in asked.tool_calls]
    told = await answer(calls, chat, [HumanMessage(BOTH_CITIES), asked, *results], streams=streams)
    assert all(f"Rain in {city}." in told.text for city in CITIES)
    assert told.usage_metadata is not None
    assert told.usage_metadata["output_token_details"]["reasoning"] > 0
    thought, *_ = headwater.asked(name)[-1].body["messages"][1]["content"]
    assert thought["type"] == "thinking"


@pytest.mark.parametrize("api", ["responses"])
async def test_a_chain_of_responses(calls: Calls, make: Make, headwater: Headwater) -> None:
    name = model()
    chat = make(name, use_previous_response_id=True)
    first = await calls.invoke(chat, RIVERS)
    whole: list[Any] = [HumanMessage(RIVERS), first, HumanMessage("And then?")]
    second = (await streamed(calls, chat, whole)).whole
    assert "before it you said" in second.text
    assert isinstance(second, AIMessageChunk)
    assert len(headwater.asked(name)[-1].body["messages"]) == 3
