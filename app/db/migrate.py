"""Bring a database to the current schema: `python -m app.db.migrate`. Safe to run by several at once."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text

from app.config import Settings

# Any number that is ours: two migrations at once wait for each other. Transaction level, so it ends by itself.
_LOCK = 0x4865_6164


def migrate(database_url: str) -> None:
    """Apply all migrations that the database does not have yet, in one transaction.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    # The URL goes to libpq as it is: SQLAlchemy's own form lacks service files, sockets and several hosts.
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database_url, connect_timeout=5), poolclass=NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


if __name__ == "__main__":
    migrate(Settings().database_url.get_secret_value())
