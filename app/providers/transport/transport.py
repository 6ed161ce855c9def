"""The connections as httpx2 has them, so that the SDK can use them."""

from collections.abc import AsyncIterator, Awaitable
from contextvars import ContextVar
from typing import Final

import httpx2

from app.providers.transport.connection import Connection
from app.providers.transport.pool import Origin, Pool

# Under this name a response's extensions hold its `Connection`, to be read directly.
READER: Final = "headwater.reader"
# What has to be done before the requests of this context are sent; they are made, and connected, without it.
MAY_SEND: Final[ContextVar[Awaitable[None] | None]] = ContextVar("MAY_SEND", default=None)
_PORTS: Final = {"http": 80, "https": 443}


class DirectTransport(httpx2.AsyncBaseTransport):
    """Speaks to the upstream's host itself; for a proxy take another transport."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        url = request.url
        origin = Origin(url.scheme == "https", url.host, url.port or _PORTS[url.scheme])
        sent = _head(request) + await request.aread()
        connection = await self._pool.take(origin, wait=timeouts.get("pool"), connect=timeouts.get("connect"))
        try:
            if (may_send := MAY_SEND.get()) is not None:
                await may_send
            await connection.send(sent, timeouts.get("write"))
            await connection.answered(timeouts.get("read"))
        except BaseException:
            connection.close()
            raise
        return httpx2.Response(
            connection.status,
            headers=connection.headers,
            stream=_Body(connection),
            extensions={READER: connection},
        )

    async def aclose(self) -> None:
        self._pool.close()


def _head(request: httpx2.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % field for field in request.headers.raw]
    return b"\r\n".join([*lines, b"", b""])


class _Body(httpx2.AsyncByteStream):
    """The body for those that read it through httpx2: short answers and errors."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None and (chunk := await self._connection.read()):
            yield chunk

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()
