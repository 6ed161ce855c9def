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
from app.domain.usage import Counts
from app.observability import apart, bind, completion_ended
from app.prices import Prices
from app.streaming import repository
from app.streaming.billing import bill, supposed
from app.streaming.course import told
from app.streaming.repository import Connection, Owner
from app.streaming.settlement import Settlement, error_end, settlement

_log = logging.getLogger(__name__)

# An instance loses at most what it had not recorded. Ending this far beyond the last stored event, the terminal event
# lies beyond every position that any reader can have seen; Settings.max_events keeps streams shorter than this.
LOST_AT_MOST: Final = 1_000_000

_AT_ONCE: Final = 20


class Interruption:
    """Ends them from what is stored, with what they came to by `prices`. `lease` is in seconds."""

    def __init__(self, pool: Pool, prices: Prices, lease: float) -> None:
        self._pool = pool
        self._prices = prices
        self.lease = lease

    async def of_dead(self, instance: UUID) -> bool:
        """If the lease of `instance` has expired: declare it dead, end all its completions, and answer True."""
        async with self._pool.connection() as conn:
            if not await repository.declare_dead(conn, instance, self.lease):
                return False
        await self.end(instance)
        return True

    async def end(self, owner: UUID, ids: Sequence[UUID] | None = None) -> None:
        """End the streaming completions of `owner`, or those of `ids`, which the caller knows that nobody writes."""
        while await self._end_some(owner, ids):
            pass

    async def _end_some(self, owner: UUID, ids: Sequence[UUID] | None) -> bool:
        async with self._pool.connection() as conn, conn.transaction():
            unfinished = await repository.lock_unfinished(conn, owner, ids, _AT_ONCE)
            ends = [await self._settlement(conn, id) for id in unfinished]
            owners = await repository.owners(conn, unfinished) if ends else {}
            if ends:
                await repository.settle(conn, owner, ends)
                await repository.forget_handed_over(conn, unfinished)
        for end in ends:
            _report(end, owners[end.id])
        return len(ends) == _AT_ONCE

    async def _settlement(self, conn: Connection, id: UUID) -> Settlement:
        events: list[Event] = []
        fold = MessageFold()
        try:
            events = await stored_events(conn, id)
            fold = _folded(events)
        except (msgspec.MsgspecError, KeyError):
            _log.exception("what is stored of %s cannot be read", id)  # it must not hold up the others
        error = AppError("The instance that produced this answer was lost.", code="interrupted")
        end = error_end((events[-1].seq if events else 0) + LOST_AT_MOST, error, None)
        bill = await self._bill(conn, id, fold)
        return settlement(id, Status.INTERRUPTED, events, end, fold, bill, attempts=0, first_event_ms=None)

    async def _bill(self, conn: Connection, id: UUID, fold: MessageFold) -> str:
        account = await repository.account(conn, id)
        if account is None:
            return "{}"
        return bill(self._prices, account, Counts.of(fold.usage()) if fold.started else supposed(account))


def _report(end: Settlement, owner: Owner) -> None:
    """Whoever met it here is somebody else than who asked for it."""
    with apart():
        bind(tenant=owner.tenant, key_id=str(owner.key_id) if owner.key_id is not None else None)
        completion_ended(told(end, owner.model, "interrupted"))


def _folded(events: Sequence[Event]) -> MessageFold:
    fold = MessageFold()
    for event in events:
        fold.apply(parse(event.data))
    return fold


async def stored_events(conn: Connection, id: UUID) -> list[Event]:
    """What is stored of a streaming completion."""
    return [event for first, data in await repository.event_rows(conn, id) for event in split(data, first)]
