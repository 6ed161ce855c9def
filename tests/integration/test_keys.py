"""`/v1/keys`: who may make, see and revoke which key."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.domain.ids import uuid7
from tests.support.api import Api, StartApi
from tests.support.postgres import Postgres
from tests.support.problems import problem, without_id

NEW = {"name": "shop", "scopes": ["completions"]}


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
async def admin(api: Api) -> httpx.AsyncClient:
    return await api.admin()


async def test_a_key_is_made_shown_once_and_works(api: Api, admin: httpx.AsyncClient) -> None:
    expires = in_seconds(3600)
    response = await admin.post(
        "/v1/keys",
        json={
            "name": "shop",
            "scopes": ["conversations", "completions", "completions"],
            "tenant": "acme.shop",
            "allowed": ["service_tier"],
            "expires_at": expires,
        },
    )
    assert response.status_code == 201
    made = response.json()
    secret = made.pop("secret")
    assert secret.startswith("hw_")
    assert len(secret) == 46
    assert secret.startswith(made["shown_prefix"])
    assert len(made["shown_prefix"]) < 12
    assert made["tenant"] == "acme.shop"
    assert made["scopes"] == ["completions", "conversations"]
    assert made["allowed"] == ["service_tier"]
    assert datetime.fromisoformat(made["expires_at"]) == datetime.fromisoformat(expires)
    assert made["revoked_at"] is None
    assert response.headers["location"] == f"/v1/keys/{made['id']}"
    assert response.headers["cache-control"] == "no-store"

    read = await admin.get(response.headers["location"])
    assert read.json() == made
    listed = await admin.get("/v1/keys")
    assert listed.json()["data"] == [made]
    assert secret not in read.text + listed.text

    principal = await api.state["authenticate"](secret)
    assert principal.tenant == "acme.shop"
    assert str(principal.key_id) == made["id"]
    assert principal.allowed == {"service_tier"}


async def test_only_the_hash_of_a_secret_is_stored(api: Api, database_url: str) -> None:
    secret = await api.key()
    with Postgres.connect(database_url) as conn:
        row = conn.execute("SELECT secret_sha256, keys::text FROM keys").fetchone()
    assert row is not None
    assert row[0] == hashlib.sha256(secret.encode()).digest()
    assert secret not in row[1]


async def test_location_begins_with_the_public_url(start_api: StartApi) -> None:
    api = await start_api(public_url="https://llm.example/base/")
    response = await (await api.admin()).post("/v1/keys", json=NEW)
    assert response.headers["location"] == f"https://llm.example/base/v1/keys/{response.json()['id']}"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": "admin"}, "scopes"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "a b"}, "tenant"),
        ({"tenant": "a\0"}, "tenant"),
        ({"tenant": "x" * 101}, "tenant"),
        ({"allowed": "speed"}, "allowed"),
        ({"allowed": ["a\0"]}, "allowed.0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"limit": 5}, "limit"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_made(
    admin: httpx.AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    response = await admin.post("/v1/keys", json={**NEW, **wrong})
    assert problem(response) == (422, "validation_failed")
    assert response.json()["param"] == field
    assert (await admin.get("/v1/keys")).json()["data"] == []


@pytest.mark.parametrize(
    "body", [b"{", b'{"name": "\xff", "scopes": ["admin"]}', b"[" * 100_000], ids=["cut", "utf-8", "deep"]
)
async def test_what_is_no_json_is_refused(admin: httpx.AsyncClient, body: bytes) -> None:
    response = await admin.post("/v1/keys", content=body, headers={"content-type": "application/json"})
    assert problem(response)[0] == 400


async def test_a_lone_surrogate_is_refused(admin: httpx.AsyncClient) -> None:
    body = rb'{"name": "\ud800", "scopes": ["admin"]}'
    response = await admin.post("/v1/keys", content=body, headers={"content-type": "application/json"})
    assert problem(response) == (422, "validation_failed")


@pytest.mark.parametrize("missing", ["name", "scopes"])
async def test_a_missing_field_is_named(admin: httpx.AsyncClient, missing: str) -> None:
    response = await admin.post("/v1/keys", json={name: value for name, value in NEW.items() if name != missing})
    assert problem(response) == (422, "validation_failed")
    assert response.json()["param"] == missing


async def test_keys_come_in_pages_newest_first(admin: httpx.AsyncClient) -> None:
    made = [(await admin.post("/v1/keys", json=NEW)).json()["id"] for _ in range(5)]
    found: list[str] = []
    sizes = []
    query: dict[str, Any] | None = {"limit": 2}
    while query is not None:
        page = (await admin.get("/v1/keys", params=query)).json()
        found += [key["id"] for key in page["data"]]
        sizes.append(len(page["data"]))
        query = {"limit": 2, "cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == sorted(made, reverse=True)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"cursor": "x"}, (400, "invalid_cursor")),
        ({"limit": "0"}, (422, "validation_failed")),
        ({"limit": "201"}, (422, "validation_failed")),
        ({"limit": "many"}, (422, "validation_failed")),
        ({"tenant": "a\0"}, (422, "validation_failed")),
    ],
)
async def test_a_wrong_query_is_refused(
    admin: httpx.AsyncClient, query: dict[str, str], expected: tuple[int, str]
) -> None:
    assert problem(await admin.get("/v1/keys", params=query)) == expected


async def test_the_list_can_be_of_one_tenant(admin: httpx.AsyncClient) -> None:
    for tenant in ("a", "b", "a"):
        await admin.post("/v1/keys", json={**NEW, "tenant": tenant})
    assert [key["tenant"] for key in (await admin.get("/v1/keys?tenant=a")).json()["data"]] == ["a", "a"]
    assert (await admin.get("/v1/keys?tenant=c")).json() == {"data": [], "next_cursor": None}


async def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(api: Api, admin: httpx.AsyncClient) -> None:
    made = (await admin.post("/v1/keys", json={**NEW, "scopes": ["conversations"]})).json()
    caller = await api.client(made["secret"])
    assert (await caller.get("/v1/conversations")).status_code == 200

    assert (await admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
    assert problem(await caller.get("/v1/conversations")) == (401, "invalid_api_key")
    revoked_at = (await admin.get(f"/v1/keys/{made['id']}")).json()["revoked_at"]
    assert revoked_at is not None

    assert (await admin.delete(f"/v1/keys/{made['id']}")).status_code == 204
    assert (await admin.get(f"/v1/keys/{made['id']}")).json()["revoked_at"] == revoked_at


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_unknown_foreign_and_impossible_ids_are_answered_alike(api: Api, method: str) -> None:
    admin = await api.admin()
    foreign = (await admin.post("/v1/keys", json={**NEW, "tenant": "other"})).json()["id"]
    own = await api.client_with("admin", tenant="mine")
    responses = [await own.request(method, f"/v1/keys/{id}") for id in (uuid7(), foreign, "7", "%00")]
    assert {problem(response) for response in responses} == {(404, "not_found")}
    assert all(without_id(response) == without_id(responses[0]) for response in responses)
    assert (await admin.get(f"/v1/keys/{foreign}")).json()["revoked_at"] is None


async def test_an_admin_key_of_a_tenant_keeps_to_its_tenant(api: Api) -> None:
    own = await api.client_with("admin", tenant="mine")
    await api.key(tenant="other")
    made = await own.post("/v1/keys", json=NEW)
    assert made.json()["tenant"] == "mine"
    assert (await own.post("/v1/keys", json={**NEW, "tenant": "mine"})).status_code == 201
    assert problem(await own.post("/v1/keys", json={**NEW, "tenant": "other"})) == (403, "foreign_tenant")
    assert problem(await own.get("/v1/keys?tenant=other")) == (403, "foreign_tenant")
    listed = (await own.get("/v1/keys")).json()["data"]
    assert [key["tenant"] for key in listed] == ["mine"] * 3


async def test_an_admin_key_allows_no_more_than_it_is_allowed(api: Api) -> None:
    own = await api.client_with("admin", tenant="mine", allowed=["speed"])
    assert (await own.post("/v1/keys", json={**NEW, "allowed": ["speed"]})).status_code == 201
    response = await own.post("/v1/keys", json={**NEW, "allowed": ["speed", "container"]})
    assert problem(response) == (403, "not_yours_to_allow")


@pytest.mark.parametrize("scopes", [["completions"], ["conversations"], ["completions", "conversations"]])
async def test_keys_are_for_admins_only(api: Api, scopes: list[str]) -> None:
    caller = await api.client_with(*scopes)
    for method, path in [("POST", "/v1/keys"), ("GET", "/v1/keys"), ("GET", "/v1/keys/x"), ("DELETE", "/v1/keys/x")]:
        response = await caller.request(method, path, json=NEW if method == "POST" else None)
        assert problem(response) == (403, "missing_scope")


async def test_the_configured_admin_key_does_nothing_but_administer(admin: httpx.AsyncClient) -> None:
    assert problem(await admin.get("/v1/conversations")) == (403, "missing_scope")
    assert problem(await admin.post("/v1/tokens", json={"completion_id": str(uuid7())})) == (403, "missing_scope")
