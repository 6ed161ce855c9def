"""The UI message stream: events in, chunks out, read back by a reader as strict as the clients."""

import json
from typing import Any, Final
from uuid import UUID

import pytest

from app.domain.events import Event, error_event
from app.wire.ui_message import Step, UiMessageEncoder
from tests.support.ui_message import Chunk, UiMessage, chunks_of, message_of

ID: Final = UUID("0199f0c0-0000-7000-8000-000000000001")
METADATA: Final = {"completionId": str(ID)}

Body = dict[str, Any]


def start(**usage: int) -> Body:
    message = {"id": "msg_1", "model": "m", "usage": usage or {"input_tokens": 12, "output_tokens": 1}}
    return {"type": "message_start", "message": message}


def block(index: int, **content: Any) -> Body:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **delta: Any) -> Body:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index: int) -> Body:
    return {"type": "content_block_stop", "index": index}


def end(reason: str | None = "end_turn", **usage: int) -> list[Body]:
    counts = usage or {"output_tokens": 5}
    return [{"type": "message_delta", "delta": {"stop_reason": reason}, "usage": counts}, {"type": "message_stop"}]


def text(index: int, *pieces: str) -> list[Body]:
    deltas = [delta(index, type="text_delta", text=piece) for piece in pieces]
    return [block(index, type="text", text=""), *deltas, stop(index)]


def failed(code: str, message: str = "It broke.") -> Body:
    body: Body = json.loads(error_event(type="api_error", message=message, code=code))
    return body


PING: Final = {"type": "ping"}


def log(*bodies: Body) -> list[Event]:
    return [Event(seq, body["type"], json.dumps(body).encode()) for seq, body in enumerate(bodies, 1)]


def encode(*bodies: Body, encoder: UiMessageEncoder | None = None) -> bytes:
    return (encoder or UiMessageEncoder(ID)).encode(log(*bodies))


def chunks(*bodies: Body) -> list[Chunk]:
    return chunks_of(encode(*bodies))


def message(*bodies: Body) -> UiMessage:
    return message_of(chunks(*bodies))


def parts(*bodies: Body) -> list[Chunk]:
    """The chunks of these events alone."""
    return chunks(start(), *bodies)[2:]


def test_a_text_byte_for_byte() -> None:
    frames = encode(start(), PING, *text(0, "Hi", " \U0001f642"), *end()).decode().replace(str(ID), "ID")
    assert frames == (
        'data: {"type":"start","messageId":"ID","messageMetadata":{"completionId":"ID"}}\n\n'
        'id: 1\ndata: {"type":"start-step"}\n\n'
        'id: 3\ndata: {"type":"text-start","id":"t0"}\n\n'
        'id: 4\ndata: {"type":"text-delta","id":"t0","delta":"Hi"}\n\n'
        'id: 5\ndata: {"type":"text-delta","id":"t0","delta":" \\ud83d\\ude42"}\n\n'
        'id: 6\ndata: {"type":"text-end","id":"t0"}\n\n'
        'data: {"type":"finish-step"}\n\n'
        'data: {"type":"finish","finishReason":"stop","messageMetadata":{"completionId":"ID",'
        '"inputTokens":12,"cachedInputTokens":0,"outputTokens":5,"totalTokens":17}}\n\n'
        "id: 8\ndata: [DONE]\n\n"
    )


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool-calls"),
        ("refusal", "content-filter"),
        ("of_the_future", "other"),
        (None, "other"),
    ],
)
def test_finish_reasons(stop_reason: str | None, finish_reason: str) -> None:
    assert message(start(), *end(stop_reason)).finish_reason == finish_reason


def test_usage_is_overwritten_and_added_up() -> None:
    begun = start(input_tokens=10, cache_creation_input_tokens=20, cache_read_input_tokens=30, output_tokens=1)
    metadata = message(begun, *end("end_turn", output_tokens=7)).metadata
    assert metadata == METADATA | {
        "inputTokens": 60,
        "cachedInputTokens": 30,
        "outputTokens": 7,
        "totalTokens": 67,
    }


def test_a_thought_and_its_signature() -> None:
    assert parts(
        block(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Well"),
        delta(0, type="signature_delta", signature="c2ln"),
        stop(0),
    ) == [
        {"type": "reasoning-start", "id": "r0"},
        {"type": "reasoning-delta", "id": "r0", "delta": "Well"},
        {"type": "reasoning-end", "id": "r0", "providerMetadata": {"anthropic": {"signature": "c2ln"}}},
    ]


def test_a_redacted_thought() -> None:
    redacted = {"providerMetadata": {"anthropic": {"redactedData": "eHg="}}}
    assert parts(block(0, type="redacted_thinking", data="eHg="), stop(0)) == [
        {"type": "reasoning-start", "id": "r0", **redacted},
        {"type": "reasoning-end", "id": "r0", **redacted},
    ]


CALL: Final = {"toolCallId": "toolu_1", "toolName": "f"}


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("tool_use", {"dynamic": True}),
        ("server_tool_use", {"dynamic": True, "providerExecuted": True}),
        ("mcp_tool_use", {"dynamic": True, "providerExecuted": True}),
    ],
)
def test_a_tool_call(kind: str, flags: dict[str, bool]) -> None:
    pieces = [
        delta(0, type="input_json_delta", partial_json=piece) for piece in ("", '{"a":\n', "12345678901234567890.10}")
    ]
    found = parts(block(0, type=kind, id="toolu_1", name="f", input={}), *pieces[:2])
    assert found == [
        {"type": "tool-input-start", **CALL, **flags},
        {"type": "tool-input-delta", "toolCallId": "toolu_1", "inputTextDelta": '{"a":\n'},
    ]
    whole = encode(start(), block(0, type=kind, id="toolu_1", name="f", input={}), *pieces, stop(0)).decode()
    assert '"input":{"a": 12345678901234567890.10}' in whole


@pytest.mark.parametrize(
    ("given", "written", "input"),
    [({}, "", {}), ({"a": 1}, "", {"a": 1}), ({}, '{"a": [1, 2]}', {"a": [1, 2]})],
)
def test_tool_input(given: Body, written: str, input: Body) -> None:
    *_, last = parts(
        block(0, type="tool_use", id="toolu_1", name="f", input=given),
        delta(0, type="input_json_delta", partial_json=written),
        stop(0),
    )
    assert last == {"type": "tool-input-available", **CALL, "input": input, "dynamic": True}


def test_tool_input_that_max_tokens_cut_off() -> None:
    *_, last = parts(
        block(0, type="tool_use", id="toolu_1", name="f", input={}),
        delta(0, type="input_json_delta", partial_json='{"a": "b'),
        stop(0),
    )
    cut = {"input": '{"a": "b', "errorText": "The tool's input is cut off."}
    assert last == {"type": "tool-input-error", **CALL, **cut, "dynamic": True}


SERVER_CALL: Final = [block(0, type="server_tool_use", id="srv_1", name="web_search", input={"query": "q"}), stop(0)]


def test_the_result_of_a_web_search_and_its_sources() -> None:
    results = [
        {"type": "web_search_result", "url": "https://a.example", "title": "A", "page_age": "1 day"},
        {"type": "web_search_result", "url": "https://b.example", "title": None},
    ]
    result = block(1, type="web_search_tool_result", tool_use_id="srv_1", content=results)
    found = parts(*SERVER_CALL, result, stop(1))
    flags = {"dynamic": True, "providerExecuted": True}
    assert found[2:] == [
        {"type": "tool-output-available", "toolCallId": "srv_1", "output": results, **flags},
        {
            "type": "source-url",
            "sourceId": "s1",
            "url": "https://a.example",
            "title": "A",
            "providerMetadata": {"anthropic": {"pageAge": "1 day"}},
        },
        {
            "type": "source-url",
            "sourceId": "s2",
            "url": "https://b.example",
            "providerMetadata": {"anthropic": {"pageAge": None}},
        },
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "error"),
    [
        (
            "web_search_tool_result",
            {"content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}},
            "unavailable",
        ),
        ("mcp_tool_result", {"is_error": True, "content": [{"type": "text", "text": "no"}]}, "no"),
        ("bash_code_execution_tool_result", {"content": {"type": "some_error"}}, "some_error"),
    ],
)
def test_the_failure_of_an_upstreams_tool(kind: str, fields: Body, error: str) -> None:
    last = parts(*SERVER_CALL, block(1, type=kind, tool_use_id="srv_1", **fields), stop(1))[-1]
    assert (last["type"], last["errorText"]) == ("tool-output-error", error)


def test_a_result_whose_call_stands_in_an_earlier_message() -> None:
    found = message(start(), block(0, type="web_fetch_tool_result", tool_use_id="srv_9", content={"x": 1}), *end())
    [tool] = found.tools
    assert (tool["toolName"], tool["state"], tool["output"]) == ("web_fetch", "output-available", {"x": 1})
    assert tool["providerExecuted"]


@pytest.mark.parametrize(
    ("citation", "source"),
    [
        (
            {
                "type": "web_search_result_location",
                "url": "https://a.example",
                "title": "A",
                "cited_text": "c",
                "encrypted_index": "e",
            },
            {
                "type": "source-url",
                "url": "https://a.example",
                "title": "A",
                "providerMetadata": {"anthropic": {"citedText": "c", "encryptedIndex": "e"}},
            },
        ),
        (
            {
                "type": "char_location",
                "document_index": 0,
                "document_title": None,
                "cited_text": "c",
                "start_char_index": 0,
                "end_char_index": 1,
            },
            {
                "type": "source-document",
                "mediaType": "text/plain",
                "title": "Document 1",
                "providerMetadata": {"anthropic": {"citedText": "c", "startCharIndex": 0, "endCharIndex": 1}},
            },
        ),
        (
            {"type": "page_location", "document_index": 2, "document_title": "D", "start_page_number": 3},
            {
                "type": "source-document",
                "mediaType": "application/pdf",
                "title": "D",
                "providerMetadata": {"anthropic": {"startPageNumber": 3}},
            },
        ),
        (
            {"type": "search_result_location", "source": "https://s.example", "title": "S"},
            {"type": "source-url", "url": "https://s.example", "title": "S"},
        ),
        (
            {"type": "search_result_location", "source": "shelf 3", "title": None},
            {"type": "source-document", "mediaType": "text/plain", "title": "shelf 3"},
        ),
        ({"type": "of_the_future"}, {"type": "source-document", "mediaType": "text/plain", "title": "Document"}),
    ],
)
def test_citations(citation: Body, source: Body) -> None:
    found = parts(block(0, type="text", text="", citations=[]), delta(0, type="citations_delta", citation=citation))
    assert found[1:] == [source | {"sourceId": "s1"}]


def test_what_is_unknown_is_passed_on_but_not_kept() -> None:
    event = {"type": "of_the_future", "x": 1}
    unknown_block = {"type": "future_block", "y": [2]}
    unknown_delta = delta(0, type="future_delta")
    found = message(event, start(), block(0, **unknown_block), unknown_delta, event, stop(0), *text(1, "Hi"), *end())
    assert found.transient == [event, unknown_block, unknown_delta, event]
    assert found.text == "Hi"
    assert [part["type"] for part in found.parts] == ["step-start", "text"]


@pytest.mark.parametrize(
    "stray",
    [
        delta(0, type="text_delta", text="x"),
        delta(0, type="thinking_delta", thinking="x"),
        delta(0, type="input_json_delta", partial_json="x"),
        delta(0, type="citations_delta", citation={"type": "char_location"}),
        stop(0),
    ],
)
def test_nothing_is_said_of_what_was_not_started(stray: Body) -> None:
    assert parts(stray) == []


@pytest.mark.parametrize("kind", ["text", "thinking", "tool_use"])
def test_deltas_of_another_kind_are_left_out(kind: str) -> None:
    opened = block(0, type=kind, id="toolu_1", name="f")
    all_kinds = [
        delta(0, type="text_delta", text="x"),
        delta(0, type="thinking_delta", thinking="x"),
        delta(0, type="signature_delta", signature="x"),
        delta(0, type="input_json_delta", partial_json="{}"),
    ]
    assert message(start(), opened, *all_kinds, stop(0), *end()).finish_reason == "stop"


# -- how it ends

OPEN: Final = [
    start(),
    block(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="Well"),
    *text(1, "Hi"),
    block(2, type="text", text=""),
    delta(2, type="text_delta", text="So"),
    block(3, type="tool_use", id="toolu_1", name="f", input={}),
    delta(3, type="input_json_delta", partial_json='{"a'),
]


@pytest.mark.parametrize("length", range(len(OPEN) + 1))
@pytest.mark.parametrize("code", ["cancelled", "interrupted", "upstream_truncated"])
def test_a_cut_closes_what_is_open(length: int, code: str) -> None:
    begun = OPEN[:length]
    found = message(*begun, failed(code))
    assert found.id == str(ID)
    assert all(part["state"] == "done" for part in found.parts if part["type"] in ("text", "reasoning"))
    assert (found.aborted, found.finish_reason, found.error) == {
        "cancelled": (True, None, None),
        "interrupted": (False, "interrupted", None),
        "upstream_truncated": (False, None, "It broke."),
    }[code]
    # A tool call that counts as answered would be sent back by a page that has just been stopped.
    state = "input-streaming" if code == "cancelled" else "output-error"
    assert all(tool["state"] == state for tool in found.tools)


def test_an_error_in_anothers_words() -> None:
    found = message({"type": "error", "error": {"type": "overloaded_error", "message": ""}})
    assert found.error == "The answer ended with an error."


@pytest.mark.parametrize("length", range(len(OPEN) + 1))
def test_a_message_that_stops_with_open_parts_closes_them(length: int) -> None:
    assert message(*OPEN[:length], *end()).finish_reason == "stop"


def test_an_index_that_is_taken_again() -> None:
    found = message(start(), block(0, type="text", text="a"), block(0, type="text", text="b"), stop(0), *end())
    assert [part["text"] for part in found.parts[1:]] == ["a", "b"]


# -- resuming

WHOLE: Final = [
    start(),
    PING,
    block(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="Well \u2028 data: x\r\n"),
    delta(0, type="signature_delta", signature="c2ln"),
    stop(0),
    {"type": "of_the_future"},
    *text(1, "Hi", " e\u0301\r\n\n", "\U0001f642", "data: [DONE]\n\n", "\x00\x85\ufeff"),
    *SERVER_CALL,
    block(4, type="web_search_tool_result", tool_use_id="srv_1", content=[{"url": "https://a.example"}]),
    stop(4),
    block(5, type="text", text="", citations=[]),
    delta(5, type="citations_delta", citation={"type": "char_location", "document_index": 0}),
    stop(5),
    block(6, type="tool_use", id="toolu_1", name="f", input={}),
    delta(6, type="input_json_delta", partial_json='{"a"'),
    delta(6, type="input_json_delta", partial_json=": 1}"),
    stop(6),
    *end("tool_use"),
]


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_head_and_tail_are_the_whole(cut: int) -> None:
    events = log(*WHOLE)
    whole = UiMessageEncoder(ID).encode(events)
    tail = UiMessageEncoder(ID)
    tail.skip(events[:cut])
    assert UiMessageEncoder(ID).encode(events[:cut]) + tail.encode(events[cut:]) == whole


def test_batches_make_no_difference() -> None:
    one_by_one = UiMessageEncoder(ID)
    assert b"".join(one_by_one.encode([event]) for event in log(*WHOLE)) == encode(*WHOLE)


def test_only_the_last_frame_of_an_event_has_its_position() -> None:
    ids = [line for line in encode(*WHOLE).decode().split("\n") if line.startswith("id: ")]
    assert len(ids) == len(set(ids))
    frames = encode(*WHOLE).split(b"\n\n")
    assert frames[-2].startswith(b"id: %d\ndata: [DONE]" % len(WHOLE))


def test_text_survives() -> None:
    found = message(*WHOLE)
    assert found.text == "Hi e\u0301\r\n\n\U0001f642data: [DONE]\n\n\x00\x85\ufeff"
    assert found.reasoning[0]["text"] == "Well \u2028 data: x\r\n"
    assert found.tools[1]["input"] == {"a": 1}


# -- a message that goes on after the client's tools have run

ANSWER: Final = json.dumps(
    [
        {"type": "thinking", "thinking": "Well", "signature": "c2ln"},
        {"type": "text", "text": "I ask.", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
        {"type": "tool_use", "id": "toolu_3", "name": "f", "input": {}},
        {"type": "tool_use", "id": "toolu_4", "name": "f", "input": {}},
    ]
).encode()
RESULTS: Final = json.dumps(
    [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_3", "content": '{"c": 21}'},
        {"type": "tool_result", "tool_use_id": "toolu_4", "content": [{"type": "text", "text": "[not JSON"}]},
        {"type": "tool_result", "tool_use_id": "toolu_of_another", "content": "x"},
    ]
).encode()


def test_a_replay_begins_with_the_earlier_steps() -> None:
    encoder = UiMessageEncoder(ID, before=[Step(ANSWER, RESULTS, "the-first")])
    found = message_of(chunks_of(encode(start(), *text(0, "It is sunny."), *end(), encoder=encoder)))
    assert found.id == "the-first"
    assert found.metadata["completionId"] == str(ID)
    assert [part["type"] for part in found.parts] == [
        "step-start",
        "reasoning",
        "text",
        *["dynamic-tool"] * 4,
        "step-start",
        "text",
    ]
    assert found.reasoning[0]["providerMetadata"] == {"anthropic": {"signature": "c2ln"}}
    assert [(tool["state"], tool.get("output"), tool.get("errorText")) for tool in found.tools] == [
        ("output-available", "sunny", None),
        ("output-error", None, "no"),
        ("output-available", {"c": 21}, None),
        ("output-available", "[not JSON", None),
    ]
    assert found.text == "I ask.It is sunny."


def test_the_client_may_have_another_name_for_it() -> None:
    encoder = UiMessageEncoder(ID, message_id="theirs", before=[Step(b'"I ask."', b'"no blocks"', "the-first")])
    found = message_of(chunks_of(encode(start(), *end(), encoder=encoder)))
    assert (found.id, found.text) == ("theirs", "I ask.")
