"""From an upstream's bytes to canonical events: however they are spelled, framed and cut."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import Event, name, read
from app.providers.anthropic.decoders import Decoder, EventStreamDecoder, SseDecoder
from tests.properties.answers import Answer, answers
from tests.support import event_stream

LINE_ENDS: Final = (b"\n", b"\r\n", b"\r")
Framed = tuple[list[Event], bytes]


@st.composite
def framed(draw: st.DrawFn, *, most: int | None = None) -> Framed:
    """Events as server-sent events, with what else such a stream may hold; neighbours, if there may not be `most`."""
    events = draw(answers()).events
    if most is not None:
        first = draw(st.integers(0, max(0, len(events) - most)))
        events = events[first : first + most]
    line_end = draw(st.sampled_from(LINE_ENDS))
    blocks = [_block(event, draw(st.integers(0, 4))) for event in events]
    return events, b"".join(block.replace(b"\n", line_end) for block in blocks)


def _block(event: Event, way: int) -> bytes:
    named = b"event: %b\n" % event.type.encode()
    return (
        b"%bdata: %b\n\n" % (named, event.data),
        b"data:%b\n%b\n" % (event.data, named),
        b": data: comment\n%bid: 1\nretry: 5\ndata: %b\n\n" % (named, event.data),
        b"\n\n: keepalive\n\n%bdata: %b\n\n" % (named, event.data),
        # A line end between tokens of the JSON, behind its first bracket.
        b"%bdata: %b\ndata: %b\n\n" % (named, event.data[:1], event.data[1:]),
    )[way]


def _read(decoder: Decoder, chunks: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """The events, without spaces behind their first bracket."""
    came = [read(data) for chunk in chunks for data in decoder.feed(chunk)]
    return [(name(body), b"{" + data[1:].lstrip()) for data, body in came]


def _expected(events: Sequence[Event]) -> list[tuple[str, bytes]]:
    return [(event.type, b"{" + event.data[1:].lstrip()) for event in events]


def _split_once(stream: bytes) -> Iterator[list[bytes]]:
    yield from ([stream[:place], stream[place:]] for place in range(len(stream) + 1))


@given(framed(most=2))
def test_few_events_cut_at_every_byte(sent: Framed) -> None:
    events, stream = sent
    for chunks in _split_once(stream):
        assert _read(SseDecoder(), chunks) == _expected(events)


@given(framed(), st.data())
def test_many_events_cut_anywhere(sent: Framed, data: st.DataObject) -> None:
    events, stream = sent
    assert _read(SseDecoder(), data.draw(cuts(stream))) == _expected(events)


@given(framed())
def test_one_byte_at_a_time(sent: Framed) -> None:
    events, stream = sent
    assert _read(SseDecoder(), [bytes([byte]) for byte in stream]) == _expected(events)


@given(answers(), st.data())
def test_binary_event_stream_cut_anywhere(answer: Answer, data: st.DataObject) -> None:
    stream = b"".join(event_stream.chunk(event.data) for event in answer.events)
    assert _read(EventStreamDecoder(), data.draw(cuts(stream))) == _expected(answer.events)


HALF: Final = st.integers(0xD800, 0xDFFF).map(lambda unit: f"\\u{unit:04x}")


@given(
    st.lists(st.sampled_from(["a", "\\\\", "\\\\ud83d", "\\n", "\\u0000", "\\ud83d\\ude42", "🙂"]) | HALF, max_size=8)
)
def test_halves_of_characters_become_replacements(pieces: list[str]) -> None:
    """Whatever stands before them; what was well-formed stays as it was written."""
    text = "".join(pieces)
    event, _ = read(
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % text.encode()
    )
    ours = json.loads(event)["delta"]["text"]
    theirs = json.loads(f'"{text}"').encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert ours == theirs
    ours.encode()


@st.composite
def cuts(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[begin:end] for begin, end in zip([0, *places], [*places, len(stream)], strict=True)]
