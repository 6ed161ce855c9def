"""The response of the hot path: one reader of one log, as server-sent events.

Why not sse-starlette's response: see docs/adr/0003. What a long stream needs is here: it notices a client that left,
keeps a silent connection open, drops a client that stopped reading, and always closes what it opened.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.streaming.log import Log
from app.streaming.reader import Reader
from app.wire.sse import HEADERS, Encoder

# Behind the time by which generations end: what those have to say last still reaches their readers.
_READERS_STAY: Final = 5.0


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
        self._keepalive = keepalive
        self._send_timeout = send_timeout
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        with self._source as log:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # What lies between the first message and the last goes to the server straight.
            reader = self._reader(log, state.get("send", send))
            with _leaving(receive, reader.leave), _ending(state, reader.be_late):
                try:
                    last = await reader.read(self._opening)
                finally:
                    state["sent"] = reader.sent
                if last is not None:
                    await self._end(send, last)

    def _reader(self, log: Log, send: Send) -> Reader:
        return Reader(
            log,
            self._encoder,
            send,
            after=self._after,
            keepalive=self._keepalive,
            send_timeout=self._send_timeout,
        )

    async def _end(self, send: Send, last: bytes) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._send_timeout):
                await send({"type": "http.response.body", "body": last, "more_body": False})


@contextmanager
def _leaving(receive: Receive, left: Callable[[], None]) -> Iterator[None]:
    """Servers do not raise from `send` when the client has left: somebody has to listen for it."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


@contextmanager
def _ending(state: Mapping[str, Any], over: Callable[[], None]) -> Iterator[None]:
    """Call `over` when the request's time is, if that is limited."""
    if (ends_by := state.get("ends_by")) is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(ends_by + _READERS_STAY - time.time(), over)
    try:
        yield
    finally:
        timer.cancel()
