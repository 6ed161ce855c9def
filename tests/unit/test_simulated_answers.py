"""What the simulated model says, as the official client folds it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message

from local.upstream import SimulatedUpstream
from local.upstream.example import example
from local.upstream.signatures import is_genuine

Json = dict[str, Any]
WEATHER: Json = {
    "name": "get_weather",
    "description": "Current weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
    },
}
CLOCK: Json = {"name": "read_clock", "input_schema": {"type": "object", "properties": {}}}
THINKING: Json = {"type": "enabled", "budget_tokens": 1024}
DOCUMENT: Json = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "Rivers begin small. They grow."},
    "title": "Rivers",
    "citations": {"enabled": True},
}


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    async with SimulatedUpstream() as running:
        yield running


@pytest.fixture
async def client(upstream: SimulatedUpstream) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key="any", base_url=upstream.url, max_retries=0) as connected:
        yield connected


def user(content: str | list[Json]) -> Json:
    return {"role": "user", "content": content}


async def ask(client: AsyncAnthropic, question: str | list[Json], **more: Any) -> Message:
    """Ask both ways, streamed and not, and return the answer that both gave."""
    options: Json = {"model": "claude-sim", "max_tokens": 2000, "messages": [user(question)], **more}
    async with client.messages.stream(**options) as stream:
        streamed = await stream.get_final_message()
    whole: Message = await client.messages.create(**options)
    assert streamed.to_dict(exclude_unset=True)["content"] == whole.to_dict(exclude_unset=True)["content"]
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    return whole


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def types_of(message: Message) -> list[str]:
    return [block.type for block in message.content]


def replayed(message: Message) -> Json:
    return {"role": "assistant", "content": message.to_dict(exclude_unset=True)["content"]}


def result(tool_use_id: str, content: str, **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": tool_use_id, "content": content, **more}


# --- Text ---


async def test_answer_quotes_the_question_and_says_who_it_is(client: AsyncAnthropic) -> None:
    said = text_of(await ask(client, "Why is the sky blue?", system="You are a pirate."))
    assert '"Why is the sky blue?"' in said
    assert "I am claude-sim" in said
    assert '"You are a pirate."' in said


async def test_answer_remembers_the_conversation(client: AsyncAnthropic) -> None:
    first = await ask(client, "My name is Ada.")
    messages = [user("My name is Ada."), replayed(first), user("Who am I?")]
    said = text_of(await ask(client, "", messages=messages))
    assert '"Who am I?"' in said
    assert 'This is turn 2; before it you said "My name is Ada."' in said


async def test_max_tokens_cuts_the_answer(client: AsyncAnthropic) -> None:
    answer = await ask(client, "Hello", max_tokens=7)
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 7
    assert len(text_of(answer).split()) == 7


async def test_max_tokens_of_zero_says_nothing(client: AsyncAnthropic) -> None:
    answer = await client.messages.create(model="claude-sim", max_tokens=0, messages=[{"role": "user", "content": "x"}])
    assert (answer.content, answer.stop_reason, answer.usage.output_tokens) == ([], "max_tokens", 0)


async def test_stop_sequence_ends_the_answer_before_it(client: AsyncAnthropic) -> None:
    answer = await ask(client, "Say STOP now", stop_sequences=["never said", "STOP", "now"])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "STOP")
    assert text_of(answer) == 'You asked "Say '


async def test_max_tokens_that_come_first_hide_the_stop_sequence(client: AsyncAnthropic) -> None:
    answer = await ask(client, "Say STOP now", stop_sequences=["STOP"], max_tokens=2)
    assert (answer.stop_reason, answer.stop_sequence) == ("max_tokens", None)


async def test_structured_output_fits_its_schema(client: AsyncAnthropic) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}}}
    answer = await ask(client, "Ada", output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(text_of(answer)) == {"name": "Ada", "age": 18}


# --- Thinking ---


@pytest.mark.parametrize("thinking", [THINKING, {"type": "adaptive"}])
async def test_thinking_comes_first_and_is_signed(client: AsyncAnthropic, thinking: Json) -> None:
    answer = await ask(client, "Think!", thinking=thinking)
    thought, text = answer.content
    assert thought.type == "thinking"
    assert text.type == "text"
    assert '"Think!"' in thought.thinking
    assert len(thought.signature) == 320
    assert is_genuine(thought.thinking, thought.signature)
    details = answer.usage.output_tokens_details
    assert details is not None
    assert 0 < details.thinking_tokens < answer.usage.output_tokens


async def test_one_model_always_thinks_and_the_other_only_when_asked(client: AsyncAnthropic) -> None:
    assert types_of(await ask(client, "Hello", model="claude-sim-thinking")) == ["thinking", "text"]
    assert types_of(await ask(client, "Hello")) == ["text"]


async def test_omitted_thinking_has_a_signature_only(client: AsyncAnthropic) -> None:
    answer = await ask(client, "Hello", thinking={"type": "adaptive", "display": "omitted"})
    thought = answer.content[0]
    assert thought.type == "thinking"
    assert thought.thinking == ""
    assert is_genuine("", thought.signature)


async def test_thinking_can_be_replayed_byte_for_byte_only(client: AsyncAnthropic) -> None:
    answer = replayed(await ask(client, "Think!", thinking=THINKING))
    following = await ask(client, "", messages=[user("Think!"), answer, user("And?")], thinking=THINKING)
    assert following.stop_reason == "end_turn"

    for key in ("thinking", "signature"):
        thought, text = answer["content"]
        edited = {"role": "assistant", "content": [{**thought, key: "A" + thought[key][1:]}, text]}
        with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.content\.0: Invalid `signature`"):
            await ask(client, "", messages=[user("Think!"), edited, user("And?")], thinking=THINKING)


async def test_redacted_thinking_can_be_replayed_byte_for_byte_only(client: AsyncAnthropic) -> None:
    answer = replayed(await ask(client, "Think!", model="sim-ok?redacted=1"))
    redacted, text = answer["content"]
    assert redacted["type"] == "redacted_thinking"
    following = await ask(client, "", messages=[user("Think!"), answer, user("And?")])
    assert following.stop_reason == "end_turn"

    redacted["data"] = redacted["data"][:-4]
    with pytest.raises(anthropic.BadRequestError, match="Invalid `data`"):
        await ask(
            client, "", messages=[user("Think!"), {"role": "assistant", "content": [redacted, text]}, user("And?")]
        )


# --- Tools ---


async def test_tool_is_called_when_the_question_is_after_it(client: AsyncAnthropic) -> None:
    answer = await ask(client, "What is the weather in Paris?", tools=[CLOCK, WEATHER])
    text, call = answer.content
    assert answer.stop_reason == "tool_use"
    assert text.type == "text"
    assert call.type == "tool_use"
    assert call.id.startswith("toolu_")
    assert (call.name, call.input) == ("get_weather", {"city": "Paris", "unit": "celsius"})


async def test_tool_is_left_alone_when_nothing_asks_for_it(client: AsyncAnthropic) -> None:
    assert types_of(await ask(client, "Hello", tools=[WEATHER])) == ["text"]
    weather = await ask(client, "What is the weather?", tools=[WEATHER], tool_choice={"type": "none"})
    assert types_of(weather) == ["text"]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
async def test_forced_tool_is_called_without_a_word(client: AsyncAnthropic, choice: Json) -> None:
    answer = await ask(client, "Hello", tools=[WEATHER], tool_choice=choice)
    assert types_of(answer) == ["tool_use"]


async def test_parallel_calls_differ(client: AsyncAnthropic) -> None:
    question = "Weather in Paris and London, both please"
    answer = await ask(client, question, tools=[WEATHER])
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.input["city"] for call in calls] == ["Paris", "London"]
    assert len({call.id for call in calls}) == 2

    one = await ask(client, question, tools=[WEATHER], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert types_of(one) == ["text", "tool_use"]


async def test_several_tools_are_called_in_parallel(client: AsyncAnthropic) -> None:
    answer = await ask(client, "Use both tools", tools=[WEATHER, CLOCK])
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["get_weather", "read_clock"]


async def test_tool_input_comes_in_pieces_that_are_no_json_alone(client: AsyncAnthropic) -> None:
    pieces: dict[int, list[str]] = {}
    async with client.messages.stream(
        model="claude-sim",
        max_tokens=500,
        tools=[WEATHER, CLOCK],  # type: ignore[list-item]
        messages=[{"role": "user", "content": "Use both tools in Paris"}],
    ) as stream:
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                pieces.setdefault(event.index, []).append(event.delta.partial_json)
    weather, clock = pieces.values()
    assert weather[0] == ""
    assert len(weather) > 3
    assert json.loads("".join(weather)) == {"city": "Paris", "unit": "celsius"}
    assert clock == [""]


async def test_answer_after_a_tool_result_mentions_it(client: AsyncAnthropic) -> None:
    question = "What is the weather in Paris and London? Use both."
    call = await ask(client, question, tools=[WEATHER], thinking=THINKING)
    paris, london = [block.id for block in call.content if block.type == "tool_use"]
    results = [result(paris, "21 degrees"), result(london, "no such city", is_error=True)]
    messages = [user(question), replayed(call), user(results)]
    answer = await ask(client, "", messages=messages, tools=[WEATHER], thinking=THINKING)
    assert answer.stop_reason == "end_turn"
    assert 'answered "21 degrees" and failed with "no such city"' in text_of(answer)


async def test_max_tokens_can_cut_tool_input(client: AsyncAnthropic) -> None:
    options: Json = {"tools": [WEATHER], "tool_choice": {"type": "any"}, "max_tokens": 2}
    answer = await client.messages.create(
        model="claude-sim", messages=[{"role": "user", "content": "Paris"}], **options
    )
    assert answer.stop_reason == "max_tokens"
    [call] = answer.content
    assert call.type == "tool_use"
    assert call.input == {}


def test_examples_fit_their_schemas() -> None:
    schema: Json = {
        "type": "object",
        "properties": {
            "when": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "many": {"type": ["number", "null"]},
            "fixed": {"const": 3},
            "usual": {"type": "string", "default": "d"},
            "short": {"type": "string", "maxLength": 2},
            "node": {"$ref": "#/$defs/Node"},
        },
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    }
    made = example(schema, "text")
    assert made.pop("node") == {"next": {}}
    assert made == {
        "when": "2026-11-21",
        "tags": ["text", "text"],
        "maybe": True,
        "many": 1,
        "fixed": 3,
        "usual": "d",
        "short": "te",
    }


async def test_web_is_searched_when_the_question_asks_for_it(client: AsyncAnthropic) -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    answer = await ask(client, "Search the web for rivers.", tools=[search, WEATHER])
    said, call, result, cited, text = answer.content
    assert answer.stop_reason == "end_turn"
    assert (said.type, text.type) == ("text", "text")
    assert call.type == "server_tool_use"
    assert (call.name, call.input) == ("web_search", {"query": "Search the web for rivers."})
    assert result.type == "web_search_tool_result"
    assert result.tool_use_id == call.id
    assert isinstance(result.content, list)
    assert cited.type == "text"
    (citation,) = cited.citations or []
    assert citation.type == "web_search_result_location"
    assert citation.url == result.content[0].url
    assert answer.usage.server_tool_use is not None
    assert answer.usage.server_tool_use.web_search_requests == 1

    assert types_of(await ask(client, "Hello", tools=[search])) == ["text"]
    following = [user("Search the web for rivers."), replayed(answer), user("And seas?")]
    assert types_of(await ask(client, "", messages=following, tools=[search])) == ["text"]
    cut = await ask(client, "Search the web for rivers.", tools=[search], max_tokens=8)
    assert (types_of(cut), cut.stop_reason) == (["text", "server_tool_use"], "max_tokens")


# --- Documents, caches and the future ---


async def test_documents_are_cited(client: AsyncAnthropic) -> None:
    answer = await ask(client, [DOCUMENT, {"type": "text", "text": "What do rivers do?"}])
    [cited] = [block for block in answer.content if block.type == "text" and block.citations]
    assert cited.type == "text"
    assert cited.text == "Rivers begin small."
    [citation] = cited.citations or []
    assert citation.type == "char_location"
    assert (citation.document_title, citation.cited_text) == ("Rivers", "Rivers begin small.")
    assert DOCUMENT["source"]["data"][citation.start_char_index : citation.end_char_index] == citation.cited_text


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ({"type": "content", "content": [{"type": "text", "text": "One."}]}, "content_block_location"),
        ({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "page_location"),
    ],
)
async def test_other_documents_are_cited_in_their_way(client: AsyncAnthropic, source: Json, kind: str) -> None:
    document = {**DOCUMENT, "source": source}
    answer = await ask(client, [document, {"type": "text", "text": "What does it say?"}])
    citations = [found for block in answer.content if block.type == "text" for found in block.citations or []]
    assert [citation.type for citation in citations] == [kind]


async def test_documents_are_not_cited_unless_asked(client: AsyncAnthropic) -> None:
    quiet = {**DOCUMENT, "citations": {"enabled": False}}
    answer = await ask(client, [quiet, {"type": "text", "text": "What do rivers do?"}])
    assert types_of(answer) == ["text"]


async def test_cached_prefix_is_written_first_and_read_later(client: AsyncAnthropic) -> None:
    marked = {"type": "text", "text": "Long instructions. " * 50, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    plain = (await ask(client, "Hi")).usage
    first = await ask(client, "Hi", system=[marked])
    second = await ask(client, "", system=[marked], messages=[user("Hi"), replayed(first), user("Go on")])

    assert plain.cache_creation_input_tokens == plain.cache_read_input_tokens == 0
    written = first.usage.cache_creation_input_tokens or 0
    assert written > 200
    assert first.usage.cache_creation is not None
    assert first.usage.cache_creation.ephemeral_1h_input_tokens == written
    assert (first.usage.input_tokens, first.usage.cache_read_input_tokens) == (plain.input_tokens, 0)
    assert (second.usage.cache_creation_input_tokens, second.usage.cache_read_input_tokens) == (0, written)


async def test_top_level_cache_control_writes_what_is_new(client: AsyncAnthropic) -> None:
    cached = {"cache_control": {"type": "ephemeral"}}
    first = await ask(client, "Hi", **cached)
    second = await ask(client, "", messages=[user("Hi"), replayed(first), user("Go on")], **cached)
    assert first.usage.input_tokens == second.usage.input_tokens == 0
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens
    assert (second.usage.cache_creation_input_tokens or 0) > 0


async def test_refusal_says_why(client: AsyncAnthropic) -> None:
    answer = await ask(client, "Hello", model="sim-ok?stop_reason=refusal")
    assert answer.stop_reason == "refusal"
    assert answer.stop_details is not None
    assert answer.stop_details.type == "refusal"


async def test_client_ignores_what_it_does_not_know(client: AsyncAnthropic, upstream: SimulatedUpstream) -> None:
    known = await ask(client, "Hello", model="sim-ok?unknown_event=1")
    assert types_of(known) == ["text"]
    async with httpx.AsyncClient(base_url=upstream.url, headers={"x-api-key": "any"}) as raw:
        body = {"model": "sim-ok?unknown_event=1&unknown_block=1", "max_tokens": 300, "messages": [user("Hi")]}
        told = (await raw.post("/v1/messages", json={**body, "stream": True})).text
        whole = (await raw.post("/v1/messages", json=body)).json()
    assert "event: future_event\n" in told
    assert '"content_block":{"type":"future_block"' in told
    assert [block["type"] for block in whole["content"]] == ["future_block", "text"]


# --- The client's own manners ---


async def test_client_retries_until_the_fault_is_over(upstream: SimulatedUpstream) -> None:
    async with AsyncAnthropic(api_key="any", base_url=upstream.url, max_retries=2) as client:
        await client.messages.create(
            model="sim-529?times=2&retry_after=0.01", max_tokens=100, messages=[{"role": "user", "content": "Hi"}]
        )
    assert [seen.status for seen in upstream.requests] == [529, 529, 200]
    assert [seen.headers["x-stainless-retry-count"] for seen in upstream.requests] == ["0", "1", "2"]


async def test_client_raises_the_error_event(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        await ask(client, "Hello", model="sim-error-mid")
    assert caught.value.type == "overloaded_error"


async def test_client_lists_models_and_counts_tokens(client: AsyncAnthropic) -> None:
    listed = await client.models.list()
    assert listed.data[0].id == "claude-sim"
    counted = await client.messages.count_tokens(model="claude-sim", messages=[{"role": "user", "content": "Hello"}])
    assert counted.input_tokens > 0
