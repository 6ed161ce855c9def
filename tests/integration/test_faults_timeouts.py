"""The clocks that run while an upstream is waited for: before the answer has begun, and after."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import httpx
import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import Api, StartApi
from tests.support.headwater import Frame, frames, text_of

PLAIN = "/v1/completions"
ANTHROPIC = "/v1/messages"
BOTH = pytest.mark.parametrize("path", [PLAIN, ANTHROPIC])


async def ask(api: Api, path: str, model: str, *, stream: bool = True) -> httpx.Response:
    client = await api.client_with()
    body: dict[str, Any] = {"model": model, "max_tokens": 2000, "stream": stream}
    asked = {"input": "Hello."} if path == PLAIN else {"messages": [{"role": "user", "content": "Hello."}]}
    return await client.post(path, json=body | asked)


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error that was answered instead of a stream."""
    body = response.json()
    if response.headers["content-type"] == "application/problem+json":
        return response.status_code, body["type"].removeprefix("/problems/")
    return response.status_code, body["error"]["details"]["error_code"]


def last_of(response: httpx.Response) -> tuple[str, str, str]:
    """Name, type and code of the event that ended a stream."""
    assert response.status_code == 200, response.text
    last: Frame = frames(response.text)[-1]
    error = last.data["error"]
    return last.event, error["type"], error.get("code") or error["details"]["error_code"]


async def hung_up(upstream: SimulatedUpstream) -> bool:
    """Whether all requests were left by us, once they have ended."""
    async with asyncio.timeout(5):
        await upstream.idle()
    return all(request.hung_up_at is not None for request in upstream.requests)


@BOTH
@pytest.mark.parametrize("stream", [True, False])
async def test_no_first_event_within_the_peek_is_a_504(
    start_api: StartApi, upstream: SimulatedUpstream, path: str, stream: bool
) -> None:
    api = await start_api(upstream_base_url=upstream.url, first_event_timeout=0.3, peek_timeout=20, max_retries=0)
    response = await ask(api, path, "sim-silence", stream=stream)

    assert error_of(response) == (504, "upstream_timeout")
    assert await hung_up(upstream)


@BOTH
async def test_no_first_event_after_the_peek_is_an_error_event(
    start_api: StartApi, upstream: SimulatedUpstream, path: str
) -> None:
    api = await start_api(upstream_base_url=upstream.url, first_event_timeout=0.6, peek_timeout=0.1)
    response = await ask(api, path, "sim-silence")

    assert response.text.startswith(": keepalive\n\n")
    assert last_of(response) == ("error", "timeout_error", "upstream_timeout")
    assert len(upstream.requests) == 1  # too late for another try
    assert await hung_up(upstream)


async def test_a_refusal_after_the_peek_is_an_error_event(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, peek_timeout=0.1)
    response = await ask(api, ANTHROPIC, "sim-slow-first-event?first_ms=500&stop_reason=end_turn")
    assert frames(response.text)[-1].event == "message_stop"

    response = await ask(api, ANTHROPIC, "sim-error-first?first_ms=500")
    assert last_of(response) == ("error", "overloaded_error", "upstream_overloaded")
    assert len(upstream.requests) == 2


async def test_one_piece_waits_past_the_peek(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, first_event_timeout=0.6, peek_timeout=0.1)
    response = await ask(api, ANTHROPIC, "sim-silence", stream=False)

    assert error_of(response) == (504, "upstream_timeout")


async def test_a_silent_stream_has_signs_of_life(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, first_event_timeout=2, peek_timeout=0.1, keepalive=0.2)
    response = await ask(api, PLAIN, "sim-silence")

    assert response.text.count(": keepalive\n\n") >= 3


@BOTH
async def test_silence_between_events_ends_the_stream(
    start_api: StartApi, upstream: SimulatedUpstream, path: str
) -> None:
    api = await start_api(upstream_base_url=upstream.url, idle_timeout=0.5)
    response = await ask(api, path, "sim-silence-mid")

    assert text_of(frames(response.text)[:-1])
    assert last_of(response) == ("error", "timeout_error", "upstream_timeout")
    assert await hung_up(upstream)


async def test_silence_between_events_is_a_504_of_an_answer_in_one_piece(
    start_api: StartApi, upstream: SimulatedUpstream
) -> None:
    api = await start_api(upstream_base_url=upstream.url, idle_timeout=0.5)
    response = await ask(api, PLAIN, "sim-silence-mid", stream=False)

    assert error_of(response) == (504, "upstream_timeout")


async def test_a_slow_stream_is_not_silent(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url, idle_timeout=1)
    response = await ask(api, ANTHROPIC, "sim-ok?rate=20&tokens=30")

    assert frames(response.text)[-1].event == "message_stop"


@BOTH
async def test_the_longest_stream_is_ended(start_api: StartApi, upstream: SimulatedUpstream, path: str) -> None:
    api = await start_api(upstream_base_url=upstream.url, total_timeout=1)
    response = await ask(api, path, "sim-ok?rate=20&tokens=400")

    assert text_of(frames(response.text)[:-1])
    assert last_of(response) == ("error", "timeout_error", "stream_limit")
    assert await hung_up(upstream)


async def test_the_longest_stream_counts_from_before_its_first_event(
    start_api: StartApi, upstream: SimulatedUpstream
) -> None:
    api = await start_api(upstream_base_url=upstream.url, total_timeout=0.5, peek_timeout=20)
    response = await ask(api, ANTHROPIC, "sim-silence")

    assert error_of(response) == (504, "stream_limit")
    assert await hung_up(upstream)


@pytest.fixture
def deaf_address() -> Iterator[str]:
    """A server that accepts nobody: its queue is full."""
    with ExitStack() as stack:
        server = stack.enter_context(closing(socket.socket()))
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@BOTH
async def test_an_upstream_that_does_not_accept_is_a_504(start_api: StartApi, deaf_address: str, path: str) -> None:
    api = await start_api(upstream_base_url=deaf_address, connect_timeout=0.3, max_retries=0, peek_timeout=20)
    assert error_of(await ask(api, path, "claude-sim")) == (504, "upstream_timeout")


@BOTH
async def test_an_upstream_that_is_not_there_is_a_502(start_api: StartApi, path: str) -> None:
    api = await start_api(upstream_base_url="http://127.0.0.1:9", max_retries=0)
    assert error_of(await ask(api, path, "claude-sim")) == (502, "upstream_connection")
