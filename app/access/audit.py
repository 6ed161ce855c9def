"""Who changed which key or limit, in Postgres. A row is written in the transaction of the change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from app.domain.ids import uuid7
from app.domain.principal import Principal, Tenant


@dataclass(frozen=True, slots=True)
class Entry:
    """`before` and `after` have what changed. `actor_id` is None for the configured admin key."""

    id: UUID
    at: datetime
    tenant: Tenant
    actor_id: UUID | None
    action: str
    key_id: UUID | None
    before: dict[str, Any]
    after: dict[str, Any]


_INSERT: LiteralString = """
    INSERT INTO audit (id, tenant, actor_id, action, key_id, details)
    VALUES (%(id)s, %(tenant)s, %(actor_id)s, %(action)s, %(key_id)s, %(details)s)
"""

_PAGE: LiteralString = """
    SELECT id, at, tenant, actor_id, action, key_id, details -> 'before' AS before, details -> 'after' AS after
    FROM audit
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
      AND (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s)
      AND (%(before)s::uuid IS NULL OR id < %(before)s)
    ORDER BY id DESC
    LIMIT %(limit)s
"""


async def note(
    conn: AsyncConnection[Any],
    actor: Principal,
    tenant: Tenant,
    action: str,
    key_id: UUID | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    """Keep what differs between these two, which hold JSON; nothing if nothing does."""
    changed = [name for name, value in after.items() if before.get(name) != value]
    if not changed:
        return
    details = {
        "before": {name: before[name] for name in changed if name in before},
        "after": {name: after[name] for name in changed},
    }
    parameters = {
        "id": uuid7(),
        "tenant": tenant,
        "actor_id": actor.key_id,
        "action": action,
        "key_id": key_id,
        "details": Jsonb(details),
    }
    await conn.execute(_INSERT, parameters)


async def page(
    conn: AsyncConnection[Any], tenant: Tenant | None, *, key_id: UUID | None, before: UUID | None, limit: int
) -> list[Entry]:
    """Up to `limit` entries, newest first, older than `before`; of all tenants if `tenant` is None."""
    async with conn.cursor(row_factory=class_row(Entry)) as cur:
        await cur.execute(_PAGE, {"tenant": tenant, "key_id": key_id, "before": before, "limit": limit})
        return await cur.fetchall()
