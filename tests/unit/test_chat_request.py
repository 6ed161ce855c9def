"""Chat Completions requests as Messages requests."""

import hashlib
from typing import Any

import msgspec
import pytest

from app.dialects.chat_request import Mapped, mapped, read
from app.domain.errors import InvalidRequest

Json = dict[str, Any]

HELLO = {"role": "user", "content": "Hello."}
PNG = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def ask(*, version: str = "2023-06-01", fetches_urls: bool = True, **fields: Any) -> Mapped:
    sent = {"model": "claude-x", "messages": [HELLO], **fields}
    request = read(msgspec.json.encode(sent))
    return mapped(request, sent, version=version, max_tokens=8192, fetches_urls=fetches_urls)


def told(*messages: Json, **options: Any) -> list[tuple[str, Any]]:
    return [
        (message.role, msgspec.json.decode(message.content))
        for message in ask(messages=list(messages), **options).messages
    ]


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def call(id: str, arguments: str, name: str = "get_weather") -> Json:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def use(id: str, input: Json, name: str = "get_weather") -> Json:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def result(id: str, *content: Json) -> Json:
    return {"type": "tool_result", "tool_use_id": id, **({"content": list(content)} if content else {})}


def test_the_least() -> None:
    asked = ask()
    assert asked.body == {"model": "claude-x", "max_tokens": 8192}
    assert asked.ignored == []
    assert told(HELLO) == [("user", [text("Hello.")])]


MESSAGES: dict[str, tuple[list[Json], list[tuple[str, Any]]]] = {
    "parts": (
        [{"role": "user", "content": [text("a"), text("b")]}],
        [("user", [text("a"), text("b")])],
    ),
    "neighbours": (
        [HELLO, {"role": "user", "name": "Ann", "content": "b"}],
        [("user", [text("Hello."), text("b")])],
    ),
    "turns": (
        [HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "b"}],
        [("user", [text("Hello.")]), ("assistant", [text("Hi.")]), ("user", [text("b")])],
    ),
    "empty text": (
        [HELLO, {"role": "assistant", "content": " "}, {"role": "user", "content": [text(""), text("b")]}],
        [("user", [text("Hello."), text("b")])],
    ),
    "refused": (
        [HELLO, {"role": "assistant", "content": None, "refusal": "No."}, HELLO],
        [("user", [text("Hello.")]), ("assistant", [text("No.")]), ("user", [text("Hello.")])],
    ),
    "refusal part": (
        [HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, HELLO],
        [("user", [text("Hello.")]), ("assistant", [text("No.")]), ("user", [text("Hello.")])],
    ),
    "image": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]}],
        [
            (
                "user",
                [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                    }
                ],
            )
        ],
    ),
    "jpg": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "DATA:image/JPG;base64,/9j/"}}]}],
        [
            (
                "user",
                [{"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}}],
            )
        ],
    ),
    "image by address": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://r.example/a.png"}}]}],
        [("user", [{"type": "image", "source": {"type": "url", "url": "https://r.example/a.png"}}])],
    ),
    "pdf": (
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
                    }
                ],
            }
        ],
        [
            (
                "user",
                [
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
                        "title": "a.pdf",
                    }
                ],
            )
        ],
    ),
    "tools": (
        [
            HELLO,
            {
                "role": "assistant",
                "content": "I ask.",
                "tool_calls": [call("call_1", '{"city": "Paris"}'), call("call_2", "")],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
            {"role": "tool", "tool_call_id": "call_2", "content": [text("Sun.")]},
            {"role": "user", "content": "And?"},
        ],
        [
            ("user", [text("Hello.")]),
            ("assistant", [text("I ask."), use("call_1", {"city": "Paris"}), use("call_2", {})]),
            ("user", [result("call_1", text("Rain.")), result("call_2", text("Sun.")), text("And?")]),
        ],
    ),
    "results come first": (
        [
            HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call("call_1", "{}")]},
            {"role": "user", "content": "Hurry."},
            {"role": "tool", "tool_call_id": "call_1", "content": ""},
        ],
        [
            ("user", [text("Hello.")]),
            ("assistant", [use("call_1", {})]),
            ("user", [result("call_1"), text("Hurry.")]),
        ],
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    sent, wanted = MESSAGES[name]
    assert told(*sent) == wanted


def test_arguments_stay_as_they_were_written() -> None:
    arguments = '{"amount": 1.50, "word": "\\u00e9"}'
    assistant = {"role": "assistant", "content": None, "tool_calls": [call("call_1", arguments)]}
    asked = ask(messages=[HELLO, assistant, {"role": "tool", "tool_call_id": "call_1", "content": "x"}])
    assert arguments.encode() in bytes(asked.messages[1].content)


def test_system_prompts_from_everywhere_in_order() -> None:
    asked = ask(
        messages=[
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [text("Two."), text(" ")]},
            HELLO,
            {"role": "system", "content": "Three."},
        ]
    )
    assert asked.body["system"] == "One.\nTwo.\nThree."
    assert [message.role for message in asked.messages] == ["user"]


OPTIONS: dict[str, tuple[Json, Json]] = {
    "max_tokens": ({"max_tokens": 5}, {"max_tokens": 5}),
    "max_completion_tokens": ({"max_completion_tokens": 6, "max_tokens": 5}, {"max_tokens": 6}),
    "stop": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "stops": ({"stop": ["a", "\n", ""]}, {"stop_sequences": ["a"]}),
    "no stop": ({"stop": "\n"}, {}),
    "nulls": (
        dict.fromkeys(
            ["stop", "n", "temperature", "tools", "tool_choice", "response_format", "user", "stream", "seed", "audio"]
        ),
        {},
    ),
    "one choice": ({"n": 1, "logprobs": False}, {}),
    "temperature": ({"temperature": 0}, {"temperature": 0}),
    "hot": ({"temperature": 1.7, "top_p": 0.9}, {"temperature": 1.0, "top_p": 0.9}),
    "effort": ({"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
    "least effort": ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
    "no effort": ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    "text": ({"response_format": {"type": "text"}}, {}),
    "schema": (
        {
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            "reasoning_effort": "low",
        },
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ),
    "user": ({"user": "ann"}, {"metadata": {"user_id": hashlib.sha256(b"ann").hexdigest()}}),
    "safety_identifier": (
        {"user": "ann", "safety_identifier": "bob"},
        {"metadata": {"user_id": hashlib.sha256(b"bob").hexdigest()}},
    ),
    "unknown fields": ({"of_the_future": {"a": 1}, "thinking": {"type": "enabled"}}, {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    sent, wanted = OPTIONS[name]
    asked = ask(**sent)
    assert asked.body == {"model": "claude-x", "max_tokens": 8192, **wanted}
    assert asked.ignored == []


def test_json_without_a_schema_is_asked_for_in_words() -> None:
    asked = ask(messages=[{"role": "system", "content": "One."}, HELLO], response_format={"type": "json_object"})
    first, second = asked.body["system"].split("\n")
    assert first == "One."
    assert "JSON" in second


def test_a_version_without_temperatures() -> None:
    asked = ask(version="2026-10-21", temperature=0.5, top_p=1, seed=7)
    assert asked.body == {"model": "claude-x", "max_tokens": 8192}
    assert asked.ignored == ["seed", "temperature", "top_p"]


DROPPED: Json = {
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [],
    "logit_bias": {"50256": -100},
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0,
    "prompt_cache_key": "k",
    "seed": 1,
    "service_tier": "auto",
    "store": False,
    "top_logprobs": 0,
    "verbosity": "low",
    "web_search_options": {},
}


def test_what_has_no_effect_is_named() -> None:
    asked = ask(**DROPPED)
    assert asked.ignored == sorted(DROPPED)
    assert asked.body == {"model": "claude-x", "max_tokens": 8192}


TOOLS: dict[str, tuple[Json, Json]] = {
    "least": ({"name": "f"}, {"name": "f", "input_schema": {"type": "object"}}),
    "null": (
        {"name": "f", "description": None, "parameters": None, "strict": None},
        {"name": "f", "input_schema": {"type": "object"}},
    ),
    "empty": ({"name": "f", "parameters": {}, "strict": False}, {"name": "f", "input_schema": {"type": "object"}}),
    "whole": (
        {"name": "f", "description": "d", "parameters": {"type": "object", "required": []}, "strict": True},
        {"name": "f", "description": "d", "input_schema": {"type": "object", "required": []}, "strict": True},
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools(name: str) -> None:
    sent, wanted = TOOLS[name]
    assert ask(tools=[{"type": "function", "function": sent}]).body["tools"] == [wanted]


CHOICES: list[tuple[Any, bool | None, Json | None]] = [
    (None, None, None),
    (None, True, None),
    ("auto", None, {"type": "auto"}),
    ("none", None, {"type": "none"}),
    ("required", None, {"type": "any"}),
    ({"type": "function", "function": {"name": "get_weather"}}, None, {"type": "tool", "name": "get_weather"}),
    (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
    ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    ("none", False, {"type": "none"}),
]


@pytest.mark.parametrize(("choice", "parallel", "wanted"), CHOICES)
def test_tool_choice(choice: Any, parallel: bool | None, wanted: Json | None) -> None:
    asked = ask(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=parallel)
    assert asked.body.get("tool_choice") == wanted


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_a_choice_among_no_tools_says_nothing(choice: str | None) -> None:
    assert "tool_choice" not in ask(tool_choice=choice, parallel_tool_calls=False).body


def user(part: Json) -> Json:
    return {"messages": [{"role": "user", "content": [part]}]}


def assistant(**fields: Any) -> Json:
    return {"messages": [HELLO, {"role": "assistant", **fields}]}


def image(url: str) -> Json:
    return user({"type": "image_url", "image_url": {"url": url}})


def file(**fields: Any) -> Json:
    return user({"type": "file", "file": fields})


DEEP = '{"a":' * 101 + "1" + "}" * 101
IMAGE = "messages[0].content[0].image_url.url"
FILE = "messages[0].content[0].file.file_data"
ARGUMENTS = "messages[1].tool_calls[0].function.arguments"

BAD: dict[str, tuple[Json, str]] = {
    "no model": ({"model": None}, "model"),
    "empty model": ({"model": ""}, "model"),
    "no messages": ({"messages": []}, "messages"),
    "messages": ({"messages": "Hello."}, "messages"),
    "nothing to answer": ({"messages": [{"role": "system", "content": "One."}]}, "messages"),
    "empty": ({"messages": [{"role": "user", "content": ""}]}, "messages"),
    "role": ({"messages": [HELLO, {"role": "function", "name": "f", "content": "x"}]}, "messages[1].role"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "content": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    "part": (user({"type": "video_url"}), "messages[0].content[0].type"),
    "part without text": (user({"type": "text"}), "messages[0].content[0].text"),
    "image in system": (
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}, HELLO]},
        "messages[0].content[0].type",
    ),
    "audio": (
        user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
        "messages[0].content[0].type",
    ),
    "image type": (image("data:image/tiff;base64,AAAA"), IMAGE),
    "image text": (image("data:image/png,abc"), IMAGE),
    "image without data": (image("data:image/png;base64,"), IMAGE),
    "http image": (image("http://r.example/a.png"), IMAGE),
    "local image": (image("file:///etc/passwd"), IMAGE),
    "no url": (image(""), IMAGE),
    "file id": (file(file_id="file-1"), FILE),
    "file type": (file(file_data="data:text/plain;base64,AAAA"), FILE),
    "bare file": (file(file_data="JVBERi0="), FILE),
    "arguments": (assistant(tool_calls=[call("c", "{")]), ARGUMENTS),
    "list of arguments": (assistant(tool_calls=[call("c", "[1]")]), ARGUMENTS),
    "not a number": (assistant(tool_calls=[call("c", '{"a": NaN}')]), ARGUMENTS),
    "deep arguments": (assistant(tool_calls=[call("c", DEEP)]), ARGUMENTS),
    "very deep arguments": (assistant(tool_calls=[call("c", '{"a":' * 100_000)]), ARGUMENTS),
    "custom call": (
        assistant(tool_calls=[{"id": "c", "type": "custom", "custom": {}}]),
        "messages[1].tool_calls[0].type",
    ),
    "tool without id": ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    "choices": ({"n": 2}, "n"),
    "no choices": ({"n": 0}, "n"),
    "logprobs": ({"logprobs": True}, "logprobs"),
    "spoken": ({"modalities": ["text", "audio"]}, "modalities"),
    "temperature": ({"temperature": 2.1}, "temperature"),
    "cold": ({"temperature": -1}, "temperature"),
    "top_p": ({"top_p": 2}, "top_p"),
    "max_tokens": ({"max_tokens": 0}, "max_tokens"),
    "endless": ({"max_completion_tokens": 10**9}, "max_completion_tokens"),
    "half a token": ({"max_tokens": 1.5}, "max_tokens"),
    "stop": ({"stop": 5}, "stop"),
    "stops": ({"stop": ["a", 5]}, "stop[1]"),
    "stream": ({"stream": "yes"}, "stream"),
    "stream_options": ({"stream_options": []}, "stream_options"),
    "effort": ({"reasoning_effort": "infinite"}, "reasoning_effort"),
    "format": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "no schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
    ),
    "tools": ({"tools": {}}, "tools"),
    "custom tool": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    "nameless tool": ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    "required of none": ({"tool_choice": "required"}, "tool_choice"),
    "some other tool": (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "tool_choice.function.name",
    ),
    "strange choice": ({"tools": [WEATHER], "tool_choice": "perhaps"}, "tool_choice"),
    "user": ({"user": 5}, "user"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_meant(name: str) -> None:
    fields, param = BAD[name]
    with pytest.raises(InvalidRequest) as caught:
        ask(**fields)
    assert caught.value.http_status == 400
    assert caught.value.param == param
    assert caught.value.message


def test_no_model_at_all() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(b'{"messages": [{"role": "user", "content": "x"}]}')
    assert caught.value.param == "model"


def test_an_upstream_that_fetches_nothing() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(fetches_urls=False, **image("https://r.example/a.png"))
    assert caught.value.param == IMAGE
    assert ask(fetches_urls=False, **image(PNG)).messages
