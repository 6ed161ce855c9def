"""Every dialect tells the same answer. One made-up answer serves all of them: making it up is what takes the time."""

from hypothesis import given

from tests.properties import expected
from tests.properties.answers import Answer, answers
from tests.properties.dialects import CHAT, DIALECTS, RESPONSES, UI
from tests.support.readers.dialects import read
from tests.support.readers.openai import read_response
from tests.support.ui_message import chunks_of, message_of


@given(answers())
def test_text_thoughts_and_calls_come_back(answer: Answer) -> None:
    told = expected.told(answer)
    for dialect in DIALECTS:
        reading, kinds = read(dialect.name, dialect.replay(answer.events)), {"server_calls": dialect.server_calls}
        assert reading.said(**kinds) == told.said(**kinds), dialect.name
        if dialect in (CHAT, RESPONSES) and answer.end == "done":
            assert all(call.text for call in reading.calls()), "clients parse it, also an empty one"


@given(answers())
def test_signatures_come_back(answer: Answer) -> None:
    """Chat Completions has no place for them."""
    for dialect in DIALECTS:
        reading = read(dialect.name, dialect.replay(answer.events))
        if dialect is RESPONSES and answer.end != "done":  # there, what was open is in the response alone
            assert reading.whole is not None
            reading = read_response(reading.whole)
        assert dialect is CHAT or reading.signatures == expected.told(answer).signatures, dialect.name


@given(answers())
def test_the_end_and_the_usage_come_back(answer: Answer) -> None:
    for dialect in DIALECTS:
        reading = read(dialect.name, dialect.replay(answer.events))
        assert reading.end == expected.end(dialect, answer)
        if answer.end == "done":
            assert reading.reason == expected.reason(dialect, answer.stop_reason)
            assert {**reading.usage, **expected.usage(dialect, answer)} == reading.usage
            if dialect in (CHAT, RESPONSES) and answer.explanation:
                assert reading.refusal == answer.explanation


@given(answers())
def test_a_response_in_one_piece_is_the_one_that_was_streamed(answer: Answer) -> None:
    streamed = read(RESPONSES.name, RESPONSES.replay(answer.events))
    assert streamed.whole is not None
    whole = read_response(streamed.whole)
    assert whole.said(server_calls=False) == streamed.said(server_calls=False)
    assert (whole.refusal, whole.end, whole.reason) == (streamed.refusal, streamed.end, streamed.reason)


@given(answers())
def test_the_ai_sdk_takes_every_part(answer: Answer) -> None:
    """Its client throws at what its grammar does not have."""
    message = message_of(chunks_of(UI.replay(answer.events)))
    told = expected.told(answer).parts
    assert message.text == "".join(part.text for part in told if part.kind == "text")
    assert [tool["toolCallId"] for tool in message.tools] == [part.id for part in told if part.id]
