"""The response of the hot path, driven without a server: a log, and a client's receive and send."""

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from starlette.types import Message

from app.domain.events import Event
from app.streaming.event_stream import _READERS_STAY, EventStream
from app.streaming.log import Log, StoredLog
from app.wire.anthropic_messages import AnthropicMessagesEncoder
from app.wire.plain import PlainEncoder
from app.wire.sse import KEEPALIVE, Encoder

STOP = b'{"type":"content_block_stop","index":0}'  # has no frame in the plain dialect


class Client:
    """What a server passes on of one client. `taking` is cleared by one that stops reading."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.taking.wait()
        self.sent.append(message)

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def ended(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1]["more_body"]


class Reading:
    def __init__(self) -> None:
        self.log = Log()
        self.readers = 0
        self.client = Client()

    @contextmanager
    def source(self) -> Iterator[Log]:
        self.readers += 1
        try:
            yield self.log
        finally:
            self.readers -= 1

    async def run(
        self,
        *,
        after: int = 0,
        encoder: Encoder | None = None,
        keepalive: float = 30,
        send_timeout: float = 30,
        seconds: float | None = None,
    ) -> None:
        """`seconds` are those that the request has until it is over for its readers too."""
        response = EventStream(
            self.source(),
            encoder or AnthropicMessagesEncoder(),
            after=after,
            keepalive=keepalive,
            send_timeout=send_timeout,
        )
        scope: dict[str, Any] = {"type": "http"}
        if seconds is not None:
            scope["state"] = {"ends_by": time.time() - _READERS_STAY + seconds}
        await response(scope, self.client.receive, self.client.send)
        assert self.readers == 0

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(3):
            while not condition():  # noqa: ASYNC110 - anything may be waited for
                await asyncio.sleep(0.005)


def events(*seqs: int, data: bytes = b'{"type":"ping"}', type: str = "ping") -> Sequence[Event]:
    return [Event(seq, type, data) for seq in seqs]


def frames(*seqs: int) -> bytes:
    return AnthropicMessagesEncoder().encode(events(*seqs))


async def test_a_finished_log_is_one_chunk_and_the_last() -> None:
    reading = Reading()
    reading.log.append(events(1, 2, 3), end=True)
    await reading.run()
    assert reading.client.chunks == [frames(1, 2, 3)]
    assert reading.client.ended
    start = reading.client.sent[0]
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert b"no-transform" in headers[b"cache-control"]
    assert b"content-length" not in headers


async def test_only_what_lies_past_the_position_is_sent() -> None:
    reading = Reading()
    reading.log.append(events(1, 2, 3), end=True)
    await reading.run(after=2)
    assert reading.client.chunks == [frames(3)]


class Adder:
    """A fold whose every frame needs all events before it."""

    def __init__(self) -> None:
        self.sum = 0

    def skip(self, events: Sequence[Event]) -> None:
        self.encode(events)

    def encode(self, events: Sequence[Event]) -> bytes:
        sums = [self._add(event.seq) for event in events]
        return b"".join(b"%d\n" % one for one in sums)

    def _add(self, seq: int) -> int:
        self.sum += seq
        return self.sum


@pytest.mark.parametrize("batches", [[(1, 2, 3, 4, 5)], [(1, 2), (3, 4, 5)], [(1, 2, 3), (4, 5)], [(1, 2, 3, 4), (5,)]])
async def test_a_log_that_comes_later_goes_through_the_fold_from_its_first_event(batches: list[Sequence[int]]) -> None:
    """As a copy of another instance's log does."""
    reading = Reading()
    task = asyncio.create_task(reading.run(after=3, encoder=Adder()))  # noqa: TID251 - awaited below
    for batch in batches:
        await asyncio.sleep(0.01)
        reading.log.append(events(*batch), end=batch[-1] == 5)
    await task
    assert reading.client.body.removeprefix(KEEPALIVE) == b"10\n15\n"


async def test_a_batch_is_sent_as_it_comes_and_the_end_ends_the_body() -> None:
    reading = Reading()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: len(reading.client.chunks) == 1)
        for batch in (events(1, 2), events(3)):
            before = len(reading.client.chunks)
            reading.log.append(batch)
            await reading.until(lambda before=before: len(reading.client.chunks) > before)  # type: ignore[misc]
        assert not reading.client.ended
        reading.log.append(events(4), end=True)
    assert reading.client.chunks == [KEEPALIVE, frames(1, 2), frames(3), frames(4)]
    assert [message["more_body"] for message in reading.client.sent[1:]] == [True, True, True, False]


async def test_a_reader_far_ahead_gets_the_end_alone() -> None:
    reading = Reading()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run(after=50))
        await reading.until(lambda: len(reading.client.chunks) == 1)
        reading.log.append(events(1, 2))
        await asyncio.sleep(0.05)
        reading.log.append(events(1000), end=True)
    assert reading.client.chunks == [KEEPALIVE, frames(1000)]
    assert reading.client.ended


async def test_silence_is_filled_before_the_first_event_and_between_events() -> None:
    reading = Reading()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run(keepalive=0.1))
        await reading.until(lambda: reading.client.chunks.count(KEEPALIVE) >= 3)
        reading.log.append(events(1))
        await reading.until(lambda: frames(1) in reading.client.chunks)
        silent = len(reading.client.chunks)
        await reading.until(lambda: reading.client.chunks[silent:].count(KEEPALIVE) >= 2)
        reading.log.append(events(2), end=True)
    assert reading.client.body.replace(KEEPALIVE, b"") == frames(1, 2)


async def test_events_without_a_frame_send_nothing_and_keep_the_silence_short() -> None:
    reading = Reading()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run(encoder=PlainEncoder(), keepalive=0.2))
        for seq in range(1, 11):
            reading.log.append(events(seq, data=STOP, type="content_block_stop"))
            await asyncio.sleep(0.05)
        reading.log.append(events(11, data=b'{"type":"message_stop"}', type="message_stop"), end=True)
    assert set(reading.client.chunks[:-1]) == {KEEPALIVE}
    assert 2 <= len(reading.client.chunks[:-1]) <= 4
    assert reading.client.chunks[-1] == b"id: 11\ndata: [DONE]\n\n"
    assert reading.client.ended


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_ends_the_reading_without_a_last_chunk(*, begun: bool) -> None:
    reading = Reading()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        if begun:
            reading.log.append(events(1))
        await reading.until(lambda: bool(reading.client.chunks))
        reading.client.left.set()
    assert not reading.client.ended


async def test_a_client_that_leaves_during_a_send_is_noticed_at_once() -> None:
    reading = Reading()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: bool(reading.client.chunks))
        reading.client.taking.clear()
        reading.log.append(events(1))
        await asyncio.sleep(0.05)
        reading.client.left.set()
        await asyncio.sleep(0.05)
        assert reading.readers == 0
        reading.client.taking.set()
    assert not reading.client.ended


async def test_a_client_that_takes_nothing_is_dropped() -> None:
    reading = Reading()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run(send_timeout=0.2))
        await reading.until(lambda: bool(reading.client.chunks))
        reading.client.taking.clear()
        reading.log.append(events(1), end=True)
    assert not reading.client.ended


async def test_a_client_that_is_slow_gets_all_of_it_in_order() -> None:
    reading = Reading()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: bool(reading.client.chunks))
        reading.client.taking.clear()
        for seq in (1, 2, 3):
            reading.log.append(events(seq))
            await asyncio.sleep(0.01)
        assert reading.client.chunks == [KEEPALIVE]
        reading.client.taking.set()
        await reading.until(lambda: len(reading.client.chunks) == 3)
        reading.log.append(events(4), end=True)
    assert reading.client.chunks == [KEEPALIVE, frames(1), frames(2, 3), frames(4)]


async def test_a_log_that_grows_is_written_from_within_its_append() -> None:
    """A wake-up in between would cost as much as the event."""
    reading = Reading()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: bool(reading.client.chunks))
        reading.log.append(events(1))
        assert reading.client.chunks == [KEEPALIVE, frames(1)]
        reading.log.append(events(2), end=True)


@pytest.mark.parametrize("waits", [False, True])
async def test_a_server_that_fails_to_send_fails_that_reader_alone(*, waits: bool) -> None:
    class Failing(Client):
        async def send(self, message: Message) -> None:
            await super().send(message)
            if b"1" in message.get("body", b""):
                if waits:
                    await asyncio.sleep(0.01)
                raise ConnectionResetError

    broken, whole = Reading(), Reading()
    broken.client, broken.log = Failing(), whole.log
    encoder = PlainEncoder()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(_failure_of(broken.run(encoder=encoder)))
        tasks.create_task(whole.run())
        await whole.until(lambda: bool(whole.client.chunks and broken.client.chunks))
        whole.log.append(events(1, type="x", data=b'{"type":"x"}'))
        whole.log.append(events(2), end=True)
    assert isinstance(reader.result(), ConnectionResetError)
    assert whole.client.ended
    assert broken.readers == 0


async def _failure_of(running: Awaitable[None]) -> Exception | None:
    try:
        await running
    except Exception as exc:
        return exc
    return None


async def test_an_encoder_that_breaks_later_fails_that_reader_alone() -> None:
    class Breaking(PlainEncoder):
        def encode(self, events: Sequence[Event]) -> bytes:
            raise ZeroDivisionError

    broken, whole = Reading(), Reading()
    broken.log = whole.log
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(_failure_of(broken.run(encoder=Breaking())))
        tasks.create_task(whole.run())
        await whole.until(lambda: bool(whole.client.chunks and broken.client.chunks))
        whole.log.append(events(1))
        whole.log.append(events(2), end=True)
    assert isinstance(reader.result(), ZeroDivisionError)
    assert whole.client.body == KEEPALIVE + frames(1, 2)


async def test_a_write_that_waits_is_told_that_it_is_given_up() -> None:
    """As a server has it that awaits with a `finally` or an `except` of its own."""
    told: list[str] = []

    class Tidy(Client):
        async def send(self, message: Message) -> None:
            try:
                await super().send(message)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                told.append("cancelled")
                raise

    reading = Reading()
    reading.client = Tidy()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: bool(reading.client.chunks))
        reading.client.taking.clear()
        reading.log.append(events(1))
        await asyncio.sleep(0.01)
        reading.client.left.set()
        await reading.until(lambda: bool(told))
    assert told == ["cancelled"]


async def test_what_a_write_waits_for_may_fail_and_be_waited_for_again() -> None:
    class Persistent(Client):
        async def send(self, message: Message) -> None:
            if b"1" in message.get("body", b""):
                failing = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_later(0.01, failing.set_exception, ConnectionError())
                with suppress(ConnectionError):
                    await failing
                await asyncio.sleep(0.01)
            await super().send(message)

    reading = Reading()
    reading.client = Persistent()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: bool(reading.client.chunks))
        reading.log.append(events(1, data=b'{"type":"1"}'))
        await reading.until(lambda: len(reading.client.chunks) == 2)
        reading.log.append(events(2), end=True)
    assert reading.client.ended


def _positions(body: bytes) -> list[bytes]:
    return [line[4:] for line in body.split(b"\n") if line.startswith(b"id: ")]


@pytest.mark.parametrize("had", [0, 2, 300])
async def test_a_reader_whose_time_is_over_is_told_from_where_to_read_on(had: int) -> None:
    reading = Reading()
    if had:
        reading.log.append(events(*range(1, had + 1), data=b'{"type":"x"}', type="x"))
    async with asyncio.timeout(3):
        await reading.run(encoder=PlainEncoder(), seconds=0.05)
    *given, last = _positions(reading.client.body)
    assert given == [b"%d" % seq for seq in range(1, had + 1)]
    assert last == b"%d" % had
    assert b'"deadline"' in reading.client.chunks[-1]
    assert reading.client.ended


async def test_a_slow_reader_whose_time_is_over_is_told_once_it_takes_again() -> None:
    reading = Reading()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run(encoder=PlainEncoder(), seconds=0.1))
        await reading.until(lambda: bool(reading.client.chunks))
        reading.client.taking.clear()
        reading.log.append(events(1, data=b'{"type":"x"}', type="x"))
        await asyncio.sleep(0.2)
        reading.client.taking.set()
    assert _positions(reading.client.body) == [b"1", b"1"]
    assert b'"deadline"' in reading.client.chunks[-1]


async def test_a_reader_that_has_all_of_an_ended_log_is_not_told_of_time() -> None:
    reading = Reading()
    reading.log.append(events(1), end=True)
    await reading.run(seconds=-10)
    assert reading.client.chunks == [frames(1)]


@pytest.mark.parametrize("end", ["whole", "left", "left while it waits"])
async def test_a_log_is_let_go_of_with_its_last_reader(end: str) -> None:
    """Not left to the collector, which hardly ever looks."""
    gc.disable()
    try:
        log = await _read_to(end)
        await asyncio.sleep(0.01)
        assert log() is None
    finally:
        gc.enable()


async def _read_to(end: str) -> weakref.ref[Log]:
    reading = Reading()
    async with asyncio.timeout(3), asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run())
        await reading.until(lambda: bool(reading.client.chunks))
        if end == "left while it waits":
            reading.client.taking.clear()
        reading.log.append(events(1), end=end == "whole")
        await asyncio.sleep(0.01)
        reading.client.left.set()
    return weakref.ref(reading.log)


async def test_a_stored_log_is_taken_a_part_at_a_time_and_others_have_their_turn() -> None:
    reading, taken, turns = Reading(), 0, [0]

    def stored(length: int) -> Iterator[Event]:
        nonlocal taken
        for taken in range(1, length + 1):
            yield from events(taken)

    async def take_turns() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    class Watching(Client):
        async def send(self, message: Message) -> None:
            """Without waiting: a client that takes whatever it is given."""
            self.sent.append(message)
            progress.append((taken, turns[0]))

    progress: list[tuple[int, int]] = []
    reading.client, reading.log = Watching(), StoredLog(stored(1000), 1000)
    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(take_turns())
        await reading.run(after=10)
        other.cancel()
    assert reading.client.body == frames(*range(11, 1001))
    assert reading.client.ended
    amounts, moments = zip(*progress[1:], strict=True)
    assert amounts == (256, 512, 768, 1000)
    assert len(set(moments)) == len(moments)


async def test_a_backlog_in_memory_is_sent_a_part_at_a_time() -> None:
    reading = Reading()
    reading.log.append(events(*range(1, 1001)), end=True)
    await reading.run()
    assert [len(chunk) for chunk in reading.client.chunks] == [
        len(frames(*part)) for part in (range(1, 257), range(257, 513), range(513, 769), range(769, 1001))
    ]


async def test_what_breaks_the_encoder_lets_go_of_the_log() -> None:
    class Broken:
        def skip(self, events: Sequence[Event]) -> None:
            pass

        def encode(self, events: Sequence[Event]) -> bytes:
            raise ZeroDivisionError

    reading = Reading()
    reading.log.append(events(1), end=True)
    response = EventStream(reading.source(), Broken(), after=0, keepalive=30, send_timeout=30)
    with pytest.raises(ZeroDivisionError):
        await response({"type": "http"}, reading.client.receive, reading.client.send)
    assert reading.readers == 0
