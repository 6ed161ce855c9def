"""What the load reads in bytes that other servers send; Headwater's own are in test_compare_dialects.py."""

import pytest

from compare.load.answer import Answer
from compare.load.dialects import DIALECTS

PLAIN = b'id: 1\ndata: {"text":"a"}\n\nid: 2\ndata: {"text":"b"}\n\ndata: [DONE]\n\n'


def answer() -> Answer:
    found = Answer(DIALECTS["plain"], lambda _: None)
    found.begin(0, {})
    return found


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_lines_may_end_either_way(ends: bytes, size: int) -> None:
    found, body = answer(), PLAIN.replace(b"\n", ends)
    for at in range(0, len(body), size):
        found.feed(float(at), body[at : at + size])
    assert (found.tokens, found.ended, found.last_event_id) == (2, "whole", "2")
    assert found.bytes == len(body)


@pytest.mark.parametrize(("dur", "told"), [("5", 5.0), ("5.25", 5.25), ("1.2.3", 1.2), (".", None)])
def test_a_strange_duration_ends_no_run(dur: str, told: float | None) -> None:
    found = answer()
    found.timing = f"upstream;dur={dur}"
    assert found.upstream_ms == told
