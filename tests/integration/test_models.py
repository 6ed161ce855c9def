"""The list of models, and the settings file with other names for them."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from app.catalogue import CatalogueError
from app.config import Settings
from app.main import create_app
from local.upstream import SimulatedUpstream
from tests.support.api import StartApi
from tests.support.problems import problem
from tests.support.service import StartService

HELLO = [{"role": "user", "content": "Hello."}]
LISTED = ["claude-sim", "claude-sim-thinking"]

FILE = """
[models.gpt-4o-mini]
upstream = "claude-sim"
display_name = "Small"
max_tokens = 5

[models."house/large"]
upstream = "claude-large"

[models.claude-sim-thinking]
display_name = "The one that thinks"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def closed_file(file: Path) -> Path:
    file.write_text(f"only_listed = true\n{FILE}")
    return file


async def caller(start_api: StartApi, upstream: SimulatedUpstream, **settings: Any) -> httpx.AsyncClient:
    api = await start_api(upstream_base_url=upstream.url, **settings)
    return await api.client_with()


def body_of(upstream: SimulatedUpstream) -> dict[str, Any]:
    """What the upstream was last asked for an answer."""
    body: dict[str, Any] = [request.body for request in upstream.requests if request.method == "POST"][-1]
    return body


async def test_without_a_file_it_is_the_upstreams_list(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    client = await caller(start_api, upstream)
    await client.get("/v1/models")
    body = (await client.get("/v1/models")).json()
    assert [model["id"] for model in body["data"]] == LISTED
    assert (body["object"], body["has_more"], body["first_id"], body["last_id"]) == ("list", False, *LISTED)
    assert body["data"][0] == {
        "id": "claude-sim",
        "object": "model",
        "created": 1792540800,
        "owned_by": "anthropic",
        "type": "model",
        "display_name": "Claude Sim",
        "created_at": "2026-10-21T00:00:00Z",
    }
    assert (await client.get("/v1/models/claude-sim")).json() == body["data"][0]
    assert [request.path for request in upstream.requests] == ["/v1/models"]  # asked once, then remembered


LISTS = {
    "names alone": (b'{"object": "list", "data": [{"id": "a", "object": "model"}]}', ["a"]),
    "no list": (b'{"models": []}', []),
    "no json": (b"<html>", []),
}


@pytest.mark.parametrize("name", LISTS)
async def test_upstreams_that_only_resemble_the_models_api(start_api: StartApi, name: str) -> None:
    body, ids = LISTS[name]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api = await start_api(upstream_base_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        response = await (await api.client_with()).get("/v1/models")
    finally:
        await runner.cleanup()
    assert response.status_code == 200
    assert [(model["id"], model["display_name"]) for model in response.json()["data"]] == [(id, id) for id in ids]


async def test_an_upstream_that_does_not_answer(start_api: StartApi) -> None:
    api = await start_api()
    client = await api.client_with()
    response = await client.get("/v1/models")
    assert (response.status_code, response.json()["data"]) == (200, [])
    assert response.json()["first_id"] is None


async def test_list_with_a_file(start_api: StartApi, upstream: SimulatedUpstream, file: Path) -> None:
    client = await caller(start_api, upstream, models_file=str(file))
    models = (await client.get("/v1/models")).json()["data"]
    assert [(model["id"], model["display_name"]) for model in models] == [
        ("gpt-4o-mini", "Small"),
        ("house/large", "house/large"),
        ("claude-sim-thinking", "The one that thinks"),
        ("claude-sim", "Claude Sim"),
    ]
    assert [model["created_at"][:4] for model in models] == ["2026", "1970", "2026", "2026"]
    assert (await client.get("/v1/models/house/large")).json() == models[1]


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": HELLO}),
    "messages": ("/v1/messages", {"messages": HELLO, "max_tokens": 5}),
    "count": ("/v1/messages/count_tokens", {"messages": HELLO}),
    "native": ("/v1/completions", {"input": "Hello.", "max_tokens": 5, "stream": False}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_an_alias_in_every_dialect(
    start_api: StartApi, upstream: SimulatedUpstream, file: Path, name: str
) -> None:
    client = await caller(start_api, upstream, models_file=str(file))
    path, fields = REQUESTS[name]
    response = await client.post(path, json={"model": "gpt-4o-mini", **fields})
    assert response.status_code == 200
    assert body_of(upstream)["model"] == "claude-sim"
    if name != "count":
        assert response.json()["model"] == "claude-sim"
        id = response.headers["x-completion-id"]
        assert (await client.get(f"/v1/completions/{id}")).json()["model"] == "claude-sim"


async def test_how_long_an_answer_may_be(start_api: StartApi, upstream: SimulatedUpstream, file: Path) -> None:
    client = await caller(start_api, upstream, models_file=str(file), default_max_tokens=77)
    for fields, wanted in (
        ({"model": "gpt-4o-mini"}, 5),
        ({"model": "gpt-4o-mini", "max_tokens": 9}, 9),
        ({"model": "claude-sim"}, 77),
    ):
        assert (await client.post("/v1/chat/completions", json={"messages": HELLO, **fields})).status_code == 200
        assert body_of(upstream)["max_tokens"] == wanted


async def test_only_what_is_listed(start_api: StartApi, upstream: SimulatedUpstream, closed_file: Path) -> None:
    client = await caller(start_api, upstream, models_file=str(closed_file))
    models = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in models] == ["gpt-4o-mini", "house/large", "claude-sim-thinking"]
    refused = {
        name: await client.post(path, json={"model": "claude-sim", **fields})
        for name, (path, fields) in REQUESTS.items()
    }
    assert refused["chat"].json()["error"]["code"] == "model_not_found"
    assert refused["chat"].json()["error"]["param"] == "model"
    assert refused["messages"].json()["error"]["type"] == "not_found_error"
    assert problem(refused["native"]) == (404, "model_not_found")
    assert {response.status_code for response in refused.values()} == {404}
    assert not [request for request in upstream.requests if request.method == "POST"]


async def test_thoughts_where_they_are_let_out(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    client = await caller(start_api, upstream, reasoning_content=True)
    body = {"model": "claude-sim-thinking", "messages": HELLO}
    whole = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]["message"]
    streamed = await client.post("/v1/chat/completions", json={**body, "stream": True})
    assert whole["reasoning_content"].startswith("The question is")
    assert '"reasoning_content":"The"' in streamed.text
    id = streamed.headers["x-completion-id"]
    again = await client.get(f"/v1/completions/{id}/stream", params={"dialect": "openai_chat"})
    assert again.text == streamed.text


async def test_json_does_too(start_api: StartApi, upstream: SimulatedUpstream, tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps({"models": {"a": {"upstream": "claude-sim"}}}))
    client = await caller(start_api, upstream, models_file=str(path))
    assert (await client.get("/v1/models/a")).json()["display_name"] == "a"


BAD = {
    "missing": None,
    "toml": "[models",
    "unknown": "only_liste = true",
    "type": "[models.a]\nmax_tokens = 'many'",
    "nothing": "[models.a]\nupstream = ''",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_says_nothing_sensible(tmp_path: Path, name: str) -> None:
    path = tmp_path / "models.toml"
    if (text := BAD[name]) is not None:
        path.write_text(text)
    with pytest.raises(CatalogueError, match=r"models\.toml"):
        create_app(Settings(models_file=str(path), database_url=SecretStr("postgresql://unused")))


async def test_a_service_with_such_a_file_says_so(start_service: StartService, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Setting models_file: .*none\.toml"):
        await start_service(models_file=tmp_path / "none.toml")
