"""Chat Completions as a fold: events in, bytes out, from any position."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import (
    AppError,
    Conflict,
    Gone,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UpstreamError,
    UpstreamTimeout,
)
from app.domain.events import Error, Event, error_event, parse
from app.domain.message import MessageFold
from app.streaming.generation import Cancelled, Interrupted
from app.wire import openai_errors
from app.wire.openai_chat import OpenAIChatEncoder
from app.wire.openai_chat_answer import chat_completion

Json = dict[str, Any]

ID = UUID("01a200d2-01c1-7501-abe2-664dc3705277")
CREATED = 1795310092
DONE = "[DONE]"

USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 4,
    "output_tokens": 1,
}


def start() -> Json:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": USAGE}}


def block(index: int, content_block: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content_block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[Json]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def thought(index: int) -> list[Json]:
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Let me"},
        {"type": "thinking_delta", "thinking": " see."},
        {"type": "signature_delta", "signature": "c2ln"},
    )


def tool(index: int, id: str, *pieces: str, type: str = "tool_use") -> list[Json]:
    return block(
        index,
        {"type": type, "id": id, "name": "get_weather", "input": {}},
        *({"type": "input_json_delta", "partial_json": piece} for piece in pieces),
    )


def end(stop_reason: str | None = "end_turn", **delta: Any) -> list[Json]:
    usage = {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}}
    return [
        {"type": "message_delta", "delta": {"stop_reason": stop_reason, **delta}, "usage": usage},
        {"type": "message_stop"},
    ]


def events(*datas: Json) -> list[Event]:
    return [
        Event(seq, data["type"], json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
        for seq, data in enumerate(datas, 1)
    ]


def encoded(log: Sequence[Event], **options: bool) -> bytes:
    return OpenAIChatEncoder(ID, **options).encode(log)


def chunks(stream: bytes) -> list[Any]:
    """The data of all frames; `[DONE]` as it is."""
    found = []
    for frame in stream.decode().removesuffix("\n\n").split("\n\n"):
        data = frame.removeprefix("id: ").split("data: ", 1)[1]
        found.append(data if data == DONE else json.loads(data))
    return found


def deltas(stream: bytes) -> list[Any]:
    """The delta of each chunk that has one, but for the role's."""
    told = [chunk["choices"][0] for chunk in chunks(stream) if chunk != DONE and chunk.get("choices")]
    return [choice["delta"] for choice in told[1:] if choice["finish_reason"] is None]


def fold(log: Sequence[Event]) -> MessageFold:
    folded = MessageFold()
    for event in log:
        folded.apply(parse(event.data))
    return folded


PING = {"type": "ping"}
FUTURE = {"type": "future_event", "payload": 1}
FUTURE_DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "future_delta", "text": "no"}}
WEB = {"type": "web_search_result_location", "url": "https://r.example/", "title": "River", "cited_text": "wet"}
PAGE = {"type": "page_location", "cited_text": "wet", "document_index": 0}

LOGS: dict[str, list[Event]] = {
    "text": events(start(), *text(0, "Hel", "lo"), *end()),
    "nothing": events(start(), *end()),
    "tools": events(
        start(),
        *text(0, "I ask."),
        *tool(1, "toolu_1", "", '{"city":', ' "Paris"}'),
        *tool(2, "toolu_2", ""),
        *end("tool_use"),
    ),
    "thoughts": events(
        start(), *thought(0), *block(1, {"type": "redacted_thinking", "data": "eA=="}), *text(2, "So."), *end()
    ),
    "server tools": events(
        start(),
        *tool(0, "srvtoolu_1", '{"query":"x"}', type="server_tool_use"),
        *block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
        *text(2, "Found."),
        *tool(3, "toolu_1", "{}"),
        *end("tool_use"),
    ),
    "citations": events(
        start(),
        *text(0, "So: "),
        *block(
            1,
            {"type": "text", "text": "", "citations": []},
            {"type": "citations_delta", "citation": WEB},
            {"type": "text_delta", "text": "it is wet 🙂"},
            {"type": "citations_delta", "citation": PAGE},
        ),
        *end(),
    ),
    "the future": events(
        start(), PING, FUTURE, *block(0, {"type": "future_block"}), *text(1, "a"), FUTURE_DELTA, *end("of_the_future")
    ),
    "refusal": events(
        start(), *text(0, "I"), *end("refusal", stop_details={"type": "refusal", "explanation": "No, I will not."})
    ),
    "begun with all there is": events(
        start(),
        *block(0, {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}),
        *block(1, {"type": "text", "text": "Yes", "citations": [WEB]}),
        *block(2, {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Rome"}}),
        *end("tool_use"),
    ),
    "strange text": events(start(), *text(0, "\r\n", "\u2028data: x\n\n", "🙂e\u0301", '"\\'), *end()),
    "broken": [
        *events(start(), *text(0, "Hel")),
        Event(1_000_004, "error", error_event(type="api_error", message="Lost.", code="interrupted")),
    ],
}


def test_text_as_bytes() -> None:
    head = (
        '"id":"chatcmpl-01a200d201c17501abe2664dc3705277","object":"chat.completion.chunk",'
        f'"created":{CREATED},"model":"claude-x","choices":[{{"index":0,"delta":'
    )
    assert encoded(LOGS["text"]).decode() == (
        f'id: 1\ndata: {{{head}{{"role":"assistant","content":""}},"finish_reason":null}}]}}\n\n'
        f'id: 3\ndata: {{{head}{{"content":"Hel"}},"finish_reason":null}}]}}\n\n'
        f'id: 4\ndata: {{{head}{{"content":"lo"}},"finish_reason":null}}]}}\n\n'
        f'data: {{{head}{{}},"finish_reason":"stop"}}]}}\n\n'
        "id: 7\ndata: [DONE]\n\n"
    )


@pytest.mark.parametrize("name", LOGS)
def test_every_chunk_has_the_same_head(name: str) -> None:
    told = [chunk for chunk in chunks(encoded(LOGS[name], include_usage=True)) if chunk != DONE and "id" in chunk]
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in told} == {
        ("chatcmpl-01a200d201c17501abe2664dc3705277", "chat.completion.chunk", CREATED, "claude-x")
    }


@pytest.mark.parametrize("name", LOGS)
def test_role_first_and_done_last(name: str) -> None:
    told = chunks(encoded(LOGS[name]))
    assert told[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert told[-1] == DONE
    assert told.count(DONE) == 1


DELTAS: dict[str, list[Json]] = {
    "text": [{"content": "Hel"}, {"content": "lo"}],
    "nothing": [],
    "tools": [
        {"content": "I ask."},
        {
            "tool_calls": [
                {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ' "Paris"}'}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ],
    "thoughts": [{"content": "So."}],
    "server tools": [
        {"content": "Found."},
        {
            "tool_calls": [
                {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ],
    "citations": [
        {"content": "So: "},
        {"content": "it is wet 🙂"},
        {
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {
                        "start_index": 4,
                        "end_index": 15,
                        "url": "https://r.example/",
                        "title": "River",
                    },
                }
            ]
        },
    ],
    "the future": [{"content": "a"}],
    "refusal": [{"content": "I"}, {"refusal": "No, I will not."}],
    "begun with all there is": [
        {"content": "Yes"},
        {
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 3, "url": "https://r.example/", "title": "River"},
                }
            ]
        },
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Rome"}'}}]},
    ],
    "strange text": [
        {"content": "\r\n"},
        {"content": "\u2028data: x\n\n"},
        {"content": "🙂e\u0301"},
        {"content": '"\\'},
    ],
    "broken": [{"content": "Hel"}],
}


@pytest.mark.parametrize("name", LOGS)
def test_deltas(name: str) -> None:
    assert deltas(encoded(LOGS[name])) == DELTAS[name]


def test_thoughts_where_they_are_let_out() -> None:
    stream = encoded(LOGS["thoughts"], reasoning=True)
    assert deltas(stream) == [{"reasoning_content": "Let me"}, {"reasoning_content": " see."}, {"content": "So."}]
    message = json.loads(chat_completion(ID, fold(LOGS["thoughts"]), reasoning=True))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Let me see.", "So.")


def test_a_thought_may_begin_with_words() -> None:
    block = {"type": "thinking", "thinking": "Let me", "signature": ""}
    log = events(start(), {"type": "content_block_start", "index": 0, "content_block": block})
    assert deltas(encoded(log, reasoning=True)) == [{"reasoning_content": "Let me"}]
    assert deltas(encoded(log)) == []


FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "of_the_future": "stop",
}


@pytest.mark.parametrize(("stop_reason", "finish_reason"), FINISH_REASONS.items())
def test_finish_reason(stop_reason: str, finish_reason: str) -> None:
    log = events(start(), *text(0, "a"), *end(stop_reason))
    told = [choice for chunk in chunks(encoded(log))[:-1] for choice in chunk["choices"]]
    assert [choice["finish_reason"] for choice in told if choice["finish_reason"]] == [finish_reason]
    assert told[-1] == {"index": 0, "delta": {}, "finish_reason": finish_reason}
    assert json.loads(chat_completion(ID, fold(log)))["choices"][0]["finish_reason"] == finish_reason


TOLD_USAGE = {
    "prompt_tokens": 17,
    "completion_tokens": 7,
    "total_tokens": 24,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def test_usage_where_it_is_asked_for() -> None:
    *told, usage, done = chunks(encoded(LOGS["text"], include_usage=True))
    assert [chunk["usage"] for chunk in told] == [None] * len(told)
    assert told[-1]["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]) == ([], TOLD_USAGE)
    assert done == DONE


@pytest.mark.parametrize("name", LOGS)
def test_no_usage_where_nobody_asks(name: str) -> None:
    assert b"usage" not in encoded(LOGS[name])


def test_a_later_count_overwrites_an_earlier_one() -> None:
    first, stop = end(None)
    first = {**first, "usage": {"output_tokens": 5, "input_tokens": 11}}
    log = events(start(), *text(0, "a"), first, *end())
    *_, finish, usage, _ = chunks(encoded(log, include_usage=True))
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"] == {**TOLD_USAGE, "prompt_tokens": 18, "total_tokens": 25}
    assert stop["type"] == "message_stop"


@pytest.mark.parametrize("counts", [{}, {"input_tokens": "many"}, {"input_tokens": None, "output_tokens": None}])
def test_counts_that_are_none(counts: Json) -> None:
    log = events({"type": "message_start", "message": {"usage": counts}}, {"type": "message_stop"})
    *_, usage, _ = chunks(encoded(log, include_usage=True))
    assert usage["usage"]["total_tokens"] == 0


@pytest.mark.parametrize("upto", ["text", "stop reason"])
def test_an_error_ends_without_a_finish_reason(upto: str) -> None:
    whole = events(start(), *text(0, "Hel"), *end())
    kept = whole[:-1] if upto == "stop reason" else whole[:3]
    error = Event(99, "error", error_event(type="api_error", message="Cancelled.", code="cancelled"))
    stream = encoded([*kept, error], include_usage=True)
    *told, last, done = chunks(stream)
    assert {chunk["choices"][0]["finish_reason"] for chunk in told} == {None}
    assert last == {
        "error": {"message": "Cancelled.", "type": "server_error", "param": None, "code": "cancelled"},
    }
    assert done == DONE
    assert stream.endswith(b"id: 99\ndata: [DONE]\n\n")


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("name", LOGS)
def test_resuming_at_every_cut(name: str, include_usage: bool) -> None:
    log = LOGS[name]
    whole = encoded(log, include_usage=include_usage, reasoning=True)
    for cut in range(len(log) + 1):
        head = encoded(log[:cut], include_usage=include_usage, reasoning=True)
        rest = OpenAIChatEncoder(ID, include_usage=include_usage, reasoning=True)
        rest.skip(log[:cut])
        assert head + rest.encode(log[cut:]) == whole


@pytest.mark.parametrize("name", LOGS)
def test_ids_are_the_positions_of_whole_events(name: str) -> None:
    """After the id of a frame, nothing of its event is to come: so a reader that has it has all of it."""
    log = LOGS[name]
    for cut in range(len(log)):
        only = OpenAIChatEncoder(ID, include_usage=True, reasoning=True)
        only.skip(log[:cut])
        frames = only.encode(log[cut : cut + 1]).removesuffix(b"\n\n").split(b"\n\n")
        if frames == [b""]:
            continue
        assert frames[-1].startswith(b"id: %d\n" % log[cut].seq)
        assert not any(frame.startswith(b"id: ") for frame in frames[:-1])


@pytest.mark.parametrize("name", LOGS)
def test_one_batch_or_many(name: str) -> None:
    one_by_one = OpenAIChatEncoder(ID)
    assert b"".join(one_by_one.encode([event]) for event in LOGS[name]) == encoded(LOGS[name])


@pytest.mark.parametrize("name", [name for name in LOGS if name != "broken"])
def test_chunks_add_up_to_the_whole_answer(name: str) -> None:
    body = json.loads(chat_completion(ID, fold(LOGS[name]), reasoning=True))
    stream = encoded(LOGS[name], include_usage=True, reasoning=True)
    message = body["choices"][0]["message"]
    told = deltas(stream)
    assert "".join(delta.get("content", "") for delta in told) == (message["content"] or "")
    assert "".join(delta.get("reasoning_content", "") for delta in told) == message.get("reasoning_content", "")
    assert [note for delta in told for note in delta.get("annotations", [])] == message.get("annotations", [])
    assert [delta["refusal"] for delta in told if "refusal" in delta] == (
        [message["refusal"]] * bool(message["refusal"])
    )
    assert calls(told) == message.get("tool_calls", [])
    assert body["usage"] == chunks(stream)[-2]["usage"]


def calls(told: list[Json]) -> list[Json]:
    """Tool calls, as clients put them together."""
    made: list[Json] = []
    for call in (call for delta in told for call in delta.get("tool_calls", [])):
        if call["index"] == len(made):
            made.append({"id": call["id"], "type": call["type"], "function": dict(call["function"])})
        else:
            made[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return made


def test_whole_answer() -> None:
    assert json.loads(chat_completion(ID, fold(LOGS["text"]))) == {
        "id": "chatcmpl-01a200d201c17501abe2664dc3705277",
        "object": "chat.completion",
        "created": CREATED,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": TOLD_USAGE,
    }


def test_content_is_null_without_text() -> None:
    log = events(start(), *tool(0, "toolu_1", '{"a":1.50}'), *end("tool_use"))
    (choice,) = json.loads(chat_completion(ID, fold(log)))["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":1.50}'
    assert choice["finish_reason"] == "tool_calls"


def test_blocks_that_come_with_their_content() -> None:
    log = events(
        start(),
        *block(0, {"type": "text", "text": "Whole."}),
        *block(1, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}),
        *end("tool_use"),
    )
    told = deltas(encoded(log))
    assert told[0] == {"content": "Whole."}
    assert calls(told)[0]["function"]["arguments"] == '{"a":1}'


ERRORS: dict[str, tuple[AppError, int, str, str | None]] = {
    "field": (Unprocessable("x", param="n"), 400, "invalid_request_error", None),
    "invalid": (InvalidRequest("x"), 400, "invalid_request_error", None),
    "no json": (InvalidRequest("x", code="invalid_json"), 400, "invalid_request_error", "invalid_json"),
    "key": (Unauthenticated("x", code="no_api_key"), 401, "invalid_request_error", "invalid_api_key"),
    "budget": (
        UpstreamError("x", http_status=402, type="billing_error"),
        429,
        "insufficient_quota",
        "insufficient_quota",
    ),
    "scope": (PermissionDenied("x"), 403, "invalid_request_error", "permission_denied"),
    "model": (NotFound("x", code="model_not_found"), 404, "invalid_request_error", "model_not_found"),
    "upstream's model": (
        UpstreamError("model: x", http_status=404, type="not_found_error", code="upstream_refused"),
        404,
        "invalid_request_error",
        "model_not_found",
    ),
    "path": (NotFound("x"), 404, "invalid_request_error", "not_found"),
    "method": (MethodNotAllowed("x"), 405, "invalid_request_error", "method_not_allowed"),
    "busy": (Conflict("x"), 409, "invalid_request_error", "conflict"),
    "gone": (Gone("x"), 410, "invalid_request_error", "gone"),
    "large": (RequestTooLarge("x"), 413, "invalid_request_error", "request_too_large"),
    "too long": (
        UpstreamError(
            "prompt is too long: 9 tokens > 5 maximum",
            http_status=400,
            type="invalid_request_error",
            code="upstream_refused",
        ),
        400,
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "rate": (
        UpstreamError("x", http_status=429, type="rate_limit_error", code="upstream_rate_limited"),
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    ),
    "overloaded": (
        UpstreamError("x", http_status=529, type="overloaded_error", code="upstream_overloaded"),
        503,
        "server_error",
        "overloaded",
    ),
    "full": (Unavailable("x"), 503, "server_error", "overloaded"),
    "ours": (AppError("x"), 500, "server_error", "internal_error"),
    "upstream": (UpstreamError("x"), 502, "server_error", "upstream_error"),
    "late": (UpstreamTimeout("x"), 504, "server_error", "upstream_timeout"),
    "cancelled": (Cancelled("x"), 409, "server_error", "cancelled"),
    "interrupted": (Interrupted("x"), 503, "server_error", "interrupted"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name: str) -> None:
    error, status, type, code = ERRORS[name]
    assert openai_errors.status(error) == status
    body = {"message": error.message, "type": type, "param": error.param, "code": code}
    assert json.loads(openai_errors.error_body(error, "req_1")) == {"error": body}


@pytest.mark.parametrize("name", [name for name in ERRORS if ERRORS[name][1] not in (429,)])
def test_error_in_a_stream_says_the_same(name: str) -> None:
    error, _, type, code = ERRORS[name]
    data = error_event(type=error.type, message=error.message, code=error.code)
    event = parse(data)
    assert isinstance(event, Error)
    told = json.loads(openai_errors.in_stream(event))["error"]
    assert told == {"message": error.message, "type": type, "param": None, "code": code}
