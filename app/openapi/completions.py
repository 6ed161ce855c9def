"""The native API of completions."""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from msgspec import Struct
from pydantic import BaseModel

from app.completions import endpoints, schemas
from app.domain.completion import OnDisconnect, Status
from app.domain.errors import Gone, InvalidRequest, PermissionDenied, Unprocessable
from app.openapi import errors
from app.openapi.headers import COMPLETION
from app.openapi.operation import Answer, Body, Operation, Subject


class InputMessage(BaseModel):
    """A message as in Anthropic's API."""

    role: str
    content: str | list[dict[str, Any]]


class CreateCompletion(schemas.CreateCompletion):
    """A Messages request with `input` for its messages, and what is Headwater's own."""

    input: str | list[InputMessage]  # type: ignore[assignment]  # as the upstream reads it


class CompletionError(Struct):
    type: str
    code: str
    message: str


class CompletionSummary(Struct):
    """A completion as it stands in a list. `usage` is that of the Messages API, `cost` is in US dollars.

    The cost is null while it streams, and where no price is known. `estimated`: the final counts never came.
    """

    id: UUID
    object: Literal["completion"]
    status: Status
    model: str
    conversation_id: UUID | None
    stop_reason: str | None
    usage: dict[str, Any] | None
    cost: str | None
    estimated: bool | None
    error: CompletionError | None
    attempts: int
    store: bool
    on_disconnect: OnDisconnect
    metadata: dict[str, Any]
    cancel_requested_at: datetime | None
    created_at: datetime
    first_event_at: datetime | None
    finished_at: datetime | None


class Completion(CompletionSummary):
    """A completion. Its contents are null while it streams, and after they were not stored.

    `text` is all text blocks as one string, `content` are the content blocks, `request` is the Messages request.
    """

    text: str | None
    content: list[dict[str, Any]] | None
    request: dict[str, Any] | None


class CompletionPage(Struct):
    data: list[CompletionSummary]
    next_cursor: UUID | None


_STREAM: Final = (
    'Frames without `event:` are the text, `data: {"text": "..."}`; named ones are all else (`message`, `thinking`, '
    "`tool_input`, `usage`, `error`, ...). `id` is the position to read on from. `data: [DONE]` is the end, and a "
    "stream without it is not whole. Lines that begin with a colon keep the connection open."
)
_ANY_DIALECT: Final = f"In the dialect that was asked for. The plain one: {_STREAM}"
_HELD_BACK: Final = PermissionDenied("This key may not use `service_tier`.", code="not_allowed_for_key")

SUBJECT: Final = Subject(
    operations={
        "create_completion": Operation(
            endpoint=endpoints.create,
            takes=Body(
                types=[CreateCompletion],
                examples={
                    "streaming": {"model": "claude-sim", "input": "Say hello.", "max_tokens": 5},
                    "whole": {"model": "claude-sim", "input": "Say hello.", "max_tokens": 5, "stream": False},
                    "in a conversation": {
                        "model": "claude-sim",
                        "input": [{"role": "user", "content": "And then?"}],
                        "max_tokens": 100,
                        "conversation_id": "01980000-0000-7000-8000-000000000000",
                        "on_disconnect": "cancel",
                        "metadata": {"page": "help"},
                    },
                },
            ),
            answers=[
                Answer(
                    description="The answer as it is written; with `stream: false` the completion, once it has ended.",
                    json=Completion,
                    stream=_STREAM,
                    headers=COMPLETION,
                )
            ],
            errors=[
                Unprocessable("model: Field required", param="model"),
                _HELD_BACK,
                errors.NO_CONVERSATION,
                errors.BUSY,
                *errors.LIMITS,
                *errors.UPSTREAM,
                *errors.ENDED,
            ],
        ),
        "list_completions": Operation(
            endpoint=endpoints.list_completions,
            answers=[Answer(description="A page of completions.", json=CompletionPage)],
            errors=[errors.BAD_CURSOR, errors.INVALID],
        ),
        "get_completion": Operation(
            endpoint=endpoints.read,
            answers=[Answer(description="The completion.", json=Completion)],
            errors=[errors.NO_COMPLETION],
        ),
        "stream_completion": Operation(
            endpoint=endpoints.stream,
            answers=[
                Answer(description="All events past the position.", stream=_ANY_DIALECT),
                Answer(status=204, description="The position is that of the last event: there is no more."),
            ],
            errors=[
                InvalidRequest("The position must be a number of the stream.", code="invalid_position"),
                InvalidRequest("The position lies beyond the end of the stream.", code="position_beyond_end"),
                errors.NO_COMPLETION,
                Gone("The stream of this completion is not kept any more.", code="stream_gone"),
                Unprocessable("dialect: Input should be 'plain', ...", param="dialect"),
            ],
        ),
        "cancel_completion": Operation(
            endpoint=endpoints.cancel,
            answers=[Answer(description="The completion as it is now.", json=Completion)],
            errors=[errors.NO_COMPLETION],
        ),
        "delete_completion": Operation(
            endpoint=endpoints.delete,
            answers=[Answer(status=204, description="It is deleted.")],
            errors=[errors.NO_COMPLETION, errors.RUNNING],
        ),
    }
)
