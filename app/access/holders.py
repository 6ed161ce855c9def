"""Who holds which secret, in Postgres: what authentication asks and notes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from app.domain.errors import Unauthenticated
from app.domain.principal import Principal, Scope, Tenant


@dataclass(frozen=True, slots=True)
class Holder:
    """What a secret stands for; of a token, `key_id` is the key that made it.

    A token ends with its key, and a secret that was exchanged with its overlap: `expires_at` is the earliest of these
    times, `revoked` says so of either row.
    """

    sha256: bytes
    id: UUID
    key_id: UUID
    tenant: Tenant
    scopes: list[str]
    allowed: list[str]
    completion_id: UUID | None
    conversation_id: UUID | None
    expires_at: datetime | None
    revoked: bool
    used_lately: bool

    def is_newly_used(self, now: datetime) -> bool:
        """Whether its being asked for is a use of the key, the first for a minute."""
        return not (self.used_lately or self.revoked or (self.expires_at is not None and self.expires_at <= now))


_FIND: LiteralString = """
    SELECT f.sha256, k.id, coalesce(p.id, k.id) AS key_id, k.tenant, k.scopes, k.allowed,
           k.completion_id, k.conversation_id,
           least(k.expires_at, p.expires_at, f.until) AS expires_at,
           k.revoked_at IS NOT NULL OR p.revoked_at IS NOT NULL AS revoked,
           (CASE WHEN p.id IS NULL THEN k.last_used_at ELSE p.last_used_at END
            > clock_timestamp() - interval '1 minute') IS TRUE AS used_lately
    FROM (
        SELECT id, secret_sha256 AS sha256, NULL::timestamptz AS until
        FROM keys WHERE secret_sha256 = ANY (%(sha256s)b::bytea[])
        UNION ALL
        SELECT id, previous_sha256, previous_until
        FROM keys WHERE previous_sha256 = ANY (%(sha256s)b::bytea[])
    ) f
    JOIN keys k ON k.id = f.id LEFT JOIN keys p ON p.id = k.parent_id
"""

_OF_KEY: LiteralString = """
    SELECT tenant, scopes, allowed FROM keys
    WHERE id = %(id)s AND parent_id IS NULL AND revoked_at IS NULL AND (expires_at > clock_timestamp()) IS NOT FALSE
"""

# Whoever has a row locked is changing the key, and is not waited for.
_MARK_USED: LiteralString = """
    UPDATE keys SET last_used_at = clock_timestamp() WHERE id = ANY (ARRAY(
        SELECT id FROM keys
        WHERE id = ANY (%(ids)b::uuid[])
          AND (last_used_at > clock_timestamp() - interval '1 minute') IS NOT TRUE
        FOR NO KEY UPDATE SKIP LOCKED
    ))
"""


async def find(conn: AsyncConnection[Any], sha256s: Collection[bytes]) -> list[Holder]:
    """Who holds the secrets with these SHA-256; also those that were revoked or have expired."""
    async with conn.cursor(row_factory=class_row(Holder)) as cur:
        await cur.execute(_FIND, {"sha256s": list(sha256s)})
        return await cur.fetchall()


async def of_key(conn: AsyncConnection[Any], id: UUID) -> Principal:
    """Who a key stands for now, where work is done for it that it has asked for before.

    Raises:
        Unauthenticated: it was revoked, or has expired.
    """
    row = await (await conn.execute(_OF_KEY, {"id": id})).fetchone()
    if row is None:
        raise Unauthenticated("The API key was revoked or has expired.")
    tenant, scopes, allowed = row
    return Principal(tenant=tenant, key_id=id, scopes=known_scopes(scopes), allowed=frozenset(allowed))


def known_scopes(names: Collection[str]) -> frozenset[Scope]:
    """A newer version, running beside this one, may have scopes that this one does not know."""
    return frozenset(scope for scope in Scope if scope in names)


async def mark_used(conn: AsyncConnection[Any], ids: Collection[UUID]) -> None:
    """Note that these keys are in use, at most once a minute each."""
    await conn.execute(_MARK_USED, {"ids": list(ids)})
