"""The progress of batches, as their logs in the store tell it."""

import asyncio
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Final, LiteralString, Self
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from app.batches.repository import Connection
from app.config import Settings
from app.db.pool import Pool
from app.domain.events import Event
from app.streaming.log import Log
from app.streaming.polled_logs import PolledLogs

# Events of one batch in one look: others have their turn between two.
_PAGE: Final = 1000


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
        WHERE n.batch_id = w.id AND n.seq > w.after ORDER BY n.seq LIMIT %(page)s
    ) e ON true
    ORDER BY w.id, e.seq
"""


class Watch(PolledLogs):
    """Copies of the logs of batches, each of which ends with its batch. Used within an `async with`."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = pool
        self._poller: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._poller = asyncio.get_running_loop().create_task(self.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._poller is not None
        self._poller.cancel()
        await asyncio.gather(self._poller, return_exceptions=True)

    async def _catch_up(self, logs: Mapping[UUID, Log]) -> bool:
        if not logs:
            return False
        async with self._pool.connection() as conn:
            rows = await _news(conn, {id: log.last_seq for id, log in logs.items()})
        for id, group in groupby(rows, key=attrgetter("id")):
            told = list(group)
            _take(logs[id], told)
            if len(told) == _PAGE:
                self._wake.set()  # there is more, and no need to wait for the tick
        return any(row.seq is not None for row in rows)


def _take(log: Log, rows: list[Told]) -> None:
    new = [Event(row.seq, row.type or "", row.data) for row in rows if row.seq is not None and row.data is not None]
    last = new[-1].seq if new else log.last_seq
    end = rows[0].last_seq is None or (bool(rows[0].over) and last == rows[0].last_seq)
    if new or end:
        log.append(new, end=end)


async def _news(conn: Connection, afters: dict[UUID, int]) -> list[Told]:
    async with conn.cursor(row_factory=class_row(Told)) as cursor:
        await cursor.execute(_NEWS, {"ids": list(afters), "afters": list(afters.values()), "page": _PAGE})
        return await cursor.fetchall()
