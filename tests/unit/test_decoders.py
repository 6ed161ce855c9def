"""From an upstream's bytes to the JSON of events, however the network cut them."""

from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from app.domain.errors import UpstreamError
from app.providers.anthropic.decoders import Decoder, EventStreamDecoder, SseDecoder
from tests.support import event_stream

STRANGE: Final = '{"type":"a","text":"🙂 e\u0301 \u2028 \u0085 \\r\\n data: x"}'.encode()
EVENTS: Final = [b'{"type":"ping"}', STRANGE, b'{"type":"message_stop"}']
PLAIN: Final = b"".join(b"event: a\ndata: %b\n\n" % event for event in EVENTS)

STREAMS: Final[dict[str, tuple[bytes, list[bytes]]]] = {
    "lf": (PLAIN, EVENTS),
    "crlf": (PLAIN.replace(b"\n", b"\r\n"), EVENTS),
    "cr": (PLAIN.replace(b"\n", b"\r"), EVENTS),
    "mixed": (b"event: a\r\ndata: 1\n\r\ndata: 2\r\r\ndata: 3\n\ndata: 4\r\n\n", [b"1", b"2", b"3", b"4"]),
    "byte-order-mark": (b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [b"1", b"2"]),
    "byte-order-mark-before-a-name": (b"\xef\xbb\xbfevent: a\ndata: 1\n\n", [b"1"]),
    "no-space": (b"event:a\ndata:1\n\ndata:  2\n\n", [b"1", b" 2"]),
    "comments": (b": hello\n\n:\ndata: 1\n: between\n\n: keepalive\n\ndata: 2\n\n", [b"1", b"2"]),
    "other-fields": (b"retry: 5\nid: 7\nevent: a\ndata: 1\ndatum: 2\n data: 3\n\n", [b"1"]),
    "many-blank-lines": (b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n", [b"1", b"2"]),
    "without-data": (b"event: a\n\nid: 1\n\ndata\n\ndata:\n\ndata: 1\n\n", [b"1"]),
    "several-lines": (b'data: {"a":\ndata: 1}\n\n', [b'{"a": 1}']),
    "unfinished": (b"data: 1\n\ndata: 2\n", [b"1"]),
}


def cut_everywhere(stream: bytes) -> Iterator[list[bytes]]:
    yield [stream]
    yield [stream[place : place + 1] for place in range(len(stream))]
    yield from ([stream[:place], stream[place:]] for place in range(1, len(stream)))
    yield from (
        [stream[:place], b"", stream[place : place + 1], stream[place + 1 :]] for place in range(1, len(stream))
    )


def fed(decoder: Decoder, chunks: list[bytes]) -> list[bytes]:
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("name", STREAMS)
def test_server_sent_events_cut_anywhere(name: str) -> None:
    stream, events = STREAMS[name]
    for chunks in cut_everywhere(stream):
        assert fed(SseDecoder(), chunks) == events


@pytest.mark.parametrize("name", ["lf", "crlf", "cr"])
def test_an_event_is_there_with_its_last_byte(name: str) -> None:
    """And not only with the next one."""
    stream, events = STREAMS[name]
    end = 1 if name == "crlf" else 0  # behind a CR there is nothing to wait for
    assert fed(SseDecoder(), [stream[: len(stream) - end]]) == events


def test_event_stream_cut_anywhere() -> None:
    stream = b"".join(event_stream.chunk(event) for event in EVENTS)
    for chunks in cut_everywhere(stream):
        assert fed(EventStreamDecoder(), chunks) == EVENTS


def test_event_stream_events_are_one_line_each() -> None:
    pretty = b'{\n  "type": "ping",\r\n  "a": 1\r}'
    (event,) = EventStreamDecoder().feed(event_stream.chunk(pretty))
    assert b"\n" not in event
    assert b"\r" not in event
    assert msgspec.json.decode(event) == {"type": "ping", "a": 1}


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        ("throttlingException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelTimeoutException", "timeout_error"),
        ("validationException", "invalid_request_error"),
        ("internalServerException", "api_error"),
        ("modelStreamErrorException", "api_error"),
        ("exceptionOfTheFuture", "api_error"),
    ],
)
def test_event_stream_exceptions_become_error_events(exception: str, kind: str) -> None:
    stream = event_stream.chunk(EVENTS[0]) + event_stream.exception(exception)
    first, error = EventStreamDecoder().feed(stream)
    assert first == EVENTS[0]
    told = msgspec.json.decode(error)
    assert (told["type"], told["error"]["type"]) == ("error", kind)
    assert b"123456789012" not in error


def damaged(stream: bytes, place: int) -> bytes:
    return stream[:place] + bytes([stream[place] ^ 1]) + stream[place + 1 :]


NO_EVENT: Final[dict[str, bytes]] = {
    "checksum-of-the-prelude": damaged(event_stream.chunk(EVENTS[0]), 5),
    "checksum": damaged(event_stream.chunk(EVENTS[0]), -1),
    "payload": event_stream.message({":message-type": "event"}, b"{"),
    "no-bytes": event_stream.message({":message-type": "event"}, b"{}"),
    "no-base64": event_stream.message({":message-type": "event"}, b'{"bytes": "?"}'),
    "bytes-of-no-kind": event_stream.message({":message-type": "event"}, b'{"bytes": 5}'),
    "no-utf8": event_stream.message({":message-type": "event"}, b'{"bytes": "\xff"}'),
    "server-sent-events": PLAIN * 3,
}


@pytest.mark.parametrize("name", NO_EVENT)
def test_event_stream_that_is_none(name: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        EventStreamDecoder().feed(NO_EVENT[name])
    assert caught.value.code == "upstream_malformed"
