"""Some hundred bodies that were right before they were damaged at random: none of them is a failure of ours."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.conftest import LOGS
from tests.support.headwater import Headwater

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODIES: Final = 400
AT_ONCE: Final = 10

TOOL: Final[dict[str, Any]] = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TURNS: Final[list[dict[str, Any]]] = [
    {"role": "user", "content": "What is the weather in Paris?"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain."}]},
]
SHARED: Final[dict[str, Any]] = {
    "model": "claude-sim",
    "max_tokens": 3,
    "stream": False,
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [TOOL],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "disabled"},
    "stop_sequences": ["."],
    "temperature": 0.5,
    "output_config": {"effort": "low"},
    "metadata": {"user_id": "somebody"},
}
NATIVE: Final = SHARED | {"input": TURNS, "store": True, "on_disconnect": "continue", "conversation_id": None}
ANTHROPIC: Final = SHARED | {"messages": TURNS}

STRANGE: Final[list[Any]] = [
    *[None, True, False, 0, -1, 1.5, 10**20, -(10**400), 1e308, "", "a", "\x00", "\u2028", "🙂", "\udcff", "a" * 3000],
    *[[], {}, [[]], [None], {"": None}, {"type": None}, {"type": "text"}, {"a": "\x00"}, {"file_id": "f"}, [[[[5]]]]],
    *["user", "claude-sim", "tool_use", "sim-ok", {"type": "enabled"}, [{"role": "user", "content": ""}]],
]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every part of a document: its container, and its key there."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])


def damaged(whole: dict[str, Any], chance: random.Random) -> bytes:
    body = json.loads(json.dumps(whole))
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        found = list(places(body))
        if not found:
            break
        container, key = chance.choice(found)
        match chance.randrange(4):
            case 0:
                del container[key]
            case 1:
                other, name = chance.choice(found)
                container[key] = json.loads(json.dumps(other.get(name) if isinstance(other, dict) else other[:1]))
            case _:
                container[key] = chance.choice(STRANGE)
    return torn(json.dumps(body, ensure_ascii=chance.random() < 0.9).encode("utf-8", "surrogatepass"), chance)


def torn(body: bytes, chance: random.Random) -> bytes:
    """Some of them with a few bytes changed as well."""
    if chance.random() < 0.7:
        return body
    changed = bytearray(body)
    for _ in range(chance.choice([1, 2, 10])):
        changed[chance.randrange(len(changed))] = chance.choice(b'"{}[],:\\u\x00\xff\xc3 9e-')
    return bytes(changed)


@pytest.mark.parametrize(
    ("path", "whole"),
    [("/v1/completions", NATIVE), ("/v1/messages", ANTHROPIC), ("/v1/messages/count_tokens", ANTHROPIC)],
)
async def test_damaged_bodies(
    request: pytest.FixtureRequest, headwater: Headwater, path: str, whole: dict[str, Any]
) -> None:
    request.node.stash[LOGS] = headwater.folder
    chance = random.Random(f"headwater {path}")
    bodies = [damaged(whole, chance) for _ in range(BODIES)]
    room = asyncio.Semaphore(AT_ONCE)

    async with headwater.client() as client:

        async def play(body: bytes) -> tuple[bytes, httpx.Response]:
            async with room:
                return body, await client.post(path, content=body)

        answers = await asyncio.gather(*map(play, bodies))
        right = await client.post(path, json=whole)

    failures = [
        (response.status_code, body)
        for body, response in answers
        if response.status_code not in (200, 400, 403, 404, 422)
    ]
    assert not failures
    for body, response in answers:
        assert response.headers["request-id"]
        if response.status_code != 200:
            assert response.json()["request_id"] == response.headers["request-id"], body
    statuses = {response.status_code for _, response in answers}
    assert {200, 400} <= statuses
    assert right.status_code == 200, right.text
    assert headwater.rows("SELECT count(*) FROM completions WHERE status = 'streaming'") == [(0,)]
