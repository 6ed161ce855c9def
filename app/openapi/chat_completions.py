"""OpenAI's Chat Completions."""

from typing import Any, Final, Literal

from msgspec import Struct

from app.dialects import chat_completions
from app.dialects.chat_messages import ToolCall
from app.dialects.chat_request import DROPPED, ChatRequest
from app.domain.errors import InvalidRequest
from app.openapi import errors
from app.openapi.headers import COMPLETION
from app.openapi.operation import Answer, Body, Operation, Subject


class AnswerMessage(Struct):
    """`reasoning_content` is there with `HEADWATER_REASONING_CONTENT` alone."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: str = ""
    tool_calls: list[ToolCall] = []
    annotations: list[dict[str, Any]] = []


class AnswerChoice(Struct):
    index: Literal[0]
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    logprobs: None


class PromptDetails(Struct):
    cached_tokens: int
    cache_write_tokens: int


class CompletionDetails(Struct):
    reasoning_tokens: int


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class ChatCompletion(Struct):
    """`model` is the upstream's name of the model."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[AnswerChoice]
    usage: Usage


_REQUEST: Final = {"model": "claude-sim", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 5}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_STREAM: Final = (
    "Chunks (`chat.completion.chunk`) with positions as `id`, then `data: [DONE]`. `finish_reason` comes once the "
    "answer is committed; a stream that was cancelled or cut ends with a chunk that holds an `error`."
)

SUBJECT: Final = Subject(
    prefix="Chat",
    operations={
        "create_chat_completion": Operation(
            endpoint=chat_completions.create,
            takes=Body(
                types=[ChatRequest],
                open={
                    name: "Accepted without effect, and named in `x-ignored-params`."
                    for name in DROPPED
                    if name not in ChatRequest.__struct_fields__
                },
                examples={
                    "streaming": _REQUEST | {"stream": True, "stream_options": {"include_usage": True}},
                    "whole": _REQUEST,
                    "tools": _REQUEST | {"tools": [_TOOL], "tool_choice": "auto"},
                },
            ),
            answers=[
                Answer(
                    description="The answer; with `stream: true` its chunks as they come.",
                    json=ChatCompletion,
                    stream=_STREAM,
                    headers=[*COMPLETION, "x-ignored-params"],
                )
            ],
            errors=[
                InvalidRequest("n: Only one choice can be had.", param="n"),
                *errors.LIMITS,
                *errors.UPSTREAM,
                *errors.ENDED,
            ],
        )
    },
)
