"""The parts of streaming in one process, wired together and run."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from uuid import UUID

from app.config import Settings
from app.db.pool import Pool
from app.observability import Figures, Minutes
from app.prices import Prices
from app.providers.base import Provider
from app.streaming import maintenance, repository
from app.streaming.control import Control
from app.streaming.follower import Follower
from app.streaming.generation import Admitted, Generation
from app.streaming.head_start import HeadStart
from app.streaming.instance import Instance
from app.streaming.interruption import Interruption
from app.streaming.log import Log
from app.streaming.maintenance import Chore, Errand
from app.streaming.recorder import Recorder
from app.streaming.registry import Registry
from app.streaming.repository import Connection

# At the most, from the insert to the launch.
_ADMISSION_TAKES: Final = 60.0
# For the terminal events of streams that could not be settled.
_LAST_EVENTS: Final = 1.0


class Engine:
    """Starts generations, finds logs wherever they run, and ends in good order."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        provider: Callable[[], Awaitable[Provider]],
        prices: Prices,
        chores: Sequence[Chore] = (),
        errands: Sequence[Errand] = (),
    ) -> None:
        self.settings = settings
        self.provider = provider
        self.prices = prices
        self.instance = Instance(settings.home)
        self.registry = Registry(settings.max_streams)
        self._pool = pool
        self._chores = [self._find_orphans, *chores]
        self._errands = errands
        self._recorder = Recorder(pool, self.instance, settings)
        self.interruption = Interruption(pool, prices, settings.lease)
        self._follower = Follower(pool, self.interruption, settings)
        self.control = Control(pool, self.instance, self.registry, self._follower, self.interruption, settings)
        self.minutes = Minutes(lambda: self.figures(take=True), settings.metrics_interval)
        self._loops: list[asyncio.Task[None]] = []
        self._draining: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the loops that the process has whatever the number of streams."""
        self._loop(self._recorder.run())
        self._loop(self._follower.run())
        self._loop(self.control.run())
        self._loop(self.minutes.run())
        if not self.settings.freezes:  # it would be frozen with rows locked
            self._loop(maintenance.run_forever(*self._maintenance))

    async def maintain(self) -> None:
        """One maintenance run."""
        await maintenance.run_once(*self._maintenance)

    @property
    def _maintenance(self) -> tuple[Pool, Settings, Interruption, Sequence[Chore], Sequence[Errand]]:
        return self._pool, self.settings, self.interruption, self._chores, self._errands

    def figures(self, *, take: bool = False) -> Figures:
        """How it is doing; `take` begins anew with what was worst, which else is what was last."""
        recorder, follower, pool = self._recorder, self._follower, self._pool.get_stats()
        return Figures(
            open_streams=len(self.registry),
            recorder_lag=recorder.lag.take() if take else recorder.lag.last,
            recorder_backlog=recorder.backlog(),
            follower_lag=follower.lag.take() if take else follower.lag.last,
            database_requests=pool.get("requests_num", 0),
            database_wait=pool.get("requests_wait_ms", 0),
            database_usage=pool.get("usage_ms", 0),
        )

    def _loop(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._loops.append(asyncio.create_task(coroutine))

    async def _find_orphans(self, conn: Connection) -> None:
        """An admission whose answer was lost on the way left a completion that nobody produces."""
        for id in await repository.streaming_for(conn, self.instance.id, _ADMISSION_TAKES):
            if self.registry.get(id) is None:
                self.registry.abandoned.add(id)

    def launch(self, admitted: Admitted, head_start: HeadStart | None = None) -> Generation:
        generation = Generation(admitted, self.provider, self._recorder, self.prices, self.settings, head_start)
        self.registry.launch(generation)
        return generation

    def source(self, id: UUID) -> AbstractContextManager[Log]:
        """The log of a completion that is still streaming, here or on another instance."""
        generation = self.registry.get(id)
        return generation.reading() if generation is not None else self._follower.reading(id)

    def begin_drain(self) -> None:
        """Refuse new work and give what runs until the end of the grace; returns at once."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        if not await self.registry.drain(self.settings.drain_grace):
            self._recorder.give_up()  # the database is away; readers are still to be told
            await self.registry.wait(_LAST_EVENTS)

    async def close(self) -> None:
        """Drain to the end, then stop the loops."""
        self.begin_drain()
        assert self._draining is not None
        await self._draining
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
