"""A flood of wrong keys: it costs a connection at the most, writes nothing, and does not stand in others' way."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import psycopg
import pytest

from app.access import authentication, holders
from app.access.authentication import CACHE_SECONDS, Authenticator
from app.access.holders import Holder
from app.domain.errors import Unauthenticated
from tests.support.api import Api, StartApi
from tests.support.clock import Clock
from tests.support.headwater import until
from tests.support.postgres import Postgres

FLOOD: Final = 2_000
AT_ONCE: Final = 200
# Flood, callers and service share one thread here, of a machine that may be busy.
BOUND: Final = 45.0


def wrong() -> str:
    return "hw_" + secrets.token_urlsafe(32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(authentication, "time", clock)
    return clock


class Rounds:
    """The queries that look secrets up: how many, how many at a time, and how many secrets each."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.most_at_once = 0
        self._running = 0

    async def find(self, original: Any, conn: psycopg.AsyncConnection[Any], sha256s: Any) -> list[Holder]:
        self.sizes.append(len(sha256s))
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        try:
            found: list[Holder] = await original(conn, sha256s)
            return found
        finally:
            self._running -= 1


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    rounds, original = Rounds(), holders.find
    monkeypatch.setattr(holders, "find", lambda conn, sha256s: rounds.find(original, conn, sha256s))
    return rounds


@pytest.fixture
def look(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with Postgres.connect(database_url) as conn:
        yield conn


def next_transaction(conn: psycopg.Connection[Any]) -> int:
    """Grows with every transaction that writes."""
    row = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    assert row is not None
    return int(row[0])


async def flood(nobody: httpx.AsyncClient) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def attempt() -> None:
        async with places:
            response = await nobody.get("/v1/conversations", headers={"x-api-key": wrong()})
            assert response.status_code == 401

    await asyncio.gather(*[attempt() for _ in range(FLOOD)])


async def timed(caller: httpx.AsyncClient) -> float:
    started = time.monotonic()
    assert (await caller.get("/v1/conversations")).status_code == 200
    return time.monotonic() - started


@pytest.mark.timeout(180)
async def test_a_flood_of_wrong_keys_holds_nobody_up(api: Api, rounds: Rounds, look: psycopg.Connection[Any]) -> None:
    nobody, known, new = await api.client(), await api.client_with("conversations"), await api.client_with()
    await timed(known)
    rounds.sizes.clear()
    before = next_transaction(look)

    of_known: list[float] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        wave = group.create_task(flood(nobody))
        await until(lambda: len(rounds.sizes) > 2)
        of_new = await timed(new)
        assert not wave.done()
        while not wave.done():
            of_known.append(await timed(known))
    took = time.monotonic() - started

    assert of_new < BOUND
    assert max(of_known) < min(BOUND, took)
    assert rounds.most_at_once == 1
    assert len(rounds.sizes) < FLOOD / 4  # gathered
    assert next_transaction(look) <= before + 1  # the use of the one that was new


async def test_look_ups_leave_the_pool_to_others(start_api: StartApi, look: psycopg.Connection[Any]) -> None:
    api = await start_api(pool_min=2, pool_max=2)
    authenticate: Authenticator = api.state["authenticate"]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        with look.transaction():
            look.execute("LOCK TABLE keys")
            waiting = [group.create_task(refused(authenticate)) for _ in range(AT_ONCE)]
            await asyncio.sleep(0.2)
            for _ in range(10):
                async with api.pool.connection() as conn:
                    await conn.execute("SELECT 1")
            assert not any(task.done() for task in waiting)


async def refused(authenticate: Authenticator) -> None:
    with pytest.raises(Unauthenticated):
        await authenticate(wrong())


async def test_all_that_wait_for_one_secret_share_its_look_up(api: Api, rounds: Rounds) -> None:
    secret = await api.key()
    authenticate: Authenticator = api.state["authenticate"]
    principals = await asyncio.gather(*[authenticate(secret) for _ in range(50)])
    assert len(set(principals)) == 1
    assert sum(rounds.sizes) <= 2


async def test_who_stops_waiting_takes_nobody_along(api: Api, look: psycopg.Connection[Any]) -> None:
    secret = await api.key()
    authenticate: Authenticator = api.state["authenticate"]
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        with look.transaction():
            look.execute("LOCK TABLE keys")
            leaving = group.create_task(authenticate(secret))
            staying = group.create_task(authenticate(secret))
            await asyncio.sleep(0.1)
            leaving.cancel()
            await asyncio.wait([leaving])
            assert not staying.done()
        assert (await staying).tenant == "default"


async def test_wrong_keys_push_no_known_key_out(api: Api, rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "_CACHE_SIZE", 2)
    authenticate: Authenticator = api.state["authenticate"]
    known = [await api.key() for _ in range(2)]
    for secret in known:
        await authenticate(secret)
    await asyncio.gather(*[refused(authenticate) for _ in range(50)])
    rounds.sizes.clear()
    for secret in known:
        await authenticate(secret)
    assert rounds.sizes == []


async def test_what_was_read_before_a_change_is_not_remembered_after_it(
    api: Api, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await api.key("conversations")
    authenticate: Authenticator = api.state["authenticate"]
    id = (await authenticate(secret)).key_id
    clock.ahead = CACHE_SECONDS + 1
    read, go_on, original = asyncio.Event(), asyncio.Event(), holders.find

    async def slow(conn: psycopg.AsyncConnection[Any], sha256s: Any) -> list[Holder]:
        found = await original(conn, sha256s)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(holders, "find", slow)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        early = group.create_task(authenticate(secret))
        await read.wait()
        await (await api.admin()).delete(f"/v1/keys/{id}")
        go_on.set()
        assert (await early).key_id == id
    with pytest.raises(Unauthenticated):
        await authenticate(secret)
