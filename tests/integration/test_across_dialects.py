"""A completion that a client of one dialect began and lost is read on by a client of another, on another instance."""

from collections.abc import AsyncIterator
from itertools import product
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.support.postgres import Postgres
from tests.support.readers.dialects import read
from tests.support.readers.reading import Reading
from tests.support.responses import Pair, running_pair
from tests.support.sse import last_event_id, whole_frames

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]

QUESTION: Final = "What is the weather in Paris and Rome? Ask both."
SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Final = {"name": "get_weather", "input_schema": SCHEMA}
THINKING: Final = {"thinking": {"type": "adaptive"}}
MESSAGES: Final = [{"role": "user", "content": QUESTION}]


def _function(**fields: Any) -> Json:
    return {"name": "get_weather", "parameters": SCHEMA, **fields}


# Where each dialect's own clients begin, and with what. Chat Completions has no way to ask for thoughts.
BEGUN: Final[dict[str, tuple[str, Json]]] = {
    "plain": ("/v1/completions", {"input": QUESTION, "max_tokens": 500, "tools": [WEATHER], **THINKING}),
    "anthropic_messages": ("/v1/messages", {"messages": MESSAGES, "max_tokens": 500, "tools": [WEATHER], **THINKING}),
    "openai_chat": (
        "/v1/chat/completions",
        {"messages": MESSAGES, "tools": [{"type": "function", "function": _function()}]},
    ),
    "openai_responses": (
        "/v1/responses",
        {"input": QUESTION, "tools": [_function(type="function")], "reasoning": {"summary": "auto"}},
    ),
    "ui_message": (
        "/api/chat",
        {
            "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": QUESTION}]}],
            "tools": [WEATHER],
            **THINKING,
        },
    ),
}
# Behind how many positions the first client leaves: in a thought, a text or a tool's input, or with all but the end.
CASES: Final = [(*pair, 2 + 8 * ((nth + nth // 5) % 5)) for nth, pair in enumerate(product(BEGUN, BEGUN))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with running_pair(postgres, tmp_path_factory.mktemp("dialects"), reasoning_content=True) as running:
        yield running


@pytest.mark.parametrize(("first", "then", "positions"), CASES)
async def test_head_and_tail_are_the_whole_answer(pair: Pair, first: str, then: str, positions: int) -> None:
    async with pair.one.client() as client:
        id, head = await _begin(client, first, pair.model("rate=100"), positions)
    async with pair.other.client() as client:
        reading = read(then, await _read_on(client, then, id, last_event_id(head)), read(first, head))
        stored = await client.get(f"/v1/completions/{id}")
    assert reading.end == "done"
    whole = _answer(stored.json()["content"])
    assert reading.said(server_calls=True) == whole.said(server_calls=True)
    kinds = {part.kind for part in whole.parts}
    assert kinds == {"text", "call"} | ({"thinking"} if first != "openai_chat" else set())
    assert len(whole.calls()) == 2


async def _begin(client: httpx.AsyncClient, dialect: str, model: str, positions: int) -> tuple[str, bytes]:
    """The completion's id, and the whole frames that came before the connection broke, inside the last one."""
    path, fields = BEGUN[dialect]
    chat = {"id": model} if dialect == "ui_message" else {}
    body, received = {"model": model, "stream": True, **chat, **fields}, b""
    async with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for chunk in response.aiter_raw():
            received += chunk
            if received.count(b"\nid: ") + received.startswith(b"id: ") > positions:
                break
    return response.headers["x-completion-id"], b"".join(whole_frames(received[:-1]))


async def _read_on(client: httpx.AsyncClient, dialect: str, id: str, after: int) -> bytes:
    path, params = f"/v1/completions/{id}/stream", {"dialect": dialect}
    if dialect == "openai_responses":
        path, params = f"/v1/responses/resp_{id.replace('-', '')}", {"stream": "true"}
    response = await client.get(path, params=params, headers={"last-event-id": str(after)})
    assert response.status_code == 200, response.text
    return response.content


def _answer(content: list[Json]) -> Reading:
    """What the store has of it."""
    reading = Reading()
    for block in content:
        match block["type"]:
            case "text" | "thinking" as kind:
                reading.say(kind, block[kind])
            case "tool_use":
                reading.call(block["id"], block["name"], block["input"])
    return reading
