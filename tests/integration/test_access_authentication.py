"""From a secret to its holder: what is looked up, what is remembered, and for how long."""

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID

import httpx
import pytest
from psycopg import AsyncConnection

from app.access import authentication, holders
from app.access.authentication import CACHE_SECONDS, Authenticator
from app.config import Settings
from app.domain.errors import Unauthenticated
from app.domain.principal import Principal, Scope, Tenant
from tests.support.api import Api, StartApi
from tests.support.clock import Clock
from tests.support.postgres import Postgres
from tests.support.problems import problem
from tests.support.service import ADMIN_KEY

UNKNOWN = "hw_" + "x" * 43


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    return clock


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The digests that the database was asked for."""
    asked: list[bytes] = []
    find = holders.find

    async def counted(conn: AsyncConnection[Any], sha256s: Collection[bytes]) -> list[holders.Holder]:
        asked.extend(sha256s)
        return await find(conn, sha256s)

    monkeypatch.setattr(holders, "find", counted)
    return asked


@pytest.fixture
def authenticate(api: Api) -> Authenticator:
    authenticator: Authenticator = api.state["authenticate"]
    return authenticator


async def key_id(api: Api, secret: str) -> UUID:
    return UUID(str((await api.state["authenticate"](secret)).key_id))


async def test_both_headers_are_taken(api: Api) -> None:
    secret = await api.key()
    nobody = await api.client()
    for headers in (
        {"authorization": f"Bearer {secret}"},
        {"authorization": f"bearer  {secret}"},
        {"x-api-key": secret},
    ):
        assert (await nobody.get("/v1/conversations", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "no_api_key"),
        ({"authorization": "Bearer"}, "no_api_key"),
        ({"authorization": "Basic aHc6eA=="}, "no_api_key"),
        ({"authorization": f"Bearer {UNKNOWN}"}, "invalid_api_key"),
        ({"x-api-key": "sk-ant-something"}, "invalid_api_key"),
        ({"x-api-key": "hw_ \u00e9"}, "invalid_api_key"),
        ({"x-api-key": ADMIN_KEY + "x"}, "invalid_api_key"),
    ],
)
async def test_who_brings_no_valid_key_is_refused(api: Api, headers: dict[str, str], code: str) -> None:
    nobody = await api.client()
    encoded = {name.encode(): value.encode() for name, value in headers.items()}
    assert problem(await nobody.get("/v1/conversations", headers=encoded)) == (401, code)


async def test_a_key_in_the_url_is_refused(api: Api) -> None:
    secret = await api.key()
    nobody = await api.client()
    assert problem(await nobody.get("/v1/conversations", params={"token": secret})) == (401, "key_in_url")


async def test_the_configured_admin_key_needs_no_look_up(authenticate: Authenticator, look_ups: list[bytes]) -> None:
    principal = await authenticate(ADMIN_KEY)
    assert principal == Principal(tenant=Tenant("default"), key_id=None, scopes=frozenset({Scope.ADMIN}))
    assert look_ups == []


async def test_without_an_admin_key_nobody_is_admin(api: Api) -> None:
    async with asyncio.TaskGroup() as tasks:
        authenticate = Authenticator(api.pool, Settings(), tasks)
        for secret in (ADMIN_KEY, "", "None"):
            with pytest.raises(Unauthenticated):
                await authenticate(secret)


async def test_what_cannot_be_a_secret_is_not_looked_up(authenticate: Authenticator, look_ups: list[bytes]) -> None:
    for secret in ("", "hw_", UNKNOWN[:-1], UNKNOWN + "x", "hwx" + UNKNOWN[3:], UNKNOWN[:-1] + "é", UNKNOWN + "\n"):
        with pytest.raises(Unauthenticated):
            await authenticate(secret)
    assert look_ups == []


async def test_a_wrong_key_writes_nothing(authenticate: Authenticator, database_url: str) -> None:
    with Postgres.connect(database_url) as conn:
        next_transaction = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
        before = conn.execute(next_transaction).fetchone()
        with pytest.raises(Unauthenticated):
            await authenticate(UNKNOWN)
        assert conn.execute(next_transaction).fetchone() == before


async def test_a_key_is_looked_up_once_in_thirty_seconds(
    api: Api, authenticate: Authenticator, clock: Clock, look_ups: list[bytes]
) -> None:
    secret = await api.key()
    for _ in range(3):
        await authenticate(secret)
    clock.ahead = CACHE_SECONDS - 1
    await authenticate(secret)
    assert len(look_ups) == 1
    clock.ahead = CACHE_SECONDS + 1
    await authenticate(secret)
    assert len(look_ups) == 2


async def test_a_clock_set_back_does_not_lengthen_that(
    api: Api, authenticate: Authenticator, clock: Clock, look_ups: list[bytes]
) -> None:
    secret = await api.key()
    await authenticate(secret)
    clock.ahead = -3600
    await authenticate(secret)
    assert len(look_ups) == 2


async def test_a_revocation_reaches_other_instances_within_thirty_seconds(
    api: Api, start_api: StartApi, clock: Clock
) -> None:
    secret = await api.key()
    elsewhere = await start_api()
    caller = await elsewhere.client(secret)
    assert (await caller.get("/v1/conversations")).status_code == 200
    await (await api.admin()).delete(f"/v1/keys/{await key_id(api, secret)}")

    clock.ahead = CACHE_SECONDS + 1
    assert problem(await caller.get("/v1/conversations")) == (401, "invalid_api_key")


async def test_a_refused_key_is_remembered_too(api: Api, authenticate: Authenticator, look_ups: list[bytes]) -> None:
    secret = await api.key()
    await (await api.admin()).delete(f"/v1/keys/{await key_id(api, secret)}")
    look_ups.clear()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await authenticate(secret)
    assert len(look_ups) == 1


async def test_an_expired_key_is_refused_though_remembered(
    api: Api, authenticate: Authenticator, clock: Clock, look_ups: list[bytes], database_url: str
) -> None:
    secret = await api.key()
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE keys SET expires_at = clock_timestamp() + interval '5 s'")
    await authenticate(secret)
    clock.ahead = 6
    with pytest.raises(Unauthenticated):
        await authenticate(secret)
    assert len(look_ups) == 1


async def test_the_memory_is_bounded(
    api: Api, authenticate: Authenticator, look_ups: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "_CACHE_SIZE", 2)
    first, second, third = [await api.key() for _ in range(3)]
    for secret in (first, second, third, second, third):
        await authenticate(secret)
    assert len(look_ups) == 3
    await authenticate(first)
    assert len(look_ups) == 4


async def test_a_scope_of_a_newer_version_is_passed_over(
    api: Api, authenticate: Authenticator, database_url: str
) -> None:
    secret = await api.key("completions")
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE keys SET scopes = scopes || '{telepathy}'")
    assert (await authenticate(secret)).scopes == {Scope.COMPLETIONS}
    listed: httpx.Response = await (await api.admin()).get("/v1/keys")
    assert listed.json()["data"][0]["scopes"] == ["completions", "telepathy"]
