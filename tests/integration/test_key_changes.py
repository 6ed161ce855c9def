"""`/v1/keys`: limits, changes and exchanged secrets."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.access import authentication
from app.domain.ids import uuid7
from tests.support.api import Api, StartApi
from tests.support.clock import Clock
from tests.support.postgres import Postgres
from tests.support.problems import problem

NEW = {"name": "shop", "scopes": ["conversations"]}
UNLIMITED: dict[str, Any] = {
    "requests_per_minute": None,
    "tokens_per_minute": None,
    "open_streams": None,
    "monthly_budget": None,
    "total_budget": None,
    "allow_unpriced": False,
}


@pytest.fixture
async def admin(api: Api) -> httpx.AsyncClient:
    return await api.admin()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    return clock


async def make(admin: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await admin.post("/v1/keys", json={**NEW, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def change(admin: httpx.AsyncClient, id: str, **fields: Any) -> dict[str, Any]:
    response = await admin.patch(f"/v1/keys/{id}", json=fields)
    assert response.status_code == 200, response.text
    assert response.json() == (await admin.get(f"/v1/keys/{id}")).json()
    changed: dict[str, Any] = response.json()
    return changed


async def rotate(admin: httpx.AsyncClient, id: str, overlap: int) -> str:
    response = await admin.post(f"/v1/keys/{id}/rotate", json={"overlap_seconds": overlap})
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    secret: str = response.json()["secret"]
    return secret


async def works(api: Api, secret: str) -> bool:
    status = (await (await api.client(secret)).get("/v1/conversations")).status_code
    assert status in (200, 401)
    return status == 200


# -- limits


async def test_a_key_has_the_limits_that_it_is_made_with(admin: httpx.AsyncClient) -> None:
    limits = {
        "requests_per_minute": 60,
        "tokens_per_minute": 100_000,
        "open_streams": 4,
        "monthly_budget": "25.50",
        "total_budget": 0.1,
        "allow_unpriced": True,
    }
    made = await make(admin, limits=limits)
    assert made["limits"] == limits | {"monthly_budget": "25.5", "total_budget": "0.1"}
    assert made["spent"] == {"this_month": "0", "in_all": "0"}
    del made["secret"]
    assert (await admin.get(f"/v1/keys/{made['id']}")).json() == made
    assert (await admin.get("/v1/keys")).json()["data"] == [made]


async def test_a_key_is_not_limited_unless_somebody_says_so(admin: httpx.AsyncClient) -> None:
    assert (await make(admin))["limits"] == UNLIMITED


@pytest.mark.parametrize("amount", ["0.000001", "999999999.999999", 0, 0.3, 12, "1e2", 999999999.123457])
async def test_money_is_exact(admin: httpx.AsyncClient, database_url: str, amount: Any) -> None:
    made = await make(admin, limits={"total_budget": amount})
    with Postgres.connect(database_url) as conn:
        row = conn.execute("SELECT total_budget = %s::numeric FROM meters WHERE key_id IS NOT NULL", (str(amount),))
        assert row.fetchone() == (True,)
    assert "e" not in made["limits"]["total_budget"].lower()


async def test_what_was_spent_is_shown_of_the_month_and_in_all(admin: httpx.AsyncClient, database_url: str) -> None:
    made = await make(admin)
    with Postgres.connect(database_url) as conn:
        conn.execute(
            "UPDATE meters SET spent = 12.3400, spent_in_month = 0.0000010,"
            " month = date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')"
        )
        found = (await admin.get(f"/v1/keys/{made['id']}")).json()
        assert found["spent"] == {"this_month": "0.000001", "in_all": "12.34"}
        conn.execute("UPDATE meters SET month = month - interval '1 month'")
    found = (await admin.get(f"/v1/keys/{made['id']}")).json()
    assert found["spent"] == {"this_month": "0", "in_all": "12.34"}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"requests_per_minute": 1_000_000_001}, "requests_per_minute"),
        ({"requests_per_minute": True}, "requests_per_minute"),
        ({"requests_per_minute": "5"}, "requests_per_minute"),
        ({"tokens_per_minute": 1.5}, "tokens_per_minute"),
        ({"tokens_per_minute": 10**16}, "tokens_per_minute"),
        ({"open_streams": 10**30}, "open_streams"),
        ({"monthly_budget": "-0.01"}, "monthly_budget"),
        ({"monthly_budget": "NaN"}, "monthly_budget"),
        ({"monthly_budget": "Infinity"}, "monthly_budget"),
        ({"monthly_budget": True}, "monthly_budget"),
        ({"total_budget": "0.0000001"}, "total_budget"),
        ({"total_budget": "1e400"}, "total_budget"),
        ({"total_budget": "a lot"}, "total_budget"),
        ({"allow_unpriced": None}, "allow_unpriced"),
        ({"allow_unpriced": "yes"}, "allow_unpriced"),
        ({"per_day": 5}, "per_day"),
    ],
)
async def test_a_wrong_limit_is_named_and_changes_nothing(
    admin: httpx.AsyncClient, method: str, wrong: dict[str, Any], field: str
) -> None:
    made = await make(admin)
    path, body = ("/v1/keys", NEW) if method == "POST" else (f"/v1/keys/{made['id']}", {})
    response = await admin.request(method, path, json={**body, "limits": wrong})
    assert problem(response) == (422, "validation_failed")
    assert response.json()["param"] == f"limits.{field}"
    assert [key["limits"] for key in (await admin.get("/v1/keys")).json()["data"]] == [UNLIMITED]


# -- changes


async def test_what_is_named_is_changed_and_the_rest_stays(admin: httpx.AsyncClient) -> None:
    made = await make(admin, allowed=["speed"], limits={"requests_per_minute": 5, "monthly_budget": 3})
    del made["secret"]
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    renamed = await change(admin, made["id"], name="till")
    assert renamed == made | {"name": "till"}
    changed = await change(
        admin,
        made["id"],
        scopes=["completions"],
        allowed=["container"],
        expires_at=expires,
        limits={"requests_per_minute": None, "open_streams": 2},
    )
    assert datetime.fromisoformat(changed.pop("expires_at")) == datetime.fromisoformat(expires)
    del renamed["expires_at"]
    assert changed == renamed | {
        "scopes": ["completions"],
        "allowed": ["container"],
        "limits": UNLIMITED | {"monthly_budget": "3", "open_streams": 2},
    }
    assert (await change(admin, made["id"], expires_at=None))["expires_at"] is None
    assert await change(admin, made["id"]) == changed | {"expires_at": None}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"allowed": None}, "allowed"),
        ({"limits": None}, "limits"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"tenant": "other"}, "tenant"),
        ({"secret": "hw_"}, "secret"),
    ],
)
async def test_a_wrong_change_is_named(admin: httpx.AsyncClient, wrong: dict[str, Any], field: str) -> None:
    made = await make(admin)
    response = await admin.patch(f"/v1/keys/{made['id']}", json=wrong)
    assert problem(response) == (422, "validation_failed")
    assert response.json()["param"] == field


async def test_a_change_takes_effect_here_at_once_and_elsewhere_within_thirty_seconds(
    api: Api, start_api: StartApi, admin: httpx.AsyncClient, clock: Clock
) -> None:
    made = await make(admin)
    elsewhere = await start_api()
    assert await works(api, made["secret"])
    assert await works(elsewhere, made["secret"])
    await change(admin, made["id"], scopes=["completions"])
    caller = await api.client(made["secret"])
    assert problem(await caller.get("/v1/conversations")) == (403, "missing_scope")
    clock.ahead = authentication.CACHE_SECONDS + 1
    caller = await elsewhere.client(made["secret"])
    assert problem(await caller.get("/v1/conversations")) == (403, "missing_scope")


async def test_changes_at_once_do_not_undo_each_other(admin: httpx.AsyncClient) -> None:
    made = await make(admin)
    limits: list[dict[str, Any]] = [
        {"requests_per_minute": 1},
        {"tokens_per_minute": 2},
        {"open_streams": 3},
        {"total_budget": "4"},
    ]
    changes = [admin.patch(f"/v1/keys/{made['id']}", json={"limits": each}) for each in limits]
    changes.append(admin.patch(f"/v1/keys/{made['id']}", json={"name": "till"}))
    assert {response.status_code for response in await asyncio.gather(*changes)} == {200}
    found = (await admin.get(f"/v1/keys/{made['id']}")).json()
    assert found["name"] == "till"
    assert found["limits"] == UNLIMITED | limits[0] | limits[1] | limits[2] | limits[3]


async def test_nobody_changes_a_key_to_one_that_it_could_not_have_made(api: Api, admin: httpx.AsyncClient) -> None:
    own = await api.client_with("admin", tenant="mine", allowed=["speed"])
    wider = await make(admin, tenant="mine", allowed=["speed", "container"])
    for attempt in ({"allowed": ["speed", "container"]}, {"name": "x"}, {"expires_at": None}, {"scopes": ["admin"]}):
        response = await own.patch(f"/v1/keys/{wider['id']}", json=attempt)
        assert problem(response) == (403, "not_yours_to_allow")
    response = await own.post(f"/v1/keys/{wider['id']}/rotate", json={"overlap_seconds": 60})
    assert problem(response) == (403, "not_yours_to_allow")
    assert (await change(own, wider["id"], allowed=["speed"]))["allowed"] == ["speed"]
    assert await rotate(own, wider["id"], 0)


@pytest.mark.parametrize(
    ("method", "path", "body"), [("PATCH", "", {"name": "x"}), ("POST", "/rotate", {"overlap_seconds": 0})]
)
async def test_unknown_and_foreign_keys_and_tokens_are_not_changed(
    api: Api, admin: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]
) -> None:
    foreign = await make(admin, tenant="other")
    caller = await api.client_with(tenant="mine")
    conversation = (await caller.post("/v1/conversations", json={})).json()["id"]
    token = (await caller.post("/v1/tokens", json={"conversation_id": conversation})).json()
    own = await api.client_with("admin", tenant="mine")
    for id in (foreign["id"], token["id"], str(uuid7()), "7"):
        assert problem(await own.request(method, f"/v1/keys/{id}{path}", json=body)) == (404, "not_found")
    assert problem(await caller.request(method, f"/v1/keys/{foreign['id']}{path}", json=body)) == (403, "missing_scope")
    assert await works(api, foreign["secret"])


# -- exchanged secrets


async def test_both_secrets_are_good_until_the_overlap_ends(api: Api, admin: httpx.AsyncClient, clock: Clock) -> None:
    made = await make(admin)
    assert await works(api, made["secret"])  # and it is remembered
    new = await rotate(admin, made["id"], 3600)
    assert await works(api, new)
    assert await works(api, made["secret"])
    found = (await admin.get(f"/v1/keys/{made['id']}")).json()
    assert new.startswith(found["shown_prefix"])
    until = datetime.fromisoformat(found["previous_secret_until"])
    assert abs(until - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=30)
    clock.ahead = 3602
    assert not await works(api, made["secret"])
    assert await works(api, new)


async def test_without_an_overlap_the_old_secret_ends_here_at_once_and_elsewhere_within_thirty_seconds(
    api: Api, start_api: StartApi, admin: httpx.AsyncClient, clock: Clock
) -> None:
    made = await make(admin)
    elsewhere = await start_api()
    assert await works(api, made["secret"])
    assert await works(elsewhere, made["secret"])
    new = await rotate(admin, made["id"], 0)
    assert not await works(api, made["secret"])
    assert await works(elsewhere, new)
    clock.ahead = authentication.CACHE_SECONDS + 1
    assert not await works(elsewhere, made["secret"])
    assert (await admin.get(f"/v1/keys/{made['id']}")).json()["previous_secret_until"] is None


async def test_rotated_again_the_oldest_secret_ends_at_once(api: Api, admin: httpx.AsyncClient) -> None:
    made = await make(admin)
    second = await rotate(admin, made["id"], 3600)
    third = await rotate(admin, made["id"], 3600)
    assert [await works(api, secret) for secret in (made["secret"], second, third)] == [False, True, True]


async def test_an_old_secret_lives_no_longer_than_its_key(api: Api, admin: httpx.AsyncClient, clock: Clock) -> None:
    made = await make(admin, expires_at=(datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    new = await rotate(admin, made["id"], 604_800)
    clock.ahead = 62
    assert [await works(api, secret) for secret in (made["secret"], new)] == [False, False]


async def test_revoking_ends_both_secrets_and_what_was_made_with_either(api: Api, admin: httpx.AsyncClient) -> None:
    made = await make(admin, scopes=["completions", "conversations"])
    caller = await api.client(made["secret"])
    conversation = (await caller.post("/v1/conversations", json={})).json()["id"]
    token = (await caller.post("/v1/tokens", json={"conversation_id": conversation})).json()["token"]
    page = await api.client(token)
    new = await rotate(admin, made["id"], 3600)
    assert (await page.get(f"/v1/conversations/{conversation}")).status_code == 200
    await admin.delete(f"/v1/keys/{made['id']}")
    assert [await works(api, secret) for secret in (made["secret"], new)] == [False, False]
    assert problem(await page.get(f"/v1/conversations/{conversation}")) == (401, "invalid_api_key")


async def test_a_key_that_is_not_valid_gets_no_new_secret(
    api: Api, admin: httpx.AsyncClient, database_url: str
) -> None:
    made = await make(admin)
    await admin.delete(f"/v1/keys/{made['id']}")
    body = {"overlap_seconds": 0}
    assert problem(await admin.post(f"/v1/keys/{made['id']}/rotate", json=body)) == (409, "key_not_valid")
    made = await make(admin)
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE keys SET expires_at = clock_timestamp()")
    assert problem(await admin.post(f"/v1/keys/{made['id']}/rotate", json=body)) == (409, "key_not_valid")


async def test_a_revoked_key_cannot_be_changed_and_an_expired_one_can(
    api: Api, admin: httpx.AsyncClient, database_url: str
) -> None:
    revoked, expired = await make(admin), await make(admin)
    await admin.delete(f"/v1/keys/{revoked['id']}")
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE keys SET expires_at = clock_timestamp() WHERE id = %s", [expired["id"]])
    assert problem(await admin.patch(f"/v1/keys/{revoked['id']}", json={"name": "new"})) == (409, "key_not_valid")
    assert (await admin.get(f"/v1/keys/{revoked['id']}")).json()["name"] == revoked["name"]
    assert (await admin.patch(f"/v1/keys/{expired['id']}", json={"expires_at": None})).status_code == 200
    assert await works(api, expired["secret"])


@pytest.mark.parametrize("overlap", [-1, 604_801, "60", 1.5, True, None])
async def test_a_wrong_overlap_is_refused(api: Api, admin: httpx.AsyncClient, overlap: Any) -> None:
    made = await make(admin)
    response = await admin.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_seconds": overlap})
    assert problem(response) == (422, "validation_failed")
    assert await works(api, made["secret"])


# -- tokens


async def test_one_token_can_be_revoked_alone(api: Api, admin: httpx.AsyncClient) -> None:
    caller = await api.client_with()
    conversation = (await caller.post("/v1/conversations", json={})).json()["id"]
    tokens = [(await caller.post("/v1/tokens", json={"conversation_id": conversation})).json() for _ in range(2)]
    pages = [await api.client(token["token"]) for token in tokens]
    path = f"/v1/conversations/{conversation}"
    assert [(await page.get(path)).status_code for page in pages] == [200, 200]
    assert (await admin.delete(f"/v1/keys/{tokens[0]['id']}")).status_code == 204
    assert [(await page.get(path)).status_code for page in pages] == [401, 200]
