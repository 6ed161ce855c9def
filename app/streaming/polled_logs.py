"""Logs that grow in the store: one poll per tick for all that are read here, however many readers there are."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from uuid import UUID

from app.config import Settings
from app.streaming.log import Log
from app.streaming.recorder import TRANSIENT

_log = logging.getLogger(__name__)


class PolledLogs(ABC):
    """Copies of such logs, kept while somebody reads them. How the store is asked is for subclasses to say."""

    def __init__(self, settings: Settings) -> None:
        self._tick = settings.follow_tick
        self._slowest_tick = settings.follow_tick_max
        self._logs: dict[UUID, Log] = {}
        self._readers: Counter[UUID] = Counter()
        self._wake = asyncio.Event()

    @abstractmethod
    async def _catch_up(self, logs: Mapping[UUID, Log]) -> bool:
        """Append what came since to these, of which none has ended, and there may be none; whether anything came.

        What it raises is logged, and the next poll tries again.
        """

    @contextmanager
    def reading(self, id: UUID) -> Iterator[Log]:
        """A copy of the log of `id`, which grows while somebody reads it."""
        log = self._logs.get(id)
        if log is None or log.ended:  # the store may have it go on, as a batch in another round
            log = self._logs[id] = Log()
        self._readers[id] += 1
        self._wake.set()
        try:
            yield log
        finally:
            self._readers[id] -= 1
            if not self._readers[id]:
                del self._readers[id], self._logs[id]

    async def run(self) -> None:
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
        try:
            return await self._catch_up({id: log for id, log in self._logs.items() if not log.ended})
        except TRANSIENT as exc:
            _log.warning("%s failed, will be retried: %s", type(self).__name__, exc)
        except Exception:
            _log.exception("%s failed", type(self).__name__)
        return False
