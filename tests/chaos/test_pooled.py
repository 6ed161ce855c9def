"""Many streams through few connections, and nothing that would pin a session of RDS Proxy."""

import asyncio
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from tests.chaos.pgbouncer import pgbouncer
from tests.chaos.streams import Client, Connect, Stream
from tests.support.postgres import Postgres
from tests.support.service import StartService

# "Avoiding pinning an RDS Proxy" in the RDS user guide.
PINS: Final = re.compile(
    r"^\s*(SET|RESET|PREPARE|EXECUTE|DEALLOCATE|DISCARD|DECLARE|LISTEN|UNLISTEN|NOTIFY|LOAD|LOCK)\b"
    r"|\bset_config\b|\bCREATE\s+(LOCAL\s+|GLOBAL\s+)?TEMP|\bpg_temp\b|\b(nextval|setval)\s*\("
    r"|\bpg_(try_)?advisory_(un)?lock(_shared|_all)?\b",
    re.IGNORECASE | re.MULTILINE,
)
LONGEST: Final = 16 * 1024
STATEMENT: Final = re.compile(r" LOG:  (?:statement|execute [^:]*|parse [^:]*): ")
# What PgBouncer itself says when a server connection passes from one client to another.
OF_PGBOUNCER: Final = re.compile(r"SET application_name='[^']*';")
RECORD: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \S+ \[\d+\] ", re.MULTILINE)


def statements(log: str) -> list[str]:
    """The text of each statement in a server log, over all its lines."""
    starts = [match.start() for match in RECORD.finditer(log)] + [len(log)]
    records = [log[start:end] for start, end in pairwise(starts)]
    found = [(STATEMENT.search(record.split("\n", 1)[0]), record) for record in records]
    return [record[match.end() :].rstrip("\n") for match, record in found if match]


def said_by_the_service(server: Postgres, since: int) -> list[str]:
    with server.log.open("rb") as log:
        log.seek(since)
        return [said for said in statements(log.read().decode()) if not OF_PGBOUNCER.fullmatch(said)]


def check_that_nothing_pins(said: list[str]) -> None:
    assert [statement for statement in said if PINS.search(statement)] == []
    assert max(len(statement.encode()) for statement in said) < LONGEST


def test_the_pin_list_finds_what_pins() -> None:
    for pinning in (
        "SET statement_timeout = 5",
        "SELECT set_config('jit', 'off', false)",
        "DEALLOCATE ALL",
        "create temp table t (i int)",
        "DECLARE c CURSOR FOR SELECT 1",
        "LISTEN events",
        "SELECT nextval('s')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_unlock_all()",
    ):
        assert PINS.search(pinning), pinning
    for harmless in ("BEGIN", "UPDATE t SET a = 1", "SELECT pg_advisory_xact_lock(1)", "SELECT settle($1)"):
        assert not PINS.search(harmless), harmless


class Transactions:
    """How many the server has ended in this database. It counts none of its own: it sits in another one."""

    def __init__(self, server: Postgres, database_url: str) -> None:
        self._conn = server.connect(server.url())
        self._name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]

    def now(self) -> int:
        counted = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
        row = self._conn.execute(counted, (self._name,)).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._conn.close()


@pytest.fixture
def transactions(private_postgres: Postgres, private_database: str) -> Iterator[Transactions]:
    counter = Transactions(private_postgres, private_database)
    yield counter
    counter.close()


async def begin(client: Client, count: int, model: str) -> list[Stream]:
    """A few at a time, as callers come."""
    streams: list[Stream] = []
    for _ in range(0, count, 10):
        streams += await asyncio.gather(*[client.create(model) for _ in range(10)])
    return streams


@pytest.mark.pgbouncer
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_five_hundred_streams_need_five_connections_and_pin_none(
    start_service: StartService,
    connect: Connect,
    private_postgres: Postgres,
    private_database: str,
    upstream_process: str,
    transactions: Transactions,
    tmp_path: Path,
) -> None:
    (tmp_path / "pgbouncer").mkdir()
    log_before = private_postgres.log.stat().st_size
    with pgbouncer(private_database, tmp_path / "pgbouncer", connections=5) as url:
        service = await start_service(database_url=url, upstream_url=upstream_process, pool_max=5)
        a = await connect(service)
        await (await a.create("sim-ok?tokens=1")).to_end()
        before = transactions.now()
        started = time.monotonic()
        streams = await begin(a, 500, "sim-ok?rate=2&tokens=40&first_ms=0")
        opened = time.monotonic()
        await asyncio.gather(*[stream.to_end() for stream in streams])
        ended = time.monotonic()
        await asyncio.sleep(1.2)  # the server's counters come late
        count, took = transactions.now() - before, time.monotonic() - started
        assert all(stream.done for stream in streams)
        assert not any(stream.broken for stream in streams)
        listed = await listing(a)

    assert len(listed) == 501
    assert {item["status"] for item in listed} == {"completed"}
    said = said_by_the_service(private_postgres, log_before)
    assert len(said) > 500
    check_that_nothing_pins(said)

    print(  # noqa: T201
        f"500 streams opened in {opened - started:.1f} s, all ended after {ended - started:.1f} s;"
        f" {count} transactions in {took:.1f} s: {(count - 4 * 500) / took:.1f}/s beside 4 a stream,"
        f" {count / took:.1f}/s with them; {len(said)} statements, the longest {max(map(len, said))} characters"
    )
    assert count <= 15 * took + 4 * 500


async def listing(client: Client) -> list[Any]:
    items: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        _, page = await client.call("GET", f"/v1/completions?limit=200{cursor and '&cursor=' + cursor}")
        items += page["data"]
        cursor = page["next_cursor"]
    return items


async def test_fifty_streams_make_no_more_transactions_than_one(
    start_service: StartService,
    connect: Connect,
    private_postgres: Postgres,
    private_database: str,
    transactions: Transactions,
) -> None:
    log_before = private_postgres.log.stat().st_size
    a = await connect(await start_service(database_url=private_database))
    streams = await begin(a, 50, "sim-endless?rate=25&first_ms=0")
    await asyncio.gather(*[stream.until(5) for stream in streams])
    await asyncio.sleep(1.2)
    before, started = transactions.now(), time.monotonic()
    await asyncio.gather(*[stream.reads_for(2) for stream in streams])
    await asyncio.sleep(1.2)
    rate = (transactions.now() - before) / (time.monotonic() - started)
    print(f"50 streams: {rate:.1f} transactions a second")  # noqa: T201
    assert 5 < rate <= 15
    check_that_nothing_pins(said_by_the_service(private_postgres, log_before))
