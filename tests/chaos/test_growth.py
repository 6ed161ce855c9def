"""A million completions and ten million messages in the store: a request reads as little as of a small one."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from local.upstream import SimulatedUpstream
from tests.support.postgres import Postgres
from tests.support.service import Service, Services, make_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LARGE: Final = (
    "completions",
    "completion_logs",
    "messages",
    "conversations",
    "ledger",
    "keys",
    "meters",
    "batches",
    "batch_items",
    "batch_events",
)
TIMES: Final = 20
# Rows that a request may read of all large tables: pages of 50 with what is joined to them, and then some.
ROWS: Final = 400
TENANT: Final = "default"
FILLING: Final = (
    """INSERT INTO keys (id, tenant, name, secret_sha256, shown_prefix, scopes)
       SELECT gen_random_uuid(), 'default', 'one of many', sha256(n::text::bytea), 'hw_', '{}'
       FROM generate_series(1, 10000) n""",
    """INSERT INTO meters (tenant, key_id) SELECT tenant, id FROM keys ON CONFLICT DO NOTHING""",
    """INSERT INTO conversations (id, tenant, title, external_id)
       SELECT ((lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 200000 + n), 12, '0'))
               || '7000' || lpad(to_hex(n | x'80000000'::bigint), 16, '8'))::uuid,
              'default', 'a title of ' || n, 'chat-' || n
       FROM generate_series(1, 200000) n""",
    """INSERT INTO messages (id, conversation_id, position, role, content)
       SELECT gen_random_uuid(), c.id, p, CASE WHEN p % 2 = 1 THEN 'user' ELSE 'assistant' END, '"Hello."'
       FROM conversations c, generate_series(1, 50) p""",
    # One every ten seconds for four months, all of one tenant.
    """INSERT INTO completions (id, tenant, status, model, store, on_disconnect, instance_id, request, content, end_seq,
                                created_at)
       SELECT (lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0')
               || '7000' || lpad(to_hex(n), 16, '8'))::uuid,
              'default', 'completed', 'claude-sim', true, 'continue', '01980000-0000-7000-8000-000000000001',
              '{"messages":[]}', '[]', 10, made
       FROM (SELECT n, now() - interval '10 s' * (1000001 - n) AS made FROM generate_series(1, 1000000) n)""",
    """INSERT INTO completion_logs (completion_id, data, created_at) SELECT id, 'x', created_at FROM completions""",
    """INSERT INTO ledger (completion_id, tenant, key_id, model, created_at, asked, second, reserved_input,
                           reserved_output, reserved, settled_at, input_tokens, output_tokens, cost, estimated)
       SELECT c.id, c.tenant, (SELECT k.id FROM keys k LIMIT 1), c.model, c.created_at, '{}', 0, 100, 100, 0.1,
              c.created_at, 10, 10, 0.01, false
       FROM completions c""",
    """INSERT INTO batches (id, tenant, key_id, status, parallelism, on_failure, approval, queued, succeeded, last_seq,
                            deadline, finished_at)
       SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 200000 + n), 12, '0')
               || '7000' || lpad(to_hex(n), 16, '9'))::uuid,
              'default', (SELECT k.id FROM keys k LIMIT 1), 'completed', 10, 'continue', 'none', 0, 5, 10, now(), now()
       FROM generate_series(1, 100000) n""",
    """INSERT INTO batch_items (batch_id, position, custom_id, status, request)
       SELECT b.id, p, 'item-' || p, 'succeeded', '{}' FROM batches b, generate_series(1, 5) p""",
    """INSERT INTO batch_events (batch_id, seq, type, data)
       SELECT b.id, s, 'item', '{}' FROM batches b, generate_series(1, 10) s""",
    "VACUUM ANALYZE",
)


@pytest.fixture(scope="module")
def full() -> Iterator[str]:
    with Postgres(settings={"max_wal_size": "8GB", "shared_buffers": "512MB"}) as server:
        url = server.create_database()
        with Postgres.connect(url) as conn:
            for statement in FILLING:
                conn.execute(statement.encode())
        yield url


def read(url: str) -> dict[str, tuple[int, int]]:
    """How often each table was read through, and how many of its rows were fetched."""
    with Postgres.connect(url) as conn:
        rows = conn.execute(
            "SELECT relname, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
            " WHERE relname = ANY (%s)",
            [list(LARGE)],
        ).fetchall()
    return {name: (scans, fetched) for name, scans, fetched in rows}


def settled(url: str) -> dict[str, tuple[int, int]]:
    """Once the server's processes have told of all that they did, which they do ten seconds after their last work."""
    time.sleep(12)
    return read(url)


async def test_every_request_reads_little(full: str, tmp_path: Path) -> None:
    async with SimulatedUpstream(events_per_second=0, first_event_ms=0) as upstream:
        services = Services(tmp_path, full, upstream.url)
        try:
            service = await services.start(maintenance_interval=3600)
            async with service.client(service.admin_key) as admin, service.client() as client:
                await make_key(admin, tenant=TENANT)  # what a start alone reads
                before = settled(full)
                asked = await _ask_everything(service, client, admin)
            after = settled(full)
        finally:
            services.end()
    told = {name: (after[name][0] - before[name][0], after[name][1] - before[name][1]) for name in LARGE}
    assert all(scans == 0 for scans, _ in told.values()), told
    assert sum(fetched for _, fetched in told.values()) < asked * ROWS, (asked, told)


async def _ask_everything(service: Service, client: httpx.AsyncClient, admin: httpx.AsyncClient) -> int:
    """Every kind of request that looks for rows, `TIMES` over; how many there were."""
    made = {"model": "claude-sim", "input": "Hello.", "max_tokens": 5, "stream": False}
    long_ago = datetime.now(UTC) - timedelta(days=60)
    moment = {"created_after": long_ago.isoformat(), "created_before": (long_ago + timedelta(minutes=5)).isoformat()}
    some = (await client.get("/v1/completions", params={"limit": 1})).json()["data"][0]["id"]
    talk = (await client.get("/v1/conversations", params={"limit": 1})).json()["data"][0]["id"]
    key = (await admin.get("/v1/keys", params={"limit": 1})).json()["data"][0]["id"]
    batch = (await client.get("/v1/batches", params={"limit": 1})).json()["data"][0]["id"]
    asked = 0
    for number in range(TIMES):
        first = (await client.post("/v1/completions", json=made)).raise_for_status().json()["id"]
        requests: list[tuple[httpx.AsyncClient, str, str, dict[str, Any]]] = [
            (client, "POST", "/v1/completions", {"json": {**made, "conversation_id": talk}}),
            (client, "POST", "/v1/completions", {"json": made, "headers": {"idempotency-key": f"n{number}"}}),
            (client, "POST", "/v1/completions", {"json": made, "headers": {"idempotency-key": f"n{number}"}}),
            (
                client,
                "POST",
                "/v1/responses",
                {"json": {"model": "claude-sim", "input": "Hello.", "max_output_tokens": 9}},
            ),
            (client, "GET", f"/v1/completions/{first}", {}),
            (client, "GET", f"/v1/completions/{first}/stream", {}),
            (client, "POST", f"/v1/completions/{first}/cancel", {}),
            (client, "GET", "/v1/completions", {}),
            (client, "GET", "/v1/completions", {"params": {"cursor": some}}),
            (client, "GET", "/v1/completions", {"params": moment}),
            (client, "GET", "/v1/completions", {"params": {"created_after": datetime.now(UTC).isoformat()}}),
            (client, "GET", "/v1/completions", {"params": {"status": "failed"}}),
            (client, "GET", "/v1/completions", {"params": {"status": "streaming"}}),
            (client, "GET", "/v1/completions", {"params": {"conversation_id": talk}}),
            (client, "DELETE", f"/v1/completions/{first}", {}),
            (client, "GET", "/v1/conversations", {}),
            (client, "GET", "/v1/conversations", {"params": {"external_id": f"chat-{number + 5}"}}),
            (client, "GET", f"/v1/conversations/{talk}", {}),
            (client, "GET", f"/v1/conversations/{talk}/messages", {}),
            (client, "GET", "/v1/batches", {}),
            (client, "GET", "/v1/batches", {"params": {"cursor": batch}}),
            (client, "GET", f"/v1/batches/{batch}", {}),
            (client, "GET", f"/v1/batches/{batch}/results", {}),
            (client, "GET", f"/v1/batches/{batch}/stream", {}),
            (client, "POST", f"/v1/batches/{batch}/cancel", {}),
            (admin, "GET", "/v1/keys", {}),
            (admin, "GET", f"/v1/keys/{key}", {}),
        ]
        for who, method, path, options in requests:
            response = await who.request(method, path, **options)
            assert response.status_code < 300, (method, path, response.text)
        asked += len(requests) + 1
    return asked


async def test_old_logs_are_deleted_beside_streams(full: str, tmp_path: Path) -> None:
    """Logs older than the retention go a thousand at a time, each time in a moment."""
    with Postgres.connect(full) as conn:
        (old,) = conn.execute(
            "SELECT count(*) FROM completion_logs WHERE created_at < now() - interval '7 days'"
        ).fetchone() or (0,)
    async with SimulatedUpstream(events_per_second=50, first_event_ms=0) as upstream:
        services = Services(tmp_path, full, upstream.url)
        try:
            service = await services.start(maintenance_interval=0.2)
            async with service.client() as client:
                body = {"model": "sim-ok?tokens=250", "input": "Hello.", "max_tokens": 500, "stream": False}
                answer = await client.post("/v1/completions", json=body)
        finally:
            services.end()
    assert answer.json()["status"] == "completed"
    with Postgres.connect(full) as conn:
        (left,) = conn.execute(
            "SELECT count(*) FROM completion_logs WHERE created_at < now() - interval '7 days'"
        ).fetchone() or (0,)
    assert old > 900_000
    assert old - 100_000 < left <= old - 5_000
