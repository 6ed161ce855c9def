"""The SQL of chats: conversations found by the `external_id` that their client gave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg.rows import class_row

from app.conversations.repository import OWNED, Connection
from app.domain.ids import uuid7
from app.domain.principal import Tenant


@dataclass(frozen=True, slots=True)
class Chat:
    """`system` is JSON. `running` is the completion that streams in it, or that a lost instance left behind."""

    id: UUID
    system: bytes | None
    running: UUID | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a chat; `content` is JSON."""

    position: int
    role: str
    content: bytes
    completion_id: UUID | None


_RUNNING: LiteralString = (
    "(SELECT c.id FROM completions c"
    " WHERE c.conversation_id = v.id AND c.tenant = v.tenant AND c.status = 'streaming') AS running"
)

_FIND: LiteralString = (
    "SELECT v.id, v.system, " + _RUNNING + " FROM conversations v"
    " WHERE v.tenant = %(tenant)s AND v.external_id = %(external_id)s"
)

_CREATE: LiteralString = """
    INSERT INTO conversations (id, tenant, external_id) VALUES (%(id)s, %(tenant)s, %(external_id)s)
    ON CONFLICT (tenant, external_id) DO NOTHING
"""

_LOCK: LiteralString = """
    SELECT FROM conversations WHERE tenant = %(tenant)s AND external_id = %(external_id)s FOR UPDATE
"""

_LAST: LiteralString = f"""
    SELECT position, role, content, completion_id FROM messages
    WHERE conversation_id = %(id)s AND {OWNED} ORDER BY position DESC LIMIT %(limit)s
"""

# An answer is known by its first completion, or by the message's own id.
_ANSWER: LiteralString = f"""
    SELECT coalesce(min(position) FILTER (WHERE role = 'assistant'), max(position) + 1) AS position FROM messages
    WHERE conversation_id = %(id)s AND {OWNED}
      AND (completion_id::text = %(name)s OR id::text = %(name)s)
"""

# A question is known by the name that its client gave it, or by the message's own id.
_QUESTION: LiteralString = f"""
    SELECT min(m.position) AS position
    FROM messages m LEFT JOIN completions c ON c.id = m.completion_id
    WHERE m.conversation_id = %(id)s AND {OWNED} AND m.role = 'user'
      AND (c.metadata ->> 'ui_message_id' = %(name)s OR m.id::text = %(name)s)
"""

_CUT: LiteralString = f"""
    WITH cut AS (
        DELETE FROM messages WHERE conversation_id = %(id)s AND {OWNED} AND position >= %(position)s
        RETURNING id, conversation_id, position, role, content, completion_id, created_at, tokens
    )
    INSERT INTO replaced_messages
        (id, conversation_id, position, role, content, completion_id, created_at, tokens, replaced_by)
    SELECT id, conversation_id, position, role, content, completion_id, created_at, tokens, %(by)s FROM cut
"""


async def find(conn: Connection, tenant: Tenant, external_id: str) -> Chat | None:
    async with conn.cursor(binary=True, row_factory=class_row(Chat)) as cur:
        await cur.execute(_FIND, {"tenant": tenant, "external_id": external_id})
        return await cur.fetchone()


async def lock(conn: Connection, tenant: Tenant, external_id: str, *, create: bool) -> Chat | None:
    """The chat, made if it has to be; until the transaction ends nobody else changes or answers it."""
    parameters = {"id": uuid7(), "tenant": tenant, "external_id": external_id}
    if create:
        await conn.execute(_CREATE, parameters)
    await conn.execute(_LOCK, parameters)
    return await find(conn, tenant, external_id)  # not in the statement that waited: it sees what was there before


async def last_turns(conn: Connection, tenant: Tenant, id: UUID, limit: int) -> Sequence[Turn]:
    """The newest messages, the newest first."""
    async with conn.cursor(binary=True, row_factory=class_row(Turn)) as cur:
        await cur.execute(_LAST, {"tenant": tenant, "id": id, "limit": limit})
        return await cur.fetchall()


async def answer_position(conn: Connection, tenant: Tenant, id: UUID, name: str) -> int | None:
    """Where the answer stands, or would stand, that a client knows by this name."""
    return await _position(conn, _ANSWER, tenant, id, name)


async def question_position(conn: Connection, tenant: Tenant, id: UUID, name: str) -> int | None:
    """Where the question stands that a client knows by this name."""
    return await _position(conn, _QUESTION, tenant, id, name)


async def _position(conn: Connection, statement: LiteralString, tenant: Tenant, id: UUID, name: str) -> int | None:
    cur = await conn.execute(statement, {"tenant": tenant, "id": id, "name": name})
    row = await cur.fetchone()
    return row[0] if row else None


async def cut(conn: Connection, tenant: Tenant, id: UUID, position: int, by: UUID) -> None:
    """Take out the messages from this position on, for good if the completion `by` gets as far as its first event."""
    await conn.execute(_CUT, {"tenant": tenant, "id": id, "position": position, "by": by})
