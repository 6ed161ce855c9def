"""What a key or a tenant may use, and what it has spent, in Postgres. Amounts of money are decimals, told as text."""

from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from app.domain.principal import Tenant

# Columns of a row `m` of `meters`, or of none: JSON that the schemas `Limits` and `Spent` read.
LIMITS: LiteralString = """
    jsonb_build_object(
        'requests_per_minute', m.requests_per_minute, 'tokens_per_minute', m.tokens_per_minute,
        'open_streams', m.open_streams, 'monthly_budget', trim_scale(m.monthly_budget)::text,
        'total_budget', trim_scale(m.total_budget)::text, 'allow_unpriced', coalesce(m.allow_unpriced, false)) AS limits
"""
SPENT: LiteralString = """
    jsonb_build_object(
        'this_month', trim_scale(CASE WHEN m.month = date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')
                                      THEN m.spent_in_month ELSE 0 END)::text,
        'in_all', trim_scale(coalesce(m.spent, 0))::text) AS spent
"""

_SET: LiteralString = """
    INSERT INTO meters AS m (tenant, key_id, requests_per_minute, tokens_per_minute, open_streams, monthly_budget,
                             total_budget, allow_unpriced)
    VALUES (%(tenant)s, %(key_id)s, %(requests_per_minute)s, %(tokens_per_minute)s, %(open_streams)s,
            %(monthly_budget)s, %(total_budget)s, %(allow_unpriced)s)
    ON CONFLICT (tenant, key_id) DO UPDATE SET
        requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,
        open_streams = excluded.open_streams, monthly_budget = excluded.monthly_budget,
        total_budget = excluded.total_budget, allow_unpriced = excluded.allow_unpriced
"""

_LOCK_TENANT: LiteralString = "SELECT FROM meters WHERE tenant = %(tenant)s AND key_id IS NULL FOR UPDATE"

_OF_TENANT: LiteralString = (
    "SELECT "
    + LIMITS
    + ", "
    + SPENT
    + " FROM (SELECT %(tenant)s::text AS tenant) t LEFT JOIN meters m ON m.tenant = t.tenant AND m.key_id IS NULL"
)


async def set_limits(conn: AsyncConnection[Any], tenant: Tenant, key_id: UUID | None, limits: dict[str, Any]) -> None:
    """Put these limits in the place of those that there are; the tenant's own if there is no `key_id`."""
    await conn.execute(_SET, {"tenant": tenant, "key_id": key_id, **limits})


async def lock_tenant(conn: AsyncConnection[Any], tenant: Tenant) -> None:
    """Until this transaction ends, nobody else changes the tenant's limits, or is admitted by them."""
    await conn.execute(_LOCK_TENANT, {"tenant": tenant})


async def of_tenant(conn: AsyncConnection[Any], tenant: Tenant) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its own limits, and what all its keys have spent."""
    row = await (await conn.execute(_OF_TENANT, {"tenant": tenant})).fetchone()
    assert row is not None
    return row[0], row[1]
