"""Ending completions whose generation is gone: their instance died, or could not store them."""

import logging
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from app.db.pool import Pool
from app.domain.completion import Status
from app.domain.errors import AppError
from app.domain.events import Event, parse, split
from app.domain.message import MessageFold
from app.streaming import repository
from app.streaming.repository import Connection
from app.streaming.settlement import Settlement, error_end, settlement

_log = logging.getLogger(__name__)

# An instance loses at most what it had not recorded. Ending this far beyond the last stored event, the terminal event
# lies beyond every position that any reader can have seen; Settings.max_events keeps streams shorter than this.
LOST_AT_MOST: Final = 1_000_000

_AT_ONCE: Final = 20


async def interrupt_if_dead(pool: Pool, instance: UUID, lease: float) -> bool:
    """If the lease of `instance` has expired: declare it dead, end all its completions, and answer True."""
    async with pool.connection() as conn:
        if not await repository.declare_dead(conn, instance, lease):
            return False
    await interrupt(pool, instance)
    return True


async def interrupt(pool: Pool, owner: UUID, ids: Sequence[UUID] | None = None) -> None:
    """End the streaming completions of `owner` (or those of `ids`), which the caller knows nobody writes any more."""
    while await _interrupt_some(pool, owner, ids):
        pass


async def _interrupt_some(pool: Pool, owner: UUID, ids: Sequence[UUID] | None) -> bool:
    async with pool.connection() as conn, conn.transaction():
        unfinished = await repository.lock_unfinished(conn, owner, ids, _AT_ONCE)
        ends = [await _settlement(conn, id) for id in unfinished]
        if ends:
            await repository.settle(conn, owner, ends)
    return len(ends) == _AT_ONCE


async def _settlement(conn: Connection, id: UUID) -> Settlement:
    events = await stored_events(conn, id)
    error = AppError("The instance that produced this answer was lost.", code="interrupted")
    end = error_end((events[-1].seq if events else 0) + LOST_AT_MOST, error, None)
    try:
        return settlement(id, Status.INTERRUPTED, events, end, _folded(events), attempts=0, first_event_ms=None)
    except (msgspec.MsgspecError, KeyError):
        _log.exception("what is stored of %s cannot be read", id)  # it must not hold up the others
        return settlement(id, Status.INTERRUPTED, events, end, MessageFold(), attempts=0, first_event_ms=None)


def _folded(events: Sequence[Event]) -> MessageFold:
    fold = MessageFold()
    for event in events:
        fold.apply(parse(event.data))
    return fold


async def stored_events(conn: Connection, id: UUID) -> list[Event]:
    """What is stored of a streaming completion."""
    return [event for first, data in await repository.event_rows(conn, id) for event in split(data, first)]
