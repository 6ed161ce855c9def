"""Canonical events: looking inside, repairing strings, and the stored form."""

import json

import msgspec
import pytest

from app.domain import events
from app.domain.events import (
    CitationsDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    InputJsonDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UnknownEvent,
    error_event,
    join,
    name,
    parse,
    split,
    well_formed,
)

KNOWN: list[tuple[bytes, type[object]]] = [
    (b'{"type":"message_start","message":{"id":"m","future":[1]}}', MessageStart),
    (b'{"type":"content_block_start","index":0,"content_block":{"type":"future"}}', ContentBlockStart),
    (b'{"index":0,"delta":{"text":"a","type":"text_delta"},"type":"content_block_delta"}', ContentBlockDelta),
    (b'{"type":"content_block_stop","index":3}', ContentBlockStop),
    (b'{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":1}}', MessageDelta),
    (b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{}}', MessageStop),
    (b'{"type": "ping"}', Ping),
    (b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}', Error),
]


@pytest.mark.parametrize(("data", "kind"), KNOWN, ids=[kind.__name__ for _, kind in KNOWN])
def test_each_known_event_is_read_whatever_else_it_says(data: bytes, kind: type[object]) -> None:
    body = parse(data)
    assert type(body) is kind
    assert name(body) == json.loads(data)["type"]


@pytest.mark.parametrize(
    ("delta", "kind"),
    [
        (b'{"type":"text_delta","text":"a"}', TextDelta),
        (b'{"type":"thinking_delta","thinking":"a"}', ThinkingDelta),
        (b'{"type":"signature_delta","signature":"a"}', SignatureDelta),
        (b'{"type":"input_json_delta","partial_json":"{"}', InputJsonDelta),
        (b'{"type":"citations_delta","citation":{}}', CitationsDelta),
    ],
)
def test_each_known_delta_is_read(delta: bytes, kind: type[object]) -> None:
    body = parse(b'{"type":"content_block_delta","index":1,"delta":%b}' % delta)
    assert isinstance(body, ContentBlockDelta)
    assert type(body.delta) is kind


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"future_event","x":1}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"future_delta"}}',
        b'{"type":"content_block_stop"}',
    ],
)
def test_what_is_not_known_yet_is_told_by_its_name(data: bytes) -> None:
    body = parse(data)
    assert body == UnknownEvent(json.loads(data)["type"])
    assert name(body) == json.loads(data)["type"]


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'{"x":1}', b'{"type":1}', b"null", b'{"type":"ping"'])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        parse(data)


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        (rb'"plain"', rb'"plain"'),
        ('"grüße 🙂"'.encode(), '"grüße 🙂"'.encode()),
        (rb'"\ud83d\ude42"', rb'"\ud83d\ude42"'),
        (rb'"\uD83D\uDE42"', rb'"\uD83D\uDE42"'),
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\ude42"', rb'"\ufffd"'),
        (rb'"\ud83d\ud83d\ude42"', rb'"\ufffd\ud83d\ude42"'),
        (rb'"\ude42\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83dx\ude42"', rb'"\ufffdx\ufffd"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\\\\ud83d\\"', rb'"\\\\ud83d\\"'),
        (rb'"\u0000\u001f\ud7ff\ue000"', rb'"\u0000\u001f\ud7ff\ue000"'),
        ('"ü \\ud83d"'.encode(), '"ü \\ufffd"'.encode()),
    ],
)
def test_half_a_surrogate_pair_is_replaced_and_nothing_else(came: bytes, kept: bytes) -> None:
    assert well_formed(came) == kept
    json.loads(kept).encode()


@pytest.mark.parametrize("data", [b'"\xff"', b'"\xf0\x9f"', b'"\xed\xa0\xbd"'])
def test_what_is_not_utf8_is_refused(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        well_formed(data)


def test_the_stored_form_gives_back_every_event() -> None:
    kept = [Event(5, "ping", b'{"type":"ping"}'), Event(6, "future", b'{"a":"\\n\xc3\xa9","type":"future"}')]
    assert split(join(kept), 5) == kept
    assert join(kept).count(b"\n") == 1


def test_our_own_errors_read_as_events() -> None:
    body = parse(error_event(type="api_error", message='Say "no".\n', code="why", request_id="req_1"))
    assert isinstance(body, events.Error)
    assert body.error.message == 'Say "no".\n'
    assert body.error.details is not None
    assert body.error.details.error_code == "why"
    assert b"\n" not in error_event(type="api_error", message="a\nb", code="c")
