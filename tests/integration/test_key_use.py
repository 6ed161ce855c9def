"""When a key was last used: shown, and written once a minute at the most."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.access import authentication
from app.access.authentication import CACHE_SECONDS
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.headwater import until
from tests.support.postgres import Postgres


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    return clock


class Uses:
    """Of the one key that there is; `version` is another one after each write of its row."""

    def __init__(self, database_url: str) -> None:
        self._conn = Postgres.connect(database_url)

    def last(self) -> datetime | None:
        row = self._conn.execute("SELECT last_used_at FROM keys WHERE parent_id IS NULL").fetchone()
        assert row is not None
        moment: datetime | None = row[0]
        return moment

    def version(self) -> Any:
        return self._conn.execute("SELECT xmin::text, ctid::text FROM keys WHERE parent_id IS NULL").fetchone()

    def long_ago(self) -> None:
        self._conn.execute("UPDATE keys SET last_used_at = last_used_at - interval '61 s'")

    def close(self) -> None:
        self._conn.close()


@pytest.fixture
def uses(api: Api, database_url: str) -> Iterator[Uses]:
    uses = Uses(database_url)
    yield uses
    uses.close()


async def test_a_use_is_shown(api: Api, uses: Uses) -> None:
    admin = await api.admin()
    caller = await api.client_with("conversations")
    assert (await admin.get("/v1/keys")).json()["data"][0]["last_used_at"] is None
    await caller.get("/v1/conversations")
    await until(uses.last)
    shown = datetime.fromisoformat((await admin.get("/v1/keys")).json()["data"][0]["last_used_at"])
    assert abs(datetime.now(UTC) - shown) < timedelta(seconds=30)


async def test_it_is_written_once_a_minute_however_often_it_is_looked_up(api: Api, uses: Uses, clock: Clock) -> None:
    caller = await api.client_with("conversations")
    await caller.get("/v1/conversations")
    await until(uses.last)
    written = uses.version()
    for n in range(1, 5):
        clock.ahead = n * (CACHE_SECONDS + 1)
        await asyncio.gather(*[caller.get("/v1/conversations") for _ in range(5)])
    assert uses.version() == written
    uses.long_ago()
    aged = uses.last()
    clock.ahead += CACHE_SECONDS + 1
    await caller.get("/v1/conversations")
    await until(lambda: uses.last() != aged)


async def test_a_remembered_key_writes_nothing(api: Api, uses: Uses) -> None:
    caller = await api.client_with("conversations")
    await caller.get("/v1/conversations")
    await until(uses.last)
    uses.long_ago()
    written = uses.version()
    for _ in range(5):
        await caller.get("/v1/conversations")
    assert uses.version() == written


async def test_a_tokens_use_is_its_keys(api: Api, uses: Uses) -> None:
    caller = await api.client_with()
    conversation = (await caller.post("/v1/conversations", json={})).json()["id"]
    token = (await caller.post("/v1/tokens", json={"conversation_id": conversation})).json()["token"]
    await until(uses.last)
    uses.long_ago()
    aged = uses.last()
    page: httpx.AsyncClient = await api.client(token)
    await page.get(f"/v1/conversations/{conversation}")
    await until(lambda: uses.last() != aged)


async def test_a_refused_key_is_not_used(api: Api, uses: Uses) -> None:
    caller = await api.client_with("conversations")
    admin = await api.admin()
    await admin.delete(f"/v1/keys/{(await admin.get('/v1/keys')).json()['data'][0]['id']}")
    assert (await caller.get("/v1/conversations")).status_code == 401
    assert (await (await api.client_with("conversations")).get("/v1/conversations")).status_code == 200  # a round later
    assert uses.last() is None


async def test_nobody_waits_for_a_key_that_is_being_changed(api: Api, database_url: str) -> None:
    caller = await api.client_with("conversations")
    with Postgres.connect(database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM keys FOR UPDATE")
        async with asyncio.timeout(10):
            assert (await caller.get("/v1/conversations")).status_code == 200
