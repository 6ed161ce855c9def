"""The ledger after everything that can happen to two thousand completions: it is what the upstream says it sent."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.chaos.load import REFUSALS, TROUBLES, Plan, Sender, models_file, plans
from tests.support import ledger
from tests.support.headwater import until
from tests.support.ledger import COUNTS, Row
from tests.support.meters import limit
from tests.support.postgres import Postgres
from tests.support.service import Service, StartService, make_key

COMPLETIONS: Final = 2_000
SEED: Final = 20_261_126
AT_ONCE: Final = 100
LEASE: Final = 5
# The longest stream is cut by then.
LONGEST: Final = 8
# Room for a busy machine.
ROOM: Final = 15
SETTINGS: Final[dict[str, Any]] = {
    "lease": LEASE,
    "control_tick": 0.3,
    "maintenance_interval": 1,
    "peek_timeout": 0.5,
    "first_event_timeout": 3,
    "idle_timeout": 3,
    "total_timeout": LONGEST,
    "max_retries": 1,
    "disconnect_grace": 0.5,
}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture(scope="module")
def load() -> list[Plan]:
    return plans(COMPLETIONS, SEED)


async def keys_of(service: Service, database_url: str) -> list[str]:
    """Of two tenants; one key and its tenant have limits, which nobody reaches."""
    async with service.client(service.admin_key) as admin:
        keys = [service.key, await make_key(admin), await make_key(admin, tenant="limited")]
    wide = {"requests_per_minute": 10**6, "open_streams": 10**6, "total_budget": 10**9, "monthly_budget": 10**9}
    for of_tenant in (False, True):
        limit(database_url, "limited", of_tenant=of_tenant, **wide)
    return keys


async def send_all(sender: Sender, load: list[Plan], killed: Service, survivor: Service, database_url: str) -> None:
    """Kill one instance when half of the requests are on their way, and see that nothing of before stays open."""
    left = iter(load)

    async def work() -> None:
        for plan in left:
            if plan.number == len(load) // 2:
                sender.urls = [survivor.url]
                await asyncio.to_thread(killed.kill)
                workers.create_task(closed(database_url, datetime.now(UTC), LEASE + LONGEST + ROOM))
            await sender.send(plan)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_ONCE):
            workers.create_task(work())


async def closed(database_url: str, opened_before: datetime, within: float) -> None:
    """Return when no such row is open any more."""
    query = "SELECT count(*) FROM ledger WHERE settled_at IS NULL AND created_at < %s"
    await until(lambda: not count(database_url, query, opened_before), within)


def count(database_url: str, query: Any, *parameters: Any) -> int:
    with Postgres.connect(database_url) as conn:
        row = conn.execute(query, parameters).fetchone()
    assert row is not None
    number: int = row[0]
    return number


async def told_by(session: aiohttp.ClientSession, upstream: str) -> dict[str, dict[str, int] | None]:
    """What the upstream told of its usage, by model; None where it never got to an answer."""
    told: dict[str, dict[str, int] | None] = {}
    async with session.get(f"{upstream}/_sim/requests") as response:
        requests = json.loads(await response.read())
    for request in requests:
        model = str(request["body"]["model"])
        usage = counts_of(request["usage"]) if request["usage"] else None
        assert told.get(model) in (None, usage), "one answer to each question, however often it is asked"
        told[model] = usage or told.get(model)
    return told


def counts_of(usage: dict[str, Any]) -> dict[str, int]:
    return {
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "cache_read_tokens": usage["cache_read_input_tokens"],
        "cache_write_5m_tokens": usage["cache_creation"]["ephemeral_5m_input_tokens"],
        "cache_write_1h_tokens": usage["cache_creation"]["ephemeral_1h_input_tokens"],
        "web_searches": usage.get("server_tool_use", {}).get("web_search_requests", 0),
    }


def check(row: Row, plan: Plan, told: dict[str, dict[str, int] | None]) -> str:
    """What kind of row it is."""
    assert row.cost == plan.cost(row.counts), (row, plan)
    nothing = dict.fromkeys(COUNTS, 0)
    if row.status == "completed":
        assert (row.counts, row.estimated) == (told[plan.model], False), plan
        return "completed"
    if row.status == "failed" and plan.fault in REFUSALS:
        assert (row.counts, row.cost, row.estimated) == (nothing, Decimal(), False), plan
        return "refused"
    if not row.estimated:
        # Stopped before it was sent, or behind its last counts.
        assert row.counts in (nothing, told.get(plan.model)), (row, plan)
        return "known"
    return check_estimate(row, plan, told.get(plan.model))


def check_estimate(row: Row, plan: Plan, told: dict[str, int] | None) -> str:
    supposed = dict.fromkeys(COUNTS, 0) | {"input_tokens": row.reserved_input}
    if row.counts == supposed:
        return "supposed"
    assert told is not None, (row, plan)
    assert row.output_tokens, (row, plan)
    # All that the beginning of an answer tells, and the output by what came of it.
    begun = told | {"output_tokens": row.output_tokens, "web_searches": 0}
    assert row.counts == begun, (row, plan)
    return "cut"


@pytest.mark.timeout(400)
async def test_every_completion_is_booked_once_and_as_the_upstream_counted_it(
    start_service: StartService,
    session: aiohttp.ClientSession,
    database_url: str,
    upstream_process: str,
    load: list[Plan],
    tmp_path: Path,
) -> None:
    models = tmp_path / "models.toml"
    models.write_text(models_file(load))
    a, b = [await start_service(upstream_url=upstream_process, models_file=models, **SETTINGS) for _ in range(2)]
    async with session.delete(f"{upstream_process}/_sim/requests") as forgotten:
        assert forgotten.status == 204
    sender = Sender(session, [a.url, b.url], await keys_of(a, database_url), SEED)
    await send_all(sender, load, a, b, database_url)
    await closed(database_url, datetime.now(UTC), LONGEST + ROOM)

    # One row each.
    missing = "SELECT count(*) FROM completions c FULL JOIN ledger l ON l.completion_id = c.id WHERE {} IS NULL"
    assert count(database_url, missing.format("l.completion_id")) == 0
    assert count(database_url, missing.format("c.id")) == 0
    rows = ledger.select(database_url)
    by_model = {plan.model: plan for plan in load}
    told = await told_by(session, upstream_process)
    kinds = Counter(check(row, by_model[row.model], told) for row in rows)

    # Nothing of what was to happen was left out.
    assert len(rows) > COMPLETIONS * 0.9, "some were left, or lost with the instance, before they were admitted"
    assert kinds["completed"] > COMPLETIONS / 3, kinds
    assert min(kinds[kind] for kind in ("refused", "supposed", "cut")) > 20, kinds
    assert {"cancelled", "failed", "interrupted"} <= {row.status for row in rows}
    assert {by_model[model].fault for model in told if model in by_model} >= set(TROUBLES)
    assert not any(row.estimated for row in rows if row.status == "completed")

    await check_sums(session, b, database_url, rows)


async def check_sums(session: aiohttp.ClientSession, service: Service, database_url: str, rows: list[Row]) -> None:
    """`/v1/usage` and the meters come to the same as the rows."""
    headers = {"authorization": f"Bearer {service.admin_key}"}
    async with session.get(f"{service.url}/v1/usage?group_by=model,key&limit=10000", headers=headers) as response:
        groups = (await response.json())["data"]
    async with session.get(f"{service.url}/v1/usage", headers=headers) as response:
        [total] = (await response.json())["data"]
    for name in COUNTS:
        assert total[name] == sum(group[name] for group in groups) == sum(row.counts[name] for row in rows), name
    cost = sum((row.cost or Decimal() for row in rows), Decimal())
    assert Decimal(total["cost"]) == sum(Decimal(group["cost"]) for group in groups) == cost
    assert (total["completions"], total["open"], total["unpriced"]) == (len(rows), 0, 0)
    assert total["estimated"] == sum(row.estimated is True for row in rows)

    spent: dict[Any, Decimal] = defaultdict(Decimal)
    for row in rows:
        spent[row.tenant, row.key_id] += row.cost or 0
        spent[row.tenant, None] += row.cost or 0
    with Postgres.connect(database_url) as conn:
        meters = conn.execute("SELECT tenant, key_id, spent, spent_in_month FROM meters").fetchall()
    assert {(tenant, key): total for tenant, key, total, _ in meters if total} == spent
    assert all(total == month for *_, total, month in meters)
