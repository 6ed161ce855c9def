"""`/api/chat` over a running service: what `useChat` sends, and what it must get."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from local.upstream import SimulatedUpstream
from tests.support.headwater import Headwater
from tests.support.service import Service, StartService, make_key
from tests.support.ui_message import UiMessage, chunks_of, message_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = {"max_retries": 0, "control_tick": 0.3}
_numbers = itertools.count()
OK = "sim-ok?rate=0&tokens=12"
SLOW = "sim-ok?rate=20&tokens=400"


def user(text: str, id: str = "") -> dict[str, Any]:
    return {"id": id or f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}


class Chat:
    """One chat as a page has it, with the bodies that `DefaultChatTransport` makes."""

    def __init__(self, client: httpx.AsyncClient, id: str, model: str = OK, **extras: Any) -> None:
        self.client = client
        self.id = id
        self.extras = {"model": model, **extras}
        self.messages: list[dict[str, Any]] = []

    def body(self, messages: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        return {**self.extras, "id": self.id, "messages": messages, "trigger": "submit-message", **fields}

    async def post(self, messages: list[dict[str, Any]], **fields: Any) -> httpx.Response:
        return await self.client.post("/api/chat", json=self.body(messages, **fields))

    async def send(self, text: str, **fields: Any) -> UiMessage:
        """Say something and take the whole answer."""
        self.messages.append(user(text))
        response = await self.post(self.messages, **fields)
        assert response.status_code == 200, response.text
        answer = message_of(chunks_of(response.content))
        self.messages.append(answer.as_sent())
        return answer

    async def stream(self) -> httpx.Response:
        return await self.client.get(f"/api/chat/{self.id}/stream")

    async def stop(self) -> httpx.Response:
        return await self.client.post(f"/api/chat/{self.id}/stop")

    async def stored(self) -> list[tuple[str, Any]]:
        """Role and content of every stored message."""
        found = await self.client.get("/v1/conversations", params={"external_id": self.id})
        [conversation] = found.json()["data"]
        page = await self.client.get(f"/v1/conversations/{conversation['id']}/messages")
        return [(each["role"], each["content"]) for each in page.json()["data"]]


@pytest.fixture
def service(headwater: Headwater) -> Service:
    return headwater.service


@pytest.fixture
def upstream(headwater: Headwater) -> SimulatedUpstream:
    return headwater.upstream


@pytest_asyncio.fixture(loop_scope="module")
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A tenant of the test's own."""
    async with service.client(service.admin_key) as admin:
        key = await make_key(admin, tenant=f"chats-{next(_numbers)}")
    async with service.client(key) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def chat(client: httpx.AsyncClient) -> Chat:
    return Chat(client, "chat-1")


def last_asked(upstream: SimulatedUpstream) -> dict[str, Any]:
    body: dict[str, Any] | None = upstream.requests[-1].body
    assert body is not None
    return body


async def first_text(response: httpx.Response) -> bytes:
    """Read until some text has come; what was read."""
    read = b""
    async for piece in response.aiter_bytes():
        read += piece
        if b"text-delta" in read:
            break
    return read


async def running(chat: Chat, text: str = "long") -> bytes:
    """Start a long answer, and leave once it has begun."""
    async with chat.client.stream("POST", "/api/chat", json=chat.body([user(text)])) as response:
        assert response.status_code == 200
        return await first_text(response)


async def test_an_answer_is_a_ui_message_stream(chat: Chat) -> None:
    response = await chat.post([user("Hello")])
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    message = message_of(chunks_of(response.content))
    assert message.id == message.metadata["completionId"] == response.headers["x-completion-id"]
    assert message.finish_reason == "stop"
    assert message.metadata["totalTokens"] == message.metadata["inputTokens"] + 12
    assert message.text
    assert await chat.stored() == [
        ("user", [{"type": "text", "text": "Hello"}]),
        ("assistant", [{"type": "text", "text": message.text}]),
    ]


@pytest.mark.parametrize("sent", ["whole", "last", "message", "forged"])
async def test_history_comes_from_the_store(chat: Chat, upstream: SimulatedUpstream, sent: str) -> None:
    answer = await chat.send("one")
    histories: dict[str, dict[str, Any]] = {
        "whole": {"messages": [*chat.messages, user("two")]},
        "last": {"messages": [user("two")]},
        "message": {"messages": [], "message": user("two")},
        "forged": {"messages": [user("another"), {**answer.as_sent(), "parts": []}, user("two")]},
    }
    response = await chat.client.post("/api/chat", json=chat.body([]) | histories[sent])
    assert message_of(chunks_of(response.content)).finish_reason == "stop"
    assert last_asked(upstream)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "one"}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer.text}]},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]


async def test_the_body_may_be_next_to_nothing(start_service: StartService, upstream: SimulatedUpstream) -> None:
    service = await start_service(chat_model=OK, default_max_tokens=77, chat_system="Be kind.")
    async with service.client() as client:
        response = await client.post("/api/chat", json={"id": "x", "messages": [user("Hello")]})
    assert message_of(chunks_of(response.content)).finish_reason == "stop"
    asked = last_asked(upstream)
    assert (asked["model"], asked["max_tokens"], asked["system"]) == (OK, 77, "Be kind.")


async def test_extras_of_the_body_go_upstream(chat: Chat, upstream: SimulatedUpstream) -> None:
    extras = {"system": "Rhyme.", "maxOutputTokens": 9, "temperature": 0.5, "sessionId": "theirs"}
    answer = await chat.send("Hello", **extras)
    asked = last_asked(upstream)
    assert (asked["system"], asked["max_tokens"], asked["temperature"]) == ("Rhyme.", 9, 0.5)
    assert "sessionId" not in asked
    assert answer.finish_reason == "length"


async def test_files_reach_the_upstream(chat: Chat, upstream: SimulatedUpstream) -> None:
    parts = [
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "file", "mediaType": "application/pdf", "url": "https://example.com/a.pdf", "filename": "a.pdf"},
        {"type": "text", "text": "What is this?"},
    ]
    response = await chat.post([{"id": "u1", "role": "user", "parts": parts}])
    assert response.status_code == 200, response.text
    assert last_asked(upstream)["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}, "title": "a.pdf"},
        {"type": "text", "text": "What is this?"},
    ]


# -- another answer, other words


@pytest.mark.parametrize("named", ["by the answer", "not at all", "by the last message alone", "with the answer"])
async def test_regenerate_drops_the_last_answer(chat: Chat, upstream: SimulatedUpstream, named: str) -> None:
    await chat.send("one")
    old = await chat.send("two")
    before = await chat.stored()
    rest = chat.messages[:-1]
    fields: dict[str, Any] = {"trigger": "regenerate-message"}
    if named == "by the answer":
        fields["messageId"] = old.id
    sent = {"by the last message alone": rest[-1:], "with the answer": chat.messages}.get(named, rest)
    response = await chat.post(sent, **fields)
    new = message_of(chunks_of(response.content))
    assert new.id != old.id
    assert [message["role"] for message in last_asked(upstream)["messages"]] == ["user", "assistant", "user"]
    assert await chat.stored() == [*before[:-1], ("assistant", [{"type": "text", "text": new.text}])]


async def test_regenerate_of_an_earlier_answer_drops_what_followed(chat: Chat) -> None:
    first = await chat.send("one")
    await chat.send("two")
    response = await chat.post(chat.messages[:1], trigger="regenerate-message", messageId=first.id)
    new = message_of(chunks_of(response.content))
    assert [role for role, _ in await chat.stored()] == ["user", "assistant"]
    assert (await chat.stored())[1][1] == [{"type": "text", "text": new.text}]


async def test_an_edited_question_takes_the_place_of_the_old_one(chat: Chat) -> None:
    await chat.send("one")
    await chat.send("two")
    response = await chat.post([*chat.messages[:2], user("three", "u-two")], messageId="u-two")
    assert response.status_code == 200
    questions = [content[0]["text"] for role, content in await chat.stored() if role == "user"]
    assert questions == ["one", "three"]


@pytest.mark.parametrize("model", ["sim-529", "sim-reset", "sim-error-first"])
@pytest.mark.parametrize("what", ["another answer", "an earlier answer", "an edited question"])
async def test_what_would_be_replaced_stays_until_the_new_answer_has_begun(chat: Chat, model: str, what: str) -> None:
    first = await chat.send("one")
    await chat.send("two")
    before = await chat.stored()
    match what:
        case "another answer":
            failed = await chat.post(chat.messages[:-1], trigger="regenerate-message", model=model)
        case "an earlier answer":
            failed = await chat.post(chat.messages[:1], trigger="regenerate-message", messageId=first.id, model=model)
        case _:
            edited = [*chat.messages[:2], user("three", "u-two")]
            failed = await chat.post(edited, messageId="u-two", model=model)
    assert failed.status_code >= 500
    assert await chat.stored() == before


async def test_what_was_replaced_stays_away_once_the_new_answer_has_begun(chat: Chat) -> None:
    await chat.send("one")
    broken = await chat.post(chat.messages[:1], trigger="regenerate-message", model="sim-error-mid?after=6")
    assert message_of(chunks_of(broken.content)).error
    assert [role for role, _ in await chat.stored()] == ["user"]


async def test_a_refused_regenerate_loses_nothing(chat: Chat) -> None:
    await chat.send("one")
    before = await chat.stored()
    refused = await chat.post(
        chat.messages[:1], trigger="regenerate-message", mcp_servers=[{"url": "https://example.com"}]
    )
    assert refused.status_code == 403
    assert await chat.stored() == before


async def test_a_question_that_was_refused_upstream_is_asked_again_by_regenerate(chat: Chat) -> None:
    await chat.send("one")
    refused = await chat.post([*chat.messages, user("two")], model="sim-400")
    assert refused.status_code == 400
    response = await chat.post([*chat.messages, user("two")], trigger="regenerate-message")
    assert response.status_code == 200
    questions = [content[0]["text"] for role, content in await chat.stored() if role == "user"]
    assert questions == ["one", "two"]


async def test_a_refused_first_message_leaves_no_chat(chat: Chat) -> None:
    refused = await chat.post([user("x")], service_tier="priority")
    assert refused.status_code == 403
    assert (await chat.client.get("/v1/conversations")).json()["data"] == []


async def test_regenerate_knows_what_another_api_stored(chat: Chat) -> None:
    """A page that shows messages of the native API has their own ids, or ids of its own making."""
    turns = [("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")]
    conversation = {
        "external_id": chat.id,
        "messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns],
    }
    made = (await chat.client.post("/v1/conversations", json=conversation)).json()["id"]
    rows = (await chat.client.get(f"/v1/conversations/{made}/messages")).json()["data"]
    response = await chat.post([user("two", "x")], trigger="regenerate-message", messageId="unknown")
    assert response.status_code == 200
    assert [role for role, _ in await chat.stored()] == ["user", "assistant"] * 2
    response = await chat.post([user("one", "y")], trigger="regenerate-message", messageId=rows[1]["id"])
    assert response.status_code == 200
    assert (await chat.stored())[0][1][0]["text"] == "one"
    assert [role for role, _ in await chat.stored()] == ["user", "assistant"]


async def test_native_and_chat_requests_meet_without_a_deadlock(start_service: StartService) -> None:
    service = await start_service(lease=1)  # short, so that requests renew it
    async with service.client() as client:
        made = (await client.post("/v1/conversations", json={"external_id": "c"})).json()["id"]
        chat = Chat(client, "c", "sim-ok?rate=0&tokens=2")
        native = {"model": OK, "input": "x", "max_tokens": 5, "conversation_id": made}
        for pause in (0.0, 0.7, 0.0, 0.7):
            requests = [chat.post([user(f"m{n}")]) for n in range(6)]
            requests += [client.post("/v1/completions", json=native) for _ in range(6)]
            statuses = {response.status_code for response in await asyncio.gather(*requests)}
            assert statuses == {200, 409}
            await asyncio.sleep(pause)


# -- resume and stop


async def test_resume_replays_from_the_start(client: httpx.AsyncClient) -> None:
    chat = Chat(client, "a/b ?#ü", "sim-ok?rate=40&tokens=40")
    begun = await running(chat)
    path = "/api/chat/a%2Fb%20%3F%23%C3%BC/stream"
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    replayed = chunks_of(response.content)
    assert replayed[: len(chunks_of(begun))] == chunks_of(begun)
    message = message_of(replayed)
    assert message.finish_reason == "stop"
    assert (await chat.stored())[-1] == ("assistant", [{"type": "text", "text": message.text}])
    assert (await client.get(path)).status_code == 204


async def test_nothing_to_resume(chat: Chat) -> None:
    assert (await chat.stream()).status_code == 204  # unknown
    await chat.send("one")
    assert (await chat.stream()).status_code == 204  # finished
    cut = await chat.post([user("two")], model="sim-error-mid?after=6&rate=0")
    assert cut.status_code == 200
    assert (await chat.stream()).status_code == 204  # failed


async def test_stop_ends_it_for_all_readers(client: httpx.AsyncClient) -> None:
    chat = Chat(client, "c", SLOW)
    await running(chat)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(chat.stream())
        await asyncio.sleep(0.2)
        assert (await chat.stop()).status_code == 204
        assert (await chat.stream()).status_code == 204
    chunks = chunks_of(reader.result().content)
    assert chunks[-1]["type"] == "abort"
    message = message_of(chunks)
    assert message.aborted
    assert message.text
    assert message.finish_reason is None
    assert (await chat.stop()).status_code == 204
    chat.extras["model"] = OK
    assert (await chat.send("go on")).finish_reason == "stop"


async def test_stop_and_resume_from_another_instance(start_service: StartService) -> None:
    one, other = await start_service(), await start_service()
    async with one.client() as here, other.client(one.key) as there:
        chat = Chat(here, "c", SLOW)
        await running(chat)
        elsewhere = Chat(there, "c", SLOW)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(elsewhere.stream())
            await asyncio.sleep(0.5)
            assert (await elsewhere.post([user("more")])).status_code == 409
            started = asyncio.get_running_loop().time()
            assert (await elsewhere.stop()).status_code == 204
            assert asyncio.get_running_loop().time() - started < 3
            assert (await elsewhere.stream()).status_code == 204
            assert (await chat.stream()).status_code == 204
        assert message_of(chunks_of(reader.result().content)).aborted


async def test_a_lost_instance_leaves_nothing_to_resume(start_service: StartService) -> None:
    one = await start_service(lease=2)
    other = await start_service(lease=2)
    async with one.client() as here, other.client(one.key) as there:
        await running(Chat(here, "c", SLOW))
        elsewhere = Chat(there, "c", SLOW)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(elsewhere.stream())
            await asyncio.sleep(0.5)
            one.kill()
        message = message_of(chunks_of(reader.result().content))
        assert message.finish_reason == "interrupted"
        assert message.text
        assert (await elsewhere.stream()).status_code == 204
        elsewhere.extras["model"] = OK
        assert (await elsewhere.send("go on")).finish_reason == "stop"


async def test_a_busy_chat_refuses(client: httpx.AsyncClient) -> None:
    chat = Chat(client, "c", SLOW)
    await running(chat)
    for fields in ({}, {"trigger": "regenerate-message"}):
        refused = await chat.post([user("more")], **fields)
        assert refused.status_code == 409
        assert refused.headers["content-type"].startswith("text/plain")
        assert refused.text == "This conversation has a running completion."
    continued = {"id": "a", "role": "assistant", "parts": []}
    assert (await chat.post([user("more"), continued])).status_code == 409
    assert [role for role, _ in await chat.stored()] == ["user"]
    await chat.stop()


async def test_a_chat_is_made_once(client: httpx.AsyncClient) -> None:
    chat = Chat(client, "c", "sim-ok?rate=20&tokens=40")
    responses = await asyncio.gather(*[chat.post([user(f"hello {n}")]) for n in range(8)])
    statuses = sorted(response.status_code for response in responses)
    assert statuses.count(200) >= 1
    assert set(statuses) == {200, 409}
    assert len((await client.get("/v1/conversations")).json()["data"]) == 1
    roles = [role for role, _ in await chat.stored()]
    assert roles == ["user", "assistant"] * statuses.count(200)


# -- tools and thoughts

WEATHER = {
    "name": "get_weather",
    "description": "The weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def with_outputs(message: UiMessage, **state: Any) -> dict[str, Any]:
    """The message as a page sends it once its tools have run."""
    sent = message.as_sent()
    parts = [part | state if part["type"] == "dynamic-tool" else part for part in sent["parts"]]
    return {**sent, "parts": parts}


@pytest.mark.parametrize(
    ("state", "result"),
    [
        ({"state": "output-available", "output": "sunny"}, {"content": "sunny"}),
        ({"state": "output-available", "output": {"c": 21}}, {"content": '{"c":21}'}),
        ({"state": "output-error", "errorText": "no network"}, {"content": "no network", "is_error": True}),
    ],
)
async def test_client_tools_round_trip(
    client: httpx.AsyncClient, upstream: SimulatedUpstream, state: dict[str, Any], result: dict[str, Any]
) -> None:
    chat = Chat(client, "c", "claude-sim-thinking", tools=[WEATHER], thinking={"type": "adaptive"})
    calling = await chat.send("What is the weather in Paris?")
    assert calling.finish_reason == "tool-calls"
    [tool] = calling.tools
    assert tool["input"] == {"city": "Paris"}
    assert tool["state"] == "input-available"

    answered = with_outputs(calling, **state)
    response = await chat.post([chat.messages[0], answered], messageId=calling.id)
    assert response.status_code == 200, response.text
    answer = message_of(chunks_of(response.content))
    assert answer.id == calling.id  # the page goes on in the same message
    assert answer.finish_reason == "stop"
    asked = last_asked(upstream)["messages"]
    assert asked[-1] == {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": tool["toolCallId"], **result}],
    }
    # The thought goes back with its signature, from the store: the simulator refuses any other.
    thought = asked[-2]["content"][0]
    assert thought["type"] == "thinking"
    assert thought["signature"] == calling.reasoning[0]["providerMetadata"]["anthropic"]["signature"]


async def test_a_replay_of_a_continued_message_has_its_earlier_steps(client: httpx.AsyncClient) -> None:
    chat = Chat(client, "c", "claude-sim", tools=[WEATHER])
    calling = await chat.send("What is the weather in Paris?")
    answered = with_outputs(calling, state="output-available", output="sunny")
    body = chat.body([chat.messages[0], answered], messageId=calling.id, model="sim-ok?rate=20&tokens=30")
    async with client.stream("POST", "/api/chat", json=body) as response:
        await first_text(response)
    whole = message_of(chunks_of((await chat.stream()).content))
    assert whole.id == calling.id
    assert whole.metadata["completionId"] == response.headers["x-completion-id"]
    [tool] = whole.tools
    assert (tool["state"], tool["output"]) == ("output-available", "sunny")
    assert whole.finish_reason == "stop"
    assert whole.steps == 2


async def test_a_tool_call_that_was_passed_over_gets_an_error(chat: Chat, upstream: SimulatedUpstream) -> None:
    chat.extras |= {"model": "claude-sim", "tools": [WEATHER]}
    calling = await chat.send("What is the weather in Paris?")
    await chat.send("Never mind.")
    content = last_asked(upstream)["messages"][-1]["content"]
    assert content == [
        {
            "type": "tool_result",
            "tool_use_id": calling.tools[0]["toolCallId"],
            "content": "The tool was not run.",
            "is_error": True,
        },
        {"type": "text", "text": "Never mind."},
    ]


async def test_there_must_be_something_to_answer(chat: Chat) -> None:
    nothing = await chat.post([])
    assert (nothing.status_code, nothing.text) == (400, "There is nothing to answer in this chat.")
    answer = await chat.send("one")
    nothing = await chat.post([user("one"), answer.as_sent()])
    assert (nothing.status_code, nothing.text) == (400, "There is nothing to answer in this chat.")


async def test_thoughts_round_trip(chat: Chat, upstream: SimulatedUpstream) -> None:
    chat.extras["model"] = "claude-sim-thinking"
    first = await chat.send("one", thinking={"type": "adaptive"})
    assert first.reasoning[0]["text"]
    assert first.reasoning[0]["providerMetadata"]["anthropic"]["signature"]
    second = await chat.send("two", thinking={"type": "adaptive"})
    assert second.finish_reason == "stop"
    assert last_asked(upstream)["messages"][1]["content"][0]["type"] == "thinking"


# -- bad input


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"id": ""}',
        b'{"id": "a\\u0000"}',
        b'{"id": "c", "messages": [{"role": "robot", "parts": []}]}',
        b'{"id": "c", "messages": [{"role": "user", "parts": []}]}',
        b'{"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": 7}]}]}',
        b'{"id": "c", "messages": [{"role": "user", "parts": [{"type": "file", "url": "http://x/y.png"}]}]}',
        b'{"id": "c", "trigger": "dance", "messages": []}',
        b'{"id": "c", "max_tokens": "many", "messages": []}',
    ],
)
async def test_what_cannot_be_read_is_refused_in_plain_text(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/api/chat", content=body)
    assert response.status_code in (400, 422)
    assert response.headers["content-type"].startswith("text/plain")
    assert (await client.get("/v1/conversations")).json()["data"] == []


# -- who may


async def test_tenants_have_chats_of_their_own(service: Service, client: httpx.AsyncClient) -> None:
    async with service.client(service.admin_key) as admin:
        foreign = await make_key(admin, tenant="other")
    await running(Chat(client, "c", "sim-ok?rate=20&tokens=40"))
    async with service.client(foreign) as other:
        theirs = Chat(other, "c")
        assert (await theirs.stream()).status_code == 204  # as for any chat that they have not got
        assert (await theirs.stop()).status_code == 204
        assert (await Chat(client, "c").stream()).is_success  # it stops in its own time
        await theirs.send("Hello")
        assert len(await theirs.stored()) == 2


async def test_a_page_needs_no_key(service: Service, client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/conversations", json={"external_id": "c"})).json()["id"]
    await client.post("/v1/conversations", json={"external_id": "d"})
    token = (await client.post("/v1/tokens", json={"conversation_id": made})).json()["token"]
    async with service.client(token) as page:
        chat = Chat(page, "c", SLOW)
        await running(chat)
        assert (await chat.stop()).status_code == 204
        assert (await chat.stream()).status_code == 204
        chat.extras["model"] = OK
        message = await chat.send("go on")
        assert message.finish_reason == "stop"
        for foreign in ("d", "unknown"):
            elsewhere = Chat(page, foreign)
            for response in (await elsewhere.post([user("x")]), await elsewhere.stream(), await elsewhere.stop()):
                assert (response.status_code, response.text[:14]) == (404, "There is no su")


@pytest.mark.parametrize("scope", ["completions", "conversations"])
async def test_both_scopes_are_needed(service: Service, scope: str) -> None:
    async with service.client(service.admin_key) as admin:
        key = await make_key(admin, scope)
    async with service.client(key) as client:
        chat = Chat(client, "c")
        for response in (await chat.post([user("x")]), await chat.stream(), await chat.stop()):
            assert response.status_code == 403
            assert response.text.startswith("This key lacks the scope")


async def test_nobody_without_a_key(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url) as nobody:
        response = await nobody.get("/api/chat/c/stream")
    assert response.status_code == 401
    assert response.headers["content-type"].startswith("text/plain")


async def test_the_native_api_speaks_the_dialect(chat: Chat) -> None:
    response = await chat.post([user("Hello")])
    id = response.headers["x-completion-id"]
    native = await chat.client.get(f"/v1/completions/{id}/stream", params={"dialect": "ui_message"})
    assert chunks_of(native.content) == chunks_of(response.content)
    seqs = [int(line[4:]) for line in native.text.splitlines() if line.startswith("id: ")]
    rest = await chat.client.get(
        f"/v1/completions/{id}/stream", params={"dialect": "ui_message", "after": str(seqs[3])}
    )
    assert native.content.endswith(rest.content)
    assert json.loads(native.text.split("data: ")[1].split("\n")[0])["type"] == "start"
