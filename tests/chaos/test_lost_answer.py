"""The database did what it was asked and its answer got lost: asking again changes nothing."""

import asyncio

from tests.chaos.cutting_proxy import CuttingProxy
from tests.chaos.streams import Client, Connect, Stream
from tests.support.postgres import Postgres
from tests.support.service import StartService

PACED = "sim-ok?rate=20&tokens=60&first_ms=0"


async def check_whole(client: Client, database_url: str, streams: list[Stream], conversations: list[str]) -> None:
    for stream, conversation in zip(streams, conversations, strict=True):
        assert stream.done, stream.error
        stored = await client.get(stream.id)
        assert stored["status"] == "completed"
        assert stored["text"] == stream.text
        again = await (await client.resume(stream.id)).to_end()
        assert [(frame.id, frame.data) for frame in again.frames] == [(frame.id, frame.data) for frame in stream.frames]
        assert [message["role"] for message in await client.messages(conversation)] == ["user", "assistant"]
    with Postgres.connect(database_url) as conn:
        assert conn.execute("SELECT count(*) FROM completion_events").fetchone() == (0,)


async def test_a_committed_batch_whose_answer_was_lost_is_written_once(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    async with CuttingProxy(database_url) as proxy:
        a = await connect(await start_service(database_url=proxy.url))
        conversations = [await a.conversation() for _ in range(6)]
        streams = [await a.create(PACED, conversation_id=conversation) for conversation in conversations]
        reading = asyncio.gather(*[stream.to_end() for stream in streams])
        await asyncio.sleep(0.3)
        proxy.cutting = b"SELECT record("
        await asyncio.sleep(1.5)
        batches = proxy.cuts
        proxy.cutting = None
        # The streams have gone on meanwhile, and nothing of a later batch was written before the one in doubt.
        with Postgres.connect(database_url) as conn:
            rows = conn.execute(
                "SELECT completion_id, first_seq, last_seq FROM completion_events ORDER BY completion_id, first_seq"
            ).fetchall()
        following: dict[object, int] = {}
        for id, first, last in rows:
            assert first == following.get(id, 1)
            following[id] = last + 1
        assert batches >= 2
        await reading
        await check_whole(a, database_url, streams, conversations)


async def test_an_end_whose_answer_was_lost_is_settled_once(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    async with CuttingProxy(database_url) as proxy:
        a = await connect(await start_service(database_url=proxy.url))
        conversations = [await a.conversation() for _ in range(6)]
        streams = [
            await a.create(f"sim-ok?rate=20&tokens={20 + number}", conversation_id=conversation)
            for number, conversation in enumerate(conversations)
        ]
        await asyncio.gather(*[stream.until_text(1) for stream in streams])
        proxy.cutting = b"completed"  # only what ends a stream says that
        committed = 0
        with Postgres.connect(database_url) as conn:
            while not committed:
                await asyncio.sleep(0.02)
                row = conn.execute("SELECT count(*) FROM completions WHERE status = 'completed'").fetchone()
                assert row is not None
                committed = row[0]
        # It is committed, but the service cannot know: no reader has been told.
        await asyncio.gather(*[stream.reads_for(0.5) for stream in streams])
        assert [stream.terminal for stream in streams] == [None] * 6
        proxy.cutting = None
        await asyncio.gather(*[stream.to_end() for stream in streams])
        assert proxy.cuts >= 2
        await check_whole(a, database_url, streams, conversations)


async def test_killed_backends_break_no_stream(
    start_service: StartService, connect: Connect, database_url: str
) -> None:
    a = await connect(await start_service())
    conversations = [await a.conversation() for _ in range(6)]
    streams = [await a.create(PACED, conversation_id=conversation) for conversation in conversations]
    reading = asyncio.gather(*[stream.to_end() for stream in streams])
    with Postgres.connect(database_url) as conn:
        while not reading.done():
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.25)
    await asyncio.sleep(0.5)
    await check_whole(a, database_url, streams, conversations)
