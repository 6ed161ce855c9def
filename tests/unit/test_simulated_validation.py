"""What the simulated upstream refuses, as the real one does."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from local.upstream import SimulatedUpstream

Json = dict[str, Any]
USER: Json = {"role": "user", "content": "Hello"}
CALL: Json = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT: Json = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
GOOD: Json = {"model": "claude-sim", "max_tokens": 2000, "messages": [USER]}
THINKING: Json = {"type": "enabled", "budget_tokens": 1024}
STRICT = "2026-10-21"
LENIENT = "2023-06-01"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        SimulatedUpstream() as upstream,
        httpx.AsyncClient(base_url=upstream.url, headers={"x-api-key": "any"}) as connected,
    ):
        yield connected


async def refusal(client: httpx.AsyncClient, body: object, version: str = STRICT) -> str:
    """Return the message of the 400, or an empty one when there is none."""
    answer = await client.post("/v1/messages", json=body, headers={"anthropic-version": version})
    if answer.status_code == 200:
        return ""
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    return str(answer.json()["error"]["message"])


def saying(*messages: Json, **more: Any) -> Json:
    return {**GOOD, "messages": list(messages), **more}


def turn(role: str, *blocks: Json) -> Json:
    return {"role": role, "content": list(blocks)}


async def test_good_request_passes(client: httpx.AsyncClient) -> None:
    assert await refusal(client, GOOD) == ""
    assert await refusal(client, {**GOOD, "unknown": 1, "system": None, "stop_sequences": None}) == ""


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
async def test_required_keys_are_required(client: httpx.AsyncClient, missing: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != missing}
    assert missing in await refusal(client, body)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"model": 5}, "model"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "messages"),
        ({"tools": [{"input_schema": {}}]}, "tools"),
    ],
)
async def test_wrong_shapes_are_refused_with_their_place(client: httpx.AsyncClient, change: Json, place: str) -> None:
    assert (await refusal(client, {**GOOD, **change})).startswith(f"{place}: ")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"\xff"', b"null"])
async def test_bodies_that_are_no_object_are_refused(client: httpx.AsyncClient, raw: bytes) -> None:
    answer = await client.post("/v1/messages", content=raw)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "history",
    [
        [USER, turn("assistant", CALL)],
        [USER, turn("assistant", CALL), USER],
        [USER, turn("assistant", CALL), turn("user", {**RESULT, "tool_use_id": "toolu_2"})],
        [USER, turn("assistant", CALL, {**CALL, "id": "toolu_2"}), turn("user", RESULT)],
        [USER, turn("assistant", CALL), turn("assistant", {"type": "text", "text": "x"}), turn("user", RESULT)],
    ],
)
async def test_dangling_tool_use_is_refused(client: httpx.AsyncClient, history: list[Json]) -> None:
    assert "`tool_use` ids were found without `tool_result` blocks" in await refusal(client, saying(*history))


async def test_result_without_a_call_is_refused(client: httpx.AsyncClient) -> None:
    assert "unexpected `tool_use_id`" in await refusal(client, saying(USER, turn("user", RESULT)))


async def test_answered_tool_use_passes(client: httpx.AsyncClient) -> None:
    history = [USER, turn("assistant", CALL), turn("user", RESULT)]
    assert await refusal(client, saying(*history)) == ""


async def test_tool_loop_without_its_thought_is_refused(client: httpx.AsyncClient) -> None:
    history = [USER, turn("assistant", CALL), turn("user", RESULT)]
    message = await refusal(client, saying(*history, thinking=THINKING))
    assert message.startswith("messages.1.content.0.type: Expected `thinking`")
    assert await refusal(client, saying(*history, thinking={"type": "adaptive"})) == ""


async def test_forged_thought_is_refused(client: httpx.AsyncClient) -> None:
    for signature in ("", "not base64!", "QUJD", None):
        thought = {"type": "thinking", "thinking": "Hm.", "signature": signature}
        message = await refusal(client, saying(USER, turn("assistant", thought), USER))
        assert message == "messages.1.content.0: Invalid `signature` in `thinking` block"


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
async def test_sampling_parameters_are_gone_from_the_newer_version(client: httpx.AsyncClient, name: str) -> None:
    assert await refusal(client, {**GOOD, name: 1}, STRICT) == f"{name}: Extra inputs are not permitted"
    assert await refusal(client, {**GOOD, name: 1}, LENIENT) == ""


@pytest.mark.parametrize(
    "history",
    [
        [turn("user", {"type": "text", "text": "x", "citations": [{"type": "char_location"}]})],
        [USER, turn("assistant", {"type": "document", "source": {}}), USER],
    ],
)
async def test_misplaced_blocks_are_gone_from_the_newer_version(client: httpx.AsyncClient, history: list[Json]) -> None:
    assert await refusal(client, saying(*history), STRICT) != ""
    assert await refusal(client, saying(*history), LENIENT) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"thinking": {"type": "enabled"}}, "budget_tokens: Field required"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "at least 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater than `thinking.budget_tokens`"),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "Tool 'f' not found"),
        ({"tool_choice": {"type": "any"}, "thinking": THINKING}, "tool_choice forces tool use"),
    ],
)
async def test_options_that_do_not_fit_are_refused(client: httpx.AsyncClient, change: Json, reason: str) -> None:
    assert reason in await refusal(client, {**GOOD, **change})
