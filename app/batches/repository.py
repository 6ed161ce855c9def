"""Batches in Postgres. Whoever decides on one holds its row (`lock`) until the transaction ends."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from app.domain.principal import Tenant

Connection = AsyncConnection[Any]

FINAL: Final = frozenset({"completed", "failed", "cancelled", "rejected", "expired"})


class Batch(msgspec.Struct, frozen=True):
    """`queued` to `cancelled` are the numbers of its items, by their status. The task token is no part of it."""

    id: UUID
    tenant: Tenant
    key_id: UUID
    status: str
    reason: str | None
    ends_as: str | None
    round: int
    started: bool
    parallelism: int
    on_failure: str
    approval: str
    metadata: dict[str, Any]
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    last_seq: int
    created_at: datetime
    deadline: datetime
    seconds_left: float
    approved_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_open(self) -> bool:
        """Whether its items may be worked on."""
        return self.ends_as is None and self.status in ("queued", "running")

    @property
    def is_late(self) -> bool:
        return self.seconds_left <= 0

    @property
    def unfinished(self) -> int:
        return self.queued + self.running


_COLUMNS: LiteralString = (
    "id, tenant, key_id, status, reason, ends_as, round, started, parallelism, on_failure, approval, metadata,"
    " queued, running, succeeded, failed, cancelled, last_seq, created_at, deadline,"
    " extract(epoch FROM deadline - clock_timestamp())::float8 AS seconds_left, approved_at, finished_at"
)
_INSERT: LiteralString = (
    "INSERT INTO batches (id, tenant, key_id, parallelism, on_failure, approval, metadata, queued, deadline)"
    " VALUES (%(id)s, %(tenant)s, %(key_id)s, %(parallelism)s, %(on_failure)s, %(approval)s, %(metadata)s, %(items)s,"
    " coalesce(%(deadline)s, clock_timestamp() + %(default_limit)s))"
)
_INSERT_ITEMS: LiteralString = (
    "INSERT INTO batch_items (batch_id, position, custom_id, request)"
    " SELECT %(id)s, n, custom_id, request"
    " FROM unnest(%(custom_ids)b::text[], %(requests)b::bytea[]) WITH ORDINALITY AS t (custom_id, request, n)"
)
_TURN: LiteralString = "SELECT turn_batch(%(id)s, %(status)s, %(reason)s)"
_GET: LiteralString = "SELECT " + _COLUMNS + " FROM batches WHERE id = %(id)s AND tenant = %(tenant)s"
_LOCK: LiteralString = "SELECT " + _COLUMNS + " FROM batches WHERE id = %(id)s FOR UPDATE"
_LOCK_OF: LiteralString = "SELECT " + _COLUMNS + " FROM batches WHERE id = %(id)s AND tenant = %(tenant)s FOR UPDATE"
_PAGE: LiteralString = (
    "SELECT " + _COLUMNS + " FROM batches WHERE tenant = %(tenant)s AND (%(cursor)s::uuid IS NULL OR id < %(cursor)s)"
    " ORDER BY id DESC LIMIT %(limit)s"
)
_END_AS: LiteralString = "UPDATE batches SET ends_as = %(status)s, reason = %(reason)s WHERE id = %(id)s"
# A new execution is described only a moment later ("eventually consistent", API reference, DescribeExecution).
_STARTED: LiteralString = (
    "UPDATE batches SET started = true, looked_at = clock_timestamp() WHERE id = %(id)s AND round = %(round)s"
)
_APPROVE: LiteralString = "UPDATE batches SET approved_at = clock_timestamp() WHERE id = %(id)s"
_NEXT_ROUND: LiteralString = (
    "UPDATE batches SET round = round + 1, started = false, ends_as = NULL, approved_at = NULL, task_token = NULL,"
    " deadline = clock_timestamp() + (deadline - began_at), began_at = clock_timestamp() WHERE id = %(id)s"
)
_WAIT: LiteralString = "UPDATE batches SET task_token = %(token)s WHERE id = %(id)s"
_WAITED_BY: LiteralString = "SELECT task_token FROM batches WHERE id = %(id)s"
_WAIT_NO_MORE: LiteralString = "UPDATE batches SET task_token = NULL WHERE id = %(id)s AND task_token = %(token)s"
_DELETE: LiteralString = "DELETE FROM batches WHERE id = %(id)s"
_DELETE_OLD: LiteralString = (
    "DELETE FROM batches WHERE id = ANY (ARRAY("
    " SELECT id FROM batches WHERE finished_at < now() - %(retention)s"
    " ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))"
)


async def insert(
    conn: Connection,
    *,
    id: UUID,
    tenant: Tenant,
    key_id: UUID,
    parallelism: int,
    on_failure: str,
    approval: str,
    metadata: dict[str, Any],
    deadline: datetime | None,
    default_limit: float,
    custom_ids: Sequence[str],
    requests: Sequence[bytes],
) -> None:
    """A batch with its items, at the positions 1, 2, 3, …; without a `deadline` it has `default_limit` seconds."""
    columns = {
        "tenant": tenant,
        "key_id": key_id,
        "parallelism": parallelism,
        "on_failure": on_failure,
        "approval": approval,
        "metadata": Jsonb(metadata),
        "deadline": deadline,
        "default_limit": timedelta(seconds=default_limit),
    }
    await conn.execute(_INSERT, {"id": id, "items": len(requests), **columns})
    await conn.execute(_INSERT_ITEMS, {"id": id, "custom_ids": list(custom_ids), "requests": list(requests)})
    await turn(conn, id, "queued")


async def turn(conn: Connection, id: UUID, status: str, reason: str | None = None) -> None:
    """Give it another status, which its log tells."""
    await conn.execute(_TURN, {"id": id, "status": status, "reason": reason})


async def get(conn: Connection, tenant: Tenant, id: UUID) -> Batch | None:
    return await _one(conn, _GET, {"id": id, "tenant": tenant})


async def lock(conn: Connection, id: UUID) -> Batch | None:
    """For the engine's steps, which know it by its id alone."""
    return await _one(conn, _LOCK, {"id": id})


async def lock_of(conn: Connection, tenant: Tenant, id: UUID) -> Batch | None:
    return await _one(conn, _LOCK_OF, {"id": id, "tenant": tenant})


async def _one(conn: Connection, query: LiteralString, parameters: dict[str, object]) -> Batch | None:
    async with conn.cursor(row_factory=class_row(Batch)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchone()


async def page(conn: Connection, tenant: Tenant, cursor_id: UUID | None, limit: int) -> list[Batch]:
    """The newest first; `limit` of them at the most, older than `cursor_id`."""
    async with conn.cursor(row_factory=class_row(Batch)) as cursor:
        await cursor.execute(_PAGE, {"tenant": tenant, "cursor": cursor_id, "limit": limit})
        return await cursor.fetchall()


async def end_as(conn: Connection, id: UUID, status: str, reason: str | None) -> None:
    """What it will be once its last items are on their way."""
    await conn.execute(_END_AS, {"id": id, "status": status, "reason": reason})


async def note_started(conn: Connection, id: UUID, round: int) -> None:
    await conn.execute(_STARTED, {"id": id, "round": round})


async def approve(conn: Connection, id: UUID) -> None:
    await conn.execute(_APPROVE, {"id": id})


async def next_round(conn: Connection, id: UUID) -> None:
    """It has as much time as it had for the last one."""
    await conn.execute(_NEXT_ROUND, {"id": id})


async def keep_token(conn: Connection, id: UUID, token: str | None) -> None:
    await conn.execute(_WAIT, {"id": id, "token": token})


async def token(conn: Connection, id: UUID) -> str | None:
    """What the engine waits for an answer by, if it does."""
    row = await (await conn.execute(_WAITED_BY, {"id": id})).fetchone()
    return row[0] if row else None


async def forget_token(conn: Connection, id: UUID, token: str) -> None:
    """It was answered, or is not waited for any more."""
    await conn.execute(_WAIT_NO_MORE, {"id": id, "token": token})


async def delete(conn: Connection, id: UUID) -> None:
    await conn.execute(_DELETE, {"id": id})


async def delete_old(conn: Connection, *, retention: float, limit: int = 5) -> None:
    """Forget up to `limit` that ended more than so many seconds ago, with their items. For the maintenance run."""
    await conn.execute(_DELETE_OLD, {"retention": timedelta(seconds=retention), "limit": limit})
