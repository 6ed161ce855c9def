"""Pages on other origins: nothing by default; with the setting, errors and streams as well."""

from typing import Any, Final

import pytest

from local.upstream import SimulatedUpstream
from tests.support.api import Api, StartApi

PAGE: Final = "https://page.example"
BODY: Final[dict[str, Any]] = {"model": "claude-sim", "input": "Hello.", "max_tokens": 20}
EXPOSED: Final = {
    "idempotent-replayed",
    "ratelimit",
    "ratelimit-policy",
    *(
        f"anthropic-ratelimit-{what}-{field}"
        for what in ("requests", "tokens")
        for field in ("limit", "remaining", "reset")
    ),
    *(f"x-ratelimit-{field}-{what}" for what in ("requests", "tokens") for field in ("limit", "remaining", "reset")),
    "link",
    "location",
    "request-id",
    "retry-after",
    "server-timing",
    "x-completion-id",
    "x-ignored-params",
    "x-request-id",
    "x-should-retry",
}


@pytest.fixture
async def open_api(start_api: StartApi, upstream: SimulatedUpstream) -> Api:
    return await start_api(upstream_base_url=upstream.url, cors_origins=[PAGE], max_body=5000)


async def test_off_by_default(start_api: StartApi, upstream: SimulatedUpstream) -> None:
    api = await start_api(upstream_base_url=upstream.url)
    client = await api.client_with()
    for response in (
        await client.post("/v1/completions", json=BODY, headers={"origin": PAGE}),
        await client.get("/v1/nothing", headers={"origin": PAGE}),
        await client.options("/v1/completions", headers={"origin": PAGE, "access-control-request-method": "POST"}),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_preflight(open_api: Api) -> None:
    client = await open_api.client()
    for method in ("POST", "DELETE", "PATCH"):
        asked = {"access-control-request-method": method, "access-control-request-headers": "authorization, x-store"}
        response = await client.options("/v1/conversations", headers={"origin": PAGE, **asked})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == PAGE
        assert method in response.headers["access-control-allow-methods"]
        assert "authorization" in response.headers["access-control-allow-headers"]
        assert response.headers["request-id"]


async def test_preflight_of_another_page(open_api: Api) -> None:
    client = await open_api.client()
    headers = {"origin": "https://other.example", "access-control-request-method": "POST"}
    response = await client.options("/v1/completions", headers=headers)
    assert response.status_code == 400
    assert "access-control-allow-origin" not in response.headers


async def test_answers_of_every_kind(open_api: Api) -> None:
    client = await open_api.client_with()
    nobody = await open_api.client()
    answers = {
        "stream": (200, await client.post("/v1/completions", json=BODY, headers={"origin": PAGE})),
        "piece": (200, await client.post("/v1/completions", json=BODY | {"stream": False}, headers={"origin": PAGE})),
        "field": (422, await client.post("/v1/completions", json={}, headers={"origin": PAGE})),
        "json": (400, await client.post("/v1/messages", content=b"{", headers={"origin": PAGE})),
        "large": (413, await client.post("/v1/messages", content=b"a" * 5001, headers={"origin": PAGE})),
        "upstream": (429, await client.post("/v1/completions", json=BODY | LIMITED, headers={"origin": PAGE})),
        "address": (404, await client.get("/v1/nothing", headers={"origin": PAGE})),
        "method": (405, await client.put("/v1/completions", headers={"origin": PAGE})),
        "key": (401, await nobody.get("/v1/completions", headers={"origin": PAGE})),
    }
    for name, (status, response) in answers.items():
        assert response.status_code == status, name
        assert response.headers["access-control-allow-origin"] == PAGE, name
        assert set(response.headers["access-control-expose-headers"].split(", ")) == EXPOSED, name
        assert "origin" in response.headers.get("vary", "").lower(), name


LIMITED: Final[dict[str, Any]] = {"model": "sim-429?retry_after=60"}


async def test_another_page_learns_nothing(open_api: Api) -> None:
    client = await open_api.client_with()
    response = await client.get("/v1/completions", headers={"origin": "https://other.example"})
    assert "access-control-allow-origin" not in response.headers
