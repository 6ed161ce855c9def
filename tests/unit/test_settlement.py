"""How a completion ends, as one value, and its log in compressed form."""

import json
import tracemalloc
import zlib

import pytest

from app.domain.completion import Status
from app.domain.errors import AppError
from app.domain.events import Event, parse
from app.domain.ids import uuid7
from app.domain.message import MessageFold
from app.streaming.settlement import MESSAGE_STOP, compress, decompress, error_end, settlement

_ID = uuid7()
WORDS = b"caf\xc3\xa9 \\u0000 \\ud83d\\ude42"
TEXT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % WORDS
EVENTS = [
    Event(1, "message_start", b'{"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}'),
    Event(
        2, "content_block_start", b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
    ),
    Event(3, "content_block_delta", TEXT),
]
STOPPED = Event(4, "message_stop", MESSAGE_STOP)


@pytest.mark.parametrize("end_seq", [4, 1_000_003])
def test_a_log_comes_back_byte_for_byte_with_its_end_where_it_was(end_seq: int) -> None:
    events = [*EVENTS, Event(end_seq, "message_stop", MESSAGE_STOP)]
    assert list(decompress(compress(events), end_seq)) == events


def test_a_log_of_an_end_alone_comes_back() -> None:
    end = error_end(17, AppError("Lost."), "req_1")
    assert list(decompress(compress([end]), 17)) == [end]


def test_a_long_log_is_inflated_only_as_far_as_it_is_read() -> None:
    events = [Event(seq, "ping", b'{"type":"ping","pad":"%b"}' % (b"x" * 1000)) for seq in range(1, 20_001)]
    stored = compress(events)
    tracemalloc.start()
    read = decompress(stored, 20_000)
    first = [next(read) for _ in range(1000)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3_000_000  # a tenth of it is there, as bytes and as events
    assert [*first, *read] == events


def test_half_a_log_is_none() -> None:
    stored = compress([*EVENTS, STOPPED])
    with pytest.raises(zlib.error):
        list(decompress(stored[:-8], 4))


def folded(*, complete: bool) -> MessageFold:
    fold = MessageFold()
    for event in EVENTS:
        fold.apply(parse(event.data))
    if complete:
        fold.apply(parse(b'{"type":"content_block_stop","index":0}'))
        fold.apply(parse(b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}'))
    return fold


def test_a_whole_answer_is_kept_whole() -> None:
    fold = folded(complete=True)
    end = settlement(_ID, Status.COMPLETED, EVENTS, STOPPED, fold, "{}", attempts=2, first_event_ms=12.5)
    assert end.error is None
    assert end.stop_reason == "end_turn"
    assert end.content == end.answer == fold.content()
    assert WORDS in fold.content()
    assert json.loads(end.usage) == {"input_tokens": 3, "output_tokens": 9}
    assert list(decompress(end.log, 4)) == [*EVENTS, STOPPED]
    assert (end.attempts, end.first_event_ms, end.end) == (2, 12.5, STOPPED)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.INTERRUPTED])
def test_a_conversation_keeps_only_whole_blocks_of_an_unfinished_answer(status: Status) -> None:
    error = error_end(4, AppError("No.", code="cancelled"), None)
    unfinished = settlement(_ID, status, EVENTS, error, folded(complete=False), "{}", attempts=1, first_event_ms=1)
    assert unfinished.answer is None
    assert unfinished.content == folded(complete=False).content()
    assert unfinished.error == error.data
    assert json.loads(unfinished.usage)["estimated"] is True
    finished_block = settlement(_ID, status, EVENTS, error, folded(complete=True), "{}", attempts=1, first_event_ms=1)
    assert finished_block.answer == finished_block.content


def test_the_terminal_error_names_its_cause() -> None:
    body = json.loads(error_end(4, AppError("No.", code="why"), "req_7").data)
    assert body == {
        "type": "error",
        "error": {"type": "api_error", "message": "No.", "details": {"error_code": "why"}},
        "request_id": "req_7",
    }
    assert "request_id" not in json.loads(error_end(4, AppError("No."), None).data)
