"""Migrations of a database that is in use."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import psycopg
import pytest

from app.db.migrate import migrate
from tests.support.postgres import Postgres

_numbers = count()


@pytest.fixture
def before_0006(postgres: Postgres) -> Iterator[str]:
    """A database as version 0005 had it."""
    name = f"migrated_{next(_numbers)}"
    with postgres.connect(postgres.url()) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    url = postgres.url(name)
    migrate(url, to="0005")
    yield url
    postgres.drop_database(url)


def test_a_migration_that_meets_a_request_halfway_begins_again(before_0006: str) -> None:
    """An admission locks its meter before it writes its completion; the migration changes both tables."""
    with (
        Postgres.connect(before_0006) as request,
        Postgres.connect(before_0006) as watching,
        ThreadPoolExecutor() as pool,
    ):
        request.execute("SET deadlock_timeout = '30s'")  # the other one is to be the victim
        request.execute("INSERT INTO meters (tenant) VALUES ('a')")
        request.execute("UPDATE meters SET requests[60] = 2, requests[61] = 3, tokens[61] = 40")
        with request.transaction():
            request.execute("SELECT FROM meters FOR UPDATE")
            migrated = pool.submit(migrate, before_0006)
            _until_somebody_waits(watching)
            request.execute("SELECT FROM completions")
        migrated.result(timeout=30)
        sums = watching.execute("SELECT requests_in_window, tokens_in_window FROM meters").fetchall()
    assert sums == [(5, 40)]


def _until_somebody_waits(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    until = time.monotonic() + 10
    while not conn.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
        assert time.monotonic() < until
        time.sleep(0.01)
