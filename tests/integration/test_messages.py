"""Anthropic's Messages API as Headwater serves it."""

from itertools import pairwise
from typing import Any, Final

import httpx
import msgspec
import pytest

from local.upstream import RecordedRequest
from tests.conftest import LOGS
from tests.support.headwater import Headwater, frames, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY: Final[dict[str, Any]] = {
    "model": "claude-sim",
    "messages": [{"role": "user", "content": "What is unicode?"}],
    "max_tokens": 2000,
}


@pytest.fixture(autouse=True)
def _show_log(request: pytest.FixtureRequest, headwater: Headwater) -> None:
    request.node.stash[LOGS] = headwater.folder
    headwater.upstream.forget()


def asked(headwater: Headwater) -> RecordedRequest:
    (request,) = headwater.upstream.requests
    return request


async def direct(headwater: Headwater, body: dict[str, Any]) -> httpx.Response:
    """What the upstream itself answers."""
    async with httpx.AsyncClient(base_url=headwater.upstream.url, headers={"x-api-key": "any"}) as upstream:
        return await upstream.post("/v1/messages", json=body)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": "claude-sim-thinking"},
        {"model": "sim-ok?redacted=1&unknown_block=1&unknown_event=1"},
        {"messages": [{"role": "user", "content": "Both tools!"}], "tools": [{"name": "a", "input_schema": {}}] * 2},
        {"stop_sequences": ["river"]},
        {"max_tokens": 1},
    ],
)
async def test_events_are_the_upstreams_to_the_byte(
    headwater: Headwater, client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    body = BODY | changes | {"stream": True}
    ours, theirs = await client.post("/v1/messages", json=body), await direct(headwater, body)

    # The first answer of a process may begin with a sign of life, while the SDK is still being imported.
    lines = [line for line in ours.text.removeprefix(": keepalive\n\n").split("\n") if not line.startswith("id: ")]
    assert "\n".join(lines) == theirs.text
    events = frames(ours.text)
    assert all(event.event == event.data["type"] for event in events)
    assert all(int(one.id or 0) < int(next.id or 0) for one, next in pairwise(events))


@pytest.mark.parametrize("model", ["claude-sim", "claude-sim-thinking", "sim-ok?redacted=1&unknown_block=1"])
async def test_message_is_the_upstreams(headwater: Headwater, client: httpx.AsyncClient, model: str) -> None:
    """Put together from its stream: it is always asked for one."""
    body = BODY | {"model": model}
    ours = await client.post("/v1/messages", json=body)
    assert asked(headwater).body["stream"] is True
    assert ours.json() == (await direct(headwater, body)).json()
    assert ours.headers["content-type"] == "application/json"


async def test_headers(client: httpx.AsyncClient) -> None:
    for stream in (True, False):
        response = await client.post("/v1/messages", json=BODY | {"stream": stream})
        assert response.headers["request-id"].startswith("req_")
        id = response.headers["x-completion-id"]
        assert response.headers["location"] == f"/v1/completions/{id}"
        completion = (await client.get(response.headers["location"])).json()
        assert completion["status"] == "completed"
        if stream:
            assert completion["text"] == text_of(frames(response.text))


@pytest.mark.parametrize("version", [None, "2023-06-01", "2026-10-21", "2030-01-01"])
async def test_version_goes_upstream(headwater: Headwater, client: httpx.AsyncClient, version: str | None) -> None:
    headers = {"anthropic-version": version} if version else {}
    assert (await client.post("/v1/messages", json=BODY, headers=headers)).status_code == 200
    assert asked(headwater).headers["anthropic-version"] == (version or "2023-06-01")


async def test_betas_go_upstream(headwater: Headwater, client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=BODY, headers={"anthropic-beta": "one-2026-01-01,two-2026-01-01"})
    assert asked(headwater).headers["anthropic-beta"] == "one-2026-01-01,two-2026-01-01"
    headwater.upstream.forget()
    await client.post("/v1/messages", json=BODY)
    assert "anthropic-beta" not in asked(headwater).headers


async def test_unknown_fields_go_upstream(headwater: Headwater, client: httpx.AsyncClient) -> None:
    unknown: dict[str, Any] = {"of_the_future": {"a": [1, 2.5, None, "🙂", {}]}, "metadata": {"user_id": "somebody"}}
    assert (await client.post("/v1/messages", json=BODY | unknown)).status_code == 200
    assert asked(headwater).body == BODY | unknown | {"stream": True}


async def test_a_system_message_inside_the_list(headwater: Headwater, client: httpx.AsyncClient) -> None:
    messages = [*BODY["messages"], {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    assert (await client.post("/v1/messages", json=BODY | {"messages": messages})).status_code == 200
    assert asked(headwater).body["messages"] == messages


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_no_thread_is_kept_upstream(
    headwater: Headwater, client: httpx.AsyncClient, path: str, thread: dict[str, str]
) -> None:
    response = await client.post(path, json=BODY | {"thread": thread})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["details"]["error_code"] == "thread_unsupported_request"
    assert headwater.upstream.requests == []


async def test_max_tokens_of_zero_warms_the_cache(headwater: Headwater, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/messages", json=BODY | {"max_tokens": 0})
    assert (response.status_code, response.json()["content"]) == (200, [])
    assert asked(headwater).body["max_tokens"] == 0


async def test_not_stored(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/messages", json=BODY, headers={"x-store": "false"})
    assert response.json()["content"]
    completion = (await client.get(response.headers["location"])).json()
    assert [completion[name] for name in ("store", "content", "request")] == [False, None, None]


async def test_count_tokens(headwater: Headwater, client: httpx.AsyncClient) -> None:
    counts = headwater.counts()
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    response = await client.post("/v1/messages/count_tokens", json=body, headers={"anthropic-version": "2026-10-21"})
    assert (response.status_code, set(response.json())) == (200, {"input_tokens"})
    assert response.headers["request-id"].startswith("req_")
    request = asked(headwater)
    assert (request.path, request.body) == ("/v1/messages/count_tokens", body)
    assert request.headers["anthropic-version"] == "2026-10-21"
    assert headwater.counts() == counts


@pytest.mark.parametrize(
    ("model", "status", "type"),
    [
        ("sim-400", 400, "invalid_request_error"),
        ("sim-401", 502, "api_error"),
        ("sim-404", 404, "not_found_error"),
        ("sim-429?retry_after=60", 429, "rate_limit_error"),
        ("sim-500", 502, "api_error"),
        ("sim-529?retry_after=60", 529, "overloaded_error"),
    ],
)
async def test_count_tokens_refused(client: httpx.AsyncClient, model: str, status: int, type: str) -> None:
    response = await client.post("/v1/messages/count_tokens", json=BODY | {"model": model})
    body = response.json()
    assert (response.status_code, body["error"]["type"]) == (status, type)
    assert body["request_id"] == response.headers["request-id"]
    assert response.headers.get("retry-after") == ("60" if "retry_after" in model else None)


async def test_message_in_one_piece_is_read_as_a_stream_later(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/messages", json=BODY)
    stream = await client.get(f"{response.headers['location']}/stream?dialect=anthropic_messages")
    text = "".join(block["text"] for block in response.json()["content"])
    assert text_of(frames(stream.text)) == text
    assert msgspec.json.decode(stream.text.rsplit("data: ", 1)[1]) == {"type": "message_stop"}
