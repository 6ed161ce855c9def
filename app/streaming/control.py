"""The control tick: one statement a second that keeps the lease and passes on what instances ask of each other."""

import asyncio
import logging
from typing import Final
from uuid import UUID

from app.config import Settings
from app.db.pool import Pool
from app.streaming import repository
from app.streaming.follower import Follower
from app.streaming.generation import Cancelled
from app.streaming.instance import Instance
from app.streaming.interruption import Interruption
from app.streaming.recorder import TRANSIENT, LeaseLost
from app.streaming.registry import Registry
from app.streaming.repository import Asked

_log = logging.getLogger(__name__)

# A third of the lease: two renewals may fail before it lapses.
_RENEWALS_PER_LEASE: Final = 3
# A reader elsewhere is believed there for this many ticks after it was last announced.
_TICKS_OF_PRESENCE: Final = 5


class Control:
    """Runs while this process has generations or follows others'."""

    def __init__(
        self,
        pool: Pool,
        instance: Instance,
        registry: Registry,
        follower: Follower,
        interruption: Interruption,
        settings: Settings,
    ) -> None:
        self._pool = pool
        self._interruption = interruption
        self._instance = instance
        self._registry = registry
        self._follower = follower
        self._lease = settings.lease
        self._tick = settings.control_tick

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(self._tick)
            try:
                await self._once()
            except TRANSIENT as exc:
                _log.warning("control tick failed, will be retried: %s", exc)
            except Exception:
                _log.exception("control tick failed")

    async def _once(self) -> None:
        if self._registry or self._registry.abandoned or self._follower.following:
            await self._exchange()
        if self._registry.abandoned:
            await self._interrupt_abandoned()

    async def _exchange(self) -> None:
        async with self._pool.connection() as conn:
            asked = await repository.control(
                conn,
                self._instance.id,
                lease=self._lease,
                renew=self._lease / _RENEWALS_PER_LEASE,
                following=self._follower.following,
                readers_for=self._tick * _TICKS_OF_PRESENCE,
            )
        for row in asked:
            self._take(row)

    def _take(self, row: Asked) -> None:
        if row.id == self._instance.id:
            if not row.alive:
                self.renew_instance(row.id)
        elif generation := self._registry.get(row.id):
            if row.cancel_requested:
                generation.stop(Cancelled("The completion was cancelled."))
            elif row.readers_elsewhere:
                generation.read_elsewhere()

    def renew_instance(self, dead: UUID) -> None:
        """Others have declared this process dead and ended its completions: go on under a new id, without those.

        `dead` is the id that it had then: of several that find out at the same time, the first does it.
        """
        if self._instance.id != dead:
            return
        self._instance.renew()
        self._registry.abandoned.clear()
        self._registry.stop_all(LeaseLost("The instance that produced this answer was replaced."))

    async def _interrupt_abandoned(self) -> None:
        ids = list(self._registry.abandoned)
        await self._interruption.end(self._instance.id, ids)
        async with self._pool.connection() as conn:
            left = await repository.unfinished(conn, self._instance.id, ids)  # locked by somebody just now
        self._registry.abandoned.difference_update(set(ids).difference(left))
