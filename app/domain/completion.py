"""A completion: what is asked, who asks, and the states it goes through."""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec


class Status(StrEnum):
    """`streaming` is left exactly once, for one of the others."""

    STREAMING = "streaming"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class OnDisconnect(StrEnum):
    """What becomes of a generation that nobody reads any more."""

    CONTINUE = "continue"
    CANCEL = "cancel"


SYSTEM: Final = "system"


class NewMessage(msgspec.Struct, frozen=True):
    """A message of a conversation. `content` is its JSON as it came: a string, or an array of content blocks."""

    role: str
    content: msgspec.Raw


class Idempotency(msgspec.Struct, frozen=True):
    """The caller's name for one request: sent again under it, the same body (by its hash) is not a second request."""

    key: str
    request_sha256: bytes


class CompletionRequest(msgspec.Struct, frozen=True):
    """One request for an answer, the same whatever dialect it came in.

    `body` is a Messages request without `messages` and `stream`; `messages` are the new ones; `version` and `betas` are
    the values of Anthropic's headers. The history is that of `conversation_id`, or of `previous_id` and all before it.
    `background` waits for nothing; `lift_system` puts messages of the role system, the chain's too, into `system`.
    """

    body: dict[str, Any]
    messages: list[NewMessage]
    conversation_id: UUID | None = None
    store: bool = True
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    metadata: dict[str, Any] = {}
    version: str | None = None
    betas: str | None = None
    previous_id: UUID | None = None
    background: bool = False
    lift_system: bool = False
    idempotency: Idempotency | None = None

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def stands_alone(self) -> bool:
        """It goes on from nothing, and cannot have been sent before."""
        return self.conversation_id is None and self.previous_id is None and self.idempotency is None

    @property
    def turn(self) -> list[NewMessage]:
        """The messages that a conversation keeps."""
        return [message for message in self.messages if not (self.lift_system and message.role == SYSTEM)]
