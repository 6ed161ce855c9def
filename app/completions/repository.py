"""The SQL of completions. Every call names the tenant: what belongs to another does not exist."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from app.completions.estimate import Estimate
from app.domain.completion import CompletionRequest
from app.domain.ids import uuid7
from app.domain.principal import Principal, Tenant
from app.prices import Asked, Rate

Connection = AsyncConnection[Any]

ADMIT: LiteralString = (
    "SELECT outcome, busy_instance, busy_alive, duplicate, system, history_roles, history_contents, chain_requests,"
    " chain_answers, reserved_input, refusal, retry_after, of_tenant, limits, remaining"
    " FROM admit(%(id)s, %(tenant)s, %(key_id)s, %(instance)s, %(home)s, %(lease)s, %(model)s, %(request)b, %(store)s,"
    " %(on_disconnect)s, %(metadata)s, %(conversation)s, %(message_ids)b::uuid[], %(roles)b::text[],"
    " %(contents)b::bytea[], %(message_tokens)b::int[], %(previous)s, %(background)s, %(max_history)s,"
    " %(idempotency_key)s, %(request_sha256)b, %(asked)s, %(input_tokens)s, %(output_tokens)s,"
    " %(price_tiers)b::bigint[], %(input_prices)b::numeric[], %(output_prices)b::numeric[])"
)
KEEP_ALIVE: LiteralString = (
    "INSERT INTO instances AS i (id, home, lease_until) VALUES (%(id)s, %(home)s, clock_timestamp() + %(lease)s)"
    " ON CONFLICT (id) DO UPDATE SET lease_until = clock_timestamp() + %(lease)s"
    " WHERE i.dead_at IS NULL AND i.lease_until < clock_timestamp() + %(lease)s / 2"
)
HOLD_INSTANCE: LiteralString = "SELECT FROM instances WHERE id = %(id)s AND dead_at IS NULL FOR SHARE"
COLUMNS: LiteralString = (
    "id, conversation_id, previous_id, status, model, stop_reason, usage, error, attempts, store, background,"
    " on_disconnect, metadata,"
    " cancel_requested_at, created_at, first_event_at, finished_at, instance_id,"
    " status = 'streaming' AND NOT EXISTS (SELECT FROM instances i WHERE i.id = completions.instance_id"
    " AND lease_holds(i.lease_until, i.dead_at, %(lease)s)) AS lost"
)
GET: LiteralString = (
    "SELECT " + COLUMNS + ", request, content FROM completions WHERE id = %(id)s AND tenant = %(tenant)s"
)
LIST: LiteralString = (
    "SELECT " + COLUMNS + " FROM completions WHERE tenant = %(tenant)s"
    " AND (%(cursor)s::uuid IS NULL OR id < %(cursor)s)"
    " AND (%(status)s::text IS NULL OR status = %(status)s)"
    " AND (%(conversation)s::uuid IS NULL OR conversation_id = %(conversation)s)"
    " AND (%(created_after)s::timestamptz IS NULL OR created_at >= %(created_after)s)"
    " AND (%(created_before)s::timestamptz IS NULL OR created_at < %(created_before)s)"
    " ORDER BY id DESC LIMIT %(limit)s"
)
CONTENTS: LiteralString = (
    "SELECT id, content FROM completions WHERE id = ANY (%(ids)b::uuid[]) AND tenant = %(tenant)s"
    " AND content IS NOT NULL"
)
STREAM: LiteralString = (
    "SELECT c.status, c.conversation_id, c.end_seq, l.data AS log,"
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
    busy_instance: UUID | None
    busy_alive: bool | None
    duplicate: UUID | None
    system: bytes | None
    history_roles: list[str] | None
    history_contents: list[bytes] | None
    chain_requests: list[bytes] | None
    chain_answers: list[bytes | None] | None
    reserved_input: int | None
    refusal: str | None
    retry_after: int | None
    of_tenant: bool | None
    limits: list[int | None] | None
    remaining: list[int | None] | None


class CompletionRow(msgspec.Struct, frozen=True):
    """`lost` says that it streams no more, although nobody has ended it: the lease of its owner has run out."""

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
    lost: bool
    request: bytes | None = None
    content: bytes | None = None


class StreamRow(msgspec.Struct, frozen=True):
    """What resuming needs to know. `log` is there once it has ended, for as long as it is kept."""

    status: str
    conversation_id: UUID | None
    end_seq: int | None
    log: bytes | None
    recorded_upto: int | None


class Filter(msgspec.Struct, frozen=True):
    status: str | None = None
    conversation: UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class Submission(msgspec.Struct, frozen=True):
    """All that `admit` decides on. `lease` is in seconds, `max_history` in bytes; `stored` is what is kept of it."""

    id: UUID
    principal: Principal
    instance: UUID
    home: str
    lease: float
    max_history: int
    request: CompletionRequest
    stored: bytes
    estimate: Estimate
    asked: Asked
    rates: list[Rate]


async def admit(conn: Connection, submission: Submission) -> Admission:
    """Decide on a request and insert it, in one call and one transaction."""
    async with conn.cursor(row_factory=class_row(Admission)) as cursor:
        await cursor.execute(ADMIT, _of_request(submission.request) | _of_caller(submission) | _of_price(submission))
        admission = await cursor.fetchone()
    assert admission is not None
    return admission


def _of_request(request: CompletionRequest) -> dict[str, object]:
    again = request.idempotency
    return {
        "model": request.model,
        "store": request.store,
        "on_disconnect": str(request.on_disconnect),
        "metadata": Jsonb(request.metadata),
        "conversation": request.conversation_id,
        "message_ids": [uuid7() for _ in request.turn],
        "roles": [message.role for message in request.turn],
        "contents": [bytes(message.content) for message in request.turn],
        "previous": request.previous_id,
        "background": request.background,
        "idempotency_key": again.key if again is not None else None,
        "request_sha256": again.request_sha256 if again is not None else None,
    }


def _of_caller(submission: Submission) -> dict[str, object]:
    return {
        "id": submission.id,
        "tenant": submission.principal.tenant,
        "key_id": submission.principal.key_id,
        "instance": submission.instance,
        "home": submission.home,
        "lease": timedelta(seconds=submission.lease),
        "max_history": submission.max_history,
        "request": submission.stored,
    }


def _of_price(submission: Submission) -> dict[str, object]:
    return {
        "asked": Jsonb(msgspec.to_builtins(submission.asked)),
        "message_tokens": submission.estimate.turn,
        "input_tokens": submission.estimate.input,
        "output_tokens": submission.estimate.output,
        "price_tiers": [rate.above for rate in submission.rates],
        "input_prices": [rate.input for rate in submission.rates],
        "output_prices": [rate.output for rate in submission.rates],
    }


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


async def list_page(
    conn: Connection, tenant: Tenant, where: Filter, cursor_id: UUID | None, limit: int, lease: float
) -> list[CompletionRow]:
    """The newest first; `limit` rows at the most, older than `cursor_id`."""
    parameters = {"tenant": tenant, "cursor": cursor_id, "limit": limit, "lease": timedelta(seconds=lease)}
    async with conn.cursor(row_factory=class_row(CompletionRow)) as cursor:
        await cursor.execute(LIST, msgspec.structs.asdict(where) | parameters)
        return await cursor.fetchall()


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
