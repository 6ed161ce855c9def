"""A batch's items in Postgres."""

from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from app.batches.repository import Connection
from app.domain.principal import Tenant

UNFINISHED: Final = ("queued", "running")
_NOT_SUCCEEDED: Final = ("failed", "cancelled")


class Item(msgspec.Struct, frozen=True):
    """`request` is a `CompletionRequest` in JSON, `waits` is how often it had to wait in this round."""

    status: str
    request: bytes
    completion_id: UUID | None
    waits: int


class Result(msgspec.Struct, frozen=True):
    """`error` is JSON: a `code` and a `message`."""

    position: int
    custom_id: str
    status: str
    completion_id: UUID | None
    error: bytes | None


_MOVE: LiteralString = "SELECT move_items(%(batch)s, %(positions)b::int[], %(from)b::text[], %(to)s, %(error)b)"
_GET: LiteralString = (
    "SELECT status, request, completion_id, waits FROM batch_items"
    " WHERE batch_id = %(batch)s AND position = %(position)s"
)
_TO_DO: LiteralString = (
    "SELECT position FROM batch_items WHERE batch_id = %(batch)s AND status IN ('queued', 'running') ORDER BY position"
)
_ATTACH: LiteralString = (
    "UPDATE batch_items SET completion_id = %(completion)s"
    " WHERE batch_id = %(batch)s AND position = %(position)s AND status IN ('queued', 'running')"
)
_WAITED: LiteralString = (
    "UPDATE batch_items SET waits = greatest(waits, least(waits + 1, %(most)s)), completion_id = NULL"
    " WHERE batch_id = %(batch)s AND position = %(position)s"
)
_RENEW: LiteralString = (
    "UPDATE batch_items SET waits = 0, completion_id = NULL"
    " WHERE batch_id = %(batch)s AND status IN ('failed', 'cancelled')"
)
_CANCEL_COMPLETIONS: LiteralString = (
    "UPDATE completions SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())"
    " WHERE id = ANY (ARRAY("
    # In one order, as whoever else locks several.
    " SELECT id FROM completions WHERE tenant = %(tenant)s AND status = 'streaming' AND id = ANY (ARRAY("
    " SELECT completion_id FROM batch_items WHERE batch_id = %(batch)s AND status IN ('queued', 'running')))"
    " ORDER BY id FOR UPDATE))"
)
_ANY_RUNNING: LiteralString = "SELECT running > 0 FROM batches WHERE id = %(batch)s"
_RESULTS: LiteralString = (
    "SELECT position, custom_id, status, completion_id, error FROM batch_items"
    " WHERE batch_id = %(batch)s AND position > %(after)s ORDER BY position LIMIT %(limit)s"
)


async def move(
    conn: Connection,
    batch: UUID,
    positions: Sequence[int] | None,
    before: Sequence[str],
    after: str,
    error: bytes | None = None,
) -> int:
    """Give items another status, all or those at `positions`, if theirs is one of `before`; how many there were.

    The caller holds the batch's row.
    """
    parameters = {"batch": batch, "from": list(before), "to": after, "error": error}
    positions = list(positions) if positions is not None else None
    row = await (await conn.execute(_MOVE, {"positions": positions, **parameters})).fetchone()
    assert row is not None
    return int(row[0] or 0)


async def get(conn: Connection, batch: UUID, position: int) -> Item | None:
    async with conn.cursor(row_factory=class_row(Item)) as cursor:
        await cursor.execute(_GET, {"batch": batch, "position": position})
        return await cursor.fetchone()


async def to_do(conn: Connection, batch: UUID) -> list[int]:
    """The positions of those that have not ended."""
    return [row[0] for row in await (await conn.execute(_TO_DO, {"batch": batch})).fetchall()]


async def attach(conn: Connection, batch: UUID, position: int, completion: UUID) -> bool:
    """Its completion has begun. False if the item has ended meanwhile."""
    parameters = {"batch": batch, "position": position, "completion": completion}
    return (await conn.execute(_ATTACH, parameters)).rowcount == 1


async def note_wait(conn: Connection, batch: UUID, position: int, most: int) -> None:
    """It was refused before anything had begun, and will be tried again; counted up to `most`."""
    await conn.execute(_WAITED, {"batch": batch, "position": position, "most": most})


async def renew(conn: Connection, batch: UUID) -> int:
    """Queue again what did not succeed, as if it had never been tried; how many there were."""
    await conn.execute(_RENEW, {"batch": batch})
    return await move(conn, batch, None, _NOT_SUCCEEDED, "queued")


async def cancel_completions(conn: Connection, tenant: Tenant, batch: UUID) -> None:
    """Ask the owners of those that run to stop; they look every second."""
    await conn.execute(_CANCEL_COMPLETIONS, {"tenant": tenant, "batch": batch})


async def any_running(conn: Connection, batch: UUID) -> bool:
    row = await (await conn.execute(_ANY_RUNNING, {"batch": batch})).fetchone()
    return bool(row and row[0])


async def results(conn: Connection, batch: UUID, after: int, limit: int) -> list[Result]:
    """Up to `limit` of them, in their order, behind the position `after`."""
    async with conn.cursor(row_factory=class_row(Result)) as cursor:
        await cursor.execute(_RESULTS, {"batch": batch, "after": after, "limit": limit})
        return await cursor.fetchall()
