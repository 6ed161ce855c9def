"""What deciding on a request adds to its first token: `python -m bench.admission`.

On a Postgres of its own, which writes through to the disk, and the service's pool of five. Callers are admitted one at
a time and fifty at once, with one key and with fifty, without limits and with all of them; times are from the request
to the decision. What was admitted is ended apart from the measurement, fifty at a time. Done in two minutes.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
import psycopg
from pydantic import SecretStr

from app.catalogue import Catalogue
from app.completions.admission_queue import AdmissionQueue
from app.completions.estimate import Estimate
from app.completions.submission import Submission
from app.config import Settings
from app.db.pool import Pool, create_pool
from app.domain.completion import CompletionRequest, NewMessage
from app.domain.ids import uuid7
from app.domain.principal import Principal, Tenant
from app.prices import Asked, Prices
from bench.database import database

ROUNDS: Final = 3
ADMISSIONS: Final = 400
TENANT: Final = Tenant("bench")
REQUEST: Final = CompletionRequest(
    {"model": "claude-haiku-4-5", "max_tokens": 1000}, [NewMessage("user", msgspec.Raw(b'"Tell me about rivers."'))]
)
ALL_LIMITS: Final = (
    "requests_per_minute = 1000000, tokens_per_minute = 1000000000, open_streams = 100000, monthly_budget = 1000000"
)


def make_keys(url: str, number: int) -> list[UUID]:
    ids = [uuid7() for _ in range(number)]
    with psycopg.connect(url, autocommit=True) as conn:
        for id in ids:
            conn.execute(
                "INSERT INTO keys (id, tenant, name, secret_sha256, shown_prefix, scopes)"
                " VALUES (%s, %s, 'bench', %s, 'hw_', '{}')",
                (id, TENANT, id.bytes),
            )
            conn.execute("INSERT INTO meters (tenant, key_id) VALUES (%s, %s)", (TENANT, id))
    return ids


def limit(url: str, limits: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"UPDATE meters SET {limits}".encode())


def end_all(url: str) -> None:
    """As their ends would, but all at once."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("UPDATE completions SET status = 'completed' WHERE status = 'streaming'")
        conn.execute("UPDATE ledger SET settled_at = clock_timestamp() WHERE settled_at IS NULL")


async def admitted(queue: AdmissionQueue, settings: Settings, prices: Prices, instance: UUID, key: UUID) -> float:
    """Seconds until one request was decided on, all that the service does for it included."""
    began = time.perf_counter()
    stored = msgspec.json.encode({**REQUEST.body, "messages": REQUEST.messages})
    asked = Asked.of(REQUEST.body, stored)
    submission = Submission(
        id=uuid7(),
        principal=Principal(TENANT, key, frozenset()),
        instance=instance,
        home=settings.home,
        lease=settings.lease,
        max_history=settings.max_history,
        request=REQUEST,
        stored=stored,
        estimate=Estimate.of(REQUEST),
        asked=asked,
        rates=prices.rates(REQUEST.model, asked),
    )
    admission = await queue.admit(submission)
    assert admission.outcome == "admitted", admission
    return time.perf_counter() - began


async def measure(url: str, pool: Pool, settings: Settings, keys: Sequence[UUID], at_once: int) -> list[float]:
    prices, instance = Prices("anthropic", Catalogue()), uuid7()
    times: list[float] = []
    async with AdmissionQueue(pool) as queue:
        for first in range(0, ADMISSIONS, at_once):
            turn = [keys[number % len(keys)] for number in range(first, first + at_once)]
            times += await asyncio.gather(*(admitted(queue, settings, prices, instance, key) for key in turn))
            if len(times) % 50 == 0:
                await asyncio.to_thread(end_all, url)
    return times


async def round_trip(pool: Pool, at_once: int) -> list[float]:
    """The yardstick: the least that a call of the database takes here and now."""

    async def call() -> float:
        began = time.perf_counter()
        async with pool.connection() as conn:
            await conn.execute("SELECT 1")
        return time.perf_counter() - began

    return [
        each for _ in range(ADMISSIONS // at_once) for each in await asyncio.gather(*(call() for _ in range(at_once)))
    ]


def told(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:6.2f} ms   p99 {cuts[98] * 1000:6.2f} ms"


async def main() -> None:
    with database() as store:
        url = store.url
        settings = Settings(database_url=SecretStr(url))
        keys = make_keys(url, 50)
        async with create_pool(settings) as pool:
            await measure(url, pool, settings, keys, 50)  # every connection plans its first calls
            for limits in ("requests_per_minute = NULL", ALL_LIMITS):
                limit(url, limits)
                for at_once in (1, 50):
                    print(f"SELECT 1    {at_once:2} at once            {told(await round_trip(pool, at_once))}")
                    for used in (keys[:1], keys):
                        times = [
                            each for _ in range(ROUNDS) for each in await measure(url, pool, settings, used, at_once)
                        ]
                        with_limits = "all limits" if limits == ALL_LIMITS else "no limits "
                        print(f"{with_limits}  {at_once:2} at once  {len(used):2} keys   {told(times)}")


if __name__ == "__main__":
    asyncio.run(main())
