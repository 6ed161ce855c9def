"""What streams, on the homes that stream."""

import asyncio
from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.runtimes.homes.targets import STREAMING, Home, on
from tests.support.headwater import Frame, frames, text_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), on(STREAMING)]

QUICK = "sim-ok?tokens=30&first_ms=0"
# Two seconds of text: long enough to do something meanwhile.
PACED = "sim-ok?tokens=60&rate=30&first_ms=0"


def _body(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "input": "Tell me about rivers.", "max_tokens": 400, **fields}


async def _stored_text(client: httpx.AsyncClient, id: str) -> str:
    row = (await client.get(f"/v1/completions/{id}")).raise_for_status().json()
    return "".join(block["text"] for block in row["content"])


async def _first_frames(response: httpx.Response, count: int) -> list[Frame]:
    """Of a stream that is left after them."""
    read = ""
    async for text in response.aiter_text():
        read += text
        if read.count("\n\n") > count:
            break
    return frames(read[: read.rindex("\n\n") + 2])


async def test_plain_completion(home: Home) -> None:
    async with home.client() as client:
        response = await client.post("/v1/completions", json=_body(QUICK))
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        events = frames(response.text)
        assert events[-1].data == "[DONE]"
        assert text_of(events) == await _stored_text(client, response.headers["x-completion-id"])


async def test_messages_by_the_anthropic_sdk(home: Home) -> None:
    async with AsyncAnthropic(base_url=home.url, api_key=home.key, max_retries=0) as client:
        messages: list[Any] = [{"role": "user", "content": "Hello."}]
        async with client.messages.stream(model=QUICK, max_tokens=400, messages=messages) as stream:
            texts = [text async for text in stream.text_stream]
            message = await stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert len(texts) > 1
    assert "".join(texts) == "".join(getattr(block, "text", "") for block in message.content)


async def test_chat_completions_by_the_openai_sdk(home: Home) -> None:
    async with AsyncOpenAI(base_url=f"{home.url}/v1", api_key=home.key, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=QUICK, messages=[{"role": "user", "content": "Hello."}], stream=True
        )
        choices = [chunk.choices[0] async for chunk in stream if chunk.choices]
    assert choices[-1].finish_reason == "stop"
    assert sum(bool(choice.delta.content) for choice in choices) > 1


async def test_responses_by_the_openai_sdk(home: Home) -> None:
    async with AsyncOpenAI(base_url=f"{home.url}/v1", api_key=home.key, max_retries=0) as client:
        stream = await client.responses.create(model=QUICK, input="Hello.", stream=True)
        events = [event async for event in stream]
    assert events[-1].type == "response.completed"


async def test_a_response_in_the_background(home: Home) -> None:
    async with AsyncOpenAI(base_url=f"{home.url}/v1", api_key=home.key, max_retries=0) as client:
        response = await client.responses.create(model=QUICK, input="Hello.", background=True)
        async with asyncio.timeout(60):
            while response.status in ("queued", "in_progress"):
                await asyncio.sleep(0.1)
                response = await client.responses.retrieve(response.id)
    assert response.status == "completed"
    assert response.output_text


async def test_read_on_after_a_lost_connection(home: Home) -> None:
    async with home.client() as client:
        async with client.stream("POST", "/v1/completions", json=_body(PACED)) as response:
            first = await _first_frames(response, 5)
            id = response.headers["x-completion-id"]
        last = next(frame.id for frame in reversed(first) if frame.id)
        rest = await client.get(f"/v1/completions/{id}/stream", headers={"last-event-id": last})
        assert rest.status_code == 200, rest.text
        events = frames(rest.text)
        assert events[-1].data == "[DONE]"
        assert text_of(first) + text_of(events) == await _stored_text(client, id)


async def test_cancelled_while_it_runs(home: Home) -> None:
    async with (
        home.client() as client,
        client.stream("POST", "/v1/completions", json=_body("sim-ok?tokens=900&rate=20&first_ms=0")) as response,
    ):
        cancelled = await client.post(f"/v1/completions/{response.headers['x-completion-id']}/cancel")
        assert cancelled.status_code == 200, cancelled.text
        *_, end = frames((await response.aread()).decode())
        assert (end.event, end.data["error"]["code"]) == ("error", "cancelled")


async def test_upstream_that_breaks_within_the_stream(home: Home) -> None:
    async with home.client() as client:
        response = await client.post("/v1/completions", json=_body("sim-cut-mid-event?after=6&first_ms=0"))
        assert response.status_code == 200
        *before, end = frames(response.text)
        assert text_of(before)
        assert (end.event, end.data["error"]["code"]) == ("error", "upstream_connection")


async def test_keepalive_while_nothing_comes(home: Home) -> None:
    async with home.client() as client:
        response = await client.post("/v1/completions", json=_body("sim-ok?tokens=3&first_ms=2500"))
        head, _, _ = response.text.partition("id:")
        assert head.count(": keepalive\n\n") >= 2, response.text
        assert frames(response.text)[-1].data == "[DONE]"
