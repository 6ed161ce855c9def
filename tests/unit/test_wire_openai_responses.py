"""The Responses dialect: tables of canonical events and the frames they become."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from app.domain.events import Event, error_event, parse
from app.domain.message import MessageFold
from app.wire.openai_response import Head, answered, stored, unfinished
from app.wire.openai_responses import OpenAIResponsesEncoder
from tests.support.sse import SentEvent, sent_events

ID = UUID("0190a000-0000-7000-8000-000000000001")
HEAD = Head(ID, "claude-sim", {"model": "claude-sim", "max_tokens": 9, "system": "Be kind."}, {"a": "b"})
RESPONSE = f"resp_{ID.hex}"
USAGE = {"input_tokens": 3, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 1}

Json = dict[str, Any]


def start(**usage: int) -> Json:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {**USAGE, **usage}}}


def block(index: int, **fields: Any) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": fields}


def delta(index: int, kind: str, **fields: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def text(index: int, *pieces: str, citations: Sequence[Json] = ()) -> list[Json]:
    deltas = [delta(index, "text_delta", text=piece) for piece in pieces]
    cited = [delta(index, "citations_delta", citation=citation) for citation in citations]
    return [block(index, type="text", text=""), *deltas, *cited, stop(index)]


def thinking(index: int, *pieces: str, signature: str = "c2ln") -> list[Json]:
    deltas = [delta(index, "thinking_delta", thinking=piece) for piece in pieces]
    signed = delta(index, "signature_delta", signature=signature)
    return [block(index, type="thinking", thinking="", signature=""), *deltas, signed, stop(index)]


def call(index: int, *pieces: str) -> list[Json]:
    deltas = [delta(index, "input_json_delta", partial_json=piece) for piece in pieces]
    return [block(index, type="tool_use", id=f"toolu_{index}", name="look", input={}), *deltas, stop(index)]


def used(index: int, name: str, *pieces: str, **fields: Any) -> list[Json]:
    """A call of a tool that the upstream runs."""
    kind = "mcp_tool_use" if "server_name" in fields else "server_tool_use"
    opened = block(index, type=kind, id=f"srvtoolu_{index}", name=name, input={}, **fields)
    return [opened, *[delta(index, "input_json_delta", partial_json=piece) for piece in pieces], stop(index)]


def brought(index: int, of: int, kind: str, content: Any, **fields: Any) -> list[Json]:
    """The result of the call in block `of`."""
    return [
        block(index, type=f"{kind}_tool_result", tool_use_id=f"srvtoolu_{of}", content=content, **fields),
        stop(index),
    ]


def end(reason: str = "end_turn", **details: Any) -> list[Json]:
    return [
        {"type": "message_delta", "delta": {"stop_reason": reason, **details}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


def error(code: str, kind: str = "api_error") -> Json:
    decoded: Json = msgspec.json.decode(error_event(type=kind, message="It broke.", code=code))
    return decoded


def log(*bodies: Json) -> list[Event]:
    return [Event(seq, body["type"], msgspec.json.encode(body)) for seq, body in enumerate(bodies, 1)]


def whole(events: Sequence[Event], starting_after: int = -1) -> bytes:
    encoder = OpenAIResponsesEncoder(HEAD, starting_after)
    return encoder.begin() + encoder.encode(events)


def frames(*bodies: Json) -> list[SentEvent]:
    return sent_events(whole(log(*bodies)))


def final(*bodies: Json) -> Json:
    response: Json = frames(*bodies)[-1].data["response"]
    return response


PING = {"type": "ping"}
UNKNOWN = {"type": "news_from_the_future", "x": 1}
WEB = {"type": "web_search_result_location", "url": "https://x.test/", "title": "X", "cited_text": "c"}
DOCUMENT = {"type": "char_location", "document_index": 2, "document_title": "Notes", "cited_text": "c"}
REFUSAL = {"stop_details": {"type": "refusal", "explanation": "Not this."}}

FOUND = [{"type": "web_search_result", "url": "https://x.test/", "title": "X", "encrypted_content": "e"}]
NOT_FOUND = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
RAN = {"type": "code_execution_result", "stdout": "1\n", "stderr": "warn", "return_code": 0, "content": []}
SEARCH = used(1, "web_search", "", '{"query":', '"rivers"}')
TIDES = used(0, "tides", "", '{"at": ', '"sea"}', server_name="harbour")

ANSWERS = {
    "search": [
        start(),
        *text(0, "I look"),
        *SEARCH,
        *brought(2, 1, "web_search", FOUND),
        *text(3, "Found", citations=[WEB]),
        *end(),
    ],
    "search that failed": [start(), *SEARCH, *brought(2, 1, "web_search", NOT_FOUND), *text(3, "No"), *end()],
    "page": [
        start(),
        *used(0, "web_fetch", '{"url":"https://x.test/"}'),
        *brought(1, 0, "web_fetch", {"type": "web_fetch_result", "url": "https://x.test/"}),
        *end(),
    ],
    "code": [
        start(),
        *used(0, "code_execution", '{"code":"print(1)"}'),
        *brought(1, 0, "code_execution", RAN),
        *used(2, "bash_code_execution", '{"command":"ls"}'),
        *brought(3, 2, "bash_code_execution", RAN | {"stdout": "", "stderr": ""}),
        *end(),
    ],
    "mcp": [start(), *TIDES, *brought(1, 0, "mcp", [{"type": "text", "text": "high"}], is_error=False), *end()],
    "mcp that failed": [start(), *TIDES, *brought(1, 0, "mcp", "down", is_error=True), *end()],
    "mcp with its input at once": [
        start(),
        block(0, type="mcp_tool_use", id="srvtoolu_0", name="tides", server_name="harbour", input={"at": "sea"}),
        stop(0),
        *brought(1, 0, "mcp", "high"),
        *end(),
    ],
    "search within code": [
        start(),
        *used(0, "code_execution", '{"code":"search()"}'),
        *SEARCH,
        *text(2, "Wait"),
        *brought(3, 1, "web_search", FOUND),
        *text(4, " on"),
        *brought(5, 0, "code_execution", RAN),
        *text(6, "!"),
        *end(),
    ],
    "search that waits": [start(), *SEARCH, *text(2, "Wait"), *end("pause_turn")],
    "search that was cut": [start(), *SEARCH[:2], error("upstream_connection")],
    "search without its result": [start(), *SEARCH, *text(2, "Wait")[:2], error("cancelled")],
    "mcp that was cut": [start(), *TIDES[:3], *end("max_tokens")],
    "tools without an item": [
        start(),
        *text(0, "a"),
        *used(1, "tool_search_tool_regex", '{"pattern":"x"}'),
        *brought(2, 1, "tool_search", {"type": "tool_search_tool_search_result"}),
        *brought(3, 9, "web_search", FOUND),
        *text(4, "b"),
        *end(),
    ],
    "text": [start(), PING, *text(0, "Hel", "lo"), *end()],
    "two texts": [start(), *text(0, "a"), *text(1, "b", citations=[WEB, DOCUMENT]), *end()],
    "thought": [start(), *thinking(0, "Let", " me"), *text(1, "Yes"), *end()],
    "hidden thought": [start(), *thinking(0), block(1, type="redacted_thinking", data="cmVk"), stop(1), *end()],
    "calls": [start(), *text(0, "I ask"), *call(1, "", '{"a"', ":1}"), *call(2), *end("tool_use")],
    "cut": [start(), *text(0, "Hel"), *end("max_tokens")],
    "cut call": [start(), *call(0, '{"a"'), *end("max_tokens")],
    "refused": [start(), *text(0, "Hel"), *end("refusal", **REFUSAL)],
    "refused at once": [start(), *end("refusal")],
    "unknown": [start(), UNKNOWN, block(0, type="future", x=1), stop(0), *text(1, "a"), *end("pause_turn")],
    "empty": [start(), *end()],
    "failed": [start(), *text(0, "Hel")[:2], error("upstream_truncated")],
    "failed in a thought": [start(), *thinking(0, "Let")[:2], error("cancelled")],
    "failed in a call": [start(), *call(0, '{"a"')[:2], error("interrupted")],
    "failed first": [error("upstream_overloaded", "overloaded_error")],
    "begun whole": [
        start(),
        block(0, type="thinking", thinking="a", signature="c2ln"),
        stop(0),
        block(1, type="text", text="b"),
        delta(1, "text_delta", text=""),
        stop(1),
        block(2, type="tool_use", id="toolu_2", name="look", input={"a": 1}),
        stop(2),
        *end("tool_use"),
    ],
    "strange text": [start(), *text(0, "\r\ndata: \u2028\x85\n\n", "👩‍👩‍👧 e\u0301", '"\\'), *end("stop_sequence")],
}
every_answer = pytest.mark.parametrize("bodies", ANSWERS.values(), ids=ANSWERS.keys())

TEXT = """\
event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":\
{"id":"msg_<ID>_0","type":"message","status":"in_progress","role":"assistant","content":[]}}

id: 2
event: response.content_part.added
data: {"type":"response.content_part.added","sequence_number":3,"item_id":"msg_<ID>_0","output_index":0,\
"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}

id: 3
event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_<ID>_0","output_index":0,\
"content_index":0,"delta":"Hi \\u00e9","logprobs":[]}

event: response.output_text.done
data: {"type":"response.output_text.done","sequence_number":5,"item_id":"msg_<ID>_0","output_index":0,\
"content_index":0,"text":"Hi \\u00e9","logprobs":[]}

id: 4
event: response.content_part.done
data: {"type":"response.content_part.done","sequence_number":6,"item_id":"msg_<ID>_0","output_index":0,\
"content_index":0,"part":{"type":"output_text","text":"Hi \\u00e9","annotations":[],"logprobs":[]}}

id: 5
event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":7,"output_index":0,"item":\
{"id":"msg_<ID>_0","type":"message","status":"completed","role":"assistant","content":\
[{"type":"output_text","text":"Hi \\u00e9","annotations":[],"logprobs":[]}]}}

"""


def test_bytes_of_a_text_whose_escapes_stay_as_they_came() -> None:
    events = log(start(), *text(0, "?"), *end())
    escaped = msgspec.structs.replace(events[2], data=events[2].data.replace(b"?", b"Hi \\u00e9"))
    encoder = OpenAIResponsesEncoder(HEAD)
    opening, first = encoder.begin(), encoder.encode(events[:1])
    assert [frame.event for frame in sent_events(opening)] == ["response.created", "response.in_progress"]
    assert b"\nid:" not in opening
    assert first == b""
    middle = encoder.encode([events[1], escaped, *events[3:-1]])
    assert middle.decode() == TEXT.replace("<ID>", ID.hex)
    assert encoder.encode(events[-1:]).startswith(b"id: 6\nevent: response.completed\n")


MESSAGE = "item.added part.added text.delta text.done part.done item.done"
ASKED = "item.added web.in_progress web.searching"

KINDS = {
    "search": f"{MESSAGE} {ASKED} web.completed item.done"
    " item.added part.added text.delta annotation.added text.done part.done item.done completed",
    "search that failed": f"{ASKED} item.done {MESSAGE} completed",
    "page": f"{ASKED} web.completed item.done completed",
    "code": " ".join(
        ["item.added code.in_progress code.delta code.done code.interpreting code.completed item.done"] * 2
    )
    + " completed",
    "mcp": "item.added mcp.in_progress mcp.delta mcp.delta mcp.done mcp.completed item.done completed",
    "mcp that failed": "item.added mcp.in_progress mcp.delta mcp.delta mcp.done mcp.failed item.done completed",
    "mcp with its input at once": "item.added mcp.in_progress mcp.delta mcp.done mcp.completed item.done completed",
    "search within code": f"item.added code.in_progress code.delta code.done code.interpreting {ASKED}"
    " item.added part.added text.delta text.done part.done web.completed item.done"
    " part.added text.delta text.done part.done code.completed item.done"
    " part.added text.delta text.done part.done item.done completed",
    "search that waits": f"{ASKED} item.added part.added text.delta text.done part.done item.done item.done completed",
    "search that was cut": "item.added web.in_progress failed",
    "search without its result": f"{ASKED} item.added part.added text.delta failed",
    "mcp that was cut": "item.added mcp.in_progress mcp.delta item.done incomplete",
    "tools without an item": "item.added part.added text.delta text.done part.done"
    " part.added text.delta text.done part.done item.done completed",
    "text": "item.added part.added text.delta text.delta text.done part.done item.done completed",
    "two texts": "item.added part.added text.delta text.done part.done"
    " part.added text.delta annotation.added annotation.added text.done part.done item.done completed",
    "thought": "item.added summary_part.added summary.delta summary.delta summary.done summary_part.done item.done"
    " item.added part.added text.delta text.done part.done item.done completed",
    "hidden thought": "item.added item.done item.added item.done completed",
    "calls": "item.added part.added text.delta text.done part.done item.done"
    " item.added args.delta args.delta args.done item.done item.added args.delta args.done item.done completed",
    "cut": "item.added part.added text.delta text.done part.done item.done incomplete",
    "cut call": "item.added args.delta args.done item.done incomplete",
    "refused": "item.added part.added text.delta text.done part.done"
    " part.added refusal.delta refusal.done part.done item.done incomplete",
    "refused at once": "item.added part.added refusal.delta refusal.done part.done item.done incomplete",
    "unknown": "item.added part.added text.delta text.done part.done item.done completed",
    "empty": "completed",
    "failed": "item.added part.added text.delta failed",
    "failed in a thought": "item.added summary_part.added summary.delta failed",
    "failed in a call": "item.added args.delta failed",
    "failed first": "failed",
    "begun whole": "item.added summary_part.added summary.delta summary.done summary_part.done item.done"
    " item.added part.added text.delta text.done part.done item.done"
    " item.added args.delta args.done item.done completed",
    "strange text": "item.added part.added text.delta text.delta text.delta text.done part.done item.done completed",
}
SHORT = {
    "response.": "",
    "output_item.": "item.",
    "content_part.": "part.",
    "output_text.annotation.": "annotation.",
    "output_text.": "text.",
    "reasoning_summary_part.": "summary_part.",
    "reasoning_summary_text.": "summary.",
    "function_call_arguments.": "args.",
    "web_search_call.": "web.",
    "code_interpreter_call_code.": "code.",
    "code_interpreter_call.": "code.",
    "mcp_call_arguments.": "mcp.",
    "mcp_call.": "mcp.",
}


def short(name: str) -> str:
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


@pytest.mark.parametrize("name", ANSWERS)
def test_order_of_frames(name: str) -> None:
    assert [short(frame.event) for frame in frames(*ANSWERS[name])][2:] == KINDS[name].split()


@every_answer
def test_frames_are_named_by_their_type_and_numbered_without_a_gap(bodies: list[Json]) -> None:
    sent = frames(*bodies)
    assert [frame.event for frame in sent] == [frame.data["type"] for frame in sent]
    assert [frame.data["sequence_number"] for frame in sent] == list(range(len(sent)))
    places = [int(frame.id) for frame in sent if frame.id is not None]
    assert places == sorted(set(places))
    assert places[-1] == len(bodies)


@pytest.fixture(scope="module")
def official() -> TypeAdapter[ResponseStreamEvent]:
    return TypeAdapter(ResponseStreamEvent)


@every_answer
def test_frames_are_what_the_official_client_has_types_for(
    official: TypeAdapter[ResponseStreamEvent], bodies: list[Json]
) -> None:
    for frame in frames(*bodies):
        assert official.validate_python(frame.data).type == frame.event


@every_answer
def test_any_boundaries_between_reads_give_the_same_bytes(bodies: list[Json]) -> None:
    events = log(*bodies)
    encoder = OpenAIResponsesEncoder(HEAD)
    assert encoder.begin() + b"".join(encoder.encode([event]) for event in events) == whole(events)


@every_answer
def test_starting_after_every_number_gives_the_rest_byte_for_byte(bodies: list[Json]) -> None:
    events = log(*bodies)
    all_frames = [block + b"\n\n" for block in whole(events).split(b"\n\n")[:-1]]
    for number in range(len(all_frames)):
        assert whole(events, number) == b"".join(all_frames[number + 1 :])


@every_answer
def test_reading_on_after_every_position_gives_the_rest_byte_for_byte(bodies: list[Json]) -> None:
    events = log(*bodies)
    for cut in range(1, len(events) + 1):
        encoder, head = OpenAIResponsesEncoder(HEAD), OpenAIResponsesEncoder(HEAD)
        encoder.skip(events[:cut])
        assert head.begin() + head.encode(events[:cut]) + encoder.encode(events[cut:]) == whole(events)


def test_a_reader_that_had_lost_events_still_hears_of_the_end() -> None:
    events = log(start(), *text(0, "a")[:2], error("interrupted"))
    events[-1] = msgspec.structs.replace(events[-1], seq=1_000_003)
    (last,) = sent_events(whole(events, 50))
    assert (last.event, last.id, last.data["sequence_number"]) == ("response.failed", "1000003", 51)
    assert whole(log(start(), *text(0, "a")[:2], error("interrupted")), 50) == b""


@every_answer
def test_pieces_add_up_to_what_is_done(bodies: list[Json]) -> None:
    sums: dict[tuple[str, int], str] = {}
    for frame in frames(*bodies):
        name, data = short(frame.event), frame.data
        key = (name.partition(".")[0], data.get("output_index", 0) * 10 + data.get("content_index", 0))
        if name.endswith(".delta"):
            sums[key] = sums.get(key, "") + data["delta"]
        elif name in ("text.done", "summary.done"):
            assert data["text"] == sums[key]
        elif name in ("args.done", "mcp.done"):
            assert data["arguments"] == sums[key]
        elif name == "code.done":
            assert data["code"] == sums[key]
        elif name == "refusal.done":
            assert data["refusal"] == sums[key]


@every_answer
def test_the_store_tells_the_same_as_the_stream(bodies: list[Json]) -> None:
    fold = MessageFold()
    events = log(*bodies)
    for event in events:
        fold.apply(parse(event.data))
    last = events[-1]
    if last.type == "error":
        told = unfinished(HEAD, last.data, fold.content(), fold.usage())
    else:
        told = answered(HEAD, fold)
        if bytes(fold.stop_details) == b"null":
            assert told == stored(HEAD, fold.stop_reason, fold.content(), fold.usage())
    streamed = final(*bodies)
    of_the_store = msgspec.json.decode(msgspec.json.encode(told))
    for item in [*streamed["output"], *of_the_store["output"]]:
        if item["status"] == "incomplete":
            item.pop("arguments", None)  # the store keeps no half JSON
    assert of_the_store == streamed


def test_the_response_object() -> None:
    assert final(*ANSWERS["text"]) == {
        "id": RESPONSE,
        "object": "response",
        "created_at": 0x0190A0000000 // 1000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": "claude-sim",
        "output": [
            {
                "id": f"msg_{ID.hex}_0",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
            }
        ],
        "usage": {
            "input_tokens": 6,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 13,
        },
        "previous_response_id": None,
        "conversation": None,
        "metadata": {"a": "b"},
        "store": True,
        "instructions": "Be kind.",
        "max_output_tokens": 9,
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "max_tool_calls": None,
        "service_tier": "default",
        "top_logprobs": 0,
        "truncation": "disabled",
        "user": None,
    }


def test_thoughts_carry_what_a_client_has_to_send_back() -> None:
    (thought, answer) = final(*ANSWERS["thought"])["output"]
    assert thought == {
        "id": f"rs_{ID.hex}_0",
        "type": "reasoning",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "Let me"}],
        "encrypted_content": "c2ln",
    }
    assert answer["id"] == f"msg_{ID.hex}_1"
    hidden, redacted = final(*ANSWERS["hidden thought"])["output"]
    assert (hidden["summary"], hidden["encrypted_content"]) == ([], "c2ln")
    assert (redacted["summary"], redacted["encrypted_content"]) == ([], "redacted_thinking:cmVk")


def output(name: str) -> list[Json]:
    items: list[Json] = final(*ANSWERS[name])["output"]
    return items


def test_a_search_is_an_item_with_what_it_found() -> None:
    said, search, found = output("search")
    assert search == {
        "id": f"ws_{ID.hex}_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {
            "type": "search",
            "query": "rivers",
            "queries": ["rivers"],
            "sources": [{"type": "url", "url": "https://x.test/"}],
        },
    }
    assert (said["id"], found["id"]) == (f"msg_{ID.hex}_0", f"msg_{ID.hex}_2")
    assert found["content"][0]["annotations"][0]["type"] == "url_citation"
    assert [item["status"] for item in output("search that failed")] == ["failed", "completed"]
    assert output("page")[0]["action"] == {"type": "open_page", "url": "https://x.test/"}


def test_code_that_ran_is_an_item_with_what_it_printed() -> None:
    python, shell = output("code")
    assert python == {
        "id": f"ci_{ID.hex}_0",
        "type": "code_interpreter_call",
        "status": "completed",
        "code": "print(1)",
        "container_id": "",
        "outputs": [{"type": "logs", "logs": "1\nwarn"}],
    }
    assert (shell["code"], shell["outputs"]) == ("ls", [])


def test_a_call_of_an_mcp_server_is_an_item_with_its_answer() -> None:
    called = {"id": f"mcp_{ID.hex}_0", "type": "mcp_call", "name": "tides", "server_label": "harbour"}
    given = {"arguments": '{"at": "sea"}', "error": None}
    assert output("mcp") == [{**called, **given, "status": "completed", "output": "high"}]
    wrong = {"type": "mcp_tool_execution_error", "content": "down"}
    assert output("mcp that failed") == [{**called, **given, "status": "failed", "output": None, "error": wrong}]


def test_a_result_finds_its_call_past_other_items() -> None:
    code, search, said = output("search within code")
    assert (code["type"], code["outputs"][0]["logs"]) == ("code_interpreter_call", "1\nwarn")
    assert (search["type"], len(search["action"]["sources"])) == ("web_search_call", 1)
    assert [part["text"] for part in said["content"]] == ["Wait", " on", "!"]
    places: dict[str, set[int]] = {}
    for frame in frames(*ANSWERS["search within code"]):
        if "output_index" in frame.data:
            id = frame.data.get("item_id") or frame.data["item"]["id"]
            places.setdefault(id, set()).add(frame.data["output_index"])
    assert places == {code["id"]: {0}, search["id"]: {1}, said["id"]: {2}}


@pytest.mark.parametrize("name", ["search that waits", "search that was cut", "search without its result"])
def test_a_call_without_a_result_is_incomplete(name: str) -> None:
    assert output(name)[0]["status"] == "incomplete"


def test_calls_have_whole_arguments_or_are_incomplete() -> None:
    _, first, second = final(*ANSWERS["calls"])["output"]
    assert first == {
        "id": f"fc_{ID.hex}_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "toolu_1",
        "name": "look",
        "arguments": '{"a":1}',
    }
    assert (second["status"], second["arguments"]) == ("completed", "{}")
    (cut,) = [frame.data["item"] for frame in frames(*ANSWERS["cut call"]) if short(frame.event) == "item.done"]
    assert (cut["status"], cut["arguments"]) == ("incomplete", '{"a"')


def test_citations_are_annotations() -> None:
    (item,) = final(*ANSWERS["two texts"])["output"]
    assert [part["text"] for part in item["content"]] == ["a", "b"]
    web = {"type": "url_citation", "url": "https://x.test/", "title": "X", "start_index": 0, "end_index": 1}
    document = {"type": "file_citation", "file_id": "document-2", "filename": "Notes", "index": 1}
    assert item["content"][1]["annotations"] == [web, document]
    added = [frame.data for frame in frames(*ANSWERS["two texts"]) if short(frame.event) == "annotation.added"]
    assert [(each["content_index"], each["annotation_index"], each["annotation"]) for each in added] == [
        (1, 0, web),
        (1, 1, document),
    ]


@pytest.mark.parametrize(
    ("name", "status", "why", "last"),
    [
        ("text", "completed", None, "completed"),
        ("unknown", "completed", None, "completed"),
        ("cut", "incomplete", "max_output_tokens", "incomplete"),
        ("cut call", "incomplete", "max_output_tokens", "incomplete"),
        ("refused", "incomplete", "content_filter", "incomplete"),
        ("failed", "failed", None, "incomplete"),
        ("failed in a thought", "cancelled", None, "incomplete"),
        ("failed in a call", "failed", None, "incomplete"),
    ],
)
def test_how_it_ended(name: str, status: str, why: str | None, last: str) -> None:
    response = final(*ANSWERS[name])
    assert (response["status"], (response["incomplete_details"] or {}).get("reason")) == (status, why)
    assert response["output"][-1]["status"] == last
    assert (response["error"] is not None) == (status in ("failed", "cancelled"))


def test_refusals_are_told_in_their_own_words() -> None:
    parts = final(*ANSWERS["refused"])["output"][0]["content"]
    assert [part["type"] for part in parts] == ["output_text", "refusal"]
    assert parts[1]["refusal"] == "Not this."


@pytest.mark.parametrize(
    ("code", "kind", "theirs"),
    [
        ("upstream_rate_limited", "rate_limit_error", "rate_limit_exceeded"),
        ("upstream_refused", "invalid_request_error", "invalid_prompt"),
        ("interrupted", "api_error", "server_error"),
        ("cancelled", "api_error", "server_error"),
    ],
)
def test_errors_have_a_code_of_theirs_and_our_own(code: str, kind: str, theirs: str) -> None:
    failed = final(start(), error(code, kind))["error"]
    assert failed == {"code": theirs, "message": "It broke.", "type": code}


def test_what_failed_before_it_was_counted_has_no_usage() -> None:
    assert final(*ANSWERS["failed first"])["usage"] is None
    assert final(*ANSWERS["failed"])["usage"]["output_tokens"] == 1


def test_other_dialects_requests_are_told_back_as_far_as_they_fit() -> None:
    tool = {"name": "look", "description": "d", "input_schema": {"type": "object"}}
    request: Json = {
        "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        "tools": [tool, {"type": "web_search_20250305", "name": "web_search"}, "nonsense"],
        "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    told = stored(Head(ID, "m", request), "end_turn", b"[]", None)
    assert told["instructions"] == "a\nb"
    assert [each["name"] for each in told["tools"]] == ["look"]
    assert told["tool_choice"] == {"type": "function", "name": "look"}
    assert told["parallel_tool_calls"] is False
    assert told["reasoning"] == {"effort": "low", "summary": "auto"}
    assert told["text"]["format"]["schema"] == {"type": "object"}
    for nonsense in (1, "x", [1], {"type": 1}):
        names = ("system", "tools", "tool_choice", "output_config", "thinking")
        assert stored(Head(ID, "m", dict.fromkeys(names, nonsense)), None, None, None)["tools"] == []
