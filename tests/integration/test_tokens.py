"""Browser tokens: what they reach, how long they live, and who may make them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.access import authentication
from app.access.repository import delete_expired_tokens
from app.domain.ids import uuid7
from app.domain.principal import Principal, Scope
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.postgres import Postgres
from tests.support.problems import problem, without_id
from tests.support.rows import insert_completion


@pytest.fixture
async def caller(api: Api) -> httpx.AsyncClient:
    return await api.client_with(allowed=["speed"])


@pytest.fixture
async def conversation(caller: httpx.AsyncClient) -> str:
    return await new_conversation(caller)


async def new_conversation(caller: httpx.AsyncClient) -> str:
    id: str = (await caller.post("/v1/conversations", json={})).json()["id"]
    return id


async def new_token(caller: httpx.AsyncClient, **bounds: Any) -> str:
    response = await caller.post("/v1/tokens", json=bounds)
    assert response.status_code == 201, response.text
    token: str = response.json()["token"]
    return token


async def who(api: Api, secret: str) -> Principal:
    principal: Principal = await api.state["authenticate"](secret)
    return principal


async def test_a_token_of_a_conversation_reads_it_and_nothing_else(
    api: Api, caller: httpx.AsyncClient, conversation: str
) -> None:
    other = await new_conversation(caller)
    page = await api.client(await new_token(caller, conversation_id=conversation))
    path = f"/v1/conversations/{conversation}"
    assert (await page.get(path)).json()["id"] == conversation
    assert (await page.get(f"{path}/messages")).json() == {"data": [], "next_cursor": None}

    message = {"role": "user", "content": "x"}
    for method, target, body in [
        ("GET", f"/v1/conversations/{other}", None),
        ("GET", f"/v1/conversations/{other}/messages", None),
        ("GET", f"/v1/conversations/{uuid7()}", None),
        ("GET", "/v1/conversations", None),
        ("POST", "/v1/conversations", {}),
        ("PATCH", path, {"title": "x"}),
        ("DELETE", path, None),
        ("POST", f"{path}/messages", message),
        ("DELETE", f"{path}/messages/last", None),
        ("POST", "/v1/tokens", {"conversation_id": conversation}),
    ]:
        response = await page.request(method, target, json=body)
        assert problem(response) == (403, "token_out_of_bounds"), (method, target)
    assert problem(await page.get("/v1/keys")) == (403, "missing_scope")


async def test_a_token_may_travel_in_the_url(api: Api, caller: httpx.AsyncClient, conversation: str) -> None:
    token = await new_token(caller, conversation_id=conversation)
    nobody = await api.client()
    assert (await nobody.get(f"/v1/conversations/{conversation}", params={"token": token})).status_code == 200


async def test_a_token_of_a_completion_reads_no_conversation(
    api: Api, caller: httpx.AsyncClient, conversation: str, database_url: str
) -> None:
    completion = insert_completion(database_url, status="completed", conversation=conversation)
    token = await new_token(caller, completion_id=str(completion))
    assert (await who(api, token)).completion_id == completion
    page = await api.client(token)
    assert problem(await page.get(f"/v1/conversations/{conversation}")) == (403, "token_out_of_bounds")


async def test_a_token_stands_for_its_key_with_less_to_do(
    api: Api, caller: httpx.AsyncClient, conversation: str
) -> None:
    key = caller.headers["authorization"].removeprefix("Bearer ")
    response = await caller.post("/v1/tokens", json={"conversation_id": conversation})
    made = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert made["token"].startswith("hwt_")
    assert made["conversation_id"] == conversation
    assert made["completion_id"] is None
    assert made["scopes"] == ["completions", "conversations"]
    in_ten_minutes = datetime.now(UTC) + timedelta(minutes=10)
    assert abs(datetime.fromisoformat(made["expires_at"]) - in_ten_minutes) < timedelta(seconds=10)

    principal = await who(api, made["token"])
    assert principal.key_id == (await who(api, key)).key_id
    assert principal.conversation_id == UUID(conversation)
    assert principal.bound
    assert principal.allowed == frozenset()


async def test_a_token_gets_no_scope_that_its_key_lacks(api: Api, conversation: str) -> None:
    caller = await api.client_with("completions", "admin")
    token = await new_token(caller, conversation_id=conversation)
    assert (await who(api, token)).scopes == {Scope.COMPLETIONS}
    page = await api.client(token)
    assert problem(await page.get(f"/v1/conversations/{conversation}")) == (403, "missing_scope")


@pytest.mark.parametrize("kind", ["completion", "conversation"])
async def test_what_is_unknown_or_foreign_gets_no_token(
    api: Api, caller: httpx.AsyncClient, conversation: str, database_url: str, kind: str
) -> None:
    completion = insert_completion(database_url, status="completed", conversation=conversation)
    known = {"completion": str(completion), "conversation": conversation}[kind]
    stranger = await api.client_with(tenant="other")
    foreign = await stranger.post("/v1/tokens", json={f"{kind}_id": known})
    unknown = await caller.post("/v1/tokens", json={f"{kind}_id": str(uuid7())})
    assert problem(foreign) == problem(unknown) == (404, "not_found")
    assert without_id(foreign) == without_id(unknown)


async def test_only_keys_for_completions_make_tokens(api: Api, conversation: str) -> None:
    caller = await api.client_with("conversations")
    response = await caller.post("/v1/tokens", json={"conversation_id": conversation})
    assert problem(response) == (403, "missing_scope")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"completion_id": str(uuid7()), "conversation_id": str(uuid7())},
        {"completion_id": "7"},
        {"completion_id": 7},
        {"conversation_id": str(uuid7()), "ttl_seconds": 0},
        {"conversation_id": str(uuid7()), "ttl_seconds": 3601},
        {"conversation_id": str(uuid7()), "ttl_seconds": "600"},
        {"conversation_id": str(uuid7()), "ttl_seconds": True},
        {"conversation_id": str(uuid7()), "ttl_seconds": 1.5},
        {"conversation_id": str(uuid7()), "scopes": ["admin"]},
    ],
)
async def test_a_wrong_request_is_refused(caller: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    assert problem(await caller.post("/v1/tokens", json=wrong)) == (422, "validation_failed")


async def test_a_token_ends_with_its_time(
    api: Api, caller: httpx.AsyncClient, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    page = await api.client(await new_token(caller, conversation_id=conversation, ttl_seconds=10))
    path = f"/v1/conversations/{conversation}"
    assert (await page.get(path)).status_code == 200
    clock.ahead = 11  # while it is still remembered
    assert problem(await page.get(path)) == (401, "invalid_api_key")
    clock.ahead = 100
    assert problem(await page.get(path)) == (401, "invalid_api_key")


async def test_a_token_ends_with_its_key(api: Api, caller: httpx.AsyncClient, conversation: str) -> None:
    page = await api.client(await new_token(caller, conversation_id=conversation))
    path = f"/v1/conversations/{conversation}"
    assert (await page.get(path)).status_code == 200
    key = (await who(api, caller.headers["authorization"].removeprefix("Bearer "))).key_id
    await (await api.admin()).delete(f"/v1/keys/{key}")
    assert problem(await page.get(path)) == (401, "invalid_api_key")


async def test_a_token_outlives_its_key_by_nothing(api: Api, conversation: str) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=60)
    caller = await api.client_with(expires_at=expires.isoformat())
    made = (await caller.post("/v1/tokens", json={"conversation_id": conversation})).json()
    assert datetime.fromisoformat(made["expires_at"]) == expires


async def test_a_token_ends_with_a_key_whose_time_was_cut_short(
    api: Api, caller: httpx.AsyncClient, conversation: str, database_url: str
) -> None:
    page = await api.client(await new_token(caller, conversation_id=conversation))
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE keys SET expires_at = clock_timestamp() WHERE parent_id IS NULL")
    assert problem(await page.get(f"/v1/conversations/{conversation}")) == (401, "invalid_api_key")


async def test_a_key_that_was_just_revoked_elsewhere_makes_no_token(
    api: Api, caller: httpx.AsyncClient, conversation: str, database_url: str
) -> None:
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE keys SET revoked_at = clock_timestamp()")
    response = await caller.post("/v1/tokens", json={"conversation_id": conversation})
    assert problem(response) == (401, "invalid_api_key")


async def test_tokens_are_not_listed_among_the_keys(api: Api, caller: httpx.AsyncClient, conversation: str) -> None:
    await new_token(caller, conversation_id=conversation)
    assert len((await (await api.admin()).get("/v1/keys")).json()["data"]) == 1


async def test_tokens_that_have_expired_are_forgotten_in_batches(
    api: Api, caller: httpx.AsyncClient, conversation: str, database_url: str
) -> None:
    for _ in range(4):
        await new_token(caller, conversation_id=conversation)
    with Postgres.connect(database_url) as conn:
        conn.execute(
            "UPDATE keys SET expires_at = clock_timestamp() - interval '1 s'"
            " WHERE parent_id IS NULL OR id <> (SELECT max(id::text)::uuid FROM keys WHERE parent_id IS NOT NULL)"
        )

        def left() -> Any:
            return conn.execute("SELECT count(parent_id), count(*) - count(parent_id) FROM keys").fetchone()

        counts = []
        for _ in range(3):
            async with api.pool.connection() as pooled:
                await delete_expired_tokens(pooled, limit=2)
            counts.append(left())
    assert counts == [(2, 1), (1, 1), (1, 1)]  # the token that is good and the expired key stay
