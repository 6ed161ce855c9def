"""Who is asking."""

from enum import StrEnum
from uuid import UUID

import msgspec


class Scope(StrEnum):
    ADMIN = "admin"
    COMPLETIONS = "completions"
    CONVERSATIONS = "conversations"


class Principal(msgspec.Struct, frozen=True):
    """A key, or a short-lived token that is bound to one completion or one conversation.

    `key_id` is None for the configured admin key, which has no row. `allowed` lists what the key may use of the
    request fields that cost more or reach further (`app.completions.held_back` has them).
    """

    tenant: str
    key_id: UUID | None
    scopes: frozenset[Scope]
    allowed: frozenset[str] = frozenset()
    completion_id: UUID | None = None
    conversation_id: UUID | None = None

    @property
    def bound(self) -> bool:
        return self.completion_id is not None or self.conversation_id is not None
