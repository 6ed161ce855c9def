"""A connection that logs in with a password that may have changed, and knows when it was last used."""

import asyncio
import time
from typing import Any, Final, Self

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from app.aws import AwsError
from app.db.login import Login, RotatedSecret

# Used a moment ago it needs no question; after a minute, proxies and networks may have forgotten it without a word, and
# a question would wait for seconds.
_SURELY_ALIVE: Final = 1.0
_POSSIBLY_ALIVE: Final = 60.0


class Connection(AsyncConnection[Any]):
    """`used_at` is in seconds of the wall clock, which goes on while the process is frozen."""

    used_at = 0.0

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, login: Login | None = None, **parameters: Any
    ) -> Self:
        """
        Raises:
            psycopg.OperationalError: there is no connection, or no password to be had.
        """
        began = time.time()  # the process may be frozen while it connects
        connection = await cls._log_in(conninfo, login, parameters)
        connection.used_at = began
        return connection

    @classmethod
    async def _log_in(cls, conninfo: str, login: Login | None, parameters: dict[str, Any]) -> Self:
        """With what `login` gives; if the server refuses a password that has changed meanwhile, with the new one."""
        connect = super().connect
        if login is None:
            return await connect(conninfo, **parameters)
        try:
            first = await asyncio.to_thread(login)
            try:
                return await connect(conninfo, **parameters, **first)
            except psycopg.OperationalError as exc:
                refused = exc.pgconn is not None and exc.pgconn.used_password
                if not refused or not isinstance(login, RotatedSecret):
                    raise
                if (second := await asyncio.to_thread(login.other_than, first)) is None:
                    raise
            return await connect(conninfo, **parameters, **second)
        except AwsError as exc:
            raise psycopg.OperationalError(str(exc)) from exc


async def check(connection: Connection) -> None:
    """Whether it can be used, in a process that was perhaps frozen since it was last.

    Raises:
        psycopg.OperationalError: it cannot.
    """
    idle = time.time() - connection.used_at
    if not 0 <= idle < _POSSIBLY_ALIVE:
        await connection.close()
        raise psycopg.OperationalError("idle for too long")
    if idle > _SURELY_ALIVE:
        await AsyncConnectionPool.check_connection(connection)
    connection.used_at = time.time()
