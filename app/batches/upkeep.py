"""For the maintenance run: what a batch and its engine have not told each other, they are told now."""

import logging
import time
from datetime import timedelta
from typing import Final, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from app.batches import items, repository
from app.batches.repository import FINAL
from app.batches.steps import end_now
from app.batches.waiting import answer_waiting
from app.batches.workflow import Workflow
from app.db.pool import Pool
from app.domain.errors import NotConfigured

_log = logging.getLogger(__name__)

# In one run; those that were not looked at for longest come first.
_AT_ONCE: Final = 20
# The run has other things to do than to wait for an engine that hardly answers. Seconds, until the last is begun.
_PATIENCE: Final = 10.0


class Looked(msgspec.Struct, frozen=True):
    id: UUID
    status: str
    round: int
    started: bool
    task_token: str | None


_LOOK: LiteralString = """
    UPDATE batches SET looked_at = clock_timestamp() WHERE id = ANY (ARRAY(
        SELECT id FROM batches
        WHERE (finished_at IS NULL OR task_token IS NOT NULL) AND looked_at < now() - %(interval)s
        ORDER BY looked_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING id, status, round, started, task_token
"""


class Upkeep:
    """`interval` is in seconds: a batch is looked at no more often."""

    def __init__(self, pool: Pool, workflow: Workflow, interval: float) -> None:
        self._pool = pool
        self._workflow = workflow
        self._interval = timedelta(seconds=interval)

    async def __call__(self) -> None:
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(Looked)) as cursor:
            await cursor.execute(_LOOK, {"interval": self._interval, "limit": _AT_ONCE})
            looked = await cursor.fetchall()
        ends_by = time.monotonic() + _PATIENCE
        for n, batch in enumerate(looked):
            if time.monotonic() > ends_by:
                _log.warning("%s batches were not looked after: the engine is slow", len(looked) - n)
                return
            await self._look_after(batch)

    async def _look_after(self, batch: Looked) -> None:
        if batch.task_token is not None:
            await self._keep_waiting(batch.id, batch.task_token)
        elif batch.status in FINAL:
            return
        elif not batch.started:
            await self._start(batch)
        elif await self._workflow.is_over(batch.id, batch.round):
            await self._lost(batch)

    async def _keep_waiting(self, id: UUID, token: str) -> None:
        if await answer_waiting(self._pool, self._workflow, id) or await self._workflow.say_that_it_lasts(token):
            return
        async with self._pool.connection() as conn:
            await repository.forget_token(conn, id, token)

    async def _start(self, batch: Looked) -> None:
        if await self._expired(batch):
            return
        try:
            started = await self._workflow.start(batch.id, batch.round)
        except NotConfigured:
            _log.error("the batch %s cannot be started: there is no such state machine", batch.id)
            return
        if started:
            async with self._pool.connection() as conn:
                await repository.note_started(conn, batch.id, batch.round)

    async def _expired(self, looked: Looked) -> bool:
        """Whether its time was over before it could begin: then it has ended here."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await repository.lock(conn, looked.id)
            if batch is None or batch.started or not batch.is_late:
                return False
            if batch.ends_as is None:
                await repository.end_as(conn, batch.id, "expired", "deadline")
            await end_now(conn, batch.id)
        return True

    async def _lost(self, looked: Looked) -> None:
        """Its execution has ended without a word: nobody will bring it to its end but us."""
        async with self._pool.connection() as conn, conn.transaction():
            batch = await repository.lock(conn, looked.id)
            if batch is None or batch.is_final or batch.round != looked.round:
                return
            _log.error("the execution of the batch %s, round %s, was lost", batch.id, batch.round)
            if batch.ends_as is None:
                await repository.end_as(conn, batch.id, "failed", "execution_lost")
            await items.cancel_completions(conn, batch.tenant, batch.id)
            await end_now(conn, batch.id)
