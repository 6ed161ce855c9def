"""How each dialect is asked for a stream, and by which bytes its tokens, its end and its errors are known.

A mark begins with a line's end or with a quotation mark: neither stands unescaped in JSON's strings, so that no text of
an answer looks like one. It lies in one line.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_INPUT_TOKENS: Final = re.compile(rb'"(?:input_tokens|prompt_tokens)": ?(\d+)')
_OUTPUT_TOKENS: Final = re.compile(rb'"(?:output_tokens|completion_tokens)": ?(\d+)')
_CODE: Final = re.compile(rb'"(?:error_code|code|type)": ?"([a-z][a-z0-9_]{0,60})"')
# What says only that it is an error.
_NO_CODES: Final = {"error", "response_failed"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """`name` is that of `?dialect=` where a stream is read on; `body` takes the model, the input and max_tokens."""

    name: str
    path: str
    token: bytes
    ends: tuple[bytes, ...]
    errors: tuple[bytes, ...]
    body: Callable[[str, str, int], dict[str, Any]]


def _plain(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    return {"model": model, "input": text, "max_tokens": max_tokens}


def _messages(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "stream": True}


def _chat(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    return _messages(model, text, max_tokens) | {"stream_options": {"include_usage": True}}


def _responses(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    return {"model": model, "input": text, "max_output_tokens": max_tokens, "stream": True}


def _page(_model: str, text: str, _max_tokens: int) -> dict[str, Any]:
    """A new chat. A page names no model and no length: the service's settings do."""
    message = {"id": "question", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": secrets.token_hex(8), "messages": [message], "trigger": "submit-message"}


DIALECTS: Final = {
    each.name: each
    for each in (
        Dialect("plain", "/v1/completions", b'\ndata: {"text":', (b"\ndata: [DONE]",), (b"\nevent: error",), _plain),
        Dialect(
            "anthropic_messages",
            "/v1/messages",
            b"\nevent: content_block_delta",
            (b"\nevent: message_stop",),
            (b"\nevent: error",),
            _messages,
        ),
        Dialect(
            "openai_chat",
            "/v1/chat/completions",
            b'"delta":{"content":',
            (b"\ndata: [DONE]",),
            (b'\ndata: {"error"',),
            _chat,
        ),
        Dialect(
            "openai_responses",
            "/v1/responses",
            b"\nevent: response.output_text.delta",
            (b"\nevent: response.completed", b"\nevent: response.incomplete"),
            (b"\nevent: response.failed", b"\nevent: error"),
            _responses,
        ),
        Dialect(
            "ui_message",
            "/api/chat",
            b'\ndata: {"type":"text-delta"',
            (b"\ndata: [DONE]",),
            (b'\ndata: {"type":"error"', b'\ndata: {"type":"abort"'),
            _page,
        ),
    )
}


def tokens_told(lines: bytes) -> tuple[int | None, int | None]:
    """Of input and output, by the last usage in `lines`."""
    found = [pattern.findall(lines) for pattern in (_INPUT_TOKENS, _OUTPUT_TOKENS)]
    first, second = (int(each[-1]) if each else None for each in found)
    return first, second


def error_kind(lines: bytes) -> str:
    """What an error event says that it is: the last code in it, since the closest comes after the general one."""
    codes = [code.decode() for code in _CODE.findall(lines) if code.decode() not in _NO_CODES]
    return f"event_{codes[-1]}" if codes else "event_error"
