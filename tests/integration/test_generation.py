"""A generation from its first event to its committed end, with an upstream that the test plays."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.config import Settings
from app.db.pool import create_pool
from app.domain.completion import OnDisconnect
from app.domain.errors import AppError, UpstreamError
from app.domain.ids import uuid7
from app.prices import Asked
from app.providers.base import Provider, ProviderRequest, ProviderStream, UpstreamModel
from app.streaming.billing import Account
from app.streaming.engine import Engine
from app.streaming.generation import Admitted, Cancelled, Generation, Interrupted
from tests.support.interruption import PRICES
from tests.support.postgres import Postgres

START = b'{"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":3}}}'
BLOCK = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
WORD = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word "}}'
BLOCK_END = b'{"type":"content_block_stop","index":0}'
DELTA = b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}'
STOP = b'{"type":"message_stop"}'
ACCOUNT = Account("claude-sim", Asked(), 10, datetime.now(UTC))
WHOLE = [START, BLOCK, WORD, WORD, BLOCK_END, DELTA, STOP]


class Upstream:
    """Plays `reads`, each a list of events or an error; then it is silent, or ended where `reads` ends with None."""

    def __init__(self, *reads: Sequence[bytes] | AppError | None) -> None:
        self.reads = list(reads)
        self.opened = 0
        self.closed = 0

    async def provider(self) -> Provider:
        return self

    async def open(self, request: ProviderRequest, may_send: Awaitable[None] | None = None) -> ProviderStream:
        self.opened += 1
        return self

    async def read(self) -> list[bytes]:
        if not self.reads:
            await asyncio.get_running_loop().create_future()
        read = self.reads.pop(0)
        if isinstance(read, AppError):
            raise read
        return list(read or ())

    async def pour(self, take: Callable[[list[bytes]], bool]) -> bool:
        while read := await self.read():
            if take(read):
                return True
        return False

    async def aclose(self, *, at_end: bool = False) -> None:
        self.closed += 1

    async def count_tokens(self, request: ProviderRequest) -> bytes:
        raise NotImplementedError

    async def models(self) -> Sequence[UpstreamModel]:
        raise NotImplementedError


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - anything may be waited for
            await asyncio.sleep(0.03)


class Running:
    def __init__(self, engine: Engine, database_url: str) -> None:
        self.engine = engine
        self._database_url = database_url

    def launch(self, on_disconnect: OnDisconnect = OnDisconnect.CONTINUE) -> Generation:
        id = uuid7()
        with Postgres.connect(self._database_url) as conn:
            conn.execute(
                "INSERT INTO instances (id, home, lease_until)"
                " VALUES (%s, 'local', clock_timestamp() + interval '1 h') ON CONFLICT DO NOTHING",
                (self.engine.instance.id,),
            )
            conn.execute(
                "INSERT INTO completions (id, tenant, model, store, on_disconnect, instance_id)"
                " VALUES (%s, 'default', 'x', true, %s, %s)",
                (id, str(on_disconnect), self.engine.instance.id),
            )
        request = ProviderRequest({"model": "x"}, "2023-06-01", None)
        return self.engine.launch(Admitted(id, request, on_disconnect, "req_1", ACCOUNT))

    def row(self, id: UUID) -> dict[str, Any]:
        columns = "status, stop_reason, content, usage, error, attempts, first_event_at, finished_at, end_seq"
        with Postgres.connect(self._database_url) as conn:
            row = conn.execute(f"SELECT {columns} FROM completions WHERE id = %s", (id,)).fetchone()
        assert row is not None
        return dict(zip(columns.split(", "), row, strict=True))

    async def final(self, id: UUID) -> dict[str, Any]:
        await until(lambda: self.row(id)["status"] != "streaming")
        return self.row(id)


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start(database_url: str) -> AsyncIterator[Start]:
    opened: list[Any] = []

    async def start(upstream: Upstream, **chosen: Any) -> Running:
        settings = Settings(database_url=SecretStr(database_url), drain_grace=0, **chosen)
        pool = create_pool(settings)
        await pool.open()
        engine = Engine(settings, pool, upstream.provider, PRICES)
        engine.start()
        opened.append((engine, pool))
        return Running(engine, database_url)

    yield start
    for engine, pool in opened:
        await engine.close()
        await pool.close()


async def ended(generation: Generation) -> None:
    async with asyncio.timeout(5):
        await generation.log.wait_ended()


async def test_a_whole_answer_is_committed_before_its_end_is_in_the_log(start: Start) -> None:
    upstream = Upstream(WHOLE[:3], WHOLE[3:])
    running = await start(upstream)
    generation = running.launch()
    while True:
        await generation.log.changed()
        if generation.log.ended:
            break
    assert running.row(generation.id)["status"] == "completed", "at the very moment"
    assert [event.data for event in generation.log.after(0)] == WHOLE
    assert [event.seq for event in generation.log.after(0)] == [1, 2, 3, 4, 5, 6, 7]
    row = running.row(generation.id)
    assert json.loads(row["content"]) == [{"type": "text", "text": "word word "}]
    assert json.loads(row["usage"]) == {"input_tokens": 3, "output_tokens": 2}
    assert (row["stop_reason"], row["error"], row["attempts"], row["end_seq"]) == ("end_turn", None, 1, 7)
    assert row["first_event_at"] <= row["finished_at"]
    assert (upstream.opened, upstream.closed) == (1, 1)


@pytest.mark.parametrize(
    ("reads", "code", "events"),
    [
        ([WHOLE[:3], None], "upstream_truncated", 3),
        ([WHOLE[:3], UpstreamError("Cut.", code="upstream_cut")], "upstream_cut", 3),
        ([[*WHOLE[:3], b"{"]], "upstream_malformed", 3),
        ([[*WHOLE[:3], b'{"type":"error","error":{"type":"overloaded_error"}}', WORD]], "upstream_overloaded", 3),
        ([[*WHOLE[:2], b'{"type":"content_block_start","index":1,"content_block":[]}']], "upstream_malformed", 2),
    ],
)
async def test_whatever_breaks_ends_in_one_terminal_event_and_keeps_what_came(
    start: Start, reads: list[Any], code: str, events: int
) -> None:
    running = await start(Upstream(*reads))
    generation = running.launch()
    await ended(generation)
    log = generation.log.after(0)
    assert [event.data for event in log[:-1]] == WHOLE[:events]
    assert json.loads(log[-1].data)["error"]["details"]["error_code"] == code
    assert [event.type for event in log].count("error") == 1
    row = running.row(generation.id)
    assert (row["status"], row["end_seq"]) == ("failed", events + 1)
    assert json.loads(row["usage"])["estimated"] is True


async def test_nothing_after_the_messages_stop_is_taken(start: Start) -> None:
    running = await start(Upstream([*WHOLE, WORD, WORD]))
    generation = running.launch()
    await ended(generation)
    assert [event.data for event in generation.log.after(0)] == WHOLE
    assert running.row(generation.id)["status"] == "completed"


async def test_the_first_reason_to_stop_is_the_one_that_is_told(start: Start) -> None:
    upstream = Upstream(WHOLE[:3])
    running = await start(upstream)
    generation = running.launch()
    await generation.started(3)
    generation.stop(Cancelled("No more."))
    generation.stop(Interrupted("Too late."))
    await ended(generation)
    assert running.row(generation.id)["status"] == "cancelled"
    assert upstream.closed == 1


async def test_one_stopped_before_it_ran_never_opens_the_upstream(start: Start) -> None:
    upstream = Upstream(WHOLE)
    running = await start(upstream)
    generation = running.launch()
    generation.stop(Cancelled("No more."))
    await ended(generation)
    assert running.row(generation.id)["status"] == "cancelled"
    assert upstream.opened == 0
    with pytest.raises(Cancelled):
        await generation.started(1)


async def test_a_cancel_during_the_last_commit_comes_too_late(start: Start, database_url: str) -> None:
    running = await start(Upstream(WHOLE))
    generation = running.launch()
    with Postgres.connect(database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (generation.id,))
        await asyncio.sleep(0.3)
        assert not generation.log.ended
        assert generation.log.last_seq == 6
        generation.stop(Cancelled("Too late."))
        await asyncio.sleep(0.1)
    await ended(generation)
    assert generation.log.after(6)[0].type == "message_stop"
    assert running.row(generation.id)["status"] == "completed"


async def test_a_retry_comes_before_the_first_event_only(start: Start) -> None:
    early = Upstream(UpstreamError("Busy.", retryable=True), WHOLE)
    running = await start(early)
    generation = running.launch()
    await ended(generation)
    assert running.row(generation.id)["status"] == "completed"
    assert running.row(generation.id)["attempts"] == early.opened == 2

    late = Upstream(WHOLE[:3], UpstreamError("Busy.", retryable=True), WHOLE)
    running = await start(late)
    generation = running.launch()
    await ended(generation)
    assert running.row(generation.id)["status"] == "failed"
    assert late.opened == 1


async def test_a_failure_before_the_first_event_is_raised_to_the_caller(start: Start) -> None:
    running = await start(Upstream(UpstreamError("No.", http_status=400, code="upstream_refused")))
    generation = running.launch()
    with pytest.raises(UpstreamError, match=r"No\."):
        await generation.started(3)
    assert running.row(generation.id)["status"] == "failed"


async def test_what_was_given_up_is_ended_once_the_database_lets_go(start: Start, database_url: str) -> None:
    """Also a completion whose row somebody has locked at the first try."""
    running = await start(Upstream(WHOLE[:3]), record_patience=0.5, record_tick=0.05, control_tick=0.1)
    generation = running.launch()
    with Postgres.connect(database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (generation.id,))
        await ended(generation)
        assert generation.error is not None
        assert generation.error.code == "storage_unavailable"
        await asyncio.sleep(0.5)
        assert running.engine.registry.abandoned == {generation.id}
    row = await running.final(generation.id)
    assert row["status"] == "interrupted"
    await until(lambda: not running.engine.registry.abandoned)


async def test_a_drain_gives_the_grace_and_then_interrupts(start: Start) -> None:
    running = await start(Upstream(WHOLE[:3]))
    generation = running.launch()
    await generation.started(3)
    await running.engine.close()
    assert generation.log.ended
    assert running.row(generation.id)["status"] == "interrupted"
    assert json.loads(running.row(generation.id)["content"]) == [{"type": "text", "text": "word "}]


@pytest.mark.parametrize("on_disconnect", [OnDisconnect.CANCEL, OnDisconnect.CONTINUE])
async def test_the_last_reader_to_leave_starts_the_grace(start: Start, on_disconnect: OnDisconnect) -> None:
    running = await start(Upstream(WHOLE[:3]), disconnect_grace=0.2)
    generation = running.launch(on_disconnect)
    await generation.started(3)
    with generation.reading():
        with generation.reading():
            pass
        await asyncio.sleep(0.4)
        assert not generation.log.ended
    await asyncio.sleep(0.1)
    assert not generation.log.ended
    await asyncio.sleep(0.4)
    assert generation.log.ended is (on_disconnect is OnDisconnect.CANCEL)
