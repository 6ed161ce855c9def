"""Reading the logs of other instances, as far as these have recorded them."""

import asyncio
import logging
import zlib
from collections.abc import Mapping
from itertools import groupby
from operator import attrgetter
from uuid import UUID

import msgspec

from app.config import Settings
from app.db.pool import Pool
from app.domain.completion import Status
from app.domain.errors import AppError, Gone
from app.domain.events import Event, split
from app.observability import Worst
from app.streaming import repository
from app.streaming.interruption import LOST_AT_MOST, Interruption
from app.streaming.log import Log
from app.streaming.polled_logs import PolledLogs
from app.streaming.repository import Followed
from app.streaming.settlement import decompress, error_end

_log = logging.getLogger(__name__)


class Follower(PolledLogs):
    """Copies of the logs of completions that other instances produce."""

    def __init__(self, pool: Pool, interruption: Interruption, settings: Settings) -> None:
        super().__init__(settings)
        self._pool = pool
        self._interruption = interruption
        self._lease = settings.lease
        self.lag = Worst()
        self._looked_at: float | None = None

    @property
    def following(self) -> list[UUID]:
        return list(self._logs)

    async def _catch_up(self, logs: Mapping[UUID, Log]) -> bool:
        if not logs:
            self._looked_at = None
            return False
        afters = {id: log.last_seq for id, log in logs.items()}
        async with self._pool.connection() as conn:
            rows = await repository.follow(conn, afters, self._lease)
            self._note_lag()
            ended = {row.id for row in rows if row.status != Status.STREAMING}
            stored = {id: await repository.stored_log(conn, id) for id in ended}
        # Without the connection, since readers write as their log grows; and into the copies that were asked for: a
        # reader that came meanwhile may have begun another one.
        for id, group in groupby(rows, key=attrgetter("id")):
            try:
                _take(logs[id], list(group), stored.get(id))
            except (msgspec.MsgspecError, zlib.error):
                _log.exception("the log of %s cannot be read", id)
                _break_off(logs[id], AppError("The stream cannot be read."))
        for id in logs.keys() - {row.id for row in rows}:
            _break_off(logs[id], Gone("The completion was deleted."))
        for instance in {row.instance_id for row in rows if row.status == Status.STREAMING and not row.owner_alive}:
            await self._interruption.of_dead(instance)
        return any(row.data is not None for row in rows)

    def _note_lag(self) -> None:
        """What readers have waited for at the most: the time since the last look."""
        now = asyncio.get_running_loop().time()
        if self._looked_at is not None:
            self.lag.add((now - self._looked_at) * 1000)
        self._looked_at = now


def _take(log: Log, rows: list[Followed], stored: bytes | None) -> None:
    """Append what is new; `stored` is the finished log of what has ended since the last look, if it is kept."""
    if rows[0].status != Status.STREAMING:
        log.append(_rest(log, rows[0].end_seq or 0, stored), end=True)
        return
    events = [event for row in rows if row.data is not None for event in split(row.data, row.first_seq or 1)]
    if new := [event for event in events if event.seq > log.last_seq]:
        log.append(new)


def _rest(log: Log, end_seq: int, stored: bytes | None) -> list[Event]:
    if stored is None:
        return [error_end(end_seq, Gone("The rest of this answer was not kept."), None)]
    return [event for event in decompress(stored, end_seq) if event.seq > log.last_seq]


def _break_off(log: Log, error: AppError) -> None:
    """End a log beyond every position that a reader can have seen."""
    log.append([error_end(log.last_seq + LOST_AT_MOST, error, None)], end=True)
