"""Looking secrets up, all that wait in one query: so that a flood of wrong ones takes one connection, and no other."""

import asyncio
import logging
from datetime import UTC, datetime

from app.access import holders
from app.access.holders import Holder
from app.db.pool import Pool

_log = logging.getLogger(__name__)

Waiting = dict[bytes, asyncio.Future[Holder | None]]


class LookUps:
    """At most one query at a time. `tasks` is where it runs, and ends before the pool does."""

    def __init__(self, pool: Pool, tasks: asyncio.TaskGroup) -> None:
        self._pool = pool
        self._tasks = tasks
        self._waiting: Waiting = {}
        self._running = False

    async def __call__(self, sha256: bytes) -> Holder | None:
        """Who holds the secret of this SHA-256, as the database has it at some moment after the call."""
        future = self._waiting.get(sha256)
        if future is None:
            future = self._waiting[sha256] = asyncio.get_running_loop().create_future()
        if not self._running:
            self._running = True
            self._tasks.create_task(self._run())
        return await asyncio.shield(future)  # who leaves does not take the others' answer along

    async def _run(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                await self._answer(asked)
            except Exception as exc:
                _fail(asked, exc)
        self._running = False

    async def _answer(self, asked: Waiting) -> None:
        async with self._pool.connection() as conn:
            found = {holder.sha256: holder for holder in await holders.find(conn, asked)}
            for sha256, future in asked.items():
                future.set_result(found.get(sha256))
            if used := {holder.key_id for holder in found.values() if holder.is_newly_used(datetime.now(UTC))}:
                await holders.mark_used(conn, used)


def _fail(asked: Waiting, exc: Exception) -> None:
    waiting = [future for future in asked.values() if not future.done()]
    if not waiting:
        _log.warning("the use of a key was not noted: %s", exc)
    for future in waiting:
        future.set_exception(exc)
