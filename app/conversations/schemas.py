"""What the endpoints for conversations take and answer.

`content`, `system` and `metadata` are kept as the JSON bytes that came, so that what a model signed is replayed as it
was. A lone surrogate escape is refused with the rest of invalid JSON: the model's API would refuse every later request
of the conversation for it.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder

from app.conversations.bodies import decode
from app.domain.errors import Unprocessable

MAX_METADATA: Final = 16_384
MAX_MESSAGES: Final = 1000

# Postgres has no NUL in text.
_TEXT: Final = r"^[^\x00]*$"
_BLOCK: Final = {"type": "object", "properties": {"type": {"type": "string", "minLength": 1}}, "required": ["type"]}
_BLOCKS: Final = {"type": "array", "minItems": 1, "items": _BLOCK}
_TEXT_BLOCK: Final = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_TEXT_BLOCKS: Final = {"type": "array", "minItems": 1, "items": _TEXT_BLOCK}

ExternalId = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=_TEXT, description="Your own id of it, unique within the tenant.")
]
Title = Annotated[str, Meta(max_length=500, pattern=_TEXT)]
System = Annotated[
    Raw,
    Meta(
        description="The Messages API's `system`: a string or text blocks; null for none.",
        extra_json_schema={"anyOf": [{"type": "string"}, _TEXT_BLOCKS, {"type": "null"}]},
    ),
]
Metadata = Annotated[
    Raw,
    Meta(
        description=f"Your own JSON object, up to {MAX_METADATA} bytes; null for an empty one.",
        extra_json_schema={"type": ["object", "null"]},
    ),
]
Content = Annotated[
    Raw,
    Meta(
        description="The Messages API's `content`: a string or content blocks, kept byte for byte.",
        extra_json_schema={"anyOf": [{"type": "string"}, _BLOCKS]},
    ),
]


class NewMessage(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: Content


class NewConversation(Struct, frozen=True, forbid_unknown_fields=True):
    external_id: ExternalId | None = None
    title: Title | None = None
    system: System | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    messages: Annotated[list[NewMessage], Meta(max_length=MAX_MESSAGES, description="How it begins.")] = []


class ConversationChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is; null clears."""

    external_id: ExternalId | UnsetType | None = UNSET
    title: Title | UnsetType | None = UNSET
    system: System | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET


NewMessages = NewMessage | Annotated[list[NewMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]


class ConversationOut(Struct, frozen=True):
    id: UUID
    external_id: str | None
    title: str | None
    system: System | None
    metadata: Metadata
    created_at: datetime
    updated_at: datetime


class ConversationPage(Struct, frozen=True):
    data: list[ConversationOut]
    next_cursor: str | None


class MessageOut(Struct, frozen=True):
    """`completion_id` is the completion that brought the message, None if it was appended."""

    id: UUID
    position: int
    role: str
    content: Content
    completion_id: UUID | None
    created_at: datetime


class MessageList(Struct, frozen=True):
    data: list[MessageOut]


class MessagePage(Struct, frozen=True):
    data: list[MessageOut]
    next_cursor: str | None


class _Block(Struct):
    type: Annotated[str, Meta(min_length=1)]


class _TextBlock(Struct):
    type: Literal["text"]
    text: str


def _check_number(number: str) -> float:
    """Postgres writes numbers out: a few bytes of exponent would become kilobytes of zeros."""
    if re.search(r"[eE][+-]?0*[1-9]\d{3}", number):
        raise ValueError("The exponent of a number is too large")
    return 0.0


_CONTENT: Final = Decoder(str | Annotated[list[_Block], Meta(min_length=1)])
_SYSTEM: Final = Decoder(str | Annotated[list[_TextBlock], Meta(min_length=1)] | None)
_METADATA: Final = Decoder(dict[str, Any] | None, float_hook=_check_number)


def contents_of(messages: Sequence[NewMessage], at: str = "") -> list[bytes]:
    """The contents, each a string or a list of blocks that have a type; `at` is the list's place in the body.

    Raises:
        Unprocessable: one of them is neither.
    """
    for index, message in enumerate(messages):
        decode(message.content, _CONTENT, at=f"{at}[{index}].content")
    return [bytes(message.content) for message in messages]


def system_of(system: Raw | UnsetType) -> bytes | None:
    """
    Raises:
        Unprocessable: it is neither a string nor a list of text blocks, nor null.
    """
    if system is UNSET or decode(system, _SYSTEM, at="system") is None:
        return None
    return bytes(system)


def metadata_of(metadata: Raw | bytes | UnsetType) -> str:
    """A JSON object as text, for jsonb. Characters that jsonb cannot hold are left for Postgres to refuse.

    Raises:
        Unprocessable: it is neither an object nor null, or too large.
    """
    if metadata is UNSET or decode(metadata, _METADATA, at="metadata") is None:
        return "{}"
    text = bytes(metadata)
    if len(text) > MAX_METADATA:
        raise Unprocessable(f"metadata: Larger than {MAX_METADATA} bytes", param="metadata")
    return text.decode()
