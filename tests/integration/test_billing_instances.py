"""What completions are booked with whose instance was lost, drained, or without its database; and only once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from app.catalogue import Catalogue
from app.domain.completion import Status
from app.domain.errors import AppError
from app.domain.message import MessageFold
from app.domain.usage import Counts
from app.prices import Asked, Prices
from app.streaming import repository
from app.streaming.billing import Account, bill
from app.streaming.engine import Engine
from app.streaming.settlement import Settlement, error_end, settlement
from local.upstream import SimulatedUpstream
from tests.support import ledger
from tests.support.api import Api, StartApi
from tests.support.headwater import until
from tests.support.ledger import Row
from tests.support.postgres import Postgres

ENDLESS: Final = "sim-endless?rate=50"
SILENT: Final = "sim-silence"
WHOLE: Final = "sim-ok?tokens=9"
# For a million tokens.
MODELS: Final = "".join(f'[models."{name}".price]\ninput = 3\noutput = 15\n' for name in (ENDLESS, SILENT, WHOLE))


@dataclass
class Instance:
    api: Api
    database_url: str

    @property
    def engine(self) -> Engine:
        engine: Engine = self.api.state["engine"]
        return engine

    async def begin(self, model: str) -> UUID:
        """A completion that nobody waits for."""
        client = await self.api.client_with()
        body = {"model": model, "input": "Hello.", "max_output_tokens": 1_000, "background": True}
        begun = await client.post("/v1/responses", json=body)
        assert begun.status_code == 200, begun.text
        return UUID(begun.json()["id"].removeprefix("resp_"))

    def rows(self, query: Any, *parameters: Any) -> list[Any]:
        with Postgres.connect(self.database_url) as conn:
            return conn.execute(query, parameters).fetchall()

    def row(self) -> Row:
        """The only one of the ledger."""
        [row] = ledger.select(self.database_url)
        return row

    async def settled(self) -> Row:
        await until(lambda: self.row().settled_at)
        return self.row()

    async def recorded(self, id: UUID, events: int = 10) -> None:
        """Return when so many events are in the store."""
        query = "SELECT FROM completion_events WHERE completion_id = %s AND last_seq >= %s"
        await until(lambda: self.rows(query, id, events))

    def spent(self) -> list[Decimal]:
        return [spent for (spent,) in self.rows("SELECT spent FROM meters ORDER BY key_id NULLS LAST")]

    def die(self) -> UUID:
        """As if its lease had run out while it slept."""
        id = self.engine.instance.id
        self.rows("UPDATE instances SET dead_at = clock_timestamp() WHERE id = %s RETURNING id", id)
        return id


Start = Callable[..., Awaitable[Instance]]


@pytest.fixture
def start(start_api: StartApi, upstream: SimulatedUpstream, database_url: str, tmp_path: Path) -> Start:
    models = tmp_path / "models.toml"
    models.write_text(MODELS)

    async def start(**settings: Any) -> Instance:
        api = await start_api(
            upstream_base_url=upstream.url, models_file=str(models), drain_grace=0, max_retries=0, **settings
        )
        return Instance(api, database_url)

    return start


def priced(row: Row) -> Decimal:
    return (3 * Decimal(row.counts["input_tokens"]) + 15 * row.counts["output_tokens"]) / 1_000_000


def assert_booked(instance: Instance, row: Row, status: str, *, input: int, written: bool) -> None:
    """As an estimate, once on each meter."""
    assert (row.status, row.estimated) == (status, True)
    others = [count for name, count in row.counts.items() if name not in ("input_tokens", "output_tokens")]
    assert (row.input_tokens, others) == (input, [0] * 4)
    assert bool(row.output_tokens) is written
    assert row.cost == priced(row) > 0
    assert instance.spent() == [row.cost, row.cost]


def told_input(upstream: SimulatedUpstream) -> int:
    usage = upstream.requests[-1].usage
    assert usage is not None
    count: int = usage["input_tokens"]
    return count


async def test_drained(start: Start, upstream: SimulatedUpstream) -> None:
    instance = await start()
    await instance.recorded(await instance.begin(ENDLESS))
    await instance.engine.close()
    assert_booked(instance, instance.row(), "interrupted", input=told_input(upstream), written=True)


async def test_drained_before_its_first_event(start: Start) -> None:
    instance = await start()
    await instance.begin(SILENT)
    await asyncio.sleep(0.2)
    await instance.engine.close()
    row = instance.row()
    assert_booked(instance, row, "interrupted", input=row.reserved_input, written=False)


async def test_ended_by_another_instance_from_what_is_stored(start: Start, upstream: SimulatedUpstream) -> None:
    lost, other = await start(), await start()
    id = await lost.begin(ENDLESS)
    await lost.recorded(id)
    await other.engine.interruption.of_dead(lost.die())
    row = other.row()
    assert_booked(other, row, "interrupted", input=told_input(upstream), written=True)

    await until(lambda: not lost.engine.registry.get(id))
    assert other.row() == row, "the fenced instance books nothing"
    assert other.spent() == [row.cost, row.cost]


async def test_ended_by_another_instance_with_nothing_stored(start: Start) -> None:
    lost, other = await start(), await start()
    await lost.begin(SILENT)
    await other.engine.interruption.of_dead(lost.die())
    row = other.row()
    assert_booked(other, row, "interrupted", input=row.reserved_input, written=False)


async def test_ended_by_another_instance_that_cannot_read_what_is_stored(start: Start) -> None:
    lost, other = await start(), await start()
    id = await lost.begin(ENDLESS)
    await lost.recorded(id)
    dead = lost.die()
    await until(lambda: not lost.engine.registry.get(id))
    lost.rows("UPDATE completion_events SET data = '{' WHERE completion_id = %s RETURNING first_seq", id)
    await other.engine.interruption.of_dead(dead)
    row = other.row()
    assert_booked(other, row, "interrupted", input=row.reserved_input, written=False)


async def test_many_that_end_the_same_instance_book_it_once(start: Start) -> None:
    lost, *others = [await start() for _ in range(4)]
    ids = [await lost.begin(ENDLESS) for _ in range(25)]
    for id in ids:
        await lost.recorded(id, 3)
    dead = lost.die()
    await asyncio.gather(*[other.engine.interruption.of_dead(dead) for other in others for _ in range(3)])
    await until(lambda: all(row.settled_at for row in ledger.select(lost.database_url)))
    rows = ledger.select(lost.database_url)
    assert sorted(row.completion_id for row in rows) == sorted(ids)
    costs = [row.cost or Decimal() for row in rows]
    assert all(costs)
    *of_keys, of_tenant = lost.spent()
    assert sum(of_keys) == of_tenant == sum(costs)


async def test_an_outage_of_the_database(start: Start, upstream: SimulatedUpstream) -> None:
    instance = await start(record_patience=0.5, record_tick=0.05, control_tick=0.1)
    id = await instance.begin(ENDLESS)
    await instance.recorded(id)
    with Postgres.connect(instance.database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (id,))
        conn.execute("LOCK TABLE completion_events IN EXCLUSIVE MODE")
        await until(lambda: instance.engine.registry.abandoned)
        assert instance.row().settled_at is None
    row = await instance.settled()
    assert_booked(instance, row, "interrupted", input=told_input(upstream), written=True)


def another_end(id: UUID) -> Settlement:
    """With a bill of its own, of a million tokens each way."""
    end = error_end(1_000, AppError("Once more."), None)
    account = Account("claude-opus-5", Asked(), 1, datetime.now(UTC))
    dear = bill(Prices("anthropic", Catalogue()), account, Counts(input_tokens=10**6, output_tokens=10**6))
    return settlement(id, Status.FAILED, [], end, MessageFold(), dear, attempts=1, first_event_ms=None)


async def test_settled_twice_booked_once(start: Start) -> None:
    instance = await start()
    id = await instance.begin(WHOLE)
    row = await instance.settled()
    before = (row, instance.spent())
    end = another_end(id)
    async with instance.api.pool.connection() as conn:
        await repository.settle(conn, instance.engine.instance.id, [end, end])
        refused = await repository.record(conn, instance.engine.instance.id, [], [end, end])
    assert refused == {id}
    assert (instance.row(), instance.spent()) == before
    assert row.cost == priced(row) > 0


async def test_a_batch_that_is_written_again_is_booked_once(start: Start) -> None:
    """As after an answer of the database that was lost on the way."""
    instance = await start()
    id = await instance.begin(ENDLESS)
    await instance.recorded(id)
    end = another_end(id)
    async with instance.api.pool.connection() as conn:
        for _ in range(3):
            assert await repository.record(conn, instance.engine.instance.id, [], [end]) == frozenset()
    row = instance.row()
    assert (row.status, row.input_tokens, row.cost) == ("failed", 10**6, Decimal(30))
    assert instance.spent() == [30, 30]
    await until(lambda: not instance.engine.registry.get(id))
    assert instance.row() == row


async def test_a_fenced_instance_books_nothing(start: Start) -> None:
    instance = await start(control_tick=60)
    id = await instance.begin(ENDLESS)
    await instance.recorded(id)
    dead = instance.die()
    async with instance.api.pool.connection() as conn:
        assert await repository.record(conn, dead, [], [another_end(id)]) == {id}
    assert instance.row().settled_at is None
    assert instance.spent() == [0, 0]


async def test_a_row_is_never_deleted_with_its_key(start: Start) -> None:
    instance = await start()
    id = await instance.begin(WHOLE)
    row = await instance.settled()
    instance.rows("DELETE FROM keys WHERE id = %s RETURNING id", row.key_id)
    assert instance.row().completion_id == id
