"""Keys and browser tokens in Postgres. A token is a row with a parent: the key that made it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from app.access.credentials import Credential
from app.access.meters import LIMITS, SPENT
from app.domain.principal import Tenant


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
    last_used_at: datetime | None
    previous_secret_until: datetime | None
    limits: dict[str, Any]
    spent: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Revoked:
    """When it was revoked: as it was before, and as it is now."""

    id: UUID
    tenant: Tenant
    before: datetime | None
    after: datetime


_INSERT: LiteralString = """
    WITH made AS (
        INSERT INTO keys (id, tenant, name, secret_sha256, shown_prefix, scopes, allowed, expires_at)
        VALUES (%(id)s, %(tenant)s, %(name)s, %(sha256)s, %(shown_prefix)s, %(scopes)s, %(allowed)s, %(expires_at)s)
        RETURNING id, tenant
    )
    INSERT INTO meters (tenant, key_id) SELECT tenant, id FROM made UNION ALL SELECT tenant, NULL FROM made
    ON CONFLICT DO NOTHING
"""

_SELECT: LiteralString = (
    "SELECT k.id, k.tenant, k.name, k.shown_prefix, k.scopes, k.allowed, k.created_at, k.expires_at, k.revoked_at,"
    " k.last_used_at,"
    " CASE WHEN k.previous_until > clock_timestamp() THEN k.previous_until END AS previous_secret_until,"
    + LIMITS
    + ", "
    + SPENT
    + " FROM keys k LEFT JOIN meters m ON m.tenant = k.tenant AND m.key_id = k.id"
    " WHERE k.parent_id IS NULL AND (%(tenant)s::text IS NULL OR k.tenant = %(tenant)s)"
)

_GET: LiteralString = _SELECT + " AND k.id = %(id)s"

_LOCK: LiteralString = (
    "SELECT FROM keys WHERE id = %(id)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) FOR NO KEY UPDATE"
)

_PAGE: LiteralString = (
    _SELECT + " AND (%(before)s::uuid IS NULL OR k.id < %(before)s) ORDER BY k.id DESC LIMIT %(limit)s"
)

_UPDATE: LiteralString = """
    UPDATE keys SET name = %(name)s, scopes = %(scopes)s, allowed = %(allowed)s, expires_at = %(expires_at)s
    WHERE id = %(id)s AND tenant = %(tenant)s
"""

# Of two secrets that were good until now, the older one ends here.
_ROTATE: LiteralString = """
    UPDATE keys SET
        previous_sha256 = CASE WHEN %(overlap)s > interval '0' THEN secret_sha256 END,
        previous_until = clock_timestamp() + %(overlap)s,
        secret_sha256 = %(sha256)s,
        shown_prefix = %(shown_prefix)s
    WHERE id = %(id)s AND tenant = %(tenant)s
"""

_REVOKE: LiteralString = """
    UPDATE keys k SET revoked_at = coalesce(k.revoked_at, clock_timestamp())
    FROM (
        SELECT id, revoked_at FROM keys
        WHERE id = %(id)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
        FOR NO KEY UPDATE
    ) old
    WHERE k.id = old.id
    RETURNING k.id, k.tenant, old.revoked_at AS before, k.revoked_at AS after
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
) -> None:
    """A key, with a meter of its own and one for its tenant; neither limits anything yet."""
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
    await conn.execute(_INSERT, parameters)


async def get(conn: AsyncConnection[Any], key_id: UUID, tenant: Tenant | None) -> Key | None:
    """A key; of any tenant if `tenant` is None, here and below."""
    async with conn.cursor(row_factory=class_row(Key)) as cur:
        await cur.execute(_GET, {"id": key_id, "tenant": tenant})
        return await cur.fetchone()


async def lock(conn: AsyncConnection[Any], key_id: UUID, tenant: Tenant | None) -> Key | None:
    """As `get`; until this transaction ends, nobody else changes the key."""
    await conn.execute(_LOCK, {"id": key_id, "tenant": tenant})
    return await get(
        conn, key_id, tenant
    )  # not in the statement that waited: it sees the limits that there were before


async def page(conn: AsyncConnection[Any], tenant: Tenant | None, *, before: UUID | None, limit: int) -> list[Key]:
    """Up to `limit` keys, newest first, that are older than the key `before`."""
    async with conn.cursor(row_factory=class_row(Key)) as cur:
        await cur.execute(_PAGE, {"tenant": tenant, "before": before, "limit": limit})
        return await cur.fetchall()


async def update(
    conn: AsyncConnection[Any],
    tenant: Tenant,
    key_id: UUID,
    *,
    name: str,
    scopes: Collection[str],
    allowed: Collection[str],
    expires_at: datetime | None,
) -> None:
    parameters = {"name": name, "scopes": sorted(scopes), "allowed": sorted(allowed), "expires_at": expires_at}
    await conn.execute(_UPDATE, {"id": key_id, "tenant": tenant, **parameters})


async def rotate(
    conn: AsyncConnection[Any], tenant: Tenant, key_id: UUID, credential: Credential, overlap: timedelta
) -> None:
    """Give the key a new secret; the one that it has had is good for so long."""
    parameters = {"sha256": credential.sha256, "shown_prefix": credential.shown_prefix, "overlap": overlap}
    await conn.execute(_ROTATE, {"id": key_id, "tenant": tenant, **parameters})


async def revoke(conn: AsyncConnection[Any], key_id: UUID, tenant: Tenant | None) -> Revoked | None:
    """None if there is no such key or token. One that was revoked before keeps that time."""
    async with conn.cursor(row_factory=class_row(Revoked)) as cur:
        await cur.execute(_REVOKE, {"id": key_id, "tenant": tenant})
        return await cur.fetchone()


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
