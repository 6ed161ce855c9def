"""The log of one completion, as far as this process has it."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from app.domain.events import Event


class Log:
    """An append-only list of events, with readers that it calls, or that wait, when it grows.

    Positions are 1, 2, 3, …; only the terminal event may lie further on: an interrupted log ends beyond every position
    that a reader can have seen before the instance was lost.
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._called: list[Callable[[], None]] = []
        self._waiters: Sequence[asyncio.Future[None]] = ()
        # The position of the newest event, 0 before the first.
        self.last_seq = 0
        self.ended = False

    def append(self, events: Sequence[Event], *, end: bool = False) -> None:
        """Add events and tell all readers; with `end` the last of them is the terminal event."""
        assert not self.ended
        self._events += events
        if events:
            self.last_seq = events[-1].seq
        self.ended = end
        for grown in self._called:
            grown()
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def after(self, seq: int, at_most: int = sys.maxsize) -> list[Event]:
        """The events past `seq`, up to `at_most` of them, empty where there is none yet."""
        if seq < len(self._events):
            return self._events[seq : seq + at_most]
        if self.ended and seq < self.last_seq:
            return self._events[-1:]
        return []

    @contextmanager
    def calling(self, grown: Callable[[], None]) -> Iterator[None]:
        """Have `grown`, which must not raise, called at each `append`."""
        self._called.append(grown)
        try:
            yield
        finally:
            self._called.remove(grown)

    def changed(self) -> asyncio.Future[None]:
        """Done at the next `append`. A caller that stops waiting cancels it or sets its result."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters = [*self._waiters, waiter]
        return waiter

    async def wait_ended(self) -> None:
        while not self.ended:
            await self.changed()


class StoredLog(Log):
    """A finished log, for one reader: `events` are taken as they are read, from the first to the last, and not kept."""

    def __init__(self, events: Iterator[Event], end_seq: int) -> None:
        super().__init__()
        self._unread = events
        self.last_seq = end_seq
        self.ended = True

    def after(self, seq: int, at_most: int = sys.maxsize) -> list[Event]:
        """The next events: `seq` is that of the last one that was given."""
        return list(islice(self._unread, at_most))
