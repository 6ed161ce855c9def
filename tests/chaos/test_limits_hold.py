"""Limits, budgets and idempotency keys over two instances, under more callers than they let through."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from local.upstream import SimulatedUpstream
from tests.chaos.streams import Client, Connect
from tests.support.meters import limit
from tests.support.postgres import Postgres
from tests.support.service import Services

PRICED: Final = Path(__file__).with_name("prices.toml")
# A third of a second long; a dollar and five for a million tokens.
SHORT: Final = "sim-ok?rate=60&tokens=15"
CALLERS: Final = 200


class Pair:
    """Two instances on one database, and one key for both."""

    def __init__(self, database_url: str, key_id: str, clients: list[Client]) -> None:
        self.database_url = database_url
        self.key_id = key_id
        self.clients = clients

    def rows(self, statement: Any, *parameters: Any) -> list[Any]:
        with Postgres.connect(self.database_url) as conn:
            return conn.execute(statement, parameters).fetchall()

    async def ask(self, **fields: Any) -> int:
        """The status of one answer in one piece, from either instance."""
        body = {"model": SHORT, "input": "Hello.", "max_tokens": 100, "stream": False, **fields}
        status, _ = await random.choice(self.clients).call("POST", "/v1/completions", json=body)
        return status


@pytest.fixture
async def pair(tmp_path: Path, database_url: str, upstream: SimulatedUpstream, connect: Connect) -> AsyncIterator[Pair]:
    services = Services(tmp_path, database_url, upstream.url)
    try:
        started = [await services.start(models_file=PRICED, peek_timeout=10) for _ in range(2)]
        started[1].key = started[0].key
        clients = [await connect(service) for service in started]
        with Postgres.connect(database_url) as conn:
            key = conn.execute("SELECT id::text FROM keys WHERE secret_sha256 = sha256(%b)", (started[0].key.encode(),))
            [(key_id,)] = key.fetchall()
        yield Pair(database_url, key_id, clients)
    finally:
        services.end()


async def callers(pair: Pair, seconds: float, **fields: Any) -> list[int]:
    """Many that ask again and again, whatever they are told."""
    end = time.monotonic() + seconds
    statuses: list[int] = []

    async def call() -> None:
        while time.monotonic() < end:
            statuses.append(await pair.ask(**fields))
            await asyncio.sleep(random.uniform(0.5, 1.5))

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return statuses


@pytest.mark.timeout(180)
async def test_requests_and_open_streams_of_one_key(pair: Pair) -> None:
    limit(pair.database_url, "default", requests_per_minute=100, open_streams=10)
    statuses = await callers(pair, seconds=68)
    assert set(statuses) == {200, 429}
    spans = pair.rows(
        "SELECT extract(epoch FROM created_at)::float8, extract(epoch FROM settled_at)::float8 FROM ledger"
        " WHERE key_id = %s ORDER BY created_at",
        pair.key_id,
    )
    begun = [begin for begin, _ in spans]
    busiest = max(sum(1 for other in begun if begin <= other < begin + 60) for begin in begun)
    assert busiest == 100, "more than the limit, or not used up"
    changes = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    open_streams, most = 0, 0
    for _, change in changes:
        open_streams += change
        most = max(most, open_streams)
    assert most == 10, "more than the limit, or not used up"
    assert len(spans) == statuses.count(200)


@pytest.mark.timeout(120)
async def test_a_budget_of_one_key(pair: Pair) -> None:
    budget = Decimal("0.02")
    limit(pair.database_url, "default", total_budget=budget)
    most: list[Decimal] = []

    async def watch() -> None:
        while True:
            [(spent, reserved)] = await asyncio.to_thread(
                pair.rows,
                "SELECT m.spent, (SELECT coalesce(sum(l.reserved), 0) FROM ledger l"
                " WHERE l.key_id = m.key_id AND l.settled_at IS NULL) FROM meters m WHERE m.key_id = %s",
                pair.key_id,
            )
            most.append(spent + reserved)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())  # noqa: TID251 - cancelled below
    statuses = await callers(pair, seconds=15)
    watching.cancel()
    assert set(statuses) == {200, 402}
    [(spent, largest)] = pair.rows(
        "SELECT sum(cost), max(reserved) FROM ledger WHERE key_id = %s AND settled_at IS NOT NULL", pair.key_id
    )
    assert max(most) <= budget
    assert budget - largest < spent <= budget
    assert pair.rows("SELECT spent FROM meters WHERE key_id = %s", pair.key_id) == [(spent,)]


@pytest.mark.timeout(60)
async def test_a_hundred_requests_with_one_idempotency_key(pair: Pair, upstream: SimulatedUpstream) -> None:
    model = "sim-ok?rate=60&tokens=30&first_ms=200"
    body = {"model": model, "input": "Hello.", "max_tokens": 100}

    async def ask(session: aiohttp.ClientSession, number: int) -> tuple[int, str, bytes]:
        service = pair.clients[number % 2].service
        async with session.post(f"{service.url}/v1/completions", json=body) as response:
            text = (await response.read()).replace(b": keepalive\n\n", b"")
            return response.status, response.headers["x-completion-id"], text

    headers = {"authorization": f"Bearer {pair.clients[0].service.key}", "idempotency-key": "hundred"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        answers = await asyncio.gather(*(ask(session, number) for number in range(100)))
    assert {status for status, _, _ in answers} == {200}
    assert len({id for _, id, _ in answers}) == 1
    assert len({text for _, _, text in answers}) == 1
    assert answers[0][2].endswith(b"data: [DONE]\n\n")
    assert len([request for request in upstream.requests if (request.body or {}).get("model") == model]) == 1
    assert pair.rows("SELECT count(*) FROM completions") == [(1,)]
