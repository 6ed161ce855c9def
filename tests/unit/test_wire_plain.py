"""Canonical events in the plain dialect, as tables of events and bytes."""

from typing import Final

import pytest

from app.domain.events import Event
from app.wire.plain import PlainEncoder

DELTA: Final = b'{"type":"content_block_delta","index":1,"delta":%b}'

TABLE: Final[dict[str, tuple[bytes, bytes]]] = {
    "start": (
        b'{"type":"message_start","message":{"id":"msg_1","model":"m","role":"assistant","usage":{"input_tokens":3}}}',
        b'event: start\ndata: {"id":"msg_1","model":"m","usage":{"input_tokens":3}}',
    ),
    "text": (DELTA % b'{"type":"text_delta","text":"Hel"}', b'data: {"text": "Hel"}'),
    "text-of-nothing": (DELTA % b'{"type":"text_delta","text":""}', b'data: {"text": ""}'),
    "emoji": (DELTA % '{"type":"text_delta","text":"🙂"}'.encode(), 'data: {"text": "🙂"}'.encode()),
    "escaped-emoji": (DELTA % rb'{"type":"text_delta","text":"\ud83d\ude42"}', rb'data: {"text": "\ud83d\ude42"}'),
    "combining": (DELTA % '{"type":"text_delta","text":"\u0301"}'.encode(), 'data: {"text": "\u0301"}'.encode()),
    "line-separator": (
        DELTA % '{"type":"text_delta","text":"\u2028\u2029\u0085"}'.encode(),
        'data: {"text": "\u2028\u2029\u0085"}'.encode(),
    ),
    "line-ends": (
        DELTA % rb'{"type":"text_delta","text":"a\r\nb\n\ndata: [DONE]"}',
        rb'data: {"text": "a\r\nb\n\ndata: [DONE]"}',
    ),
    "quotes": (DELTA % rb'{"type":"text_delta","text":"\"\\\u0000"}', rb'data: {"text": "\"\\\u0000"}'),
    "thinking": (
        DELTA % b'{"type":"thinking_delta","thinking":"Hm"}',
        b'event: thinking\ndata: {"thinking": "Hm"}',
    ),
    "signature": (
        DELTA % b'{"type":"signature_delta","signature":"a+/="}',
        b'event: signature\ndata: {"index":1,"signature":"a+/="}',
    ),
    "tool-input": (
        DELTA % rb'{"type":"input_json_delta","partial_json":"{\"a\":"}',
        rb"event: tool_input" + b"\n" + rb'data: {"index":1,"partial_json":"{\"a\":"}',
    ),
    "citation": (
        DELTA % b'{"type":"citations_delta","citation":{"type":"char_location","start":1.50}}',
        b'event: citation\ndata: {"index":1,"citation":{"type":"char_location","start":1.50}}',
    ),
    "text-begins": (b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}', b""),
    "thinking-begins": (
        b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
        b"",
    ),
    "text-begins-with-some": (
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hel"}}',
        b'data: {"text": "Hel"}',
    ),
    "thinking-begins-with-some": (
        b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"Hm","signature":""}}',
        b'event: thinking\ndata: {"thinking": "Hm"}',
    ),
    "tool-begins": (
        b'{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}',
        b'event: content_block\ndata: {"index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}',
    ),
    "unknown-block-begins": (
        b'{"type":"content_block_start","index":2,"content_block":{"type":"future","a":{"b":1}}}',
        b'event: content_block\ndata: {"index":2,"content_block":{"type":"future","a":{"b":1}}}',
    ),
    "block-ends": (b'{"type":"content_block_stop","index":0}', b""),
    "ping": (b'{"type":"ping"}', b""),
    "usage": (
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}',
        b'event: usage\ndata: {"stop_reason":"end_turn","usage":{"output_tokens":5}}',
    ),
    "end": (b'{"type":"message_stop"}', b"data: [DONE]"),
    "own-error": (
        b'{"type":"error","error":{"type":"timeout_error","message":"Late.","details":{"error_code":"upstream_timeout"}}}',
        b'event: error\ndata: {"error":{"type":"timeout_error","code":"upstream_timeout","message":"Late."}}',
    ),
    "foreign-error": (
        b'{"type":"error","error":{"type":"overloaded_error","message":"Busy."}}',
        b'event: error\ndata: {"error":{"type":"overloaded_error","code":"overloaded_error","message":"Busy."}}',
    ),
    "unknown-event": (
        b'{"type":"future_event","a":[1,{"b":"\\n"}]}',
        b'event: event\ndata: {"event":{"type":"future_event","a":[1,{"b":"\\n"}]}}',
    ),
    "unknown-delta": (
        DELTA % b'{"type":"future_delta","a":1}',
        b'event: event\ndata: {"event":{"type":"content_block_delta","index":1,"delta":{"type":"future_delta","a":1}}}',
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_one_event(name: str) -> None:
    data, frame = TABLE[name]
    expected = b"id: 7\n" + frame + b"\n\n" if frame else b""
    assert PlainEncoder().encode([Event(7, "any", data)]) == expected


def test_a_batch_is_its_events_in_order() -> None:
    events = [Event(seq, "any", data) for seq, (data, _) in enumerate(TABLE.values(), 1)]
    single = b"".join(PlainEncoder().encode([event]) for event in events)
    assert PlainEncoder().encode(events) == single
    resumed = PlainEncoder()
    resumed.skip(events[:5])
    assert PlainEncoder().encode(events[:5]) + resumed.encode(events[5:]) == single


@pytest.mark.parametrize("name", TABLE)
def test_each_frame_is_whole(name: str) -> None:
    """No value ends a line, or the frame, before its time: bytes are split as a browser splits them."""
    frame = PlainEncoder().encode([Event(7, "any", TABLE[name][0])])
    assert b"\r" not in frame
    assert frame.count(b"\n\n") == (1 if frame else 0)
    assert frame.endswith(b"\n\n") or not frame


def test_nothing_of_nothing() -> None:
    assert PlainEncoder().encode([]) == b""
