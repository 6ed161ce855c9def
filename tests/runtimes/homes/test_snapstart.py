"""A snapshot holds no connection, and what goes on behind it works at once, long after it was taken."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from openai import AsyncOpenAI

from tests.runtimes.homes.results import MEASURED
from tests.runtimes.homes.snapshots import SNAPSTART, Snapshot
from tests.runtimes.homes.streams import body, read_all
from tests.runtimes.homes.targets import Home, Surroundings
from tests.support.postgres import Postgres
from tests.support.service import ADMIN_KEY, make_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

_OLD = 90.0


def _connections(around: Surroundings, of: str) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    with Postgres.connect(around.database_url) as conn:
        row = conn.execute(query, [of]).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("name", SNAPSTART)
async def test_it_goes_on_behind_a_snapshot_ninety_seconds_old(
    around: Surroundings,
    snapshots: dict[str, Snapshot],
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    taken = snapshots[name]
    assert _connections(around, taken.service_name) == 0
    await asyncio.sleep(max(0, taken.taken + _OLD - time.monotonic()))
    account = taken.emulated.service.account
    assert (len(account.inits), account.restores) == (2, [])
    url = taken.emulated.url
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": ADMIN_KEY}, timeout=60) as admin:
        key = await make_key(admin)  # the first request of the restored copy
        assert len(account.restores) == 1
    home = Home(url, key, taken.emulated)
    if name == "adapter":
        await _streams_and_hands_over(home)
    else:
        async with home.client() as client:
            response = await client.post("/v1/completions", json=body(stream=False))
            assert response.status_code == 200, response.text
    assert not account.failures
    record_property(MEASURED, f"{name}: restored in {account.restores[0]:.0f} ms, started in {account.inits[0]:.0f} ms")


async def _streams_and_hands_over(home: Home) -> None:
    """The hand-over calls AWS, with credentials that no variable holds."""
    async with home.client() as client:
        events, others = await asyncio.gather(read_all(client), read_all(client))
        assert (events[-1].data, others[-1].data) == ("[DONE]", "[DONE]")
    async with AsyncOpenAI(base_url=f"{home.url}/v1", api_key=home.key, max_retries=0) as client:
        response = await client.responses.create(model="sim-ok?tokens=5&first_ms=0", input="Hello.", background=True)
        async with asyncio.timeout(30):
            while response.status in ("queued", "in_progress"):
                await asyncio.sleep(0.1)
                response = await client.responses.retrieve(response.id)
    assert response.status == "completed"
