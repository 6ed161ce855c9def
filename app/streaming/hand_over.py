"""Handing a generation to an instance that has the time for it, where this one stands still once it has answered.

A home may freeze a process between requests. What nobody waits for is therefore written down with its admission, and
produced by another function, invoked for nothing else. That may be invoked twice, late or never: who takes the
completion over first produces it, and if nobody does in time it ends as `interrupted`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec

from app.db.pool import Pool
from app.domain.errors import AppError, Unavailable
from app.streaming import repository
from app.streaming.engine import Engine
from app.streaming.generation import Admitted, Cancelled, Generation
from app.streaming.repository import Connection

_log = logging.getLogger(__name__)

# An instance is found to be dead once; the next try is under another id.
_TRIES: Final = 2


class HandOver:
    """`invoke` has the function begin, without waiting for it to end; it blocks, and raises whatever it likes."""

    def __init__(self, pool: Pool, engine: Engine, invoke: Callable[[UUID], None]) -> None:
        self._pool = pool
        self._engine = engine
        self._invoke = invoke

    async def keep(self, conn: Connection, admitted: Admitted) -> None:
        """Write down what has to be known to produce it, in the transaction that admits it."""
        await repository.hand_over(conn, admitted.id, msgspec.json.encode(admitted))

    async def send(self, id: UUID) -> None:
        """Have it begun.

        Raises:
            Unavailable: it will not be; it has failed.
        """
        try:
            await asyncio.to_thread(self._invoke, id)
        except Exception:
            _log.exception("%s could not be handed over", id)
            error = Unavailable("The answer could not be begun in the background. Try again.", code="no_background")
            if await self.end(id, error):
                raise error from None

    async def end(self, id: UUID, reason: AppError) -> bool:
        """End it with `reason`; False if somebody has begun it, as where the answer to the invocation was lost."""
        if (generation := await self._take_over(id, None, reason)) is None:
            return False
        await generation.log.wait_ended()
        return True

    async def run(self, id: UUID, ends_by: float | None) -> None:
        """Produce it, to its end; does nothing if somebody has begun it, or it has ended.

        Raises:
            AppError, psycopg.Error: it could not be begun, and may be tried again.
        """
        if (generation := await self._take_over(id, ends_by, None)) is None:
            _log.info("%s was begun before, or has ended", id)
            return
        await generation.log.wait_ended()

    async def _take_over(self, id: UUID, ends_by: float | None, reason: AppError | None) -> Generation | None:
        """The generation, launched, and stopped with `reason` if there is one."""
        for _ in range(_TRIES):
            instance = self._engine.instance.id
            with self._engine.registry.place():
                async with self._pool.connection() as conn:
                    settings = self._engine.settings
                    taken = await repository.take_over(conn, id, instance, home=settings.home, lease=settings.lease)
                if taken.outcome == "taken" and taken.request is not None:
                    admitted = msgspec.json.decode(taken.request, type=Admitted)
                    generation = self._engine.launch(msgspec.structs.replace(admitted, ends_by=ends_by))
                    if reason is not None or taken.cancel_requested:
                        generation.stop(reason or Cancelled("The completion was cancelled."))
                    return generation
            if taken.outcome != "instance_dead":
                return None
            self._engine.control.renew_instance(instance)
        raise Unavailable("This instance is being replaced. Try again.", retry_after=1)
