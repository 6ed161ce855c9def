"""The simulated upstream as a server: its grammar, its keys, what it records, and how it starts and stops."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from local.upstream import SimulatedUpstream
from local.upstream.recorder import KEPT_BODY_BYTES

Json = dict[str, Any]
KEY = {"x-api-key": "any"}


@pytest.fixture
async def upstream() -> AsyncIterator[SimulatedUpstream]:
    async with SimulatedUpstream() as running:
        yield running


@pytest.fixture
async def client(upstream: SimulatedUpstream) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=upstream.url, headers=KEY, timeout=5) as connected:
        yield connected


def asking(model: str = "claude-sim", question: str = "What is a headwater?", **more: Any) -> Json:
    return {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": question}], **more}


def named_events(body: str) -> list[tuple[str, Json]]:
    found = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def hung_up(upstream: SimulatedUpstream) -> bool:
    async with asyncio.timeout(1):
        await upstream.idle()
    return upstream.requests[-1].hung_up_at is not None


# --- The stream ---


async def test_stream_follows_the_grammar(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json=asking(stream=True))
    events = named_events(answer.text)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert all(name == data["type"] for name, data in events)
    names = [name for name, _ in events]
    deltas = names.count("content_block_delta")
    assert deltas > 10
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0][1]["message"]["content"] == []
    assert events[-2][1] == {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": deltas},
    }


async def test_stream_and_message_tell_the_same(client: httpx.AsyncClient) -> None:
    streamed = named_events((await client.post("/v1/messages", json=asking(stream=True))).text)
    message = (await client.post("/v1/messages", json=asking())).json()

    text = "".join(data["delta"]["text"] for name, data in streamed if name == "content_block_delta")
    assert message["content"] == [{"type": "text", "text": text}]
    assert message["id"] == streamed[0][1]["message"]["id"]
    assert message["usage"] == {**streamed[0][1]["message"]["usage"], **streamed[-2][1]["usage"]}


async def test_same_request_gets_the_same_bytes_and_another_gets_others(client: httpx.AsyncClient) -> None:
    first, again, other = [
        (await client.post("/v1/messages", json=asking(question=question, stream=True))).content
        for question in ("One?", "One?", "Two?")
    ]
    assert first == again
    assert first != other


async def test_pace_is_kept(client: httpx.AsyncClient) -> None:
    started = time.monotonic()
    await client.post("/v1/messages", json=asking("sim-ok?tokens=14&rate=100", stream=True))
    # 20 events have 19 gaps of 10 ms between them.
    assert 0.19 <= time.monotonic() - started < 2


async def test_message_takes_as_long_as_its_stream_would(client: httpx.AsyncClient) -> None:
    started = time.monotonic()
    await client.post("/v1/messages", json=asking("sim-ok?tokens=20&rate=100&first_ms=50"))
    assert 0.25 <= time.monotonic() - started < 2


async def test_long_stream_has_exactly_the_deltas_asked_for(client: httpx.AsyncClient) -> None:
    body = asking("sim-ok?tokens=20000&batch=100", stream=True) | {"max_tokens": 20000}
    answer = await client.post("/v1/messages", json=body)
    assert answer.text.count("event: content_block_delta\n") == 20000
    assert named_events(answer.text)[-2][1]["usage"] == {"output_tokens": 20000}


async def test_bytes_inside_text_do_not_break_the_framing(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json=asking(question="Some unicode, please", stream=True))
    texts = [
        data["delta"]["text"]
        for name, data in named_events(answer.content.decode())
        if "delta" in data and name != "message_delta"
    ]
    assert {"\u2028", "\u0301", "🙂", "\u200d"} <= set(texts)
    assert "\n\ndata: seven\n\nevent: eight" in "".join(texts)


# --- Keys, paths and errors ---


@pytest.mark.parametrize("headers", [{"x-api-key": "k"}, {"authorization": "Bearer k"}])
async def test_both_ways_to_send_a_key_work(headers: dict[str, str]) -> None:
    async with SimulatedUpstream(api_key="k") as upstream, httpx.AsyncClient(base_url=upstream.url) as client:
        assert (await client.post("/v1/messages", json=asking(), headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer"}])
async def test_missing_or_wrong_key_is_refused(headers: dict[str, str]) -> None:
    async with SimulatedUpstream(api_key="k") as upstream, httpx.AsyncClient(base_url=upstream.url) as client:
        answer = await client.post("/v1/messages", json=asking(), headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


async def test_every_answer_has_its_own_request_id(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/v1/messages", json=asking(stream=streams)) for streams in (True, False)]
    answers += [await client.get(path) for path in ("/v1/models", "/v1/nothing")]
    ids = {answer.headers["request-id"] for answer in answers}
    assert len(ids) == 4
    assert all(name.startswith("req_") for name in ids)
    assert answers[-1].json()["request_id"] == answers[-1].headers["request-id"]


@pytest.mark.parametrize("model", ["gpt-4", "sim-no-such-fault", "sim-", ""])
async def test_unknown_model_is_not_found(client: httpx.AsyncClient, model: str) -> None:
    answer = await client.post("/v1/messages", json=asking(model, stream=True))
    assert answer.status_code == 404
    assert answer.json()["error"] == {"type": "not_found_error", "message": f"model: {model}"}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/messages", 405)])
async def test_wrong_paths_and_methods_answer_in_the_apis_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["type"] == "error"


async def test_models_are_listed_and_described(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["claude-sim", "claude-sim-thinking"]
    assert (await client.get("/v1/models/claude-sim")).json() == listed["data"][0]
    assert (await client.get("/v1/models/nobody")).status_code == 404


async def test_count_tokens_agrees_with_usage(client: httpx.AsyncClient) -> None:
    body = asking(system="Be brief.")
    usage = (await client.post("/v1/messages", json=body)).json()["usage"]
    del body["max_tokens"]
    counted = (await client.post("/v1/messages/count_tokens", json=body)).json()
    assert counted == {"input_tokens": usage["input_tokens"]}
    assert counted["input_tokens"] > 5


# --- Records ---


async def test_requests_are_recorded(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    before = time.time()
    answer = await client.post("/v1/messages?beta=true", json=asking(stream=True), headers={"Anthropic-Beta": "x"})
    await upstream.idle()
    [seen] = upstream.requests

    assert (seen.method, seen.path, seen.query, seen.status) == ("POST", "/v1/messages", "beta=true", 200)
    assert seen.headers["anthropic-beta"] == "x"
    assert seen.body == asking(stream=True)
    assert seen.request_id == answer.headers["request-id"]
    assert before <= seen.received_at <= time.time()
    assert seen.events_sent == len(named_events(answer.text))
    assert (seen.finished, seen.hung_up_at) == (True, None)


@pytest.mark.parametrize("model", ["claude-sim", "sim-ok?tokens=7&searches=2&service_tier=priority"])
async def test_the_usage_that_was_told_is_recorded(
    upstream: SimulatedUpstream, client: httpx.AsyncClient, model: str
) -> None:
    whole = (await client.post("/v1/messages", json=asking(model))).json()["usage"]
    events = named_events((await client.post("/v1/messages", json=asking(model, stream=True))).text)
    told: Json = {}
    for name, event in events:
        told |= event["message"]["usage"] if name == "message_start" else event.get("usage", {})
    assert told == whole
    assert [seen.usage for seen in upstream.requests] == [told, told]
    if model != "claude-sim":
        assert (told["service_tier"], told["output_tokens"]) == ("priority", 7)
        assert told["server_tool_use"]["web_search_requests"] == 2


async def test_a_refused_request_has_no_usage(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=asking("sim-529"))
    assert [seen.usage for seen in upstream.requests] == [None]


async def test_records_can_be_read_and_forgotten_over_http(
    upstream: SimulatedUpstream, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/messages", json=asking())
    await client.post("/v1/messages", content=b"not json")
    good, bad = (await client.get("/_sim/requests")).json()

    assert (good["status"], good["finished"], good["body"]) == (200, True, asking())
    assert (bad["status"], bad["finished"], bad["body"]) == (400, True, None)
    assert (await client.delete("/_sim/requests")).status_code == 204
    assert upstream.requests == []


async def test_large_bodies_are_counted_and_not_kept(upstream: SimulatedUpstream, client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=asking(question="x" * KEPT_BODY_BYTES))
    [seen] = upstream.requests
    assert seen.status == 200
    assert seen.body is None
    assert seen.body_bytes > KEPT_BODY_BYTES


async def test_only_the_last_records_are_kept() -> None:
    async with (
        SimulatedUpstream(keep_requests=2) as upstream,
        httpx.AsyncClient(base_url=upstream.url, headers=KEY) as client,
    ):
        for number in range(4):
            await client.get(f"/v1/models/claude-{number}")
        assert [seen.path for seen in upstream.requests] == ["/v1/models/claude-2", "/v1/models/claude-3"]


@pytest.mark.parametrize("model", ["sim-ok?tokens=900&rate=50", "sim-silence-mid?after=3", "sim-endless"])
async def test_client_that_leaves_is_noticed(
    upstream: SimulatedUpstream, client: httpx.AsyncClient, model: str
) -> None:
    async with client.stream("POST", "/v1/messages", json=asking(model, stream=True)) as answer:
        await anext(answer.aiter_raw())
        left_at = time.time()

    assert await hung_up(upstream)
    [seen] = upstream.requests
    assert seen.hung_up_at is not None
    assert seen.hung_up_at - left_at < 1
    assert seen.events_sent >= 1
    assert not seen.finished


async def test_client_that_leaves_before_the_first_byte_is_noticed(
    upstream: SimulatedUpstream, client: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/messages", json=asking("sim-slow-first-byte", stream=True), timeout=0.1)
    assert await hung_up(upstream)
    assert upstream.requests[0].status == 0


async def test_stop_does_not_wait_for_streams_and_is_no_hang_up(client: httpx.AsyncClient) -> None:
    upstream = SimulatedUpstream()
    async with AsyncExitStack() as stack:
        await upstream.__aenter__()
        url = f"{upstream.url}/v1/messages"
        await stack.enter_async_context(client.stream("POST", url, json=asking("sim-silence", stream=True)))
        started = time.monotonic()
        await upstream.__aexit__(None, None, None)
        assert time.monotonic() - started < 0.5
        await upstream.idle()
    assert (upstream.requests[0].finished, upstream.requests[0].hung_up_at) == (False, None)


# --- The process ---


async def start(*options: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local.upstream", *options),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_the_process_at_once(signum: signal.Signals) -> None:
    process = await start("--port", "0", HEADWATER_SIM_EVENTS_PER_SECOND="0", HEADWATER_SIM_API_KEY="k")
    url = (await first_line(process)).split()[-1]
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/v1/models")).status_code == 401
        async with client.stream(
            "POST", "/v1/messages", json=asking("sim-silence", stream=True), headers={"x-api-key": "k"}
        ):
            started = time.monotonic()
            process.send_signal(signum)
            _, told = await process.communicate()
    assert process.returncode == 0
    assert told == b""
    assert time.monotonic() - started < 1


async def test_taken_port_is_told_in_one_sentence() -> None:
    async with SimulatedUpstream() as upstream:
        port = upstream.url.rpartition(":")[2]
        process = await start("--port", port)
        _, told = await process.communicate()
    assert process.returncode == 1
    assert told.decode() == f"Error: Cannot listen on 127.0.0.1:{port}: the port is in use.\n"
