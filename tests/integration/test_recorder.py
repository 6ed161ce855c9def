"""The recorder and its SQL on a real database: what is written once, what is refused, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, LiteralString
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.config import Settings
from app.db.pool import Pool, create_pool
from app.domain.completion import Status
from app.domain.errors import AppError
from app.domain.events import Event
from app.domain.ids import uuid7
from app.domain.message import MessageFold
from app.streaming import repository
from app.streaming.instance import Instance
from app.streaming.log import Log
from app.streaming.recorder import LeaseLost, Recorder, StorageUnavailable, Unstorable
from app.streaming.repository import EventRow
from app.streaming.settlement import MESSAGE_STOP, Settlement, decompress, settlement
from tests.support.interruption import interruption
from tests.support.postgres import Postgres

RECORD_TAKES: LiteralString = "(uuid, uuid[], bigint[], bigint[], bytea[], bytea[], jsonb)"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with create_pool(Settings(database_url=SecretStr(database_url))) as pool:
        yield pool


@pytest.fixture
def instance(database_url: str) -> Instance:
    """An instance with a lease."""
    instance = Instance("local")
    with Postgres.connect(database_url) as conn:
        conn.execute(
            "INSERT INTO instances (id, home, lease_until) VALUES (%s, 'local', clock_timestamp() + interval '1 h')",
            (instance.id,),
        )
    return instance


def streaming(database_url: str, instance: Instance, *, on_disconnect: str = "continue") -> UUID:
    """A completion of the instance that has just begun."""
    id = uuid7()
    with Postgres.connect(database_url) as conn:
        conn.execute(
            "INSERT INTO completions (id, tenant, model, store, on_disconnect, instance_id)"
            " VALUES (%s, 'default', 'claude-sim', true, %s, %s)",
            (id, on_disconnect, instance.id),
        )
    return id


def one(database_url: str, statement: str, id: UUID) -> Any:
    with Postgres.connect(database_url) as conn:
        row = conn.execute(statement, (id,)).fetchone()
    return row and row[0]


def status(database_url: str, id: UUID) -> Any:
    return one(database_url, "SELECT status FROM completions WHERE id = %s", id)


def pings(first: int, last: int) -> list[Event]:
    return [Event(seq, "ping", b'{"type":"ping"}') for seq in range(first, last + 1)]


def end_of(id: UUID, events: list[Event], *, stop_reason: str = "end_turn") -> Settlement:
    fold = MessageFold()
    fold.stop_reason = stop_reason
    end = Event(len(events) + 1, "message_stop", MESSAGE_STOP)
    return settlement(id, Status.COMPLETED, events, end, fold, "{}", attempts=1, first_event_ms=1.0)


# -- the statement


async def test_the_same_batch_twice_is_written_once(pool: Pool, database_url: str, instance: Instance) -> None:
    running, ending = streaming(database_url, instance), streaming(database_url, instance)
    rows = [EventRow(running, 1, 2, b'{"type":"ping"}\n{"type":"ping"}')]
    ends = [end_of(ending, pings(1, 3))]
    for _ in range(3):
        async with pool.connection() as conn:
            assert await repository.record(conn, instance.id, rows, ends) == frozenset()
    assert one(database_url, "SELECT count(*) FROM completion_events WHERE completion_id = %s", running) == 1
    assert one(database_url, "SELECT count(*) FROM completion_logs WHERE completion_id = %s", ending) == 1
    finished = one(database_url, "SELECT finished_at FROM completions WHERE id = %s", ending)
    async with pool.connection() as conn:
        await repository.record(conn, instance.id, rows, ends)
    assert one(database_url, "SELECT finished_at FROM completions WHERE id = %s", ending) == finished


async def test_a_dead_instance_writes_nothing(pool: Pool, database_url: str, instance: Instance) -> None:
    running, ending = streaming(database_url, instance), streaming(database_url, instance)
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE instances SET dead_at = clock_timestamp()")
    async with pool.connection() as aconn:
        refused = await repository.record(
            aconn, instance.id, [EventRow(running, 1, 1, b'{"type":"ping"}')], [end_of(ending, pings(1, 1))]
        )
    assert refused == {running, ending}
    assert status(database_url, ending) == "streaming"
    assert one(database_url, "SELECT count(*) FROM completion_events WHERE completion_id = %s", running) == 0


async def test_what_belongs_to_another_instance_is_refused_alone(
    pool: Pool, database_url: str, instance: Instance
) -> None:
    other = Instance("local")
    foreign, own = streaming(database_url, other), streaming(database_url, instance)
    rows = [EventRow(id, 1, 1, b'{"type":"ping"}') for id in (foreign, own)]
    async with pool.connection() as conn:
        assert await repository.record(conn, instance.id, rows, []) == {foreign}
        assert await repository.record(conn, instance.id, [], [end_of(foreign, [])]) == {foreign}
    assert status(database_url, foreign) == "streaming"
    assert one(database_url, "SELECT count(*) FROM completion_events WHERE completion_id = %s", own) == 1
    assert one(database_url, "SELECT count(*) FROM completion_events WHERE completion_id = %s", foreign) == 0


async def test_what_was_ended_otherwise_is_refused(pool: Pool, database_url: str, instance: Instance) -> None:
    id = streaming(database_url, instance)
    await interruption(pool).end(instance.id, [id])
    async with pool.connection() as conn:
        refused = await repository.record(conn, instance.id, [], [end_of(id, pings(1, 3))])
    assert refused == {id}
    assert status(database_url, id) == "interrupted"


async def test_a_living_instance_is_not_declared_dead(pool: Pool, database_url: str, instance: Instance) -> None:
    id = streaming(database_url, instance)
    assert not await interruption(pool).of_dead(instance.id)
    assert status(database_url, id) == "streaming"


async def test_declaring_dead_waits_for_a_write_under_way(pool: Pool, database_url: str, instance: Instance) -> None:
    """What was being written when the lease ran out is either all there when the log is ended, or refused."""
    id = streaming(database_url, instance)
    with Postgres.connect(database_url) as conn:
        conn.execute("UPDATE instances SET lease_until = clock_timestamp() - interval '1 h'")
        with conn.transaction():
            conn.execute("SELECT FROM instances WHERE id = %s FOR SHARE", (instance.id,))  # as the recorder holds it
            conn.execute("INSERT INTO completion_events VALUES (%s, 1, 1, %s)", (id, b'{"type":"ping"}'))
            declaring = asyncio.gather(interruption(pool, lease=0.001).of_dead(instance.id))
            await asyncio.sleep(0.3)
            assert not declaring.done()
        assert list(await declaring) == [True]
    log = one(database_url, "SELECT data FROM completion_logs WHERE completion_id = %s", id)
    assert [event.type for event in decompress(log, 1)] == ["ping", "error"]


async def test_the_control_tick_does_not_wait_for_a_locked_completion(
    pool: Pool, database_url: str, instance: Instance
) -> None:
    """Else whoever holds it would hold up the lease, and two instances could wait for each other."""
    locked = streaming(database_url, Instance("local"), on_disconnect="cancel")
    free = streaming(database_url, Instance("local"), on_disconnect="cancel")
    with Postgres.connect(database_url) as other, other.transaction():
        other.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (locked,))
        async with asyncio.timeout(3), pool.connection() as conn:
            asked = await repository.control(
                conn, instance.id, lease=15, renew=5, following=[locked, free], readers_for=5
            )
    assert [row.id for row in asked] == [instance.id]
    assert one(database_url, "SELECT readers_until FROM completions WHERE id = %s", free) is not None


# -- the recorder


class Running:
    """A recorder at work, and the errors that its streams were told of."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.lost: dict[UUID, AppError] = {}

    def attach(self, id: UUID) -> Log:
        log = Log()

        def lost(error: AppError) -> None:
            self.lost[id] = error

        self.recorder.attach(id, log, lost)
        return log


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(pool: Pool, database_url: str, instance: Instance) -> AsyncIterator[Start]:
    async with asyncio.TaskGroup() as tasks:
        loops: list[asyncio.Task[None]] = []

        async def start(**settings: Any) -> Running:
            recorder = Recorder(pool, instance, Settings(database_url=SecretStr(database_url), **settings))
            loops.append(tasks.create_task(recorder.run()))
            return Running(recorder)

        yield start
        for loop in loops:
            loop.cancel()


async def test_a_tick_writes_what_was_appended_since_the_last(
    start: Start, database_url: str, instance: Instance
) -> None:
    id = streaming(database_url, instance)
    log = (await start(record_tick=0.05)).attach(id)
    for first in (1, 4, 7):
        log.append(pings(first, first + 2))
        await asyncio.sleep(0.2)
    with Postgres.connect(database_url) as conn:
        rows = conn.execute("SELECT first_seq, last_seq FROM completion_events ORDER BY 1").fetchall()
    assert rows == [(1, 3), (4, 6), (7, 9)]


async def test_a_first_event_does_not_wait_for_the_tick(start: Start, database_url: str, instance: Instance) -> None:
    id = streaming(database_url, instance)
    running = await start(record_tick=60)
    running.attach(id).append(pings(1, 1))
    running.recorder.hurry()
    await asyncio.sleep(0.5)
    assert one(database_url, "SELECT count(*) FROM completion_events WHERE completion_id = %s", id) == 1


async def test_one_bad_end_fails_alone(start: Start, database_url: str, instance: Instance) -> None:
    ids = [streaming(database_url, instance) for _ in range(9)]
    running = await start(record_tick=60)
    for id in ids:
        running.attach(id).append(pings(1, 2))
    ends = [end_of(id, pings(1, 2), stop_reason="a\0b" if id == ids[4] else "end_turn") for id in ids]
    outcomes = await asyncio.gather(*[running.recorder.settle(end) for end in ends], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 4 + [Unstorable] + [type(None)] * 4
    assert [status(database_url, id) for id in ids] == ["completed"] * 4 + ["streaming"] + ["completed"] * 4


async def test_one_bad_row_fails_alone(start: Start, database_url: str, instance: Instance) -> None:
    ids = [streaming(database_url, instance) for _ in range(5)]
    running = await start(record_tick=60)
    with Postgres.connect(database_url) as conn:
        conn.execute("ALTER TABLE completion_events ADD CHECK (position('bad' in encode(data, 'escape')) = 0)")
    for id in ids:
        running.attach(id).append([Event(1, "ping", b'{"type":"bad"}' if id == ids[3] else b'{"type":"ping"}')])
    running.recorder.hurry()
    await asyncio.sleep(0.7)
    assert {id: type(error) for id, error in running.lost.items()} == {ids[3]: Unstorable}
    with Postgres.connect(database_url) as conn:
        stored = conn.execute("SELECT completion_id FROM completion_events").fetchall()
    assert {row[0] for row in stored} == set(ids) - {ids[3]}


async def test_a_stream_that_is_not_its_own_any_more_is_told(
    start: Start, database_url: str, instance: Instance, pool: Pool
) -> None:
    lost, kept = streaming(database_url, instance), streaming(database_url, instance)
    running = await start(record_tick=0.05)
    logs = [running.attach(id) for id in (lost, kept)]
    await interruption(pool).end(instance.id, [lost])
    for log in logs:
        log.append(pings(1, 1))
    await asyncio.sleep(0.5)
    assert {id: type(error) for id, error in running.lost.items()} == {lost: LeaseLost}
    with pytest.raises(LeaseLost):
        await running.recorder.settle(end_of(lost, pings(1, 1)))
    await running.recorder.settle(end_of(kept, pings(1, 1)))
    assert status(database_url, kept) == "completed"


async def test_a_full_buffer_gives_up_before_the_patience_ends(
    start: Start, database_url: str, instance: Instance, pool: Pool
) -> None:
    id, ending = streaming(database_url, instance), streaming(database_url, instance)
    running = await start(record_tick=0.05, record_buffer=1000)
    with Postgres.connect(database_url) as conn:
        conn.execute("ALTER FUNCTION record" + RECORD_TAKES + " RENAME TO record_away")
        conn.execute(
            "CREATE FUNCTION record" + RECORD_TAKES + " RETURNS SETOF uuid"
            " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'cannot_connect_now'; END $$"
        )
    log = running.attach(id)
    running.attach(ending).append(pings(1, 1))
    log.append(pings(1, 10))
    settling = asyncio.gather(running.recorder.settle(end_of(ending, pings(1, 1))), return_exceptions=True)
    await asyncio.sleep(0.5)
    assert not running.lost
    assert not settling.done()
    log.append(pings(11, 200))
    async with asyncio.timeout(3):
        [outcome] = await settling
    assert isinstance(outcome, StorageUnavailable)
    assert {id: type(error) for id, error in running.lost.items()} == {id: StorageUnavailable}


async def test_a_lock_that_outlasts_the_patience_ends_the_wait(
    start: Start, database_url: str, instance: Instance
) -> None:
    locked, free = streaming(database_url, instance), streaming(database_url, instance)
    running = await start(record_tick=0.05, record_patience=0.5)
    running.attach(locked).append(pings(1, 1))
    with Postgres.connect(database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (locked,))
        with pytest.raises(StorageUnavailable):
            async with asyncio.timeout(5):
                await running.recorder.settle(end_of(locked, pings(1, 1)))
        running.recorder.detach(locked)
        running.attach(free).append(pings(1, 1))
        async with asyncio.timeout(5):
            await running.recorder.settle(end_of(free, pings(1, 1)))
    assert status(database_url, locked) == "streaming"
    assert status(database_url, free) == "completed"


async def test_locked_completions_are_left_to_the_next_who_comes(
    pool: Pool, database_url: str, instance: Instance
) -> None:
    locked, free = streaming(database_url, instance), streaming(database_url, instance)
    with Postgres.connect(database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (locked,))
        async with asyncio.timeout(3):
            await interruption(pool).end(instance.id)
        assert status(database_url, free) == "interrupted"
        async with pool.connection() as aconn:
            assert await repository.unfinished(aconn, instance.id, [locked, free]) == [locked]
    await interruption(pool).end(instance.id)
    assert status(database_url, locked) == "interrupted"
