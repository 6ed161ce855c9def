"""SIGTERM: what runs may finish within the grace, the rest is ended in good order, and every reader is told."""

import asyncio
import time
from collections import Counter

import pytest

from tests.chaos.streams import Client, Connect, Stream
from tests.support.postgres import Postgres
from tests.support.service import StartService

# Signals, the last commits, and room for a busy machine.
SPARE = 4
SHORT = "sim-ok?rate=20&tokens=40&first_ms=0"
ENDLESS = "sim-endless?rate=5&first_ms=0"


def states(database_url: str) -> Counter[str]:
    with Postgres.connect(database_url) as conn:
        return Counter(row[0] for row in conn.execute("SELECT status FROM completions").fetchall())


async def begin(client: Client, count: int, model: str) -> list[Stream]:
    return list(await asyncio.gather(*[client.create(model) for _ in range(count)]))


async def test_fifty_open_streams_all_end_with_a_terminal_event(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    grace = 5
    service = await start_service(drain_grace=grace)
    a = await connect(service)
    short, endless = await begin(a, 25, SHORT), await begin(a, 25, ENDLESS)
    reading = asyncio.gather(*[stream.to_end() for stream in [*short, *endless]])
    service.terminate()
    signalled = time.monotonic()
    await reading
    code = await service.ended(grace + SPARE)
    took = time.monotonic() - signalled

    assert code == 0
    assert took < grace + SPARE
    assert all(stream.done for stream in short), "what can finish within the grace does"
    assert {stream.error for stream in endless} == {"interrupted"}
    assert not any(stream.broken for stream in [*short, *endless])
    assert all(stream.frames[-1].terminal for stream in [*short, *endless])
    assert min(stream.frames[-1].at for stream in endless) - signalled > grace - 0.5, "the grace was given whole"
    assert states(database_url) == {"completed": 25, "interrupted": 25}
    with Postgres.connect(database_url) as conn:
        stored = dict(conn.execute("SELECT id::text, content FROM completions").fetchall())
    for stream in [*short, *endless]:
        assert stream.text.encode() in stored[stream.id].replace(b"\\", b"")


async def test_it_ends_as_soon_as_the_last_stream_has(start_service: StartService, connect: Connect) -> None:
    service = await start_service(drain_grace=60)
    stream = await (await (await connect(service)).create(SHORT)).until(3)
    service.terminate()
    await stream.to_end()
    assert stream.done
    assert await service.ended(SPARE) == 0


async def test_without_streams_it_ends_at_once(start_service: StartService) -> None:
    service = await start_service(drain_grace=60)
    service.terminate()
    assert await service.ended(SPARE) == 0


async def test_a_generation_without_any_reader_is_given_the_grace(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    service = await start_service(drain_grace=30)
    a = await connect(service)
    stream = await (await a.create(SHORT)).until(3)
    stream.drop()
    await asyncio.sleep(0.2)
    service.terminate()
    assert await service.ended(2 + SPARE) == 0
    assert states(database_url) == {"completed": 1}


async def test_a_reader_on_another_instance_is_told(start_service: StartService, connect: Connect) -> None:
    service, other = await asyncio.gather(start_service(drain_grace=1), start_service())
    head = await (await (await connect(service)).create(ENDLESS)).until(3)
    b = await connect(other)
    tail = await (await b.resume(head.id)).until(3)
    service.terminate()
    await asyncio.gather(head.to_end(), tail.to_end())
    assert head.error == tail.error == "interrupted"
    assert head.ids == tail.ids
    assert (await b.get(head.id))["text"] == tail.text


async def test_new_requests_on_kept_connections_are_sent_elsewhere(
    start_service: StartService, connect: Connect
) -> None:
    service = await start_service(drain_grace=3)
    stream = await (await (await connect(service)).create(ENDLESS)).until(3)
    kept = [await connection(service.url) for _ in range(40)]
    for reader, writer in kept:
        assert await ask(reader, writer) == (200, False)
    service.terminate()
    answers = []
    for reader, writer in kept:
        answers.append(await ask(reader, writer))
        await asyncio.sleep(0.005)
    for _, writer in kept:
        writer.close()
    await stream.to_end()

    # Either nothing at all, or a refusal that says when to come again; the first may be answered before the signal.
    refused = [answer for answer in answers if answer in (None, (503, True))]
    assert len(answers) - len(refused) <= 10, answers
    assert not set(answers) - {None, (503, True), (200, False)}
    assert answers[-1] in (None, (503, True))
    assert stream.error == "interrupted"


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connection(url: str) -> Connection:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bool] | None:
    """The status, and whether it says when to try again; None if the connection was closed."""
    try:
        writer.write(b"GET /livez HTTP/1.1\r\nhost: headwater\r\n\r\n")
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    except (OSError, asyncio.IncompleteReadError):
        return None
    length = next(int(line[16:]) for line in head.split("\r\n") if line.startswith("content-length: "))
    await reader.readexactly(length)
    return int(head[9:12]), "\r\nretry-after: " in head


@pytest.mark.slow
async def test_without_its_database_it_still_tells_every_reader_and_ends(
    start_service: StartService, connect: Connect, private_postgres: Postgres, private_database: str
) -> None:
    grace = 1
    service = await start_service(database_url=private_database, drain_grace=grace, lease=1)
    a = await connect(service)
    streams = [*await begin(a, 5, SHORT), *await begin(a, 5, ENDLESS)]
    await asyncio.sleep(0.5)
    private_postgres.stop()
    reading = asyncio.gather(*[stream.to_end() for stream in streams])
    service.terminate()
    signalled = time.monotonic()
    await reading
    code = await service.ended(grace + 10 + SPARE)

    assert [stream.broken for stream in streams] == [False] * 10
    assert all(stream.frames[-1].terminal for stream in streams)
    assert {stream.error for stream in streams} == {"storage_unavailable"}
    assert code == 0
    assert time.monotonic() - signalled < grace + 10

    private_postgres.start()
    other = await connect(await start_service(database_url=private_database, lease=1))
    await asyncio.sleep(1.2)  # after its start the database gives every lease its full time
    for stream in streams:
        completion = await other.final(stream.id)
        assert completion["status"] == "interrupted"
        assert stream.text.startswith(completion["text"] or "")
