"""The SQL of the log: what the recorder, the follower, the control tick and the interruption say to Postgres."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from app.streaming.billing import Account
from app.streaming.settlement import Settlement

Connection = AsyncConnection[Any]

# `%b` sends lists in binary; as text every byte of an event would be doubled into hex.
SETTLEMENTS: LiteralString = "%(data)b::bytea[], %(ends)s"
ROWS: LiteralString = "%(ids)b::uuid[], %(firsts)b::bigint[], %(lasts)b::bigint[], %(datas)b::bytea[]"
NO_ROWS: LiteralString = "'{}', '{}', '{}', '{}'"
NO_SETTLEMENTS: LiteralString = "'{}', '[]'"
# Most ticks have no end, and the end of a short answer comes without other events: each list is dear to convert.
RECORD_EVENTS: LiteralString = f"SELECT record(%(instance)s, {ROWS}, {NO_SETTLEMENTS})"
RECORD_ENDS: LiteralString = f"SELECT record(%(instance)s, {NO_ROWS}, {SETTLEMENTS})"
RECORD: LiteralString = f"SELECT record(%(instance)s, {ROWS}, {SETTLEMENTS})"
SETTLE: LiteralString = "SELECT settle(%(instance)s, " + SETTLEMENTS + ")"
CONTROL: LiteralString = (
    "SELECT id, alive, cancel_requested, readers_elsewhere"
    " FROM control(%(instance)s, %(lease)s, %(renew)s, %(following)b::uuid[], %(readers_for)s)"
)
DECLARE_DEAD: LiteralString = "SELECT declare_dead(%(instance)s, %(lease)s)"
LOST_INSTANCES: LiteralString = (
    "SELECT i.id FROM instances i WHERE NOT lease_holds(i.lease_until, i.dead_at, %(lease)s)"
    " AND EXISTS (SELECT FROM completions c WHERE c.instance_id = i.id AND c.status = 'streaming')"
)
UNFINISHED: LiteralString = (
    "SELECT id FROM completions WHERE instance_id = %(instance)s AND status = 'streaming'"
    " AND (%(ids)b::uuid[] IS NULL OR id = ANY (%(ids)b::uuid[]))"
)
LOCK_UNFINISHED: LiteralString = UNFINISHED + " ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
STREAMING_FOR: LiteralString = (
    "SELECT id FROM completions WHERE instance_id = %(instance)s AND status = 'streaming'"
    " AND created_at < clock_timestamp() - %(age)s"
)
OWNERS: LiteralString = "SELECT id, tenant, key_id, model FROM completions WHERE id = ANY (%(ids)b::uuid[])"
EVENTS: LiteralString = "SELECT first_seq, data FROM completion_events WHERE completion_id = %(id)s ORDER BY first_seq"
FOLLOW: LiteralString = (
    "SELECT c.id, c.status, lease_holds(i.lease_until, i.dead_at, %(lease)s) AS owner_alive, c.instance_id, c.end_seq,"
    " e.first_seq, e.data"
    " FROM unnest(%(ids)b::uuid[], %(afters)b::bigint[]) AS w (id, after)"
    " JOIN completions c ON c.id = w.id LEFT JOIN instances i ON i.id = c.instance_id"
    " LEFT JOIN completion_events e ON e.completion_id = c.id AND e.last_seq > w.after"
    " ORDER BY c.id, e.first_seq"
)
ACCOUNT: LiteralString = (
    "SELECT model, asked, reserved_input, created_at AS opened_at FROM ledger WHERE completion_id = %(id)s"
)
HAND_OVER: LiteralString = "INSERT INTO handed_over (completion_id, request) VALUES (%(id)s, %(request)b)"
TAKE_OVER: LiteralString = (
    "SELECT outcome, request, cancel_requested FROM take_over(%(id)s, %(instance)s, %(home)s, %(lease)s)"
)
FORGET_HANDED_OVER: LiteralString = "DELETE FROM handed_over WHERE completion_id = ANY (%(ids)b::uuid[])"
STORED_LOG: LiteralString = "SELECT data FROM completion_logs WHERE completion_id = %(id)s"
DELETE_OLD_LOGS: LiteralString = (
    "DELETE FROM completion_logs WHERE completion_id IN (SELECT completion_id FROM completion_logs"
    " WHERE created_at < clock_timestamp() - %(retention)s ORDER BY created_at LIMIT %(limit)s)"
)
DELETE_OLD_INSTANCES: LiteralString = (
    "DELETE FROM instances i WHERE i.id IN (SELECT o.id FROM instances o"
    " WHERE o.lease_until < clock_timestamp() - interval '1 day'"
    " AND NOT EXISTS (SELECT FROM completions c WHERE c.instance_id = o.id AND c.status = 'streaming')"
    " ORDER BY o.id LIMIT %(limit)s)"
    " AND i.lease_until < clock_timestamp() - interval '1 day'"  # it may have been renewed meanwhile
)


class EventRow(msgspec.Struct, frozen=True):
    """The events of one completion since the last tick: `data` holds positions `first`..`last`, a line each."""

    id: UUID
    first: int
    last: int
    data: bytes


class Asked(msgspec.Struct, frozen=True):
    """What the control tick brings back. The row whose id is the instance's own says whether that is still alive."""

    id: UUID
    alive: bool
    cancel_requested: bool
    readers_elsewhere: bool


class TakenOver(msgspec.Struct, frozen=True):
    """What the SQL function `take_over` decided; its comment says what the outcomes mean."""

    outcome: str
    request: bytes | None
    cancel_requested: bool | None


class Owner(msgspec.Struct, frozen=True):
    """Who asked for a completion, and of which model."""

    id: UUID
    tenant: str
    key_id: UUID | None
    model: str


class Followed(msgspec.Struct, frozen=True):
    """One stored row of a followed completion, or its state alone where there is nothing new."""

    id: UUID
    status: str
    owner_alive: bool
    instance_id: UUID
    end_seq: int | None
    first_seq: int | None
    data: bytes | None


def _event_columns(rows: Sequence[EventRow]) -> dict[str, object]:
    return {
        "ids": [row.id for row in rows],
        "firsts": [row.first for row in rows],
        "lasts": [row.last for row in rows],
        "datas": [row.data for row in rows],
    }


def _end_columns(ends: Sequence[Settlement]) -> dict[str, object]:
    """What may be large as it is, and all else as one document, which costs less than a list of each."""
    return {
        "data": [[end.log, end.content, end.usage, end.error, end.answer] for end in ends],
        "ends": msgspec.json.encode([_end(end) for end in ends]).decode(),
    }


def _end(end: Settlement) -> dict[str, object]:
    return {
        "id": end.id,
        "status": end.status,
        "stop_reason": end.stop_reason,
        "attempts": end.attempts,
        "first_event_ms": end.first_event_ms,
        "end_seq": end.end.seq,
        "message_id": end.message_id,
        "forget_input": end.forget_input,
        "bill": msgspec.Raw(end.bill),
    }


async def record(
    conn: Connection, instance: UUID, rows: Sequence[EventRow], ends: Sequence[Settlement]
) -> frozenset[UUID]:
    """Write one tick; answers the completions that this instance may not write any more."""
    statement = RECORD if rows and ends else RECORD_EVENTS if rows else RECORD_ENDS
    parameters: dict[str, object] = {"instance": instance}
    if rows:
        parameters |= _event_columns(rows)
    if ends:
        parameters |= _end_columns(ends)
    cursor = await conn.execute(statement, parameters)
    return frozenset([row[0] for row in await cursor.fetchall()])


async def settle(conn: Connection, owner: UUID, ends: Sequence[Settlement]) -> None:
    """Finish completions of `owner` that nobody writes any more."""
    await conn.execute(SETTLE, {"instance": owner} | _end_columns(ends))


async def hand_over(conn: Connection, completion: UUID, request: bytes) -> None:
    """Write down what another instance has to know of a completion that was just admitted."""
    await conn.execute(HAND_OVER, {"id": completion, "request": request})


async def take_over(conn: Connection, completion: UUID, instance: UUID, *, home: str, lease: float) -> TakenOver:
    """Make `instance` the owner of what was handed over, if nobody was before."""
    parameters = {"id": completion, "instance": instance, "home": home, "lease": timedelta(seconds=lease)}
    async with conn.cursor(row_factory=class_row(TakenOver)) as cursor:
        await cursor.execute(TAKE_OVER, parameters)
        taken = await cursor.fetchone()
    assert taken is not None
    return taken


async def forget_handed_over(conn: Connection, completions: Sequence[UUID]) -> None:
    """Of those that ended before anybody had taken them over."""
    await conn.execute(FORGET_HANDED_OVER, {"ids": list(completions)})


async def control(
    conn: Connection, instance: UUID, *, lease: float, renew: float, following: Sequence[UUID], readers_for: float
) -> list[Asked]:
    async with conn.cursor(row_factory=class_row(Asked)) as cursor:
        await cursor.execute(
            CONTROL,
            {
                "instance": instance,
                "lease": timedelta(seconds=lease),
                "renew": timedelta(seconds=renew),
                "following": list(following),
                "readers_for": timedelta(seconds=readers_for),
            },
        )
        return await cursor.fetchall()


async def declare_dead(conn: Connection, instance: UUID, lease: float) -> bool:
    """Whether `instance` is dead: by now, if its lease has expired."""
    cursor = await conn.execute(DECLARE_DEAD, {"instance": instance, "lease": timedelta(seconds=lease)})
    row = await cursor.fetchone()
    return bool(row and row[0])


async def lost_instances(conn: Connection, lease: float) -> list[UUID]:
    """Instances without a lease that still have streaming completions."""
    cursor = await conn.execute(LOST_INSTANCES, {"lease": timedelta(seconds=lease)})
    return [row[0] for row in await cursor.fetchall()]


async def lock_unfinished(conn: Connection, instance: UUID, ids: Sequence[UUID] | None, limit: int) -> list[UUID]:
    """Some streaming completions of `instance`, locked; those that another transaction is finishing are left out."""
    parameters = {"instance": instance, "ids": list(ids) if ids is not None else None, "limit": limit}
    cursor = await conn.execute(LOCK_UNFINISHED, parameters)
    return [row[0] for row in await cursor.fetchall()]


async def unfinished(conn: Connection, instance: UUID, ids: Sequence[UUID]) -> list[UUID]:
    """Those of `ids` that are streaming completions of `instance`."""
    cursor = await conn.execute(UNFINISHED, {"instance": instance, "ids": list(ids)})
    return [row[0] for row in await cursor.fetchall()]


async def streaming_for(conn: Connection, instance: UUID, seconds: float) -> list[UUID]:
    """Completions of `instance` that have been streaming for longer than so many seconds."""
    cursor = await conn.execute(STREAMING_FOR, {"instance": instance, "age": timedelta(seconds=seconds)})
    return [row[0] for row in await cursor.fetchall()]


async def owners(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Owner]:
    async with conn.cursor(row_factory=class_row(Owner)) as cursor:
        await cursor.execute(OWNERS, {"ids": list(ids)})
        return {owner.id: owner for owner in await cursor.fetchall()}


async def event_rows(conn: Connection, completion: UUID) -> list[tuple[int, bytes]]:
    """What is stored of a streaming completion: the first position and the lines of each row."""
    cursor = await conn.execute(EVENTS, {"id": completion})
    return await cursor.fetchall()


async def account(conn: Connection, completion: UUID) -> Account | None:
    """None for what an older version has admitted, which has no row in the ledger."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(ACCOUNT, {"id": completion})
        row = await cursor.fetchone()
    return msgspec.convert(row, Account) if row is not None else None


async def follow(conn: Connection, afters: dict[UUID, int], lease: float) -> list[Followed]:
    """What has come since the given positions, in order, and the state of each completion."""
    async with conn.cursor(row_factory=class_row(Followed)) as cursor:
        await cursor.execute(
            FOLLOW, {"ids": list(afters), "afters": list(afters.values()), "lease": timedelta(seconds=lease)}
        )
        return await cursor.fetchall()


async def stored_log(conn: Connection, completion: UUID) -> bytes | None:
    """The compressed log of a finished completion, None when its retention has passed."""
    cursor = await conn.execute(STORED_LOG, {"id": completion})
    row = await cursor.fetchone()
    return row[0] if row else None


async def delete_expired(conn: Connection, retention: float, limit: int) -> None:
    """Drop finished logs past their retention and rows of instances long gone, a bounded number of each."""
    await conn.execute(DELETE_OLD_LOGS, {"retention": timedelta(seconds=retention), "limit": limit})
    await conn.execute(DELETE_OLD_INSTANCES, {"limit": limit})
