"""Requests that were sent again: which of them made what. Completions have theirs in the SQL function `admit`."""

from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection

from app.domain.completion import Idempotency
from app.domain.errors import IdempotencyKeyReused
from app.domain.principal import Tenant

_CLAIM: LiteralString = """
    INSERT INTO idempotency_keys (tenant, key, request_sha256, resource)
    VALUES (%(tenant)s, %(key)s, %(request_sha256)b, %(resource)s)
    ON CONFLICT DO NOTHING
"""

_CLAIMED: LiteralString = """
    SELECT request_sha256, resource FROM idempotency_keys WHERE tenant = %(tenant)s AND key = %(key)s
"""

_FORGET: LiteralString = "DELETE FROM idempotency_keys WHERE resource = %(resource)s"

# Items of batches have keys of their own (`batch:<id>:…`): what they began is found by them for as long as those last.
_DELETE_OLD: LiteralString = """
    DELETE FROM idempotency_keys WHERE (tenant, key) IN (
        SELECT tenant, key FROM idempotency_keys
        WHERE created_at < clock_timestamp() - %(retention)s
          AND (NOT starts_with(key, 'batch:') OR split_part(key, ':', 2) NOT IN (
              SELECT id::text FROM batches WHERE finished_at IS NULL))
        ORDER BY created_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
"""


async def claim(conn: AsyncConnection[Any], tenant: Tenant, again: Idempotency | None, resource: UUID) -> UUID | None:
    """Say that this request makes `resource`; answers what an earlier one of the same key made, None for the first.

    First thing in the transaction that makes it: whoever comes second waits here for its end, and holds no other lock.

    Raises:
        IdempotencyKeyReused: the key has named another request.
    """
    if again is None:
        return None
    parameters = {"tenant": tenant, "key": again.key, "request_sha256": again.request_sha256, "resource": resource}
    if (await conn.execute(_CLAIM, parameters)).rowcount == 1:
        return None
    row = await (await conn.execute(_CLAIMED, parameters)).fetchone()
    if row is None or row[0] != again.request_sha256:
        raise IdempotencyKeyReused
    made: UUID = row[1]
    return made


async def forget(conn: AsyncConnection[Any], resource: UUID) -> None:
    """The request that made `resource` has come to nothing: sent again, it is a first one."""
    await conn.execute(_FORGET, {"resource": resource})


async def delete_old(conn: AsyncConnection[Any], *, retention: float, limit: int = 1000) -> None:
    """Forget up to `limit` of the keys that are older than so many seconds. For the maintenance run."""
    await conn.execute(_DELETE_OLD, {"retention": timedelta(seconds=retention), "limit": limit})
