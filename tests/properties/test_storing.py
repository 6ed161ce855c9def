"""Batches and the store change no byte of any dialect."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from app.domain.events import Event, join, split
from app.streaming.event_stream import EventStream
from app.streaming.log import Log
from app.streaming.settlement import compress, decompress
from app.wire.sse import KEEPALIVE
from tests.properties.answers import FAR_OFF, Answer, answers
from tests.properties.dialects import DIALECTS, Dialect

Batches = list[list[Event]]


@st.composite
def batches(draw: st.DrawFn, events: Sequence[Event]) -> Batches:
    """Neighbours together, in any groups; some may be empty."""
    places = sorted(draw(st.lists(st.integers(0, len(events)), max_size=8)))
    return [list(events[begin:end]) for begin, end in pairwise([0, *places, len(events)])]


@given(answers(), st.data())
def test_batches_do_not_matter(answer: Answer, data: st.DataObject) -> None:
    position = data.draw(st.sampled_from(answer.positions))
    had, next = split_at(answer.events, position)
    had_batches, next_batches = data.draw(batches(had)), data.draw(batches(next))
    for dialect in DIALECTS:
        encoder, at_once = dialect.encoder(), dialect.encoder()
        for batch in had_batches:
            encoder.skip(batch)
        at_once.skip(had)
        encoded = b"".join([encoder.encode(batch) for batch in next_batches])
        assert encoded == at_once.encode(next), dialect.name


@given(answers(), st.data())
def test_the_store_gives_back_the_same_events(answer: Answer, data: st.DataObject) -> None:
    """As rows of ticks while it runs, which never hold the end, and as one log afterwards."""
    *streamed, end = answer.events
    assert through_rows(data.draw(batches(streamed))) == streamed
    assert list(decompress(compress(answer.events), end.seq)) == answer.events


def through_rows(ticks: Batches) -> list[Event]:
    rows = [(tick[0].seq, join(tick)) for tick in ticks if tick]
    return [event for first, lines in rows for event in split(lines, first)]


@given(answers(), st.data())
def test_a_stream_from_the_store_is_the_one_that_was_sent_live(answer: Answer, data: st.DataObject) -> None:
    """From any position, whether the reader was there while the log grew, followed it or came afterwards."""
    position = data.draw(st.sampled_from(answer.positions[:-1]))
    _assert_sent_alike(answer, data, position, had=position)


@given(answers(ends=st.just(FAR_OFF)), st.data())
def test_a_reader_of_lost_events_gets_the_end(answer: Answer, data: st.DataObject) -> None:
    *streamed, end = answer.events
    _assert_sent_alike(answer, data, data.draw(st.integers(len(streamed), end.seq - 1)), had=len(streamed))


def _assert_sent_alike(answer: Answer, data: st.DataObject, position: int, *, had: int) -> None:
    """All that is past `position`, for a reader that has had the events up to `had`."""
    *streamed, end = answer.events
    followed = [*through_rows(data.draw(batches(streamed))), end]
    stored = list(decompress(compress(answer.events), end.seq))
    logs = [data.draw(batches(answer.events)), [followed[:-1], followed[-1:]], [stored]]
    for dialect in DIALECTS:
        encoder = dialect.encoder()
        encoder.skip(answer.events[:had])
        expected = encoder.encode(answer.events[had:])
        for log in logs:
            assert asyncio.run(_sent(dialect, log, position)) == expected, dialect.name


def split_at(events: Sequence[Event], position: int) -> tuple[list[Event], list[Event]]:
    """Those up to the position, and the others."""
    return [event for event in events if event.seq <= position], [event for event in events if event.seq > position]


async def _sent(dialect: Dialect, batches: Batches, after: int) -> bytes:
    """The body that a reader gets who was there while a log grew, without signs of life."""
    log = Log()
    response = EventStream(nullcontext(log), dialect.encoder(), after=after, keepalive=60, send_timeout=60)
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        bodies.append(message.get("body", b""))

    async def receive() -> Message:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing comes")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(response({"type": "http"}, receive, send))
        for index, batch in enumerate(batches):
            await asyncio.sleep(0)
            log.append(batch, end=index == len(batches) - 1)
    return b"".join(body for body in bodies if body != KEEPALIVE)
