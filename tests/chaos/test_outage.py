"""The database goes away under running streams, and comes back."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.streams import Client, Connect, Stream
from tests.support.postgres import Postgres
from tests.support.service import StartService

PACED = "sim-ok?rate=12&tokens=120&first_ms=0"
ENDLESS = "sim-endless?rate=10&first_ms=0"


async def begin(client: Client, count: int, model: str) -> list[Stream]:
    streams = list(await asyncio.gather(*[client.create(model) for _ in range(count)]))
    await asyncio.gather(*[stream.until(5) for stream in streams])
    return streams


@pytest.mark.slow
async def test_streams_live_through_five_seconds_without_the_database(
    start_service: StartService,
    connect: Connect,
    private_postgres: Postgres,
    private_database: str,
    upstream_process: str,
) -> None:
    a = await connect(await start_service(database_url=private_database, upstream_url=upstream_process))
    streams = await begin(a, 50, PACED)
    reading = asyncio.gather(*[stream.to_end() for stream in streams])
    private_postgres.stop()
    stopped = time.monotonic()
    await asyncio.sleep(5)
    away = time.monotonic()
    private_postgres.start()
    await reading

    for stream in streams:
        assert stream.done
        assert not stream.broken
        during = [frame for frame in stream.frames if stopped + 1 < frame.at < away]
        assert len(during) > 12, "the outage was not felt"
        stored = await a.get(stream.id)
        assert stored["status"] == "completed"
        assert stored["text"] == stream.text
        again = await (await a.resume(stream.id)).to_end()
        assert [(frame.id, frame.data) for frame in again.frames] == [(frame.id, frame.data) for frame in stream.frames]


@pytest.mark.slow
async def test_it_is_back_as_soon_as_the_database_is(
    start_service: StartService, connect: Connect, private_postgres: Postgres, private_database: str
) -> None:
    """However long that was away; else streams would run out of patience with a database that is there."""
    a = await connect(await start_service(database_url=private_database, pool_timeout=0.5))
    private_postgres.stop()
    away = time.monotonic()
    while time.monotonic() < away + 8:
        await a.call("GET", "/readyz")
        await asyncio.sleep(0.2)
    private_postgres.start()
    back = time.monotonic()
    while (await a.call("GET", "/readyz"))[0] != 200:
        assert time.monotonic() < back + 3
        await asyncio.sleep(0.1)


async def test_an_outage_longer_than_the_patience_ends_streams_with_an_error(
    start_service: StartService, connect: Connect, private_postgres: Postgres, private_database: str
) -> None:
    service = await start_service(
        database_url=private_database, record_patience=1, pool_timeout=0.5, control_tick=0.2, lease=60
    )
    a = await connect(service)
    running, ending = await begin(a, 5, ENDLESS), await begin(a, 5, "sim-ok?rate=20&tokens=20")
    private_postgres.stop()
    await asyncio.gather(*[stream.to_end() for stream in [*running, *ending]])
    for stream in [*running, *ending]:
        assert stream.error == "storage_unavailable"
        assert stream.frames[-1].terminal
        assert not stream.broken

    private_postgres.start()
    back = time.monotonic()
    for stream in [*running, *ending]:
        patience = time.monotonic() + 10
        while (await a.call("GET", f"/v1/completions/{stream.id}"))[0] != 200:
            assert time.monotonic() < patience
            await asyncio.sleep(0.1)
        stored = await a.final(stream.id)
        assert stored["status"] == "interrupted"
        assert stream.text.startswith(stored["text"])
    print(f"interrupted {time.monotonic() - back:.1f} s after the database was back")  # noqa: T201
    assert service.process.poll() is None
    fresh = await (await a.create("sim-ok?tokens=5")).to_end()
    assert fresh.done


@pytest.mark.slow
async def test_a_database_that_hangs_ends_streams_after_the_patience(
    start_service: StartService, connect: Connect, private_postgres: Postgres, private_database: str
) -> None:
    a = await connect(
        await start_service(database_url=private_database, record_patience=1.5, pool_timeout=0.5, control_tick=0.2)
    )
    streams = await begin(a, 3, ENDLESS)
    paused = pids(private_postgres)
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(15):
            await asyncio.gather(*[stream.to_end() for stream in streams])
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
    assert {stream.error for stream in streams} == {"storage_unavailable"}
    for stream in streams:
        assert (await a.final(stream.id))["status"] == "interrupted"
    assert (await (await a.create("sim-ok?tokens=5")).to_end()).done


def pids(server: Postgres) -> list[int]:
    """The server and its backends."""
    postmaster = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


async def test_a_database_that_refuses_writes_for_a_moment_breaks_no_stream(
    start_service: StartService, connect: Connect, private_postgres: Postgres, private_database: str
) -> None:
    """As during a failover, when connections lead to a server that is read-only."""
    a = await connect(await start_service(database_url=private_database))
    streams = await begin(a, 5, "sim-ok?rate=15&tokens=60")
    reading = asyncio.gather(*[stream.to_end() for stream in streams])
    with Postgres.connect(private_postgres.url()) as admin:
        for read_only in ("on", "off"):
            admin.execute(f"ALTER SYSTEM SET default_transaction_read_only = {read_only}")
            admin.execute("SELECT pg_reload_conf()")
            await asyncio.sleep(1)
    await reading
    for stream in streams:
        assert stream.done, stream.error
        assert (await a.get(stream.id))["text"] == stream.text
