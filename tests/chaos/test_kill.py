"""`kill -9` of an instance in the middle of its streams: others find out, tell the readers and put things in order."""

import asyncio
import time

import pytest

from tests.chaos.streams import Client, Connect, strictly_increasing
from tests.support.postgres import Postgres
from tests.support.service import Service, StartService

LEASE = 2
# A poll of the follower at its slowest, and room for a busy machine.
POLL = 1 + 2
PACE = 50
# What one record tick and one commit may hold, and room for a busy machine.
LOST_AT_MOST = 0.6
LONG = f"sim-ok?rate={PACE}&tokens=4000&first_ms=0"
INTERRUPTED = ["interrupted"]


@pytest.fixture
async def lost(start_service: StartService, connect: Connect) -> tuple[Client, Client]:
    """Two instances; the first is the one to kill."""
    a = await start_service(lease=LEASE, control_tick=0.2, maintenance_interval=600)
    b = await start_service(lease=LEASE, control_tick=0.2, maintenance_interval=600)
    await (await (await connect(b)).create("sim-ok?tokens=1")).to_end()  # it has loaded all it needs
    return await connect(a), await connect(b)


async def test_a_waiting_reader_elsewhere_is_told_within_the_lease(lost: tuple[Client, Client]) -> None:
    a, b = lost
    head = await (await a.create(LONG)).until(60)
    tail = await (await b.resume(head.id)).until(20)
    # One more position than was recorded: this reader saw events that are lost with the instance.
    beyond = await b.resume(head.id, last_event_id=head.last_id + 40)
    waiting = asyncio.gather(tail.to_end(), beyond.to_end())
    a.service.kill()
    killed = time.monotonic()
    await head.to_end()
    await waiting
    told = time.monotonic() - killed

    assert told < LEASE + POLL, f"told after {told:.1f} s"
    assert tail.error == beyond.error == "interrupted"
    assert tail.frames[-1].terminal
    assert beyond.frames[-1].terminal
    assert not tail.broken
    assert strictly_increasing(tail.ids)
    assert tail.last_id == beyond.last_id > head.last_id + 40

    stored = await b.get(head.id)
    assert stored["status"] == "interrupted"
    assert stored["error"]["code"] == "interrupted"
    assert stored["text"] == tail.text
    assert head.text.startswith(stored["text"]) or stored["text"].startswith(head.text)
    missing = len([frame for frame in head.frames if frame.text]) - len([f for f in tail.frames if f.text])
    assert missing <= PACE * LOST_AT_MOST, f"{missing} events were lost"
    assert stored["usage"]["estimated"] is True

    assert (await b.resume(head.id, last_event_id=tail.last_id)).status == 204
    for position in (0, tail.ids[10], head.last_id, head.last_id + 40, tail.last_id - 1):
        again = await (await b.resume(head.id, last_event_id=position)).to_end()
        assert again.error == "interrupted", position
        assert all(id > position for id in again.ids)
        assert strictly_increasing(again.ids)


async def lapse(client: Client) -> None:
    """Kill its instance and let the lease run out, with nobody there who would notice."""
    client.service.kill()
    await asyncio.sleep(LEASE + 0.3)


@pytest.mark.parametrize(
    "meet", ["admission", pytest.param("get", marks=pytest.mark.slow), pytest.param("list", marks=pytest.mark.slow)]
)
async def test_whoever_meets_a_lost_completion_first_ends_it(lost: tuple[Client, Client], meet: str) -> None:
    a, b = lost
    conversation = await b.conversation()
    head = await (await a.create(LONG, conversation_id=conversation, input="Who are you?")).until(30)
    other = await (await b.create("sim-ok?rate=20&tokens=90", conversation_id=await b.conversation())).until(3)
    undamaged = await (await b.create("sim-ok?tokens=5")).to_end()
    await lapse(a)

    match meet:
        case "admission":
            assert (await (await b.create(conversation_id=conversation)).to_end()).done
        case "get":
            assert (await b.get(head.id))["status"] == "interrupted"
        case "list":
            _, page = await b.call("GET", f"/v1/completions?conversation_id={conversation}")
            assert [item["status"] for item in page["data"]] == INTERRUPTED

    stored = await b.get(head.id)
    assert stored["status"] == "interrupted"
    assert stored["text"]
    # The conversation is free at once, and its next turn sees the question; nothing is kept of the cut answer.
    following = await (await b.create(conversation_id=conversation, input="And now?")).to_end()
    assert following.done
    roles = [message["role"] for message in await b.messages(conversation)]
    assert roles.count("assistant") == (2 if meet == "admission" else 1)
    # Nobody else is touched.
    assert not other.ended
    assert (await other.to_end()).done
    assert (await b.get(undamaged.id))["status"] == "completed"


@pytest.mark.slow
async def test_a_list_ends_the_lost_completions_of_several_instances(
    start_service: StartService, connect: Connect
) -> None:
    services: list[Service] = list(
        await asyncio.gather(*[start_service(lease=LEASE, control_tick=0.2, maintenance_interval=600) for _ in "abc"])
    )
    *lost, b = [await connect(service) for service in services]
    streams = [await (await client.create(LONG)).until(10) for client in lost for _ in range(3)]
    running = await (await b.create(LONG)).until(10)
    for client in lost:
        client.service.kill()
    await asyncio.sleep(LEASE + 0.3)

    _, page = await b.call("GET", "/v1/completions")
    statuses = {item["id"]: item["status"] for item in page["data"]}
    assert {statuses[stream.id] for stream in streams} == {"interrupted"}
    assert statuses[running.id] == "streaming"
    _, page = await b.call("GET", "/v1/completions?status=streaming")
    assert [item["id"] for item in page["data"]] == [running.id]


async def test_the_maintenance_run_ends_what_nobody_meets(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    a = await connect(await start_service(lease=LEASE, control_tick=0.2))
    b = await connect(await start_service(lease=LEASE, control_tick=0.2, maintenance_interval=0.3))
    head = await (await a.create(LONG)).until(10)
    a.service.kill()

    with Postgres.connect(database_url) as conn:
        patience = time.monotonic() + LEASE + POLL
        row = None
        while row is None or row[0] == "streaming":
            assert time.monotonic() < patience
            await asyncio.sleep(0.1)
            row = conn.execute("SELECT status FROM completions WHERE id = %s", (head.id,)).fetchone()
    assert row[0] == "interrupted"
    assert (await b.get(head.id))["status"] == "interrupted"


async def test_a_living_instance_is_not_declared_dead_by_its_readers(lost: tuple[Client, Client]) -> None:
    a, b = lost
    stream = await (await a.create(f"sim-ok?rate=20&tokens={20 * (LEASE + 3)}")).until(3)
    tail = await b.resume(stream.id, last_event_id=stream.last_id)
    await asyncio.gather(stream.to_end(), tail.to_end(), poll(b, stream.id))
    assert stream.done
    assert tail.done
    assert (await b.get(stream.id))["status"] == "completed"


async def poll(client: Client, id: str) -> None:
    while (await client.get(id))["status"] == "streaming":
        await client.call("GET", "/v1/completions")
        await asyncio.sleep(0.05)
