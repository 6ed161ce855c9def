"""Chat Completions over a running service: what a client sees, and what the upstream is asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.conftest import LOGS
from tests.support.headwater import Headwater, frames, running
from tests.support.postgres import Postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]

PATH = "/v1/chat/completions"
DONE = "[DONE]"
HELLO = {"role": "user", "content": "Hello."}
FAST = "sim-ok?rate=0&tokens=20&first_ms=0"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
NOTHING = {"type": "function", "function": {"name": "ping_tool", "parameters": {"type": "object"}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def headwater(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Headwater]:
    folder = tmp_path_factory.mktemp("service")
    async with running(postgres, folder, max_retries=0, max_body=300_000) as running_one:
        yield running_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(headwater: Headwater) -> AsyncIterator[httpx.AsyncClient]:
    async with headwater.client() as connected:
        yield connected


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder


async def ask(client: httpx.AsyncClient, *messages: Json, **fields: Any) -> httpx.Response:
    return await client.post(PATH, json={"model": FAST, "messages": list(messages) or [HELLO], **fields})


def chunks(body: str) -> list[Json]:
    """The chunks of a stream that said `[DONE]` and no more."""
    *told, done = [frame.data for frame in frames(body)]
    assert done == DONE
    assert DONE not in told
    return told


def text_of(told: list[Json]) -> str:
    choices = [choice for chunk in told for choice in chunk.get("choices", [])]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def finish_reasons(told: list[Json]) -> list[str]:
    choices = [choice for chunk in told for choice in chunk.get("choices", [])]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def error_of(response: httpx.Response) -> Json:
    """The error of an answer, which must have OpenAI's shape."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    body = response.json()
    assert set(body) == {"error"}
    error: Json = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


async def test_streamed_and_whole_are_one_answer(client: httpx.AsyncClient) -> None:
    model = "claude-sim"
    streamed = await ask(client, model=model, stream=True)
    whole = await ask(client, model=model)
    told, body = chunks(streamed.text), whole.json()

    assert streamed.headers["content-type"] == "text/event-stream"
    assert text_of(told) == body["choices"][0]["message"]["content"]
    assert finish_reasons(told) == ["stop"] == [body["choices"][0]["finish_reason"]]
    assert {chunk["model"] for chunk in told} == {model} == {body["model"]}
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert "usage" not in streamed.text
    for response, id in ((streamed, told[0]["id"]), (whole, body["id"])):
        completion = response.headers["x-completion-id"]
        assert id == f"chatcmpl-{completion.replace('-', '')}"
        assert response.headers["location"] == f"/v1/completions/{completion}"
        assert response.headers["x-request-id"] == response.headers["request-id"]
        assert "x-ignored-params" not in response.headers


async def test_usage_when_asked(client: httpx.AsyncClient) -> None:
    response = await ask(client, stream=True, stream_options={"include_usage": True})
    *told, usage = chunks(response.text)
    assert {chunk["usage"] for chunk in told} == {None}
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 20
    whole = await ask(client)
    assert whole.json()["usage"] == usage["usage"]


async def test_tools_round_trip(client: httpx.AsyncClient, headwater: Headwater) -> None:
    question = {"role": "user", "content": "What is the weather in Paris and in Rome? Ask for both."}
    fields: Json = {"model": "claude-tools", "tools": [WEATHER, NOTHING]}
    first = await ask(client, question, **fields)
    (choice,) = first.json()["choices"]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]

    results = [{"role": "tool", "tool_call_id": call["id"], "content": f"Rain {call['id']}"} for call in calls]
    second = await ask(client, question, choice["message"], *results, **fields)
    assert second.status_code == 200
    assert all(f"Rain {call['id']}" in second.json()["choices"][0]["message"]["content"] for call in calls)
    assert second.json()["choices"][0]["finish_reason"] == "stop"
    sent = headwater.asked("claude-tools")[-1].body["messages"]
    assert [(message["role"], [block["type"] for block in message["content"]]) for message in sent] == [
        ("user", ["text"]),
        ("assistant", ["text", "tool_use", "tool_use"]),
        ("user", ["tool_result", "tool_result"]),
    ]


async def test_one_tool_at_a_time(client: httpx.AsyncClient, headwater: Headwater) -> None:
    question = {"role": "user", "content": "What is the weather in Paris and in Rome? Ask for both."}
    model = "claude-one-at-a-time"
    fields: Json = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    response = await ask(client, question, model=model, **fields)
    assert len(response.json()["choices"][0]["message"]["tool_calls"]) == 1
    assert headwater.asked(model)[0].body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


async def test_images_and_files_reach_the_upstream(client: httpx.AsyncClient, headwater: Headwater) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://r.example/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    response = await ask(client, {"role": "user", "content": content}, model="claude-seeing")
    assert response.status_code == 200
    ((message,),) = [request.body["messages"] for request in headwater.asked("claude-seeing")]
    assert [block.get("source", {}).get("type") for block in message["content"]] == [None, "base64", "url", "base64"]
    assert message["content"][1]["source"]["data"] == PNG


async def test_options_reach_the_upstream(client: httpx.AsyncClient, headwater: Headwater) -> None:
    response = await ask(
        client,
        {"role": "system", "content": "Be brief."},
        HELLO,
        model="claude-options",
        temperature=1.5,
        stop=["river"],
        max_completion_tokens=30,
        reasoning_effort="low",
        seed=1,
        frequency_penalty=0.1,
    )
    assert response.headers["x-ignored-params"] == "frequency_penalty, seed"
    (request,) = headwater.asked("claude-options")
    sent = {name: value for name, value in request.body.items() if name not in ("messages", "stream")}
    assert sent == {
        "model": "claude-options",
        "system": "Be brief.",
        "temperature": 1.0,
        "stop_sequences": ["river"],
        "max_tokens": 30,
        "output_config": {"effort": "low"},
    }
    assert request.headers["anthropic-version"] == "2023-06-01"


async def test_schema(client: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    response = await ask(client, model="claude-sim", response_format=wanted)
    assert set(json.loads(response.json()["choices"][0]["message"]["content"])) == {"name"}


async def test_refusal(client: httpx.AsyncClient) -> None:
    model = "sim-ok?tokens=3&stop_reason=refusal"
    told = chunks((await ask(client, model=model, stream=True)).text)
    (choice,) = (await ask(client, model=model)).json()["choices"]
    assert finish_reasons(told) == ["content_filter"] == [choice["finish_reason"]]
    assert told[-2]["choices"][0]["delta"] == {"refusal": choice["message"]["refusal"]}


async def test_thoughts_are_kept_in(client: httpx.AsyncClient) -> None:
    for stream in (True, False):
        response = await ask(client, model="claude-sim-thinking", stream=stream)
        assert "reasoning_content" not in response.text


async def test_resume_at_every_position(client: httpx.AsyncClient) -> None:
    question = {"role": "user", "content": "What is the weather in Paris and in Rome? Ask for both."}
    begun = await ask(client, question, model="claude-sim", tools=[WEATHER], stream=True)
    url = f"/v1/completions/{begun.headers['x-completion-id']}/stream"
    blocks = begun.text.removesuffix("\n\n").split("\n\n")
    positions = [position for position, block in enumerate(blocks) if block.startswith("id: ")]
    for position in positions[:-1]:
        last = blocks[position].partition("\n")[0].removeprefix("id: ")
        rest = await client.get(url, params={"dialect": "openai_chat"}, headers={"last-event-id": last})
        assert "\n\n".join(blocks[: position + 1]) + "\n\n" + rest.text == begun.text
    last = blocks[-1].partition("\n")[0].removeprefix("id: ")
    done = await client.get(url, params={"dialect": "openai_chat"}, headers={"last-event-id": last})
    assert done.status_code == 204


async def test_text_comes_as_it_is_made(client: httpx.AsyncClient) -> None:
    model = "sim-ok?rate=20&tokens=20&first_ms=0"
    loop, arrivals = asyncio.get_running_loop(), []
    async with client.stream("POST", PATH, json={"model": model, "messages": [HELLO], "stream": True}) as response:
        async for line in response.aiter_lines():
            if '"content":' in line:
                arrivals.append(loop.time())
    assert len(arrivals) == 21
    assert arrivals[-1] - arrivals[0] > 0.5


async def test_a_key_is_needed(headwater: Headwater) -> None:
    for path, method in ((PATH, "POST"), ("/v1/models", "GET")):
        async with headwater.client("hw_unknown") as stranger:
            response = await stranger.request(method, path, json={} if method == "POST" else None)
            assert response.status_code == 401
            assert error_of(response)["code"] == "invalid_api_key"
        async with httpx.AsyncClient(base_url=headwater.service.url) as nobody:
            response = await nobody.request(method, path)
            assert response.status_code == 401
            assert error_of(response)["code"] == "invalid_api_key"


BODIES: dict[str, bytes] = {
    "empty": b"",
    "no json": b"{",
    "list": b"[]",
    "not utf-8": b'{"model": "\xff"}',
    "lone surrogate": rb'{"model": "\ud800", "messages": [{"role": "user", "content": "x"}]}',
    "deep": b'{"messages": ' + b"[" * 100_000,
    "deep and closed": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "nothing": b"{}",
    "no messages": b'{"model": "claude-sim"}',
    "nul in the model": rb'{"model": "a\u0000", "messages": [{"role": "user", "content": "x"}]}',
    "huge number": b'{"model": "claude-sim", "max_tokens": 1e999, "messages": [{"role": "user", "content": "x"}]}',
    "many digits": b'{"model": "claude-sim", "n": '
    + b"9" * 5000
    + b', "messages": [{"role": "user", "content": "x"}]}',
    "null": b'{"model": null, "messages": null}',
    "unknown role": b'{"model": "claude-sim", "messages": [{"role": "x"}]}',
}


@pytest.mark.parametrize("stream", [b"", b'"stream": true, '])
@pytest.mark.parametrize("name", BODIES)
async def test_bad_bodies(client: httpx.AsyncClient, headwater: Headwater, name: str, stream: bytes) -> None:
    before = len(headwater.upstream.requests)
    body = BODIES[name].replace(b"{", b"{" + stream, 1) if len(BODIES[name]) > 2 else BODIES[name]
    response = await client.post(PATH, content=body)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"
    assert len(headwater.upstream.requests) == before


async def test_characters_that_need_care(client: httpx.AsyncClient, headwater: Headwater) -> None:
    """NUL and the like in texts and arguments: kept, sent on and answered."""
    odd = "a\u0000b\u2028c\r\ndata: d\x7f🙂e\u0301"
    assistant = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": json.dumps({"city": odd, "n": 12345678901234567890})},
            }
        ],
    }
    result = {"role": "tool", "tool_call_id": "call_1", "content": odd}
    model = "claude-odd"
    user = {"role": "user", "content": odd}
    response = await ask(client, user, assistant, result, model=model, tools=[WEATHER], stream=True, user=odd)
    assert finish_reasons(chunks(response.text)) == ["stop"]
    (request,) = headwater.asked(model)
    first, second, third = request.body["messages"]
    assert first["content"][0]["text"] == odd
    assert second["content"][0]["input"] == {"city": odd, "n": 12345678901234567890}
    assert third["content"][0]["content"][0]["text"] == odd


async def test_bad_headers(client: httpx.AsyncClient) -> None:
    body = {"model": FAST, "messages": [HELLO]}
    response = await client.post(PATH, json=body, headers={"x-on-disconnect": "perhaps"})
    assert response.status_code == 400
    assert error_of(response)["param"] == "x-on-disconnect"


async def test_too_large(client: httpx.AsyncClient) -> None:
    response = await ask(client, {"role": "user", "content": "x" * 300_000})
    assert response.status_code == 413
    assert error_of(response)["type"] == "invalid_request_error"


async def test_nothing_is_kept_if_so_asked(client: httpx.AsyncClient, headwater: Headwater) -> None:
    body = {"model": FAST, "messages": [HELLO], "stream": True}
    response = await client.post(PATH, json=body, headers={"x-store": "false"})
    query = "SELECT request, content FROM completions WHERE id = %s"
    assert headwater.rows(query, response.headers["x-completion-id"]) == [(None, None)]


OPENAI, ANTHROPIC, PROBLEM = "openai", "anthropic", "problem"
SHAPES: list[tuple[str, str, dict[str, str], int, str]] = [
    ("GET", "/v1/chat/completions", {}, 405, OPENAI),
    ("POST", "/v1/chat", {}, 404, OPENAI),
    ("GET", "/v1/chat/completions/x", {}, 404, OPENAI),
    ("DELETE", "/v1/models", {}, 405, OPENAI),
    ("DELETE", "/v1/models", {"anthropic-version": "2023-06-01"}, 405, ANTHROPIC),
    ("GET", "/v1/models/none", {}, 404, OPENAI),
    ("GET", "/v1/models/none", {"x-api-key": "x"}, 404, ANTHROPIC),
    ("GET", "/v1/messages", {}, 405, ANTHROPIC),
    ("POST", "/v1/messages/none", {}, 404, ANTHROPIC),
    ("GET", "/v1/chatter", {}, 404, PROBLEM),
    ("GET", "/v1/none", {}, 404, PROBLEM),
    ("PUT", "/v1/completions", {}, 405, PROBLEM),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "shape"), SHAPES)
async def test_the_frameworks_own_errors(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int, shape: str
) -> None:
    response = await client.request(method, path, headers=headers)
    assert response.status_code == status
    if status == 405:
        assert response.headers["allow"]
    if shape == OPENAI:
        assert error_of(response)["type"] == "invalid_request_error"
    elif shape == ANTHROPIC:
        assert response.json()["type"] == "error"
        assert response.json()["request_id"] == response.headers["request-id"]
    else:
        assert response.headers["content-type"] == "application/problem+json"
