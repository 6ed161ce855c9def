"""One reader of one log. The log calls it when it has grown, and it writes: from socket to socket without a wake-up.

A task that waits for the log would be woken by the loop for every event, which costs as much as the event itself
(docs/adr/0022). Only a write that its client keeps waiting gets a task.
"""

import asyncio
from collections.abc import Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Final

from starlette.types import Send

from app.domain.errors import AppError
from app.streaming.log import Log
from app.streaming.settlement import error_end
from app.streaming.watchdog import IN_TIME, Watchdog
from app.wire.sse import KEEPALIVE, Encoder

# Of a backlog, however long: what one reader takes up of memory, and of the loop's time in one go.
_AT_ONCE: Final = 256


class Reader:
    """Sends what a log has past `after`, in the encoder's dialect, until it ends. Times are in seconds."""

    def __init__(
        self, log: Log, encoder: Encoder, send: Send, *, after: int, keepalive: float, send_timeout: float
    ) -> None:
        self._log = log
        self._encoder = encoder
        self._send = send
        self._after = after
        self._folded = 0
        self._late = False
        # A write waits for the client, or there is more for the next turn of the loop.
        self._busy = False
        self._waiting: asyncio.Task[None] | None = None
        self._keepalive = keepalive
        self._send_timeout = send_timeout
        self._loop = asyncio.get_running_loop()
        self._last: asyncio.Future[bytes | None] = self._loop.create_future()
        # Beside the future itself, which is asked for every event, and far away in memory by then.
        self._over = False
        self.sent = 0

    async def read(self, opening: bytes) -> bytes | None:
        """Send `opening` and all chunks but the last, which it gives back: that goes the way of all answers.

        None when the client left or stopped reading: without a last chunk, the server breaks the connection.
        """
        with (
            self._log.calling(self._advance),
            Watchdog(self._keepalive * IN_TIME, lambda: self.sent, lambda: self._advance(otherwise=KEEPALIVE)),
        ):
            # Something is written at once in any case: it opens the stream through every hop.
            self._advance(opening, otherwise=KEEPALIVE)
            try:
                return await self._last
            finally:
                if self._waiting is not None:
                    self._waiting.cancel()
                    self._waiting = None  # its frames refer to this reader

    def leave(self) -> None:
        """The client has left, or may as well have."""
        self._end(None)

    def _end(self, last: bytes | None) -> None:
        self._over = True
        if not self._last.done():
            self._last.set_result(last)

    def _break(self, exc: Exception) -> None:
        self._over = True
        if not self._last.done():
            self._last.set_exception(exc)

    def be_late(self) -> None:
        """The request's time is over: a reader that is still there is told so, and from where it can read on."""
        self._late = True
        self._advance()

    def _advance(self, opening: bytes = b"", *, otherwise: bytes = b"") -> None:
        """Send what there is, as far as that needs no waiting. What breaks here is the reader's, not the log's."""
        if self._busy or self._over:
            return
        try:
            body = opening + self._frames() or otherwise
            if self._log.ended and self._log.last_seq <= self._folded:
                self._end(body)
            elif self._late and not self._log.ended:
                self._end(body + self._too_late())
            elif body:
                self._write(body)
            if self._behind and not self._busy:
                self._busy = True  # a client that takes all it is given would be served alone
                self._loop.call_soon(self._resume)
        except Exception as exc:
            self._break(exc)

    def _resume(self) -> None:
        self._busy = False
        self._advance()

    def _frames(self) -> bytes:
        """The encoder sees every event: what the reader has had goes in without output, whenever it comes."""
        events = self._log.after(self._folded, _AT_ONCE)
        self._behind = len(events) == _AT_ONCE
        if not events:
            return b""
        caught_up = self._folded >= self._after
        self._folded = events[-1].seq
        if caught_up:
            return self._encoder.encode(events)
        self._encoder.skip([event for event in events if event.seq <= self._after])
        return self._encoder.encode([event for event in events if event.seq > self._after])

    def _write(self, body: bytes) -> None:
        """A server's `send` waits only where its client does not take what is sent: it is tried without a task."""
        self.sent += len(body)
        steps = self._send({"type": "http.response.body", "body": body, "more_body": True}).__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            return
        self._busy = True
        self._waiting = asyncio.create_task(self._finish(waits_for, steps))

    async def _finish(self, waits_for: object, steps: Generator[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._send_timeout):
                await _rest(waits_for, steps)
        except TimeoutError:
            self.leave()
        except Exception as exc:
            self._break(exc)
        else:
            self._resume()

    def _too_late(self) -> bytes:
        error = AppError("The time of this request is over, not the answer's: read on from here.", code="deadline")
        return self._encoder.encode([error_end(max(self._folded, self._after), error, None)])


@coroutine
def _rest(waits_for: object, steps: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
    """What is left of an awaitable that was begun without a task, for a task to await."""
    with suppress(StopIteration):
        while True:
            try:
                came = yield waits_for
            except BaseException as exc:
                waits_for = steps.throw(exc)
            else:
                waits_for = steps.send(came)
