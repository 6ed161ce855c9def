"""Following the logs of other instances, which here are rows that the test writes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.config import Settings
from app.db.pool import Pool, create_pool
from app.domain.completion import Status
from app.domain.events import Error as ErrorBody
from app.domain.events import Event, parse
from app.domain.ids import uuid7
from app.domain.message import MessageFold
from app.streaming import repository
from app.streaming.follower import Follower
from app.streaming.interruption import LOST_AT_MOST
from app.streaming.log import Log
from app.streaming.repository import EventRow
from app.streaming.settlement import MESSAGE_STOP, settlement
from tests.support.interruption import interruption
from tests.support.postgres import Postgres

PING = b'{"type":"ping"}'
TICK = 0.05


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(Settings(database_url=SecretStr(database_url))) as pool:
        yield pool


class Remote:
    """Another instance, as the database shows it."""

    def __init__(self, database_url: str, pool: Pool, *, lease: str = "1 h") -> None:
        self._pool = pool
        self.database_url = database_url
        self.instance = uuid7()
        with Postgres.connect(database_url) as conn:
            conn.execute(
                "INSERT INTO instances (id, home, lease_until) VALUES (%s, 'local', clock_timestamp() + %s::interval)",
                (self.instance, lease),
            )

    def begin(self, *, store: bool = True) -> UUID:
        id = uuid7()
        with Postgres.connect(self.database_url) as conn:
            conn.execute(
                "INSERT INTO completions (id, tenant, model, store, on_disconnect, instance_id)"
                " VALUES (%s, 'default', 'claude-sim', %s, 'continue', %s)",
                (id, store, self.instance),
            )
        return id

    async def write(self, id: UUID, first: int, last: int) -> None:
        row = EventRow(id, first, last, b"\n".join([PING] * (last - first + 1)))
        async with self._pool.connection() as conn:
            assert not await repository.record(conn, self.instance, [row], [])

    async def end(self, id: UUID, events: int) -> None:
        log, end = [Event(seq, "ping", PING) for seq in range(1, events + 1)], Event(events + 1, "x", MESSAGE_STOP)
        last = settlement(id, Status.COMPLETED, log, end, MessageFold(), "{}", attempts=1, first_event_ms=1.0)
        async with self._pool.connection() as conn:
            assert not await repository.record(conn, self.instance, [], [last])

    def delete(self, id: UUID) -> None:
        with Postgres.connect(self.database_url) as conn:
            conn.execute("DELETE FROM completions WHERE id = %s", (id,))


@pytest.fixture
def remote(database_url: str, pool: Pool) -> Remote:
    return Remote(database_url, pool)


Start = Callable[..., Awaitable[Follower]]


@pytest.fixture
async def start(pool: Pool, database_url: str) -> AsyncIterator[Start]:
    async with asyncio.TaskGroup() as tasks:
        loops: list[asyncio.Task[None]] = []

        async def start(**chosen: Any) -> Follower:
            chosen = {"follow_tick": TICK, "follow_tick_max": 2 * TICK, "lease": 0.1, **chosen}
            settings = Settings(database_url=SecretStr(database_url), **chosen)
            follower = Follower(pool, interruption(pool, settings.lease), settings)
            loops.append(tasks.create_task(follower.run()))
            return follower

        yield start
        for loop in loops:
            loop.cancel()


async def reaches(log: Log, seq: int) -> None:
    async with asyncio.timeout(5):
        while log.last_seq < seq:
            await log.changed()


def error_code(event: Event) -> str:
    body = parse(event.data)
    assert isinstance(body, ErrorBody)
    assert body.error.details is not None
    return body.error.details.error_code or ""


async def test_a_log_grows_with_what_is_recorded_and_ends_with_it(start: Start, remote: Remote) -> None:
    follower, id = await start(), remote.begin()
    with follower.reading(id) as log:
        await remote.write(id, 1, 3)
        await reaches(log, 3)
        await remote.write(id, 4, 4)
        await reaches(log, 4)
        await remote.end(id, 9)
        await reaches(log, 10)
        assert log.ended
        assert [event.seq for event in log.after(0)] == list(range(1, 11))
        assert log.after(9)[0].type == "message_stop"


async def test_a_reader_that_joins_gets_what_the_copy_has_already(start: Start, remote: Remote) -> None:
    follower, id = await start(), remote.begin()
    await remote.write(id, 1, 3)
    with follower.reading(id) as first:
        await reaches(first, 3)
        with follower.reading(id) as second:
            assert second is first
            assert len(second.after(0)) == 3
        assert follower.following == [id]
    assert follower.following == []


async def test_readers_of_one_tick_share_one_poll(start: Start, remote: Remote, pool: Pool) -> None:
    follower = await start(follow_tick=0.1, follow_tick_max=0.1)
    ids = [remote.begin() for _ in range(10)]
    readings = [follower.reading(id) for id in ids for _ in range(20)]
    logs = [reading.__enter__() for reading in readings]
    await asyncio.sleep(0.3)
    before = pool.get_stats()["requests_num"]
    await asyncio.sleep(1)
    polls = pool.get_stats()["requests_num"] - before
    assert 4 <= polls <= 11, polls
    for id in ids:
        await remote.write(id, 1, 2)
    for log in logs:
        await reaches(log, 2)
    for reading in readings:
        reading.__exit__(None, None, None)


async def test_it_polls_less_often_while_nothing_comes_and_not_at_all_without_readers(
    start: Start, remote: Remote, pool: Pool
) -> None:
    follower, id = await start(follow_tick=0.05, follow_tick_max=10), remote.begin()
    with follower.reading(id):
        await asyncio.sleep(1.5)
        polls = pool.get_stats()["requests_num"]
        assert polls <= 9, "0.05 s, then half as long again each time"
    await asyncio.sleep(0.5)
    settled = pool.get_stats()["requests_num"]
    await asyncio.sleep(0.5)
    assert pool.get_stats()["requests_num"] == settled


async def test_a_new_reader_does_not_wait_for_a_slow_tick(start: Start, remote: Remote) -> None:
    follower = await start(follow_tick=0.05, follow_tick_max=60)
    quiet, id = remote.begin(), remote.begin()
    await remote.write(id, 1, 1)
    with follower.reading(quiet):
        await asyncio.sleep(1)
        with follower.reading(id) as log:
            async with asyncio.timeout(0.5):
                while not log.last_seq:
                    await log.changed()


async def test_the_log_of_a_lost_instance_ends_beyond_what_any_reader_can_have_seen(
    start: Start, remote: Remote, database_url: str, pool: Pool
) -> None:
    dead = Remote(database_url, pool, lease="-1 h")
    follower, id, other = await start(), dead.begin(), remote.begin()
    with Postgres.connect(database_url) as conn:
        conn.execute("INSERT INTO completion_events VALUES (%s, 1, 2, %s)", (id, PING + b"\n" + PING))
    with follower.reading(id) as log, follower.reading(other) as living:
        await reaches(log, 3)
        assert log.ended
        assert [event.seq for event in log.after(0)] == [1, 2, 2 + LOST_AT_MOST]
        assert error_code(log.after(777)[0]) == "interrupted"
        assert not living.ended


async def test_what_was_not_to_be_stored_ends_with_an_error_that_says_so(start: Start, remote: Remote) -> None:
    follower, id = await start(), remote.begin(store=False)
    with follower.reading(id) as log:
        await remote.write(id, 1, 2)
        await reaches(log, 2)
        await remote.end(id, 5)
        await reaches(log, 6)
        assert log.ended
        assert error_code(log.after(2)[0]) == "gone"


async def test_a_completion_deleted_between_two_polls_ends_its_readers(start: Start, remote: Remote) -> None:
    follower, id = await start(), remote.begin()
    with follower.reading(id) as log:
        await remote.write(id, 1, 2)
        await reaches(log, 2)
        remote.delete(id)
        await reaches(log, 3)
        assert log.ended
        assert error_code(log.after(500)[0]) == "gone"


async def test_one_log_that_cannot_be_read_does_not_stop_the_others(start: Start, remote: Remote) -> None:
    follower, bad, good = await start(), remote.begin(), remote.begin()
    with Postgres.connect(remote.database_url) as conn:
        conn.execute("INSERT INTO completion_events VALUES (%s, 1, 1, 'no JSON')", (bad,))
    await remote.write(good, 1, 2)
    with follower.reading(bad) as broken, follower.reading(good) as log:
        await reaches(log, 2)
        await reaches(broken, 1)
        assert error_code(broken.after(0)[-1]) == "internal_error"
