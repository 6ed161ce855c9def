"""From what `useChat` sends to the Messages API's content."""

from typing import Any

import pytest

from app.config import Settings
from app.dialects.ui_request import ChatRequest, answers_to, body_of, chat_request, content_of
from app.domain.errors import Unprocessable


def request(**fields: Any) -> ChatRequest:
    return chat_request({"id": "c", **fields})


def message(*parts: dict[str, Any], role: str = "user", id: str = "m") -> dict[str, Any]:
    return {"id": id, "role": role, "parts": list(parts)}


def said(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    last = request(messages=[message(*parts)]).last
    assert last is not None
    return content_of(last)


TEXT = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (TEXT, {"type": "text", "text": "Hi"}),
        (
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AAEC"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAEC"}},
        ),
        (
            {"type": "file", "mediaType": "", "url": "data:image/gif;base64,AAEC"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AAEC"}},
        ),
        (
            {"type": "file", "mediaType": "image/webp", "url": "https://a.example/b"},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/b"}},
        ),
        (
            {
                "type": "file",
                "mediaType": "application/pdf",
                "url": "data:application/pdf;base64,AAEC",
                "filename": "f",
            },
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AAEC"},
                "title": "f",
            },
        ),
        (
            {"type": "file", "mediaType": "application/pdf", "url": "https://a.example/b.pdf"},
            {"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}},
        ),
        (
            {"type": "file", "mediaType": "text/markdown", "url": "data:text/markdown,%23%20Gr%C3%BC%C3%9Fe"},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "# Grüße"}},
        ),
    ],
)
def test_parts_become_blocks(part: dict[str, Any], block: dict[str, Any]) -> None:
    assert said(part) == [block]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "step-start"},
        {"type": "data-note", "data": {"x": 1}},
        {"type": "reasoning", "text": "Well"},
        {"type": "source-url", "sourceId": "s", "url": "https://a.example"},
        {"type": "dynamic-tool", "toolCallId": "t", "toolName": "f", "state": "output-available", "output": 1},
        {"type": "text", "text": ""},
    ],
)
def test_what_is_only_for_show_is_left_out(part: dict[str, Any]) -> None:
    assert said(part, TEXT) == [{"type": "text", "text": "Hi"}]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text"},
        {"type": "text", "text": 7},
        {"type": "file", "mediaType": "image/png"},
        {"type": "file", "mediaType": "image/png", "url": "http://a.example/b.png"},
        {"type": "file", "mediaType": "image/png", "url": "file:///etc/passwd"},
        {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,%%%"},
        {"type": "file", "mediaType": "image/png", "url": "data:image/png"},
        {"type": "file", "mediaType": "audio/mpeg", "url": "data:audio/mpeg;base64,AAEC"},
        {"type": "file", "mediaType": "audio/mpeg", "url": "https://a.example/b.mp3"},
        {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,/////w=="},
        {"type": "step-start"},
    ],
)
def test_what_cannot_be_sent_on_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable):
        said(part)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"id": 7},
        {"id": "x" * 201},
        {"id": "a\0b"},
        {"trigger": "resume-stream"},
        {"messageId": "\0"},
        {"messages": {}},
        {"messages": [{"role": "tool", "parts": []}]},
        {"messages": [{"role": "user", "parts": ["text"]}]},
    ],
)
def test_a_wrong_shape_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable):
        request(**fields)


def test_the_last_message_alone() -> None:
    alone = request(message=message(TEXT, id="m9"), messageId=None)
    assert alone.last is not None
    assert alone.last.id == "m9"
    assert request().last is None


def test_system_messages_are_instructions() -> None:
    asked = request(messages=[message({"type": "text", "text": "Be kind."}, role="system"), message(TEXT)])
    assert asked.instructions() == "Be kind."
    assert body_of({}, asked, Settings())["system"] == "Be kind."
    assert body_of({"system": "Be short."}, asked, Settings())["system"] == "Be short."
    assert "system" not in body_of({}, request(), Settings())


# -- tools


def tool(state: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool-f", "toolCallId": "toolu_1", "state": state, "input": {}, **fields}


@pytest.mark.parametrize(
    ("part", "result"),
    [
        (tool("output-available", output="sunny"), {"content": "sunny"}),
        (tool("output-available", output={"a": [1, "ü"]}), {"content": '{"a":[1,"ü"]}'}),
        (tool("output-available", output=None), {"content": "null"}),
        (tool("output-error", errorText="no"), {"content": "no", "is_error": True}),
        (tool("output-error"), {"content": "The tool failed.", "is_error": True}),
        (tool("output-denied"), {"content": "The user denied this tool call.", "is_error": True}),
        (
            tool("approval-responded", approval={"id": "a", "approved": False}),
            {"content": "The user denied this tool call.", "is_error": True},
        ),
        (tool("approval-responded", approval={"id": "a", "approved": True}), None),
        (tool("input-available"), None),
        (tool("input-streaming"), None),
        (tool("output-available", output="x", providerExecuted=True), None),
    ],
)
def test_tool_outputs(part: dict[str, Any], result: dict[str, Any] | None) -> None:
    outputs = request(messages=[message(TEXT), message(part, role="assistant")]).tool_outputs()
    expected = {"type": "tool_result", "tool_use_id": "toolu_1", **result} if result is not None else None
    assert outputs.get("toolu_1") == expected


def test_tool_outputs_come_from_assistant_messages_only() -> None:
    assert request(messages=[message(tool("output-available", output="x"))]).tool_outputs() == {}


def test_every_pending_call_is_answered() -> None:
    outputs = request(messages=[message(tool("output-available", output="x"), role="assistant")]).tool_outputs()
    assert answers_to(["toolu_2", "toolu_1"], outputs) == [
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "The tool was not run.", "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"},
    ]


# -- the rest of the body


@pytest.mark.parametrize("name", ["max_tokens", "maxTokens", "maxOutputTokens"])
def test_max_tokens_has_three_names(name: str) -> None:
    assert body_of({name: 9}, request(), Settings())["max_tokens"] == 9


def test_settings_fill_what_is_left_out() -> None:
    settings = Settings(chat_model="m", default_max_tokens=7)
    assert body_of({"id": "c", "sessionId": 1}, request(), settings) == {"model": "m", "max_tokens": 7}


def test_tools_in_both_forms() -> None:
    ours = [{"name": "f", "input_schema": {"type": "object"}}]
    assert body_of({"tools": ours}, request(), Settings())["tools"] == ours
    theirs = {"f": {"description": "d", "inputSchema": {"type": "object", "properties": {}}}, "g": {}}
    assert body_of({"tools": theirs}, request(), Settings())["tools"] == [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}},
        {"name": "g", "input_schema": {"type": "object"}},
    ]


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 0}, {"max_tokens": "9"}, {"model": ""}, {"tools": "f"}, {"system": 7}]
)
def test_wrong_extras_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable):
        body_of(fields, request(), Settings())
