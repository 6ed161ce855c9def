"""An instance that slept past its lease: others have ended its completions, and it must not touch them again."""

import asyncio
from typing import Any

import pytest

from tests.chaos.streams import Client, Connect, Stream
from tests.support.postgres import Postgres
from tests.support.service import StartService

LEASE = 2
LONG = "sim-ok?rate=20&tokens=4000&first_ms=0"


@pytest.fixture
async def pair(start_service: StartService, connect: Connect) -> tuple[Client, Client]:
    """Two instances; the first is the one to pause."""
    a = await start_service(lease=LEASE, control_tick=0.2, maintenance_interval=600)
    b = await start_service(lease=LEASE, control_tick=0.2, maintenance_interval=600)
    return await connect(a), await connect(b)


def everything_of(database_url: str, stream: Stream) -> list[Any]:
    """All that the database holds of a completion."""
    with Postgres.connect(database_url) as conn:
        return [
            conn.execute(statement, (stream.id,)).fetchall()
            for statement in (
                "SELECT * FROM completions WHERE id = %s",
                "SELECT * FROM completion_events WHERE completion_id = %s",
                "SELECT * FROM completion_logs WHERE completion_id = %s",
                "SELECT * FROM messages WHERE completion_id = %s",
            )
        ]


async def test_after_its_sleep_it_writes_nothing_more_tells_its_readers_and_serves_again(
    pair: tuple[Client, Client], database_url: str
) -> None:
    a, b = pair
    conversation = await b.conversation()
    running = await (await a.create(LONG, conversation_id=conversation)).until(20)
    ending = await (await a.create("sim-ok?rate=20&tokens=30")).until(5)
    a.service.pause()
    await asyncio.sleep(LEASE + 0.5)
    for stream in (running, ending):
        assert (await b.get(stream.id))["status"] == "interrupted"
    following = await (await b.create("sim-ok?tokens=5", conversation_id=conversation)).to_end()
    assert following.done
    before = [everything_of(database_url, stream) for stream in (running, ending)]

    a.service.resume()
    async with asyncio.timeout(5):
        await asyncio.gather(running.to_end(), ending.to_end())
    for stream in (running, ending):
        assert stream.error == "interrupted"
        assert stream.frames[-1].terminal
        assert not stream.broken

    served = await asyncio.gather(*[a.create("sim-ok?rate=20&tokens=30") for _ in range(20)])
    await asyncio.gather(*[stream.to_end() for stream in served])
    for stream in served:
        assert stream.done, stream.error
        assert (await b.get(stream.id))["status"] == "completed"
    assert [everything_of(database_url, stream) for stream in (running, ending)] == before
    assert (await (await a.create("sim-ok?tokens=5", conversation_id=conversation)).to_end()).done


async def test_many_requests_that_find_it_dead_at_once_are_all_served(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    """With a slow control tick it is the admissions that find out."""
    a = await connect(await start_service(lease=600, control_tick=60, drain_grace=0))
    lost = await (await a.create(LONG)).until(5)
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE instances SET dead_at = clock_timestamp()")
        conn.execute("UPDATE completions SET status = 'interrupted', end_seq = 1000000")
    served = await asyncio.gather(*[a.create("sim-ok?rate=20&tokens=30") for _ in range(30)])
    await asyncio.gather(lost.to_end(), *[stream.to_end() for stream in served])
    assert lost.error == "interrupted"
    assert [stream.error for stream in served] == [None] * 30
    with Postgres.connect(database_url) as conn:
        states = conn.execute("SELECT status, count(*) FROM completions GROUP BY 1 ORDER BY 1").fetchall()
    assert states == [("completed", 30), ("interrupted", 1)]
