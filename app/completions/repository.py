"""The SQL of completions. Every call names the tenant: what belongs to another does not exist."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from app.domain.ids import least_at
from app.domain.principal import Tenant

Connection = AsyncConnection[Any]

# Ids have the time of an instance, rows that of the database: they may differ by so many seconds.
_CLOCKS_DIFFER: Final = 3600

ADMIT: LiteralString = (
    "SELECT outcome, busy_instance, busy_alive, duplicate, system, history_roles, history_contents, chain_requests,"
    " chain_answers, reserved_input, refusal, retry_after, of_tenant, limits, remaining"
    " FROM admit(%(id)s, %(tenant)s, %(key_id)s, %(instance)s, %(home)s, %(lease)s, %(model)s, %(request)b, %(store)s,"
    " %(on_disconnect)s, %(metadata)s, %(conversation)s, %(message_ids)b::uuid[], %(roles)b::text[],"
    " %(contents)b::bytea[], %(message_tokens)b::int[], %(previous)s, %(background)s, %(max_history)s,"
    " %(idempotency_key)s, %(request_sha256)b, %(asked)s, %(input_tokens)s, %(output_tokens)s, %(rates)s)"
)
ADMIT_ALONE: LiteralString = "SELECT admit_alone(%(requests)b::bytea[], %(rest)s)"
KEEP_ALIVE: LiteralString = (
    "INSERT INTO instances AS i (id, home, lease_until) VALUES (%(id)s, %(home)s, clock_timestamp() + %(lease)s)"
    " ON CONFLICT (id) DO UPDATE SET lease_until = clock_timestamp() + %(lease)s"
    " WHERE i.dead_at IS NULL AND i.lease_until < clock_timestamp() + %(lease)s / 2"
)
HOLD_INSTANCE: LiteralString = "SELECT FROM instances WHERE id = %(id)s AND dead_at IS NULL FOR SHARE"
COLUMNS: LiteralString = (
    "c.id, c.conversation_id, c.previous_id, c.status, c.model, c.stop_reason, c.usage, c.error, c.attempts, c.store,"
    " c.background, c.on_disconnect, c.metadata, c.cancel_requested_at, c.created_at, c.first_event_at, c.finished_at,"
    " c.instance_id, trim_scale(l.cost)::text AS cost, l.estimated,"
    " c.status = 'streaming' AND NOT EXISTS (SELECT FROM instances i WHERE i.id = c.instance_id"
    " AND lease_holds(i.lease_until, i.dead_at, %(lease)s)) AS lost"
)
BOOKED: LiteralString = " FROM completions c LEFT JOIN ledger l ON l.completion_id = c.id"
GET: LiteralString = (
    "SELECT " + COLUMNS + ", c.request, c.content" + BOOKED + " WHERE c.id = %(id)s AND c.tenant = %(tenant)s"
)
LIST: LiteralString = (
    "SELECT " + COLUMNS + BOOKED + " WHERE c.tenant = %(tenant)s"
    " AND (%(cursor)s::uuid IS NULL OR c.id < %(cursor)s)"
    " AND (%(status)s::text IS NULL OR c.status = %(status)s)"
    " AND (%(conversation)s::uuid IS NULL OR c.conversation_id = %(conversation)s)"
    # A time is looked for where ids of that time lie: to go through all that are newer, or older, takes too long.
    " AND (%(earliest)s::uuid IS NULL OR c.id >= %(earliest)s) AND (%(latest)s::uuid IS NULL OR c.id < %(latest)s)"
    " AND (%(created_after)s::timestamptz IS NULL OR c.created_at >= %(created_after)s)"
    " AND (%(created_before)s::timestamptz IS NULL OR c.created_at < %(created_before)s)"
    " ORDER BY c.id DESC LIMIT %(limit)s"
)
BY_ID: LiteralString = (
    "SELECT " + COLUMNS + ", c.content" + BOOKED + " WHERE c.id = ANY (%(ids)b::uuid[]) AND c.tenant = %(tenant)s"
)
CONTENTS: LiteralString = (
    "SELECT id, content FROM completions WHERE id = ANY (%(ids)b::uuid[]) AND tenant = %(tenant)s"
    " AND content IS NOT NULL"
)
STREAM: LiteralString = (
    "SELECT c.status, c.conversation_id, c.end_seq, l.data AS log,"
    " (SELECT b.asked ->> 'traceparent' FROM ledger b WHERE b.completion_id = c.id) AS traceparent,"
    " (SELECT max(e.last_seq) FROM completion_events e WHERE e.completion_id = c.id) AS recorded_upto"
    " FROM completions c LEFT JOIN completion_logs l ON l.completion_id = c.id"
    " WHERE c.id = %(id)s AND c.tenant = %(tenant)s"
)
REQUEST_CANCEL: LiteralString = (
    "UPDATE completions SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())"
    " WHERE id = %(id)s AND tenant = %(tenant)s AND status = 'streaming'"
)
DELETE: LiteralString = (
    "DELETE FROM completions WHERE id = %(id)s AND tenant = %(tenant)s AND status <> 'streaming' RETURNING id"
)


class Admission(msgspec.Struct, frozen=True):
    """What the SQL function `admit` decided; its comment says what the outcomes mean."""

    outcome: str
    reserved_input: int | None = None
    refusal: str | None = None
    retry_after: int | None = None
    of_tenant: bool | None = None
    limits: list[int | None] | None = None
    remaining: list[int | None] | None = None
    duplicate: UUID | None = None
    busy_instance: UUID | None = None
    busy_alive: bool | None = None
    system: bytes | None = None
    history_roles: list[str] | None = None
    history_contents: list[bytes] | None = None
    chain_requests: list[bytes] | None = None
    chain_answers: list[bytes | None] | None = None


class CompletionRow(msgspec.Struct, frozen=True):
    """`lost` says that it streams no more, although nobody has ended it: the lease of its owner has run out.

    `cost` (in dollars) and `estimated` are the ledger's; they are None while it is open.
    """

    id: UUID
    conversation_id: UUID | None
    previous_id: UUID | None
    status: str
    model: str
    stop_reason: str | None
    usage: bytes | None
    error: bytes | None
    attempts: int
    store: bool
    background: bool
    on_disconnect: str
    metadata: dict[str, Any]
    cancel_requested_at: datetime | None
    created_at: datetime
    first_event_at: datetime | None
    finished_at: datetime | None
    instance_id: UUID
    cost: str | None
    estimated: bool | None
    lost: bool
    request: bytes | None = None
    content: bytes | None = None

    @property
    def waits(self) -> bool:
        """It was handed over, and nobody has begun it yet."""
        return self.instance_id == self.id


class StreamRow(msgspec.Struct, frozen=True):
    """What resuming needs to know. `log` is there once it has ended, for as long as it is kept.

    `traceparent` is of the request that began it, if that was traced.
    """

    status: str
    conversation_id: UUID | None
    end_seq: int | None
    log: bytes | None
    recorded_upto: int | None
    traceparent: str | None


class Filter(msgspec.Struct, frozen=True):
    status: str | None = None
    conversation: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


async def keep_alive(conn: Connection, instance: UUID, home: str, lease: float) -> None:
    """Make sure of the lease, as `admit` does: in a longer transaction its locks would come in another order."""
    await conn.execute(KEEP_ALIVE, {"id": instance, "home": home, "lease": timedelta(seconds=lease)})


async def hold_instance(conn: Connection, instance: UUID) -> None:
    """Nobody declares it dead until this transaction ends."""
    await conn.execute(HOLD_INSTANCE, {"id": instance})


async def get(conn: Connection, tenant: Tenant, id: UUID, lease: float) -> CompletionRow | None:
    async with conn.cursor(row_factory=class_row(CompletionRow)) as cursor:
        await cursor.execute(GET, {"tenant": tenant, "id": id, "lease": timedelta(seconds=lease)})
        return await cursor.fetchone()


def _bounds(where: Filter) -> dict[str, UUID | None]:
    """Between which ids the times of `where` lie."""
    after, before = where.created_after, where.created_before
    return {
        "earliest": least_at(after.timestamp() - _CLOCKS_DIFFER) if after else None,
        "latest": least_at(before.timestamp() + _CLOCKS_DIFFER) if before else None,
    }


async def list_page(
    conn: Connection, tenant: Tenant, where: Filter, cursor_id: UUID | None, limit: int, lease: float
) -> list[CompletionRow]:
    """The newest first; `limit` rows at the most, older than `cursor_id`."""
    parameters = {"tenant": tenant, "cursor": cursor_id, "limit": limit, "lease": timedelta(seconds=lease)}
    async with conn.cursor(row_factory=class_row(CompletionRow)) as cursor:
        await cursor.execute(LIST, msgspec.structs.asdict(where) | _bounds(where) | parameters)
        return await cursor.fetchall()


async def by_id(conn: Connection, tenant: Tenant, ids: Sequence[UUID], lease: float) -> dict[UUID, CompletionRow]:
    """Those that there are, with their contents and without their requests."""
    async with conn.cursor(row_factory=class_row(CompletionRow)) as cursor:
        await cursor.execute(BY_ID, {"tenant": tenant, "ids": list(ids), "lease": timedelta(seconds=lease)})
        return {row.id: row for row in await cursor.fetchall()}


async def contents(conn: Connection, tenant: Tenant, ids: Sequence[UUID]) -> dict[UUID, bytes]:
    """The answers of those that have one."""
    cursor = await conn.execute(CONTENTS, {"tenant": tenant, "ids": list(ids)})
    return dict(await cursor.fetchall())


async def stream_row(conn: Connection, tenant: Tenant, id: UUID) -> StreamRow | None:
    async with conn.cursor(row_factory=class_row(StreamRow)) as cursor:
        await cursor.execute(STREAM, {"tenant": tenant, "id": id})
        return await cursor.fetchone()


async def request_cancel(conn: Connection, tenant: Tenant, id: UUID) -> None:
    """Ask the owner to stop; it looks every second."""
    await conn.execute(REQUEST_CANCEL, {"tenant": tenant, "id": id})


async def delete(conn: Connection, tenant: Tenant, id: UUID) -> bool:
    """Whether there was a finished one to delete."""
    cursor = await conn.execute(DELETE, {"tenant": tenant, "id": id})
    return await cursor.fetchone() is not None
