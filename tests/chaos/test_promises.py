"""What the log promises, on two instances that run undisturbed."""

import asyncio
import json
import time
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from app.config import Settings
from app.db.pool import create_pool
from app.domain.ids import uuid7
from app.streaming import maintenance
from tests.chaos.streams import Client, Connect
from tests.support.interruption import interruption
from tests.support.postgres import Postgres
from tests.support.service import StartService

# As `both` is set up.
GRACE = 1.5
TICK = 0.5
# A reader elsewhere is believed there for five ticks.
PRESENCE = 5 * TICK

Both = tuple[Client, Client]


@pytest.fixture
def slow_commits(shared_database: str) -> Iterator[None]:
    """Each end takes the database a while."""
    with Postgres.connect(shared_database) as conn:
        conn.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END $$"
        )
        conn.execute(
            "CREATE TRIGGER dawdle BEFORE UPDATE ON completions FOR EACH ROW"
            " WHEN (NEW.status = 'completed') EXECUTE FUNCTION dawdle()"
        )
        yield
        conn.execute("DROP FUNCTION dawdle CASCADE")


@pytest.mark.usefixtures("slow_commits")
async def test_whoever_sees_the_end_finds_the_whole_in_the_store(both: Both) -> None:
    a, b = both

    async def one(number: int) -> None:
        stream = await a.create(f"sim-ok?tokens={20 + number}&rate=200", input=f"Question {number}.")
        while stream.terminal is None:
            assert await stream.more()
        stored = await b.get(stream.id)
        assert stored["status"] == "completed"
        assert stored["text"] == stream.text
        assert stored["usage"]["output_tokens"] == 20 + number
        await stream.to_end()

    await asyncio.gather(*[one(number) for number in range(40)])


async def test_the_end_waits_for_the_commit_and_the_reader_hears_that_it_is_alive(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    a = await connect(await start_service(keepalive=0.3))
    stream = await (await a.create("sim-ok?rate=50&tokens=40")).until(5)
    with Postgres.connect(database_url) as conn, conn.transaction():
        conn.execute("SELECT FROM completions WHERE id = %s FOR UPDATE", (stream.id,))
        await stream.reads_for(2.5)
        assert stream.terminal is None
        assert stream.frames[-1].event == "usage", "all but the end has come"
        assert len(stream.keepalives) >= 3
    await stream.to_end()
    assert stream.done
    assert (await a.get(stream.id))["text"] == stream.text


async def test_a_cancel_on_another_instance_takes_effect_within_two_seconds(both: Both, upstream_process: str) -> None:
    a, b = both
    stream = await (await a.create("sim-endless?rate=20&first_ms=0", input="Cancel me.")).until(10)
    asked = time.monotonic()
    answer = await b.cancel(stream.id)
    assert answer["cancel_requested_at"]
    await stream.to_end()
    assert time.monotonic() - asked < 2
    assert stream.error == "cancelled"
    assert stream.frames[-1].terminal
    stored = await b.get(stream.id)
    assert stored["status"] == "cancelled"
    assert stored["text"] == stream.text
    assert (await b.cancel(stream.id))["status"] == "cancelled", "once more changes nothing"
    assert await hung_up(upstream_process, "Cancel me.", within=1)


async def upstreams_view(url: str, question: str) -> dict[str, Any]:
    """What the upstream noted of the one request with this question."""

    def ask() -> Any:
        with urllib.request.urlopen(f"{url}/_sim/requests") as response:  # noqa: S310
            return json.load(response)

    kept = [request for request in await asyncio.to_thread(ask) if question in json.dumps(request["body"])]
    assert len(kept) == 1, f"{len(kept)} requests"
    return dict(kept[0])


async def hung_up(url: str, question: str, within: float) -> bool:
    patience = time.monotonic() + within
    while (await upstreams_view(url, question))["hung_up_at"] is None:
        if time.monotonic() > patience:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_an_unread_stream_that_asks_for_it_is_cancelled_after_the_grace(
    both: Both, upstream_process: str
) -> None:
    a, b = both
    question = "Cancel unless somebody reads."
    stream = await (await a.create("sim-endless?rate=20", on_disconnect="cancel", input=question)).until(5)
    stream.drop()
    left = time.monotonic()
    await asyncio.sleep(GRACE - 0.5)
    assert (await upstreams_view(upstream_process, question))["hung_up_at"] is None, "not before the grace"
    assert await hung_up(upstream_process, question, within=1.5)
    assert time.monotonic() - left < GRACE + 1
    stored = await b.final(stream.id, within=2)
    assert stored["status"] == "cancelled"
    assert stored["error"]["code"] == "cancelled"


async def test_it_is_cancelled_also_while_the_upstream_is_silent(both: Both, upstream_process: str) -> None:
    a, b = both
    question = "Be silent and let me go."
    stream = await (await a.create("sim-silence-mid", on_disconnect="cancel", input=question)).until(2)
    stream.drop()
    assert await hung_up(upstream_process, question, within=GRACE + 1)
    assert (await b.final(stream.id, within=2))["status"] == "cancelled"


async def test_a_reader_that_comes_back_within_the_grace_keeps_it_running(both: Both, upstream_process: str) -> None:
    a, _ = both
    question = "I shall come back."
    stream = await (await a.create("sim-ok?rate=20&tokens=70", on_disconnect="cancel", input=question)).until(5)
    stream.drop()
    await asyncio.sleep(GRACE / 2)
    again = await (await a.resume(stream.id, last_event_id=stream.last_id)).to_end()
    assert again.done
    assert (await upstreams_view(upstream_process, question))["finished"]


async def test_by_default_an_unread_stream_runs_to_its_end(both: Both, upstream_process: str) -> None:
    a, b = both
    question = "Go on without me."
    stream = await (await a.create(f"sim-ok?rate=20&tokens={int(20 * (GRACE + 2))}", input=question)).until(5)
    stream.drop()
    stored = await b.final(stream.id)
    assert stored["status"] == "completed"
    view = await upstreams_view(upstream_process, question)
    assert view["finished"]
    assert view["hung_up_at"] is None


@pytest.mark.slow
async def test_a_reader_elsewhere_keeps_the_cancel_from_firing_until_it_leaves(
    both: Both, upstream_process: str
) -> None:
    a, b = both
    question = "Read me over there."
    stream = await (await a.create("sim-endless?rate=10", on_disconnect="cancel", input=question)).until(5)
    elsewhere = await b.resume(stream.id)
    await asyncio.sleep(2 * TICK)
    stream.drop()
    await elsewhere.reads_for(GRACE + PRESENCE + 1)
    assert elsewhere.terminal is None, elsewhere.error
    assert (await upstreams_view(upstream_process, question))["hung_up_at"] is None

    elsewhere.drop()
    assert await hung_up(upstream_process, question, within=PRESENCE + GRACE + 2 * TICK + 1)
    assert (await b.final(stream.id, within=2))["status"] == "cancelled"


async def test_the_compressed_log_holds_what_the_tick_rows_held(both: Both, shared_database: str) -> None:
    a, _ = both
    tools = [{"name": "look", "input_schema": {"type": "object", "properties": {"what": {"type": "string"}}}}]
    stream = await a.create(
        "sim-ok?rate=40&tokens=60",
        tools=tools,
        thinking={"type": "enabled", "budget_tokens": 1024},
        input="Show me unicode, please.",
    )
    rows: dict[int, bytes] = {}
    with Postgres.connect(shared_database) as conn:
        reading = asyncio.gather(stream.to_end())
        while not reading.done():
            await asyncio.sleep(0.03)
            select = "SELECT first_seq, last_seq, data FROM completion_events WHERE completion_id = %s"
            for first, last, data in conn.execute(select, (stream.id,)).fetchall():
                assert rows.setdefault(first, data) == data
                assert data.count(b"\n") == last - first
        left = conn.execute("SELECT count(*) FROM completion_events WHERE completion_id = %s", (stream.id,)).fetchone()
        log = conn.execute("SELECT data FROM completion_logs WHERE completion_id = %s", (stream.id,)).fetchone()
    assert stream.done
    assert left == (0,)
    assert log is not None
    recorded = b"\n".join([rows[first] for first in sorted(rows)])
    assert len(rows) > 5
    whole = zlib.decompress(log[0])
    assert whole.startswith(recorded)
    assert whole.endswith(b'\n{"type":"message_stop"}')
    verbatim = await (await a.resume(stream.id, dialect="anthropic_messages")).to_end()
    assert "\n".join(frame.data for frame in verbatim.frames).encode() == whole


async def test_what_is_not_to_be_stored_leaves_nothing_but_its_row(both: Both, shared_database: str) -> None:
    a, b = both
    secret = "quokka" * 3
    stream = await a.create("sim-ok?tokens=60&rate=50", store=False, input=f"Say {secret}, please.", metadata={"n": 1})
    await stream.to_end()
    assert stream.done
    assert secret in stream.text
    stored = await b.get(stream.id)
    assert stored["status"] == "completed"
    assert stored["text"] is stored["content"] is stored["request"] is None
    assert stored["usage"]["output_tokens"] == 60
    with Postgres.connect(shared_database) as conn:
        row = conn.execute("SELECT row_to_json(c)::text FROM completions c WHERE id = %s", (stream.id,)).fetchone()
        for table in ("completion_events", "completion_logs"):
            counted = conn.execute(f"SELECT count(*) FROM {table} WHERE completion_id = %s", (stream.id,)).fetchone()
            assert counted == (0,), table
    assert row is not None
    assert secret not in row[0]
    assert secret.encode().hex() not in row[0]
    assert (await b.resume(stream.id)).status == 410
    assert (await b.resume(stream.id, last_event_id=stream.last_id)).status == 204


@pytest.mark.parametrize("failing", ["sim-error-mid?rate=30&tokens=60&after=40", "sim-endless?rate=30"])
async def test_what_is_not_to_be_stored_leaves_nothing_however_it_ends(
    both: Both, shared_database: str, failing: str
) -> None:
    a, b = both
    stream = await (await a.create(failing, store=False, input="Say nothing of this.")).until(10)
    await b.cancel(stream.id)
    await stream.to_end()
    assert stream.error
    with Postgres.connect(shared_database) as conn:
        row = conn.execute("SELECT request, content FROM completions WHERE id = %s", (stream.id,)).fetchone()
        rows = conn.execute("SELECT FROM completion_events WHERE completion_id = %s", (stream.id,)).fetchall()
        logs = conn.execute("SELECT FROM completion_logs WHERE completion_id = %s", (stream.id,)).fetchall()
    assert row == (None, None)
    assert rows == logs == []


async def test_past_its_retention_the_stream_is_gone_and_the_content_stays(both: Both, shared_database: str) -> None:
    a, b = both
    old = await (await a.create("sim-ok?tokens=5")).to_end()
    running = await (await a.create("sim-ok?rate=20&tokens=60")).until(5)
    settings = Settings(database_url=SecretStr(shared_database), log_retention=0.001)
    async with create_pool(settings) as pool:
        await maintenance.run_once(pool, settings, interruption(pool), [])
    assert (await b.resume(old.id)).status == 410
    assert (await b.resume(old.id, last_event_id=old.last_id)).status == 204
    stored = await b.get(old.id)
    assert stored["text"] == old.text
    assert stored["status"] == "completed"
    assert (await running.to_end()).done
    assert (await (await b.resume(running.id)).to_end()).text == running.text


async def test_the_servers_own_caps_end_a_stream(start_service: StartService, connect: Connect) -> None:
    a = await connect(await start_service(total_timeout=1.5, max_events=100, max_streams=3))

    many = await (await a.create("sim-ok?tokens=500")).to_end()
    assert many.error == "stream_limit"
    assert many.frames[-1].terminal
    assert 100 <= many.last_id < 520
    assert (await a.get(many.id))["status"] == "failed"
    assert (await a.get(many.id))["text"] == many.text

    started = time.monotonic()
    long = await a.create("sim-endless?rate=10")
    others = [await a.create("sim-endless?rate=10") for _ in range(2)]
    status, body = await a.call(
        "POST", "/v1/completions", json={"model": "sim-ok", "input": "One too many.", "max_tokens": 5}
    )
    assert status == 503
    assert body["type"] == "/problems/full"
    full = await a.create()
    assert full.status == 503
    assert int(full.headers["retry-after"]) >= 1

    await asyncio.gather(*[stream.to_end() for stream in [long, *others]])
    assert 1.4 < time.monotonic() - started < 4.5
    assert long.error == "stream_limit"
    assert (await a.get(long.id))["status"] == "failed"
    assert (await a.create("sim-ok?tokens=1")).status == 200, "there is room again"


async def test_one_bad_row_does_not_hold_up_others(both: Both) -> None:
    """Postgres refuses a text with a NUL in it, and only the statement itself shows that."""
    a, b = both
    model = "sim-ok?tokens=20&rate=50"
    good = [a.create(model, input=f"Good {number}.") for number in range(8)]
    bad = [a.create(f"{model}&stop_reason=end%00turn", input=f"Bad {number}.") for number in range(3)]
    streams = list(await asyncio.gather(*good[:4], *bad, *good[4:]))
    await asyncio.gather(*[stream.to_end() for stream in streams])

    failed = [stream for stream in streams if not stream.done]
    assert len(failed) == 3
    for stream in streams:
        stored = await b.get(stream.id)
        if stream in failed:
            assert stream.error == "unstorable"
            assert stream.frames[-1].terminal
            assert stored["status"] == "failed"
            assert stored["error"]["code"] == "unstorable"
            again = await (await b.resume(stream.id, last_event_id=3)).to_end()
            assert again.error == "unstorable"
        else:
            assert stored["status"] == "completed"
            assert stored["text"] == stream.text


@pytest.mark.slow
async def test_much_at_once_on_the_same_conversations_never_locks_up(both: Both, postgres: Postgres) -> None:
    a, b = both
    conversations = [await a.conversation() for _ in range(4)]
    deadline = time.monotonic() + 6
    outcomes: list[int] = []

    async def talk(client: Client, conversation: str) -> None:
        while time.monotonic() < deadline:
            stream = await client.create(
                "sim-ok?tokens=6&rate=100", conversation_id=conversation, on_disconnect="cancel"
            )
            outcomes.append(stream.status)
            if stream.status == 200:
                other = b if client is a else a
                watching = await other.resume(stream.id)
                if len(outcomes) % 3 == 0:
                    await other.cancel(stream.id)
                await asyncio.gather(stream.to_end(), watching.to_end() if watching.status == 200 else stream.to_end())
                assert stream.terminal
            else:
                await asyncio.sleep(0.02)

    async def meddle(client: Client, conversation: str) -> None:
        while time.monotonic() < deadline:
            message = {"role": "user", "content": "And another thing."}
            await client.call("POST", f"/v1/conversations/{conversation}/messages", json=message)
            await client.call("PATCH", f"/v1/conversations/{conversation}", json={"title": "New"})
            await client.call("GET", f"/v1/completions?conversation_id={conversation}")
            await asyncio.sleep(0.01)

    async with asyncio.timeout(40):
        await asyncio.gather(
            *[talk(client, conversation) for client in both for conversation in conversations for _ in range(2)],
            *[meddle(client, conversation) for client in both for conversation in conversations],
        )
    assert set(outcomes) == {200, 409}
    assert "deadlock detected" not in postgres.log.read_text()
    for conversation in conversations:
        assert (await (await b.create("sim-ok?tokens=1", conversation_id=conversation)).to_end()).done


async def test_an_admission_whose_answer_was_lost_leaves_no_completion_that_streams_for_ever(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    """The row is there, with a living owner that knows nothing of it."""
    a = await connect(await start_service(maintenance_interval=0.3, control_tick=0.2))
    running = await a.create("sim-ok?rate=20&tokens=60")
    with Postgres.connect(database_url) as conn:
        id = uuid7()
        conn.execute(
            "INSERT INTO completions (id, tenant, status, model, store, on_disconnect, instance_id, created_at)"
            " SELECT %s, tenant, status, model, store, on_disconnect, instance_id, created_at - interval '2 min'"
            " FROM completions WHERE id = %s",
            (id, running.id),
        )
        conn.execute("UPDATE completions SET created_at = created_at - interval '2 min' WHERE id = %s", (running.id,))
    async with asyncio.timeout(10):
        while (await a.get(str(id)))["status"] != "interrupted":  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.1)
    await running.to_end()
    assert (await a.get(running.id))["status"] == "completed"
