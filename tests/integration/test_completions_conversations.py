"""Turns of a conversation: the history goes upstream as it came, the answer is kept as it came."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import StartApi
from tests.support.headwater import until

BODY: Final[dict[str, Any]] = {"model": "claude-sim", "max_tokens": 3000, "stream": False}
# Ten seconds long, unless somebody ends it.
LONG: Final = BODY | {"model": "sim-ok?rate=20&tokens=200", "input": "Hello."}
WEATHER: Final[dict[str, Any]] = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def client(start_api: StartApi, upstream: SimulatedUpstream) -> httpx.AsyncClient:
    return await (await start_api(upstream_base_url=upstream.url, max_retries=0)).client_with()


class Conversation:
    def __init__(self, client: httpx.AsyncClient, id: str) -> None:
        self.client = client
        self.id = id

    async def say(self, input: Any, **fields: Any) -> dict[str, Any]:
        asked = BODY | {"input": input, "conversation_id": self.id} | fields
        response = await self.client.post("/v1/completions", json=asked)
        assert response.status_code == 200, response.text
        completion: dict[str, Any] = response.json()
        return completion

    async def messages(self) -> list[dict[str, Any]]:
        listed = await self.client.get(f"/v1/conversations/{self.id}/messages")
        found: list[dict[str, Any]] = listed.json()["data"]
        return found

    async def turns(self) -> list[tuple[str, Any]]:
        return [(message["role"], message["content"]) for message in await self.messages()]


async def begin(client: httpx.AsyncClient, **fields: Any) -> Conversation:
    made = await client.post("/v1/conversations", json=fields)
    assert made.status_code == 201, made.text
    return Conversation(client, made.json()["id"])


@asynccontextmanager
async def speaking(conversation: Conversation, upstream: SimulatedUpstream) -> AsyncIterator[str]:
    """While a completion of the conversation runs."""
    client = conversation.client
    async with asyncio.TaskGroup() as group:
        group.create_task(client.post("/v1/completions", json=LONG | {"conversation_id": conversation.id}))
        await until(lambda: upstream.requests and upstream.requests[-1].events_sent)
        (running,) = (await client.get("/v1/completions?status=streaming")).json()["data"]
        try:
            yield running["id"]
        finally:
            await client.post(f"/v1/completions/{running['id']}/cancel")


async def test_turns(client: httpx.AsyncClient, upstream: SimulatedUpstream) -> None:
    conversation = await begin(client, system="Be brief.")
    first = await conversation.say("What is unicode?")
    second = await conversation.say([{"role": "user", "content": [{"type": "text", "text": "And then?"}]}])

    turns = [
        ("user", "What is unicode?"),
        ("assistant", first["content"]),
        ("user", [{"type": "text", "text": "And then?"}]),
        ("assistant", second["content"]),
    ]
    assert await conversation.turns() == turns
    assert [message["position"] for message in await conversation.messages()] == [1, 2, 3, 4]
    assert [m["completion_id"] for m in await conversation.messages()] == [first["id"]] * 2 + [second["id"]] * 2
    asked = upstream.requests[-1].body
    assert asked["messages"] == [{"role": role, "content": content} for role, content in turns[:3]]
    assert asked["system"] == "Be brief."
    assert second["request"]["messages"] == [{"role": "user", "content": turns[2][1]}]  # only what is new
    assert second["conversation_id"] == conversation.id


async def test_a_system_of_its_own_goes_before(client: httpx.AsyncClient, upstream: SimulatedUpstream) -> None:
    conversation = await begin(client, system=[{"type": "text", "text": "Be brief."}])
    await conversation.say("Hello.")
    assert upstream.requests[-1].body["system"] == [{"type": "text", "text": "Be brief."}]
    await conversation.say("Hello.", system="Be long.")
    assert upstream.requests[-1].body["system"] == "Be long."


async def test_appended_messages_are_history(client: httpx.AsyncClient, upstream: SimulatedUpstream) -> None:
    conversation = await begin(client, messages=[{"role": "user", "content": "One."}])
    appended = {"role": "assistant", "content": "Two."}
    await client.post(f"/v1/conversations/{conversation.id}/messages", json=appended)
    await conversation.say("Three.")
    assert [message["content"] for message in upstream.requests[-1].body["messages"]] == ["One.", "Two.", "Three."]


async def test_thoughts_are_replayed_to_the_byte(client: httpx.AsyncClient, upstream: SimulatedUpstream) -> None:
    """The upstream refuses a history whose signatures do not fit."""
    conversation = await begin(client)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    for question in ("What is unicode?", "And \u2028 then?", "And \U0001f642 then?"):
        completion = await conversation.say(question, thinking=thinking, model="sim-ok?redacted=1")
        kinds = [block["type"] for block in completion["content"]]
        assert kinds == ["redacted_thinking", "thinking", "text"]
    assert len(upstream.requests[-1].body["messages"]) == 5


@pytest.mark.parametrize("question", ["What is the weather in Paris?", "Say the weather in both Paris and Rome."])
async def test_a_loop_of_tools(client: httpx.AsyncClient, question: str) -> None:
    conversation = await begin(client)
    fields: dict[str, Any] = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    asked = await conversation.say(question, **fields)
    assert asked["stop_reason"] == "tool_use"
    calls = [block for block in asked["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "Rain."} for call in calls]
    answer = await conversation.say([{"role": "user", "content": results}], **fields)

    assert answer["stop_reason"] == "end_turn"
    assert "Rain." in answer["text"]
    assert [role for role, _ in await conversation.turns()] == ["user", "assistant"] * 2


async def test_one_at_a_time(client: httpx.AsyncClient, upstream: SimulatedUpstream) -> None:
    conversation = await begin(client)
    async with speaking(conversation, upstream):
        for refused in (
            await client.post("/v1/completions", json=BODY | {"input": "Me!", "conversation_id": conversation.id}),
            await client.post(f"/v1/conversations/{conversation.id}/messages", json={"role": "user", "content": "Me!"}),
            await client.delete(f"/v1/conversations/{conversation.id}/messages/last"),
            await client.delete(f"/v1/conversations/{conversation.id}"),
        ):
            assert (refused.status_code, refused.json()["type"]) == (409, "/problems/conversation_busy")
        await (await begin(client)).say("Others may speak.")
    await conversation.say("And now?")
    assert (await client.delete(f"/v1/conversations/{conversation.id}")).status_code == 204


async def test_a_refused_question_is_forgotten(client: httpx.AsyncClient) -> None:
    conversation = await begin(client)
    for model in ("sim-400", "sim-529?retry_after=60", "sim-malformed?after=0"):
        refused = await client.post(
            "/v1/completions", json=BODY | {"input": "Hello.", "conversation_id": conversation.id, "model": model}
        )
        assert refused.status_code >= 400
    assert await conversation.turns() == []
    await conversation.say("Hello.")


async def test_a_broken_answer_leaves_what_can_be_gone_on_with(client: httpx.AsyncClient) -> None:
    """An unfinished block would make the next turn fail upstream."""
    conversation = await begin(client)
    for model, thinking in [("sim-error-mid", None), ("sim-cut-mid-event?after=30", {"type": "adaptive"})]:
        fields = {"model": model, "input": "Hello.", "conversation_id": conversation.id}
        broken = await client.post("/v1/completions", json=BODY | fields | ({"thinking": thinking} if thinking else {}))
        assert broken.status_code in (502, 529)
    assert [role for role, _ in await conversation.turns()] == ["user", "user"]
    assert (await conversation.say("And then?"))["status"] == "completed"


async def test_not_stored_in_a_conversation(client: httpx.AsyncClient) -> None:
    """The conversation keeps its turns; the completion keeps nothing."""
    conversation = await begin(client)
    completion = await conversation.say("Hello.", store=False)
    assert await conversation.turns() == [("user", "Hello."), ("assistant", completion["content"])]
    assert (await client.get(f"/v1/completions/{completion['id']}")).json()["content"] is None
