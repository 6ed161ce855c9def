"""What is answered in one piece, on every home; and what the buffered ones say to a stream."""

from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.runtimes.homes.targets import ALL, BUFFERED, Home, on
from tests.support.headwater import assert_told

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUICK = "sim-ok?tokens=30&first_ms=0"
HELLO: list[Any] = [{"role": "user", "content": "Hello."}]


@on(ALL)
async def test_whole_completion(home: Home) -> None:
    async with home.client() as client:
        body = {"model": QUICK, "input": "Hello.", "max_tokens": 400, "stream": False}
        response = await client.post("/v1/completions", json=body)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["status"] == "completed"
        stored = (await client.get(f"/v1/completions/{answer['id']}")).json()
        assert stored["content"] == answer["content"]


@on(ALL)
async def test_whole_message_by_the_anthropic_sdk(home: Home) -> None:
    async with AsyncAnthropic(base_url=home.url, api_key=home.key, max_retries=0) as client:
        message = await client.messages.create(model=QUICK, max_tokens=400, messages=HELLO)
    assert message.stop_reason == "end_turn"


@on(ALL)
async def test_whole_chat_by_the_openai_sdk(home: Home) -> None:
    async with AsyncOpenAI(base_url=f"{home.url}/v1", api_key=home.key, max_retries=0) as client:
        chat = await client.chat.completions.create(model=QUICK, messages=HELLO)
    assert chat.choices[0].finish_reason == "stop"
    assert chat.choices[0].message.content


@on(ALL)
async def test_conversations(home: Home) -> None:
    async with home.client() as client:
        made = await client.post("/v1/conversations", json={"title": "Rivers, größer"})
        assert made.status_code == 201, made.text
        path = f"/v1/conversations/{made.json()['id']}"
        assert made.headers["location"].endswith(path)
        assert (await client.patch(path, json={"title": "Lakes"})).json()["title"] == "Lakes"
        body = {
            "model": QUICK,
            "input": "Hello.",
            "max_tokens": 99,
            "stream": False,
            "conversation_id": made.json()["id"],
        }
        answer = await client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        messages = (await client.get(f"{path}/messages", params={"limit": "5"})).json()["data"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert (await client.delete(path)).status_code == 204
        assert_told(await client.get(path), 404, "not_found")


@on(ALL)
async def test_errors_before_an_answer(home: Home) -> None:
    body = {"model": QUICK, "input": "Hello.", "max_tokens": 10, "stream": False}
    async with home.client() as client:
        assert_told(await client.post("/v1/completions", json={**body, "max_tokens": "x"}), 422, "validation_failed")
        stranger = await client.post("/v1/completions", json=body, headers={"authorization": "Bearer hw_none"})
        assert_told(stranger, 401, "invalid_api_key")
        broken = {**body, "model": "sim-cut-first?first_ms=0"}
        assert (await client.post("/v1/completions", json=broken)).status_code == 502
        message = {"model": "sim-429?retry_after=7", "max_tokens": 10, "messages": HELLO}
        limited = await client.post("/v1/messages", json=message)
        assert limited.status_code == 429, limited.text
        assert limited.json()["error"]["type"] == "rate_limit_error"


@on(BUFFERED)
async def test_a_stream_is_refused_with_the_way_out(home: Home) -> None:
    async with home.client() as client:
        message = {"model": QUICK, "max_tokens": 10, "messages": HELLO, "stream": True}
        for path, body in (
            ("/v1/completions", {"model": QUICK, "input": "Hello.", "max_tokens": 9}),
            ("/v1/messages", message),
        ):
            response = await client.post(path, json=body)
            assert_told(response, 400, "streaming_unavailable")
