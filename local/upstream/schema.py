"""The request's first level, checked as the API checks it. Blocks inside a message stay plain dictionaries."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from local.upstream.errors import invalid

Json = dict[str, Any]


class Message(Struct, frozen=True):
    """One turn; `content` is text or a list of blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Json]


class CountRequest(Struct, frozen=True, kw_only=True):
    """Body of `POST /v1/messages/count_tokens`; unknown keys are accepted."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[Json] | None = None
    tools: list[Json] | None = None
    tool_choice: Json | None = None
    thinking: Json | None = None
    cache_control: Json | None = None
    output_config: Json | None = None


class MessagesRequest(CountRequest, frozen=True, kw_only=True):
    """Body of `POST /v1/messages`."""

    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    metadata: Json | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


Request = TypeVar("Request", bound=CountRequest)


def decode(raw: bytes) -> Any:
    """Return the JSON of a request's body."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error


def parse(body: Any, kind: type[Request]) -> Request:
    """Return the body as the wanted kind of request."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise invalid(_explain(error)) from error


def blocks(content: str | list[Json] | None) -> list[Json]:
    """Return content as blocks, whichever way it was written."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def _explain(error: msgspec.ValidationError) -> str:
    # "Expected `int`, got `str` - at `$.max_tokens`" -> "max_tokens: Expected `int`, got `str`"
    problem, _, path = str(error).partition(" - at `$.")
    return f"{path.rstrip('`')}: {problem}" if path else problem
