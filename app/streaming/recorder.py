"""The one writer of this process: what all its streams appended since the last tick, in one statement.

A batch is retried unchanged until the database has answered for it; only then is a newer one made. Writing it twice
changes nothing (`ON CONFLICT DO NOTHING`, and a settled completion is not settled again), so an answer that was lost
on the way is no different from one that never came.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import msgspec
import psycopg
import psycopg_pool

from app.config import Settings
from app.db.pool import Pool
from app.domain.errors import AppError
from app.domain.events import join
from app.observability import Worst
from app.streaming import repository
from app.streaming.instance import Instance
from app.streaming.log import Log
from app.streaming.repository import EventRow
from app.streaming.settlement import Settlement

_log = logging.getLogger(__name__)

# What may cure itself: the server is away, refuses for now (as one that was demoted), or did not answer in time.
TRANSIENT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg_pool.PoolTimeout,
    OSError,
    TimeoutError,
)


# A first event is recorded after so many seconds, or at the next tick if that comes sooner.
_BEGINNING: Final = 0.02


class LeaseLost(AppError):
    """Another instance declared this one dead: what it still holds must not be written."""

    status = 503
    code = "interrupted"


class Unstorable(AppError):
    """Postgres refuses the data itself."""

    status = 502
    code = "unstorable"


class StorageUnavailable(AppError):
    """The database was away for longer than the buffer lasts."""

    status = 503
    code = "storage_unavailable"
    type = "overloaded_error"


class Recorded:
    """One stream as the recorder sees it. `lost` is called if its events cannot be stored (any more)."""

    def __init__(self, id: UUID, log: Log, lost: Callable[[AppError], None]) -> None:
        self.id = id
        self.log = log
        self.lost = lost
        self.upto = 0
        self.settling = False

    def row(self) -> EventRow | None:
        """The events since the last recorded one."""
        if self.settling or self.log.last_seq == self.upto:
            return None
        events = self.log.after(self.upto)
        return EventRow(self.id, events[0].seq, events[-1].seq, join(events))


class Batch(msgspec.Struct, frozen=True):
    rows: list[EventRow]
    ends: list[Settlement]

    def __bool__(self) -> bool:
        return bool(self.rows or self.ends)

    def halves(self) -> tuple["Batch", "Batch"]:
        rows, ends = len(self.rows) // 2, len(self.ends) // 2
        if not rows and not ends:  # one of each
            return Batch(self.rows, []), Batch([], self.ends)
        return Batch(self.rows[:rows], self.ends[:ends]), Batch(self.rows[rows:], self.ends[ends:])


class Recorder:
    """Streams are attached while they run; `settle` ends one and returns when that is committed."""

    def __init__(self, pool: Pool, instance: Instance, settings: Settings) -> None:
        self._pool = pool
        self._instance = instance
        self._tick = settings.record_tick
        self._patience = settings.record_patience
        self._buffer = settings.record_buffer
        self._attached: dict[UUID, Recorded] = {}
        self._ends: dict[UUID, Settlement] = {}
        self._committed: dict[UUID, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self.lag = Worst()
        self._beginning: asyncio.TimerHandle | None = None

    def attach(self, id: UUID, log: Log, lost: Callable[[AppError], None]) -> None:
        self._attached[id] = Recorded(id, log, lost)

    def detach(self, id: UUID) -> None:
        self._attached.pop(id, None)

    def hurry(self) -> None:
        """Do not wait for the tick: an end is there."""
        self._wake.set()

    def begun(self) -> None:
        """A first event is there, which others may wait for: what begins or ends just after it goes along."""
        if self._beginning is None:
            self._beginning = asyncio.get_running_loop().call_later(_BEGINNING, self._wake.set)

    async def settle(self, end: Settlement) -> None:
        """Write the last of a stream and return once it is committed.

        Raises:
            LeaseLost: the completion is not this instance's any more.
            Unstorable: Postgres refuses the data.
            StorageUnavailable: the database was away for too long.
        """
        self._attached[end.id].settling = True
        self._ends[end.id] = end
        committed = self._committed[end.id] = asyncio.get_running_loop().create_future()
        self.hurry()
        await committed

    async def run(self) -> None:
        """Write ticks until cancelled."""
        while True:
            await self._pause()
            if batch := self._collect():
                await self._write(batch)

    async def _pause(self) -> None:
        """Until the next tick, or until there is a reason not to wait for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._tick if self._attached else None):
                await self._wake.wait()
        self._wake.clear()
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None

    def _collect(self) -> Batch:
        rows = [row for stream in self._attached.values() if (row := stream.row())]
        ends, self._ends = list(self._ends.values()), {}
        return Batch(rows, ends)

    async def _write(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            try:
                async with asyncio.timeout(self._patience), self._pool.connection() as conn:
                    refused = await repository.record(conn, self._instance.id, batch.rows, batch.ends)
            except TRANSIENT as exc:
                self.lag.add((loop.time() - started) * 1000)
                _log.warning("recording failed, will be retried: %s", exc)
                if loop.time() - started > self._patience or self.backlog() > self._buffer:
                    self.give_up()
                    return
                await self._recover()
            except Exception as exc:
                await self._split(batch, exc)
                return
            else:
                self.lag.add((loop.time() - started) * 1000)
                self._accept(batch, refused)
                return

    async def _recover(self) -> None:
        """Let some time pass, then replace the pool's broken connections."""
        await asyncio.sleep(self._tick * 2)
        with suppress(*TRANSIENT):
            await self._pool.check()

    async def _split(self, batch: Batch, exc: Exception) -> None:
        """One bad row must not hold up the others: find it by halving."""
        if len(batch.rows) + len(batch.ends) > 1:
            for half in batch.halves():
                await self._write(half)
            return
        _log.error("the database refuses this data", exc_info=exc)
        error = Unstorable("The answer cannot be stored.")
        for row in batch.rows:
            self._lose(row.id, error)
        for end in batch.ends:
            self._resolve(end.id, error)

    def _accept(self, batch: Batch, refused: frozenset[UUID]) -> None:
        error = LeaseLost("The instance that produced this answer was replaced.")
        for row in batch.rows:
            if refused and row.id in refused:  # an id works its hash out anew each time
                self._lose(row.id, error)
            elif stream := self._attached.get(row.id):
                stream.upto = row.last
        for end in batch.ends:
            self._resolve(end.id, error if end.id in refused else None)

    def backlog(self) -> int:
        """Bytes that wait to be written."""
        return sum(
            len(event.data) for stream in self._attached.values() for event in stream.log.after(stream.upto)
        ) + sum(len(end.log) for end in self._ends.values())

    def give_up(self) -> None:
        """The database has been away for longer than the buffer lasts: every stream ends here, with an error."""
        error = StorageUnavailable("The answer could not be stored.")
        self._ends = {}
        for id in list(self._committed):
            self._resolve(id, error)
        for id in [id for id, stream in self._attached.items() if not stream.settling]:
            self._lose(id, error)

    def _lose(self, id: UUID, error: AppError) -> None:
        if stream := self._attached.get(id):
            stream.lost(error)

    def _resolve(self, id: UUID, error: AppError | None) -> None:
        committed = self._committed.pop(id, None)
        if committed is None or committed.done():
            return
        if error is None:
            committed.set_result(None)
        else:
            committed.set_exception(error)
