"""What a function's answer is as an HTTP response: whole, and streamed behind a prelude."""

import base64
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.aws_lambda.replies import BadReply, Head, read_head, whole

PRELUDE = json.dumps({"statusCode": 201, "headers": {"content-type": "text/event-stream"}, "cookies": ["a=1", "b=2"]})
STREAM = PRELUDE.encode() + b"\0" * 8 + b"data: 1\n\n\0\0 more"
HEAD = Head(201, [("content-type", "text/event-stream"), ("set-cookie", "a=1"), ("set-cookie", "b=2")])


async def _in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
async def test_a_prelude_may_come_in_any_pieces(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = _in_pieces(*(STREAM[start:end] for start, end in pairwise(ends)))
    head, first = await read_head(pieces)
    rest = b"".join([piece async for piece in pieces])
    assert (head, first + rest) == (HEAD, b"data: 1\n\n\0\0 more")


@pytest.mark.parametrize("stream", [b"", b"data: 1\n\n", PRELUDE.encode(), b"no JSON" + b"\0" * 8, b"[]" + b"\0" * 8])
async def test_what_has_no_prelude_is_no_response(stream: bytes) -> None:
    with pytest.raises(BadReply):
        await read_head(_in_pieces(stream))


@pytest.mark.parametrize(
    ("reply", "head", "body"),
    [
        ({"statusCode": 204}, Head(204, []), b""),
        ({"statusCode": "200", "body": "größer"}, Head(200, []), "größer".encode()),
        ({"body": base64.b64encode(b"\0\xff").decode(), "isBase64Encoded": True}, Head(200, []), b"\0\xff"),
        (
            {"statusCode": 200, "headers": {"x": "1", "Content-Length": "9"}, "multiValueHeaders": {"y": ["2", "3"]}},
            Head(200, [("x", "1"), ("y", "2"), ("y", "3")]),
            b"",
        ),
    ],
)
def test_a_whole_answer(reply: Any, head: Head, body: bytes) -> None:
    assert whole(json.dumps(reply).encode(), inferred=False) == (head, body)


def test_only_some_front_doors_take_anything_for_a_body() -> None:
    payload = b'{"status": "done"}'
    assert whole(payload, inferred=True) == (Head(200, [("content-type", "application/json")]), payload)
    for wrong in (b"[]", b"3", b"no JSON", b'{"statusCode": "x"}'):
        with pytest.raises(BadReply):
            whole(wrong, inferred=False)
