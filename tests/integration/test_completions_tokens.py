"""Browser tokens: a page streams one completion, or talks in one conversation, without holding a key."""

import asyncio
from typing import Any, Final

import httpx
import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import Api, StartApi
from tests.support.headwater import frames

BODY: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 20}


@pytest.fixture
async def api(start_api: StartApi, upstream: SimulatedUpstream) -> Api:
    return await start_api(upstream_base_url=upstream.url)


async def complete(client: httpx.AsyncClient, **fields: Any) -> str:
    response = await client.post("/v1/completions", json=BODY | fields)
    assert response.status_code == 200, response.text
    return response.headers["x-completion-id"]


async def token_for(client: httpx.AsyncClient, **bounds: Any) -> str:
    response = await client.post("/v1/tokens", json=bounds)
    assert response.status_code == 201, response.text
    token: str = response.json()["token"]
    return token


async def test_an_event_source(api: Api) -> None:
    """It can set no header but `Last-Event-ID`, and comes back until it hears 204."""
    client, page = await api.client_with(), await api.client()
    id = await complete(client)
    address = f"/v1/completions/{id}/stream?token={await token_for(client, completion_id=id)}"

    first = await page.get(address, headers={"accept": "text/event-stream"})
    events = frames(first.text)
    assert first.headers["content-type"] == "text/event-stream"
    assert events[-1].data == "[DONE]"
    again = await page.get(address, headers={"last-event-id": events[3].id or ""})
    assert frames(again.text) == events[4:]
    assert (await page.get(address, headers={"last-event-id": events[-1].id or ""})).status_code == 204


async def test_a_token_of_a_completion_is_for_nothing_else(api: Api) -> None:
    client, page = await api.client_with(), await api.client()
    mine, other = await complete(client), await complete(client)
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    token = {"token": await token_for(client, completion_id=mine)}

    assert (await page.get(f"/v1/completions/{mine}", params=token)).status_code == 200
    assert (await page.post(f"/v1/completions/{mine}/cancel", params=token)).status_code == 200
    for method, path, status in [
        ("GET", f"/v1/completions/{other}", 404),
        ("GET", f"/v1/completions/{other}/stream", 404),
        ("POST", f"/v1/completions/{other}/cancel", 404),
        ("DELETE", f"/v1/completions/{mine}", 403),
        ("GET", "/v1/completions", 403),
        ("POST", "/v1/completions", 404),
        ("POST", "/v1/messages", 403),
        ("POST", "/v1/tokens", 403),
        ("GET", "/v1/keys", 403),
        ("GET", "/v1/conversations", 403),
        ("GET", f"/v1/conversations/{conversation}", 403),
    ]:
        response = await page.request(method, path, params=token, json=BODY)
        assert response.status_code == status, (method, path, response.text)


async def test_a_token_of_a_conversation(api: Api) -> None:
    client, page = await api.client_with(), await api.client()
    mine, other = [(await client.post("/v1/conversations", json={})).json()["id"] for _ in range(2)]
    elsewhere = await complete(client, conversation_id=other)
    token = {"token": await token_for(client, conversation_id=mine)}

    asked = await page.post("/v1/completions", params=token, json=BODY | {"conversation_id": mine})
    assert frames(asked.text)[-1].data == "[DONE]"
    id = asked.headers["x-completion-id"]
    assert (await page.get(f"/v1/completions/{id}/stream", params=token)).status_code == 200
    assert len((await page.get(f"/v1/conversations/{mine}/messages", params=token)).json()["data"]) == 2
    for method, path, body, status in [
        ("POST", "/v1/completions", BODY | {"conversation_id": other}, 404),
        ("POST", "/v1/completions", BODY, 404),
        ("GET", f"/v1/completions/{elsewhere}", None, 404),
        ("GET", f"/v1/completions/{elsewhere}/stream", None, 404),
        ("GET", f"/v1/conversations/{other}/messages", None, 403),
        ("DELETE", f"/v1/conversations/{mine}", None, 403),
        ("PATCH", f"/v1/conversations/{mine}", {"title": "Mine"}, 403),
    ]:
        response = await page.request(method, path, params=token, json=body)
        assert response.status_code == status, (method, path, response.text)


async def test_a_token_may_use_nothing_that_its_key_is_allowed(api: Api) -> None:
    client, page = await api.client_with(allowed=["speed"]), await api.client()
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    token = {"token": await token_for(client, conversation_id=conversation)}
    asked = BODY | {"conversation_id": conversation, "speed": "fast"}
    assert (await client.post("/v1/completions", json=asked)).status_code == 200
    assert (await page.post("/v1/completions", params=token, json=asked)).status_code == 403


async def test_a_token_as_a_header(api: Api) -> None:
    client = await api.client_with()
    id = await complete(client)
    page = await api.client(await token_for(client, completion_id=id))
    assert (await page.get(f"/v1/completions/{id}")).status_code == 200


async def test_a_token_expires(api: Api) -> None:
    client, page = await api.client_with(), await api.client()
    id = await complete(client)
    token = {"token": await token_for(client, completion_id=id, ttl_seconds=1)}
    assert (await page.get(f"/v1/completions/{id}", params=token)).status_code == 200
    await asyncio.sleep(1.1)
    response = await page.get(f"/v1/completions/{id}", params=token)
    assert (response.status_code, response.json()["type"]) == (401, "/problems/invalid_api_key")


async def test_a_token_ends_with_its_key(api: Api) -> None:
    admin, page = await api.admin(), await api.client()
    made = (await admin.post("/v1/keys", json={"name": "a", "scopes": ["completions"]})).json()
    client = await api.client(made["secret"])
    id = await complete(client)
    token = {"token": await token_for(client, completion_id=id)}
    assert (await page.get(f"/v1/completions/{id}", params=token)).status_code == 200
    await admin.delete(f"/v1/keys/{made['id']}")
    assert (await page.get(f"/v1/completions/{id}", params=token)).status_code == 401
