"""One request and its answer on a connection of its own: HTTP by a C parser, so that a thousand fit on one core."""

import asyncio
import ssl
import time
from typing import Final, cast

import httptools

from compare.load.address import Address
from compare.load.answer import Answer

CUT: Final = "cut"
WHOLE: Final = "whole"


class _Reading(asyncio.Protocol):
    """Feeds `answer`; `over` has how it went once the connection is of no more use."""

    def __init__(self, request: bytes, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._status = 0
        self._now = 0.0
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    # -- of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic()  # the loop's own clock has whole milliseconds
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):
            self._end("tls")
        self._end(CUT if self._status else "closed")

    # -- of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status != 200:
            self._end(f"http_{self._status}")
        elif not self._headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._end("protocol")
        else:
            self._answer.begin(self._now, self._headers)

    def on_body(self, body: bytes) -> None:
        if self.over.done():
            return
        self._answer.feed(self._now, body)
        if self._answer.ended is not None:
            self._end(self._answer.ended)

    def on_message_complete(self) -> None:
        self._end(CUT)

    def _end(self, how: str) -> None:
        if not self.over.done():
            self.over.set_result(how)


async def exchange(address: Address, request: bytes, answer: Answer) -> str:
    """Send it and read until the end: "whole", "cut", or the kind of the error (`compare.results.Counts`)."""
    loop = asyncio.get_running_loop()
    try:
        transport, reading = await loop.create_connection(
            lambda: _Reading(request, answer), address.host, address.port, ssl=address.tls
        )
    except ssl.SSLError:
        return "tls"
    except OSError:
        return "connect"
    try:
        return await reading.over
    finally:
        transport.abort()
