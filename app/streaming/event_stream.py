"""The response of the hot path: one reader of one log, as server-sent events.

Why not sse-starlette's response: see docs/adr/0003. What a long stream needs is here: it notices a client that left,
keeps a silent connection open, drops a client that stopped reading, and always closes what it opened.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.errors import AppError
from app.streaming.log import Log
from app.streaming.pulse import Pulse
from app.streaming.settlement import error_end
from app.wire.sse import HEADERS, KEEPALIVE, Encoder

# Behind the time by which generations end: what those have to say last still reaches their readers.
_READERS_STAY: Final = 5.0
# Of a backlog, however long: what one reader takes up of memory, and of the loop's time in one go.
_AT_ONCE: Final = 256


class EventStream(Response):
    """Sends every event of a log past `after` in the encoder's dialect, a batch at a time, until the log has ended.

    `source` gives the log and is held open while the reader is there. `keepalive` is the longest silence and
    `send_timeout` the longest wait for a client that takes nothing, both in seconds. `opening` is sent before the first
    event. A reader that is still there when its request's time is over (`ends_by` in the request's state) is told so,
    at the position from which it can read on.
    """

    def __init__(
        self,
        source: AbstractContextManager[Log],
        encoder: Encoder,
        *,
        after: int,
        keepalive: float,
        send_timeout: float,
        headers: Mapping[str, str] | None = None,
        opening: bytes = b"",
    ) -> None:
        super().__init__(headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._source = source
        self._encoder = encoder
        self._after = after
        self._folded = 0
        self._behind = False
        self._opening = opening
        self._pulse = Pulse(keepalive, send_timeout)
        self._gone = False
        self._late = False
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(self._watch(receive))
        state = scope.setdefault("state", {})
        timer = self._end_in_time(state)
        try:
            with self._source as log:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                last = await self._all_but_last(log, state.get("send", send))
                state["sent"] = self._sent
                if last is not None:
                    with self._pulse:
                        await self._pulse.send(send, last, more=False)
        finally:
            state["sent"] = self._sent
            watch.cancel()
            if timer is not None:
                timer.cancel()

    def _end_in_time(self, state: dict[str, Any]) -> asyncio.TimerHandle | None:
        if (ends_by := state.get("ends_by")) is None:
            return None
        return asyncio.get_running_loop().call_later(ends_by + _READERS_STAY - time.time(), self._be_late)

    def _be_late(self) -> None:
        self._late = True
        self._pulse.wake()

    async def _all_but_last(self, log: Log, send: Send) -> bytes | None:
        """Send all chunks but the last, which it gives back: that goes the way of all answers, where it is noticed.

        None when the client left or stopped reading: without a last chunk, the server breaks the connection.
        """
        # Something is written at once in any case: it opens the stream through every hop.
        body = self._opening + self._frames(log) or KEEPALIVE
        if not log.ended:
            with self._pulse:
                if not await self._pulse.send(send, body, more=True):
                    return None
            self._sent, body = len(body), b""
        # In a task of its own: here, each wake-up would go through the frames of all that a request passes.
        return await asyncio.create_task(self._stream(log, send, body))

    async def _stream(self, log: Log, send: Send, body: bytes) -> bytes | None:
        with self._pulse:
            while not self._gone:
                if self._late and not log.ended:
                    return body + self._too_late()
                if log.ended and log.last_seq <= self._folded:
                    return body
                if body:
                    if not await self._pulse.send(send, body, more=True):
                        return None
                    self._sent += len(body)
                if not self._gone:
                    body = await self._next(log)
        return None

    async def _next(self, log: Log) -> bytes:
        """The next frames, a sign of life when it is time for one, or nothing where events have no frame."""
        idle = not self._late and not log.ended and log.last_seq <= self._folded
        if idle and not await self._pulse.wait(log.changed()):
            return b"" if self._gone else KEEPALIVE
        if self._behind:
            await asyncio.sleep(0)  # a client that takes all it is given would be served alone
        return self._frames(log)

    def _frames(self, log: Log) -> bytes:
        """The encoder sees every event: what the reader has had goes in without output, whenever it comes."""
        events = log.after(self._folded, _AT_ONCE)
        self._behind = len(events) == _AT_ONCE
        if not events:
            return b""
        caught_up = self._folded >= self._after
        self._folded = events[-1].seq
        if caught_up:
            return self._encoder.encode(events)
        self._encoder.skip([event for event in events if event.seq <= self._after])
        return self._encoder.encode([event for event in events if event.seq > self._after])

    def _too_late(self) -> bytes:
        error = AppError("The time of this request is over, not the answer's: read on from here.", code="deadline")
        return self._encoder.encode([error_end(max(self._folded, self._after), error, None)])

    async def _watch(self, receive: Receive) -> None:
        """Servers do not raise from `send` when the client has left: somebody has to listen for it."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._pulse.wake()
