"""How Postgres finds the rows that are summed up, among a hundred thousand."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from app.access.usage_repository import parameters, statement
from app.access.usage_schemas import UsageQuery
from app.completions import repository
from app.completions.repository import Filter
from tests.support.postgres import Postgres

ROWS: Final = 100_000
KEY: Final = UUID(int=7)
CONVERSATION: Final = {"conversation_id": str(UUID(int=11))}
DAY: Final = {"from": "2026-10-10", "to": "2026-10-11"}
EVERYTHING: Final = "day,model,key,conversation"


@pytest.fixture(scope="module")
def full(postgres: Postgres) -> Iterator[str]:
    """Half a year of ten tenants, a hundred keys and a thousand conversations, in the order of their making."""
    url = postgres.create_database()
    with Postgres.connect(url) as conn:
        conn.execute(
            """
            INSERT INTO ledger (completion_id, tenant, key_id, conversation_id, model, created_at, asked, second,
                                reserved_input, reserved_output, reserved, settled_at, input_tokens, cost, estimated)
            SELECT gen_random_uuid(), 'tenant-' || n %% 10, lpad(to_hex(n %% 100), 32, '0')::uuid,
                   CASE WHEN n %% 2 = 1 THEN lpad(to_hex(n %% 1000), 32, '0')::uuid END, 'claude-' || n %% 3,
                   timestamptz '2026-06-01' + n * interval '150 s', '{}', 0, 100, 100, 0.1,
                   CASE WHEN n < %(rows)s - 100 THEN timestamptz '2026-12-01' END, 10, 0.01, false
            FROM generate_series(1, %(rows)s) n
            """,
            {"rows": ROWS},
        )
        conn.execute(
            "INSERT INTO completions (id, tenant, status, model, store, on_disconnect, instance_id)"
            " SELECT completion_id, tenant, 'completed', model, true, 'continue', gen_random_uuid() FROM ledger"
        )
        conn.execute("ANALYZE")
    yield url
    postgres.drop_database(url)


def plan(url: str, query: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes that read a table or an index."""
    with Postgres.connect(url) as conn:
        row = conn.execute("EXPLAIN (FORMAT JSON) " + query, values).fetchone()
    assert row is not None
    left, found = [row[0][0]["Plan"]], []
    while left:
        node = left.pop()
        left += node.get("Plans", [])
        found += [node] if "Scan" in node["Node Type"] else []
    assert found, json.dumps(row[0])
    return found


def usage_plan(url: str, tenant: str | None, owner: UUID | None, asked: dict[str, Any]) -> list[dict[str, Any]]:
    query = UsageQuery.model_validate(asked)
    seen = {"tenant": tenant, "owner": owner, "limit": 1_001}
    return plan(url, statement(query.groups, behind=False), parameters(query, None) | seen)


@pytest.mark.parametrize("group_by", ["", "day", EVERYTHING])
@pytest.mark.parametrize(
    ("tenant", "owner", "asked", "index"),
    [
        pytest.param("tenant-7", None, DAY, "ledger_tenant", id="a tenant's day"),
        pytest.param("tenant-7", KEY, DAY, "ledger_key", id="a key's day"),
        pytest.param("tenant-7", KEY, {}, "ledger_key", id="all of a key"),
        pytest.param("tenant-7", None, DAY | {"key_id": str(KEY)}, "ledger_key", id="a tenant's key"),
        pytest.param("tenant-1", None, CONVERSATION, "ledger_conversation", id="a conversation"),
        # By skipping from tenant to tenant, where Postgres can do that.
        pytest.param(None, None, DAY, "ledger_created ledger_tenant", id="everybody's day"),
    ],
)
def test_no_more_is_read_than_is_summed_up(
    full: str, tenant: str | None, owner: UUID | None, asked: dict[str, Any], index: str, group_by: str
) -> None:
    nodes = usage_plan(full, tenant, owner, asked | {"group_by": group_by})
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}
    assert {node["Index Name"] for node in nodes if "Index Name" in node} & set(index.split())


def test_the_ledger_is_joined_by_its_key(full: str) -> None:
    filters = dict.fromkeys([*Filter.__struct_fields__, "earliest", "latest"])
    page = filters | {"tenant": "tenant-7", "cursor": None, "limit": 51, "lease": timedelta(seconds=15)}
    nodes = [node for node in plan(full, repository.LIST, page) if node.get("Relation Name") == "ledger"]
    assert [(node["Node Type"], node["Index Name"]) for node in nodes] == [("Index Scan", "ledger_pkey")]
