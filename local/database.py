"""The database: its own address if there is one, else the embedded Postgres; brought to the current schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from app.db.migrate import migrate
from local.errors import LaunchError, because
from local.postgres import running_postgres
from local.processes import Child


@dataclass(frozen=True, slots=True)
class Database:
    url: str
    shown: str
    server: tuple[Child, ...] = ()


@contextmanager
def database(url: str, data: Path, *, for_containers: bool = False) -> Iterator[Database]:
    """Containers do not find the socket of the embedded one, but a port on loopback.

    Raises:
        LaunchError: it cannot be reached, started or migrated.
    """
    if url:
        yield _given(url)
        return
    folder = data / "postgres"
    with running_postgres(folder, by_tcp=for_containers) as (server, embedded):
        _migrate(embedded)
        yield Database(embedded, f"Postgres 18, embedded, in {folder}", (server,))


def _given(url: str) -> Database:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.ProgrammingError as error:  # its text repeats the address, with the password
        raise LaunchError(
            "DATABASE_URL is not the address of a Postgres database, like postgresql://user:password@host:5432/name."
        ) from error
    except psycopg.OperationalError as error:
        raise LaunchError(f"The database of DATABASE_URL cannot be reached: {because(error)}.") from error
    _migrate(url)
    return Database(url, _without_password(url))


def _migrate(url: str) -> None:
    try:
        migrate(url)
    except Exception as error:  # of psycopg, SQLAlchemy or Alembic; none of them is for this command's user
        raise LaunchError(f"The database could not be brought to the current schema: {because(error)}.") from error


def _without_password(url: str) -> str:
    parts = conninfo_to_dict(url)
    name, host = parts.get("dbname", "the default database"), parts.get("host", "the default server")
    return f"{name} at {host}, from DATABASE_URL"
