"""The audit: every change of a key or of limits, by whom, what it was and what it became; and never a secret."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from app.domain.ids import uuid7
from tests.support.api import Api
from tests.support.postgres import Postgres
from tests.support.problems import problem

NEW = {"name": "shop", "scopes": ["conversations"]}


@pytest.fixture
async def admin(api: Api) -> httpx.AsyncClient:
    return await api.admin()


async def entries(admin: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await admin.get("/v1/audit", params=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


async def test_every_change_of_a_key_is_kept(admin: httpx.AsyncClient) -> None:
    made = (await admin.post("/v1/keys", json={**NEW, "tenant": "acme", "limits": {"monthly_budget": 5}})).json()
    path = f"/v1/keys/{made['id']}"
    await admin.patch(path, json={"name": "till", "limits": {"open_streams": 3}})
    rotated = (await admin.post(f"{path}/rotate", json={"overlap_seconds": 60})).json()
    await admin.delete(path)

    found = await entries(admin)
    assert [entry["action"] for entry in found] == ["key.revoked", "key.rotated", "key.changed", "key.created"]
    assert {(entry["tenant"], entry["key_id"], entry["actor_id"]) for entry in found} == {("acme", made["id"], None)}
    revocation, rotation, change, creation = found
    assert creation["before"] == {}
    assert creation["after"]["name"] == "shop"
    assert creation["after"]["scopes"] == ["conversations"]
    assert creation["after"]["limits"] == made["limits"]
    assert change["before"] == {"name": "shop", "limits": made["limits"]}
    assert change["after"] == {"name": "till", "limits": made["limits"] | {"open_streams": 3}}
    assert rotation["before"]["shown_prefix"] == made["shown_prefix"]
    assert rotation["after"]["shown_prefix"] == rotated["shown_prefix"]
    assert datetime.fromisoformat(rotation["after"]["previous_secret_until"]) > datetime.now(UTC)
    assert revocation["before"] == {"revoked_at": None}
    assert datetime.fromisoformat(revocation["after"]["revoked_at"]) < datetime.now(UTC) + timedelta(minutes=1)


async def test_no_secret_is_kept(admin: httpx.AsyncClient, database_url: str) -> None:
    made = (await admin.post("/v1/keys", json=NEW)).json()
    rotated = (await admin.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_seconds": 60})).json()
    with Postgres.connect(database_url) as conn:
        rows = conn.execute("SELECT string_agg(audit::text, ' '), count(*) FROM audit").fetchone()
        assert rows is not None
        hashes = conn.execute(
            "SELECT encode(secret_sha256, 'hex'), encode(previous_sha256, 'hex') FROM keys"
        ).fetchone()
    assert hashes is not None
    assert rows[1] == 2
    for secret in (made["secret"], rotated["secret"], *hashes):
        assert secret not in rows[0]


async def test_the_limits_of_a_tenant_are_kept(admin: httpx.AsyncClient) -> None:
    await admin.put("/v1/tenants/acme/limits", json={"open_streams": 3})
    await admin.put("/v1/tenants/acme/limits", json={"total_budget": "1.5"})
    last, first = await entries(admin)
    assert (first["action"], first["tenant"], first["key_id"]) == ("limits.changed", "acme", None)
    assert first["before"]["limits"]["open_streams"] is None
    assert last["before"]["limits"] == first["after"]["limits"]
    assert (last["after"]["limits"]["open_streams"], last["after"]["limits"]["total_budget"]) == (None, "1.5")


async def test_what_changes_nothing_is_not_kept(admin: httpx.AsyncClient) -> None:
    made = (await admin.post("/v1/keys", json=NEW)).json()
    path = f"/v1/keys/{made['id']}"
    await admin.patch(path, json={"name": "shop", "limits": {"open_streams": None}})
    await admin.put("/v1/tenants/default/limits", json={})
    await admin.delete(path)
    await admin.delete(path)
    assert [entry["action"] for entry in await entries(admin)] == ["key.revoked", "key.created"]


async def test_what_was_refused_is_not_kept(api: Api, admin: httpx.AsyncClient) -> None:
    own = await api.client_with("admin", tenant="mine")
    before = await entries(admin)
    for method, path, body in [
        ("POST", "/v1/keys", {**NEW, "allowed": ["speed"]}),
        ("PATCH", f"/v1/keys/{uuid7()}", {"name": "x"}),
        ("PUT", "/v1/tenants/mine/limits", {}),
    ]:
        assert (await own.request(method, path, json=body)).status_code in (403, 404)
    assert await entries(admin) == before


async def test_a_change_and_its_entry_are_one(admin: httpx.AsyncClient, database_url: str) -> None:
    with Postgres.connect(database_url) as conn:
        conn.execute("ALTER TABLE audit ADD CONSTRAINT full_disk CHECK (action <> 'key.created') NOT VALID")
    assert (await admin.post("/v1/keys", json=NEW)).status_code == 500
    assert (await admin.get("/v1/keys")).json()["data"] == []


async def test_admins_of_a_tenant_see_its_own(api: Api, admin: httpx.AsyncClient) -> None:
    own = await api.client_with("admin", tenant="mine")
    other = await api.client_with("admin", tenant="other")
    made = (await own.post("/v1/keys", json=NEW)).json()
    actor = (await entries(own))[0]["actor_id"]
    assert actor == str((await api.state["authenticate"](own.headers["authorization"][7:])).key_id)
    assert [entry["key_id"] for entry in await entries(own)] == [made["id"], actor]
    assert len(await entries(other)) == 1
    assert len(await entries(admin)) == 3
    assert [entry["tenant"] for entry in await entries(admin, tenant="mine")] == ["mine", "mine"]
    assert await entries(other, key_id=made["id"]) == []
    assert [entry["key_id"] for entry in await entries(own, key_id=made["id"])] == [made["id"]]
    assert problem(await own.get("/v1/audit?tenant=other")) == (403, "foreign_tenant")
    caller = await api.client_with("completions", "conversations")
    assert problem(await caller.get("/v1/audit")) == (403, "missing_scope")


async def test_it_comes_in_pages_newest_first(admin: httpx.AsyncClient) -> None:
    made = [(await admin.post("/v1/keys", json=NEW)).json()["id"] for _ in range(5)]
    found: list[str] = []
    query: dict[str, Any] | None = {"limit": 2}
    while query is not None:
        page = (await admin.get("/v1/audit", params=query)).json()
        assert len(page["data"]) <= 2
        found += [entry["key_id"] for entry in page["data"]]
        query = {"limit": 2, "cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == made[::-1]
    assert problem(await admin.get("/v1/audit?key_id=7")) == (422, "validation_failed")


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET action = 'x'", "DELETE FROM audit", "DELETE FROM audit WHERE false", "TRUNCATE audit"],
)
async def test_rows_are_only_ever_added(admin: httpx.AsyncClient, database_url: str, statement: Any) -> None:
    await admin.post("/v1/keys", json=NEW)
    with Postgres.connect(database_url) as conn, pytest.raises(psycopg.errors.RaiseException, match="never changed"):
        conn.execute(statement)
    assert len(await entries(admin)) == 1
