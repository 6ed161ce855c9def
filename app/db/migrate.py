"""Bring a database to the current schema: `python -m app.db.migrate`. Safe to run by several at once."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from app.config import Settings
from app.db.login import login_of, trusted

# Any number that is ours: two migrations at once wait for each other. Transaction level, so it ends by itself.
_LOCK = 0x4865_6164
# Requests that run meanwhile lock tables in an order of their own: it, or one of them, may have to begin again.
_TRIES = 10


@retry(
    retry=retry_if_exception_type(psycopg.errors.DeadlockDetected),
    stop=stop_after_attempt(_TRIES),
    wait=wait_random(0, 1),
    reraise=True,
)
def migrate(database_url: str, *, to: str = "head", **parameters: object) -> None:
    """Apply all migrations up to `to` that the database does not have yet, in one transaction.

    `parameters` are more of libpq's.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    # The URL goes to libpq as it is: SQLAlchemy's own form lacks service files, sockets and several hosts.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database_url, connect_timeout=5, **parameters),  # type: ignore[arg-type]
        poolclass=NullPool,
    )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def migrate_as(settings: Settings) -> None:
    """The same with the database and the login of `settings`.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
        AwsError: there is no password for it to be had.
    """
    url = settings.database_url.get_secret_value()
    login = login_of(settings)
    migrate(url, **trusted(url), **(login() if login is not None else {}))


if __name__ == "__main__":
    migrate_as(Settings())
