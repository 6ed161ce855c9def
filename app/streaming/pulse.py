"""The time side of one reader: keepalives and the send timeout, without a timer per event."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Pulse:
    """Calls `silent` after each `keepalive` seconds without a write, and `stuck` once a write takes `send_timeout`.

    One timer does both, and is set again only when it fires; a write costs a look at the clock.
    """

    def __init__(
        self, keepalive: float, send_timeout: float, *, silent: Callable[[], None], stuck: Callable[[], None]
    ) -> None:
        self._keepalive = keepalive
        self._send_timeout = send_timeout
        self._silent = silent
        self._stuck = stuck
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._written = self._loop.time()
        self._writing_since: float | None = None

    def __enter__(self) -> Self:
        self._arm(self._keepalive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        del self._silent, self._stuck  # they refer to the reader, and that to this and to its log

    def writing(self) -> None:
        """A write has begun that has to wait for the client."""
        self._writing_since = self._loop.time()

    def written(self) -> None:
        """The client's side has taken all that was written."""
        self._writing_since = None
        self._written = self._loop.time()

    def _arm(self, delay: float) -> None:
        self._timer = self._loop.call_later(min(delay, self._send_timeout), self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        if self._writing_since is not None:
            left = self._writing_since + self._send_timeout - now
            if left <= 0:
                self._stuck()
                return
        else:
            left = self._written + self._keepalive - now
            if left <= 0:
                self._silent()
                left = self._keepalive
        self._arm(left)
