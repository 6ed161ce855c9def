"""The progress of batches, as their logs in the store tell it: one poll per tick, however many are watched here."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import LiteralString, Self
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from app.batches.repository import Connection
from app.config import Settings
from app.db.pool import Pool
from app.domain.events import Event
from app.streaming.log import Log
from app.streaming.recorder import TRANSIENT

_log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """One entry, or none where there is nothing new. `last_seq` is None of a batch that is not kept any more."""

    id: UUID
    last_seq: int | None
    over: bool | None
    seq: int | None
    type: str | None
    data: bytes | None


_NEWS: LiteralString = """
    SELECT w.id, b.last_seq, b.finished_at IS NOT NULL AS over, e.seq, e.type, e.data
    FROM unnest(%(ids)b::uuid[], %(afters)b::bigint[]) AS w (id, after)
    LEFT JOIN batches b ON b.id = w.id
    LEFT JOIN LATERAL (
        SELECT n.seq, n.type, n.data FROM batch_events n
        WHERE n.batch_id = w.id AND n.seq > w.after ORDER BY n.seq LIMIT 1000
    ) e ON true
    ORDER BY w.id, e.seq
"""


class Watch:
    """Copies of the logs of batches, kept while somebody here reads them. Used within an `async with`."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._tick = settings.follow_tick
        self._slowest_tick = settings.follow_tick_max
        self._logs: dict[UUID, Log] = {}
        self._readers: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._poller = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._poller is not None
        self._poller.cancel()
        await asyncio.gather(self._poller, return_exceptions=True)

    @contextmanager
    def reading(self, id: UUID) -> Iterator[Log]:
        """The log of a batch, which grows while somebody reads it and ends with the batch."""
        log = self._logs.get(id)
        if log is None or log.ended:  # it may go on in another round
            log = self._logs[id] = Log()
        self._readers[id] = self._readers.get(id, 0) + 1
        self._wake.set()
        try:
            yield log
        finally:
            self._readers[id] -= 1
            if not self._readers[id]:
                del self._readers[id], self._logs[id]

    async def _run(self) -> None:
        """Poll until cancelled; less often while nothing comes, at once for a new reader."""
        pause = self._tick
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if self._readers else None):
                    await self._wake.wait()
            self._wake.clear()
            pause = self._tick if await self._poll() else min(pause * 1.5, self._slowest_tick)

    async def _poll(self) -> bool:
        """Whether anything came."""
        logs = {id: log for id, log in self._logs.items() if not log.ended}
        if not logs:
            return False
        try:
            async with self._pool.connection() as conn:
                rows = await _news(conn, {id: log.last_seq for id, log in logs.items()})
        except TRANSIENT as exc:
            _log.warning("watching failed, will be retried: %s", exc)
            return False
        except Exception:
            _log.exception("watching failed")
            return False
        for id, group in groupby(rows, key=attrgetter("id")):
            _take(logs[id], list(group))
        return any(row.seq is not None for row in rows)


def _take(log: Log, rows: list[Told]) -> None:
    new = [Event(row.seq, row.type or "", row.data) for row in rows if row.seq is not None and row.data is not None]
    last = new[-1].seq if new else log.last_seq
    end = rows[0].last_seq is None or (bool(rows[0].over) and last == rows[0].last_seq)
    if new or end:
        log.append(new, end=end)


async def _news(conn: Connection, afters: dict[UUID, int]) -> list[Told]:
    async with conn.cursor(row_factory=class_row(Told)) as cursor:
        await cursor.execute(_NEWS, {"ids": list(afters), "afters": list(afters.values())})
        return await cursor.fetchall()
