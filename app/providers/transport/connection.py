"""One connection to the upstream and the exchange that is on it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import httptools
import httpx2

# Unread bytes of a body; past them nothing more is taken from the socket.
_HIGH_WATER: Final = 256 * 1024
# A body that was left just before its end may take this long to end, and its connection serves on.
_LAST_CHUNK: Final = 1.0

Headers = list[tuple[bytes, bytes]]


class Owner(Protocol):
    def release(self, connection: "Connection") -> None:
        """It is fit for another exchange."""

    def lost(self, connection: "Connection") -> None:
        """It is no connection any more."""


class Connection(asyncio.Protocol):
    """Exchanges come one after the other; its owner is told when it is fit for another, and when it is lost."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[Any] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._lost: Exception | None = None
        self._writable = True
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        """Forget the exchange before."""
        self._parser = httptools.HttpResponseParser(self)
        self.headers: Headers = []
        self.status = 0
        self._answered = False
        self._body: list[bytes] = []
        self._unread = 0
        self._complete = False
        self._reusable = False
        self._framed = False
        self._abandoned = False

    @property
    def closed(self) -> bool:
        return self._lost is not None or self._transport.is_closing()

    # -- one exchange

    async def send(self, request: bytes, timeout: float | None) -> None:
        """
        Raises:
            httpx2.WriteTimeout, httpx2.WriteError
        """
        self._begin()
        self._transport.write(request)
        if not self._writable:
            await self._taken(timeout)
        if self._lost and not self._answered:
            raise httpx2.WriteError("The connection broke while the request was sent.") from self._lost

    async def _taken(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                # An upstream that refuses a long body answers before it has taken it.
                while not (self._writable or self._answered or self._lost):
                    await self._change()
        except TimeoutError:
            raise httpx2.WriteTimeout("The upstream did not take the request in time.") from None

    async def answered(self, timeout: float | None) -> None:
        """Return when `status` and `headers` are there.

        Raises:
            httpx2.ReadTimeout, httpx2.ReadError, httpx2.RemoteProtocolError
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._answered:
                    self._check()
                    await self._change()
        except TimeoutError:
            raise httpx2.ReadTimeout("The upstream did not answer in time.") from None

    async def read(self) -> bytes:
        """What has come of the body, at least a byte; none at its end. It waits without a limit.

        Raises:
            httpx2.ReadError, httpx2.RemoteProtocolError
        """
        while not self._body:
            if self._complete:
                return b""
            if self._lost:
                raise self._lost
            await self._change()
        return self._take_body()

    async def pour(self, sink: Callable[[bytes], bool]) -> bool:
        """Give `sink` the body as it comes, until it answers True: it has had enough. False if the body ends before.

        It is called where the socket is read, without a task that would have to wake up for it.

        Raises:
            httpx2.ReadError, httpx2.RemoteProtocolError, and whatever `sink` raises
        """
        self._sink = sink
        self._waiter = self._loop.create_future()
        self._changed()  # by what has come already
        try:
            enough: bool = await self._waiter
            return enough
        finally:
            self._sink = None

    def _take_body(self) -> bytes:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        if self._unread > _HIGH_WATER:
            self._transport.resume_reading()
        self._unread = 0
        return body

    def leave(self, *, at_end: bool = False) -> None:
        """The caller wants no more of it; `at_end` says that what it wanted was the whole of the body."""
        if self._reusable and not self.closed:
            self.idle_since = time.time()  # of the wall: a restored memory snapshot must not take it for fresh
            self._owner.release(self)
        elif at_end and not self.closed and not self._complete:
            self._abandoned = True
            self._timer = self._loop.call_later(_LAST_CHUNK, self.close)
        else:
            self.close()

    def close(self) -> None:
        """Hang up: nothing more is read, nothing that waits is sent."""
        self._transport.abort()

    def _check(self) -> None:
        if self._lost:
            raise self._lost

    async def _change(self) -> None:
        self._waiter = self._loop.create_future()
        await self._waiter

    def _changed(self) -> None:
        if self._sink is not None:
            self._hand_on(self._sink)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _hand_on(self, sink: Callable[[bytes], bool]) -> None:
        try:
            if self._body and sink(self._take_body()):
                self._poured(True)
            elif self._complete:
                self._poured(False)
            elif self._lost:
                raise self._lost
        except Exception as exc:
            self._poured(exc)

    def _poured(self, how: bool | Exception) -> None:
        self._sink = None
        if self._waiter is None or self._waiter.done():
            return
        if isinstance(how, Exception):
            self._waiter.set_exception(how)
        else:
            self._waiter.set_result(how)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._lost = httpx2.RemoteProtocolError("The upstream's answer is no HTTP/1.1.")
            self.close()
        if self._sink is not None:
            self._hand_on(self._sink)
        else:
            self._changed()

    def eof_received(self) -> None:
        self._complete = self._complete or (self._answered and not self._framed)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._owner.lost(self)
        self._lost = self._lost or httpx2.ReadError("The upstream closed the connection.")
        self._changed()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._changed()

    # -- httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer: the real one follows
            self.headers = []
        else:
            self._answered = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._unread += len(body)
        if self._unread > _HIGH_WATER:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if not self._answered:
            return
        self._complete = True
        self._reusable = self._parser.should_keep_alive()
        if self._abandoned:
            if self._timer is not None:
                self._timer.cancel()
            self.leave()
