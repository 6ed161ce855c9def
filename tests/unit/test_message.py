"""The fold from events to a message, as tables: deltas in, blocks out, byte for byte."""

import json
from typing import Any

import pytest

from app.domain.events import parse
from app.domain.message import BYTES_PER_TOKEN, MessageFold

Step = bytes


def start(index: int, block: bytes) -> Step:
    return b'{"type":"content_block_start","index":%d,"content_block":%b}' % (index, block)


def delta(index: int, kind: bytes, field: bytes, value: bytes) -> Step:
    return b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b_delta","%b":%b}}' % (
        index,
        kind,
        field,
        value,
    )


def text(index: int, value: bytes) -> Step:
    return delta(index, b"text", b"text", value)


def partial(index: int, piece: str) -> Step:
    return delta(index, b"input_json", b"partial_json", json.dumps(piece).encode())


def stop(index: int) -> Step:
    return b'{"type":"content_block_stop","index":%d}' % index


def fold(*steps: Step) -> MessageFold:
    folded = MessageFold()
    for step in steps:
        folded.apply(parse(step))
    return folded


TEXT = b'{"type":"text","text":""}'
THINKING = b'{"type":"thinking","thinking":"","signature":""}'
TOOL = b'{"type":"tool_use","id":"t1","name":"look","input":{}}'
START = (
    b'{"type":"message_start","message":{"id":"msg_1","model":"m","usage":'
    b'{"input_tokens":7,"cache_read_input_tokens":5,"output_tokens":1}}}'
)


@pytest.mark.parametrize(
    ("steps", "content"),
    [
        pytest.param([], b"[]", id="nothing"),
        pytest.param([start(0, TEXT)], b'[{"type":"text","text":""}]', id="started"),
        pytest.param(
            [start(0, TEXT), text(0, b'"Hel"'), text(0, b'"lo"'), stop(0)],
            b'[{"type":"text","text":"Hello"}]',
            id="text",
        ),
        pytest.param(
            [start(0, TEXT), text(0, rb'"\u00e9\n\"\\"'), text(0, '"é🙂"'.encode()), text(0, rb'"\u0000\/"')],
            '[{"type":"text","text":"\\u00e9\\n\\"\\\\é🙂\\u0000\\/"}]'.encode(),
            id="escapes stay as they came",
        ),
        pytest.param(
            [start(0, b'{"text":"Once ","type":"text","future":1.0}'), text(0, b'"upon"')],
            b'[{"text":"Once upon","type":"text","future":1.0}]',
            id="a start that has text already, fields of the future and their order",
        ),
        pytest.param(
            [
                start(0, THINKING),
                delta(0, b"thinking", b"thinking", rb'"hm\u0021 "'),
                delta(0, b"thinking", b"thinking", b'"so"'),
                delta(0, b"signature", b"signature", rb'"Ab+\/=="'),
                stop(0),
            ],
            rb'[{"type":"thinking","thinking":"hm\u0021 so","signature":"Ab+\/=="}]',
            id="thinking with its signature",
        ),
        pytest.param(
            [start(0, b'{"type":"redacted_thinking","data":"X\\/Y"}'), stop(0)],
            b'[{"type":"redacted_thinking","data":"X\\/Y"}]',
            id="redacted thinking",
        ),
        pytest.param(
            [start(0, TOOL), partial(0, ""), partial(0, '{"wh'), partial(0, 'at": "é\\n"}'), stop(0)],
            '[{"type":"tool_use","id":"t1","name":"look","input":{"what": "é\\n"}}]'.encode(),
            id="tool input in pieces",
        ),
        pytest.param(
            [start(0, TOOL), partial(0, '{"n":1.50,"m":12345678901234567890}'), stop(0)],
            b'[{"type":"tool_use","id":"t1","name":"look","input":{"n":1.50,"m":12345678901234567890}}]',
            id="numbers are not rewritten",
        ),
        pytest.param(
            [start(0, TOOL), partial(0, ""), stop(0)],
            b'[{"type":"tool_use","id":"t1","name":"look","input":{}}]',
            id="a tool without input",
        ),
        pytest.param(
            [start(0, TOOL), partial(0, '{"what": "cut o')],
            b'[{"type":"tool_use","id":"t1","name":"look","input":{}}]',
            id="tool input that was cut is no JSON",
        ),
        pytest.param(
            [
                start(0, b'{"type":"text","text":"","citations":[]}'),
                text(0, b'"As said."'),
                delta(0, b"citations", b"citation", b'{"a": 1}'),
                delta(0, b"citations", b"citation", b'{"b":"\\u00e9"}'),
            ],
            b'[{"type":"text","text":"As said.","citations":[{"a": 1},{"b":"\\u00e9"}]}]',
            id="citations",
        ),
        pytest.param(
            [start(0, TEXT), start(1, TOOL), text(0, b'"a"'), partial(1, "{}"), text(0, b'"b"')],
            b'[{"type":"text","text":"ab"},{"type":"tool_use","id":"t1","name":"look","input":{}}]',
            id="blocks that grow by turns",
        ),
        pytest.param(
            [start(0, b'{"type":"future_block","x":{"y": 1}}'), stop(0), text(9, b'"nowhere"'), stop(8)],
            b'[{"type":"future_block","x":{"y": 1}}]',
            id="blocks of the future and deltas without a block",
        ),
        pytest.param(
            [b'{"type":"ping"}', b'{"type":"future"}', start(0, TEXT), b'{"type":"ping"}', text(0, b'"a"')],
            b'[{"type":"text","text":"a"}]',
            id="pings and unknown events",
        ),
    ],
)
def test_content(steps: list[Step], content: bytes) -> None:
    assert fold(START, *steps).content() == content
    json.loads(content)


SIGNED = [start(0, THINKING), delta(0, b"signature", b"signature", b'"s"'), stop(0)]
SAID = [start(1, TEXT), text(1, b'"Whole."'), stop(1)]
SAYING = [start(2, TEXT), text(2, b'"Half a sen"')]
CALLED = [start(3, TOOL), partial(3, "{}"), stop(3)]


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([], None),
        (SIGNED, None),
        (SAYING, None),
        (CALLED, None),
        ([start(0, TEXT), stop(0)], None),
        (SAID, b'[{"type":"text","text":"Whole."}]'),
        ([*SIGNED, *SAID, *SAYING, *CALLED], b'[{"type":"text","text":"Whole."}]'),
    ],
    ids=["nothing", "thinking", "half a text", "a tool call", "an empty text", "a text", "all of them"],
)
def test_a_conversation_keeps_whole_texts_of_an_unfinished_answer(steps: list[Step], kept: bytes | None) -> None:
    assert fold(START, *steps).kept_content() == kept


def final(usage: bytes, stop_reason: bytes = b'"end_turn"') -> Step:
    return b'{"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":null},"usage":%b}' % (stop_reason, usage)


@pytest.mark.parametrize(
    ("steps", "usage"),
    [
        (
            [START, final(b'{"output_tokens":42}')],
            {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 42},
        ),
        (
            [START, final(b'{"output_tokens":4}'), final(b'{"input_tokens":9,"output_tokens":8}')],
            {"input_tokens": 9, "cache_read_input_tokens": 5, "output_tokens": 8},
        ),
        (
            [START],
            {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 1, "estimated": True},
        ),
        ([], {"output_tokens": 0, "estimated": True}),
        (
            [START, start(0, TEXT), text(0, b'"' + b"a" * (BYTES_PER_TOKEN * 10 + 1) + b'"')],
            {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 11, "estimated": True},
        ),
        (
            [START, start(0, TOOL), partial(0, "x" * BYTES_PER_TOKEN * 3)],
            {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 3, "estimated": True},
        ),
    ],
    ids=["the last count holds", "counts overwrite", "no text", "nothing at all", "text", "tool input"],
)
def test_usage_is_the_upstreams_last_count_or_an_estimate_that_says_so(steps: list[Step], usage: Any) -> None:
    assert json.loads(fold(*steps).usage()) == usage


def test_numbers_of_usage_are_not_rewritten() -> None:
    assert b'"price":1.50' in fold(START, final(b'{"output_tokens":1,"price":1.50}')).usage()


def test_the_whole_answer_has_what_an_answer_without_streaming_has() -> None:
    folded = fold(START, start(0, TEXT), text(0, b'"Hi"'), stop(0), final(b'{"output_tokens":2}'))
    assert json.loads(folded.answer()) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 2},
    }


def test_a_block_stands_whole_whenever_it_is_asked() -> None:
    """However many deltas wait to be put together, of blocks that grow in turn, or of none."""
    folded = fold(start(0, TEXT), start(1, TEXT))
    blocks = [folded.block(0), folded.block(1)]
    expected = [b"", b""]
    for number in range(300):
        index = number // 70 % 2
        folded.apply(parse(text(index, b'"%d,"' % number)))
        folded.apply(parse(text(7, b'"nowhere"')))
        expected[index] += b"%d," % number
        if number % 41 == 0:
            assert [bytes(block.fields()["text"]) for block in blocks if block] == [b'"%b"' % each for each in expected]
    assert json.loads(folded.content()) == [{"type": "text", "text": each.decode()} for each in expected]
    assert json.loads(folded.usage())["output_tokens"] == -(-sum(map(len, expected)) // BYTES_PER_TOKEN)


def test_a_block_that_begins_anew_has_nothing_of_the_one_before() -> None:
    folded = fold(start(0, TEXT), text(0, b'"before"'), start(0, TEXT), text(0, b'"after"'))
    assert folded.content() == b'[{"type":"text","text":"after"}]'


def test_a_refusal_keeps_its_details() -> None:
    step = (
        b'{"type":"message_delta","delta":{"stop_reason":"refusal","stop_sequence":"x","stop_details":{"a": 1}},'
        b'"usage":{}}'
    )
    folded = fold(START, step)
    assert folded.stop_reason == "refusal"
    assert json.loads(folded.answer())["stop_details"] == {"a": 1}
    assert json.loads(folded.answer())["stop_sequence"] == "x"


def test_an_empty_text_is_no_part_of_what_a_conversation_keeps() -> None:
    """The next turn would be refused for it."""
    fold = MessageFold()
    start = b'{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}'
    delta = b'{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}'
    for data in (start % 0, b'{"type":"content_block_stop","index":0}'):
        fold.apply(parse(data))
    assert fold.answer_content() is None
    for data in (start % 1, delta, b'{"type":"content_block_stop","index":1}'):
        fold.apply(parse(data))
    assert fold.answer_content() == b'[{"type":"text","text":"Hi"}]'
    assert fold.content() == b'[{"type":"text","text":""},{"type":"text","text":"Hi"}]'


def test_a_text_block_without_its_text_is_as_an_empty_one() -> None:
    fold = MessageFold()
    fold.apply(parse(b'{"type":"content_block_start","index":0,"content_block":{"type":"text"}}'))
    fold.apply(parse(b'{"type":"content_block_stop","index":0}'))
    assert fold.kept_content() is None
    assert fold.answer_content() is None
