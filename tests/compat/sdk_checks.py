"""What the official `anthropic` SDK does against Headwater. One code for its versions 0.x and 2.x.

Run by test_anthropic_sdk.py in an environment of each: nothing but the SDK and pytest is imported here, and the
service and its simulated upstream are processes elsewhere.
"""

import asyncio
import itertools
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

URL: Final = os.environ["TEST_URL"]
KEY: Final = os.environ["TEST_KEY"]
UPSTREAM: Final = os.environ["TEST_UPSTREAM"]
DISCONNECT_GRACE: Final = float(os.environ["TEST_DISCONNECT_GRACE"])
# For a machine that has other things to do; what is promised is one second past the grace.
SLACK: Final = 1.5

OLD: Final = int(anthropic.__version__.partition(".")[0]) < 2
VERSIONS: Final = ["2023-06-01", "2026-10-21"]

WEATHER: Final[dict[str, Any]] = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING: Final[dict[str, Any]] = {"type": "enabled", "budget_tokens": 1024}

_numbers = itertools.count(1)


def model(fault: str = "") -> str:
    """A name that nobody else asks for, so that its requests can be found."""
    name = f"{'old' if OLD else 'new'}-{next(_numbers)}"
    return f"sim-{fault}{'&' if '?' in fault else '?'}key={name}" if fault else f"claude-{name}"


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def body(question: str = "Hello.", **fields: Any) -> dict[str, Any]:
    return {"model": model(), "max_tokens": 3000, "messages": [user(question)], **fields}


class Sdk(Protocol):
    """The SDK's client, sync or async, behind one face."""

    def create(self, **fields: Any) -> Any: ...

    def count_tokens(self, **fields: Any) -> int: ...

    def stream(self, **fields: Any) -> tuple[list[str], Any]:
        """By the helper `messages.stream`: the pieces of text, and the final message."""

    def events(self, **fields: Any) -> list[Any]:
        """By `create(stream=True)`."""

    def arrivals(self, **fields: Any) -> list[float]:
        """When each piece of text came."""

    def leave(self, **fields: Any) -> None:
        """Read the first piece of text, then close the stream."""


class SyncSdk:
    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def _client(self) -> Anthropic:
        return Anthropic(**self._options)

    def create(self, **fields: Any) -> Any:
        with self._client() as client:
            return client.messages.create(**fields)

    def count_tokens(self, **fields: Any) -> int:
        with self._client() as client:
            return client.messages.count_tokens(**fields).input_tokens

    def stream(self, **fields: Any) -> tuple[list[str], Any]:
        with self._client() as client, client.messages.stream(**fields) as stream:
            return list(stream.text_stream), stream.get_final_message()

    def events(self, **fields: Any) -> list[Any]:
        with self._client() as client:
            return list(client.messages.create(stream=True, **fields))

    def arrivals(self, **fields: Any) -> list[float]:
        with self._client() as client, client.messages.stream(**fields) as stream:
            return [time.monotonic() for _ in stream.text_stream]

    def leave(self, **fields: Any) -> None:
        with self._client() as client, client.messages.stream(**fields) as stream:
            next(iter(stream.text_stream))


class AsyncSdk:
    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def _client(self) -> AsyncAnthropic:
        return AsyncAnthropic(**self._options)

    def create(self, **fields: Any) -> Any:
        async def run() -> Any:
            async with self._client() as client:
                return await client.messages.create(**fields)

        return asyncio.run(run())

    def count_tokens(self, **fields: Any) -> int:
        async def run() -> int:
            async with self._client() as client:
                return (await client.messages.count_tokens(**fields)).input_tokens

        return asyncio.run(run())

    def stream(self, **fields: Any) -> tuple[list[str], Any]:
        async def run() -> tuple[list[str], Any]:
            async with self._client() as client, client.messages.stream(**fields) as stream:
                return [text async for text in stream.text_stream], await stream.get_final_message()

        return asyncio.run(run())

    def events(self, **fields: Any) -> list[Any]:
        async def run() -> list[Any]:
            async with self._client() as client:
                return [event async for event in await client.messages.create(stream=True, **fields)]

        return asyncio.run(run())

    def arrivals(self, **fields: Any) -> list[float]:
        async def run() -> list[float]:
            async with self._client() as client, client.messages.stream(**fields) as stream:
                return [time.monotonic() async for _ in stream.text_stream]

        return asyncio.run(run())

    def leave(self, **fields: Any) -> None:
        async def run() -> None:
            async with self._client() as client, client.messages.stream(**fields) as stream:
                async for _ in stream.text_stream:
                    break

        asyncio.run(run())


KINDS: Final[dict[str, Callable[[dict[str, Any]], Sdk]]] = {"sync": SyncSdk, "async": AsyncSdk}


def options(**changed: Any) -> dict[str, Any]:
    return {"api_key": KEY, "base_url": URL, "max_retries": 0, **changed}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], Sdk]:
    """Makes a client of either kind."""
    return KINDS[request.param]


@pytest.fixture
def sdk(make: Callable[[dict[str, Any]], Sdk]) -> Sdk:
    return make(options())


def asked(name: str) -> list[dict[str, Any]]:
    """What the upstream was asked with this model."""
    with urllib.request.urlopen(f"{UPSTREAM}/_sim/requests") as answer:  # noqa: S310 - our own
        return [kept for kept in json.load(answer) if (kept["body"] or {}).get("model") == name]


def completion(name: str) -> dict[str, Any]:
    """The completion as it is in the store."""
    request = urllib.request.Request(f"{URL}/v1/completions", headers={"x-api-key": KEY})  # noqa: S310 - our own
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        (found,) = [each for each in json.load(answer)["data"] if each["model"] == name]
        return dict(found)


@contextmanager
def raises(*names: str) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Expects the first of these classes that this version of the SDK has."""
    classes = [getattr(anthropic, name, None) or getattr(anthropic._exceptions, name, None) for name in names]
    expected = next(found for found in classes if found is not None)
    with pytest.raises(expected) as caught:
        yield caught
    assert type(caught.value) is expected


def kind(error: Any) -> Any:
    """The error's type in the API's terms."""
    told = error.body["error"]["type"]
    assert OLD or error.type == told
    return told


# --- Who asks, and in which version


AUTHENTICATION: Final[dict[str, dict[str, Any]]] = {
    "own-way": {},
    "x-api-key": {"api_key": "unused", "default_headers": {"X-Api-Key": KEY, "Authorization": ""}},
    "bearer": {"api_key": "unused", "default_headers": {"Authorization": f"Bearer {KEY}", "X-Api-Key": ""}},
}


@pytest.mark.parametrize("way", AUTHENTICATION)
@pytest.mark.parametrize("version", VERSIONS)
def test_each_way_to_authenticate_in_each_version(
    make: Callable[[dict[str, Any]], Sdk], way: str, version: str
) -> None:
    chosen = AUTHENTICATION[way]
    headers = {**chosen.get("default_headers", {}), "anthropic-version": version}
    wanted = body()
    message = make(options(**{**chosen, "default_headers": headers})).create(**wanted)

    assert message.content[0].type == "text"
    (request,) = asked(wanted["model"])
    assert request["headers"]["anthropic-version"] == version
    assert KEY not in json.dumps(request["headers"])


def test_own_version_goes_upstream(sdk: Sdk) -> None:
    wanted = body()
    sdk.create(**wanted)
    (request,) = asked(wanted["model"])
    assert request["headers"]["anthropic-version"] == (VERSIONS[0] if OLD else VERSIONS[1])


@pytest.mark.parametrize("version", VERSIONS)
def test_temperature_is_for_the_old_version(sdk: Sdk, version: str) -> None:
    chosen: dict[str, Any] = {"extra_body": {"temperature": 0.5}, "extra_headers": {"anthropic-version": version}}
    if version == VERSIONS[0]:
        assert sdk.create(**body(**chosen)).stop_reason == "end_turn"
    else:
        with raises("BadRequestError"):
            sdk.create(**body(**chosen))


# --- Text


@pytest.mark.parametrize("question", ["Hello.", "What is unicode?"])
def test_text(sdk: Sdk, question: str) -> None:
    wanted = body(question)
    whole = sdk.create(**wanted)
    pieces, final = sdk.stream(**wanted)

    assert len(pieces) > 10
    assert "".join(pieces) == whole.content[0].text == final.content[0].text
    assert final.to_dict(exclude_none=True) == whole.to_dict(exclude_none=True)
    assert (final.stop_reason, final.role, final.model) == ("end_turn", "assistant", wanted["model"])
    assert final.usage.output_tokens == len(pieces)
    assert len(asked(wanted["model"])) == 2


def test_text_arrives_as_it_is_made(sdk: Sdk) -> None:
    arrivals = sdk.arrivals(**body(model=model("ok?rate=20&tokens=40")))
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(gaps) > 10
    assert sum(gaps) > 1  # half of what the upstream takes
    assert max(gaps) < sum(gaps) / 2


def test_request_id(sdk: Sdk) -> None:
    assert str(sdk.create(**body())._request_id).startswith("req_")


def test_events(sdk: Sdk) -> None:
    types = [event.type for event in sdk.events(**body())]
    deltas = types.count("content_block_delta")
    assert deltas > 10
    assert [type for type in types if type != "ping"] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_stop_reasons(sdk: Sdk) -> None:
    for stream in (False, True):
        cut = body(max_tokens=3)
        message = sdk.stream(**cut)[1] if stream else sdk.create(**cut)
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)
        stopped = body(stop_sequences=["simulated"])
        message = sdk.stream(**stopped)[1] if stream else sdk.create(**stopped)
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "simulated")


def test_count_tokens(sdk: Sdk) -> None:
    wanted = body("How many tokens are these?")
    del wanted["max_tokens"]
    counted = sdk.count_tokens(**wanted)
    assert counted == sdk.create(**wanted, max_tokens=5).usage.input_tokens > 0


# --- Thinking


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("display", ["summarized", "omitted"])
def test_thinking_goes_back_as_it_came(sdk: Sdk, streamed: bool, display: str) -> None:
    """The upstream refuses a signature that does not fit its thought."""
    thinking = {**THINKING, "display": display}
    first = body("Think of unicode.", thinking=thinking)
    message = sdk.stream(**first)[1] if streamed else sdk.create(**first)
    thought = message.content[0]
    assert thought.type == "thinking"
    assert bool(thought.thinking) is (display == "summarized")
    assert len(thought.signature) > 300

    turns = [*first["messages"], {"role": "assistant", "content": message.content}, user("And then?")]
    assert sdk.create(**{**first, "messages": turns}).content[-1].type == "text"
    forged = [{**block.to_dict(), "signature": "forged"} for block in message.content[:1]]
    turns[1] = {"role": "assistant", "content": [*forged, *message.content[1:]]}
    with raises("BadRequestError") as caught:
        sdk.create(**{**first, "messages": turns})
    assert "signature" in caught.value.message


def test_redacted_thinking_goes_back_as_it_came(sdk: Sdk) -> None:
    first = body(model=model("ok?redacted=1"))
    _, message = sdk.stream(**first)
    assert message.content[0].type == "redacted_thinking"

    turns = [*first["messages"], {"role": "assistant", "content": message.content}, user("And then?")]
    assert sdk.create(**{**first, "messages": turns}).stop_reason == "end_turn"


# --- Tools


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize(
    ("question", "cities"),
    [
        ("Say, what is the weather in Paris?", ["Paris"]),
        ("What is the weather in both Paris and Rome?", ["Paris", "Rome"]),
    ],
)
def test_tools(sdk: Sdk, streamed: bool, thinking: bool, question: str, cities: list[str]) -> None:
    first = body(question, tools=[WEATHER], **({"thinking": THINKING} if thinking else {}))
    message = sdk.stream(**first)[1] if streamed else sdk.create(**first)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["get_weather"] * len(cities)
    assert [call.input for call in calls] == [{"city": city} for city in cities]

    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Rain."} for call in calls]
    turns = [*first["messages"], {"role": "assistant", "content": message.content}, user(results)]
    second = {**first, "messages": turns}
    answer = sdk.stream(**second)[1] if streamed else sdk.create(**second)
    assert answer.stop_reason == "end_turn"
    assert "Rain." in answer.content[-1].text


def test_a_tool_without_input(sdk: Sdk) -> None:
    tool = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
    _, message = sdk.stream(**body("Tell the time.", tools=[tool], tool_choice={"type": "any"}))
    assert message.content[-1].input == {}


# --- Errors


REFUSALS: Final = {
    "400": (["BadRequestError"], 400, "invalid_request_error"),
    "401": (["InternalServerError"], 502, "api_error"),
    "404": (["NotFoundError"], 404, "not_found_error"),
    "413": (["RequestTooLargeError", "APIStatusError"], 413, "request_too_large"),
    "429?retry_after=60": (["RateLimitError"], 429, "rate_limit_error"),
    "500": (["InternalServerError"], 502, "api_error"),
    "504": (["InternalServerError" if OLD else "DeadlineExceededError"], 504, "timeout_error"),
    "529?retry_after=60": (["OverloadedError", "InternalServerError"], 529, "overloaded_error"),
    "error-first": (["OverloadedError", "InternalServerError"], 529, "overloaded_error"),
    "reset": (["InternalServerError"], 502, "api_error"),
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("fault", REFUSALS)
def test_errors_before_the_stream(sdk: Sdk, streamed: bool, fault: str) -> None:
    names, status, type = REFUSALS[fault]
    wanted = body(model=model(fault))
    with raises(*names) as caught:
        sdk.stream(**wanted) if streamed else sdk.create(**wanted)

    error = caught.value
    assert (error.status_code, kind(error)) == (status, type)
    assert error.request_id.startswith("req_")
    assert error.body["request_id"] == error.request_id
    assert error.response.headers.get("retry-after") == ("60" if "retry_after" in fault else None)
    assert len(asked(wanted["model"])) == 1


def test_wrong_key(make: Callable[[dict[str, Any]], Sdk]) -> None:
    with raises("AuthenticationError") as caught:
        make(options(api_key="wrong")).create(**body())
    assert kind(caught.value) == "authentication_error"


def test_not_for_this_key(sdk: Sdk) -> None:
    with raises("PermissionDeniedError") as caught:
        sdk.create(**body(extra_body={"speed": "fast"}))
    assert kind(caught.value) == "permission_error"


def test_wrong_field(sdk: Sdk) -> None:
    with raises("BadRequestError") as caught:
        sdk.create(**body(max_tokens=-1))
    assert kind(caught.value) == "invalid_request_error"


@pytest.mark.parametrize(
    ("fault", "type"),
    [
        ("error-mid", "overloaded_error"),
        ("cut-mid-event", "api_error"),
        ("end-mid", "api_error"),
        ("malformed", "api_error"),
    ],
)
def test_errors_during_the_stream(sdk: Sdk, fault: str, type: str) -> None:
    wanted = body(model=model(fault))
    with pytest.raises(anthropic.APIStatusError) as caught:
        sdk.stream(**wanted)
    assert kind(caught.value) == type

    with pytest.raises(anthropic.APIStatusError) as caught:
        sdk.events(**wanted)
    assert kind(caught.value) == type
    assert len(asked(wanted["model"])) == 2  # one each


def test_errors_instead_of_the_rest(sdk: Sdk) -> None:
    with raises("OverloadedError", "InternalServerError") as caught:
        sdk.create(**body(model=model("error-mid")))
    assert kind(caught.value) == "overloaded_error"


def test_the_sdk_tries_again(make: Callable[[dict[str, Any]], Sdk]) -> None:
    wanted = body(model=model("429?retry_after=0&times=1"))
    message = make(options(max_retries=2)).create(**wanted)
    assert message.stop_reason == "end_turn"
    assert [request["status"] for request in asked(wanted["model"])] == [429, 200]


# --- Leaving


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.05)


def test_leaving_cancels_where_asked_for(sdk: Sdk) -> None:
    wanted = body(model=model("ok?rate=20&tokens=400"), extra_headers={"x-on-disconnect": "cancel"})
    sdk.leave(**wanted)
    left = time.time()

    wait_for(lambda: asked(wanted["model"])[0]["hung_up_at"] is not None, DISCONNECT_GRACE + 10)
    (request,) = asked(wanted["model"])
    assert DISCONNECT_GRACE / 2 < request["hung_up_at"] - left < DISCONNECT_GRACE + 1 + SLACK
    wait_for(lambda: completion(wanted["model"])["status"] == "cancelled", 10)


def test_leaving_changes_nothing_otherwise(sdk: Sdk) -> None:
    wanted = body(model=model("ok?rate=40&tokens=80"))
    sdk.leave(**wanted)

    wait_for(lambda: completion(wanted["model"])["status"] != "streaming", 20)
    (request,) = asked(wanted["model"])
    assert (request["finished"], request["hung_up_at"]) == (True, None)
    found = completion(wanted["model"])
    assert (found["status"], found["usage"]["output_tokens"], found["attempts"]) == ("completed", 80, 1)
