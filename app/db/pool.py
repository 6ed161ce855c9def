"""The connection pool. A connection is held for one statement or one transaction, never across a stream."""

from psycopg_pool import AsyncConnectionPool

from app.config import Settings
from app.db.connection import Connection, check
from app.db.login import login_of, trusted

Pool = AsyncConnectionPool[Connection]


def create_pool(settings: Settings) -> Pool:
    """A closed pool; open it without waiting, so that the service starts while the database is away.

    Nothing here pins a proxied connection: no prepared statements, no `SET`, no start-up `options`. The TCP settings
    (libpq, "Parameter Key Words") end a connection whose server vanished without a word.
    """
    url = settings.database_url.get_secret_value()
    return AsyncConnectionPool(
        url,
        min_size=settings.pool_min,
        max_size=settings.pool_max,
        timeout=settings.pool_timeout,
        open=False,
        # Past it the next caller tries anew: the pool's own pauses would outlast the outage by minutes.
        reconnect_timeout=2,
        name="headwater",
        connection_class=Connection,
        check=check if settings.freezes else None,
        kwargs={
            "login": login_of(settings),
            "autocommit": True,
            "prepare_threshold": None,
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "tcp_user_timeout": 10_000,
            "application_name": settings.service_name,
            **trusted(url),
        },
    )
