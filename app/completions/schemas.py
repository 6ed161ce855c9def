"""What the native API takes and answers."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Raw
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.completions.repository import CompletionRow
from app.domain.completion import CompletionRequest, NewMessage, OnDisconnect
from app.domain.errors import Unprocessable
from app.domain.events import Error

# More than any model writes; a larger number is a mistake.
MAX_TOKENS = 1_000_000
# Postgres has no NUL in text.
MODEL_NAME = r"^[^\x00]+$"
MAX_METADATA = 16_384

OURS = {"input", "stream", "store", "on_disconnect", "metadata", "conversation_id"}


def _short(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(msgspec.json.encode(metadata)) > MAX_METADATA:
        raise ValueError(f"larger than {MAX_METADATA} bytes")
    return metadata


class CreateCompletion(BaseModel):
    """A Messages request with `input` for its messages, and what is Headwater's own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(max_length=200, pattern=MODEL_NAME)]
    input: Annotated[
        str | list[dict[str, Any]],
        Field(min_length=1, description="The user's words, or Messages API messages: `role` and `content`."),
    ]
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    system: str | list[dict[str, Any]] | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    cache_control: dict[str, Any] | None = None
    service_tier: str | None = None
    container: str | dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] | None = None
    speed: str | None = None
    inference_geo: str | None = None
    diagnostics: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None

    stream: Annotated[bool, Field(description="Answer with server-sent events.")] = True
    store: Annotated[bool, Field(description="Keep the contents once the completion has ended.")] = True
    on_disconnect: Annotated[
        Literal["continue", "cancel"], Field(description="What to do when nobody reads the stream any more.")
    ] = "continue"
    conversation_id: Annotated[
        str | None,
        Field(description="Take its history, and append this turn to it.", json_schema_extra={"format": "uuid"}),
    ] = None
    metadata: Annotated[
        dict[str, Any], AfterValidator(_short), Field(description="Yours, up to 16 kB of JSON; can be searched.")
    ] = {}


class _Input(msgspec.Struct, frozen=True):
    input: list[NewMessage]


def completion_request(created: CreateCompletion, raw: bytes) -> CompletionRequest:
    """The request in the one form that all dialects share. `raw` is the body that `created` was read from.

    Raises:
        Unprocessable: a message lacks its role or content, or the conversation's id is none.
    """
    return CompletionRequest(
        body=created.model_dump(exclude=OURS, exclude_none=True),
        messages=_messages(created, raw),
        conversation_id=_uuid(created.conversation_id),
        store=created.store,
        on_disconnect=OnDisconnect(created.on_disconnect),
        metadata=created.metadata,
    )


def _messages(created: CreateCompletion, raw: bytes) -> list[NewMessage]:
    if isinstance(created.input, str):
        return [NewMessage("user", Raw(msgspec.json.encode(created.input)))]
    try:
        return msgspec.json.decode(raw, type=_Input).input
    except msgspec.ValidationError as exc:
        raise Unprocessable(f"input: {exc}", param="input") from None


def _uuid(value: str | None) -> UUID | None:
    try:
        return UUID(value) if value is not None else None
    except ValueError:
        raise Unprocessable("conversation_id: not a UUID", param="conversation_id") from None


class _TextBlock(msgspec.Struct, frozen=True):
    type: str
    text: Raw = Raw(b'""')


def summary(row: CompletionRow) -> dict[str, Any]:
    """A completion as it stands in a list: without its contents."""
    return {
        "id": row.id,
        "object": "completion",
        "status": row.status,
        "model": row.model,
        "conversation_id": row.conversation_id,
        "stop_reason": row.stop_reason,
        "usage": _raw(row.usage),
        "cost": row.cost,
        "estimated": row.estimated,
        "error": _error(row.error),
        "attempts": row.attempts,
        "store": row.store,
        "on_disconnect": row.on_disconnect,
        "metadata": row.metadata,
        "cancel_requested_at": row.cancel_requested_at,
        "created_at": row.created_at,
        "first_event_at": row.first_event_at,
        "finished_at": row.finished_at,
    }


def full(row: CompletionRow) -> dict[str, Any]:
    """A completion with its contents; they are null while it streams and after they were not stored."""
    return summary(row) | {
        "text": _text(row.content),
        "content": _raw(row.content),
        "request": _raw(row.request),
    }


def _raw(json: bytes | None) -> Raw | None:
    return Raw(json) if json is not None else None


def _text(content: bytes | None) -> Raw | None:
    """All text blocks as one string, put together from its JSON as it came."""
    if content is None:
        return None
    blocks = msgspec.json.decode(content, type=list[_TextBlock])
    return Raw(b'"%b"' % b"".join([bytes(block.text)[1:-1] for block in blocks if block.type == "text"]))


def _error(event: bytes | None) -> dict[str, str] | None:
    if event is None:
        return None
    error = msgspec.json.decode(event, type=Error).error
    code = error.details.error_code if error.details else None
    return {"type": error.type, "code": code or error.type, "message": error.message}
