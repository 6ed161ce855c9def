"""Anthropic's Messages API."""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from app.completions import schemas
from app.dialects import messages
from app.domain.errors import InvalidRequest, PermissionDenied
from app.openapi import errors
from app.openapi.headers import COMPLETION
from app.openapi.operation import Answer, Body, Operation, Subject


class InputMessage(Struct):
    """`content` is a string or content blocks."""

    role: str
    content: str | list[dict[str, Any]]


class CountTokens(messages.MessagesRequest, frozen=True, kw_only=True):
    """A Messages request. Unknown fields go to the upstream, which judges them."""

    messages: Annotated[list[InputMessage], Meta(min_length=1)]  # type: ignore[assignment]  # as the upstream reads it


class CreateMessage(CountTokens, frozen=True, kw_only=True):
    """A Messages request. Unknown fields go to the upstream, which judges them."""

    max_tokens: Annotated[int, Meta(ge=0, le=schemas.MAX_TOKENS)]


class Message(Struct):
    """Fields that the upstream adds are passed on."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None
    usage: dict[str, Any]
    stop_details: dict[str, Any] | None = None


class TokenCount(Struct):
    input_tokens: int


# What the native API takes of the Messages API, by the same names.
_JUDGED_BY_THE_UPSTREAM: Final = {
    field: "As in the Messages API; judged by the upstream."
    for field in schemas.CreateCompletion.model_fields
    if field not in schemas.OURS | {"model", "max_tokens"}
} | {"metadata": "As in the Messages API; judged by the upstream."}
_INVALID: Final = InvalidRequest("max_tokens: Field required", param="max_tokens")
_HELD_BACK: Final = PermissionDenied("This key may not use `service_tier`.", code="not_allowed_for_key")
_STREAM: Final = (
    "The events of the Messages API, each with its position as `id`. `message_stop` is the end, or an `error` event."
)

SUBJECT: Final = Subject(
    prefix="Anthropic",
    operations={
        "create_message": Operation(
            endpoint=messages.create,
            takes=Body(
                types=[CreateMessage],
                open=_JUDGED_BY_THE_UPSTREAM,
                examples={
                    "streaming": {
                        "model": "claude-sim",
                        "max_tokens": 5,
                        "messages": [{"role": "user", "content": "Say hello."}],
                        "stream": True,
                    },
                    "whole": {
                        "model": "claude-sim",
                        "max_tokens": 5,
                        "messages": [{"role": "user", "content": "Say hello."}],
                    },
                },
            ),
            answers=[
                Answer(
                    description="The message; with `stream: true` its events as they come.",
                    json=Message,
                    stream=_STREAM,
                    headers=COMPLETION,
                )
            ],
            errors=[_INVALID, _HELD_BACK, *errors.UPSTREAM, *errors.ENDED],
        ),
        "count_tokens": Operation(
            endpoint=messages.count_tokens,
            takes=Body(
                types=[CountTokens],
                open=_JUDGED_BY_THE_UPSTREAM,
                examples={
                    "system": {
                        "model": "claude-sim",
                        "system": "You are brief.",
                        "messages": [{"role": "user", "content": "Say hello."}],
                    }
                },
            ),
            answers=[Answer(description="The number of tokens.", json=TokenCount)],
            errors=[_INVALID, _HELD_BACK, *errors.UPSTREAM],
        ),
    },
)
