"""Keys and browser tokens in Postgres. A token is a row with a parent: the key that made it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from app.access.credentials import Credential
from app.domain.principal import Tenant


@dataclass(frozen=True, slots=True)
class Holder:
    """What a secret stands for. A token ends with its parent: `expires_at` is the earlier one, `revoked` either's."""

    key_id: UUID
    tenant: Tenant
    scopes: list[str]
    allowed: list[str]
    completion_id: UUID | None
    conversation_id: UUID | None
    expires_at: datetime | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class Key:
    id: UUID
    tenant: Tenant
    name: str
    shown_prefix: str
    scopes: list[str]
    allowed: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


_HOLDER: LiteralString = """
    SELECT coalesce(k.parent_id, k.id) AS key_id, k.tenant, k.scopes, k.allowed, k.completion_id, k.conversation_id,
           least(k.expires_at, p.expires_at) AS expires_at,
           k.revoked_at IS NOT NULL OR p.revoked_at IS NOT NULL AS revoked
    FROM keys k LEFT JOIN keys p ON p.id = k.parent_id
    WHERE k.secret_sha256 = %(sha256)s
"""

_INSERT: LiteralString = """
    WITH made AS (
        INSERT INTO keys (id, tenant, name, secret_sha256, shown_prefix, scopes, allowed, expires_at)
        VALUES (%(id)s, %(tenant)s, %(name)s, %(sha256)s, %(shown_prefix)s, %(scopes)s, %(allowed)s, %(expires_at)s)
        RETURNING id, tenant, name, shown_prefix, scopes, allowed, created_at, expires_at, revoked_at
    ), metered AS (
        INSERT INTO meters (tenant, key_id) SELECT tenant, id FROM made UNION ALL SELECT tenant, NULL FROM made
        ON CONFLICT DO NOTHING
    )
    SELECT * FROM made
"""

_GET: LiteralString = """
    SELECT id, tenant, name, shown_prefix, scopes, allowed, created_at, expires_at, revoked_at
    FROM keys
    WHERE id = %(id)s AND parent_id IS NULL AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
"""

_PAGE: LiteralString = """
    SELECT id, tenant, name, shown_prefix, scopes, allowed, created_at, expires_at, revoked_at
    FROM keys
    WHERE parent_id IS NULL
      AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
      AND (%(before)s::uuid IS NULL OR id < %(before)s)
    ORDER BY id DESC
    LIMIT %(limit)s
"""

_REVOKE: LiteralString = """
    UPDATE keys SET revoked_at = coalesce(revoked_at, clock_timestamp())
    WHERE id = %(id)s AND parent_id IS NULL AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
"""

_OWNS_COMPLETION: LiteralString = "SELECT FROM completions WHERE id = %(id)s AND tenant = %(tenant)s"

_OWNS_CONVERSATION: LiteralString = "SELECT FROM conversations WHERE id = %(id)s AND tenant = %(tenant)s"

_INSERT_BOUND: LiteralString = """
    INSERT INTO keys (id, tenant, name, secret_sha256, shown_prefix, scopes, parent_id,
                      completion_id, conversation_id, expires_at)
    SELECT %(id)s::uuid, p.tenant, p.name, %(sha256)s::bytea, %(shown_prefix)s::text, %(scopes)s::text[], p.id,
           %(completion_id)s::uuid, %(conversation_id)s::uuid,
           least(clock_timestamp() + %(ttl)s::interval, p.expires_at)
    FROM keys p
    WHERE p.id = %(parent_id)s AND p.revoked_at IS NULL AND (p.expires_at > clock_timestamp()) IS NOT FALSE
    RETURNING expires_at
"""

_DELETE_EXPIRED_TOKENS: LiteralString = """
    DELETE FROM keys WHERE id = ANY (ARRAY(
        SELECT id FROM keys
        WHERE parent_id IS NOT NULL AND expires_at < clock_timestamp()
        ORDER BY expires_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
"""


async def holder(conn: AsyncConnection[Any], sha256: bytes) -> Holder | None:
    """Who holds the secret with this SHA-256; also one that was revoked or has expired."""
    async with conn.cursor(row_factory=class_row(Holder)) as cur:
        await cur.execute(_HOLDER, {"sha256": sha256})
        return await cur.fetchone()


async def insert(
    conn: AsyncConnection[Any],
    *,
    id: UUID,
    tenant: Tenant,
    name: str,
    credential: Credential,
    scopes: Collection[str],
    allowed: Collection[str],
    expires_at: datetime | None,
) -> Key:
    parameters = {
        "id": id,
        "tenant": tenant,
        "name": name,
        "sha256": credential.sha256,
        "shown_prefix": credential.shown_prefix,
        "scopes": sorted(scopes),
        "allowed": sorted(allowed),
        "expires_at": expires_at,
    }
    async with conn.cursor(row_factory=class_row(Key)) as cur:
        await cur.execute(_INSERT, parameters)
        key = await cur.fetchone()
    assert key is not None
    return key


async def get(conn: AsyncConnection[Any], key_id: UUID, tenant: Tenant | None) -> Key | None:
    """A key; of any tenant if `tenant` is None, here and below."""
    async with conn.cursor(row_factory=class_row(Key)) as cur:
        await cur.execute(_GET, {"id": key_id, "tenant": tenant})
        return await cur.fetchone()


async def page(conn: AsyncConnection[Any], tenant: Tenant | None, *, before: UUID | None, limit: int) -> list[Key]:
    """Up to `limit` keys, newest first, that are older than the key `before`."""
    async with conn.cursor(row_factory=class_row(Key)) as cur:
        await cur.execute(_PAGE, {"tenant": tenant, "before": before, "limit": limit})
        return await cur.fetchall()


async def revoke(conn: AsyncConnection[Any], key_id: UUID, tenant: Tenant | None) -> bool:
    """False if there is no such key. One that was revoked before keeps that time."""
    cur = await conn.execute(_REVOKE, {"id": key_id, "tenant": tenant})
    return cur.rowcount == 1


async def owns_completion(conn: AsyncConnection[Any], tenant: Tenant, completion_id: UUID) -> bool:
    cur = await conn.execute(_OWNS_COMPLETION, {"id": completion_id, "tenant": tenant})
    return cur.rowcount == 1


async def owns_conversation(conn: AsyncConnection[Any], tenant: Tenant, conversation_id: UUID) -> bool:
    cur = await conn.execute(_OWNS_CONVERSATION, {"id": conversation_id, "tenant": tenant})
    return cur.rowcount == 1


async def insert_token(
    conn: AsyncConnection[Any],
    *,
    id: UUID,
    parent_id: UUID,
    credential: Credential,
    scopes: Collection[str],
    completion_id: UUID | None,
    conversation_id: UUID | None,
    ttl: timedelta,
) -> datetime | None:
    """When the new token expires, at the latest with its parent; None if the parent is no longer valid."""
    parameters = {
        "id": id,
        "parent_id": parent_id,
        "sha256": credential.sha256,
        "shown_prefix": credential.shown_prefix,
        "scopes": sorted(scopes),
        "completion_id": completion_id,
        "conversation_id": conversation_id,
        "ttl": ttl,
    }
    cur = await conn.execute(_INSERT_BOUND, parameters)
    row = await cur.fetchone()
    return row[0] if row else None


async def delete_expired_tokens(conn: AsyncConnection[Any], limit: int = 1000) -> None:
    """Forget up to `limit` tokens that have expired. For the maintenance run."""
    await conn.execute(_DELETE_EXPIRED_TOKENS, {"limit": limit})
