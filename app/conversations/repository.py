"""Conversations and their messages in Postgres. Every call names the tenant: what belongs to another does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from app.domain.principal import Tenant

Connection = AsyncConnection[Any]

# For messages, which are their conversation's.
OWNED: LiteralString = "EXISTS (SELECT FROM conversations o WHERE o.id = %(id)s AND o.tenant = %(tenant)s)"


@dataclass(frozen=True, slots=True)
class Conversation:
    """`system` and `metadata` are JSON; `more`, in a page, whether another one follows."""

    id: UUID
    external_id: str | None
    title: str | None
    system: bytes | None
    metadata: str
    created_at: datetime
    updated_at: datetime
    more: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """`content` is JSON; `more`, in a page, whether another one follows."""

    id: UUID
    position: int
    role: str
    content: bytes
    completion_id: UUID | None
    created_at: datetime
    more: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """A running completion, and the instance that runs it if that still lives."""

    completion_id: UUID
    instance_id: UUID
    owner_alive: bool


_INSERT: LiteralString = """
    INSERT INTO conversations (id, tenant, external_id, title, system, metadata)
    VALUES (%(id)s, %(tenant)s, %(external_id)s, %(title)s, %(system)b, %(metadata)s)
    RETURNING id, external_id, title, system, metadata::text AS metadata, created_at, updated_at
"""

_GET: LiteralString = """
    SELECT id, external_id, title, system, metadata::text AS metadata, created_at, updated_at
    FROM conversations
    WHERE id = %(id)s AND tenant = %(tenant)s
"""

# The innermost query ends the scan, so the windows see no more than one page and one row.
_PAGE: LiteralString = """
    SELECT id, external_id, title, system, metadata, created_at, updated_at, more
    FROM (
        SELECT c.*, row_number() OVER w AS n, sum(size) OVER w AS total, lead(id) OVER w IS NOT NULL AS more
        FROM (
            SELECT id, external_id, title, system, metadata::text AS metadata, created_at, updated_at,
                   1000 + coalesce(octet_length(system), 0) + octet_length(metadata::text) AS size
            FROM conversations
            WHERE tenant = %(tenant)s
              AND (%(before)s::uuid IS NULL OR id < %(before)s)
              AND (%(external_id)s::text IS NULL OR external_id = %(external_id)s)
              AND (%(title)s::text IS NULL OR title ILIKE %(title)s)
              AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s)
            ORDER BY id DESC
            LIMIT %(limit)s + 1
        ) c
        WINDOW w AS (ORDER BY id DESC)
    ) c
    WHERE n <= %(limit)s AND (total <= %(max_bytes)s OR n = 1)
    ORDER BY id DESC
"""

_UPDATE: LiteralString = """
    UPDATE conversations SET
        external_id = CASE WHEN %(set_external_id)s THEN %(external_id)s::text ELSE external_id END,
        title = CASE WHEN %(set_title)s THEN %(title)s::text ELSE title END,
        system = CASE WHEN %(set_system)s THEN %(system)b::bytea ELSE system END,
        metadata = CASE WHEN %(set_metadata)s THEN %(metadata)s::jsonb ELSE metadata END,
        updated_at = clock_timestamp()
    WHERE id = %(id)s AND tenant = %(tenant)s
    RETURNING id, external_id, title, system, metadata::text AS metadata, created_at, updated_at
"""

_EXISTS: LiteralString = "SELECT FROM conversations WHERE id = %(id)s AND tenant = %(tenant)s"

_LOCK: LiteralString = "SELECT FROM conversations WHERE id = %(id)s AND tenant = %(tenant)s FOR UPDATE"

_BUSY: LiteralString = """
    SELECT c.id AS completion_id, c.instance_id,
           coalesce(lease_holds(i.lease_until, i.dead_at, %(lease)s), false) AS owner_alive
    FROM completions c LEFT JOIN instances i ON i.id = c.instance_id
    WHERE c.conversation_id = %(id)s AND c.tenant = %(tenant)s AND c.status = 'streaming'
"""

_DELETE_COMPLETIONS: LiteralString = "DELETE FROM completions WHERE conversation_id = %(id)s AND tenant = %(tenant)s"

_DELETE: LiteralString = "DELETE FROM conversations WHERE id = %(id)s AND tenant = %(tenant)s"

_TOUCH: LiteralString = (
    "UPDATE conversations SET updated_at = clock_timestamp() WHERE id = %(id)s AND tenant = %(tenant)s"
)

_MESSAGES: LiteralString = f"""
    SELECT id, position, role, content, completion_id, created_at, more
    FROM (
        SELECT m.*, row_number() OVER w AS n, sum(300 + octet_length(content)) OVER w AS total,
               lead(id) OVER w IS NOT NULL AS more
        FROM (
            SELECT id, position, role, content, completion_id, created_at
            FROM messages
            WHERE conversation_id = %(id)s AND {OWNED} AND position > %(after)s
            ORDER BY position
            LIMIT %(limit)s + 1
        ) m
        WINDOW w AS (ORDER BY position)
    ) m
    WHERE n <= %(limit)s AND (total <= %(max_bytes)s OR n = 1)
    ORDER BY position
"""

_APPENDED: LiteralString = f"""
    SELECT id, position, role, content, completion_id, created_at FROM messages
    WHERE conversation_id = %(id)s AND {OWNED} AND id = ANY (%(ids)b::uuid[])
    ORDER BY position
"""

_APPEND: LiteralString = f"""
    INSERT INTO messages (id, conversation_id, position, role, content)
    SELECT n.id, %(id)s, before.last + n.ordinality, n.role, n.content
    FROM unnest(%(ids)b::uuid[], %(roles)s::text[], %(contents)b::bytea[])
             WITH ORDINALITY AS n (id, role, content, ordinality),
         (SELECT coalesce(max(position), 0) AS last FROM messages WHERE conversation_id = %(id)s) AS before
    WHERE {OWNED}
    RETURNING id, position, role, content, completion_id, created_at
"""

_DELETE_LAST: LiteralString = f"""
    DELETE FROM messages
    WHERE conversation_id = %(id)s AND {OWNED}
      AND position = (SELECT max(position) FROM messages WHERE conversation_id = %(id)s)
"""


async def insert(
    conn: Connection,
    *,
    id: UUID,
    tenant: Tenant,
    external_id: str | None,
    title: str | None,
    system: bytes | None,
    metadata: str,
) -> Conversation:
    """
    Raises:
        psycopg.errors.UniqueViolation: the tenant has one with this `external_id`.
        psycopg.DataError: jsonb cannot hold `metadata`.
    """
    parameters = {
        "id": id,
        "tenant": tenant,
        "external_id": external_id,
        "title": title,
        "system": system,
        "metadata": metadata,
    }
    async with conn.cursor(binary=True, row_factory=class_row(Conversation)) as cur:
        await cur.execute(_INSERT, parameters)
        conversation = await cur.fetchone()
    assert conversation is not None
    return conversation


async def get(conn: Connection, tenant: Tenant, id: UUID) -> Conversation | None:
    async with conn.cursor(binary=True, row_factory=class_row(Conversation)) as cur:
        await cur.execute(_GET, {"tenant": tenant, "id": id})
        return await cur.fetchone()


async def page(
    conn: Connection,
    tenant: Tenant,
    *,
    before: UUID | None,
    limit: int,
    max_bytes: int,
    external_id: str | None = None,
    title: str | None = None,
    metadata: str | None = None,
) -> list[Conversation]:
    """Conversations older than `before`, newest first: up to `limit`, up to `max_bytes`, but one at the least.

    `title` is a LIKE pattern, `metadata` a JSON object that theirs contain.

    Raises:
        psycopg.DataError: jsonb cannot hold `metadata`.
    """
    parameters = {
        "tenant": tenant,
        "before": before,
        "limit": limit,
        "max_bytes": max_bytes,
        "external_id": external_id,
        "title": title,
        "metadata": metadata,
    }
    async with conn.cursor(binary=True, row_factory=class_row(Conversation)) as cur:
        await cur.execute(_PAGE, parameters)
        return await cur.fetchall()


async def update(
    conn: Connection, tenant: Tenant, id: UUID, changes: dict[str, str | bytes | None]
) -> Conversation | None:
    """Set the columns that `changes` names, of external_id, title, system and metadata; None if there is no such row.

    Raises:
        psycopg.errors.UniqueViolation: the tenant has another one with this `external_id`.
        psycopg.DataError: jsonb cannot hold `metadata`.
    """
    parameters: dict[str, Any] = {"tenant": tenant, "id": id}
    for column in ("external_id", "title", "system", "metadata"):
        parameters[f"set_{column}"] = column in changes
        parameters[column] = changes.get(column)
    async with conn.cursor(binary=True, row_factory=class_row(Conversation)) as cur:
        await cur.execute(_UPDATE, parameters)
        return await cur.fetchone()


async def exists(conn: Connection, tenant: Tenant, id: UUID) -> bool:
    cur = await conn.execute(_EXISTS, {"tenant": tenant, "id": id})
    return cur.rowcount == 1


async def lock(conn: Connection, tenant: Tenant, id: UUID) -> bool:
    """Until this transaction ends, nobody else changes the messages, admission among them; False if there is none."""
    cur = await conn.execute(_LOCK, {"tenant": tenant, "id": id})
    return cur.rowcount == 1


async def busy(conn: Connection, tenant: Tenant, id: UUID, lease: float) -> Busy | None:
    """The completion of this conversation that is streaming, if there is one; `lease` in seconds."""
    async with conn.cursor(binary=True, row_factory=class_row(Busy)) as cur:
        await cur.execute(_BUSY, {"tenant": tenant, "id": id, "lease": timedelta(seconds=lease)})
        return await cur.fetchone()


async def delete(conn: Connection, tenant: Tenant, id: UUID) -> None:
    """Delete a locked conversation that is not busy, with its messages, its completions and their logs."""
    await conn.execute(_DELETE_COMPLETIONS, {"tenant": tenant, "id": id})
    await conn.execute(_DELETE, {"tenant": tenant, "id": id})


async def messages(
    conn: Connection, tenant: Tenant, id: UUID, *, after: int, limit: int, max_bytes: int
) -> list[Message]:
    """Messages past the position `after`, in order: up to `limit`, up to `max_bytes`, but one at the least."""
    parameters = {"tenant": tenant, "id": id, "after": after, "limit": limit, "max_bytes": max_bytes}
    async with conn.cursor(binary=True, row_factory=class_row(Message)) as cur:
        await cur.execute(_MESSAGES, parameters)
        return await cur.fetchall()


async def append(
    conn: Connection, tenant: Tenant, id: UUID, *, ids: Sequence[UUID], roles: Sequence[str], contents: Sequence[bytes]
) -> list[Message]:
    """Add messages at the end of a locked conversation; answers them in order."""
    parameters = {"tenant": tenant, "id": id, "ids": list(ids), "roles": list(roles), "contents": list(contents)}
    async with conn.cursor(binary=True, row_factory=class_row(Message)) as cur:
        await cur.execute(_APPEND, parameters)
        inserted = await cur.fetchall()
    return sorted(inserted, key=lambda message: message.position)


async def appended(conn: Connection, tenant: Tenant, id: UUID, ids: Sequence[UUID]) -> list[Message]:
    """Those of these messages that are still there, in order."""
    async with conn.cursor(binary=True, row_factory=class_row(Message)) as cur:
        await cur.execute(_APPENDED, {"tenant": tenant, "id": id, "ids": list(ids)})
        return await cur.fetchall()


async def delete_last(conn: Connection, tenant: Tenant, id: UUID) -> bool:
    """Delete the last message of a locked conversation; False if it has none."""
    cur = await conn.execute(_DELETE_LAST, {"tenant": tenant, "id": id})
    return cur.rowcount == 1


async def touch(conn: Connection, tenant: Tenant, id: UUID) -> None:
    """Say that the conversation has changed."""
    await conn.execute(_TOUCH, {"tenant": tenant, "id": id})
