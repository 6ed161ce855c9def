"""The head that one reader had and the tail that another asks for are the whole stream, byte for byte."""

import re
from itertools import product
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from app.wire.openai_responses import OpenAIResponsesEncoder
from tests.properties.answers import FAR_OFF, Answer, answers
from tests.properties.dialects import DIALECTS, HEAD, RESPONSES
from tests.support.readers.dialects import read
from tests.support.sse import SentEvent, last_event_id, sent_events, whole_frames

_ID: Final = re.compile(rb"^id: (\d+)$", re.MULTILINE)


@given(answers())
def test_positions_rise_and_the_last_is_the_ends(answer: Answer) -> None:
    for dialect in DIALECTS:
        positions = [int(id) for id in _ID.findall(dialect.replay(answer.events))]
        assert positions == sorted(set(positions)), dialect.name
        assert positions[-1] == answer.events[-1].seq, dialect.name


@given(answers())
def test_reading_on_after_any_event(answer: Answer) -> None:
    for dialect, position in product(DIALECTS, answer.positions):
        head = dialect.replay([event for event in answer.events if event.seq <= position]) if position else b""
        tail = dialect.replay(answer.events, after=position)
        assert head + tail == dialect.replay(answer.events), (dialect.name, position)


@given(answers(max_blocks=2), st.data())
def test_reading_on_after_a_cut_inside_a_frame(answer: Answer, data: st.DataObject) -> None:
    """A client keeps whole frames only, and asks for what comes after the last position that one of them had.

    What it gets twice are frames that came without a position: they say nothing that a client would put together.
    """
    for dialect in DIALECTS:
        whole = dialect.replay(answer.events)
        for cut in data.draw(st.lists(st.integers(0, len(whole)), max_size=12)):
            had = b"".join(whole_frames(whole[:cut]))
            tail = dialect.replay(answer.events, after=last_event_id(had))
            begins = len(whole) - len(tail)
            assert begins <= len(had)
            assert whole[:begins] + tail == whole, dialect.name
            if dialect is not RESPONSES:  # there, every frame has a number
                assert not read(dialect.name, had[begins:]).parts, dialect.name


def _numbers(events: list[SentEvent]) -> list[int]:
    return [event.data["sequence_number"] for event in events]


@given(answers())
def test_responses_read_on_after_any_number(answer: Answer) -> None:
    whole = RESPONSES.replay(answer.events)
    numbers = _numbers(sent_events(whole))
    assert numbers == list(range(len(numbers)))
    frames = whole_frames(whole)
    for number in numbers[:-1]:
        encoder = OpenAIResponsesEncoder(HEAD, starting_after=number)
        assert encoder.begin() + encoder.encode(answer.events) == b"".join(frames[number + 1 :])


@given(answers(ends=st.just(FAR_OFF)), st.integers(0, 50))
def test_a_response_whose_events_were_lost_ends_behind_them(answer: Answer, lost: int) -> None:
    """The reader has seen as much as was stored, or more: all that it gets is the end, under the next number."""
    *_, last, end = [-1, *_numbers(sent_events(RESPONSES.replay(answer.events)))]
    encoder = OpenAIResponsesEncoder(HEAD, starting_after=last + lost)
    tail = sent_events(encoder.begin() + encoder.encode(answer.events))
    assert _numbers(tail) == [end + lost]


@given(answers(), st.integers(0, 50))
def test_nothing_comes_after_the_number_of_the_end(answer: Answer, beyond: int) -> None:
    """Unless events were lost: then that number may have been another event's."""
    numbers = _numbers(sent_events(RESPONSES.replay(answer.events)))
    encoder = OpenAIResponsesEncoder(HEAD, starting_after=numbers[-1] + beyond)
    tail = encoder.begin() + encoder.encode(answer.events)
    assert (tail == b"") == (answer.events[-1].seq == len(answer.events))
