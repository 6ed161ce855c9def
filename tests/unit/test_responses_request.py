"""Requests of the Responses API as requests of the Messages API."""

from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from app.config import Settings
from app.dialects.responses_request import completion_request, ignored_fields, ignored_header, read
from app.domain.completion import CompletionRequest, NewMessage
from app.domain.errors import AppError, NotFound
from app.domain.ids import uuid7
from app.wire.openai_input_items import input_items

Json = dict[str, Any]
SETTINGS = Settings(default_max_tokens=77)
TOOL: Json = {"type": "function", "name": "look", "parameters": {"type": "object"}, "description": "d", "strict": True}
OTHER: Json = {"type": "function", "name": "other"}
PNG = "data:image/png;base64,aGk="


def mapped(fields: Json, settings: Settings = SETTINGS) -> tuple[CompletionRequest, list[str]]:
    body = {"model": "claude-sim", "input": "Hi"} | fields
    request, ignored = completion_request(read(body), settings, max_tokens=settings.default_max_tokens)
    return request, [*ignored, *ignored_fields(body)]


def body_of(**fields: Any) -> Json:
    return mapped(fields)[0].body


def messages_of(items: Any) -> list[Json]:
    request, _ = mapped({"input": items})
    decoded: list[Json] = msgspec.json.decode(msgspec.json.encode(request.messages))
    return decoded


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def part(kind: str, **fields: Any) -> Json:
    return {"type": kind, **fields}


def text(value: str) -> Json:
    return part("text", text=value)


def call(id: str, arguments: str = "{}") -> Json:
    return part("function_call", call_id=id, name="look", arguments=arguments)


def result(id: str, output: Any = "42") -> Json:
    return part("function_call_output", call_id=id, output=output)


def used(id: str, **input: Any) -> Json:
    return part("tool_use", id=id, name="look", input=input)


def answered(id: str, content: Any = None) -> Json:
    return part("tool_result", tool_use_id=id, content=content or [text("42")])


def test_the_least_request() -> None:
    request, ignored = mapped({})
    assert request.body == {"model": "claude-sim", "max_tokens": 77}
    assert messages_of("Hi") == [user("Hi")]
    assert (request.store, request.background, request.lift_system, ignored) == (True, False, True, [])


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([user("Hi")], [user([text("Hi")])]),
        (
            [part("message", role="user", content=[part("input_text", text="a"), part("input_text", text="")])],
            [user([text("a")])],
        ),
        ([user("a"), user("b")], [user([text("a")]), user([text("b")])]),
        (
            [
                {"role": "developer", "content": "d"},
                {"role": "system", "content": [part("input_text", text="s")]},
                user("a"),
            ],
            [{"role": "system", "content": [text("d")]}, {"role": "system", "content": [text("s")]}, user([text("a")])],
        ),
        (
            [
                user(
                    [
                        part("input_image", image_url=PNG, detail="auto"),
                        part("input_image", image_url="https://x.test/a"),
                    ]
                )
            ],
            [
                user(
                    [
                        part("image", source={"type": "base64", "media_type": "image/png", "data": "aGk="}),
                        part("image", source={"type": "url", "url": "https://x.test/a"}),
                    ]
                )
            ],
        ),
        (
            [
                user(
                    [
                        part("input_file", filename="a.pdf", file_data="data:application/pdf;base64,aGk="),
                        part("input_file", filename="b.PDF", file_data="aGk="),
                        part("input_file", file_url="https://x.test/a.pdf"),
                        part("input_file", file_data="data:text/plain;charset=utf-8;base64,aGk="),
                    ]
                )
            ],
            [
                user(
                    [
                        part(
                            "document",
                            title="a.pdf",
                            source={"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                        ),
                        part(
                            "document",
                            title="b.PDF",
                            source={"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                        ),
                        part("document", source={"type": "url", "url": "https://x.test/a.pdf"}),
                        part("document", source={"type": "text", "media_type": "text/plain", "data": "hi"}),
                    ]
                )
            ],
        ),
        (
            [
                user("a"),
                part("reasoning", summary=[part("summary_text", text="t")], encrypted_content="sig"),
                part("message", role="assistant", content=[part("output_text", text="I ask")]),
                call("1", '{"a": 1}'),
                call("2"),
                result("1"),
                user("b"),
                result("2", [part("input_text", text="x"), part("input_image", image_url=PNG)]),
            ],
            [
                user([text("a")]),
                {
                    "role": "assistant",
                    "content": [
                        part("thinking", thinking="t", signature="sig"),
                        text("I ask"),
                        used("1", a=1),
                        used("2"),
                    ],
                },
                user(
                    [
                        answered("1"),
                        answered(
                            "2",
                            [
                                text("x"),
                                part("image", source={"type": "base64", "media_type": "image/png", "data": "aGk="}),
                            ],
                        ),
                        text("b"),
                    ]
                ),
            ],
        ),
        (
            [user("a"), call("1", ""), user("by the way"), result("1", "")],
            [
                user([text("a")]),
                {"role": "assistant", "content": [used("1")]},
                user([part("tool_result", tool_use_id="1"), text("by the way")]),
            ],
        ),
        (
            [
                user("a"),
                part("reasoning", summary=[], encrypted_content="redacted_thinking:ZGF0YQ=="),
                {"role": "assistant", "content": [part("refusal", refusal="No."), part("output_text", text="")]},
                user("b"),
            ],
            [
                user([text("a")]),
                {"role": "assistant", "content": [part("redacted_thinking", data="ZGF0YQ=="), text("No.")]},
                user([text("b")]),
            ],
        ),
        (
            [user("a"), part("reasoning", summary=[part("summary_text", text="unsigned")]), user("b")],
            [user([text("a")]), user([text("b")])],
        ),
    ],
)
def test_items(items: Any, messages: list[Json]) -> None:
    assert messages_of(items) == messages


def test_arguments_stay_as_they_were_written() -> None:
    request, _ = mapped({"input": [user("a"), call("1", '{"a" :  1.0}')]})
    assert b'"input":{"a" :  1.0}' in bytes(request.messages[1].content)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"instructions": "Be kind."}, {"system": "Be kind."}),
        ({"max_output_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.5, "top_p": 0.1}, {"temperature": 0.5, "top_p": 0.1}),
        (
            {"tools": [TOOL]},
            {"tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}, "strict": True}]},
        ),
        ({"tools": [OTHER]}, {"tools": [{"name": "other", "input_schema": {"type": "object", "properties": {}}}]}),
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"reasoning": {"effort": "minimal"}}, {"output_config": {"effort": "low"}}),
        (
            {"reasoning": {"effort": "high", "summary": "auto"}},
            {"output_config": {"effort": "high"}, "thinking": {"type": "adaptive"}},
        ),
        ({"reasoning": {"effort": "none", "summary": "auto"}}, {"thinking": {"type": "disabled"}}),
        ({"tool_choice": "auto"}, {}),
        ({"user": "me"}, {"metadata": {"user_id": "2744ccd10c7533bd736ad890f9dd5cab2adb27b07d500b9493f29cdc420cb2e0"}}),
    ],
)
def test_parameters(asked: Json, expected: Json) -> None:
    assert body_of(**asked) == {"model": "claude-sim", "max_tokens": 77} | expected


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "name": "other"}}, {"type": "tool", "name": "other"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_tool_choice(asked: Json, choice: Json | None) -> None:
    assert body_of(tools=[TOOL, OTHER], **asked).get("tool_choice") == choice


def test_allowed_tools_are_the_only_ones_there() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    body = body_of(tools=[TOOL, OTHER], tool_choice=allowed)
    assert [tool["name"] for tool in body["tools"]] == ["other"]
    assert body["tool_choice"] == {"type": "any"}


def test_json_object_is_asked_for_in_words() -> None:
    blocks = body_of(instructions="Be kind.", text={"format": {"type": "json_object"}})["system"]
    assert blocks[0]["text"] == "Be kind."
    assert "JSON" in blocks[1]["text"]


@pytest.mark.parametrize(
    ("settings", "asked", "sent", "named"),
    [
        (SETTINGS, {"temperature": 1.5}, {"temperature": 1.0}, ["temperature"]),
        (SETTINGS, {"temperature": 1, "reasoning": {"summary": "auto"}}, {}, ["temperature"]),
        (Settings(upstream_version="2026-10-21"), {"temperature": 1, "top_p": 1}, {}, ["temperature", "top_p"]),
    ],
)
def test_sampling_that_cannot_be_heeded_is_named(settings: Settings, asked: Json, sent: Json, named: list[str]) -> None:
    request, ignored = mapped(asked, settings)
    assert {name: request.body[name] for name in ("temperature", "top_p") if name in request.body} == sent
    assert ignored == named


def test_unknown_fields_are_named_and_null_is_as_good_as_absent() -> None:
    nulls = dict.fromkeys(("instructions", "store", "tools", "metadata", "text", "reasoning", "prompt", "mystery"))
    assert mapped(nulls)[1] == []
    strange = {"truncation": "auto", "service_tier": "flex", "a\r\nb": 1}
    _, ignored = mapped(strange | {"include": ["x"], "text": {"verbosity": "low"}})
    assert ignored_header(ignored) == {"x-ignored-params": "include, text.verbosity, truncation, service_tier"}
    assert ignored_header(["a\r\nb"]) == {}
    assert mapped({"include": ["reasoning.encrypted_content"]})[1] == []


def test_ids_are_those_of_completions() -> None:
    id = uuid7()
    assert mapped({"previous_response_id": f"resp_{id.hex}"})[0].previous_id == id
    for conversation in (str(id), {"id": str(id)}, f"conv_{id.hex}"):
        assert mapped({"conversation": conversation})[0].conversation_id == id
    for field in ("previous_response_id", "conversation"):
        with pytest.raises(NotFound) as raised:
            mapped({field: "nonsense"})
        assert raised.value.param == field


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"model": "a\x00"}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 1}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [{}]}, "input[0].role"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [user("")]}, "input[0].content"),
        ({"input": [user(1)]}, "input[0].content"),
        ({"input": [user([1])]}, "input[0].content[0].type"),
        ({"input": [user([part("input_audio")])]}, "input[0].content[0].type"),
        ({"input": [user([part("input_text", text=1)])]}, "input[0].content[0]"),
        ({"input": [user([part("input_image", image_url="http://x.test/a")])]}, "input[0].content[0].image_url"),
        (
            {"input": [user([part("input_image", image_url="data:image/tiff;base64,aGk=")])]},
            "input[0].content[0].image_url",
        ),
        ({"input": [user([part("input_image", file_id="file_1")])]}, "input[0].content[0].image_url"),
        ({"input": [user([part("input_file", file_id="file_1")])]}, "input[0].content[0].file_data"),
        (
            {"input": [user([part("input_file", file_data="data:text/plain;base64,%")])]},
            "input[0].content[0].file_data",
        ),
        ({"input": [{"role": "system", "content": [part("input_image", image_url=PNG)]}]}, "input[0].content[0].type"),
        ({"input": [user("a"), call("1", "{")]}, "input[1].arguments"),
        ({"input": [user("a"), call("1", "[]")]}, "input[1].arguments"),
        ({"input": [part("function_call", call_id="1", arguments="{}")]}, "input[0].name"),
        ({"input": [result("")]}, "input[0].call_id"),
        ({"input": [result("1", {"a": 1})]}, "input[0].output"),
        ({"input": [part("reasoning", summary=1, encrypted_content="x")]}, "input[0].summary"),
        ({"input": [part("computer_call")]}, "input[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": ["x"]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TOOL | {"parameters": 1}]}, "tools[0].parameters"),
        ({"tools": [TOOL | {"description": 1}]}, "tools[0].description"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "nonsense"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "look"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [1]}}, "tool_choice.tools"),
        ({"text": {"format": {"type": "x"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"format": 1}}, "text.format"),
        ({"reasoning": {"effort": "x"}}, "reasoning.effort"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"previous_response_id": "resp_1", "conversation": "1"}, "previous_response_id"),
        ({"background": True, "store": False}, "background"),
    ],
)
def test_faults_name_their_field(asked: Json, param: str) -> None:
    with pytest.raises(AppError) as raised:
        mapped(asked)
    assert (raised.value.http_status, raised.value.param) == (400, param)


def test_input_items_give_back_what_was_asked() -> None:
    items = [
        {"role": "developer", "content": [part("input_text", text="d")]},
        {"role": "user", "content": [part("input_text", text="a"), part("input_image", detail="auto", image_url=PNG)]},
        part("reasoning", summary=[part("summary_text", text="t")], encrypted_content="sig"),
        part("reasoning", summary=[], encrypted_content="redacted_thinking:ZGF0YQ=="),
        {"role": "assistant", "content": [part("output_text", text="I ask", annotations=[])]},
        call("1", '{"a":1}'),
        result("1", [part("input_text", text="42")]),
    ]
    request, _ = mapped({"input": items})
    id = uuid7()
    listed = input_items(id, request.messages)
    assert [item.pop("id") for item in listed] == [f"in_{id.hex}_{index}" for index in range(len(items))]
    for item in listed:
        item.pop("status", None)
        if item["type"] == "message":
            del item["type"]
    assert listed == items


SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "rivers"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"url": "https://x.test/"}]}
UNKNOWN = {"type": "server_tool_use", "id": "srv_2", "name": "of_the_future", "input": {}}


def test_input_items_have_the_calls_that_the_upstream_ran() -> None:
    content = [{"type": "text", "text": "I look"}, SEARCH, UNKNOWN, FOUND, {"type": "text", "text": "Found"}]
    id = uuid7()
    said, search, found = input_items(id, [NewMessage("assistant", msgspec.Raw(msgspec.json.encode(content)))])
    assert (said["content"][0]["text"], found["content"][0]["text"]) == ("I look", "Found")
    assert search == {
        "id": f"in_{id.hex}_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {
            "type": "search",
            "query": "rivers",
            "queries": ["rivers"],
            "sources": [{"type": "url", "url": "https://x.test/"}],
        },
    }
    (waiting,) = input_items(id, [NewMessage("assistant", msgspec.Raw(msgspec.json.encode([SEARCH])))])
    assert waiting["status"] == "incomplete"


@pytest.mark.parametrize("kind", ["web_search_call", "code_interpreter_call", "mcp_call"])
def test_calls_that_the_upstream_ran_may_be_sent_back(kind: str) -> None:
    """By clients that keep everything themselves; the upstream cannot be given them."""
    items = [{"role": "user", "content": "a"}, {"type": kind, "id": "x"}, {"role": "assistant", "content": "b"}]
    request, _ = mapped({"input": items})
    assert [message.role for message in request.messages] == ["user", "assistant"]


def test_nothing_that_other_dialects_store_breaks_the_list() -> None:
    contents: list[Any] = [None, 1, "", [], [1], [{}], [{"type": "tool_use"}], [{"type": "tool_result"}]]
    contents += [[{"type": "server_tool_use", "name": 1}], [{"type": "web_search_tool_result", "tool_use_id": [1]}]]
    contents += [[{"type": "mcp_tool_use"}], [SEARCH | {"input": [1], "id": {}}, FOUND | {"content": 1}]]
    for content in contents:
        raw = msgspec.Raw(msgspec.json.encode(content))
        assert input_items(uuid7(), [NewMessage("user", raw)]) in ([], [ANY])
