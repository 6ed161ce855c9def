"""The time side of one reader: keepalives and the send timeout, without a timer per event."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Send


class Pulse:
    """One timer that is set again only when it fires; a write costs two looks at the clock."""

    def __init__(self, keepalive: float, send_timeout: float) -> None:
        self._keepalive = keepalive
        self._send_timeout = send_timeout
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._written = self._loop.time()
        self._sending_since: float | None = None
        self._late = False
        self._woken = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._arm(self._keepalive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._task = self._waiter = None

    async def send(self, send: Send, body: bytes, more: bool) -> bool:
        """Write one chunk; False if the client did not take it in time."""
        self._sending_since = self._loop.time()
        try:
            await send({"type": "http.response.body", "body": body, "more_body": more})
        except asyncio.CancelledError:
            if not self._late or self._task is None or self._task.uncancel() > 0:
                raise
            return False
        self._sending_since = None
        self._written = self._loop.time()
        return True

    async def wait(self, changed: asyncio.Future[None]) -> bool:
        """Wait for `changed`; False if it was not the log that ended the wait."""
        self._waiter = changed
        self._woken = False
        await changed
        return not self._woken

    def wake(self) -> None:
        """End a wait."""
        if self._waiter is not None and not self._waiter.done():
            self._woken = True
            self._waiter.set_result(None)

    def _arm(self, delay: float) -> None:
        self._timer = self._loop.call_later(min(delay, self._send_timeout), self._fire)

    def _fire(self) -> None:
        now = self._loop.time()
        if self._sending_since is not None:
            left = self._sending_since + self._send_timeout - now
            if left <= 0:
                self._drop()
                return
        else:
            left = self._written + self._keepalive - now
            if left <= 0:
                self.wake()
                left = self._keepalive
        self._arm(left)

    def _drop(self) -> None:
        self._late = True
        assert self._task is not None
        self._task.cancel()
