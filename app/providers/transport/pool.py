"""Connections that wait for their next exchange."""

import asyncio
import socket
import ssl
import time
from collections import defaultdict
from typing import Final, NamedTuple

import aiohappyeyeballs
import httpx2

from app.providers.transport.connection import Connection

# Below the time after which load balancers and API gateways let go of an idle connection.
IDLE: Final = 30.0
# Until another of the host's addresses is tried beside the first (RFC 8305).
_NEXT_ADDRESS: Final = 0.25


class Origin(NamedTuple):
    tls: bool
    host: str
    port: int


class Pool:
    """Up to `limit` connections at once; a request that finds none free waits for one."""

    def __init__(self, limit: int, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._free = asyncio.Semaphore(limit)
        self._waiting = 0
        self._idle: dict[Origin, list[Connection]] = defaultdict(list)
        self._origins: dict[Connection, Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def take(self, origin: Origin, *, wait: float | None, connect: float | None) -> Connection:
        """A connection that is used by nobody else until it is left. Times in seconds.

        Raises:
            httpx2.PoolTimeout, httpx2.ConnectTimeout, httpx2.ConnectError
        """
        if (connection := self._fresh(origin)) is not None:
            return connection
        await self._place(wait)
        try:
            async with asyncio.timeout(connect):
                connection = await self._connect(origin)
        except BaseException as exc:
            self._free.release()
            if isinstance(exc, TimeoutError):
                raise httpx2.ConnectTimeout("The upstream could not be reached in time.") from exc
            if isinstance(exc, OSError):
                raise httpx2.ConnectError("The upstream could not be reached.") from exc
            raise
        self._origins[connection] = origin
        return connection

    async def _place(self, wait: float | None) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(wait):
                await self._free.acquire()
        except TimeoutError:
            raise httpx2.PoolTimeout("All connections to the upstream are in use.") from None
        finally:
            self._waiting -= 1

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        chosen = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS)
        chosen.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, connection = await loop.create_connection(
            lambda: Connection(self),
            sock=chosen,
            ssl=self._tls() if origin.tls else None,
            server_hostname=origin.host if origin.tls else None,
        )
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = httpx2.create_ssl_context()
        return self._context

    def _fresh(self, origin: Origin) -> Connection | None:
        """The one that was used last: the others may grow old."""
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if not connection.closed and 0 <= time.time() - connection.idle_since < IDLE:
                return connection
            connection.close()
        return None

    def release(self, connection: Connection) -> None:
        """It is fit for another exchange; where somebody waits for a place, that one connects anew in its place."""
        if self._waiting:
            connection.close()
            return
        self._idle[self._origins[connection]].append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE, self._sweep)

    def lost(self, connection: Connection) -> None:
        """It is no connection any more."""
        if (origin := self._origins.pop(connection, None)) is not None:
            self._free.release()
            if connection in self._idle[origin]:
                self._idle[origin].remove(connection)

    def _sweep(self) -> None:
        self._sweeper = None
        now = time.time()
        idle = [connection for each in self._idle.values() for connection in each]
        for connection in idle:
            if not 0 <= now - connection.idle_since < IDLE:
                connection.close()
        if idle:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._origins):
            connection.close()
