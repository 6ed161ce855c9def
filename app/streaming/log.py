"""The log of one completion, as far as this process has it."""

import asyncio
from collections.abc import Sequence

from app.domain.events import Event


class Log:
    """An append-only list of events with readers that wait for it to grow.

    Positions are 1, 2, 3, …; only the terminal event may lie further on: an interrupted log ends beyond every position
    that a reader can have seen before the instance was lost.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._waiters: list[asyncio.Future[None]] = []
        # The position of the newest event, 0 before the first.
        self.last_seq = 0
        self.ended = False

    def append(self, events: Sequence[Event], *, end: bool = False) -> None:
        """Add events and wake all readers; with `end` the last of them is the terminal event."""
        assert not self.ended
        self._events += events
        if events:
            self.last_seq = events[-1].seq
        self.ended = end
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def after(self, seq: int) -> list[Event]:
        """The events past `seq`, empty where there is none yet."""
        if seq < len(self._events):
            return self._events[seq:]
        if self.ended and seq < self.last_seq:
            return self._events[-1:]
        return []

    def changed(self) -> asyncio.Future[None]:
        """Done at the next `append`. A caller that stops waiting cancels it or sets its result."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    async def wait_ended(self) -> None:
        while not self.ended:
            await self.changed()
