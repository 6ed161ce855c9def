"""Replay: a recorded trace as it was, or a sentence on why it is none."""

import random
from pathlib import Path

import pytest

from compare.load.arrivals import Turn
from compare.load.trace import TraceError, read

CSV = "at,input_tokens,output_tokens\n12.5,100,20\n10,7,300\n"
JSON = '[{"at": 12.5, "input_tokens": 100, "output_tokens": 20}, {"at": 10, "input_tokens": 7, "output_tokens": 300}]'
TIMES = "at,input_tokens,output_tokens\n2026-11-27T10:00:02.5Z,100,20\n2026-11-27T10:00:00Z,7,300\n"


@pytest.mark.parametrize(("name", "text"), [("a.csv", CSV), ("a.json", JSON), ("b.csv", TIMES)])
def test_arrivals_are_those_of_the_trace_in_their_order(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    replay = read(path)
    found = replay.arrivals(random.Random(1))
    assert [arrival.at for arrival in found] == [0, 2.5]
    assert [arrival.turns for arrival in found] == [(Turn(7, 300),), (Turn(100, 20),)]
    assert replay.told().parameters == {"trace": name, "requests": 2, "speed": 1.0}
    assert [arrival.at for arrival in read(path, speed=5).arrivals(random.Random(1))] == [0, 0.5]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.csv", "at,input_tokens,output_tokens\n"),
        ("empty.json", "[]"),
        ("cut.json", '[{"at": 1'),
        ("other.csv", "when,what\n1,2\n"),
        ("words.csv", "at,input_tokens,output_tokens\nsoon,1,1\n"),
        ("none.csv", "at,input_tokens,output_tokens\n1,0,1\n"),
        ("mixed.json", '[{"at": 1, "input_tokens": 1, "output_tokens": 1}, {"at": "2026-11-27T10:00:00Z"}]'),
        ("binary.csv", "\x00\x00"),
        ("short.csv", "at,input_tokens,output_tokens\n1\n"),
    ],
)
def test_what_is_no_trace_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TraceError, match=name):
        read(path)


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe\x00at")
    with pytest.raises(TraceError, match=r"a\.csv"):
        read(path)
