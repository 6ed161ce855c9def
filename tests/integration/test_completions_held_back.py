"""Fields that change the price or reach further: for keys that may, and their tokens never in the store."""

from typing import Any, Final

import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import StartApi

TOKEN: Final = "t0ken-of-an-mcp-server"
COMPLETION: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 20, "stream": False}
MESSAGE: Final[dict[str, Any]] = {
    "model": "claude-sim",
    "messages": [{"role": "user", "content": "Hello."}],
    "max_tokens": 20,
}
SERVER: Final = {"type": "url", "name": "files", "url": "https://mcp.example", "authorization_token": TOKEN}
HELD_BACK: Final[dict[str, dict[str, Any]]] = {
    "service_tier": {"service_tier": "priority"},
    "speed": {"speed": "fast"},
    "inference_geo": {"inference_geo": "eu"},
    "container": {"container": "container_1"},
    "mcp_servers": {"mcp_servers": [SERVER]},
    "server_tools": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
}


@pytest.mark.parametrize("name", HELD_BACK)
async def test_only_for_keys_that_may(start_api: StartApi, upstream: SimulatedUpstream, name: str) -> None:
    api = await start_api(upstream_base_url=upstream.url)
    ordinary, allowed = await api.client_with(), await api.client_with(allowed=[name])
    endpoints = {"/v1/completions": COMPLETION, "/v1/messages": MESSAGE, "/v1/messages/count_tokens": MESSAGE}
    for path, body in endpoints.items():
        refused = await ordinary.post(path, json=body | HELD_BACK[name])
        assert refused.status_code == 403
        told = refused.json()
        if path == "/v1/completions":
            assert (told["type"], told["param"]) == ("/problems/not_allowed_for_key", name)
        else:
            assert told["error"]["type"] == "permission_error"
            assert name in told["error"]["message"]
        assert TOKEN not in refused.text
    assert upstream.requests == []
    for path, body in endpoints.items():
        answer = await allowed.post(path, json=body | HELD_BACK[name])
        assert answer.status_code == 200, answer.text
        sent = upstream.requests[-1].body
        assert {field: sent[field] for field in HELD_BACK[name]} == HELD_BACK[name]


async def test_file_ids(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url)
    document = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    message = {"role": "user", "content": [document, {"type": "text", "text": "Hello."}]}
    for field, value in (("input", [message]), ("system", [{"type": "text", "text": "a", "source": {"file_id": "f"}}])):
        refused = await (await api.client_with()).post("/v1/completions", json=COMPLETION | {field: value})
        assert (refused.status_code, refused.json()["param"]) == (403, "file_ids")
        allowed = await api.client_with(allowed=["file_ids"])
        assert (await allowed.post("/v1/completions", json=COMPLETION | {field: value})).status_code == 200


async def test_tokens_of_servers_are_sent_and_not_kept(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url)
    client = await api.client_with(allowed=["mcp_servers"])
    completion = (await client.post("/v1/completions", json=COMPLETION | {"mcp_servers": [SERVER]})).json()
    await client.post("/v1/messages", json=MESSAGE | {"mcp_servers": [SERVER]})

    assert [request.body["mcp_servers"] for request in upstream.requests] == [[SERVER]] * 2
    kept = {name: value for name, value in SERVER.items() if name != "authorization_token"}
    assert completion["request"]["mcp_servers"] == [kept]
    async with api.pool.connection() as conn:
        rows = await (await conn.execute("SELECT c::text FROM completions c")).fetchall()
    assert len(rows) == 2
    assert TOKEN.encode().hex() not in str(rows)


async def test_what_a_conversation_holds_is_checked_when_it_is_sent(
    start_api: StartApi, upstream: SimulatedUpstream
) -> None:
    """Putting it into the history is no way around."""
    api = await start_api(upstream_base_url=upstream.url)
    ordinary, allowed = await api.client_with(), await api.client_with(allowed=["file_ids"])
    document = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    begun = {"messages": [{"role": "user", "content": [document]}]}
    conversation = (await ordinary.post("/v1/conversations", json=begun)).json()["id"]
    asked = COMPLETION | {"conversation_id": conversation}

    refused = await ordinary.post("/v1/completions", json=asked)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/not_allowed_for_key")
    assert upstream.requests == []
    kept = (await ordinary.get(f"/v1/conversations/{conversation}/messages")).json()["data"]
    assert len(kept) == 1
    assert (await allowed.post("/v1/completions", json=asked)).status_code == 200
